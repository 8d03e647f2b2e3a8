"""Score a folder of predicted masks against a folder of true ones, paired by name, whatever the extensions.

    python evaluate.py predicted data/masks --only data/test.txt
    python evaluate.py predicted data/masks --json scores.json --worst 5 --images data/images
    python evaluate.py predicted data/masks --gallery 2      draws the 2 best, median and worst

Black and white masks may be 0 and 1, 0 and 255, or JPEGs, and differ in that. Classes are those of the table given, or
of classes.json in MASK_DIR or beside it, or else the values that the true masks hold.
"""
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

import metrics
from arguments import Parser, number
from data import (
    IGNORE,
    brighter,
    find_classes,
    images_by_name,
    in_threads,
    name_two,
    read_classes,
    read_image,
    read_mask,
    read_names,
    same_size,
    some,
    to_indices,
)
from files import MARK, PICTURES, BadInput, claim, is_jpeg, write_text


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
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
    add("--gallery", type=number(int, 1, 15), metavar="N", help="draw the N best, N median and N worst instead (off)")
    add("--out", metavar="FILE", help="that picture, .png or .jpg (worst.png or gallery.png)")
    add("--images", metavar="DIR", help="the images themselves, to be shown in that picture")
    args = parser.parse_args(argv)
    if args.worst and args.gallery:
        parser.error("--worst and --gallery draw the same picture; expected one of them")
    if args.images and not (args.worst or args.gallery):
        parser.error("--images is for the picture that --worst or --gallery draws; expected both")
    if args.classes and args.threshold:
        parser.error("--threshold makes two classes; expected no --classes beside it")
    args.out = args.out or ("gallery.png" if args.gallery else "worst.png")
    return args


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


def black_or_white(path, threshold=None):
    """(white pixels, all pixels) of a mask that is just black and white, in whatever encoding; None for any other."""
    mask = read_mask(path, threshold)
    if mask.ndim == 3:
        return None
    if is_jpeg(path) and threshold is None:             # which blurs, but little
        return (np.count_nonzero(mask > 127), mask.size) if ((mask < 64) | (mask > 191)).mean() > 0.99 else None
    plain = mask.max() in (0, 1, 255) and ((mask == 0) | (mask == mask.max())).all()
    return (np.count_nonzero(mask), mask.size) if plain else None


def decide_classes(args, truths):
    """(classes, values to ignore) for the true masks at these paths. Raises BadInput."""
    beside = [Path(args.masks, "classes.json"), Path(args.masks, "..", "classes.json")]
    table = args.classes or next((path for path in beside if path.exists()), None)
    if table and not args.threshold:
        print(f"classes as in {table}")
        return read_classes(table)
    shares = list(in_threads(lambda path: black_or_white(path, args.threshold), truths))
    if None in shares:
        print("classes as in the true masks")
        return find_classes(in_threads(lambda path: (read_mask(path), path), truths)), []
    white, pixels = map(sum, zip(*shares))
    names = name_two(pixels - white, white)  # as in training
    print("black and white masks; the foreground is " +
          ("black, as white covers most" if names[0] == "foreground" else "white"))
    return [{"name": name, "value": value} for name, value in zip(names, (0, 255))], []


def read_as(path, classes, ignore, threshold=None, predicted=False):
    """A mask as class indices, uint8 (H, W); black and white ones in whatever encoding. Raises BadInput."""
    mask, values = read_mask(path, threshold), [one["value"] for one in classes]
    brightest = np.max(values)
    if len(values) > 2 and is_jpeg(path):
        raise BadInput(f"{path} is a JPEG, which blurs values, and so cannot tell {len(values)} classes of the values "
                       f"{some([str(value) for value in values])} apart; expected a PNG")
    if mask.ndim == 3 and not isinstance(values[0], list):
        raise BadInput(f"{path} is coloured; expected grey values: {some([str(value) for value in values])}")
    if len(values) == 2 and is_jpeg(path):              # one class is brighter; infer.py writes it white
        if mask.any() and mask.max() < 32:
            raise BadInput(f"{path} is a JPEG of values up to {mask.max()}; expected black and white, 0 and 255")
        half = brightest / 2 if 64 <= brightest <= 255 and mask.ndim == 2 else 128
        bright = (mask if mask.ndim == 2 else mask.mean(axis=2)) >= half
        return np.where(bright, brighter(classes), 1 - brighter(classes)).astype(np.uint8)
    if len(values) == 2 and 0 in values and mask.ndim == 2 and not ignore:
        if predicted and brightest in (1, 255) and 128 <= mask.max() <= 255:
            mask = np.where(mask >= 128, 255, 0)        # a grey prediction, thresholded at half
        if mask.max() in (1, 255):
            mask = np.where(mask == mask.max(), brightest, mask)      # 0 and 1 for 0 and 255, or the reverse
    return to_indices(mask, classes, path, ignore)


