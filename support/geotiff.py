"""A mask keeps of its image where that lies on the earth, and where it holds no data.

A GeoTIFF says both in tags. A PNG or JPEG has a world file beside it, NAME.pgw or NAME.jgw: six numbers.
"""
import contextlib
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from support.files import (
    STAMP,
    TIFFS,
    BadInput,
    check_writable,
    is_ours,
    remove,
    seal,
    write_image,
    write_text,
    write_whole,
)
from support.images import decoding, deep_colours, has_deep_colours, is_another_band, open_image, size_and_turn
from support.notes import note
from support.tiff import ALPHA, NODATA, ORIENTATION, Bands, Source, parse_nodata, starts_as_tiff, tag

SHORT, DOUBLE, ASCII = 3, 12, 2  # types of a tag's values
PLACE = {33550: DOUBLE, 33922: DOUBLE, 34264: DOUBLE, 34735: SHORT, 34736: DOUBLE, 34737: ASCII}     # GeoTIFF's tags
MOST_VALUES = 2**14              # of such a tag; what has more is no place but a list of them
SIDE = 256                       # pixels a side of the tiles of a mask


class Kept(NamedTuple):
    """The facts about an image that its mask keeps."""

    tags: dict[int, tuple]       # GeoTIFF's: number → (type, count, value)
    world: list[str] | None      # the six numbers of a world file
    gaps: bool                   # whether it may hold pixels without data
    missing: np.ndarray | None   # bool (H, W): where it does; None for nowhere, or of a LargeTiff


# ---------------------------------------------------------------------------------------------------
# Reading


def read_kept(path: Path | str, bands: tuple[int, ...] | None) -> Kept:
    """Return what its mask keeps of an image file of which these bands are read. Raises BadInput."""
    tags, gaps, nodata = read_tags(path)
    missing = None
    if gaps:
        with decoding(path):
            opened = open_image(path, bands)
            missing = without_data(opened, path, nodata, bool(tags) and is_opacity(opacity_of(opened)))
    return Kept(tags, read_world(path), gaps, missing)


def read_tags(path: Path | str) -> tuple[dict[int, tuple], bool, float | None]:
    """Return (GeoTIFF's tags, whether there may be pixels without data, the number that stands for these).

    Notes where a file has a place that cannot be kept. Without tifffile, or where that cannot read the tags, there
    are none.
    """
    with contextlib.suppress(ImportError, BadInput):
        if starts_as_tiff(path):
            tifffile = import_module("tifffile")
            with decoding(path), tifffile.TiffFile(path) as file:
                page = file.pages[0]
                return place_of(path, page), *gaps_of(page)
    return {}, False, None


def gaps_of(page: Any) -> tuple[bool, float | None]:
    """Return (whether a page may hold pixels without data, the number that stands for these or None)."""
    nodata = parse_nodata(tag(page, NODATA, ""))
    floats = page.dtype is not None and page.dtype.kind == "f"
    opacity = bool({*page.extrasamples} & {*ALPHA}) and any(number in page.tags for number in PLACE)
    return nodata is not None or floats or opacity, nodata


def place_of(path: Path | str, page: Any) -> dict[int, tuple]:
    """Return the GeoTIFF tags of a page; none, with a note, where they would be wrong for an upright mask."""
    tags = {}
    for number, kind in PLACE.items():
        found = page.tags.get(number)
        if found is None:
            continue
        if found.dtype != kind or found.count > MOST_VALUES:
            note(path, f"its place is not kept, as its tag {number} is not as GeoTIFF has it")
            return {}
        value = found.value if isinstance(found.value, (tuple, bytes)) else (found.value,)
        if kind == ASCII:        # as it stands there, since other tags count its bytes
            page.parent.filehandle.seek(found.valueoffset)
            value = page.parent.filehandle.read(found.count)
        tags[number] = kind, found.count, value
    if tags and tag(page, ORIENTATION, 1) not in range(2, 9):
        return tags
    if tags:
        note(path, "its place is not kept, as it is turned by its orientation, and GeoTIFF's tags are for what is not")
    return {}


def without_data(opened: Image.Image | Bands, path: Source, nodata: float | None, placed: bool) -> np.ndarray:
    """Return where an opened TIFF file holds no data, bool (H, W): NaN or `nodata` in all bands.

    Where it is `placed` on the earth, that is also where it is transparent, as GDAL has it.
    """
    opacity = opacity_of(opened)
    if isinstance(opened, Bands):
        missing = ~opened.known
    elif nodata is None:
        missing = np.zeros(opened.size[::-1], bool)
    else:
        values = np.asarray(opened)
        values = values if values.ndim == 3 else values[:, :, None]                   # (H, W, bands)
        colours = values if opacity is None else values[:, :, :-1]
        if has_deep_colours(path):               # Pillow has kept the high bytes
            colours = deep_colours(opened, path)
        missing = (colours == nodata).all(axis=2)
    return missing | (opacity == 0) if placed and opacity is not None else missing


def opacity_of(opened: Image.Image | Bands) -> np.ndarray | None:
    """Return the opacity of an opened TIFF file, uint8 (H, W), or None without one."""
    if isinstance(opened, Bands):
        return opened.opacity
    return np.asarray(opened)[:, :, -1] if opened.mode[-1] in "Aa" else None


def is_opacity(opacity: np.ndarray | None) -> bool:
    """Return whether the band that a file calls its opacity, uint8 (H, W), can be that, see images.lay_on."""
    if opacity is None or not opacity.any():     # where all is transparent, that cannot be meant
        return False
    return not is_another_band(np.bincount(opacity.ravel(), minlength=256))


