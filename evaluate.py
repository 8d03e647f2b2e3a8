"""Score a folder of predicted masks against a folder of true ones, paired by name, whatever the extensions.

    python evaluate.py predicted data/masks --only data/test.txt
    python evaluate.py predicted data/masks --json scores.json --worst 5 --images data/images

Black and white masks may be 0 and 1, 0 and 255, or JPEGs, and differ in that. Other values are told apart by a class
table: the one given, classes.json in MASK_DIR or beside it, or else by what values the true masks hold.
"""
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

import metrics
from arguments import Parser, number
from data import IGNORE, find_classes, images_by_name, read_classes, read_image, read_mask, read_names, some, to_indices
from files import MARK, PICTURES, BadInput, claim, write_whole
from sample import BLACK_AND_WHITE


def parse_arguments(argv=None):
    parser = Parser(__doc__)
    add = parser.add_argument
    add("predictions", metavar="PRED_DIR", help="predicted masks, sub-folders too")
    add("masks", metavar="MASK_DIR", help="true masks of the same names, sub-folders too")
    add("--only", metavar="FILE", help="score those that this text file names, one a line, without extension (all)")
    add("--missing", choices=["stop", "skip"], default="stop", help="what to do at a mask without prediction (stop)")
    add("--classes", metavar="FILE", help="the class table (classes.json in MASK_DIR or beside it, where there is one)")
    add("--threshold", type=number(int, 1, 255), metavar="N",
        help="true mask pixels at least this bright are foreground, the rest background, whatever the table (off)")
    add("--json", metavar="FILE", help="also write all figures, with those of each image, for programs to read")
    add("--worst", type=number(int, 1, 50), metavar="N", help="also draw the N worst images (off)")
    add("--out", metavar="FILE", default="worst.png", help="that picture, .png or .jpg (worst.png)")
    add("--images", metavar="DIR", help="the images themselves, to be shown in that picture")
    return parser.parse_args(argv)


def find_pairs(args):
    """[(name, predicted mask, true mask), …], names without a prediction, names without a truth. Raises BadInput."""
    predictions, truths = images_by_name(args.predictions), images_by_name(args.masks)
    names = read_names(args.only, truths) if args.only else list(truths)
    missing = [name for name in names if name not in predictions]
    surplus = [name for name in predictions if name not in truths]
    if len(missing) == len(names):
        raise BadInput(f"{args.predictions} holds {some(list(predictions))}, but none of {some(names)}; expected "
                       "predictions named as the true masks are")
    told = [f"{len(missing)} of {len(names)} true masks have no prediction: {some(missing)}"] if missing else []
    told += [f"{len(surplus)} predictions have no true mask: {some(surplus)}"] if surplus else []
    if missing and args.missing == "stop":
        raise BadInput("; ".join(told) + "; expected a prediction for each mask, or --only FILE, or --missing skip")
    for line in told:
        print(f"left out: {line}")
    return [(name, predictions[name], truths[name]) for name in names if name in predictions], missing, surplus


def in_threads(function, items):
    """map(function, items), several at once, as decoders run beside each other, with few results held in memory."""
    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), 2 * workers):
            yield from pool.map(function, items[start:start + 2 * workers])


def is_jpeg(path):
    return path.suffix.lower() in (".jpg", ".jpeg")


def is_black_and_white(path):
    if is_jpeg(path):
        return True
    mask = read_mask(path)
    return mask.ndim == 2 and mask.max() in (0, 1, 255) and ((mask == 0) | (mask == mask.max())).all()


def decide_classes(args, truths):
    """(classes, values to ignore, whether masks are just black and white). Raises BadInput."""
    beside = [Path(args.masks, "classes.json"), Path(args.masks, "..", "classes.json")]
    table = args.classes or next((path for path in beside if path.exists()), None)
    if table and not args.threshold:
        print(f"classes as in {table}")
        return *read_classes(table), False
    if args.threshold or all(in_threads(is_black_and_white, truths)):
        print("black and white masks")
        return BLACK_AND_WHITE, [], True
    print("classes as in the true masks")
    return find_classes(in_threads(lambda path: (read_mask(path), path), truths)), [], False


