"""Images: any kind of file → uint8 (H, W, 3), red, green and blue."""
import contextlib
import ctypes
import logging
import os
import stat
import struct
import sys
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, TiffImagePlugin

from support.files import BadInput, is_jpeg
from support.machine import in_threads
from support.mistakes import Unreadable
from support.notes import note
from support.segments import Part
from support.tiff import (
    COMPRESSION,
    LARGER,
    LOSSY,
    MAGIC,
    NO_PAGE,
    NODATA,
    PHOTOMETRIC,
    QUARTER_TURNS,
    SAMPLES,
    SEVERAL_PAGES,
    SUBFILE,
    UNCOMPRESSED,
    WHITE_IS_ZERO,
    Bands,
    Block,
    Source,
    check_pixels,
    colour_bands,
    list_bands,
    most_pixels,
    note_bands,
    open_header,
    open_known,
    parse_nodata,
    read_bands,
    tiff_size_and_turn,
    tiff_tag,
)

MAX_LENGTH = 65_500              # pixels a side: the most that a JPEG can hold
SMALLEST = 16                    # pixels a side of an image to train on
FULL = 65535                     # the highest value of 16 bits
SCALES = 255, 1023, 4095, 16383, FULL    # the highest values that cameras of 8 to 16 bits write into 16
NEGATIVE, WHITE = (0, 1), (0, 2)         # keys in an image's info, which no remark in a file can have; see keep_header
LOW_BYTES = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B",
             "RGBX;16B": "RGBX;16L", "RGBX;16L": "RGBX;16B"}          # Pillow's names of 16 bits in either order
EXIF_AS_TEXT = b"Raw profile type exif", b"XML:com.adobe.xmp"           # in a PNG, beside its own way

ANOTHER_BAND = "has a band for opacity that can be none, as most of it is neither 0 nor full: it is left out"

PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 2**25, 2**28  # remarks and profiles may be long
warnings.simplefilter("ignore", Image.DecompressionBombWarning)     # open_image refuses such files itself
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")     # of odd metadata
logging.getLogger("PIL").addHandler(logging.NullHandler())          # a damaged file gets one line: our BadInput
with contextlib.suppress(AttributeError, OSError):                  # where libtiff stands apart from Pillow
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)      # it would print a line of its own


class Rendering(NamedTuple):
    """How the numbers of an image file become red, green and blue of 8 bits. Files of 8 bits have no full scale."""

    full: float = FULL           # what is white in whole numbers of more than 8 bits
    written: bool = False        # whether a person says so: then it is in floats, too, and so is all that lies beyond
    bands: tuple[int, ...] | None = None         # of a TIFF file, for red, green, blue, from 1 on; None: the first ones


AS_FOUND = Rendering()


def parse_rendering(table: dict) -> Rendering:
    """Return what a class table says of how images are read. Raises ValueError."""
    full, bands = table.get("full_scale", FULL), table.get("bands", [1, 2, 3])
    if type(full) not in (int, float) or not 1e-30 <= full <= 1e30:   # 255 can be divided by that
        raise ValueError(f'"full_scale" is {full!r:.40}; expected a number above 0, what is white in images of '
                         "more than 8 bits, such as 4095")
    if not (isinstance(bands, list) and len(bands) == 3 and
            all(type(number) is int and 1 <= number <= 65535 for number in bands)):
        raise ValueError(f'"bands" is {bands!r:.40}; expected the numbers of three, counted from 1, for red, green '
                         "and blue, such as [4, 3, 2]")
    return Rendering(full, "full_scale" in table, tuple(bands) if "bands" in table else None)


def rendering_entries(rendering: Rendering) -> dict:
    """Return what parse_rendering reads of a class table: nothing of what was found."""
    entries = {"full_scale": rendering.full} if rendering.written else {}
    return entries | ({"bands": list(rendering.bands)} if rendering.bands else {})


# ---------------------------------------------------------------------------------------------------
# Opening


