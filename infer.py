"""Segment every image of a directory, sub-directories too: each gets a mask of the same name and size.

    python infer.py IMAGE_DIR OUTPUT_DIR                         with model.pt
    python infer.py IMAGE_DIR OUTPUT_DIR --checkpoint runs/name/model.pt --resume
    python infer.py IMAGE_DIR OUTPUT_DIR --onnx model.onnx       what export.py made of it, without PyTorch
    python infer.py IMAGE_DIR OUTPUT_DIR --score energy --reject 4.2      no mask for what looks unfamiliar, see ood.py
    torchrun --nproc-per-node 2 infer.py IMAGE_DIR OUTPUT_DIR    in several processes

Masks hold the values that the training's masks held. In a JPEG two classes are black and white, the brighter one
white, exact when thresholded at half; for more than two, a .jpg image gets a .png mask. Files that cannot be read are
listed at the end, after all others are done, and the exit status is 1. With --reject, rejected.csv in OUTPUT_DIR names
the images below the threshold, with their scores.
"""
from arguments import SCORES, Parser, add_adaptation, add_prediction_knobs, number


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("images", metavar="IMAGE_DIR", help="a directory of images")
    add("output", metavar="OUTPUT_DIR", help="where the masks go; not inside IMAGE_DIR")
    add("--checkpoint", metavar="FILE", help="a trained network (model.pt)")
    add("--onnx", metavar="FILE", help="what export.py made of one, instead; no safe format: trust its author")
    add("--format", choices=["auto", "png", "jpg"], default="auto",
        help="of the masks (auto: the image's own wherever that can hold them; jpg: of several classes, to look at)")
    add("--only", metavar="FILE", help="the images it names, without extension, one a line, as in test.txt (all)")
    add("--resume", action="store_true", help="leave out masks that are there already, whichever network made them")
    add("--reject", type=number(float, -1e9), metavar="THRESHOLD",
        help="write no mask for images with a lower --score (off)")
    add("--score", choices=SCORES, default="energy",
        help="how familiar an image looks (energy: works with all; features: needs BatchNorm and PyTorch); see ood.py")
    add_prediction_knobs(add)
    add_adaptation(add)
    args = parser.parse_args(argv)
    if args.onnx and args.score == "features" and args.reject is not None:
        parser.error("--score features: only PyTorch shows them; choose another score, or leave out --onnx")
    if args.onnx and args.adapt:
        parser.error("--adapt: only PyTorch can change BatchNorm's statistics; leave out --onnx")
    if args.onnx and (args.checkpoint or args.device == "cuda"):
        parser.error("--onnx: runs on the CPU, without --checkpoint; give one or the other")
    args.checkpoint = args.checkpoint or "model.pt"
    return args


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take two seconds: --help and typos answer at once

import csv
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data import black_and_white, find_images, for_the_eye, name_of, read_image, read_names, to_values
from files import MARK, BadInput, claim, is_jpeg, is_ours, keep_apart, write_image, write_whole
from ood import watch
from processes import RANK, WORLD

AHEAD = 4                        # images decoded, and masks not yet written, while the network works


def choose_images(folder, only=None):
    """The images in a folder and its sub-folders, as relative paths, in order. Raises BadInput."""
    found = find_images(folder)
    if only:
        names = set(read_names(only, {name_of(path, folder): path for path in found}))
        found = [path for path in found if name_of(path, folder) in names]
    return [path.relative_to(folder) for path in found]


def mask_paths(images, wanted, classes):
    """The relative path of each image's mask, see --format. Raises BadInput where two images would share one."""
    largest, paths = np.max([one["value"] for one in classes]), []
    for image in images:
        if wanted != "auto":
            path = image.with_suffix(f".{wanted}")
        elif is_jpeg(image) and len(classes) > 2 or largest > 255 and image.suffix.lower() in (".bmp", ".webp"):
            path = image.with_suffix(".png")            # a JPEG changes values, and 16 bits do not fit into the others
        else:
            path = image
        paths.append(path)
    taken = {}
    for image, path in zip(images, paths):
        # Some systems do not tell A from a.
        other, others_path = taken.setdefault(str(path).casefold(), (image, path))
        if other != image and (path != image or others_path != other):
            raise BadInput(f"{other} and {image} would both become {path}; rename one, or infer them apart")
    return paths


def write_mask(path, indices, classes):
    """Class indices uint8 (H, W) → a file of the masks' own values, or, as JPEG, of what stands for them."""
    if not is_jpeg(path):
        write_image(path, to_values(indices, classes))
    elif len(classes) == 2:
        write_image(path, black_and_white(indices, classes))
    else:
        write_image(path, for_the_eye(indices, classes))


def remove(path):
    try:
        path.unlink(missing_ok=True)
    except OSError as error:                 # Windows: another program shows it
        raise BadInput(f"{path} cannot be removed ({error.strerror}); close the program that has it open") from error


