"""TIFF files that Pillow reads wrongly or not at all: planar ones of 16 bits, 64 bits, floats, many bands.

Pillow reads all others, as ever. What is read of these few comes from tifffile, which scikit-image brings along.
"""
import contextlib
import io
import logging
import math
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from support.mistakes import BadInput
from support.notes import note

# What Pillow is asked for, TGA last, as it has no first bytes to be known by; AVIF came with Pillow 11.3.
FORMATS = ["PNG", "JPEG", "BMP", "DIB", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000",
           *(["AVIF"] if find_spec("PIL.AvifImagePlugin") else []), "TGA"]
MAGIC = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"     # the last two: BigTIFF
ORIENTATION, SAMPLE_FORMAT, PLANAR, NODATA = 274, 339, 284, 42113
PHOTOMETRIC, SAMPLES, COMPRESSION, EXTRA = 262, 277, 259, 338
DEPTH = 32997                                      # slices of a volume
UNSIGNED, SEPARATE, UNCOMPRESSED, WHITE_IS_ZERO = 1, 2, 1, 0         # values of these tags
ALPHA = 1, 2                                       # of EXTRA: what the extra band is
UNPACKED = UNCOMPRESSED, 8, 32946                  # and the two numbers of deflate: what tifffile unpacks by itself
LOSSY = 6, 7, 33003, 33005, 34712, 34892           # compressions that are kinds of JPEG
SUBFILE, NO_PAGE = 254, 5                          # a tag, and its bits for smaller copies and for opacity
QUARTER_TURNS = 5, 6, 7, 8                         # values of the orientation
MOST_BYTES = 2**32
SEVERAL_PAGES = ("holds several pages: the first is read; save others as files of their own, or as one image where "
                 "they are red, green and blue")
CHOSEN = ", which the training's classes.json names"
LARGER = "; larger TIFF files are read by train.py and, for masks that end in .tif, by predict.py and infer.py"

logging.getLogger("tifffile").addHandler(logging.NullHandler())      # a damaged file gets one line: our BadInput


class Block(io.BytesIO):
    """A part of a large TIFF file, as a small one in memory. It goes by the name of the large one."""

    def __init__(self, content: bytes, name: Path | str):
        super().__init__(content)
        self.name = str(name)
        self.opacity = True      # whether its band for opacity, if it has one, is what it is called
        self.inside: tuple[slice, slice] | None = None   # the rows and columns of it that are read; None: all

    def __str__(self) -> str:
        return self.name

    def close(self) -> None:
        """Go back to the beginning: whoever reads it may open it again."""
        self.seek(0)


Source = Path | str | Block


def most_pixels() -> float:
    """Return how many pixels an image may have that is decoded at once: Pillow's limit, which a program may lift."""
    return Image.MAX_IMAGE_PIXELS or math.inf


def check_pixels(path: Source, width: int, height: int) -> None:
    """Raise BadInput for an image of more pixels than are decoded at once."""
    if width * height > most_pixels():
        raise BadInput(f"{path} is too large; expected at most {most_pixels()} pixels{LARGER}")


def starts_as_tiff(path: Source) -> bool:
    """Return whether a file's first bytes are those of a TIFF file."""
    if isinstance(path, Block):
        return True
    with open(path, "rb") as file:
        return file.read(4) in MAGIC


def open_known(source: Any) -> Any:
    """Return a PIL image of a file in one of the FORMATS; raises what Pillow raises for any other.

    For some of those, Pillow would start a program, Ghostscript, on a stranger's file.
    """
    return Image.open(source, formats=FORMATS)


def open_header(path: Source) -> Any:
    """Return a PIL image whose pixels are not read yet, or None for a TIFF file that is tifffile's to read."""
    try:
        image = open_known(path)
    except UnidentifiedImageError:
        if not starts_as_tiff(path):
            raise
        return None
    if image.format != "TIFF":
        return image
    if pillow_reads(image.tag_v2):
        image.filename = ""      # or Pillow 13 maps a turned file into memory with its sides exchanged, as garbage
        return image
    image.close()
    return None


