"""Out-of-distribution: how familiar an image looks to a network, and from where on to reject it.

    python ood.py IMAGE_DIR --checkpoint model.pt --only val.txt       thresholds that keep 95 % of these images
    python ood.py IMAGE_DIR --checkpoint model.pt --against OTHER_DIR  and how well they tell the others apart
    python infer.py IMAGE_DIR OUTPUT_DIR --score energy --reject 4.2   no masks for images below it

A network gives every pixel of any image a class, also where it has never seen the like. Each score here is one number
for an image, higher for what is more familiar: of the logits, averaged over all pixels, or of the features on the way.
"""
from arguments import SCORES, Parser, add_prediction_knobs, number


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("images", metavar="IMAGE_DIR", help="images of the familiar kind, that the network did not learn from")
    add("--checkpoint", default="model.pt", metavar="FILE", help="a trained network (model.pt)")
    add("--only", metavar="FILE", help="the images it names, without extension, one a line, as in val.txt (all)")
    add("--against", metavar="DIR", help="images of another kind, to count how many would be rejected")
    add("--keep", type=number(float, 0.01, 1), default=0.95, metavar="P", help="share of the familiar to keep (0.95)")
    add_prediction_knobs(add)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take two seconds: --help and typos answer at once

import math
import shlex
import sys

import numpy as np
from tqdm import tqdm

from data import named_images, read_image
from files import BadInput
from processes import WORLD

# ---------------------------------------------------------------------------------------------------
# Scores: logits (C, y, x) → (y, x)


def energy(logits):
    """log Σ exp(logit), the negative free energy (Liu et al., 2020): all logits count, the highest most."""
    highest = logits.max(axis=0)             # taken out, as exp would overflow
    return highest + np.log(np.exp(logits - highest).sum(axis=0))


def softmax(logits):
    """The highest of the class probabilities (Hendrycks & Gimpel, 2017): 1 where the network is sure."""
    return np.exp(logits.max(axis=0) - energy(logits))


def logit(logits):
    """The highest logit (Hendrycks et al., 2022): what softmax forgets is how large they all are."""
    return logits.max(axis=0)


def entropy(logits):
    """The negative entropy of the class probabilities, in nats: 0 where one class has them all, else below."""
    log_probabilities = logits - energy(logits)      # of the softmax
    return (np.exp(log_probabilities) * log_probabilities).sum(axis=0)


OF_LOGITS = {"softmax": softmax, "logit": logit, "energy": energy, "entropy": entropy}


# ---------------------------------------------------------------------------------------------------
# Scores of whole images


def watch(names, model=None):
    """(seen, scores): make a segmenter with `seen`; after each image, scores() gives its {name: number}, once.

    Both are None without names. "features" needs the PyTorch `model`. Raises BadInput for one without BatchNorm.
    """
    if not names:
        return None, None
    wanted = {name: OF_LOGITS[name] for name in names if name in OF_LOGITS}
    parts, distance = [], watch_features(model) if "features" in names else None

    def seen(logits):
        parts.append((logits[0].size, [function(logits).sum(dtype=np.float64) for function in wanted.values()]))

    def scores():
        pixels = sum(count for count, _ in parts)
        found = {name: float(sum(sums[place] for _, sums in parts) / pixels) for place, name in enumerate(wanted)}
        parts.clear()
        return {**found, "features": -distance()} if distance else found

    return seen, scores


def scores_of(model):
    """The names of the scores that a network has."""
    from model import batchnorms

    return [name for name in SCORES if name != "features" or batchnorms(model)]


