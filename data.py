"""Data sets: which images and masks there are, how they are split, what reaches the training.

A folder holds images/ and masks/, paired by name without extension, and perhaps classes.json (see
support/classes.py, read_classes) and train.txt, val.txt, test.txt with such names, one a line. One image
and its mask are a data set of one.
"""
import functools
import hashlib
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from patches import Sampling, class_rows, cut_batches
from support.classes import print_classes, print_hints, read_rendering, scan_classes, table_classes
from support.files import BadInput
from support.images import AS_FOUND, Rendering, decide_rendering, head_and_length, read_image
from support.large_tiff import in_parts, stem_of
from support.light import EVIDENCE, count_colours, count_values, find_light
from support.machine import in_threads
from support.masks import IGNORE, are_coloured, read_mask, read_pair, to_indices
from support.memory import NAME, Figures
from support.names import PARTS, evenly_spaced, first_few, hash_to_unit, images_by_name, part_of, read_names
from support.notes import print_notes
from support.pairs import SEVERAL, command, convert_line, find_affixes, find_folders, is_data_set, show_objects
from support.scan import PairFacts, Scan, known_figures, progress, remember_scan, scan_pairs
from support.script import as_path, as_typed
from support.segments import Part

BY_HASH = "by a hash of the names"           # how a folder without lists is split
STATISTICS = 500                 # images that mean and standard deviation are taken from, at most