def write_rejected(path, score, rejected):
    """A table of the images that were rejected and why: [(name, score), …]."""
    with write_whole(path) as temporary, temporary.open(
            "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        csv.writer(file).writerows([(f"rejected by {MARK}", score), *rejected])


def decoded_ahead(pool, folder, images):
    """(image path, future of its pixels) one after the other; threads decode the next ones meanwhile."""
    waiting = deque()
    for image in images:
        waiting.append((image, pool.submit(read_image, folder / image)))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def open_network(args):
    """What `args` name: (function image → class indices, classes, where it runs, scores as ood.watch gives or None).

    Imports PyTorch only if needed.
    """
    names = [] if args.reject is None else [args.score]
    if args.onnx:
        if WORLD > 1:
            raise BadInput("--onnx: ONNX Runtime uses all cores by itself; expected no torchrun")
        from exported import load_exported, segmenter

        network, facts = load_exported(args.onnx)
        seen, scores = watch(names)
        return segmenter(network, facts, args.halo, args.tta, seen), facts["classes"], "ONNX Runtime", scores
    from checkpoint import load_checkpoint
    from distributed import join
    from model import pick_device
    from predict import segmenter

    device = pick_device(args.device)
    join(device)
    model, facts = load_checkpoint(args.checkpoint)
    seen, scores = watch(names, model)
    segment = segmenter(model, facts, device, args.halo, args.tta, seen, args.adapt)
    if not (args.adapt and names):
        return segment, facts["classes"], device, scores
    plain = segmenter(model, facts, device, args.halo, args.tta, seen)

    def judged(image):           # by the network as it was trained: adapted, it finds less unfamiliar
        indices = segment(image)
        scores()                 # what it saw while adapting does not count
        plain(image)
        return indices

    return judged, facts["classes"], device, scores


def of_all(items):
    """A list of this process → the lists of all processes as one."""
    if WORLD == 1:
        return items
    from distributed import gathered

    return gathered(items)


def infer(args):
    """Do what `args` ask for (see parse_arguments); returns a line for each image that failed."""
    began = time.perf_counter()
    folder, output = Path(args.images), Path(args.output)
    keep_apart(output, folder)
    segment, classes, device, scores = open_network(args)
    images = choose_images(folder, args.only)
    masks = dict(zip(images, mask_paths(images, args.format, classes)))
    renamed = sum(image != mask for image, mask in masks.items()) if args.format == "auto" else 0
    if renamed:
        print(f"masks that become .png, as the image's own format cannot hold their values exactly: {renamed}")

    network = args.onnx or args.checkpoint
    rejecting = args.reject is not None
    listed = output / "rejected.csv"
    if rejecting and RANK == 0:
        claim(listed, network)
    mine, failures, done, rejected = images[RANK::WORLD], [], [], []
    if args.resume:
        mine = [image for image in mine if not ((output / masks[image]).exists() and is_ours(output / masks[image]))]
    bar = tqdm(total=len(mine), unit="image", disable=RANK > 0 or None)      # None: where nobody looks on
    with ThreadPoolExecutor() as pool, bar:
        writing = deque()

        def finish(most):        # wait until at most so many masks are left to write
            while len(writing) > most:
                image, written = writing.popleft()
                try:
                    written.result()
                    done.append(image)
                except BadInput as error:
                    failures.append(str(error))
                bar.update()

        for image, pixels in decoded_ahead(pool, folder, mine):
            try:
                path, indices = claim(output / masks[image], folder / image, network), segment(pixels.result())
                if rejecting and (score := scores()[args.score]) < args.reject:
                    remove(path)                         # of an earlier run, that kept it
                    rejected.append((image.as_posix(), score))
                    bar.update()
                else:
                    writing.append((image, pool.submit(write_mask, path, indices, classes)))
            except BadInput as error:
                failures.append(str(error))
                bar.update()
            finish(AHEAD)
        finish(0)

    failures, done, rejected = sorted(of_all(failures)), len(of_all(done)), sorted(of_all(rejected))
    if RANK == 0 and rejecting:
        write_rejected(listed, args.score, rejected)
    elif RANK == 0 and listed.exists() and is_ours(listed):
        remove(listed)           # of an earlier run: no image is rejected any more
    seconds = time.perf_counter() - began
    there = len(images) - done - len(failures) - len(rejected)
    print(f"{done} masks in {output}" + (f", {there} were there" if args.resume else "") +
          (f", {len(rejected)} images rejected" if rejecting else "") +
          f"; {seconds:.1f} s on {device}, {seconds / max(done + len(rejected), 1):.2f} s an image")
    return failures


def main(args):
    try:
        failures = infer(args)
    except BadInput as error:
        sys.exit(f"infer.py: {error}")
    except KeyboardInterrupt:
        sys.exit("infer.py: interrupted; go on with --resume")
    if WORLD > 1:
        from distributed import leave

        leave()
    if failures and RANK == 0:
        sys.exit("\n".join([f"infer.py: {len(failures)} images failed:", *failures]))


if __name__ == "__main__":
    main(ARGS)
