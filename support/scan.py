"""A look into every file of a data set before a training: what it holds, and which files cannot be read."""
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from support.files import BadInput
from support.images import AS_FOUND, SMALLEST, Rendering, image_facts
from support.machine import RANK, in_threads
from support.masks import mask_facts, same_size
from support.memory import (
    NAME,
    NOTHING,
    Figures,
    Memory,
    PairFacts,
    Record,
    digest_of,
    header_of,
    recall,
    remember,
    stamp_of,
)
from support.mistakes import Unreadable
from support.names import first_few
from support.notes import note, remarks_on

WORTH = 20_000_000               # pixels that are worth a file to remember them: about a second

Pair = tuple[str, Any, Any]      # a name, the image's path and the mask's, or Parts of large images


class Scan(NamedTuple):
    """The pairs of a data set that can be read, and what is known of them."""

    pairs: list[Pair]
    facts: list[PairFacts]               # of each pair
    fits: bool                           # whether all pairs, as bytes, fit into memory
    images: dict[str, np.ndarray]        # where all fit, name → uint8 (H, W, 3), unless it depends on a full scale
    damaged: set[str]                    # names of the other pairs
    memory: Memory                       # what was remembered
    records: dict[str, Record]           # name → what is to be remembered
    area: int                            # pixels of all images
    began: float                         # by time.perf_counter()
    said: Rendering                      # what is written down of how images are read


class Look(NamedTuple):
    """The findings of a look at a pair."""

    record: Record | None        # None where the pair cannot be read
    image: np.ndarray | None     # as image_facts returns it
    failures: list               # [("images" or "masks", path, Unreadable), …]
    misfit: BadInput | None = None       # says why image and mask do not fit, or are too small


def scan_pairs(pairs: list[Pair], threshold: int | None, memory: float = 0,
               folder: Path | str | None = None, said: Rendering = AS_FOUND) -> Scan:
    """Return the Scan of pairs, of which `memory` GB may be held; `said` is what is written down of how to read images.

    Each file is decoded, as a header may be the sound part of a damaged one, unless its pair is remembered in
    the `folder` and is as it was. Pairs with a file that cannot be read are left out, and those files named.
    Raises BadInput where no pair is left, and for what is no damage, such as an image and a mask of different
    sizes.
    """
    began, known = time.perf_counter(), NOTHING
    if folder is not None:
        known = recall(folder, (name for name, *_ in pairs), header_of(threshold, said))
    readable, records, images, area, lost, unfit = [], {}, {}, 0, [], {}
    looks = in_threads(lambda pair: look(pair, threshold, said, known.records.get(pair[0])), pairs)
    for pair, (record, image, failures, misfit) in zip(pairs, progress(looks, len(pairs))):
        lost += failures
        if misfit:
            unfit[pair[0]] = misfit
        if record is None:
            continue
        readable.append(pair)
        records[pair[0]] = record
        area += record.facts.image.size[0] * record.facts.image.size[1]
        if image is not None:
            images[pair[0]] = image
        if len(pairs) > 1 and 4 * area > memory * 1e9:   # a pixel is three bytes in its image, one in its mask
            images.clear()
    if unfit:
        first, *others = unfit
        raise BadInput(f"{unfit[first]}" + f"; {len(others)} more pairs do not fit: {first_few(others)}" * bool(others))
    if not readable:
        raise lost[0][2] if len(pairs) == 1 else BadInput(f"none of {len(pairs)} pairs can be read: {lost[0][2]}")
    print_unreadable(lost)
    fits, damaged = len(readable) == 1 or 4 * area <= memory * 1e9, {name for name, *_ in pairs} - set(records)
    facts = [record.facts for record in records.values()]
    return Scan(readable, facts, fits, images, damaged, known, records, area, began, said)


def progress(steps: Any, total: int) -> Any:
    """Return the steps with a bar that shows how many of the pairs are done."""
    return tqdm(steps, total=total, unit="pair", leave=False, disable=RANK > 0 or None)


def look(pair: Pair, threshold: int | None, said: Rendering, known: Record | None) -> Look:
    """Look at a pair, or take what is known if its files have not changed. Raises BadInput for what is no damage."""
    _, image_path, mask_path = pair
    stamp, image = stamp_of(image_path, mask_path), None
    if known and known.stamp == stamp:
        for path, some in zip((image_path, mask_path), known.remarks):
            for remark in some:
                note(path, remark)
        facts = known.facts
    else:
        failures, known = [], None

        def attempt(part, path, read):
            try:
                return read()
            except Unreadable as error:
                failures.append((part, path, error))

        found = attempt("images", image_path, lambda: image_facts(image_path, said))
        mask = attempt("masks", mask_path, lambda: mask_facts(mask_path, threshold))
        if failures:
            return Look(None, None, failures)
        facts, image = PairFacts(found[0], mask), found[1]
    try:
        same_size(image_path, facts.image.size, mask_path, facts.mask.size)
        height, width = facts.image.size
        if min(height, width) < SMALLEST:
            raise BadInput(f"{image_path} is {width}x{height} pixels; expected at least {SMALLEST} a side to train on")
    except BadInput as error:
        return Look(None, None, [], error)
    remarks = [remarks_on(path) for path in (image_path, mask_path)]
    return Look(known or Record(stamp or [], facts, remarks, None), image, [])


def print_unreadable(lost: list[tuple[str, Path, Unreadable]]) -> None:
    """Print which files are left out, as Look has them, and why the first of them is."""
    for part in ("images", "masks"):
        some = [(Path(path).name, error) for other, path, error in lost if other == part]
        if some:
            print(f"left out: {len(some)} {part} that cannot be read: {first_few([name for name, _ in some])} "
                  f"({some[0][1]})")


def known_figures(scan: Scan, reading: Any) -> dict[str, Figures]:
    """Return {name: Figures} of the pairs of a Scan that are remembered as they are read, see data.Reading."""
    if digest_of(reading) != scan.memory.reading:
        return {}
    return {name: record.figures for name, record in scan.records.items()
            if record.figures and len(record.figures.counts) == len(reading.classes)}


def remember_scan(scan: Scan, folder: Path | str, reading: Any, figures: list[Figures]) -> None:
    """Remember a Scan, and the Figures of its pairs, in a folder, and say so, or say what the memory has saved."""
    if RANK > 0:
        return
    before, seconds = scan.memory, time.perf_counter() - scan.began
    records = {name: record._replace(figures=found) for (name, record), found in zip(scan.records.items(), figures)
               if record.stamp}
    as_before = sum(before.records.get(name) is scan.records[name] for name in records)
    usual = max(seconds, before.seconds * len(scan.pairs))            # without a memory
    if as_before and usual - seconds >= 1:
        print(f"{as_before} of {len(scan.pairs)} pairs are as {Path(folder) / NAME} remembers them, which saved "
              f"{usual - seconds:.0f} s")
    same = records == before.records and digest_of(reading) == before.reading
    if same or scan.area < WORTH:
        return
    header = header_of(reading.threshold, scan.said)
    path = remember(folder, records, header, digest_of(reading), usual / len(scan.pairs))
    if path:
        print(f"scanned in {seconds:.0f} s, remembered in {path}")
