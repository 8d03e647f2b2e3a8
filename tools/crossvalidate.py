"""Train on all but a part of a folder and test on that part, for each part in turn: figures for small data sets.

    python -m tools.crossvalidate --folds 5 --out runs/name --data DIR --model unet --time-limit 10
    python -m tools.crossvalidate --folds 5 --out runs/name @challenges/coco/train.args --data DIR

All other arguments are train.py's. Which image belongs to which part is decided by a hash of its name (whatever lists
are in the folder); --val-share of the others is for choosing the epoch. Writes runs/name/fold0 and so on, each a
finished training with its scores.json; runs/name/predictions, a mask for every image, by the network that did not learn
from it, for evaluate.py; and crossvalidation.json. Prints the figures with their spread. Interrupted, the same command
goes on.
"""
from support.arguments import train_arguments
from support.script import as_path, run_script
from tools.arguments import crossvalidate_arguments

if __name__ == "__main__":
    ARGS = crossvalidate_arguments(description=__doc__)     # before the imports that take seconds

import hashlib
import json
from pathlib import Path

import numpy as np

import metrics
import train
from data import find_pairs, find_table
from model import load_network
from segmenter import Segmenter
from support.classes import read_rendering
from support.files import (
    BadInput,
    begin_folder,
    check_writable,
    keep_apart,
    set_of_files,
    write_image,
    write_json,
)
from support.machine import WORLD
from support.masks import to_values
from support.names import hash_to_unit, write_names
from support.scan import scan_pairs
from tools.scoring import find_examples, score

FIGURES = {"accuracy": "accuracy", "mean_iou": "mean IoU", "mean_f1": "mean Dice (F1)", "image_iou": "IoU an image"}


def parts(names, count):
    """Return the names in `count` parts of equal size, but for one more in some, by a hash of the name."""
    shuffled = sorted(names, key=hash_to_unit)
    return [sorted(shuffled[part::count]) for part in range(count)]


def run_fold(args, words, out, names):
    """Train without these names, test on them, and return {"classes", "confusion", "overall", "images"}.

    Also writes these figures, and the predicted masks.
    """
    scores, listed = check_writable(out / "scores.json"), check_writable(out / "lists" / "test.txt")
    masks = {name: check_writable(out.parent / "predictions" / f"{name}.png") for name in names}
    if scores.exists() and all(path.exists() for path in masks.values()):
        return read_scores(scores)
    write_names(listed, names)
    last = None
    if (out / "last.pt").exists():           # interrupted before: the same training goes on
        _, last = load_network(out / "last.pt")
    paths = ["--data", as_path(args.data), "--lists", as_path(str(listed.parent)), "--out", as_path(str(out))]
    settings = train_arguments([*words, *paths])
    if settings.tensorboard:
        settings.tensorboard = str(Path(settings.tensorboard, out.name))
    if not (last and last["resume"].get("finished")):
        train.train(settings, last)
    segment, tested = Segmenter.load(out / "model.pt", settings.device), Path(args.test_data or args.data)
    classes = segment.classes
    examples = find_examples(tested / "images", tested / "masks", segment, names)
    keep = lambda name, indices: write_image(masks[name], to_values(indices, classes))
    found = score(examples, segment, classes, keep)
    figures = {"classes": classes, "confusion": found.confusion.tolist(),
               "overall": metrics.overall(found.confusion, found.ious),
               "images": [{"name": name, "iou": iou} for name, iou in zip(names, found.ious)]}
    write_json(scores, figures)
    return figures


def read_scores(path):
    """Return the figures of a fold that run_fold wrote. Raises BadInput."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        return {key: figures[key] for key in ("classes", "confusion", "overall", "images")}
    except (TypeError, ValueError, KeyError):
        raise BadInput(f"{path} is damaged; remove it, and the fold is tested again") from None


def crossvalidate(args, words):
    """Train and test all folds that `args` ask for; `words` are the arguments for train.py."""
    if WORLD > 1:
        raise BadInput("folds are trained one after the other; expected no torchrun")
    for folder in filter(None, [args.data, args.test_data]):
        keep_apart(args.out, Path(folder) / "images", Path(folder) / "masks")
    pairs = find_pairs(args.data)
    check_enough(args, pairs)
    tested = find_pairs(args.test_data) if args.test_data else []
    if tested:
        missing = {name for name, *_ in pairs} - {name for name, *_ in tested}
        if missing:
            raise BadInput(f"{args.test_data} lacks {min(missing)}; expected all pairs of {args.data}")
    settings = train_arguments([*words, "--data", as_path(args.data)])        # a wrong one is reported now
    out = Path(args.out)
    files, table = [path for _, *both in pairs for path in both], find_table(settings.data, settings.classes)
    said = read_rendering(table)                 # raises BadInput for a table that cannot be read
    made_of = {"arguments": " ".join(words), "data": args.data, "folds": args.folds, "tested": args.test_data,
               "set of files": set_of_files(files),
               "class table": table and hashlib.sha256(Path(table).read_bytes()).hexdigest()[:16]}
    with begin_folder(out, made_of, anew=not any(out.glob("fold*/last.pt"))):        # until something was trained
        pairs = scan_pairs(pairs, settings.threshold, said=said).pairs         # without those that cannot be read
        damaged = scan_pairs(tested, settings.threshold, said=said).damaged if tested else set()
        names = [name for name, *_ in pairs if name not in damaged]
        check_enough(args, names)
        run_folds(args, words, out, parts(names, args.folds)[:args.first])


def check_enough(args, pairs):
    """Raise BadInput where these are too few pairs for the folds."""
    if len(pairs) < 2 * args.folds:
        raise BadInput(f"{args.data} holds {len(pairs)} pairs; expected at least {2 * args.folds}, two for each fold")


def run_folds(args, words, out, wanted):
    """Train and test the folds, given the names that each is tested on, and write and print the figures of all."""
    report, found = check_writable(out / "crossvalidation.json"), []
    for fold, part in enumerate(wanted):
        print(f"fold {fold + 1} of {len(wanted)}: {len(part)} images to test on")
        found.append(run_fold(args, words, out / f"fold{fold}", part))

    print(f"\n{sum(map(len, wanted))} images, each tested by a network that did not learn from it")
    confusion, classes = sum(np.array(fold["confusion"]) for fold in found), found[0]["classes"]
    print_folds(found, confusion)
    write_json(report, {"classes": metrics.by_class(confusion, classes), "confusion": confusion.tolist(),
                        "folds": [fold["overall"] for fold in found]})


def print_folds(found, confusion):
    """Print mean and spread of the figures over the folds, and those of all their images as one `confusion` matrix."""
    print(f"{'':<16}{'mean':>9}{'spread':>9}   each fold")
    for key, label in FIGURES.items():
        each = [fold["overall"][key] for fold in found if fold["overall"][key] is not None]
        mean, spread = metrics.format_metric(metrics.mean(each)), metrics.format_metric(metrics.spread(each))
        print(f"{label:<16}{mean:>9}{spread:>9}   {' '.join(map(metrics.format_metric, each))}")
    accuracy, iou, dice = (metrics.format_metric(value) for value in (
        metrics.accuracy(confusion), metrics.mean(metrics.iou(confusion)), metrics.mean(metrics.dice(confusion))))
    print(f"all of them as one: accuracy {accuracy}, mean IoU {iou}, mean Dice {dice}")
    print(metrics.table(confusion, [entry["name"] for entry in found[0]["classes"]]))


if __name__ == "__main__":
    run_script(lambda both: crossvalidate(*both), ARGS, "tools.crossvalidate",
               interrupted="interrupted; the same command goes on")
