"""Score a folder of predicted masks against a folder of true ones, paired by name, whatever the extensions.

    python evaluate.py predicted data/masks --only data/test.txt
    python evaluate.py predicted data/masks --json scores.json --worst 5 --images data/images
    python evaluate.py predicted data/masks --gallery 2      draws the 2 best, median and worst

Classes are those of the table given, or of classes.json in MASK_DIR or beside it, or else the values that the true
masks hold. Black and white predictions, and without a table true masks too, may be 0 and 1, 0 and 255, or JPEGs.
"""
from support.arguments import evaluate_arguments
from support.script import run_script

if __name__ == "__main__":
    ARGS = evaluate_arguments(description=__doc__)

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

import metrics
from support.classes import name_two_classes, palettes_differ, read_rendering, scan_classes, table_classes, void_hint
from support.files import PICTURES, BadInput, check_writable, is_jpeg, is_ours, keep_apart, write_json
from support.images import find_rendering, is_lossy, read_image
from support.machine import in_threads
from support.masks import (
    IGNORE,
    are_coloured,
    brighter_index,
    foreground_index,
    nodata_of,
    nodata_values,
    read_mask,
    same_size,
    to_indices,
)
from support.names import first_few, images_by_name, read_names
from support.notes import print_notes


def find_pairs(args: Namespace) -> tuple[list[tuple[str, Path, Path]], list[str], list[str]]:
    """Return [(name, predicted mask, true mask), …], the names without prediction, those without truth.

    Raises BadInput.
    """
    predictions, truths = images_by_name(args.predictions), images_by_name(args.masks)
    names = read_names(args.only, truths) if args.only else list(truths)
    missing = [name for name in names if name not in predictions]
    surplus = [name for name in predictions if name not in truths]
    if len(missing) == len(names):
        raise BadInput(f"{args.predictions} holds {first_few(list(predictions))}, but none of {first_few(names)}; "
                       "expected predictions named as the true masks are")
    messages = []
    if missing:
        messages.append(f"{len(missing)} of {len(names)} true masks have no prediction: {first_few(missing)}")
    if surplus:
        messages.append(f"{len(surplus)} predictions have no true mask: {first_few(surplus)}")
    beside = Path(args.predictions).resolve().parent / "val.txt"
    if not args.only and beside.is_file() and is_ours(beside):
        held_out = set(read_names(beside))
        if not held_out.isdisjoint(names) and not held_out.issuperset(names):
            print(f"some of these images were learned from, most likely: --only {beside} scores those that were not")
    if missing and args.missing == "stop":
        raise BadInput("; ".join(messages) + "; expected a prediction for each mask, or --only FILE, or --missing skip")
    for line in messages:
        print(f"left out: {line}")
    return [(name, predictions[name], truths[name]) for name in names if name in predictions], missing, surplus


def count_white(path: Path, threshold: int | None) -> tuple | None:
    """Return (white pixels, all pixels) of a mask that is black and white, in whatever encoding; None for any other."""
    mask = read_mask(path, threshold)
    if mask.ndim == 3:
        return None
    if threshold is None and is_lossy(path):            # which blurs, but little
        return (np.count_nonzero(mask > 127), mask.size) if ((mask < 64) | (mask > 191)).mean() > 0.99 else None
    plain = mask.max() in (0, 1, 255) and ((mask == 0) | (mask == mask.max())).all()
    return (np.count_nonzero(mask), mask.size) if plain else None


def table_of_masks(args: Namespace) -> Path | str | None:
    """Return the path of the class table: the one given, else classes.json among the true masks or beside them."""
    masks = Path(args.masks)
    beside_it = masks.absolute().parent, masks.resolve().parent       # it may be a link
    tables = [folder / "classes.json" for folder in (masks, *beside_it)]
    return args.classes or next((path for path in tables if path.exists()), None)


def decide_classes(args: Namespace, truths: list[Path]) -> tuple[list[dict], list, bool]:
    """Return (classes, values to ignore, whether the truths may be in any encoding of black and white).

    `truths` are the paths of the true masks. Raises BadInput.
    """
    table = table_of_masks(args)
    if table and not args.threshold:
        found = table_classes(table, truths)
        print(f"classes as in {table}")
        return *found, False
    by_colour = not args.threshold and palettes_differ(truths)
    shares = [None] if by_colour else list(in_threads(lambda path: count_white(path, args.threshold), truths))
    if None in shares:
        print("classes as in the true masks")
        classes, ignore = scan_classes(truths)
        if hint := void_hint([entry["value"] for entry in classes]):
            print(hint)
        return classes, ignore, False
    white, pixels = map(sum, zip(*shares))
    names = name_two_classes(pixels - white, white)  # as in training
    print("black and white masks; the foreground is " +
          ("black, as white covers most" if names[0] == "foreground" else "white"))
    return [{"name": name, "value": value} for name, value in zip(names, (0, 255))], [], True


