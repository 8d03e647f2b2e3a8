"""Segment one image with a trained network.

    python predict.py                          rgb.png with model.pt, to predictions.jpg and predictions.png
    python predict.py photo.jpg --out photo_mask.png --overlay photo_outline.jpg
    python predict.py rgb.png --mask gt.png    and how right it is
"""
from support.arguments import predict_arguments
from support.script import run_script

if __name__ == "__main__":
    ARGS = predict_arguments(description=__doc__)    # first: PyTorch takes two seconds to import, a typo should not

import time
from argparse import Namespace
from pathlib import Path

import numpy as np

import metrics
from segmenter import Segmenter
from support.files import PICTURES, TIFFS, BadInput, check_no_truth, check_writable, is_jpeg, write_image
from support.geotiff import check_world, free_value, read_kept, write_placed
from support.large_tiff import LargeTiff, made_of, open_large, write_large
from support.masks import black_line, foreground_index, to_picture, to_values
from support.notes import print_notes
from support.probabilities import ENDINGS, beside, check_kind, empty_probabilities, write_probabilities
from support.sample import SAMPLE, write_sample

SHIPPED = Path(__file__).with_name("checkpoints") / "fcn.pt"     # learned from the bundled sample alone


def predict(args: Namespace) -> np.ndarray | None:
    """Segment the image that `args` name, write its mask, and return the class indices uint8 (H, W).

    Those of an image that is read by parts are not returned, as they may not fit into memory.
    """
    checkpoint = args.checkpoint or ("model.pt" if Path("model.pt").exists() else SHIPPED)
    segment = Segmenter.load(checkpoint, args.device, args.halo, args.tta, args.adapt, args.amp, args.opening)
    if args.image == SAMPLE[0] and not any(Path(path).exists() for path in SAMPLE):
        check_writable(args.out, endings=PICTURES + TIFFS)
        write_sample()
    if checkpoint == SHIPPED:
        print("there is no model.pt here: these are the weights that ship, which know only tissue as in the bundled "
              "photograph; python train.py learns from an image of yours")
    if segment.inexact:
        print(segment.inexact)
    large = open_large(args.image, segment.rendering, needs_whole(args, segment, Path(args.out)))
    if large:
        predict_large(args, segment, large, checkpoint)
        return None
    truth = None
    if args.mask:
        image, truth = segment.read_pair(args.image, args.mask)
    else:
        image = segment.read(args.image)
    out, lossless, overlay, maps = choose_outputs(args, checkpoint, segment.classes)
    kept, probabilities = read_kept(args.image, segment.rendering.bands), None
    if maps:
        probabilities = empty_probabilities(len(segment.classes), image.shape[:2], maps["probabilities"].parent)

    indices = segment(image, probabilities)                           # (H, W)

    write_placed(lossless, to_values(indices, segment.classes), kept, free_value(segment.classes), args.image)
    if out != lossless:
        write_placed(out, to_picture(indices, segment.classes), kept, None, args.image)
    if overlay:
        write_image(overlay, outline(image, indices))
    if probabilities is not None:
        write_probabilities(maps, probabilities, indices, segment.classes)
    shares = np.bincount(indices.ravel(), minlength=len(segment.classes)) / indices.size
    print(f"{args.image}, {image.shape[1]}x{image.shape[0]} pixels, by {checkpoint}: " +
          ", ".join(f"{entry['name']} {share:.1%}" for entry, share in zip(segment.classes, shares)) +
          "; see " + ", ".join(str(path) for path in dict.fromkeys((out, lossless, overlay, *maps.values())) if path))
    if not overlay and (line := black_line(segment.classes)):
        print(f"{lossless}: {line}; --overlay FILE shows where they are")
    print_notes()
    if truth is not None:
        print_scores(truth, indices, segment.classes)
    return indices


def needs_whole(args: Namespace, segment: Segmenter, out: Path) -> str:
    """Return what needs the whole image at once, as --overlay or a mask that ends in .png; "" if nothing does."""
    given = {**vars(args), "reject": vars(args).get("reject") is not None}           # 0 is a score, too
    for name in "mask", "overlay", "probabilities", "reject", "adapt", "opening":
        if given.get(name):
            return f"--{name}"
    if segment.zoom != 1:
        return f"the network's --zoom of {segment.zoom:g}, not 1,"
    return "" if out.suffix.lower() in TIFFS else f"a mask that ends in {out.suffix}, not .tif,"