def by_brightness(mask, path, classes):
    """Class indices, uint8 (H, W), of a mask of two classes, black and a brighter one, in whatever encoding."""
    values = [one["value"] for one in classes]
    if len(values) != 2 or 0 not in values:
        raise BadInput(f"{path} is a JPEG, which blurs values, and so cannot tell {len(values)} classes of the values "
                       f"{some([str(value) for value in values])} apart; expected a PNG")
    if mask.ndim == 3 and not is_jpeg(path):
        raise BadInput(f"{path} is coloured; expected black and white, as the true masks are")
    half = 1 if mask.max() == 1 else 128
    if is_jpeg(path):            # values close to 0 would drown in its noise: such masks are saved as 0 and 255
        half = max(values) / 2 if 32 <= max(values) <= 255 else 128
    bright = (mask if mask.ndim == 2 else mask.mean(axis=2)) >= half
    return np.where(bright, values.index(max(values)), values.index(0)).astype(np.uint8)


def read_both(predicted, true, classes, ignore, binary, threshold=None):
    """(truth, prediction) as class indices, uint8 (H, W). Raises BadInput where they cannot be compared."""
    def to_classes(mask, path, inexact):
        return by_brightness(mask, path, classes) if inexact else to_indices(mask, classes, path, ignore)

    truth = to_classes(read_mask(true, threshold), true, inexact=binary)
    prediction = to_classes(read_mask(predicted), predicted, inexact=binary or is_jpeg(predicted))
    if prediction.shape != truth.shape:
        sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in (prediction, truth)]
        raise BadInput(f"{predicted} is {sizes[0]} pixels, but {true} is {sizes[1]}; expected the true mask's size")
    if (prediction[truth != IGNORE] == IGNORE).any():
        raise BadInput(f"{predicted} holds a value to ignore where {true} has a class; expected one of the classes")
    return truth, prediction


def evaluate(args):
    """Do what `args` ask for (see parse_arguments); returns all figures, as --json writes them."""
    pairs, missing, surplus = find_pairs(args)
    images = images_by_name(args.images) if args.images else {}
    inputs = [path for _, *both in pairs for path in both] + [path for path in (args.only, args.classes) if path]
    report = claim(args.json, *inputs, endings=[".json"]) if args.json else None
    out = claim(args.out, *inputs, *images.values(), endings=PICTURES) if args.worst else None
    classes, *reading = decide_classes(args, [true for _, _, true in pairs])
    names = [one["name"] for one in classes]
    load = lambda pair: read_both(*pair[1:], classes, *reading, args.threshold)
    score = lambda pair: metrics.confusion_matrix(*load(pair), len(classes))

    total, rows = 0, []
    scored = tqdm(in_threads(score, pairs), total=len(pairs), unit="mask", leave=False, disable=None)
    for (name, *_), confusion in zip(pairs, scored):
        total, ious = total + confusion, metrics.iou(confusion)
        rows.append({"name": name, "iou": metrics.foreground(ious, classes), "accuracy": metrics.accuracy(confusion),
                     "class_iou": ious})
    empty = [row["name"] for row in rows if row["iou"] is None]
    overall = metrics.overall(total, [row["iou"] for row in rows])
    figures = {"written by": MARK, "predictions": args.predictions, "masks": args.masks, "overall": overall,
               "classes": metrics.by_class(total, classes), "ignore": reading[0], "confusion": total.tolist(),
               "empty": empty, "without_prediction": missing, "without_truth": surplus, "images": rows}

    accuracy, mean_iou, mean_f1, image_iou, empty_as_1 = map(metrics.text, overall.values())
    of_what, lacking = ("the foreground's", "foreground") if "foreground" in names else ("their mean", "truth")
    print(f"{metrics.table(total, names)}\n(dice is F1) all {len(rows)} masks as one: accuracy {accuracy}, mean IoU "
          f"{mean_iou}, mean F1 {mean_f1}\nmean over the masks of {of_what} IoU: {image_iou}")
    if empty:
        print(f"  without {len(empty)} that have no {lacking}: {some(empty)}; with these counted as 1: {empty_as_1}")
    if report:
        with write_whole(report) as temporary:
            temporary.write_text(json.dumps(figures, indent=1, allow_nan=False), encoding="utf-8")
    worst = sorted((row["iou"], pair) for row, pair in zip(rows, pairs) if row["iou"] is not None)[:args.worst]
    if out and worst:
        from plots import draw_worst

        image = lambda name: read_image(images[name]) if name in images else None
        draw_worst(((f"{pair[0]}: IoU {iou:.4f}", image(pair[0]), *load(pair)) for iou, pair in worst), classes, out)
    return figures


def main(args):
    sys.stdout.reconfigure(errors="backslashreplace")    # names may hold what a Windows console cannot show
    try:
        evaluate(args)
    except BadInput as error:
        sys.exit(f"evaluate.py: {error}")
    except KeyboardInterrupt:
        sys.exit("evaluate.py: interrupted")


if __name__ == "__main__":
    main(parse_arguments())