def pillow_reads(tags: Any) -> bool:
    """Return whether Pillow, which has opened a TIFF file, reads its pixels rightly, too."""
    samples, bits = tags.get(SAMPLES, 1), max(tags.get(ExifTags.Base.BitsPerSample, (1,)))
    if set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) != {UNSIGNED} or bits > 16 or tags.get(DEPTH, 1) > 1:
        return False
    if samples > 4 and tags.get(COMPRESSION, UNCOMPRESSED) in UNPACKED:   # which few versions of Pillow read
        return False
    if tags.get(PLANAR) != SEPARATE or samples == 1:
        return True
    grey = tags.get(PHOTOMETRIC) in (0, 1)              # several bands, none of them a colour: Pillow mixes them up
    return not grey and (bits <= 8 or tags.get(COMPRESSION, UNCOMPRESSED) != UNCOMPRESSED)


class Bands(NamedTuple):
    """The pixels of a TIFF file, upright."""

    values: np.ndarray           # (H, W, bands), as they are in the file
    known: np.ndarray            # bool (H, W): neither NaN nor what the file says stands for no data
    nodata: float | None         # what the file says stands for that
    alpha: bool                  # whether the last band is the opacity

    @property
    def opacity(self) -> np.ndarray | None:
        """Return the opacity as uint8 (H, W), of 16 bits the high ones; None without one."""
        band = self.values[:, :, -1]
        return (band >> 8 * (band.itemsize - 1)).astype(np.uint8) if self.alpha else None


@contextlib.contextmanager
def first_page(path: Source) -> Iterator[Any]:
    """Open a TIFF file's first page with tifffile. Raises BadInput where it is of a kind that nobody here reads."""
    try:
        tifffile = import_module("tifffile")
    except ImportError:
        raise BadInput(f"{path} is a TIFF file that only tifffile reads; pip install tifffile") from None
    if isinstance(path, Block):
        path.seek(0)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        if page.axes not in ("YX", "YXS", "SYX") or page.dtype is None or page.dtype.kind not in "uif":
            raise BadInput(f"{path} holds {page.dtype} in the order {page.axes}; expected one flat image of "
                           "numbers: save a slice of it")
        if page.photometric not in (1, 2):
            raise BadInput(f"{path} has the colours {page.photometric.name}, of a kind that tifffile has to read; "
                           "expected grey or RGB")
        check_pixels(path, page.imagewidth, page.imagelength)
        if page.nbytes > MOST_BYTES:
            raise BadInput(f"{path} is too large; expected at most 4 GB of pixels{LARGER}")
        yield page


def tiff_size_and_turn(path: Source) -> tuple[tuple[int, int], int]:
    """Return (height, width) of a TIFF file, upright, and EXIF's number for how it lies, 1 to 8. Raises BadInput."""
    with first_page(path) as page:
        size, turn = (page.imagelength, page.imagewidth), int(tag(page, ORIENTATION, 1))
        return size[::-1] if turn in QUARTER_TURNS else size, turn if turn in range(1, 9) else 1


def tiff_tag(path: Source, number: int, default: Any) -> Any:
    """Return the value of a TIFF file's tag, whoever reads its pixels; the default where it has none. Raises BadInput.

    No other file has tags.
    """
    image = open_header(path)
    if image is None:
        with first_page(path) as page:
            return tag(page, number, default)
    with image:
        return image.tag_v2.get(number, default) if image.format == "TIFF" else default