def predict_large(args: Namespace, segment: Segmenter, image: LargeTiff, checkpoint: Path | str) -> None:
    """Segment an image that is read by parts, as predict does."""
    out = choose_outputs(args, checkpoint, segment.classes)[0]
    height, width, _ = image.shape
    print(f"{args.image}, {width}x{height} pixels: by parts; after an interruption, the same command goes on")
    began = time.perf_counter()
    segment_large(segment, args.image, image, out, checkpoint)
    print(f"by {checkpoint}, {time.perf_counter() - began:.1f} s; see {out}")
    if line := black_line(segment.classes):
        print(f"{out}: {line}")
    print_notes()


def segment_large(segment: Segmenter, source: Path | str, image: LargeTiff, out: Path, checkpoint: Path | str) -> None:
    """Segment an image that is read by parts and write its mask; after an interruption, it goes on."""
    segment.note_light(source, image)
    made = made_of(source, checkpoint, (*segment.options.values(), segment.in_16_bits))
    write_large(out, image, segment.by_rows, segment.classes, made)


def choose_outputs(args: Namespace, checkpoint: Path | str,
                   classes: list[dict]) -> tuple[Path, Path, Path | None, dict[str, Path]]:
    """Return the paths of the mask, its lossless twin, the overlay or None, and {what: path} of the probabilities.

    Raises BadInput.
    """
    inputs = [path for path in (args.image, args.mask, checkpoint, *SAMPLE) if path]
    check_no_truth(args.out)
    out = check_writable(args.out, *inputs, endings=PICTURES + TIFFS)
    lossless = check_writable(out.with_suffix(".png"), *inputs) if is_jpeg(out) else out
    check_world(args.image, out, lossless)
    overlay = check_writable(args.overlay, *inputs, endings=PICTURES) if args.overlay else None
    if overlay and overlay.resolve() in (out.resolve(), lossless.resolve()):
        raise BadInput(f"{overlay} is where the mask goes; expected another name after --overlay")
    if not args.probabilities:
        return out, lossless, overlay, {}
    probabilities = check_writable(args.probabilities, *inputs, endings=ENDINGS)
    check_kind(probabilities.suffix, classes)
    maps = {"probabilities": probabilities, "uncertainty": check_writable(beside(probabilities), *inputs)}
    for path in maps.values():
        if path.resolve() in [other.resolve() for other in (out, lossless, overlay) if other]:
            raise BadInput(f"{path} is where the mask or the overlay goes; expected another name after --probabilities")
    return out, lossless, overlay, maps


def outline(image: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return a copy of the image (H, W, 3) with a line two pixels wide where the class (H, W) changes."""
    drawn = image.copy()
    drawn[metrics.boundary(indices)] = 255, 0, 255                    # magenta
    return drawn


def print_scores(truth: np.ndarray, indices: np.ndarray, classes: list[dict]) -> None:
    """Print how right a prediction is: both are class indices (H, W)."""
    confusion = metrics.confusion_matrix(truth, indices, len(classes))
    boundaries = metrics.boundary_f(metrics.boundary_counts(truth, indices, len(classes)))
    print(metrics.table(confusion, [entry["name"] for entry in classes], boundaries))
    index = foreground_index(classes)
    name = "mean" if index is None else classes[index]["name"]
    iou, dice, boundary = (metrics.format_metric(metrics.foreground_or_mean(values, classes))
                           for values in (metrics.iou(confusion), metrics.dice(confusion), boundaries))
    print(f"pixels: {name} IoU {iou}, Dice {dice}, accuracy {metrics.format_metric(metrics.accuracy(confusion))}")
    print(f"boundaries: {name} F {boundary}, where up to {metrics.NEAR} pixels off is right; objects are not counted")


if __name__ == "__main__":
    run_script(predict, ARGS, __file__)
