"""Measure what makes a logo hard to find: IoU against its alpha, scale, rotation and swirl.

    python evaluate.py PREDICTED DIR/masks --json scores.json
    python -m challenges.logo.analyse scores.json DIR/placements.csv --out logo_iou.png

An image has one IoU, so these are measured on images that hold one logo. Every mean comes with the
interval that holds 95 % of its bootstraps over photographs. Images on the same photograph are
alike, so whole photographs are drawn again.
"""
import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from support.files import PICTURES, BadInput, check_writable
from support.script import Parser, run_script

PARTS = 5                        # groups of equally many images along each axis
AXES = {"alpha": ("alpha", 1), "scale": ("scale", 1), "angle": ("rotation (degrees)", 180 / np.pi),
        "swirl": ("swirl (radians at the centre)", 1)}                # column of the table: (label, factor to its unit)


class Scored(NamedTuple):
    """An image and how well its logos were found."""

    iou: float
    photograph: str
    logos: list                  # of each, {column in AXES: value}


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    parser.add_argument("scores", metavar="SCORES.json", help="what evaluate.py --json wrote")
    parser.add_argument("placements", metavar="PLACEMENTS.csv", help="what prepare.py wrote")
    parser.add_argument("--out", default="logo_iou.png", metavar="FILE", help="the picture (logo_iou.png)")
    return parser.parse_args(argv)


def read(scores, placements):
    """Return the list of Scored images. Raises BadInput."""
    logos, photographs = defaultdict(list), {}
    try:
        images = json.loads(Path(scores).read_text(encoding="utf-8"))["images"]
        with open(placements, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                photographs[row["image"]] = row["photograph"]
                logos[row["image"]].append({column: float(row[column]) for column in AXES})
        found = [Scored(image["iou"], photographs[image["name"]], logos[image["name"]])
                 for image in images if image["name"] in photographs]
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be read ({error.strerror}); expected scores and placements") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise BadInput(f"{scores} or {placements} lacks what is expected ({error!r}); expected what evaluate.py --json "
                       "and prepare.py write") from None
    scored = [image for image in found if image.iou is not None]
    if not scored:
        raise BadInput(f"{scores} scores none of the images in {placements}; expected both of the same data set")
    if len(scored) < len(found):
        print(f"left out: {len(found) - len(scored)} images without a pixel of the logo, true or predicted")
    return scored


def mean_and_interval(images, draws=2000):
    """Return (mean IoU, 2.5th percentile, 97.5th percentile, number of photographs) of some images.

    The percentiles are those of the mean's bootstraps over photographs.
    """
    groups = defaultdict(list)
    for image in images:
        groups[image.photograph].append(image.iou)
    sums, counts = (np.array([function(group) for group in groups.values()]) for function in (sum, len))
    drawn = np.random.default_rng(0).integers(len(groups), size=(draws, len(groups)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return sums.sum() / counts.sum(), *np.percentile(means, [2.5, 97.5]), len(groups)


def tell(label, images):
    mean, low, high, photographs = mean_and_interval(images)
    print(f"{label:<30}{mean:.4f}  {low:.4f} to {high:.4f}  {len(images):>7}{photographs:>13}")


def analyse(args):
    """Print the tables and draw the picture."""
    out = check_writable(args.out, args.scores, args.placements, endings=PICTURES)
    images = read(args.scores, args.placements)
    ious = np.array([image.iou for image in images])
    print(f"{'':<30}{'IoU':<8}{'95 % interval':<18}images  photographs")
    tell("all", images)
    for count in sorted({len(image.logos) for image in images}):
        tell(f"  with {count} logo{'s' * (count > 1)}", [image for image in images if len(image.logos) == count])

    single, panels = [image for image in images if len(image.logos) == 1], []
    for column, (label, factor) in AXES.items() if single else ():
        def value(image, column=column, factor=factor):
            return image.logos[0][column] * factor

        print(label + ", images with one logo")
        moved, unmoved = ([image for image in single if bool(value(image)) == wanted] for wanted in (True, False))
        if unmoved:
            tell("  none", unmoved)
        moved.sort(key=value)
        parts = [moved[len(moved) * part // PARTS:len(moved) * (part + 1) // PARTS] for part in range(PARTS)]
        parts = [part for part in parts if part]
        for part in parts:
            tell(f"  {value(part[0]):.2f} to {value(part[-1]):.2f}", part)
        panels.append((label, [(value(image), image.iou) for image in moved],
                       [(np.mean([value(image) for image in part]), *mean_and_interval(part)[:3]) for part in parts]))
    print(f"median {np.median(ious):.4f}; {np.mean(ious < 0.5):.1%} of the images are below 0.5, "
          f"{np.mean(ious > 0.9):.1%} above 0.9")
    if panels:
        draw(panels, out)
        print(f"see {out}")


def draw(panels, path):
    """Draw a panel for each (label, points of images, points of parts).

    The former are [(value, IoU), …], the latter [(value, mean IoU, low, high), …].
    """
    from matplotlib.figure import Figure

    from support.plots import BLUE, SKY, save

    figure = Figure(figsize=(9, 6), dpi=110, layout="constrained")
    for axes, (label, points, parts) in zip(figure.subplots(2, 2, sharey=True).flat, panels):
        if points:
            axes.scatter(*zip(*points), s=9, color=SKY, alpha=0.7, linewidths=0, label="an image")
            at, mean, low, high = np.array(parts).T
            axes.errorbar(at, mean, [mean - low, high - mean], color=BLUE, marker="o", capsize=3,
                          label="mean of a fifth of them, 95 % interval")
        axes.set(xlabel=label, ylabel="IoU", ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(loc="lower right", edgecolor="none")
    figure.suptitle("How well a logo is found, in images with one logo")
    save(figure, path)


if __name__ == "__main__":
    run_script(analyse, parse_arguments(), __file__)
