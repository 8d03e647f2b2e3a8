"""Measure how well glasses are found on faces that wear some, and false alarms on the others.

    python -m challenges.eyeglasses.analyse PREDICTED_DIR DATA/masks [--only DATA/test.txt]

The two are kept apart, since one figure would mix them. Predictions are the masks that infer.py or
tools/crossvalidate.py writes. Dice is computed on the faces with glasses alone: over all of their
pixels together, and as the mean of the faces. The mean comes with the interval that holds 95 % of
its bootstraps over faces. The table below counts faces by the area that was predicted as glasses:
on faces with glasses, those found; on faces without, false alarms.
"""

import numpy as np

import metrics
from challenges.eyeglasses.prepare import CLASSES, read_glasses
from support.files import BadInput
from support.machine import in_threads
from support.masks import same_size
from support.names import first_few, images_by_name, read_names
from support.script import Parser, run_script

NAMES = [one["name"] for one in CLASSES["classes"]]
AREAS = 0, 0.001, 0.01           # shares of the picture; the smallest glasses cover about 0.01


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    parser.add_argument("predictions", metavar="PREDICTED_DIR", help="predicted masks, black and white")
    parser.add_argument("masks", metavar="MASK_DIR", help="true masks of the same names")
    parser.add_argument("--only", metavar="FILE", help="the names to count, one a line (all that were predicted)")
    return parser.parse_args(argv)


def count(pair):
    """Return the confusion matrix of a pair, int64 (2, 2): row true, column predicted.

    The pair is (path of the prediction, path of the truth).
    """
    prediction, truth = map(read_glasses, pair)
    same_size(pair[0], prediction.shape, pair[1], truth.shape)
    return metrics.confusion_matrix(truth // 255, prediction // 255, 2)


def interval(figures, draws=2000):
    """Return the 2.5th and 97.5th percentile of the bootstrapped mean of figures, float (2,).

    Each bootstrap draws the figures again, with replacement.
    """
    drawn = np.random.default_rng(0).integers(len(figures), size=(draws, len(figures)))
    return np.percentile(np.asarray(figures)[drawn].mean(axis=1), [2.5, 97.5])


def analyse(args):
    """Print both parts of the analysis."""
    predictions, masks = images_by_name(args.predictions), images_by_name(args.masks)
    names = read_names(args.only, masks) if args.only else list(predictions)
    missing = [name for name in names if name not in predictions or name not in masks]
    if missing:
        raise BadInput(f"{args.predictions} and {args.masks} do not both have {first_few(missing)}; expected masks "
                       "of the same names")
    confusions = np.array(list(in_threads(count, [(predictions[name], masks[name]) for name in names])))    # (N, 2, 2)
    worn = confusions[:, 1].sum(axis=1) > 0
    seen = confusions[:, :, 1].sum(axis=1) / confusions.sum(axis=(1, 2))                    # share of each picture
    print(f"{len(names)} faces: {worn.sum()} with glasses, {(~worn).sum()} without")
    if worn.any():
        each = np.array([metrics.dice(one)[1] for one in confusions[worn]])
        low, high = interval(each)
        print(f"\nOn the faces with glasses\n{metrics.table(confusions[worn].sum(axis=0), NAMES)}\n"
              f"mean Dice of the faces {each.mean():.4f} (95 %: {low:.4f} to {high:.4f}), "
              f"median {np.median(each):.4f}, worst {each.min():.4f} ({names[np.flatnonzero(worn)[each.argmin()]]})")
    if not worn.all():
        right, wrong = confusions[~worn].sum(axis=0)[0]
        print(f"\nOn the faces without, {wrong / (wrong + right):.3%} of the pixels are taken for glasses")
    print(f"\n{'taken for glasses':<28}{'with glasses':>14}{'without':>14}")
    for area in AREAS:
        parts = [f"{(seen[part] > area).sum()} of {part.sum()}" for part in (worn, ~worn)]
        print(f"{f'more than {area:.1%} of the picture' if area else 'any pixel':<28}{parts[0]:>14}{parts[1]:>14}")


if __name__ == "__main__":
    run_script(analyse, parse_arguments(), __file__)