@contextlib.contextmanager
def decoding(path: Source) -> Iterator[None]:
    """Turn whatever goes wrong with an image file inside `with decoding(path):` into a BadInput.

    Where the file is missing, damaged or not to be read at all, that is an Unreadable.
    """
    try:
        if isinstance(path, (str, Path)) and stat.S_ISFIFO(os.stat(path).st_mode):
            raise Unreadable(f"{path} is a pipe; expected an image file")          # which would be waited for
        yield
    except BadInput:
        raise
    except FileNotFoundError:
        raise Unreadable(f"{path} does not exist; expected an image file") from None
    except Image.DecompressionBombError:
        raise BadInput(f"{path} is too large; expected at most {most_pixels()} pixels{LARGER}") from None
    except (IsADirectoryError, PermissionError) as error:             # the latter, of a folder, on Windows
        if os.path.isdir(str(path)):
            raise BadInput(f"{path} is a folder; expected an image file (infer.py segments a folder, train.py --data "
                           "learns from one)") from None
        raise Unreadable(f"{path} cannot be read ({error.strerror}); expected an image file") from None
    except MemoryError:
        raise BadInput(f"{path} does not fit into the memory that is left; close other programs, or take a smaller "
                       "image") from None
    except Exception as error:   # a decoder raises nearly anything on a damaged file: struct.error, zlib.error, …
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(f"{path} is no readable image ({reason}); expected a PNG, JPEG, TIFF, BMP or WebP") from error


def as_source(path: Any) -> Any:
    """Return what is to be opened: a path, or a Part as a file in memory. Raises BadInput where that is damaged."""
    with decoding(path):
        return path.cut() if isinstance(path, Part) else path


def open_image(path: Source, bands: tuple[int, ...] | None = None) -> Image.Image | Bands:
    """Return a decoded, upright PIL image, or the Bands of a TIFF file that Pillow does not read rightly.

    Where `bands` are chosen, a TIFF file is always the Bands. Raises BadInput, also above Pillow's limit of 89
    megapixels.
    """
    return open_with_header(path, bands)[1]


class Header(NamedTuple):
    """The facts that stand in the header of an image file."""

    size: tuple[int, int]        # (height, width), upright
    turn: int                    # EXIF's number for how the file lies, 1 to 8
    deep: bool                   # whether it has whole numbers of more than 8 bits
    palette: tuple | None        # see palette_in
    nodata: float | None         # what a TIFF file says stands for no data


def open_with_header(path: Source, bands: tuple[int, ...] | None = None,
                     wanted: bool = False) -> tuple[Header | None, Image.Image | Bands]:
    """Return what open_image does and, where it is `wanted`, the Header: both of a single look into the file."""
    header = None
    with decoding(path):
        image = None if bands else open_header(path)
        opened: Image.Image | Bands
        if image is None:
            opened = read_bands(path, bands)
            if wanted:
                deep = opened.values.dtype.kind in "ui" and opened.values.itemsize > 1
                header = Header(*tiff_size_and_turn(path), deep, None, opened.nodata)
        else:
            if wanted:
                nodata = parse_nodata(image.tag_v2.get(NODATA, "")) if image.format == "TIFF" else None
                header = Header(*size_and_turn_in(path, image), is_deep(image), palette_in(image), nodata)
            opened = decode(path, image)
        if isinstance(path, Block) and path.inside:
            opened = crop(opened, path.inside)
            header = header and header._replace(size=tuple(some.stop - some.start for some in path.inside))
    return header, opened


def crop(opened: Image.Image | Bands, inside: tuple[slice, slice]) -> Image.Image | Bands:
    """Return these rows and columns of an opened image."""
    rows, columns = inside
    if isinstance(opened, Image.Image):
        return opened.crop((columns.start, rows.start, columns.stop, rows.stop))
    return opened._replace(values=opened.values[inside], known=opened.known[inside])


def decode(path: Source, image: Any) -> Image.Image:
    """Return the decoded, upright image that open_header has opened. Raises BadInput where it is too large."""
    check_pixels(path, *image.size)
    if max(image.size) > MAX_LENGTH:
        raise BadInput(f"{path} is {image.width}x{image.height} pixels; expected at most {MAX_LENGTH} a side")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        note_bands(path, image.tag_v2.get(SAMPLES, 1), sum(band != "X" for band in image.getbands()))
    if has_more_pages(path, image):
        note(path, SEVERAL_PAGES)
    keep_header(image)
    return ImageOps.exif_transpose(image)               # decodes, too: a truncated file fails here


