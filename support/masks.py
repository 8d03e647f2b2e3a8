"""Masks: their files, the classes that their values stand for, class indices, and pictures of these."""
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageColor

from support.files import BadInput
from support.images import (
    AS_FOUND,
    FULL,
    WHITE,
    Rendering,
    as_source,
    bands_to_image,
    decoding,
    has_opacity,
    is_lossy,
    open_image,
    open_with_header,
    palette_of,
    parse_rendering,
    read_image,
    size_and_turn,
    to_rgb,
)
from support.machine import in_threads
from support.names import first_few
from support.tiff import QUARTER_TURNS, Bands, Source, colour_bands, tiff_nodata

MAX_VALUES = 16                  # distinct values in a mask; what holds more is not a mask but a picture of one
MAX_CLASSES = 255                # class indices are bytes, and the last one, 255, means: no truth here
IGNORE = 255                     # the class index of pixels that have no truth: no loss, no score
NO_DATA = -2**31                 # the value in a mask where the file says: no data, and names no value from 0 to 65535

# Apart for colour-blind readers, too, as far as so many can be: Okabe & Ito's, then Tol's (2021), dark and light.
PALETTE = ["#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff",
           "#332288", "#882255", "#999933", "#44aa99", "#aa4499", "#117733", "#ddcc77", "#aa4466", "#bbccee", "#225555"]
KEYS_OF_TABLE = {"classes", "ignore", "full_scale", "bands", "written by"}
KEYS_OF_CLASS = {"name", "value", "colour"}
UNKNOWN_GREY = (128, 128, 128)   # pixels without a truth


# ---------------------------------------------------------------------------------------------------
# Files → a mask's own values


def read_mask(path: Path | str, threshold: int | None = None, coloured: bool = False) -> np.ndarray:
    """Return a mask file's own values: int32 (H, W), or uint8 (H, W, 3) where it is really coloured.

    A palette gives its indices or, where the classes are `coloured`, its colours; a 1-bit file 0 and 255; 16
    bits, and 2 or 4 of a TIFF file, what they hold; floats that are whole numbers these; what is transparent is
    black. What a TIFF file says is no data is NO_DATA, unless that has a value from 0 to 65535. With a
    threshold, what is at least as bright, on a scale of 0 to 255, becomes 255 and the rest 0; of numbers of more
    than 8 bits a threshold of 1 takes whatever is above 0, as they may count objects. Raises BadInput.
    """
    path = as_source(path)
    return to_mask(open_image(path), path, threshold, coloured)


def to_mask(image: Image.Image | Bands, path: Path | str, threshold: int | None, coloured: bool) -> np.ndarray:
    """Return what read_mask promises, for what open_image has decoded."""
    if threshold == 1 and holds_numbers(image):
        return np.where(to_mask(image, path, None, coloured) > 0, 255, 0).astype(np.int32)
    if threshold is not None:
        return np.where(to_rgb(image, path, "black").mean(axis=2) >= threshold, 255, 0).astype(np.int32)
    if not isinstance(image, Image.Image):
        return bands_to_mask(image, path)
    if image.mode in ("1", "L"):
        mask = np.asarray(image.convert("L"))
    elif image.mode == "P" and not coloured or image.mode.startswith("I"):
        mask = np.asarray(image)
    else:
        return grey_if_it_is(to_rgb(image, path, background="black"))
    if image.info.get(WHITE) and image.mode in ("L", "I"):
        mask = np.rint(mask * (image.info[WHITE] / {"L": 255, "I": FULL}[image.mode]))
    return mask.astype(np.int32)


def holds_numbers(image: Image.Image | Bands) -> bool:
    """Return whether what open_image has decoded are whole numbers of more than 8 bits, one a pixel."""
    if isinstance(image, Image.Image):
        return image.mode.startswith("I")
    return image.values.dtype.kind in "iu" and image.values.itemsize > 1 and image.values.shape[2] == 1


def bands_to_mask(bands: Bands, path: Path | str) -> np.ndarray:
    """Return the Bands of a TIFF file as read_mask returns a mask. Raises BadInput for what is no whole number."""
    if bands.alpha:
        return grey_if_it_is(to_rgb(bands, path, background="black"))
    values = colour_bands(path, bands)
    if values.shape[2] == 3 and not (values == values[:, :, :1]).all():
        if values.dtype.kind == "f" or values.itemsize > 2:
            raise BadInput(f"{path} holds colours of {values.dtype}; expected 8 bits, or one value for each class")
        return np.asarray(bands_to_image(bands, path).convert("RGB"))
    values, known = values[:, :, 0], bands.known
    if values.dtype != np.uint64:
        values = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    with np.errstate(invalid="ignore"):
        if values.dtype.kind == "f" and (values != np.rint(values))[known].any():
            fraction = values[known][(values != np.rint(values))[known]][0]
            raise BadInput(f"{path} holds {fraction:g}; expected a whole number for each class, or --threshold 128, "
                           "which makes two of brightness from 0 to 1")
        named = bands.nodata is not None and 0 <= bands.nodata <= FULL       # then it may well be a class
        kept = known | (named & (values == values))                          # NaN is never kept
        mask = np.where(kept, values, 0)
        if mask.min() < -FULL or mask.max() > 2**31 - 1:
            raise BadInput(f"{path} holds values from {mask.min():g} to {mask.max():g}; expected 0 to {FULL}")
        return np.where(kept, mask.astype(np.int32), np.int32(NO_DATA))


