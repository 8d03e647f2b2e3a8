"""Try a street network on other cameras' images: street scenes in full size, or persons, bicycles and cars in COCO's.

    python -m challenges.cityscapes.elsewhere NETWORK.pt DATA [--shrink 1 2 4]

DATA is what prepare.py, here or in challenges/coco, makes. Classes are matched by name; for COCO's photographs, a
rider counts as a person, what they have no name for as background. As a network knows things at the size that they
had in training, the images are also shrunk. Printed are the figures over all images, and the IoU of cars over those
alone that show a car.
"""
from pathlib import Path

import numpy as np

import metrics
from segmenter import Segmenter
from support.classes import read_classes
from support.files import BadInput
from support.masks import read_pair
from support.names import first_few, images_by_name
from support.script import Parser, number, run_script

COUNTED = {"pedestrian": "person", "rider": "person", "bicyclist": "bicycle"}      # the street's name → COCO's


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    parser.add_argument("network", metavar="NETWORK", help="a network of street scenes")
    parser.add_argument("data", metavar="DATA", type=Path, help="images and masks, as prepare.py makes them")
    parser.add_argument("--shrink", type=number(float, 0.1, 100), nargs="+", metavar="N", default=[1, 2, 4],
                        help="look at the images at an N-th of their size (1 2 4)")
    return parser.parse_args(argv)


def renaming(street, others):
    """Return an array in which each class index of the street's network stands for one of the images'.

    Both are lists of classes. Raises BadInput where one of the network's has none of the images' to count as.
    """
    names = [entry["name"] for entry in others]
    counted = []
    for name in [entry["name"] for entry in street]:
        found = [other for other in (name, COUNTED.get(name), "background") if other in names]
        counted.append(names.index(found[0]) if found else None)
    if None in counted or len(set(counted)) == 1:
        raise BadInput(f"the network tells {[entry['name'] for entry in street]} apart, the masks {names}; expected a "
                       "network of street scenes, and masks of such, or of challenges/coco/prepare.py")
    return np.array(counted, np.uint8)


def run(args):
    """Print the figures, for each of the sizes."""
    segment = Segmenter.load(args.network, "auto")
    classes, ignore = read_classes(args.data / "classes.json")
    names, renamed, zoom = [entry["name"] for entry in classes], renaming(segment.classes, classes), segment.zoom
    images, masks = images_by_name(args.data / "images"), images_by_name(args.data / "masks")
    missing = [name for name in masks if name not in images]
    if missing or not masks:
        raise BadInput(f"{args.data} lacks images of the masks {first_few(missing) or '(there are none)'}; expected "
                       "images and masks, as prepare.py makes them")
    for shrink in args.shrink:
        segment.zoom = zoom / shrink
        pairs = (read_pair(images[name], path, classes, ignore) for name, path in masks.items())
        each = np.array([metrics.confusion_matrix(truth, renamed[segment(image)], len(classes))
                         for image, truth in pairs])                             # (images, classes, classes)
        together = each.sum(axis=0)
        accuracy, dice = map(metrics.format_metric, (metrics.accuracy(together), metrics.mean(metrics.dice(together))))
        print(f"\n{len(masks)} images at 1/{shrink:g} of their size: accuracy {accuracy}, mean Dice {dice}")
        print(metrics.table(together, names))
        if "car" in names:
            car = names.index("car")
            dice = metrics.dice(each[each[:, car].sum(axis=1) > 0].sum(axis=0))[car]
            print(f"cars, on the images that show some: Dice {metrics.format_metric(dice)}")


if __name__ == "__main__":
    run_script(run, parse_arguments(), __file__)
