"""What makes a logo hard to find: IoU against its alpha, scale, rotation and swirl.

    python evaluate.py PREDICTED DIR/masks --json scores.json
    python -m challenges.logo.analyse scores.json DIR/placements.csv --out logo_iou.png

Counts images that hold one logo, as an image has one IoU. The mean over all images comes with its spread: a bootstrap
over photographs, since images on the same photograph are alike.
"""
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from arguments import Parser
from files import PICTURES, BadInput, claim

BINS = 5
KNOBS = {"alpha": "alpha", "scale": "scale", "angle": "rotation (degrees)", "swirl": "swirl (radians at the centre)"}


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    parser.add_argument("scores", metavar="SCORES.json", help="what evaluate.py --json wrote")
    parser.add_argument("placements", metavar="PLACEMENTS.csv", help="what prepare.py wrote")
    parser.add_argument("--out", default="logo_iou.png", metavar="FILE", help="the picture (logo_iou.png)")
    return parser.parse_args(argv)


def read(args):
    """[(IoU, the rows of placements.csv), …] of each scored image. Raises BadInput."""
    try:
        scored = json.loads(Path(args.scores).read_text(encoding="utf-8"))["images"]
        with open(args.placements, newline="", encoding="utf-8") as file:
            rows = defaultdict(list)
            for row in csv.DictReader(file):
                rows[row["image"]].append(row)
        return [(one["iou"], rows[one["name"]]) for one in scored if rows[one["name"]]]
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{args.scores} and {args.placements} do not hold what is expected ({error!r}); expected what "
                       "evaluate.py --json and prepare.py write") from None


def interval(groups, draws=2000):
    """2.5th and 97.5th percentile of the mean of all values when whole groups of them are drawn with repetition."""
    random = np.random.default_rng(0)
    sums, counts = np.array([sum(group) for group in groups]), np.array([len(group) for group in groups])
    drawn = random.integers(len(groups), size=(draws, len(groups)))
    return np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])


def by_photograph(images):
    """The IoUs of images, one list for each photograph."""
    groups = defaultdict(list)
    for iou, rows in images:
        groups[rows[0]["photograph"]].append(iou)
    return list(groups.values())


def analyse(args):
    """Print the tables and draw the picture."""
    out = claim(args.out, args.scores, args.placements, endings=PICTURES)
    images = read(args)
    if not images:
        raise BadInput(f"{args.scores} scores no image that {args.placements} names; expected those of one data set")
    ious = np.array([iou for iou, _ in images])
    low, high = interval(by_photograph(images))
    print(f"{len(images)} images: mean IoU {ious.mean():.4f} (95 % of bootstraps over photographs: {low:.4f} to "
          f"{high:.4f}), median {np.median(ious):.4f}; below 0.5: {(ious < 0.5).mean():.1%}, above 0.9: "
          f"{(ious > 0.9).mean():.1%}")
    for count in sorted({len(rows) for _, rows in images}):
        part = [iou for iou, rows in images if len(rows) == count]
        print(f"  {count} in an image: {np.mean(part):.4f} ({len(part)} images)")
    single = [(iou, rows) for iou, rows in images if len(rows) == 1]
    panels = []
    for knob, label in KNOBS.items():
        value = [float(rows[0][knob]) * (180 / np.pi if knob == "angle" else 1) for _, rows in single]
        touched = [(at, *one) for at, one in zip(value, single) if at or knob in ("alpha", "scale")]
        untouched = [iou for at, (iou, _) in zip(value, single) if not at]
        touched.sort(key=lambda row: row[0])
        print(f"{label}, images with one logo" + (f"; untouched {np.mean(untouched):.4f} ({len(untouched)})"
                                                  if untouched else ""))
        bins = []
        for part in np.array_split(np.arange(len(touched)), BINS):
            chosen = [touched[number] for number in part]
            if not chosen:
                continue
            mean = np.mean([iou for _, iou, _ in chosen])
            low, high = interval(by_photograph([one[1:] for one in chosen]))
            bins.append((np.mean([at for at, *_ in chosen]), mean, low, high))
            print(f"  {chosen[0][0]:7.2f} to {chosen[-1][0]:7.2f}: {mean:.4f} ({low:.4f} to {high:.4f}; {len(chosen)} "
                  "images)")
        panels.append((label, [(at, iou) for at, iou, _ in touched], np.array(bins)))
    draw(panels, out)
    print(f"see {out}")


def draw(panels, path):
    from matplotlib.figure import Figure

    from plots import BLUE, SKY, save

    figure = Figure(figsize=(9, 6), dpi=110, layout="constrained")
    for axes, (label, points, bins) in zip(figure.subplots(2, 2, sharey=True).flat, panels):
        if points:
            axes.scatter(*zip(*points), s=9, color=SKY, alpha=0.7, linewidths=0, label="an image")
            at, mean, low, high = bins.T
            axes.errorbar(at, mean, [mean - low, high - mean], color=BLUE, marker="o", capsize=3,
                          label="mean of a fifth of them, 95 % interval")
        axes.set(xlabel=label, ylabel="IoU", ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(loc="lower right", edgecolor="none")
    figure.suptitle("How well a logo is found, images with one logo")
    save(figure, path)


def main(args):
    try:
        analyse(args)
    except BadInput as error:
        sys.exit(f"analyse.py: {error}")


if __name__ == "__main__":
    main(parse_arguments())
