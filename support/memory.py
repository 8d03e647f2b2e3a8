"""The memory of a scan: a file beside the data that tells what was found, so that the next training begins at once.

A record holds for as long as neither file of its pair changes its size or the time of its last change. The file may be
a stranger's: it is read a short line at a time, as plain values within bounds, and what it says is compared with each
pair that is decoded (data.Dataset).
"""
import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import PIL

from support.files import STAMP, BadInput, is_ours, write_text
from support.images import MAX_LENGTH, ImageFacts, Rendering, rendering_entries
from support.masks import MAX_VALUES, MaskFacts, MaskValues
from support.tiff import most_pixels

NAME = ".scan.jsonl"             # in the folder that has images/ and masks/
VERSION = 2                      # of what is remembered: raise it where files are read in another way
LONGEST = 4096                   # characters of a line
JUST_NOW = 2_000_000_000         # nanoseconds: some file systems would not show another change within these


class PairFacts(NamedTuple):
    """The facts about an image and its mask that are known before a training."""

    image: ImageFacts
    mask: MaskFacts


class Figures(NamedTuple):
    """The figures that data.inspect_pair finds in a pair; they depend on the classes."""

    counts: list[int]            # pixels of each class
    digest: str


class Record(NamedTuple):
    """All that is remembered of a pair."""

    stamp: list[int]             # bytes and time of the last change, in nanoseconds, of the image, then of the mask
    facts: PairFacts
    remarks: list[list[str]]     # on the image and on the mask, see support/notes.py
    figures: Figures | None      # None where they are not known


class Memory(NamedTuple):
    """All that the file beside the data remembers."""

    records: dict[str, Record]   # by the name of the pair
    reading: str                 # what the figures depend on, see digest_of
    seconds: float               # that a pair took when nothing was remembered


NOTHING = Memory({}, "", 0.0)


def stamp_of(image: Path, mask: Path) -> list[int] | None:
    """Return a pair's stamp, see Record; None where a file is not there, or so new that it may change unnoticed."""
    try:
        stats = os.stat(image), os.stat(mask)
    except OSError:
        return None
    new = max(stat.st_mtime_ns for stat in stats) > time.time_ns() - JUST_NOW
    return None if new else [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]


def digest_of(reading: Any) -> str:
    """Return a short text that stands for a data.Reading."""
    return hashlib.sha256(json.dumps(reading).encode()).hexdigest()


def header_of(threshold: int | None, said: Rendering) -> dict:
    """Return what has to be the same for a record to hold; `said` is what is written down of how images are read."""
    return {"version": VERSION, "pillow": PIL.__version__, "threshold": threshold,
            "images": rendering_entries(said) or None}


def recall(folder: Path | str, names: Iterable[str], header: dict) -> Memory:
    """Return what is remembered of these pairs in a folder.

    That is NOTHING where its file is missing, not ours or damaged, or has another header than this, see header_of.
    """
    path, wanted = Path(folder) / NAME, set(names)
    try:
        if path.stat().st_size > LONGEST * (len(wanted) + 1) or not path.is_file() or not is_ours(path):
            return NOTHING
        with path.open(encoding="ascii") as file:
            head = {"images": None, **json.loads(file.readline(LONGEST))}          # older ones lack that
            if {key: head[key] for key in header} != header:
                return NOTHING
            seconds, reading = head["seconds"], head["reading"]
            check(type(seconds) is float and 0 <= seconds < 1e9 and isinstance(reading, str))
            records = dict(map(parse, iter(lambda: file.readline(LONGEST), "")))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return NOTHING
    return Memory({name: record for name, record in records.items() if name in wanted}, reading, seconds)


def remember(folder: Path | str, records: dict[str, Record], header: dict, reading: str,
             seconds: float) -> Path | None:
    """Write the memory of a folder and return its path, None where it cannot be written or a file there is not ours."""
    path = Path(folder) / NAME
    head = {"written by": STAMP, **header, "reading": reading, "seconds": seconds}
    lines = [json.dumps(head), *(as_line(name, record) for name, record in records.items())]
    with contextlib.suppress(BadInput, OSError):         # read-only, most likely: the next scan takes its time again
        if not path.exists() or is_ours(path):
            write_text(path, "".join(f"{line}\n" for line in lines if len(line) < LONGEST))
            return path
    return None


def as_line(name: str, record: Record) -> str:
    """Return the line of a pair, which `parse` reads."""
    (image, mask), found = record.facts, record.facts.mask.found
    nodata = mask.nodata if mask.nodata is not None and math.isfinite(mask.nodata) else None
    return json.dumps([name, record.stamp, image.size, image.turn, image.highest, mask.turn, mask.palette, nodata,
                       found.distinct, list(found.counts.items()), found.coloured, found.lossy, record.remarks,
                       record.figures])


def parse(line: str) -> tuple[str, Record]:
    """Return (name, Record) of a line. Raises ValueError or TypeError for one that is none."""
    check(line.endswith("\n"))
    (name, stamp, size, turn, highest, mask_turn, palette, nodata, distinct, counts, coloured, lossy, remarks,
     figures) = json.loads(line)
    check(isinstance(name, str) and are_counts(stamp, 4, least=-2**63) and are_counts(size, 2, least=1))
    pixels = size[0] * size[1]
    check(max(size) <= MAX_LENGTH and pixels <= most_pixels())
    check(are_counts([turn, mask_turn], 2, least=1) and max(turn, mask_turn) <= 8)
    check(are_counts([highest, distinct], 2) and type(coloured) is type(lossy) is bool)
    check(palette is None or is_digest(palette))
    check(nodata is None or type(nodata) is float and math.isfinite(nodata))
    check(len(counts) == (distinct if distinct <= MAX_VALUES else 0) and all(
        are_counts(pair, 2, least=-2**31) and pair[1] > 0 for pair in counts))
    check(len(dict(counts)) == len(counts) and sum(count for _, count in counts) <= pixels)
    check(len(remarks) == 2 and all(isinstance(remark, str) and remark.isprintable()
                                    for some in remarks for remark in some))
    if figures is not None:
        check(are_counts(figures[0], len(figures[0])) and sum(figures[0]) <= pixels and is_digest(figures[1]))
        figures = Figures(*figures)
    size = tuple(size)
    mask = MaskFacts(size, mask_turn, palette, nodata, MaskValues(distinct, dict(counts), coloured, lossy))
    return name, Record(stamp, PairFacts(ImageFacts(size, turn, highest), mask), remarks, figures)


def check(right: bool) -> None:
    """Raise ValueError unless something is right."""
    if not right:
        raise ValueError("not what remember writes")


def are_counts(numbers: Any, count: int, least: int = 0) -> bool:
    """Return whether this is a list of so many whole numbers, none of them below the least."""
    return (isinstance(numbers, list) and len(numbers) == count and
            all(type(number) is int and number >= least for number in numbers))


def is_digest(text: Any) -> bool:
    """Return whether this is a SHA-256 in hexadecimal digits."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
