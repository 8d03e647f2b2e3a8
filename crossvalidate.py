"""Train on all but a part of a folder and test on that part, for each part in turn: figures for small data sets.

    python crossvalidate.py --folds 5 --out runs/name --data DIR --model unet --time-limit 10
    python crossvalidate.py --folds 5 --out runs/name @challenges/coco/train.args --data DIR

All other arguments are train.py's. Which image belongs to which part is decided by a hash of its name (whatever lists
are in the folder); --val-share of the others is for choosing the epoch. Writes runs/name/fold0 and so on, each a
finished training with its scores.json; runs/name/predictions, a mask for every image, by the network that did not learn
from it, for evaluate.py; and crossvalidation.json. Prints the figures with their spread. Interrupted, the same command
goes on.
"""
from arguments import Parser, number


def parse_arguments(argv=None):
    """(our arguments, those for train.py)."""
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("--folds", type=number(int, 2, 100), default=5, metavar="K", help="parts, and trainings (5)")
    add("--first", type=number(int, 1, 100), metavar="N", help="do only the first N of them, to save time (all)")
    add("--out", required=True, metavar="DIR", help="a folder for all of it")
    add("--data", required=True, metavar="DIR", help="the data set, a folder")
    add("--test-data", metavar="DIR",
        help="test on the images and masks of the same names in this folder, where masks to train on differ (--data)")
    parser.allow_abbrev = False  # or --t, meant for train.py, would be taken for --test-data
    return parser.parse_known_args(argv)


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take two seconds: --help and typos answer at once

import json
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

import metrics
import processes
import train
from checkpoint import load_checkpoint
from data import hashed, write_names
from dataset import find_pairs
from files import MARK, BadInput, begin_folder, claim, set_of_files, write_text
from infer import write_mask
from model import pick_device
from predict import segmenter
from scoring import find_examples, score

FIGURES = {"accuracy": "accuracy", "mean_iou": "mean IoU", "mean_f1": "mean Dice (F1)", "image_iou": "IoU an image"}


def parts(names, count):
    """The names in `count` parts of equal size, but for one more in some, by a hash of the name."""
    shuffled = sorted(names, key=hashed)
    return [sorted(shuffled[part::count]) for part in range(count)]


def run_fold(args, words, out, names):
    """Train without these names, test on them: {"classes", "confusion", "overall", "images"}. Keeps the masks, too."""
    scores, listed = claim(out / "scores.json"), claim(out / "lists" / "test.txt")
    masks = {name: claim(out.parent / "predictions" / f"{name}.png") for name in names}
    if scores.exists() and all(path.exists() for path in masks.values()):
        return json.loads(scores.read_text(encoding="utf-8"))
    write_names(listed, names)
    last = None
    if (out / "last.pt").exists():           # interrupted before: the same training goes on
        _, last = load_checkpoint(out / "last.pt")
    settings = train.parse_arguments([*words, "--data", args.data, "--lists", str(listed.parent), "--out", str(out)])
    train.train(settings, last)
    model, facts = load_checkpoint(out / "model.pt")
    classes, tested = facts["classes"], Path(args.test_data or args.data)
    examples = find_examples(tested / "images", tested / "masks", facts, names)
    keep = lambda name, mask: write_mask(masks[name], mask, classes)
    found = score(examples, segmenter(model, facts, pick_device(settings.device)), classes, keep)
    figures = {"written by": MARK, "classes": classes, "confusion": found.confusion.tolist(),
               "overall": metrics.overall(found.confusion, found.ious),
               "images": [{"name": name, "iou": iou} for name, iou in zip(names, found.ious)]}
    write_text(scores, json.dumps(figures, indent=1, allow_nan=False))
    return figures


def crossvalidate(args, words):
    """Do what the arguments ask for (see parse_arguments)."""
    if processes.WORLD > 1:
        raise BadInput("folds are trained one after the other; expected no torchrun")
    pairs = find_pairs(args.data)
    if len(pairs) < 2 * args.folds:
        raise BadInput(f"{args.data} holds {len(pairs)} pairs; expected at least {2 * args.folds}, two for each fold")
    if args.test_data:
        missing = {name for name, *_ in pairs} - {name for name, *_ in find_pairs(args.test_data)}
        if missing:
            raise BadInput(f"{args.test_data} lacks {min(missing)}; expected all pairs of {args.data}")
    train.parse_arguments([*words, "--data", args.data])              # a wrong one is told now
    out = Path(args.out)
    files = [path for _, *both in pairs for path in both]
    begin_folder(out, {"arguments": " ".join(words), "data": args.data, "folds": args.folds, "tested": args.test_data,
                       "set of files": set_of_files(files)},
                 anew=not any(out.glob("fold*/last.pt")))             # until something was trained
    report = claim(out / "crossvalidation.json")
    wanted, found = parts([name for name, *_ in pairs], args.folds)[:args.first], []
    for fold, part in enumerate(wanted):
        print(f"fold {fold + 1} of {len(wanted)}: {len(part)} images to test on")
        found.append(run_fold(args, words, out / f"fold{fold}", part))

    print(f"\n{sum(map(len, wanted))} images, each tested by a network that did not learn from it")
    print(f"{'':<16}{'mean':>9}{'spread':>9}   each fold")
    for key, label in FIGURES.items():
        each = [one["overall"][key] for one in found if one["overall"][key] is not None]
        spread = statistics.stdev(each) if len(each) > 1 else None
        print(f"{label:<16}{metrics.text(metrics.mean(each)):>9}{metrics.text(spread):>9}   "
              f"{' '.join(map(metrics.text, each))}")
    confusion, classes = sum(np.array(one["confusion"]) for one in found), found[0]["classes"]
    print(f"all of them as one: accuracy {metrics.text(metrics.accuracy(confusion))}, mean IoU "
          f"{metrics.text(metrics.mean(metrics.iou(confusion)))}, mean Dice "
          f"{metrics.text(metrics.mean(metrics.dice(confusion)))}")
    print(metrics.table(confusion, [one["name"] for one in classes]))
    write_text(report, json.dumps({
        "written by": MARK, "classes": metrics.by_class(confusion, classes), "confusion": confusion.tolist(),
        "folds": [one["overall"] for one in found]}, indent=1))


def main(args, words):
    try:
        crossvalidate(args, words)
    except BadInput as error:
        sys.exit(f"crossvalidate.py: {error}")
    except torch.OutOfMemoryError:
        sys.exit("crossvalidate.py: the GPU's memory is full; lower --batch, --patch or --budget")
    except KeyboardInterrupt:
        sys.exit("crossvalidate.py: interrupted; the same command goes on")


if __name__ == "__main__":
    main(*ARGS)