def grey_if_it_is(colours: np.ndarray) -> np.ndarray:
    """Return colours uint8 (H, W, 3) as a mask: int32 (H, W) where they are greys, saved as colours."""
    return colours[:, :, 0].astype(np.int32) if (colours == colours[:, :, :1]).all() else colours


def value_codes(mask: np.ndarray) -> np.ndarray:
    """Return a mask's values as one number a pixel, (H, W): a grey value as it is, a colour as 65536·R + 256·G + B."""
    return mask if mask.ndim == 2 else mask @ np.array([65536, 256, 1])


def nodata_of(path: Path | str) -> float | None:
    """Return the number that stands for no data in a file, where it is a TIFF file that names one. Raises BadInput."""
    with decoding(path):
        return tiff_nodata(path)


def nodata_values(found: Iterable[float | None]) -> list[int]:
    """Return those of the values that stand for no data that lie from 0 to 65535, each once, in order."""
    values = {value for value in found if value is not None}
    return sorted(int(value) for value in values if 0 <= value <= FULL and value.is_integer())


# ---------------------------------------------------------------------------------------------------
# What is known of a mask


class MaskFacts(NamedTuple):
    """The facts about a mask that are known before a training."""

    size: tuple[int, int]        # (height, width), upright
    turn: int                    # EXIF's number for how the file lies, 1 to 8
    palette: str | None          # a digest of palette_in
    nodata: float | None         # what a TIFF file says stands for no data
    found: "MaskValues"


class MaskValues(NamedTuple):
    """The values that occur in a mask, apart from NO_DATA."""

    distinct: int                # how many there are
    counts: dict[int, int]       # value, as value_codes has it → pixels, in order; empty of more than MAX_VALUES
    coloured: bool               # whether they are colours
    lossy: bool                  # whether the file's compression invents values; not looked up where there are two


def mask_facts(path: Path | str, threshold: int | None = None) -> MaskFacts:
    """Return the MaskFacts of a file, with the values that read_mask returns. Raises BadInput."""
    path = as_source(path)
    header, opened = open_with_header(path, wanted=True)
    assert header is not None
    palette = hashlib.sha256(repr(header.palette).encode()).hexdigest() if header.palette else None
    found = mask_values(to_mask(opened, path, threshold, coloured=False), path)
    return MaskFacts(header.size, header.turn, palette, header.nodata, found)


def mask_values(mask: np.ndarray, path: Source) -> MaskValues:
    """Return the MaskValues of a mask as read_mask returns it."""
    values, number = np.unique(value_codes(mask), return_counts=True)
    if values[0] == NO_DATA:
        values, number = values[1:], number[1:]
    counts = dict(zip(values.tolist(), number.tolist())) if len(values) <= MAX_VALUES else {}
    return MaskValues(len(values), counts, mask.ndim == 3, len(values) > 2 and is_lossy(path))


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


def are_coloured(classes: list[dict]) -> bool:
    """Return whether the values of these classes are colours."""
    return bool(classes) and isinstance(classes[0]["value"], list)


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
        if found.lossy and found.distinct > 2:
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
        raise BadInput(f"{path} holds no data" + "; expected a value for each class, at least two")
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
# A mask's own values ↔ class indices


@functools.lru_cache(maxsize=2)  # to make one of 32 MB takes longer than to use it
def index_table(codes: tuple[int, ...], classes: int, coloured: bool) -> np.ndarray:
    """Return an array that has, at each code of value_codes, the class index + 1; 0 where no class has the code.

    `codes` are those of so many classes and, behind them, of what is ignored. The last element, 0, is no code's.
    """
    index = np.zeros((2**24 if coloured else 2**16) + 1, np.uint16)
    index[list(codes)] = [*range(1, classes + 1), *[IGNORE + 1] * (len(codes) - classes)]
    return index