def keep_header(image: Any) -> None:
    """Put into an opened image's info whether 0 is white, NEGATIVE, and what was WHITE before Pillow stretched it."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.info[NEGATIVE] = image.mode.startswith("I;16") and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
        image.info[WHITE] = {2: 3, 4: 15}.get(image.tag_v2.get(ExifTags.Base.BitsPerSample, (1,))[0])
    elif image.format == "PPM" and image.tile[0][0].startswith("ppm"):
        image.info[WHITE] = image.tile[0][3][1]


def has_more_pages(path: Source, image: Image.Image) -> bool:
    """Return whether an image file holds more pictures that are as large as the first; smaller copies do not count."""
    if image.format != "TIFF":
        return image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False)
    again: Any
    try:
        with open_known(path) as again:          # or what is wrong with the second page would spoil the first
            again.seek(1)
            large = again.width >= image.width and again.height >= image.height
            return large and not again.tag_v2.get(SUBFILE, 0) & NO_PAGE
    except Exception:
        return False


# ---------------------------------------------------------------------------------------------------
# What stands in a header


def image_size(path: Path | str) -> tuple[int, int]:
    """Return (height, width) of an image file, upright, from its header alone. Raises BadInput."""
    return size_and_turn(path)[0]


def size_and_turn(path: Path | str) -> tuple[tuple[int, int], int]:
    """Return (height, width) of an image file, upright, and EXIF's number for how it lies, 1 to 8. Raises BadInput."""
    with decoding(path), open_header(path) or contextlib.nullcontext() as image:
        return size_and_turn_in(path, image) if image else tiff_size_and_turn(path)


def size_and_turn_in(path: Any, image: Any) -> tuple[tuple[int, int], int]:
    """As size_and_turn, of a file that open_header has opened."""
    exif = png_exif(path) if image.format == "PNG" else image.getexif()
    size = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):              # newer Pillows have turned that already
        size = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    turn: Any = exif.get(ExifTags.Base.Orientation)                   # a stranger may write anything there
    turn = turn if turn in range(1, 9) else 1
    return size if turn in QUARTER_TURNS else size[::-1], turn


def png_exif(path: Path | str) -> Image.Exif:
    """Return the EXIF data of a PNG file. Pillow would decode the image first, as they may stand behind its pixels."""
    exif, as_text = Image.Exif(), False
    with open(path, "rb") as file:
        for kind, length in png_chunks(file):
            if kind == b"eXIf":
                exif.load(file.read(min(length, 2**16)))
            elif kind in (b"tEXt", b"zTXt", b"iTXt"):
                as_text |= file.read(22).startswith(EXIF_AS_TEXT)
    if ExifTags.Base.Orientation in exif or not as_text:
        return exif
    with open_known(path) as image:              # other ways to write an orientation, which Pillow reads
        return image.getexif()


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield (kind, length) for each chunk of an open PNG file, which then stands at the chunk's content."""
    position, kind = 8, None
    while kind != b"IEND":                       # what stands behind it is not of the image
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, length
        position += length + 12                  # the length itself, the kind, the checksum


def palette_of(path: Path | str) -> tuple | None:
    """As palette_in, of the image file at a path. Raises BadInput."""
    with decoding(path), open_header(path) or contextlib.nullcontext() as image:
        return image and palette_in(image)


def palette_in(image: Any) -> tuple | None:
    """Return the palette of an image that open_header has opened, in whatever form it is stored; None without one."""
    if image.mode != "P":
        return None
    if image.palette is None:                    # a GIF's, which comes with the pixels
        image.load()
    return image.palette.rawmode, bytes(image.palette.palette), image.info.get("transparency")


def is_lossy(path: Source) -> bool:
    """Return whether a file's content, whatever its name, is of a kind that changes values: JPEG, lossy WebP, ….

    Where there is no such file, its name says.
    """
    if isinstance(path, Block):
        return tiff_tag(path, COMPRESSION, UNCOMPRESSED) in LOSSY
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            if head[:4] == b"RIFF" and head[8:] == b"WEBP":
                return is_lossy_webp(file)
        if head[:4] in MAGIC:
            return tiff_tag(path, COMPRESSION, UNCOMPRESSED) in LOSSY
        return head.startswith(b"\xff\xd8")
    except Exception:            # a file that cannot be read: whoever reads it will say so
        return is_jpeg(path)


