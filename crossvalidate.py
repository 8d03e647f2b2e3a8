"""Train on all but a part of a folder and test on that part, for each part in turn: figures for small data sets.

    python crossvalidate.py --folds 5 --out runs/name --data DIR --model unet --time-limit 10
    python crossvalidate.py --folds 5 --out runs/name @challenges/coco/train.args --data DIR

All other arguments are train.py's. Which image belongs to which part is decided by a hash of its name; --val-share of
the others is for choosing the epoch. Writes runs/name/fold0 and so on, each a finished training with its predicted
masks, and crossvalidation.json; prints the figures with their spread. Interrupted, the same command goes on.
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
    return parser.parse_known_args(argv)


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take two seconds: --help and typos answer at once

import json
import statistics
import sys
from pathlib import Path

import numpy as np

import evaluate
import infer
import metrics
import train
from checkpoint import load_checkpoint
from data import hashed
from dataset import find_pairs
from files import MARK, BadInput, begin_folder, claim, write_text

FIGURES = {"accuracy": "accuracy", "mean_iou": "mean IoU", "mean_f1": "mean Dice (F1)", "image_iou": "IoU an image"}


def parts(names, count):
    """The names in `count` parts of equal size, but for one more in some, by a hash of the name."""
    shuffled = sorted(names, key=hashed)
    return [sorted(shuffled[part::count]) for part in range(count)]


def run_fold(args, words, fold, names):
    """Train without these names, test on them: the figures, as evaluate.py --json writes them."""
    out = Path(args.out) / f"fold{fold}"
    scores, listing = out / "scores.json", out / "test.txt"
    if scores.exists():
        return json.loads(scores.read_text(encoding="utf-8"))
    claim(listing)
    write_text(listing, "\n".join([f"# {MARK}", *names, ""]))
    settings = train.parse_arguments([*words, "--data", args.data, "--lists", str(out), "--out", str(out)])
    last = None
    if (out / "last.pt").exists():           # interrupted before: the same training goes on
        _, last = load_checkpoint(out / "last.pt")
    train.train(settings, last)
    tested, masks = Path(args.test_data or args.data), out / "masks"
    infer.infer(infer.parse_arguments([str(tested / "images"), str(masks), "--checkpoint", str(out / "model.pt"),
                                       "--only", str(listing)]))
    table = [str(path) for path in [tested / "classes.json"] if path.exists()]
    return evaluate.evaluate(evaluate.parse_arguments([
        str(masks), str(tested / "masks"), "--only", str(listing), "--json", str(scores),
        *(["--classes", *table] if table else [])]))


def crossvalidate(args, words):
    """Do what the arguments ask for (see parse_arguments)."""
    names = [name for name, *_ in find_pairs(args.data)]
    if len(names) < 2 * args.folds:
        raise BadInput(f"{args.data} holds {len(names)} pairs; expected at least {2 * args.folds}, two for each fold")
    if args.test_data:
        missing = set(names) - {name for name, *_ in find_pairs(args.test_data)}
        if missing:
            raise BadInput(f"{args.test_data} lacks {min(missing)}; expected all pairs of {args.data}")
    train.parse_arguments([*words, "--data", args.data])              # a wrong one is told now
    begin_folder(Path(args.out), {"arguments": words, "data": args.data, "folds": args.folds, "tested": args.test_data})
    report = claim(Path(args.out) / "crossvalidation.json")
    wanted = parts(names, args.folds)[:args.first]
    found = []
    for fold, part in enumerate(wanted):
        print(f"fold {fold + 1} of {len(wanted)}: {len(part)} images to test on")
        found.append(run_fold(args, words, fold, part))

    print(f"\n{sum(len(part) for part in wanted)} images, each tested by a network that did not learn from it")
    print(f"{'':<16}{'mean':>9}{'spread':>9}   each fold")
    for key, label in FIGURES.items():
        each = [one["overall"][key] for one in found if one["overall"][key] is not None]
        if each:
            spread = statistics.stdev(each) if len(each) > 1 else 0.0
            print(f"{label:<16}{statistics.mean(each):>9.4f}{spread:>9.4f}   {' '.join(f'{one:.4f}' for one in each)}")
    confusion = sum(np.array(one["confusion"]) for one in found)
    classes = [{"name": one["name"], "value": one["value"]} for one in found[0]["classes"]]
    print(f"all of them as one: accuracy {metrics.accuracy(confusion):.4f}, mean IoU "
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
    except KeyboardInterrupt:
        sys.exit("crossvalidate.py: interrupted; the same command goes on")


if __name__ == "__main__":
    main(*ARGS)
