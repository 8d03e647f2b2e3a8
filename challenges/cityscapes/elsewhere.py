"""Try a street network on photographs that no car took: persons, bicycles and cars in COCO's.

    python -m challenges.cityscapes.elsewhere NETWORK.pt DATA [--shrink 1 2 4]

DATA is what challenges/coco/prepare.py makes. A rider of the network counts as a person, all other classes as
background. As a network knows things at the size that they had in training, the photographs are also shrunk. Printed
are the figures over all photographs, and the IoU of cars over those alone that show a car.
"""
from pathlib import Path

import numpy as np

import metrics
from segmenter import Segmenter
from support.arguments import Parser, number, run_script
from support.files import BadInput
from support.masks import read_classes, read_pair
from support.names import first_few, images_by_name

COUNTED = {"person": "person", "pedestrian": "person", "rider": "person", "bicycle": "bicycle", "bicyclist": "bicycle",
           "car": "car"}         # the street's name → COCO's


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    parser.add_argument("network", metavar="NETWORK", help="a network of street scenes")
    parser.add_argument("data", metavar="DATA", type=Path, help="photographs and masks of challenges/coco/prepare.py")
    parser.add_argument("--shrink", type=number(float, 0.1, 100), nargs="+", metavar="N", default=[1, 2, 4],
                        help="look at the photographs at an N-th of their size (1 2 4)")
    return parser.parse_args(argv)


def renaming(street, photographs):
    """Return an array in which each class index of the street's network stands for one of the photographs'.

    Both are lists of classes. Raises BadInput where the network knows none of the photographs' classes.
    """
    names = [entry["name"] for entry in photographs]
    counted = [COUNTED.get(entry["name"], "background") for entry in street]
    if set(counted) == {"background"} or not {"background", *counted} <= set(names):
        raise BadInput(f"the network tells {[entry['name'] for entry in street]} apart, the masks {names}; expected a "
                       "network of street scenes, and masks of challenges/coco/prepare.py")
    return np.array([names.index(name) for name in counted], np.uint8)


def run(args):
    """Print the figures, for each of the sizes."""
    segment = Segmenter.load(args.network, "auto")
    classes, ignore = read_classes(args.data / "classes.json")
    names, renamed, zoom = [entry["name"] for entry in classes], renaming(segment.classes, classes), segment.zoom
    images, masks = images_by_name(args.data / "images"), images_by_name(args.data / "masks")
    missing = [name for name in masks if name not in images]
    if missing or not masks:
        raise BadInput(f"{args.data} lacks images of the masks {first_few(missing) or '(there are none)'}; expected "
                       "what challenges/coco/prepare.py makes")
    for shrink in args.shrink:
        segment.zoom = zoom / shrink
        pairs = (read_pair(images[name], path, classes, ignore) for name, path in masks.items())
        each = np.array([metrics.confusion_matrix(truth, renamed[segment(image)], len(classes))
                         for image, truth in pairs])                             # (photographs, classes, classes)
        with_cars = each[each[:, names.index("car")].sum(axis=1) > 0].sum(axis=0)
        print(f"\n{len(masks)} photographs at 1/{shrink:g} of their size")
        print(metrics.table(each.sum(axis=0), names))
        print(f"cars, on photographs that show some: IoU {metrics.iou(with_cars)[names.index('car')]:.4f}")


if __name__ == "__main__":
    run_script(run, parse_arguments(), __file__)
