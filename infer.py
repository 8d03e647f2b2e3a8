"""Segment every image of a directory, sub-directories too: each gets a mask of the same name and size.

    python infer.py IMAGE_DIR OUTPUT_DIR                         with model.pt
    python infer.py IMAGE_DIR OUTPUT_DIR --checkpoint runs/name/model.pt --resume
    python infer.py IMAGE_DIR OUTPUT_DIR --overlay DIR           also pictures: the images with the classes drawn in
    python infer.py IMAGE_DIR OUTPUT_DIR --probabilities DIR     also how probable the classes are, and how unsure it is
    python infer.py IMAGE_DIR OUTPUT_DIR --onnx model.onnx       what tools.export made of it, without PyTorch
    python infer.py IMAGE_DIR OUTPUT_DIR --score energy --reject 4.2      no mask for what looks unfamiliar
    torchrun --nproc-per-node 2 infer.py IMAGE_DIR OUTPUT_DIR    in several processes

Masks hold the values that the training's masks held. In a JPEG two classes are black and white, the brighter one
white, exact when thresholded at half; for more than two, a .jpg image gets a .png mask. Files that cannot be read are
listed at the end, after all others are done, and the exit status is 1. With --reject, rejected.csv in OUTPUT_DIR names
the images below the threshold, with their scores; python -m tools.thresholds finds one.
"""
from support.arguments import infer_arguments
from support.script import run_script

if __name__ == "__main__":
    ARGS = infer_arguments(description=__doc__)  # first: PyTorch takes two seconds to import, a typo should not

import contextlib
import csv
import itertools
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from predict import needs_whole, outline, segment_large
from segmenter import Segmenter
from support.files import (
    STAMP,
    BadInput,
    check_no_truth,
    check_writable,
    is_jpeg,
    is_ours,
    keep_apart,
    keeps_changes,
    one_writer,
    remove,
    seal,
    write_image,
    write_whole,
)
from support.geotiff import check_world, free_value, read_kept, write_placed
from support.large_tiff import LargeTiff, open_large
from support.machine import RANK, WORLD
from support.masks import black_and_white, black_line, class_colours, to_picture, to_values
from support.names import WRITABLE, find_images, name_of, read_names
from support.notes import FOUND, note, print_notes
from support.onnx_file import load_onnx
from support.pairs import is_data_set
from support.probabilities import beside, check_kind, empty_probabilities, usual_ending, write_probabilities

AHEAD = 4                        # images decoded, and masks not yet written, while the network works


def choose_images(folder: Path | str, only: Path | str | None) -> list[Path]:
    """Return the images in a folder and its sub-folders, as relative paths, in order. Raises BadInput.

    `only` is a text file that names those that are wanted, if not all.
    """
    if Path(folder).is_file():
        raise BadInput(f"{folder} is a file; expected a folder of images (predict.py segments a single one)")
    if is_data_set(folder):
        raise BadInput(f"{folder} is a data set, with masks among its images; expected {Path(folder) / 'images'}")
    found = find_images(folder)
    if only:
        names = set(read_names(only, [name_of(path, folder) for path in found]))
        found = [path for path in found if name_of(path, folder) in names]
    return [path.relative_to(folder) for path in found]


def mask_paths(images: list[Path], wanted: str, classes: list[dict]) -> list[Path]:
    """Return the relative path of each image's mask, see --format. Raises BadInput where two would share one."""
    largest, paths = np.max([entry["value"] for entry in classes]), []
    for image in images:
        if wanted != "auto":
            path = image.with_suffix(f".{wanted}")
        elif (is_jpeg(image) and len(classes) > 2 or image.suffix.lower() not in WRITABLE or
              largest > 255 and image.suffix.lower() in (".bmp", ".webp")):
            path = image.with_suffix(".png")            # a JPEG changes values, and 16 bits do not fit into the others
        else:
            path = image
        paths.append(path)
    check_different(images, paths)
    return paths


def check_different(images: list[Path], paths: list[Path]) -> None:
    """Raise BadInput where two images would be written to one of these relative paths, of the same order."""
    taken = {}
    for image, path in zip(images, paths):
        # Some systems do not tell A from a.
        other, others_path = taken.setdefault(str(path).casefold(), (image, path))
        if other != image and (path != image or others_path != other):
            raise BadInput(f"{other} and {image} would both become {path}; rename one, or infer them apart")


def choose_paths(args: Namespace, images: list[Path], classes: list[dict]) -> dict[Path, dict[str, Path]]:
    """Return {image: {what: the path it goes to}}, see write_results. Raises BadInput."""
    places = {"mask": (args.output, mask_paths(images, args.format, classes))}
    if args.overlay:
        places["overlay"] = args.overlay, mask_paths(images, "jpg", classes)
    if args.probabilities:
        ending = usual_ending(classes)
        check_kind(ending, classes)
        maps = mask_paths(images, ending, classes)
        uncertain = [beside(path) for path in maps]
        check_different(2 * images, maps + uncertain)
        places |= {"probabilities": (args.probabilities, maps), "uncertainty": (args.probabilities, uncertain)}
    return {image: {what: Path(folder) / paths[number] for what, (folder, paths) in places.items()}
            for number, image in enumerate(images)}


