"""Which classes the masks of a data set show: as a table lists them, or as their values tell.

A class is a dict of "name" and "value", the grey value or colour [red, green, blue] that stands for it in masks, and
perhaps of a "colour" to be shown in.
"""
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from support.files import BadInput
from support.images import AS_FOUND, Rendering, has_opacity, palette_of, parse_rendering
from support.machine import in_threads
from support.masks import (
    MAX_VALUES,
    MaskFacts,
    MaskValues,
    are_coloured,
    mask_facts,
    mask_values,
    nodata_of,
    nodata_values,
    read_mask,
    value_codes,
)
from support.names import first_few

MAX_CLASSES = 255                # class indices are bytes, and the last one, 255, means: no truth here
KEYS_OF_TABLE = {"classes", "ignore", "full_scale", "bands", "written by"}
KEYS_OF_CLASS = {"name", "value", "colour"}


# ---------------------------------------------------------------------------------------------------
# Masks → classes


def scan_classes(paths: Collection[Path | str], threshold: int | None = None,
                 facts: Sequence[MaskFacts] | None = None) -> tuple[list[dict], list]:
    """Return (classes, values to ignore) of the masks at these paths. Prints what was decided about them.

    Palette masks have classes by index, as their palettes may be for the eye only. Where the palettes
    contradict each other, or other masks are coloured, they have classes by colour. A value that TIFF files
    say is no data is ignored where two others are left. `facts` are those of the masks, where they are known.
    Raises BadInput.
    """
    facts = facts or list(in_threads(lambda path: mask_facts(path, threshold), paths))

    def by_colours():
        scan = in_threads(lambda path: (mask_values(read_mask(path, coloured=True), path), path), paths)
        return count_values(scan, coloured=True)

    palettes = [None] if threshold is not None else [fact.palette for fact in facts]
    by_colour = palettes_differ(paths, palettes)
    if by_colour:
        print("palettes differ from mask to mask: a class is a colour, not an index")
    found = by_colours() if by_colour else count_values((fact.found, path) for fact, path in zip(facts, paths))
    if found.coloured and not by_colour and any(palettes):
        found = by_colours()
    void = [] if found.coloured or threshold is not None else nodata_values(fact.nodata for fact in facts)
    void = [value for value in void if value in found.counts]
    if void and len(found.counts) - len(void) < 2:
        print(f"{', '.join(map(str, void))}: no data, the TIFF files say; but then one class is left, so it is one")
        void = []
    elif void:
        print(f"{', '.join(map(str, void))}: no data, the TIFF files say, and so ignored")
    for value in void:
        del found.counts[value]
    return name_classes(found), void


def table_classes(table: Path | str, paths: Collection[Path | str], threshold: int | None = None,
                  facts: Sequence[MaskFacts] | None = None) -> tuple[list[dict], list]:
    """Return (classes, values to ignore) of a class table, for the masks at these paths; prints what is odd.

    A value that TIFF files say is no data, and that the table does not list, is ignored. `facts` are those of
    the masks, where they are known. Raises BadInput.
    """
    classes, ignore = read_classes(table)
    if threshold is not None or are_coloured(classes):
        return classes, ignore
    if palettes_differ(paths, facts and [fact.palette for fact in facts]):
        print(f"palettes differ from mask to mask: as {table} lists no colours, a class is an index all the same")
    known = [entry["value"] for entry in classes] + ignore
    found = [fact.nodata for fact in facts] if facts else in_threads(nodata_of, paths)
    void = [value for value in nodata_values(found) if value not in known]
    if void:
        print(f"{', '.join(map(str, void))}: no data, the TIFF files say, and so ignored")
    return classes, ignore + void


def palettes_differ(paths: Collection[Path | str], palettes: Sequence[Any] | None = None) -> bool:
    """Return whether, over the masks at these paths, an index has several colours, or a colour several indices.

    Some programs write such masks: they make a palette for each file. Indices that do not occur do not count.
    `palettes` are those of the masks, or digests of them, where they are known.
    """
    palettes = palettes or list(in_threads(palette_of, paths))
    if len(set(palettes) - {None}) < 2:
        return False
    with_palette = [(path, palette) for path, palette in zip(paths, palettes) if palette]
    used = {}                                    # palette → {index: colour}
    for (_, palette), colours in zip(with_palette, in_threads(used_colours, [path for path, _ in with_palette])):
        used.setdefault(palette, {}).update(colours)
    colour_of, indices_of = {}, {}
    for colours in used.values():
        for index, colour in colours.items():
            if colour_of.setdefault(index, colour) != colour:
                return True
        for colour in set(colours.values()):
            indices = {index for index, other in colours.items() if other == colour}
            if indices_of.setdefault(colour, indices).isdisjoint(indices):
                return True
            indices_of[colour] |= indices
    return False