def read_as(path: Path, classes: list[dict], ignore: list, threshold: int | None = None, predicted: bool = False,
            any_encoding: bool = True) -> np.ndarray:
    """Return a mask as class indices, uint8 (H, W). Raises BadInput.

    With `any_encoding`, black and white masks may hold 0 and 1, 0 and 255 or be JPEGs; without, a mask holds
    the values of the classes, as in training. What a prediction that is a TIFF file says is no data is IGNORE.
    """
    mask, values = read_mask(path, threshold, are_coloured(classes)), [entry["value"] for entry in classes]
    if predicted:
        ignore = ignore + void_values(path, classes, ignore)
    brightest = np.max(values)
    lossy = is_lossy(path)
    kind = "a JPEG" if is_jpeg(path) else "a lossy file"
    if len(values) > 2 and lossy:
        raise BadInput(f"{path} is {kind}, which blurs values, and so cannot tell {len(values)} classes of the values "
                       f"{first_few([str(value) for value in values])} apart; expected a PNG")
    if mask.ndim == 3 and not are_coloured(classes):
        raise BadInput(f"{path} is coloured; expected grey values: {first_few([str(value) for value in values])}")
    if len(values) == 2 and lossy:                      # one class is brighter; infer.py writes it white
        if mask.any() and mask.max() < 32:
            raise BadInput(f"{path} is {kind} of values up to {mask.max()}; expected black and white, 0 and 255")
        half = brightest / 2 if 64 <= brightest <= 255 and mask.ndim == 2 else 128
        bright = (mask if mask.ndim == 2 else mask.mean(axis=2)) >= half
        return np.where(bright, brighter_index(classes), 1 - brighter_index(classes)).astype(np.uint8)
    if any_encoding and len(values) == 2 and 0 in values and mask.ndim == 2 and not ignore:
        if predicted and brightest in (1, 255) and 128 <= mask.max() <= 255:
            mask = np.where(mask >= 128, 255, 0)        # a grey prediction, thresholded at half
        if mask.max() in (1, 255):
            mask = np.where(mask == mask.max(), brightest, mask)      # 0 and 1 for 0 and 255, or the reverse
    return to_indices(mask, classes, path, ignore)


def void_values(path: Path, classes: list[dict], ignore: list) -> list[int | list[int]]:
    """Return the values that stand for no data, as a TIFF file says, but for those of classes or ignored anyway."""
    known, coloured = [entry["value"] for entry in classes] + ignore, are_coloured(classes)
    values = [[value] * 3 if coloured else value for value in nodata_values([nodata_of(path)])
              if value <= 255 or not coloured]
    return [value for value in values if value not in known]