def to_indices(mask: np.ndarray, classes: list[dict], path: Path | str, ignore: Collection = ()) -> np.ndarray:
    """Return a mask's own values as class indices, uint8 (H, W), IGNORE where the value is one to ignore.

    Raises BadInput at any other value that no class has.
    """
    known = [entry["value"] for entry in classes] + list(ignore)
    number, coloured = value_codes(mask), isinstance(known[0], list)
    if coloured and mask.ndim == 2:                     # only black, grey and white in it, among coloured ones
        number = number * 0x010101
    elif mask.ndim == 3 and not coloured:               # really coloured, among grey ones: no code stands for that
        number = np.where((mask == mask[:, :, :1]).all(axis=2), mask[:, :, 0].astype(int), -1)
    index = index_table(tuple(value_codes(np.array([known]))[0].tolist()), len(classes), coloured)
    found = index[np.clip(number, -1, len(index) - 1)]  # what no code can be falls on the last one
    found[number == NO_DATA] = IGNORE + 1
    if not found.all():
        y, x = np.argwhere(found == 0)[0]
        value = mask[y, x].tolist()
        exchanged = mask.ndim == 3 and value[::-1] in known
        raise BadInput(f"{path} holds {value} at x={x}, y={y}" + ", red and blue exchanged, most likely" * exchanged +
                       f"; expected one of {', '.join(str(value) for value in known)}")
    return (found - 1).astype(np.uint8)


def to_values(indices: np.ndarray, classes: list[dict]) -> np.ndarray:
    """Return class indices (H, W) as the masks' values: (H, W) or, for colours, (H, W, 3); uint8 where they fit."""
    values = np.array([entry["value"] for entry in classes])
    return values.astype(np.uint8 if values.max() < 256 else np.uint16)[indices]


def read_pair(image_path: Path | str, mask_path: Path | str, classes: list[dict], ignore: Collection = (),
              threshold: int | None = None, rendering: Rendering = AS_FOUND) -> tuple[np.ndarray, np.ndarray]:
    """Return an image uint8 (H, W, 3) and its mask as class indices uint8 (H, W). Raises BadInput."""
    image = read_image(image_path, rendering=rendering)
    mask = read_mask(mask_path, threshold, are_coloured(classes))
    same_size(image_path, image.shape[:2], mask_path, mask.shape[:2])
    return image, to_indices(mask, classes, mask_path, ignore)


def same_size(image_path: Path | str, image_size: tuple[int, ...], mask_path: Path | str,
              mask_size: tuple[int, ...]) -> None:
    """Raise BadInput unless the two (height, width) are the same."""
    if image_size != mask_size:
        advice = ""
        if tuple(image_size) == tuple(mask_size)[::-1] and size_and_turn(image_path)[1] in QUARTER_TURNS:
            advice = (": EXIF turns the image, and the mask lies as its pixels are stored; turn the mask, too, or "
                      "remove the image's orientation")
        raise BadInput(f"{image_path} is {image_size[1]}x{image_size[0]} pixels, but {mask_path} is "
                       f"{mask_size[1]}x{mask_size[0]}; expected the same size{advice}")


# ---------------------------------------------------------------------------------------------------
# Class indices → pictures


def black_line(classes: list[dict]) -> str:
    """Return a text that says that masks of these classes look black, "" where they do not."""
    values = [entry["value"] for entry in classes]
    dark = not are_coloured(classes) and max(values) < 16
    return f"the values {first_few([str(value) for value in values])} all look black" if dark else ""


def foreground_index(classes: list[dict]) -> int | None:
    """Return the index of the class that matters of two: named foreground, or not named background; else None."""
    names = [entry["name"] for entry in classes]
    if "foreground" in names:
        return names.index("foreground")
    return 1 - names.index("background") if len(names) == 2 and "background" in names else None


def brighter_index(classes: list[dict]) -> int:
    """Return the index of the brighter of two classes: a black and white mask shows it white."""
    first, second = (np.mean(entry["value"]) for entry in classes)
    return int(second >= first)


def black_and_white(indices: np.ndarray, classes: list[dict]) -> np.ndarray:
    """Return indices (H, W) of two classes as uint8 (H, W): 255 for the brighter class, 0 for the other."""
    return np.where(indices == brighter_index(classes), 255, 0).astype(np.uint8)


def class_colours(classes: list[dict]) -> np.ndarray:
    """Return a colour for each class index, uint8 (256, 3): the table's, the masks', black and white or a palette's."""
    values = [entry.get("colour", entry["value"]) for entry in classes]
    if isinstance(values[0], list):
        own = np.array(values)
    elif len(values) == 2:
        own = black_and_white(np.arange(2), classes)[:, None]         # (2, 1): three channels alike
    else:
        own = np.array([ImageColor.getrgb(PALETTE[number % len(PALETTE)]) for number in range(len(values))])
    colours = np.full((256, 3), UNKNOWN_GREY, np.uint8)
    colours[:len(own)] = own
    return colours


def to_picture(indices: np.ndarray, classes: list[dict]) -> np.ndarray:
    """Return class indices as a picture: two classes black and white, more in colours, see class_colours."""
    if len(classes) == 2 and not are_coloured(classes):
        return black_and_white(indices, classes)
    return class_colours(classes)[indices]