def has_opacity(path: Source) -> bool:
    """Return whether an image is opaque in some places only, as what was cut out of a photograph is.

    One that cannot be read is taken for opaque.
    """
    try:
        image = open_image(path)
    except BadInput:
        return False
    if not isinstance(image, Image.Image) or not image.has_transparency_data:
        return False
    least, most = image.convert("RGBA").getchannel("A").getextrema()
    return least == 0 and most == 255


def is_lossy_webp(file: BinaryIO) -> bool:
    """Return whether the first picture in an open WebP file, which stands behind its head, is a lossy one."""
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        file.seek(16 if kind == b"ANMF" else length + length % 2, os.SEEK_CUR)       # a frame holds such parts itself
    return False


def head_and_length(path: Path | str) -> bytes:
    """Return a file's first 64 KiB and its size: enough to recognize it, without the minutes that reading all takes."""
    with open(path, "rb") as file:
        return file.read(65536) + b"%d" % os.fstat(file.fileno()).st_size


# ---------------------------------------------------------------------------------------------------
# Pixels → red, green and blue of 8 bits


def read_image(path: Path | str, rendering: Rendering = AS_FOUND) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3): red, green, blue.

    EXIF orientation is applied. Transparent pixels are composited on white, so that colours hidden below
    them never show. 16-bit files are scaled to 8 bits (the full scale → 255); floats must lie in [0, 1],
    unless that is written down. Of several frames the first is read, of several bands the first three, unless
    others are chosen. What a TIFF file says is no data becomes black. Raises BadInput.
    """
    path = as_source(path)
    return to_rgb(open_image(path, rendering.bands), path, "white", rendering)


def to_rgb(image: Image.Image | Bands, path: Source, background: str, rendering: Rendering = AS_FOUND) -> np.ndarray:
    """Return what read_image promises, for what open_image has decoded."""
    if not isinstance(image, Image.Image):
        image = bands_to_image(image, path, rendering)
    elif rendering.full != FULL and has_deep_colours(path):
        colours = to_bytes(deep_colours(image, path), path, rendering=rendering)
        opacity = image.split()[-1:] if image.mode.endswith("A") else ()
        image = Image.merge("RGBA" if opacity else "RGB", [*Image.fromarray(colours).split(), *opacity])
    if image.mode.startswith(("I", "F")):               # a single channel of 16 bits or more
        own_white = rendering.written and image.info.get(WHITE)       # the file's header says what is white in it
        grey = to_bytes(np.asarray(image), path, rendering=AS_FOUND if own_white else rendering)
        return np.repeat((255 - grey if image.info.get(NEGATIVE) else grey)[:, :, None], 3, axis=2)
    try:
        if image.has_transparency_data:
            image = lay_on(image.convert("RGBA"), path, background)
        return np.asarray(image.convert("RGB"))
    except ValueError:
        raise BadInput(f"{path} has the colour mode {image.mode}; expected grey, RGB, palette or CMYK") from None


def to_bytes(values: np.ndarray, path: Source, known: np.ndarray | bool = True,
             rendering: Rendering = AS_FOUND) -> np.ndarray:
    """Return numbers as uint8: those of 8 bits as they are, floats from 0 to 1 and others from 0 to white scaled.

    Where they are not `known`, they become 0. What lies beyond a white that is written down is cut off there,
    for floats, too. Raises BadInput for what lies beyond another one, and for what is no number.
    """
    floats, bytes_already = values.dtype.kind == "f", values.itemsize == 1
    full = 255 if bytes_already else 1 if floats and not rendering.written else rendering.full
    with np.errstate(invalid="ignore"):                 # of what is no number; the check that follows finds it
        values = values.astype(np.float64)
        if rendering.written and not bytes_already:
            values = values.clip(0, full)
        chosen = values if np.all(known) or not np.any(known) else values[known]
    if not (chosen.min() >= 0 and chosen.max() <= full):
        told = f"{path} holds values from {chosen.min():g} to {chosen.max():g}; expected 0 to {full}"
        if full in SCALES[1:-1] and not rendering.written:
            told += ", the full scale of what the network learned from"
        if floats and not rendering.written:
            told += ', whole numbers of 8 or 16 bits or, of an image to train on, a "full_scale" in classes.json'
        raise BadInput(told)
    if chosen is not values:
        note(path, "what it marks as no data is read as black")
        values[~known] = 0
    return np.rint(values * (255 / full)).astype(np.uint8)


def bands_to_image(bands: Bands, path: Source, rendering: Rendering = AS_FOUND) -> Image.Image:
    """Return the Bands of a TIFF file as a PIL image of 8 bits. Raises BadInput for values out of their range."""
    colours = colour_bands(path, bands)
    if colours.dtype == np.uint16 and colours.shape[2] == 3 and rendering.full == FULL:      # as Pillow reads others
        colours, known = (colours >> 8).astype(np.uint8), bands.known
        if not known.all() and known.any() and colours[~known].any():
            note(path, "what it marks as no data is read as black")
            colours[~known] = 0
    else:
        colours = to_bytes(colours, path, bands.known, rendering)
    image = Image.fromarray(colours if colours.shape[2] == 3 else colours[:, :, 0])
    opacity = bands.opacity
    if opacity is not None:
        image.putalpha(Image.fromarray(opacity))
    return image


def lay_on(image: Image.Image, path: Source, background: str) -> Image.Image:
    """Return an RGBA image on a background, and note where its opacity cannot be meant as that.

    An image that is transparent everywhere shows its colours all the same. An opacity that is neither full nor 0
    over more than half of the image is another band, such as near-infrared. A mask, laid on black, that is all
    black itself and whose opacity differs holds its values there.
    """
    colours, opacity = np.asarray(image)[:, :, :3], image.getchannel("A")
    if isinstance(path, Block):                  # the whole image says what its opacity is
        return composite(image, background) if path.opacity else image.convert("RGB")
    pixels = opacity.histogram()
    if background == "white" and is_another_band(pixels):
        note(path, ANOTHER_BAND)
        return image.convert("RGB")
    least, most = np.asarray(opacity).min(), np.asarray(opacity).max()
    if most == 0 and (colours != colours[0, 0]).any():
        note(path, "is transparent everywhere: its opacity is ignored")
        return image.convert("RGB")
    if background == "black" and least < most and not colours.any():
        note(path, "is black, and its opacity differs: that is the mask")
        return opacity
    return composite(image, background)


def composite(image: Image.Image, background: str) -> Image.Image:
    """Return an RGBA image laid on a background of this colour."""
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


def is_another_band(pixels: Any) -> bool:
    """Return whether a band for opacity cannot be meant as that, given how many of its `pixels` have each value."""
    return bool(2 * (pixels[0] + pixels[255]) < sum(pixels) and np.count_nonzero(pixels) > 16)


# ---------------------------------------------------------------------------------------------------
# More than 8 bits


def raw_mode(image: Any) -> str | None:
    """Return Pillow's name for the order of bytes in an image of 16-bit colours, None for any other, by its header."""
    for tile in image.tile if image.mode in ("RGB", "RGBA", "LA") else []:
        name = tile[3] if isinstance(tile[3], str) else tile[3][0]
        return name if ";16" in name else None
    return None