def watch_features(model):
    """A function that tells how far the features of the image since it was last asked are from the training's.

    BatchNorm keeps the mean and variance of each channel over the training: statistics of the training set's features
    that every checkpoint holds. The image has its own, over all of its pixels. Between normal distributions of these,
    the squared Wasserstein distance is (difference of means)² + (difference of deviations)², here in units of the
    training's variance and averaged over channels, then over layers (Schneider et al., 2020, measure with it how far
    corruptions move an image). Windows overlap, so pixels near their edges count more than once.
    """
    import torch

    from model import batchnorms

    layers = batchnorms(model)
    if not layers:
        raise BadInput("--score features: this network has no BatchNorm, whose statistics it compares; expected one "
                       "that has, as all U-Nets, or another score")
    sums = [0] * len(layers)     # of each layer, float64 (3, C): how many values, their sum, their squares

    def add(place, x):
        x = x.double()                                                # (N, C, h, w)
        count = torch.full_like(x[0, :, 0, 0], len(x) * x[0, 0].numel())
        sums[place] = sums[place] + torch.stack([count, x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))])

    for place, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda layer, inputs, place=place: add(place, inputs[0]))

    def distance():
        gaps = []
        for place, layer in enumerate(layers):
            count, total, squares = sums[place]
            mean, deviation = total / count, (squares / count - (total / count)**2).clamp_min(0).sqrt()
            usual = (layer.running_var.double() + layer.eps).sqrt()
            gap = ((mean - layer.running_mean) / usual)**2 + (deviation / usual - 1)**2
            gaps.append(gap.mean().item())
            sums[place] = 0
        return sum(gaps) / len(gaps)

    return distance


# ---------------------------------------------------------------------------------------------------
# Scores → decisions


def threshold(scores, keep):
    """A threshold that keeps at least this share of the images, and hardly more: what is below is rejected.

    Rounded down to five digits, so that it still does when it was printed and typed again.
    """
    least = sorted(scores)[math.floor((1 - keep) * len(scores) + 1e-9)]
    unit = 10.0 ** (math.floor(math.log10(abs(least))) - 4) if least else 1.0
    return float(f"{math.floor(least / unit) * unit:.5g}")


def auroc(familiar, others):
    """The chance that a familiar image scores higher than another one, a tie counting half; 1 tells all apart."""
    others = np.sort(others)
    below, not_above = (np.searchsorted(others, familiar, side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(others))


def score_images(paths, segment, scores):
    """[{name: score}, …] of images. Raises BadInput."""
    found = []
    for path in tqdm(paths, unit="image", leave=False, disable=None):
        segment(read_image(path))
        found.append(scores())
    return found


def measure(args):
    """Do what `args` ask for (see parse_arguments)."""
    from checkpoint import load_checkpoint
    from model import pick_device
    from predict import segmenter

    if WORLD > 1:
        raise BadInput("all images go through one process; expected no torchrun")
    model, facts = load_checkpoint(args.checkpoint)
    names = scores_of(model)
    seen, scores = watch(names, model)
    segment = segmenter(model, facts, pick_device(args.device), args.halo, args.tta, seen)
    familiar = score_images(named_images(args.images, args.only).values(), segment, scores)
    others = score_images(named_images(args.against).values(), segment, scores) if args.against else []
    print(f"{len(familiar)} familiar images" + (f", {len(others)} of another kind" if others else ""))
    print(f"{'':<10}{'lowest':>11}{'median':>11}{f'keeps {100 * args.keep:g}%':>13}" +
          (f"{'AUROC':>9}{'others rejected':>17}" if others else ""))
    for name in names:
        usual = [one[name] for one in familiar]
        least = threshold(usual, args.keep)
        line = f"{name:<10}{min(usual):>11.5g}{np.median(usual):>11.5g}{least:>13.5g}"
        if others:
            other = [one[name] for one in others]
            line += f"{auroc(usual, other):>9.4f}{np.mean(np.array(other) < least):>17.1%}"
        print(line)
    looking = ([] if args.halo is None else ["--halo", str(args.halo)]) + ["--tta"] * args.tta    # it matters
    print("to reject what is below: python infer.py IMAGE_DIR OUTPUT_DIR " +
          shlex.join(["--checkpoint", args.checkpoint, *looking]) + " --score NAME --reject=THRESHOLD")


def main(args):
    try:
        measure(args)
    except BadInput as error:
        sys.exit(f"ood.py: {error}")
    except KeyboardInterrupt:
        sys.exit("ood.py: interrupted")


if __name__ == "__main__":
    main(ARGS)