def used_colours(path: Path | str) -> dict[int, int]:
    """Return {index: colour as value_codes has it} of the indices that occur in a palette mask."""
    indices, first = np.unique(read_mask(path), return_index=True)
    colours = value_codes(read_mask(path, coloured=True))
    colours = colours.ravel()[first] * (0x010101 if colours.max() < 256 else 1)
    return dict(zip(indices.tolist(), colours.tolist()))


class Values(NamedTuple):
    """The values that masks hold."""

    counts: Counter              # value, or colour as value_codes has it → pixels
    coloured: bool               # whether they are colours
    last: object                 # the path of the last mask
    files: int                   # masks


def count_values(masks: Iterable[tuple[MaskValues, Path | str]], coloured: bool = False) -> Values:
    """Return the Values of (those of a mask, its path), …: colours where a mask is coloured, or all are said to be.

    Raises BadInput where they cannot be classes.
    """
    counts, path, files = Counter(), None, 0
    for found, path in masks:
        if not found.distinct:
            continue
        if found.lossy:
            raise BadInput(f"{path} holds {found.distinct} different values, as its compression changes them; expected "
                           "at most 2: write masks as PNG files or, of two classes, give --threshold 128")
        if found.distinct > MAX_VALUES:
            told = f"{path} holds {found.distinct} different values; expected one for each class, at most {MAX_VALUES}"
            if has_opacity(path):
                raise BadInput(f"{told}; if it is a photograph that something was cut out of, its opacity is the mask: "
                               "save that alone")
            raise BadInput(f"{told}; if it is antialiased, --threshold 128 makes two of them, if it has so many "
                           "classes, list them in a classes.json; if it numbers objects, --threshold 1 makes them one "
                           "class")
        least, highest = min(found.counts), max(found.counts)
        if least < 0 or not found.coloured and highest > 65535:
            raise BadInput(f"{path} holds values from {least} to {highest}; expected 0 to 65535")
        if found.coloured and not coloured:      # until now all was grey; from now on a grey is a colour like others
            if max(counts, default=0) > 255:
                raise BadInput(f"{path} is coloured, but others hold values up to {max(counts)}; expected one kind")
            counts, coloured = Counter({grey * 0x010101: count for grey, count in counts.items()}), True
        if coloured and not found.coloured and highest > 255:
            raise BadInput(f"{path} holds values up to {highest}, but others are coloured; expected one kind")
        code = 0x010101 if coloured and not found.coloured else 1
        counts.update({value * code: count for value, count in found.counts.items()})
        files += 1
    if not counts:
        raise BadInput(f"{path} holds no data; expected a value for each class, at least two")
    return Values(counts, coloured, path, files)


def name_classes(found: Values) -> list[dict]:
    """Return the classes of the Values of masks: [{"name", "value"}, …]. Raises BadInput for one value, or too many."""
    counts, coloured, path, files = found
    present = [[code >> 16, code >> 8 & 255, code & 255] if coloured else code for code in sorted(counts)]
    if len(present) == 1:
        raise BadInput(f"{path} holds a single value, {present[0]}" + f", and so do all {files} masks" * (files > 1) +
                       "; expected one for each class, at least two")
    if len(present) > MAX_VALUES:
        raise BadInput(f"{path} and the other masks hold {len(present)} different values together; expected one for "
                       f"each class, at most {MAX_VALUES}; if they have so many classes, list them in a classes.json")
    if len(present) == 2:
        names = name_two_classes(*(counts[code] for code in sorted(counts)))
    else:
        names = [f"class {value}" for value in present]
    return [{"name": name, "value": value} for name, value in zip(names, present)]