def is_deep(image: Any) -> bool:
    """Return whether an image that open_header has opened holds whole numbers of more than 8 bits."""
    return image.mode.startswith("I") or raw_mode(image) is not None


def deep_colours(image: Image.Image, path: Source) -> np.ndarray:
    """Return uint16 (H, W, 3) of a file of 16-bit colours, or of greys with opacity. Raises BadInput.

    Pillow, in `image`, keeps the high bytes. Decoded again as if the order was the other one, it gives the low
    ones; greys with opacity are decoded as if their four bytes were four bands.
    """
    native = {"little": "L", "big": "B"}[sys.byteorder]
    with decoding(path):
        again = open_header(path)
        name = str(raw_mode(again)).replace("16N", f"16{native}")
        grey = name == "LA;16B"
        if grey:
            again._mode = "RGBA"
        name = "RGBA" if grey else LOW_BYTES[name]
        for place, tile in enumerate(again.tile):
            args = name if isinstance(tile[3], str) else (name, *tile[3][1:])
            again.tile[place] = tile._replace(args=args) if hasattr(tile, "_replace") else (*tile[:3], args)
        found = np.asarray(ImageOps.exif_transpose(again))
    if isinstance(path, Block) and path.inside:
        found = found[path.inside]
    if grey:
        return np.repeat(found[:, :, :1].astype(np.uint16) << 8 | found[:, :, 1:2], 3, axis=2)
    return np.asarray(image)[:, :, :3].astype(np.uint16) << 8 | found[:, :, :3]


