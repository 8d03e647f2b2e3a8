"""Masks: their files, the class indices that their values stand for, and pictures of these."""
import functools
import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

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
    is_lossy,
    open_image,
    open_with_header,
    read_image,
    size_and_turn,
    to_rgb,
)
from support.names import first_few
from support.tiff import NODATA, QUARTER_TURNS, Bands, Source, colour_bands, parse_nodata, tiff_tag

MAX_VALUES = 16                  # distinct values in a mask; what holds more is not a mask but a picture of one
IGNORE = 255                     # the class index of pixels that have no truth: no loss, no score
NO_DATA = -2**31                 # the value in a mask where the file says: no data, and names no value from 0 to 65535

# Apart for colour-blind readers, too, as far as so many can be: Okabe & Ito's, then Tol's (2021), dark and light.
PALETTE = ["#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff",
           "#332288", "#882255", "#999933", "#44aa99", "#aa4499", "#117733", "#ddcc77", "#aa4466", "#bbccee", "#225555"]
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
        return parse_nodata(tiff_tag(path, NODATA, ""))


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


def are_coloured(classes: list[dict]) -> bool:
    """Return whether the values of these classes are colours."""
    return bool(classes) and isinstance(classes[0]["value"], list)


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