def write_mask(path: Path, indices: np.ndarray, classes: list[dict], image: Path,
               bands: tuple[int, ...] | None = None) -> None:
    """Write class indices uint8 (H, W) as the masks' own values or, as JPEG, as what stands for them.

    The mask keeps what support/geotiff.py keeps of `image`, a file of which these bands are read.
    """
    if not is_jpeg(path):
        values = to_values(indices, classes)
    elif len(classes) == 2:
        values = black_and_white(indices, classes)
    else:
        values = to_picture(indices, classes)
    write_placed(path, values, read_kept(image, bands), free_value(classes), image)


def draw_overlay(image: np.ndarray, indices: np.ndarray, classes: list[dict]) -> np.ndarray:
    """Return an image (H, W, 3) with its classes, indices (H, W), in their colours below their outline.

    The background and black classes keep the image's colours, and so do two classes that are black and white.
    """
    tinted, colours = image, class_colours(classes)
    background = np.array([entry["name"] == "background" for entry in classes]) | ~colours[:len(classes)].any(axis=1)
    if len(classes) > 2 or isinstance(classes[0].get("colour", classes[0]["value"]), list):
        mixed = ((image.astype(np.uint16) + colours[indices]) // 2).astype(np.uint8)
        tinted = np.where(background[indices][:, :, None], image, mixed)
    return outline(tinted, indices)


def write_results(missing: dict[str, Path], source: Path, segment: Segmenter, image: np.ndarray, indices: np.ndarray,
                  probabilities: np.ndarray | None) -> None:
    """Write what is missing of the results, {what: path}, of an image that was read from the file `source`."""
    classes = segment.classes
    if "mask" in missing:
        write_mask(missing["mask"], indices, classes, source, segment.rendering.bands)
    if "overlay" in missing:
        write_image(missing["overlay"], draw_overlay(image, indices, classes))
    if probabilities is not None:
        write_probabilities(missing, probabilities, indices, classes)


def write_rejected(path: Path, score: str, rejected: list[tuple[str, float]]) -> None:
    """Write a table of the images that were rejected and why: [(name, score), …]."""
    with write_whole(path) as temporary:
        with temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            csv.writer(file).writerows([(f"rejected by {STAMP}", score), *rejected])
        seal(temporary)


def decode_ahead(pool: ThreadPoolExecutor, folder: Path, images: list[Path], read: Callable) -> Iterator[tuple]:
    """Yield (image path, future of what `read` makes of it) one after the other; threads decode the next ones."""
    waiting = deque()
    for image in images:
        waiting.append((image, pool.submit(read, folder / image)))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def open_segmenter(args: Namespace) -> Segmenter:
    """Return the network that `args` name as a Segmenter. PyTorch is imported only if it needs it. Raises BadInput."""
    if args.onnx:
        if WORLD > 1:
            raise BadInput("--onnx: ONNX Runtime uses all cores by itself; expected no torchrun")
        return Segmenter(*load_onnx(args.onnx), halo=args.halo, tta=args.tta, opening=args.opening)
    from support.devices import join_processes, pick_device

    device = pick_device(args.device)
    join_processes(device)
    segment = Segmenter.load(args.checkpoint, device, args.halo, args.tta, args.adapt, args.amp, args.opening)
    if args.reject is not None and args.score == "features":
        segment.feature_distance()           # raises BadInput for a network that has none
    return segment


def of_all(items: list) -> list:
    """Return the lists of all processes as one list."""
    if WORLD == 1:
        return items
    from support.devices import all_gather

    return all_gather(items)


class Results:
    """The outcome for all images: done (how many), rejected (name, score) and failures (lines of text)."""

    def __init__(self, bar: tqdm):
        self.done, self.rejected, self.failures, self.bar = 0, [], [], bar
        self.writing = deque()               # futures of masks that threads are writing

    def reject(self, image: Path, score: float) -> None:
        self.rejected.append((image.as_posix(), score))
        self.bar.update()

    def fail(self, error: BadInput) -> None:
        self.failures.append(str(error))
        self.bar.update()

    def finish(self) -> None:
        self.done += 1
        self.bar.update()

    def finish_writing(self, most: int = 0) -> None:
        """Wait until at most so many masks are left to write."""
        while len(self.writing) > most:
            try:
                self.writing.popleft().result()
            except BadInput as error:
                self.fail(error)
            else:
                self.finish()


def segment_all(args: Namespace, segment: Segmenter, images: list[Path],
                results_of: dict[Path, dict[str, Path]]) -> Results:
    """Segment these images and write what they lack of results_of, {image: {what: path}}; returns the Results.

    Threads write, while the next images go on.
    """
    folder, network = Path(args.images), args.onnx or args.checkpoint
    bar = tqdm(total=len(images), unit="image", disable=RANK > 0 or None)        # None: where nobody looks on
    results = Results(bar)

    def read(source):
        whole = needs_whole(args, segment, results_of[source.relative_to(folder)]["mask"])
        return open_large(source, segment.rendering, whole) or segment.read(source)

    def segment_one(image, pixels):
        missing = {what: path for what, path in results_of[image].items() if not (args.resume and path.exists())}
        for path in missing.values():
            check_writable(path, folder / image, network)
        if "mask" in missing:
            check_world(folder / image, missing["mask"])
        pixels, probabilities = pixels.result(), None
        if isinstance(pixels, LargeTiff):
            segment_large(segment, folder / image, pixels, missing["mask"], network)
            return results.finish()
        if {"probabilities", "uncertainty"} & set(missing):
            probabilities = empty_probabilities(len(segment.classes), pixels.shape[:2], Path(args.probabilities))
        if args.reject is None:
            indices = segment(pixels, probabilities)                  # (H, W)
        else:
            indices, scores = segment.with_scores(pixels, [args.score], probabilities)
            if scores[args.score] < args.reject:
                for path in missing.values():
                    remove(path)             # an earlier run may have kept it
                return results.reject(image, scores[args.score])
        results.writing.append(
            pool.submit(write_results, missing, folder / image, segment, pixels, indices, probabilities))

    with ThreadPoolExecutor() as pool, bar:
        for image, pixels in decode_ahead(pool, folder, images, read):
            try:
                segment_one(image, pixels)
            except BadInput as error:
                results.fail(error)
            results.finish_writing(1 if args.probabilities else AHEAD)       # these are large
        results.finish_writing()
    return results


def infer(args: Namespace) -> list[str]:
    """Segment the directory that `args` name; returns a line for each image that failed."""
    folders = {"masks": args.output, "overlays": args.overlay, "probabilities": args.probabilities}
    folders = {what: folder for what, folder in folders.items() if folder}
    for what, folder in folders.items():
        keep_apart(folder, args.images)
        if Path(folder).is_file():
            raise BadInput(f"{folder} is a file; expected a folder, for the {what}")
        check_no_truth(folder)
    for inner, outer in itertools.permutations(folders.values(), 2):
        keep_apart(inner, outer)
    segment = open_segmenter(args)
    if segment.inexact:
        print(segment.inexact)
    images = choose_images(Path(args.images), args.only)
    paths = choose_paths(args, images, segment.classes)
    with contextlib.ExitStack() as stack:
        for folder in folders.values() if RANK == 0 else []:
            stack.enter_context(one_writer(folder))
        return write_all(args, segment, paths)


def write_all(args: Namespace, segment: Segmenter, paths: dict[Path, dict[str, Path]]) -> list[str]:
    """Segment images and write the results, {image: {what: path}}; returns a line for each image that failed."""
    began, output = time.perf_counter(), Path(args.output)
    renamed = sum(output / image != paths[image]["mask"] for image in paths) if args.format == "auto" else 0
    if renamed:
        print(f"masks that become .png, as the image's own format cannot hold their values exactly: {renamed}")
    rejecting, listed = args.reject is not None, output / "rejected.csv"
    if rejecting and RANK == 0:
        check_writable(listed, args.onnx or args.checkpoint)
    if WORLD > 1:
        from support.devices import barrier

        barrier()                # none writes before the first one has found that it may
    mine = list(paths)[RANK::WORLD]
    if args.resume:
        is_there = lambda path: keeps_changes(path) or path.exists()
        # A list inside of all(): each file that is kept is asked about, and named.
        mine = [image for image in mine if not all([is_there(path) for path in paths[image].values()])]

    results = segment_all(args, segment, mine, paths)

    failures, rejected = sorted(of_all(results.failures)), sorted(of_all(results.rejected))
    done = sum(of_all([results.done]))
    for path, remark in of_all([(path, remark) for remark, files in FOUND.items() for path in files]):
        note(path, remark)
    if RANK == 0 and rejecting:
        write_rejected(listed, args.score, rejected)
    elif RANK == 0 and not args.only and listed.exists() and is_ours(listed):
        remove(listed)           # of an earlier run: no image is rejected any more
    seconds = time.perf_counter() - began
    there = len(paths) - done - len(failures) - len(rejected)
    print(f"{done} masks in {output}" + (f" with overlays in {args.overlay}" if args.overlay else "") +
          (f" with probabilities in {args.probabilities}" if args.probabilities else "") +
          (f", {there} were there" if args.resume else "") +
          (f", {len(rejected)} images rejected" if rejecting else "") +
          f"; by {args.onnx or args.checkpoint}, {seconds:.1f} s on {'ONNX Runtime' if args.onnx else segment.device}, "
          f"{seconds / max(done + len(rejected), 1):.2f} s an image")
    if done and not args.overlay and (line := black_line(segment.classes)):
        print(f"{output}: {line}; --overlay DIR shows where they are")
    print_notes()
    return failures


def main(args: Namespace) -> None:
    failures = infer(args)
    if WORLD > 1:
        from support.devices import leave_processes

        leave_processes()
    if failures and RANK == 0:
        heading = [f"{len(failures)} images failed:"] if len(failures) > 1 else []
        raise BadInput(*heading, *failures)


if __name__ == "__main__":
    run_script(main, ARGS, __file__, interrupted="interrupted; go on with --resume")