def has_deep_colours(path: Source) -> bool:
    """Return whether Pillow reads a file as colours and it has more than 8 bits of each, by its header."""
    with decoding(path), open_header(path) or contextlib.nullcontext() as image:
        return image is not None and raw_mode(image) is not None


def highest_value(path: Path | str, bands: tuple[int, ...] | None = None) -> int:
    """Return the highest value in an image file of more than 8 bits, 0 for others and for floats. Raises BadInput."""
    with decoding(path), open_header(path) or contextlib.nullcontext() as image:
        if image and not is_deep(image):
            return 0             # most images: nothing has to be decoded
    return highest_in(open_image(path, bands), path)


def highest_in(opened: Image.Image | Bands, path: Path | str) -> int:
    """As highest_value, of a file of more than 8 bits that open_image has opened."""
    if isinstance(opened, Image.Image):
        return int((np.asarray(opened) if opened.mode.startswith("I") else deep_colours(opened, path)).max())
    values = opened.values[:, :, :3 if opened.values.shape[2] >= 3 else 1][opened.known]
    return int(values.max()) if values.dtype.kind in "ui" and values.itemsize > 1 and values.size else 0


def find_rendering(paths: Collection[Path | str], said: Rendering = AS_FOUND, table: object = None) -> Rendering:
    """As decide_rendering, of the images at these paths. Raises BadInput."""
    highest = in_threads(lambda path: highest_value(path, said.bands), paths)
    return decide_rendering(said, max(highest, default=0), table)


def decide_rendering(said: Rendering, highest: int, table: object) -> Rendering:
    """Return how to read images, of which this is the `highest` value of more than 8 bits: as `said`, else as found.

    Prints what is unusual about that, and where the `table`, a path, says so.
    """
    if said.bands:
        print(f"{list_bands(said.bands)} are red, green and blue, as {table} says")
    if not said.written:
        return said._replace(full=choose_full_scale(highest))
    print("images of more than 8 bits" + f" hold values up to {highest}" * (highest > 0) +
          f": {said.full} is white, as {table} says")
    return said


def choose_full_scale(highest: int) -> int:
    """Return which value is white in images whose highest value of more than 8 bits this is: 65535, or less if enough.

    A camera of 12 bits writes 0 to 4095 into 16; seen as parts of 65535, that would be nearly black. Prints
    any other full scale than 65535.
    """
    full = next((scale for scale in SCALES if highest <= scale), FULL) if highest > 0 else FULL
    if full != FULL:
        print(f"images of 16 bits hold values up to {highest}: {full} is white, as of {full.bit_length()} bits")
    return full


def note_other_range(path: Path | str, image: np.ndarray, rendering: Rendering) -> None:
    """Note where an image, read with this `rendering`, is so dark that it may have another full scale."""
    highest = highest_value(path, rendering.bands) if image.max() < 32 else 0
    if highest:
        note(path, f"holds values up to {highest}, less than an eighth of {rendering.full}, which is white to this "
                   "network; expected images of the kind that it learned from")


# ---------------------------------------------------------------------------------------------------
# What is known of an image


class ImageFacts(NamedTuple):
    """The facts about an image that are known before a training."""

    size: tuple[int, int]        # (height, width), upright
    turn: int                    # EXIF's number for how the file lies, 1 to 8
    highest: int                 # the highest value, of more than 8 bits, else 0


def image_facts(path: Path | str, rendering: Rendering = AS_FOUND) -> tuple[ImageFacts, np.ndarray | None]:
    """Return the ImageFacts of a file and what read_image returns, None where that depends on a full scale to be found.

    Raises BadInput where it cannot be read: its pixels are decoded, as a header may be the sound part of a damaged
    file.
    """
    path = as_source(path)
    header, opened = open_with_header(path, rendering.bands, wanted=True)
    assert header is not None
    highest = highest_in(opened, path) if header.deep else 0
    pixels = to_rgb(opened, path, "white", rendering) if rendering.written or not highest else None
    return ImageFacts(header.size, header.turn, highest), pixels