class Dataset:
    """A sequence of (image uint8 (H, W, 3), mask of class indices uint8 (H, W), its patches.class_rows).

    It is held in memory, or decoded when asked for, where `decode` makes such an image and mask of an item.
    `cumulative_counts`, (images, classes + 1), counts the pixels of each class, and of all classes together, in each
    image and those before it.
    """

    def __init__(self, items: list, counts: list[np.ndarray], areas: list[int], decode: Callable | None = None):
        self.items, self.decode = items, decode
        self.cumulative_counts = np.cumsum(np.column_stack([counts, areas]), axis=0)

    @classmethod
    def in_memory(cls, pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> "Dataset":
        """Return the data set of arrays, (image, mask of class indices). Raises ValueError where one does not fit."""
        items = [(image, mask, class_rows(mask, classes)) for image, mask in pairs]
        for image, mask, rows in items:
            if image.dtype != np.uint8 or image.shape != (*mask.shape, 3):
                raise ValueError(f"an image is {image.dtype} {image.shape}, its mask {mask.shape}; expected uint8 "
                                 "(H, W, 3) and (H, W) of the same height, width")
            if rows[:, -1].sum() + np.count_nonzero(mask == IGNORE) != mask.size:
                worst = mask[mask != IGNORE].max()
                raise ValueError(f"a mask holds {worst}; expected class indices 0 to {classes - 1}, or {IGNORE}")
        return cls(items, [rows[:, -1] for _, _, rows in items], [mask.size for _, mask, _ in items])

    def with_truth(self) -> list[int]:
        """Return the numbers of the images in which some pixel has a truth."""
        known = np.diff(self.cumulative_counts[:, :-1].sum(axis=1), prepend=0)
        return np.flatnonzero(known).tolist()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.decode is None:
            return self.items[number]
        image, mask = self.decode(*self.items[number])
        rows = class_rows(mask, self.cumulative_counts.shape[1] - 1)
        before = self.cumulative_counts[number - 1] if number else 0
        if not np.array_equal([*rows[:, -1], mask.size], self.cumulative_counts[number] - before):
            raise changed(self.items[number][1])
        return image, mask, rows


class TrainingData(NamedTuple):
    """The data sets that a training learns from and is validated on."""

    training: Dataset
    validation: Dataset
    classes: list                # as name_classes returns them
    ignore: list                 # mask values that are no class
    fingerprint: str             # of images, masks and split, so that a resumed training knows its data again
    held_out: list               # name of each image to validate on; none for one image
    rendering: Rendering = AS_FOUND      # how images are read: what is white, and which bands


# ---------------------------------------------------------------------------------------------------
# Which files there are


def find_pairs(folder: Path | str) -> list[tuple[str, Path, Path]]:
    """Return [(name, image path, mask path), …] of a folder, by name. Prints what has no partner. Raises BadInput."""
    above = os.path.normpath(Path(folder, ".."))
    if Path(folder).is_dir() and not is_data_set(folder) and is_data_set(above):
        raise BadInput(f"{folder} is part of a data set; expected the folder that holds images/ and masks/: "
                       f"--data {as_typed(as_path(above))}")
    for part in (folder, Path(folder) / "images", Path(folder) / "masks"):
        if not Path(part).is_dir():
            line = find_folders(folder) or "python -m tools.convert"
            raise BadInput(f"{part} is no folder; expected a data set: {Path(folder) / 'images'} and "
                           f"{Path(folder) / 'masks'}; {line} makes one of other folders")
    images, masks = images_by_name(Path(folder) / "images"), images_by_name(Path(folder) / "masks")
    pairs = [(stem, images[stem], masks[stem]) for stem in images if stem in masks]
    if not pairs:
        raise BadInput(no_pair(folder, images, masks))
    for kind, here, there in [("images without a mask", images, masks), ("masks without an image", masks, images)]:
        alone = [here[stem].name for stem in here if stem not in there]
        if alone:
            print(f"left out: {len(alone)} {kind}: {first_few(alone)}")
    if show_objects(list(images), list(masks)):
        print(SEVERAL.format(command("objects", folder)))
    return pairs


def no_pair(folder: Path | str, images: dict[str, Path], masks: dict[str, Path]) -> str:
    """Return the message for a folder whose images and masks, {name: path}, have no name in common."""
    some = [next(iter(paths.values())).relative_to(folder).as_posix() for paths in (images, masks)]
    told = (f"{folder} holds {len(images)} images and {len(masks)} masks, but no pair: {some[0]}, {some[1]}; expected "
            "images/NAME.jpg (or .png, .tif, ...) and masks/NAME.png, each with the same NAME")
    if {name.casefold() for name in images} & {name.casefold() for name in masks}:
        return f"{told}, in the same small and capital letters"
    if show_objects(list(images), list(masks)):
        return f"{told}; {command('objects', folder)} joins several masks of an image"
    affixes = find_affixes(list(images), list(masks))
    if affixes is None:
        return told
    line = convert_line([Path(folder) / "images"], [Path(folder) / "masks"], affixes)
    return f"{told}; {line} makes pairs of them"


def read_lists(folder: Path | str, stems: Collection[str], images: Collection[str]) -> dict[str, list[str]]:
    """Return {"train": names, …} of the lists that a folder has.

    `stems` are the names of all pairs, `images` those of all images, with or without a mask. Raises BadInput
    for a name that is not there or stands in two lists.
    """
    listed, where = {}, {}
    for part in PARTS:
        path = Path(folder) / f"{part}.txt"
        if not path.exists():
            continue
        listed[part] = read_names(path, images if part == "test" else stems)     # those may have no masks
        for name in listed[part]:
            if name in where:
                raise BadInput(f"{path} names {name}, which {where[name]} names, too; expected each name once")
            where[name] = path.name
    return listed


def split(stems: Sequence[str], folder: Path | str, share: float,
          images: Collection[str] | None = None, damaged: Collection[str] = ()) -> tuple[list[str], list[str], str]:
    """Return the names to train on, those to validate on, each in the order of `stems`, and how that was decided.

    train.txt, val.txt and test.txt in the folder decide, where they are. An image that they do not name joins the
    part that has no list; one that test.txt names, which may be any of `images` (by default, of `stems`), joins
    neither. Without lists, a hash of the name puts a `share` of the images into validation: files that come later
    do not move those that are there, unless these are so few that one part would be empty. Lists may also name the
    `damaged`, which join neither. Raises BadInput.
    """
    listed = read_lists(folder, [*stems, *damaged], [*stems, *damaged] if images is None else images)
    listed = {part: [name for name in names if name not in damaged] for part, names in listed.items()}
    training, validation = listed.get("train"), listed.get("val")
    named = {name for names in listed.values() for name in names}
    rest = [stem for stem in stems if stem not in named]
    if validation is None and (training is None or not rest):
        if not (training or rest):
            raise BadInput(f"{Path(folder) / 'test.txt'} names all images; expected some to train on")
        training, validation = split_off(training or rest, share)
        how = BY_HASH
    else:
        how = "by " + " and ".join(f"{part}.txt" for part in listed)
        if training is not None and validation is not None and rest:
            print(f"left out: {len(rest)} pairs that neither train.txt nor val.txt names: {first_few(rest)}")
        training, validation = rest if training is None else training, rest if validation is None else validation
    if not training or not validation:
        raise BadInput(f"{folder}: {how} {len(training)} images are to train on and {len(validation)} to validate on; "
                       "expected some for each")
    learnt, held_out = set(training), set(validation)
    return [stem for stem in stems if stem in learnt], [stem for stem in stems if stem in held_out], how


def split_off(names: list[str], share: float) -> tuple[list[str], list[str]]:
    """Return (most of the names, a `share` of them), by a hash of each name; some of both, where there are two."""
    ordered = sorted(names, key=hash_to_unit)
    count = sum(hash_to_unit(name) < share for name in names)
    count = min(max(count, 1), max(len(names) - 1, 1))
    return ordered[count:], ordered[:count]


def hold_out(image: np.ndarray, mask: np.ndarray, least: int, gap: int, share: float) -> tuple[list, list]:
    """Cut a validation strip out of one image: ([(image, mask), …] to train on, [(image, mask)] to validate on).

    The strip takes `share` of a side. Of nine places along each it gets the best one by strip_quality; across the
    shorter side, only where that leaves more classes. `gap` pixels on either side of it are in neither part, as
    neighbours are alike. Training parts narrower than `least` are dropped. An image that cannot be cut, being too
    short or with a truth in too few places, comes back whole, one list for both.
    """
    longer = int(mask.shape[1] > mask.shape[0])
    choices = []
    for axis in longer, 1 - longer:
        length = mask.shape[axis]
        strip = round(share * length)
        before = np.pad(class_rows(mask.T if axis else mask, IGNORE), [(0, 0), (1, 0)])          # (classes, length + 1)
        for start in np.linspace(0, length - strip, 9).astype(int).tolist():
            held_out = start, start + strip
            training = [(first, stop) for first, stop in [(0, start - gap), (start + strip + gap, length)]
                        if stop - first >= least]
            learnt, held = (sum((before[:, stop] - before[:, first] for first, stop in bounds), np.zeros(IGNORE, int))
                            for bounds in (training, [held_out]))        # pixels of each class
            if learnt.any() and held.any():
                kept, shown, likeness = strip_quality(learnt, held, before[:, -1])
                choices.append(((kept, shown, axis == longer, likeness), axis, training, held_out))
    if not choices:
        whole = [(image, mask)]
        return whole, whole
    _, axis, training, held_out = max(choices, key=lambda choice: choice[0])

    def cut(start, stop):
        where = np.s_[:, start:stop] if axis else np.s_[start:stop]
        return image[where], mask[where]

    return [cut(*bounds) for bounds in training], [cut(*held_out)]


def strip_quality(training: np.ndarray, strip: np.ndarray, whole: np.ndarray) -> tuple[int, int, float]:
    """Return the key by which strips to validate on are compared; the arrays count the pixels of each class.

    A strip is better where more classes keep at least half of their pixels to be learned from, then where more of
    these occur in it, too, then where its shares are more like those of the whole.
    """
    learnt = 2 * training >= whole
    held_out, shares = (counts / max(int(counts.sum()), 1) for counts in (strip, whole))
    return (int(np.count_nonzero(learnt & (whole > 0))), int(np.count_nonzero(learnt & (strip > 0))),
            -float(np.abs(held_out - shares).sum()))


# ---------------------------------------------------------------------------------------------------
# Files → data sets


class Reading(NamedTuple):
    """How the files of a data set are read, see read_pair."""

    classes: list[dict]
    ignore: list
    threshold: int | None
    rendering: Rendering         # of images: what is white, and which bands


def decide_reading(scan: Scan, table: Path | str | None, threshold: int | None) -> Reading:
    """Return the Reading of the pairs in a Scan, whose classes are those of a `table`, else those found in masks.

    Prints what was decided. Raises BadInput.
    """
    rendering = decide_rendering(scan.said, max(facts.image.highest for facts in scan.facts), table)
    masks, facts = [mask for *_, mask in scan.pairs], [facts.mask for facts in scan.facts]
    found = table_classes(table, masks, threshold, facts) if table else scan_classes(masks, threshold, facts)
    return Reading(*found, threshold, rendering)


class PairInfo(NamedTuple):
    """The figures of a pair that are collected before the training."""

    counts: np.ndarray           # pixels of each class, (classes,)
    digest: str                  # of the mask, and of the image file's start and length
    item: Any                    # (image, mask, rows), where it is held in memory, else None


def inspect_pairs(scan: Scan, reading: Reading) -> list[PairInfo]:
    """Return the PairInfo of each pair in a Scan: remembered, or found by reading the pair again."""
    known = {} if scan.fits else known_figures(scan, reading)

    def inspect(both):
        pair, facts = both
        figures = known.get(pair[0])
        if figures:
            return PairInfo(np.array(figures.counts), figures.digest, None)
        return inspect_pair(pair, reading, scan.fits, scan.images.get(pair[0]), facts.mask.size)

    return list(progress(in_threads(inspect, zip(scan.pairs, scan.facts)), len(scan.pairs)))


def inspect_pair(pair: tuple[str, Path, Path], reading: Reading, hold: bool, image: np.ndarray | None,
                 size: tuple[int, int]) -> PairInfo:
    """Return the PairInfo of a pair; to `hold` it, its `image` is read unless it is given.

    Raises BadInput, also where either has another size by now.
    """
    _, image_path, mask_path = pair
    classes, ignore, threshold, rendering = reading
    mask = to_indices(read_mask(mask_path, threshold, are_coloured(classes)), classes, mask_path, ignore)
    if hold and image is None:
        image = read_image(image_path, rendering=rendering)
    if mask.shape != size or image is not None and image.shape[:2] != size:
        raise changed(mask_path)
    digest = hashlib.sha256(head_and_length(image_path) + mask.tobytes() + in_digest(rendering)).hexdigest()
    rows = class_rows(mask, len(classes))
    return PairInfo(rows[:, -1], digest, (image, mask, rows) if hold else None)


def in_digest(rendering: Rendering) -> bytes:
    """Return how images are read, as bytes for a digest: none for the usual way, the full scale if that was found."""
    if rendering == AS_FOUND:
        return b""
    return b"%d" % rendering.full if rendering == Rendering(rendering.full) else repr(tuple(rendering)).encode()


def changed(mask_path: Path | str) -> BadInput:
    """Return the BadInput of a pair that is not, or no longer, what the scan of its data set has found."""
    return BadInput(f"{mask_path} or its image has changed since they were scanned; begin the training again, without "
                    f"{NAME}, if that is beside the data")


def find_table(folder: Path | str, table: Path | str | None) -> Path | str | None:
    """Return the path of the class table of a data set: the one given, else its classes.json if there is one."""
    beside = Path(folder) / "classes.json"
    return beside if table is None and beside.exists() else table


def load(source: Any, threshold: int | None = None, table: Path | str | None = None, share: float = 0.2,
         memory: float = 2.0, least: int = 64, gap: int = 8, lists: Path | str | None = None) -> TrainingData:
    """Return the data set in `source`, a folder or (image path, mask path), as TrainingData. Prints what was found.

    `table` is a file as table_classes reads it, else the folder's classes.json, else classes are found by
    scanning the masks. Images and masks that take at most `memory` GB together, as bytes, are held; others are
    decoded when needed. Of several pairs, whole ones are set apart to validate on, see split for the `share`
    and for the folder of `lists`, which may be another one; a single one is cut, see hold_out for `least` and
    `gap`. Raises BadInput.
    """
    single = isinstance(source, tuple)
    pairs = [("pair", *source)] if single else find_pairs(source)
    table = table if single else find_table(source, table)
    said = read_rendering(table)
    scan = scan_pairs(in_parts(pairs, memory, said), threshold, memory, None if single else source, said)
    print_turned(scan.facts)
    reading = decide_reading(scan, table, threshold)
    infos = inspect_pairs(scan, reading)
    if not single:
        check_lists(scan, lists, source)
    if len(infos) == 1:
        _, image, mask = scan.pairs[0]
        held_out, parts = [], cut_single(image, mask, infos[0], len(reading.classes), least, gap, share)
    else:
        held_out, parts = split_scan(scan, infos, reading, source, len(pairs) > 1, lists, share)
    training, validation = parts
    for dataset, purpose in (training, "train on"), (validation, "validate on"):
        if not dataset.with_truth():
            raise BadInput(f"{source[1] if single else source}: no pixel to {purpose} has a truth, all are ignored; "
                           "expected some of a class")
    print_classes(reading.classes, reading.ignore, training.cumulative_counts[-1], validation.cumulative_counts[-1])
    if not table:
        print_hints(reading.classes, np.array([info.counts for info in infos]))
    print_notes()
    if not single:
        remember_scan(scan, source, reading, [Figures(info.counts.tolist(), info.digest) for info in infos])
    digest = hashlib.sha256(training.cumulative_counts.tobytes() + validation.cumulative_counts.tobytes())
    for info in infos:
        digest.update(bytes.fromhex(info.digest))
    return TrainingData(training, validation, reading.classes, reading.ignore, digest.hexdigest(), held_out,
                        reading.rendering)


def print_turned(facts: list[PairFacts]) -> None:
    """Print how many images EXIF turns or flips in another way than their masks, where their sizes do not show it."""
    turned = sum(image.turn != mask.turn and (image.turn <= 4 or image.size[0] == image.size[1])
                 for image, mask in facts)
    if turned:
        print(f"EXIF turns or flips {turned} images, but not their masks: expected masks drawn on the upright images")


def cut_single(image_path: Path | str, mask_path: Path | str, info: PairInfo, classes: int, least: int, gap: int,
               share: float) -> list[Dataset]:
    """Return one pair as two data sets, to train and to validate on, see hold_out. Prints what was done."""
    image, mask, _ = info.item
    parts = hold_out(image, mask, min(least, min(mask.shape) // 2), gap, share)
    what = "a strip of it held out to validate on"
    if parts[0] is parts[1]:
        what = "no strip of it can be held out: validating on the training pixels, which flatters"
    print(f"{image_path}: {image.shape[1]}x{image.shape[0]} pixels; {mask_path}, {what}")
    return [Dataset.in_memory(part, classes) for part in parts]


def split_scan(scan: Scan, infos: list[PairInfo], reading: Reading, source: Any, several: bool,
               lists: Path | str | None, share: float) -> tuple[list[str], list[Dataset]]:
    """Return (names of the images to validate on, [data set to train on, to validate on]) of pairs. Prints the split.

    They are `several` pairs of a folder, see split_pairs, or parts of a single large one, see strip_of_parts.
    Raises BadInput.
    """
    if several:
        learnt, strip, how = split_pairs(scan, lists or source, share, source)
    else:
        learnt, strip, how = strip_of_parts(scan, infos, share)
    decode = None if scan.fits else functools.partial(read_pair, **reading._asdict())
    parts = [dataset_of(scan, infos, numbers, decode) for numbers in (learnt, strip)]
    what = source[0] if isinstance(source, tuple) else source
    print(f"{what}: {describe(scan)}; {len(learnt)} to train on, {len(strip)} to validate on, {how}")
    names = dict.fromkeys(stem_of(scan.pairs[number][0]) for number in strip)        # once for all parts of an image
    return list(names) if several else [], parts


def split_pairs(scan: Scan, lists: Path | str, share: float, folder: Path | str) -> tuple[list[int], list[int], str]:
    """Return the numbers of a folder's pairs to train on, those to validate on, and how that was decided.

    Parts of a large image are all on the same side. Raises BadInput.
    """
    numbers_of: dict[str, list[int]] = {}
    for number, (name, *_) in enumerate(scan.pairs):
        numbers_of.setdefault(stem_of(name), []).append(number)
    learnt, held_out, how = split(list(numbers_of), lists, share, *other_names(scan, lists, folder))
    parts = sorted({part for part in map(part_of, numbers_of) if part})
    if parts and how == BY_HASH:
        print(f"{folder}: its folders for {', '.join(parts)} are not heeded, as no list says so; "
              f"{convert_line([Path(folder) / 'images'], [Path(folder) / 'masks'], ('', '', ''))} makes lists of them")
    numbers = [[number for name in names for number in numbers_of[name]] for names in (learnt, held_out)]
    return numbers[0], numbers[1], how


def check_lists(scan: Scan, lists: Path | str | None, folder: Path | str) -> None:
    """Raise BadInput where the folder of `lists` has none, or the only pair of the data set is one to test on."""
    if lists and not any((Path(lists) / f"{part}.txt").exists() for part in PARTS):
        raise BadInput(f"{lists} holds no list; expected train.txt, val.txt or test.txt")
    stems, lists = {stem_of(name) for name, *_ in scan.pairs}, lists or folder
    if len(stems) == 1:
        images, damaged = other_names(scan, lists, folder)
        pairs = [*stems, *damaged]
        if stems <= set(read_lists(lists, pairs, images or pairs).get("test", [])):
            raise BadInput(f"{Path(lists) / 'test.txt'} names all images; expected some to train on")


def other_names(scan: Scan, lists: Path | str, folder: Path | str) -> tuple[Collection[str] | None, set[str]]:
    """Return the names that lists may have beside those of readable pairs: of all images, and of damaged pairs.

    The former only where there is a test.txt, which may name images without a mask, else None.
    """
    images = images_by_name(Path(folder) / "images") if (Path(lists) / "test.txt").exists() else None
    return images, {stem_of(name) for name in scan.damaged} - {stem_of(name) for name, *_ in scan.pairs}


def strip_of_parts(scan: Scan, infos: list[PairInfo], share: float) -> tuple[list[int], list[int], str]:
    """As split_pairs, for the parts of one large image: those in a strip across it are to validate on.

    No part is seen beyond its edges, so the strip needs no gap. Its place is chosen by strip_quality.
    """
    corners = [(part.rows.start, part.columns.start) for _, part, _ in scan.pairs]
    axis = max((0, 1), key=lambda axis: len({corner[axis] for corner in corners}))
    lines = sorted({corner[axis] for corner in corners})
    in_line = [[info.counts for info, corner in zip(infos, corners) if corner[axis] == line] for line in lines]
    counts = np.array([np.sum(some, axis=0) for some in in_line])     # (lines, classes)
    length = min(max(1, round(share * len(lines))), len(lines) - 1)

    def quality(start):
        held_out, whole = counts[start:start + length].sum(axis=0), counts.sum(axis=0)
        return strip_quality(whole - held_out, held_out, whole)

    first = max(range(len(lines) - length + 1), key=quality)
    strip = {number for number, corner in enumerate(corners) if corner[axis] in lines[first:first + length]}
    learnt = [number for number in range(len(corners)) if number not in strip]
    return learnt, sorted(strip), "a strip across it"


def dataset_of(scan: Scan, infos: list[PairInfo], numbers: list[int], decode: Callable | None) -> Dataset:
    """Return the data set of these pairs; `decode` reads the files where pairs are not held in memory, else None."""
    chosen = [infos[number] for number in numbers]
    items = [scan.pairs[number][1:] for number in numbers] if decode else [info.item for info in chosen]
    areas = [math.prod(scan.facts[number].mask.size) for number in numbers]
    return Dataset(items, [info.counts for info in chosen], areas, decode)


def describe(scan: Scan) -> str:
    """Return how many pairs there are, of which sizes, and where they are, as a text."""
    sizes = [facts.image.size for facts in scan.facts]
    extremes = dict.fromkeys([min(sizes, key=math.prod), max(sizes, key=math.prod)])
    extent = " to ".join(f"{width}x{height}" for height, width in extremes)
    parts = sum(isinstance(image, Part) for _, image, _ in scan.pairs)
    kind = "pairs" if not parts else "parts of large images" if parts == len(sizes) else "pairs and parts of large ones"
    return f"{len(sizes)} {kind} of {extent} pixels, {'held in memory' if scan.fits else 'decoded when needed'}"


def colour_statistics(dataset: Dataset) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of red, green and blue, two lists, 1 being full; of at most 500 images.

    A deviation is at least 0.01, as `normalize` divides by it.
    """
    count = lambda number: np.reshape(Image.fromarray(dataset[number][0]).histogram(), (3, 256))
    histogram = sum(in_threads(count, evenly_spaced(len(dataset), STATISTICS)))           # (3, 256)
    levels = np.arange(256) / 255
    mean = histogram @ levels / histogram.sum(axis=1)                 # (3,)
    variance = (histogram * (levels - mean[:, None]) ** 2).sum(axis=1) / histogram.sum(axis=1)
    return mean.tolist(), np.sqrt(variance).clip(min=0.01).tolist()


def usual_light(dataset: Dataset) -> dict:
    """Return the light of a data set, as find_light needs it to tell whether a new image is in another one.

    "colours" counts how often each value of red, green and blue occurs in each class, (classes + 1, 3, 256) as lists,
    see light.count_colours. "evidence" is how much likelier, in nats a value, another light must make an image to be
    believed: more than it makes any ninth of the largest image here, beside the rest, which is in the same light.
    """
    classes, numbers = dataset.cumulative_counts.shape[1] - 1, evenly_spaced(len(dataset), STATISTICS)
    colours = sum(in_threads(lambda number: count_colours(*dataset[number][:2], classes), numbers))
    pixels = np.diff(dataset.cumulative_counts[:, -1], prepend=0)     # of each image
    image, mask, _ = dataset[max(numbers, key=pixels.__getitem__)]
    ninths = lambda whole: [part for band in np.array_split(whole, 3) for part in np.array_split(band, 3, axis=1)]
    others = [(part, colours - count_colours(part, truth, classes))
              for part, truth in zip(ninths(image), ninths(mask)) if part.size]
    evidence = [find_light(count_values(part), rest).evidence for part, rest in others if rest.any()]
    most = max(evidence, default=0.0)            # none of a single pixel
    needed = max(EVIDENCE, most)
    print(f"light: a new image is brought into this one's light where that makes its colours likelier by over "
          f"{needed:.2f} nats a value; parts of this image gain up to {most:.2f}")
    return {"colours": colours.tolist(), "evidence": needed}


# ---------------------------------------------------------------------------------------------------
# Data set → the patches of each step


class BatchGroups(torch.utils.data.Dataset):
    """The patches of a whole training as a sequence of groups: those of sampling.reuse steps of an epoch.

    A group is a list of (batch, truth), or the BadInput that came instead. It is what a loader worker computes.
    """

    def __init__(self, dataset: Dataset, sampling: Sampling, steps: int, slots: Sequence[int]):
        self.dataset, self.sampling, self.steps, self.slots = dataset, sampling, steps, slots
        self.an_epoch = math.ceil(steps / sampling.reuse)

    def __getitem__(self, number: int) -> list[tuple[np.ndarray, np.ndarray]] | BadInput:
        epoch, group = divmod(number, self.an_epoch)
        first = group * self.sampling.reuse
        count = min(self.sampling.reuse, self.steps - first)
        try:
            return cut_batches(self.dataset, self.sampling, epoch, first, count, self.slots)
        except BadInput as error:            # as a value: raised in a worker, it would come with a traceback
            return error


def no_collate(group: list) -> list:         # a named function, since a lambda cannot travel to a worker
    return group


def begin_worker(number: int) -> None:
    """Prepare a loader worker: Ctrl-C is for the training, which ends its workers, and none outlives it.

    PyTorch's own watch over that fails where a worker waits for a killed parent to read its patches.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent(parent):
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, args=[multiprocessing.parent_process()], daemon=True).start()


def training_batches(dataset: Dataset, sampling: Sampling, steps: int, epochs: range, slots: Sequence[int],
                     workers: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (batch uint8 (slots, size, size, 3), truth (slots, size, size)) for each step of the range of epochs.

    An epoch has so many `steps`; `slots` are the patches of each step that this process takes. With
    `workers`, other processes cut them ahead; the patches are the same.
    """
    groups = BatchGroups(dataset, sampling, steps, slots)
    numbers = range(epochs.start * groups.an_epoch, epochs.stop * groups.an_epoch)
    if workers:                  # a generator of its own, so that PyTorch's, which dropout uses, is left alone
        found: Iterable = DataLoader(groups, batch_size=None, sampler=numbers, num_workers=workers,
                                     collate_fn=no_collate, worker_init_fn=begin_worker,
                                     generator=torch.Generator())
    else:
        found = map(groups.__getitem__, numbers)
    for group in found:
        if isinstance(group, BadInput):
            raise group
        yield from group