def void_hint(values: list) -> str:
    """Return a line that says that one of these values of classes stands for no class, most likely, or ""."""
    if 255 in values and len(values) > 2 and max(value for value in values if value != 255) < 32:
        return "255 beside such small values is void, most likely: list it under ignore in classes.json"
    return ""


def name_two_classes(lower: int, higher: int) -> list[str]:
    """Return the names of two classes, given the pixels of the one of the lower value and of the other.

    The higher one is called foreground, unless it covers more than three quarters: then the masks are taken to be
    black on white.
    """
    names = ["background", "foreground"]
    return names[::-1] if higher > 0.75 * (lower + higher) else names


# ---------------------------------------------------------------------------------------------------
# Class tables


def read_classes(path: Path | str) -> tuple[list[dict], list]:
    """Return the class table in a JSON file: (classes as name_classes gives them, values to ignore). Raises BadInput.

    {"classes": [{"name": "background", "value": 0}, {"name": "road", "value": [128, 64, 128]}], "ignore": [7]}

    A class may also have a "colour" [red, green, blue] to be shown in, if all have.
    """
    table = read_table(path)
    classes = [{key: entry[key] for key in ("name", "value", "colour") if key in entry} for entry in table["classes"]]
    return classes, table.get("ignore", [])


def read_rendering(path: Path | str | None) -> Rendering:
    """Return what a class table, if there is one, says of how images are read, see parse_rendering. Raises BadInput."""
    return parse_rendering(read_table(path)) if path else AS_FOUND


def read_table(path: Path | str) -> dict:
    """Return what a class table holds, all of it checked. Raises BadInput."""
    def wrong(what):
        return BadInput(f"{path}: {what}; expected "
                        '{"classes": [{"name": "background", "value": 0}, ...], "ignore": [255]}')

    def each_once(pairs):        # Python would keep the last one
        for name, times in Counter(name for name, _ in pairs).items():
            if times > 1:
                raise ValueError(f"{name!r} stands there twice")
        return dict(pairs)

    try:
        table = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=each_once)
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist; expected a class table") from None
    except (OSError, ValueError, RecursionError) as error:            # neither JSON nor, before that, UTF-8
        raise wrong(f"it cannot be read ({error})") from None
    if not isinstance(table, dict) or not isinstance(table.get("classes"), list):
        raise wrong('it has no list "classes"')
    entries = [entry for entry in table["classes"] if isinstance(entry, dict)]
    for named, known in [(table, KEYS_OF_TABLE), *((entry, KEYS_OF_CLASS) for entry in entries)]:
        for word in sorted(named.keys() - known):        # remarks may stand there; "color" or "ignored" is none
            meant = get_close_matches(word[:20], known, 1, 0.65)
            if meant:
                raise BadInput(f"{path}: {word!r} means nothing there; expected {meant[0]!r}")
    try:
        check_classes(table["classes"], table.get("ignore", []))
    except ValueError as error:
        raise wrong(error) from None
    try:
        parse_rendering(table)
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None
    return table


def check_classes(classes: Any, ignore: Any) -> None:
    """Raise ValueError for a class table, as read_classes returns it, that is none."""
    if not (isinstance(classes, list) and 2 <= len(classes) <= MAX_CLASSES):
        raise ValueError(f"it has {len(classes)} classes, not 2 to {MAX_CLASSES}")
    if not all(isinstance(entry, dict) and isinstance(entry.get("name"), str) and "value" in entry
               for entry in classes):
        raise ValueError('not every class has a "name" and a "value"')
    if not isinstance(ignore, list):
        raise ValueError('"ignore" is no list')
    values, names = [entry["value"] for entry in classes], [entry["name"] for entry in classes]
    for name in names:
        if not name.isprintable():
            raise ValueError(f"the name {name!r} holds what cannot be printed")
    for value in values + ignore:
        if not (is_colour(value) or type(value) is int and 0 <= value <= 65535):
            raise ValueError(f"{repr(value)[:40]} is neither a grey value from 0 to 65535 nor a colour "
                             "[red, green, blue]")
    if len({type(value) for value in values + ignore}) > 1:
        raise ValueError("it mixes grey values and colours")
    for kind, found in [("value", values + ignore), ("name", names)]:
        twice = [value for value in found if found.count(value) > 1]
        if twice:
            raise ValueError(f"the {kind} {twice[0]} occurs twice")
    colours = [entry["colour"] for entry in classes if "colour" in entry]
    if colours and not (len(colours) == len(classes) and all(map(is_colour, colours))):
        raise ValueError('"colour" is not [red, green, blue] for each class')