def read_bands(path: Source, chosen: tuple[int, ...] | None) -> Bands:
    """Return the Bands of a TIFF file's first page.

    Those that are `chosen`, counted from 1, are followed by the opacity, unless that is one of them. Raises BadInput,
    or whatever tifffile does on a damaged file.
    """
    if chosen and not starts_as_tiff(path):
        raise BadInput(f"{path} is no TIFF file; expected one with {list_bands(chosen)}{CHOSEN}")
    with first_page(path) as page:
        size = page.parent.filehandle.size
        if any(start + length > size for start, length in zip(page.dataoffsets, page.databytecounts)):
            raise ValueError("truncated file")
        if has_another(page):
            note(path, SEVERAL_PAGES)
        pixels, nodata = decode(path, page), parse_nodata(tag(page, NODATA, ""))
        extra = tag(page, EXTRA, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    full = pixels.dtype in (np.uint8, np.uint16)        # of other numbers, nobody says what is opaque
    alpha = full and pixels.shape[2] in (2, 4) and len(extra) == 1 and int(extra[0]) in ALPHA
    if chosen:
        check_chosen(path, pixels.shape[2], chosen)
        alpha = alpha and pixels.shape[2] not in chosen
        pixels = pixels[:, :, [number - 1 for number in chosen] + [-1] * alpha]
    missing = np.isnan(pixels) if pixels.dtype.kind == "f" else np.zeros(pixels.shape, bool)
    if nodata is not None and fits(nodata, pixels.dtype):
        missing = missing | (pixels == np.array(nodata).astype(pixels.dtype))
    return Bands(pixels, np.logical_not(missing.all(axis=2)), nodata, alpha)


def check_chosen(path: Source, count: int, chosen: tuple[int, ...]) -> None:
    """Raise BadInput where a file has so many bands and not all that are chosen."""
    if max(chosen) > count:
        raise BadInput(f"{path} has {count} band{'s' * (count > 1)}; expected {list_bands(chosen)}{CHOSEN}")


def list_bands(chosen: tuple[int, ...]) -> str:
    """Return the numbers of three bands as a text: "bands 4, 3 and 2"."""
    return "bands {}, {} and {}".format(*chosen)


def has_another(page: Any) -> bool:
    """Return whether a file holds more pages, as large as this first one; smaller copies of it do not count."""
    try:
        second = page.parent.pages[1]
        larger = second.imagewidth >= page.imagewidth and second.imagelength >= page.imagelength
        return larger and not int(tag(second, SUBFILE, 0)) & NO_PAGE
    except Exception:            # there is none, or none that can be read
        return False


def decode(path: Source, page: Any) -> np.ndarray:
    """Return the pixels of a page, upright (H, W, bands). Raises BadInput where nobody here can unpack them."""
    try:
        pixels = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        by_pillow = page.samplesperpixel == 1 and page.bitspersample <= 32 and page.parent.byteorder == "<"
        if not by_pillow:
            raise BadInput(f"{path} is compressed as {page.compression.name}, which tifffile alone cannot unpack; pip "
                           "install imagecodecs") from None
        with open_known(path) as image:
            image.filename = ""                  # as in open_header
            pixels = np.asarray(ImageOps.exif_transpose(image))
        return pixels.astype(page.dtype, copy=False)[:, :, None]
    pixels = pixels.transpose(1, 2, 0) if page.axes == "SYX" else pixels.reshape(*pixels.shape[:2], -1)
    return upright(pixels, int(tag(page, ORIENTATION, 1)))


def tag(page: Any, number: int, default: Any) -> Any:
    """Return the value of a page's tag, or the default where it has none."""
    found = page.tags.get(number)
    return default if found is None else found.value


def parse_nodata(text: Any) -> float | None:
    """Return the number that GDAL's tag names, None where it names none."""
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None


def fits(value: float, dtype: np.dtype) -> bool:
    """Return whether a kind of number can hold this value at all."""
    if dtype.kind == "f":
        return True
    return math.isfinite(value) and value.is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return pixels (H, W, bands) turned and flipped as EXIF's orientation, 1 to 8, says."""
    if orientation in QUARTER_TURNS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def colour_bands(path: Source, bands: Bands) -> np.ndarray:
    """Return the bands that are looked at, (H, W, 1) or (H, W, 3): the first ones, without the opacity. Notes that."""
    count = bands.values.shape[2] - bands.alpha
    taken = 3 if count >= 3 else 1
    note_bands(path, count, taken)
    return bands.values[:, :, :taken]


def note_bands(path: Source, count: int, taken: int) -> None:
    """Note where fewer bands of a file are taken than it has."""
    if taken < count:
        first = {1: "the first is", 3: "the first three are"}.get(taken, f"the first {taken} are")
        note(path, f"of its {count} bands {first} read")
