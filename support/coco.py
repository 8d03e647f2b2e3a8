"""Read COCO's annotation files, whatever else they hold, and draw their outlines as pixels.

    {"images": [{"id", "file_name", "height", "width"}, ...],
     "annotations": [{"id", "image_id", "category_id", "segmentation", "bbox"}, ...],
     "categories": [{"id", "name"}, ...]}

A segmentation is a list of polygons, [x, y, x, y, ...] each, or run lengths,
{"size": [height, width], "counts": ...}. The counts are the numbers of pixels, column by column,
that are outside, inside, outside, ...; they are a list, or compressed into text.
"""
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from support.files import BadInput
from support.images import SMALLEST, read_image, size_and_turn
from support.names import READABLE, find_file, is_passed_over, listable, name_of
from support.tiff import QUARTER_TURNS

EXPECTED = 'a COCO file: {"images": [...], "annotations": [...], "categories": [{"id": 1, "name": "person"}, ...]}'


def read(path: Path | str) -> dict:
    """Return an annotation file as a dict with lists "images", "annotations" and "categories".

    Raises BadInput.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            table = json.load(file, parse_constant=lambda name: None)         # NaN and Infinity are no JSON
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); expected {EXPECTED}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read ({error}); expected {EXPECTED}") from None
    for part in ("images", "annotations", "categories"):
        if not isinstance(table, dict) or not isinstance(table.get(part), list):
            raise BadInput(f'{path} has no list "{part}"; expected {EXPECTED}')
    return table


def whole(value: Any) -> int | None:
    """Return a whole number, even where it is written as 40.0 or "40"; None for anything else."""
    try:
        return int(value) if not isinstance(value, bool) and float(value) == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def identity(value: Any) -> int | str | None:
    """Return an id: a whole number, even where it is written as 7.0 or "7", or a text; None for anything else.

    "007" and "1_2" stay the texts that they are, as "7" and "12" may be ids of others.
    """
    if isinstance(value, str):
        return int(value) if re.fullmatch("-?(0|[1-9][0-9]{0,18})", value) else value or None
    return whole(value)


def sound(entries: list, names: list[str], once: bool = True) -> tuple[list[dict], int]:
    """Return (the valid entries, how many are not valid).

    A valid entry has something for each name in `names`: an id where the name ends in id, else a
    whole number. If `once`, it also has an id that no other entry has.
    """
    kept = []
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        found = {name: (identity if name.endswith("id") else whole)(entry.get(name)) for name in names}
        if None not in found.values():
            entry.update(found)
            kept.append(entry)
    if once:
        times = Counter(entry["id"] for entry in kept)
        kept = [entry for entry in kept if times[entry["id"]] == 1]
    return kept, len(entries) - len(kept)


def outline(annotation: dict) -> list | dict | None:
    """Return an annotation's segmentation: a list of polygons or a dict of run lengths.

    Returns None where there is neither.
    """
    shape = annotation.get("segmentation")
    if isinstance(shape, list):
        if len(shape) >= 6 and all(type(part) in (int, float) for part in shape):
            return [shape]                   # one polygon, without the list around it
        return [polygon for polygon in shape if isinstance(polygon, list) and len(polygon) >= 6] or None
    return shape if isinstance(shape, dict) and shape.get("counts") else None


def draw(shape: list | dict, height: int, width: int) -> np.ndarray:
    """Draw an outline as bool (H, W), just as pycocotools does.

    Raises ValueError for a damaged outline. pycocotools is fast C that trusts its input: it would
    draw from uninitialised memory, or crash. So all input is checked first.
    """
    from pycocotools import mask as coco

    if isinstance(shape, list):
        try:
            polygons = [np.asarray(polygon, np.float64) for polygon in shape]
        except OverflowError:                # a number of hundreds of digits
            raise ValueError("a polygon far outside of the image") from None
        for polygon in polygons:
            if polygon.ndim != 1 or len(polygon) % 2 or not (np.abs(polygon) <= 10 * max(height, width)).all():
                raise ValueError("a polygon that is none, or far outside of the image")
        return coco.decode(coco.merge(coco.frPyObjects([list(polygon) for polygon in polygons], height, width))) > 0
    counts = decompress(shape["counts"]) if isinstance(shape["counts"], str) else shape["counts"]
    if shape.get("size") != [height, width]:
        raise ValueError(f"run lengths of another size: {shape.get('size')}")
    if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != height * width:
        raise ValueError("run lengths that do not add up to the image")
    return coco.decode(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)) > 0


def decompress(text: str) -> list[int]:
    """Return the run lengths in COCO's compressed text. Raises ValueError for a damaged one.

    Each is a number in two's complement, five bits a character from the lowest on; a sixth bit says
    that more follow. From the fourth number on, each is stored as the difference from the number
    two places before.
    """
    counts, value, shift = [], 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("run lengths that are not COCO's text")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:                        # the sign
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("run lengths that end within a number")
    return counts


def box(annotation: dict) -> tuple[float, float, float, float] | None:
    """Return an annotation's bounding box as (top, left, bottom, right), in pixels.

    Returns None where it is not valid.
    """
    try:
        left, top, width, height = (float(side) for side in annotation["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    corners = top, left, top + height, left + width
    return corners if np.isfinite(corners).all() and min(width, height) > 0 else None


# ---------------------------------------------------------------------------------------------------
# Its images


def find_images(entries: list[dict], folder: Path) -> tuple[dict[int | str, dict], list[tuple[str, str]]]:
    """Return ({id: entry} of the usable images, [(problem, file name), …]).

    An image is usable if its file can be part of a data set.
    """
    found, problems, taken = {}, [], set()
    times = Counter(str(entry.get("file_name")).replace("\\", "/") for entry in entries)
    for entry in entries:
        name: Any = entry.get("file_name")
        try:
            if "\\" in name and not (folder / name).is_file():          # written on Windows
                name = entry["file_name"] = name.replace("\\", "/")
            path = Path(name)
            if not path.is_absolute() and (there := find_file(folder, name)):
                path = there.relative_to(folder)
                entry["file_name"] = path.as_posix()
            stem = name_of(folder / path, folder)
            if path.is_absolute() or is_passed_over(stem) or not listable(stem) or path.suffix.lower() not in READABLE:
                problem = "images whose name no data set can have"
            elif not (folder / path).is_file():
                problem = "images that are not there"
            elif stem.casefold() in taken or times[name] > 1:       # each entry may have a part of the annotations
                problem = "images whose name is there twice"
            else:
                taken.add(stem.casefold())
                found[entry["id"]] = entry
                continue
        except (TypeError, ValueError, OSError):
            problem = "images whose name no data set can have"
        problems.append((problem, str(name)[:80]))
    return found, problems


def check_image(path: Path, size: tuple[int, int]) -> str | None:
    """Return what is wrong with an image file that should be of this size, or None.

    The size is (height, width).
    """
    try:
        _, turn = size_and_turn(path)
        found = read_image(path).shape[:2]   # upright; reads all: a truncated file has a whole header
    except BadInput:
        return "images that cannot be read"
    sides_swapped = turn in QUARTER_TURNS and found[0] != found[1]    # then the size tells which way was annotated
    if turn != 1 and not (sides_swapped and found == size):
        return "images that their EXIF turns, so that the annotations may not fit"
    if found != size:
        return "images of another size than the annotations say"
    return "images that are too small" if min(size) < SMALLEST else None