def read_both(predicted, true, classes, ignore, threshold=None):
    """(truth, prediction) as class indices, uint8 (H, W). Raises BadInput where they cannot be compared."""
    truth, prediction = read_as(true, classes, ignore, threshold), read_as(predicted, classes, ignore, predicted=True)
    same_size(predicted, prediction.shape, true, truth.shape)
    if (prediction[truth != IGNORE] == IGNORE).any():
        raise BadInput(f"{predicted} holds a value to ignore where {true} has a class; expected one of the classes")
    return truth, prediction


def evaluate(args):
    """Do what `args` ask for (see parse_arguments); returns all figures, as --json writes them."""
    pairs, missing, surplus = find_pairs(args)
    images = images_by_name(args.images) if args.images else {}
    inputs = [path for _, *both in pairs for path in both] + [path for path in (args.only, args.classes) if path]
    report = claim(args.json, *inputs, endings=[".json"]) if args.json else None
    drawn = args.worst or args.gallery
    out = claim(args.out, *inputs, *images.values(), endings=PICTURES) if drawn else None
    classes, ignore = decide_classes(args, [true for _, _, true in pairs])
    names = [one["name"] for one in classes]
    load = lambda pair: read_both(*pair[1:], classes, ignore, args.threshold)

    def score(pair):
        try:
            return metrics.confusion_matrix(*load(pair), len(classes))
        except BadInput as error:            # as a value, so that all are told and not only the first
            return error

    total, rows, failures = 0, [], []
    scored = tqdm(in_threads(score, pairs), total=len(pairs), unit="mask", leave=False, disable=None)
    for (name, *_), confusion in zip(pairs, scored):
        if isinstance(confusion, BadInput):
            failures.append(str(confusion))
            continue
        total, ious = total + confusion, metrics.iou(confusion)
        rows.append({"name": name, "iou": metrics.foreground(ious, classes), "accuracy": metrics.accuracy(confusion),
                     "class_iou": ious})
    if failures:
        raise BadInput("\n".join([f"{len(failures)} of {len(pairs)} pairs cannot be scored:"] * (len(failures) > 1) +
                                 failures))
    empty = [row["name"] for row in rows if row["iou"] is None]
    overall = metrics.overall(total, [row["iou"] for row in rows])
    figures = {"written by": MARK, "predictions": args.predictions, "masks": args.masks, "overall": overall,
               "classes": metrics.by_class(total, classes), "ignore": ignore, "confusion": total.tolist(),
               "empty": empty, "without_prediction": missing, "without_truth": surplus, "images": rows}

    accuracy, mean_iou, mean_f1, image_iou, empty_as_1 = map(metrics.text, overall.values())
    front = metrics.front(classes)
    of_what = "their mean IoU" if front is None else f"the IoU of {names[front]}"
    print(f"{metrics.table(total, names)}\nall {len(rows)} masks as one: accuracy {accuracy}, mean IoU {mean_iou}, "
          f"mean F1 (that is Dice) {mean_f1}\nmean over the masks of {of_what}: {image_iou}")
    if empty:
        lacking = "no pixel with a truth" if front is None else f"no {names[front]}, neither true nor predicted"
        print(f"  without {len(empty)} that have {lacking}: {some(empty)}; with these counted as 1: {empty_as_1}")
    if report:
        write_text(report, json.dumps(figures, indent=1, allow_nan=False))
    ordered = sorted((row["iou"], pair) for row, pair in zip(rows, pairs) if row["iou"] is not None)
    if out and ordered:
        from plots import draw_gallery, gallery_title

        shown = ([("", one) for one in ordered[:args.worst]] if args.worst
                 else metrics.best_median_worst(ordered, args.gallery))
        image = lambda name: read_image(images[name]) if name in images else None
        draw_gallery(((gallery_title(kind, pair[0], iou), image(pair[0]), *load(pair))
                      for kind, (iou, pair) in shown), classes, out)
    written = [str(path) for path in (report, out if ordered else None) if path]
    if written:
        print(f"see {' and '.join(written)}")
    return figures


def main(args):
    try:
        evaluate(args)
    except BadInput as error:
        sys.exit(f"evaluate.py: {error}")
    except KeyboardInterrupt:
        sys.exit("evaluate.py: interrupted")


if __name__ == "__main__":
    main(parse_arguments())