def read_both(predicted: Path, true: Path, classes: list[dict], ignore: list, threshold: int | None,
              any_encoding: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return (truth, prediction) as class indices, uint8 (H, W). Raises BadInput where they cannot be compared.

    The prediction may be in any encoding of black and white, see read_as; the truth only with `any_encoding`.
    """
    truth = read_as(true, classes, ignore, threshold, any_encoding=any_encoding)
    prediction = read_as(predicted, classes, ignore, predicted=True)
    same_size(predicted, prediction.shape, true, truth.shape)
    if void_values(predicted, classes, ignore):         # its image had no data there, so nothing is right or wrong
        truth = np.where(prediction == IGNORE, np.uint8(IGNORE), truth)
    if (prediction[truth != IGNORE] == IGNORE).any():
        raise BadInput(f"{predicted} holds a value to ignore where {true} has a class; expected one of the classes")
    return truth, prediction


def score_pairs(pairs: list[tuple[str, Path, Path]], load: Callable,
                classes: list[dict]) -> tuple[np.ndarray, list[float | None], list[dict]]:
    """Return the confusion matrix and boundary_f of all pairs together, and a row {"name", "iou", …} for each.

    `load` returns (truth, prediction) of a pair. Raises BadInput that names every pair that cannot be
    scored.
    """
    def score(pair):
        try:
            truth, prediction = load(pair)
            return (metrics.confusion_matrix(truth, prediction, len(classes)),
                    metrics.boundary_counts(truth, prediction, len(classes)))
        except BadInput as error:                # as a value, so that all are named and not only the first
            return error

    total, along, rows, failures = np.zeros((len(classes), len(classes)), np.int64), np.zeros(()), [], []
    scored = tqdm(in_threads(score, pairs), total=len(pairs), unit="mask", leave=False, disable=None)
    for (name, *_), counts in zip(pairs, scored):
        if isinstance(counts, BadInput):
            failures.append(str(counts))
            continue
        confusion, boundaries = counts
        total, along, ious = total + confusion, along + boundaries, metrics.iou(confusion)
        rows.append({"name": name, "iou": metrics.foreground_or_mean(ious, classes),
                     "accuracy": metrics.accuracy(confusion), "class_iou": ious,
                     "boundary_f": metrics.foreground_or_mean(metrics.boundary_f(boundaries), classes)})
    if failures:
        heading = [f"{len(failures)} of {len(pairs)} pairs cannot be scored:"] if len(failures) > 1 else []
        raise BadInput(*heading, *failures)
    return total, metrics.boundary_f(along), rows


def print_report(total: np.ndarray, figures: dict, classes: list[dict]) -> None:
    """Print the metrics of each class, from the confusion matrix of all masks, and of all masks."""
    names, index = [entry["name"] for entry in classes], foreground_index(classes)
    accuracy, mean_iou, mean_f1, image_iou, empty_as_1 = map(metrics.format_metric, figures["overall"].values())
    of_what = "their mean IoU" if index is None else f"the IoU of {names[index]}"
    boundaries = [entry["boundary_f"] for entry in figures["classes"]]
    print(f"{metrics.table(total, names, boundaries)}\nall {len(figures['images'])} masks as one: accuracy {accuracy}, "
          f"mean IoU {mean_iou}, mean F1 (that is Dice) {mean_f1}\nmean over the masks of {of_what}: {image_iou}")
    if figures["empty"]:
        print(f"  without {without_iou(figures['empty'], classes)}; with these counted as 1: {empty_as_1}")


def without_iou(empty: list[str], classes: list[dict]) -> str:
    """Return how many masks have no IoU, why, and their names."""
    index = foreground_index(classes)
    lacking = "pixel with a truth" if index is None else f"{classes[index]['name']}, neither true nor predicted"
    return f"{len(empty)} that have no {lacking}: {first_few(empty)}"


def draw(args: Namespace, ordered: list, load: Callable, images: dict[str, Path], classes: list[dict],
         out: Path) -> None:
    """Draw the masks that `args` ask for, of [(IoU, pair), …] from the worst to the best."""
    from support.plots import best_median_worst, draw_gallery, gallery_title  # matplotlib takes half a second

    chosen = [("", item) for item in ordered[:args.worst]] if args.worst else best_median_worst(ordered, args.gallery)
    paths, table = [images[pair[0]] for _, (_, pair) in chosen if pair[0] in images], table_of_masks(args)
    rendering = find_rendering(paths, read_rendering(table), table)
    image = lambda name: read_image(images[name], rendering=rendering) if name in images else None
    draw_gallery(((gallery_title(kind, pair[0], iou), image(pair[0]), *load(pair)) for kind, (iou, pair) in chosen),
                 classes, out)


def evaluate(args: Namespace) -> dict:
    """Score the folders that `args` name; returns all figures, as --json writes them. Raises BadInput."""
    pairs, missing, surplus = find_pairs(args)
    images = images_by_name(args.images) if args.images else {}
    inputs = [path for _, *both in pairs for path in both]
    inputs += [Path(path) for path in (args.only, table_of_masks(args)) if path]
    drawn = args.worst or args.gallery
    if drawn:
        keep_apart(args.out, args.predictions, args.masks, args.images)
    report = check_writable(args.json, *inputs, endings=[".json"]) if args.json else None
    out = check_writable(args.out, *inputs, *images.values(), endings=PICTURES) if drawn else None
    classes, ignore, any_encoding = decide_classes(args, [true for _, _, true in pairs])
    load = lambda pair: read_both(pair[1], pair[2], classes, ignore, args.threshold, any_encoding)
    total, boundaries, rows = score_pairs(pairs, load, classes)
    by_class = [{**entry, "boundary_f": score} for entry, score in zip(metrics.by_class(total, classes), boundaries)]
    figures = {"predictions": args.predictions, "masks": args.masks,
               "overall": metrics.overall(total, [row["iou"] for row in rows]),
               "classes": by_class, "ignore": ignore, "confusion": total.tolist(),
               "empty": [row["name"] for row in rows if row["iou"] is None], "without_prediction": missing,
               "without_truth": surplus, "images": rows}
    print_report(total, figures, classes)
    print_notes()
    if report:
        write_json(report, figures)
    ordered = sorted((row["iou"], pair) for row, pair in zip(rows, pairs) if row["iou"] is not None)
    if out and ordered:
        draw(args, ordered, load, images, classes, out)
    written = [str(path) for path in (report, out if ordered else None) if path]
    if written:
        print(f"see {' and '.join(written)}")
    return figures


if __name__ == "__main__":
    run_script(evaluate, ARGS, __file__)
