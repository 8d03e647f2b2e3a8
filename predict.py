"""Segment one image with a trained network.

    python predict.py                          rgb.png with model.pt, to predictions.jpg and predictions.png
    python predict.py photo.jpg --out photo_mask.png --overlay photo_outline.jpg
    python predict.py rgb.png --mask gt.png    and how right it is
"""
import copy
import sys
from pathlib import Path

from arguments import Parser, add_adaptation, add_prediction_knobs

SHIPPED = Path(__file__).with_name("checkpoints") / "fcn.pt"     # trained on the bundled sample, see README


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("image", nargs="?", default="rgb.png", help="the image to segment (rgb.png)")
    add("--checkpoint", metavar="FILE", help="a trained network (model.pt here, else the one that ships)")
    add("--out", default="predictions.jpg", metavar="FILE", help="the mask, .png or .jpg and .png (predictions.jpg)")
    add("--mask", metavar="FILE", help="the true mask: print IoU, Dice and accuracy")
    add("--overlay", metavar="FILE", help="also save the image with the predicted outline")
    add_prediction_knobs(add)
    add_adaptation(add)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take two seconds: --help and typos answer at once

import numpy as np

import metrics
import patches
from checkpoint import load_checkpoint
from data import for_the_eye, read_image, read_pair, to_values
from files import PICTURES, BadInput, claim, write_image
from model import batchnorms, pick_device, predictor
from sample import SAMPLE, write_sample


def segmenter(model, facts, device="cpu", halo=None, tta=False, seen=None, adapt=0.0):
    """A trained network as a function: image uint8 (H, W, 3), of any size → class indices uint8 (H, W).

    `facts` are those of its checkpoint. See `adapted` for `adapt`, patches.segmenter for the rest. Raises BadInput for
    a `halo` that does not fit, and where there is no BatchNorm to adapt.
    """
    forward = predictor(model, facts["mean"], facts["std"], device)
    segment = patches.segmenter(forward, model, facts["settings"], halo, tta, seen)
    if not adapt:
        return segment
    measure = patches.segmenter(forward, model, facts["settings"], halo)
    return adapted(model, measure, segment, adapt, facts["settings"].get("zoom", 1))


def adapted(model, measure, segment, share, zoom=1):
    """`segment`, with BatchNorm's statistics moved by `share` from the training's to those of each image.

    BatchNorm shifts and scales every channel by its mean and variance over the training. Haze, dusk or noise change
    these, and all that comes after works on values that it has not learned from. So `measure` looks at the image
    first: each layer normalizes each window by itself, as in a training step, and averages the means and variances of
    the windows (which overlap, so pixels near their edges count more than once). Then `segment` looks, with the
    statistics moved; no weight changes, and the next image begins anew (Schneider et al., NeurIPS 2020, for batches of
    images). `zoom` is that at which the network sees. Raises BadInput for a network without BatchNorm.
    """
    layers = batchnorms(model)
    if not layers:
        raise BadInput("--adapt: this network has no BatchNorm, which it changes; expected one that has, as all U-Nets")
    usual = [(layer.momentum, copy.deepcopy(layer.state_dict())) for layer in layers]

    def on_image(image):
        if max(patches.zoomed(image.shape[:2], zoom)) <= model.stride:       # one value at the bottom has no variance
            return segment(image)
        try:
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None                                 # a plain average over the windows
                layer.train()
            measure(image)
            for layer, (_, state) in zip(layers, usual):
                layer.eval()
                layer.running_mean.lerp_(state["running_mean"], 1 - share)
                layer.running_var.lerp_(state["running_var"], 1 - share)
            return segment(image)
        finally:
            for layer, (momentum, state) in zip(layers, usual):
                layer.eval()
                layer.momentum = momentum
                layer.load_state_dict(state)

    return on_image


def outline(image, indices, colour=(255, 0, 255)):
    """A copy of the image (H, W, 3) with a line two pixels wide where the class (H, W) changes."""
    drawn = image.copy()
    edge = np.zeros(indices.shape, bool)
    across, down = indices[:, 1:] != indices[:, :-1], indices[1:] != indices[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    drawn[edge] = colour
    return drawn


def predict(args):
    """Do what `args` ask for (see parse_arguments); returns the class indices uint8 (H, W)."""
    checkpoint = args.checkpoint or ("model.pt" if Path("model.pt").exists() else SHIPPED)
    device = pick_device(args.device)
    model, facts = load_checkpoint(checkpoint)
    classes = facts["classes"]
    if args.image == SAMPLE[0] and not any(Path(path).exists() for path in SAMPLE):
        claim(args.out, endings=PICTURES)
        write_sample()
    if args.mask:
        image, truth = read_pair(args.image, args.mask, classes, facts["ignore"], facts["settings"].get("threshold"))
    else:
        image = read_image(args.image)
    inputs = [path for path in (args.image, args.mask, checkpoint) if path]
    out = claim(args.out, *inputs, endings=PICTURES)
    lossless = out if out.suffix.lower() == ".png" else claim(out.with_suffix(".png"), *inputs)
    overlay = claim(args.overlay, *inputs, endings=PICTURES) if args.overlay else None
    if overlay and overlay.resolve() in (out.resolve(), lossless.resolve()):
        raise BadInput(f"{overlay} is where the mask goes; expected another name after --overlay")

    indices = segmenter(model, facts, device, args.halo, args.tta, adapt=args.adapt)(image)        # (H, W)

    write_image(lossless, to_values(indices, classes))
    if out != lossless:
        write_image(out, for_the_eye(indices, classes))
    if overlay:
        write_image(overlay, outline(image, indices))
    shares = np.bincount(indices.ravel(), minlength=len(classes)) / indices.size
    print(f"{args.image}, {image.shape[1]}x{image.shape[0]} pixels, by {checkpoint}: " +
          ", ".join(f"{one['name']} {part:.1%}" for one, part in zip(classes, shares)) +
          "; see " + ", ".join(str(path) for path in dict.fromkeys((out, lossless, overlay)) if path))
    if args.mask:
        confusion = metrics.confusion_matrix(truth, indices, len(classes))
        print(metrics.table(confusion, [one["name"] for one in classes]))
        kind = "mean" if metrics.front(classes) is None else classes[metrics.front(classes)]["name"]
        print(f"{kind} IoU {metrics.text(metrics.foreground(metrics.iou(confusion), classes))}, "
              f"Dice {metrics.text(metrics.foreground(metrics.dice(confusion), classes))}, "
              f"accuracy {metrics.text(metrics.accuracy(confusion))}")
    return indices


def main(args):
    try:
        predict(args)
    except BadInput as error:
        sys.exit(f"predict.py: {error}")
    except KeyboardInterrupt:
        sys.exit("predict.py: interrupted")


if __name__ == "__main__":
    main(ARGS)