def is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(part) is int and 0 <= part <= 255 for part in value)


# ---------------------------------------------------------------------------------------------------
# What is said of them


def print_classes(classes: list[dict], ignore: list, training: np.ndarray, validation: np.ndarray) -> None:
    """Print the classes as a table; `training` and `validation`, (classes + 1,), count pixels of each, and of all."""
    width = max(len(entry["name"]) for entry in classes)
    digits = max(len(str(entry["value"])) for entry in classes)
    for number, entry in enumerate(classes):
        shares = [f"{part[number] / part[-1]:6.1%} of {kind} pixels" if part[number] else f"no pixel for {kind}"
                  for part, kind in [(training, "training"), (validation, "validation")]]
        print(f"  {entry['value']!s:>{digits}} is {entry['name']:<{width}}  {', '.join(shares)}")
    if ignore:
        unknown = 1 - training[:-1].sum() / training[-1]
        print(f"  {', '.join(map(str, ignore))} ignored: {unknown:.1%} of training pixels")


def print_hints(classes: list[dict], counts: np.ndarray) -> None:
    """Print what is odd about classes that no table lists; `counts`, (masks, classes), are the pixels of each."""
    pixels, masks = counts.sum(axis=0), np.count_nonzero(counts, axis=0)
    values = [entry["value"] for entry in classes]
    alike = near_values(values)
    if alike:
        pairs = [f"{values[one]} and {values[other]}" for one, other in alike]
        rarer = [str(values[min(pair, key=pixels.__getitem__)]) for pair in alike]
        print(f"  one class in two values, most likely: {first_few(pairs)}: write them alike, or list what is rarer, "
              f"{first_few(rarer)}, under ignore in classes.json")
    rare = [f"{entry['value']} ({pixels[number]} pixels in {masks[number]} of {len(counts)} masks)"
            for number, entry in enumerate(classes)
            if 0 < pixels[number] < 1e-4 * pixels.sum() and masks[number] <= max(len(counts) / 10, 1)
            and not any(number in pair for pair in alike)]
    if rare:
        print(f"  stray pixels, most likely: {first_few(rare)}: list them under ignore in classes.json")
    if values == [0, 1, 255] and not counts[:, 1:].all(axis=1).any():
        print(f"  {masks[1]} masks hold 0 and 1, {masks[2]} hold 0 and 255: the same two classes, most likely; "
              "--threshold 1 makes these of both")
    elif hint := void_hint(values):
        print(f"  {hint}")
    if number_objects(values, counts):
        print("  these values number the objects of an image, most likely: --threshold 1 makes them one class")


def number_objects(values: list, counts: np.ndarray) -> bool:
    """Return whether values, with their `counts` (masks, classes), are numbers of objects rather than of classes.

    Then each mask holds 1, 2, … up to as many as it has objects, and these are not equally many.
    """
    if values != list(range(len(values))) or len(values) < 5:
        return False
    present = counts[:, 1:] > 0                                       # (masks, classes - 1)
    objects = present.sum(axis=1)
    without_gaps = all(row[:number].all() for row, number in zip(present, objects))
    return without_gaps and len(set(objects[objects > 0].tolist())) > 2


def near_values(values: list) -> list[tuple[int, int]]:
    """Return the pairs of values, as their places, so near that only a program's rounding can have made two of one.

    These are colours that differ by at most 2 in each channel, where some are bright, and greys of 64 and more
    that differ by 1. Dark ones that lie so near are class numbers.
    """
    parts = np.array(values).reshape(len(values), -1)                 # (values, 1) or (values, 3)
    coloured = parts.shape[1] == 3
    apart = np.abs(parts[:, None] - parts[None]).max(axis=2)          # (values, values)
    bright = np.full(len(values), parts.max() >= 64) if coloured else parts[:, 0] >= 64
    near = np.triu((apart <= (2 if coloured else 1)) & bright[:, None] & bright[None], k=1)
    return [(int(one), int(other)) for one, other in np.argwhere(near)]