# ---------------------------------------------------------------------------------------------------
# World files


def world_path(path: Path) -> Path:
    """Return where the world file of an image is: a.pgw for a.png, a.jgw for a.jpeg, a.tfw for a.tif."""
    ending = path.suffix.lower()
    return path.with_suffix(f"{ending[:2]}{ending[-1]}w")


def read_world(path: Path | str) -> list[str] | None:
    """Return the six numbers of the world file beside an image, as they stand there, or None; notes what is odd."""
    image = Path(path)
    if not image.suffix:
        return None
    endings = world_path(image).suffix, f"{image.suffix.lower()}w", ".wld"
    beside = [image.with_suffix(ending) for name in endings for ending in (name, name.upper())]
    found = next((world for world in beside if os.path.isfile(world)), None)      # False, too, for too long a name
    if found is None:
        return None
    try:
        with open(found, "rb") as file:
            numbers = file.read(1024).decode("ascii", "replace").split()[:6]
        odd = len(numbers) < 6 or not all(math.isfinite(float(number)) for number in numbers)
    except (OSError, ValueError):
        odd = True
    if odd:
        note(found, "is no world file, and not kept; expected six numbers")
        return None
    if size_and_turn(image)[1] != 1:
        note(path, "its world file is not kept, as the image is turned by its orientation, and that is for what is not")
        return None
    return numbers


def check_world(image: Path | str, *masks: Path) -> None:
    """Raise BadInput where the world file of an image's mask would overwrite a file that is not ours."""
    if read_world(image):
        for mask in masks:
            check_writable(world_path(mask))


def write_world(mask: Path, numbers: list[str] | None) -> None:
    """Write a mask's world file, or remove the one that we gave an earlier mask of this name."""
    path = world_path(mask)
    if numbers:                                         # GDAL reads six lines; the seventh says whose it is
        write_text(path, "\n".join([*numbers, STAMP, ""]))
    elif os.path.isfile(path) and is_ours(path):
        remove(path)


# ---------------------------------------------------------------------------------------------------
# Writing


def write_placed(path: Path, values: np.ndarray, kept: Kept, nodata: int | None, image: Path | str) -> None:
    """Write a mask's values, (H, W) or (H, W, 3), as write_image does, with what it keeps of its image.

    Only TIFF can hold all of it: notes where another format is asked for. `nodata` is a value that no class has.
    """
    write_world(path, kept.world)                       # first, so that a mask that is there has all of it
    missing = kept.missing if kept.missing is not None and kept.missing.any() else None
    if path.suffix.lower() in TIFFS and (kept.tags or kept.gaps):
        if missing is not None and nodata is not None:
            note(image, no_data(nodata))
            values = values.copy()
            values[missing] = nodata
        return write_tiles(path, cut_tiles(values), values.shape, values.dtype, mask_tags(kept, nodata))
    if kept.tags or missing is not None:
        what = "lies on the earth" if kept.tags else "holds pixels without data"
        note(image, f"{what}; only a mask that ends in .tif keeps that")
    write_image(path, values)


def no_data(nodata: int) -> str:
    """Return a remark on an image of which a mask has this value where there is no data."""
    return f"where it holds no data, its mask holds {nodata}, which stands for that (tag {NODATA}), and for no class"


def free_value(classes: list[dict]) -> int | None:
    """Return the highest value up to 255 that is in no class's value, None where all are: it stands for no data."""
    used = set(np.ravel([entry["value"] for entry in classes]).tolist())
    return next((value for value in range(255, -1, -1) if value not in used), None)


def mask_tags(kept: Kept, nodata: int | None) -> list[tuple]:
    """Return the tags of a mask as tifffile takes them."""
    tags = [(number, kind, count, value, True) for number, (kind, count, value) in kept.tags.items()]
    if kept.gaps and nodata is not None:
        tags.append((NODATA, ASCII, 0, str(nodata), True))
    return tags


def cut_tiles(values: np.ndarray) -> Iterator[bytes]:
    """Yield the compressed tiles of rows of a mask, (h, W) or (h, W, 3), from left to right, then down."""
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    for y in range(0, values.shape[0], SIDE):
        for x in range(0, values.shape[1], SIDE):
            tile = values[y:y + SIDE, x:x + SIDE]
            beyond = [(0, SIDE - side) for side in tile.shape[:2]] + [(0, 0)] * (values.ndim - 2)
            yield zlib.compress(np.pad(tile, beyond, mode="edge").tobytes())


def write_tiles(path: Path | str, tiles: Iterable[bytes], shape: tuple[int, ...], dtype: np.dtype, tags: list[tuple],
                size: int = 0) -> None:
    """Write a mask, (H, W) or (H, W, 3), from what cut_tiles yields of it, with these tags.

    It becomes a BigTIFF where `size`, the bytes of all tiles, needs that. Raises BadInput, see write_whole.
    """
    tifffile = import_module("tifffile")
    with write_whole(path) as temporary:
        with tifffile.TiffWriter(temporary, bigtiff=size > 2**32 - 2**26, byteorder="<") as file:
            file.write(iter(tiles), shape=shape, dtype=dtype, tile=(SIDE, SIDE), compression="adobe_deflate",
                       photometric="rgb" if len(shape) == 3 else "minisblack", software=STAMP, metadata=None,
                       extratags=tags)
        seal(temporary)
