"""Files and arrays: finding, reading and writing images, masks and their classes."""
import contextlib
import ctypes
import functools
import hashlib
import json
import logging
import os
import struct
import sys
import unicodedata
import warnings
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, TiffImagePlugin, features

from support.files import STAMP, BadInput, is_jpeg, write_text
from support.mistakes import Unreadable
from support.notes import note
from support.tiff import (
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
    WHITE_IS_ZERO,
    Bands,
    Block,
    Source,
    colour_bands,
    note_bands,
    open_header,
    parse_nodata,
    read_bands,
    tiff_compression,
    tiff_nodata,
    tiff_size_and_turn,
)

MAX_LENGTH = 65_500              # pixels a side: the most that a JPEG can hold
MAX_VALUES = 16                  # distinct values in a mask; what holds more is not a mask but a picture of one
MAX_CLASSES = 255                # class indices are bytes, and the last one, 255, means: no truth here
SMALLEST = 16                    # pixels a side of an image to train on
IGNORE = 255                     # the class index of pixels that have no truth: no loss, no score
NO_DATA = -2**31                 # the value in a mask where the file says: no data, and names no value from 0 to 65535
FULL = 65535                     # the highest value of 16 bits
SCALES = 255, 1023, 4095, 16383, FULL    # the highest values that cameras of 8 to 16 bits write into 16
NEGATIVE, WHITE = (0, 1), (0, 2)         # keys in an image's info, which no remark in a file can have; see keep_header
LOW_BYTES = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B",
             "RGBX;16B": "RGBX;16L", "RGBX;16L": "RGBX;16B"}          # Pillow's names of 16 bits in either order
EXIF_AS_TEXT = b"Raw profile type exif", b"XML:com.adobe.xmp"           # in a PNG, beside its own way
WRITABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")   # what counts as an image in a folder
READABLE = WRITABLE + (".jfif", ".jpe", ".gif", ".tga", ".pbm", ".pgm", ".ppm", ".pnm", *[
    f".{ending}" for ending, feature in [("jp2", "jpg_2000"), ("j2k", "jpg_2000"), ("avif", "avif")]
    if feature in {*features.modules, *features.codecs}                  # known to it
    and features.check(feature)])        # and this, where a name has no other
FOREIGN = (".heic", ".heif", ".dcm", ".jp2", ".j2k", ".avif", ".jxl", ".psd", ".xcf", ".svg", ".eps", ".pdf", ".exr",
           ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".svs", ".ndpi", ".czi", ".lif", ".lsm",
           ".nd2", ".nii", ".gz", ".nrrd", ".mha", ".fits", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".mp4", ".avi",
           ".mov")               # pictures that are not read, as far as they are not among those

# Apart for colour-blind readers, too, as far as so many can be: Okabe & Ito's, then Tol's (2021), dark and light.
PALETTE = ["#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff",
           "#332288", "#882255", "#999933", "#44aa99", "#aa4499", "#117733", "#ddcc77", "#aa4466", "#bbccee", "#225555"]
UNKNOWN_GREY = (128, 128, 128)   # pixels without a truth

ANOTHER_BAND = "has a band for opacity that can be none, as most of it is neither 0 nor full: it is left out"

PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 2**25, 2**28  # remarks and profiles may be long
warnings.simplefilter("ignore", Image.DecompressionBombWarning)     # open_image refuses such files itself
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")     # of odd metadata
logging.getLogger("PIL").addHandler(logging.NullHandler())          # a damaged file gets one line: our BadInput
with contextlib.suppress(AttributeError, OSError):                  # where libtiff stands apart from Pillow
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)      # it would print a line of its own


# ---------------------------------------------------------------------------------------------------
# Finding


def find_images(folder: Path | str) -> list[Path]:
    """Return the paths of all images below a folder, in order, but for hidden ones and thumbnails. Raises BadInput.

    Links to folders are followed, unless they lead back to where they stand. Notes pictures that are not read.
    """
    def refuse(error):
        raise BadInput(f"{error.filename} cannot be read ({error.strerror}); expected a folder of images")

    if not os.path.isdir(folder):
        raise BadInput(f"{folder} is no folder; expected one of images")
    found, others = [], Counter()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX", "@eaDir")) and
                      not leads_back(Path(place, name), folder)]
        names = [name for name in names if not name.startswith(".")]
        found += [Path(place, name) for name in names if name.lower().endswith(READABLE)]
        others.update(Path(name).suffix.lower() for name in names if not name.lower().endswith(READABLE))
    foreign = {ending: others[ending] for ending in FOREIGN if others[ending]}
    unread = f"{sum(foreign.values())} files that end in {', '.join(foreign)} are not read" if foreign else ""
    if not found:
        raise BadInput(f"{folder} holds no image; expected files that end in {', '.join(READABLE)}" +
                       f"; {unread}" * bool(unread))
    if unread:
        note(folder, unread)
    usual = {path.with_suffix("") for path in found if path.suffix.lower() in WRITABLE}
    return sorted(path for path in found if path.suffix.lower() in WRITABLE or path.with_suffix("") not in usual)


def leads_back(path: Path, folder: Path | str) -> bool:
    """Return whether a folder is, by links, one of those that it lies in: no walk below it would end."""
    above, target = [Path(folder), *Path(os.path.realpath(folder)).parents], os.path.realpath(path)
    above += [parent for parent in path.parents if Path(folder) in parent.parents]
    return any(os.path.realpath(other) == target for other in above)


def name_of(path: Path | str, folder: Path | str) -> str:
    """Return the path below a folder without extension, with /, and in one of Unicode's ways to write an umlaut."""
    return unicodedata.normalize("NFC", Path(path).relative_to(folder).with_suffix("").as_posix())


def images_by_name(folder: Path | str) -> dict[str, Path]:
    """Return {name, as name_of gives it: path} of all images in a folder. Raises BadInput where two share a name."""
    found = {}
    for path in find_images(folder):
        name = name_of(path, folder)
        if name in found:
            raise BadInput(f"{found[name]} and {path} differ in nothing but the extension; expected one of them")
        found[name] = path
    return found


def named_images(folder: Path | str, only: Path | str | None = None) -> dict[str, Path]:
    """Return {name: path} of all images in a folder, or of those that the text file `only` names. Raises BadInput."""
    found = images_by_name(folder)
    return {name: found[name] for name in read_names(only, found)} if only else found


def as_line(name: str) -> str:
    """Return a name as a line of a list: as it is, or quoted as in JSON where it would be read as another.

    So any name that a file system allows can be written and read back.
    """
    return name if listable(name) and not name.startswith('"') else json.dumps(name)


def find_name(line: str, known: Collection[str] = ()) -> str:
    """Return the name that a line of a list stands for: one of the `known` names if it can be."""
    normalize = lambda text: unicodedata.normalize("NFC", text)
    if line.startswith('"') and line.rstrip().endswith('"'):          # quoted by as_line
        with contextlib.suppress(ValueError):
            return normalize(json.loads(line))
    name, _, ending = line.strip().rpartition(".")
    for candidate in line, line.strip(), name if f".{ending.lower()}" in READABLE else line:
        if normalize(candidate) in known:
            return normalize(candidate)
    return normalize(line.strip())


def listable(name: str) -> bool:
    """Return whether a name can stand in a list as it is; one that is no text is not printable either."""
    return bool(name) and name == name.strip() and name.isprintable() and not name.startswith("#")


def read_names(path: Path | str, known: Collection[str] | None = None) -> list[str]:
    """Return the names in a text file, one a line, # before a remark. Raises BadInput for one not among the `known`.

    A name may come with the extension of its image, or quoted as in JSON, see as_line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")       # -sig: Notepad puts a mark in front
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BadInput(f"{path} cannot be read ({reason}); expected names, one a line") from None
    lines = [line.removesuffix("\r") for line in lines if not line.startswith("#")]
    names = list(dict.fromkeys(find_name(line, known or ()) for line in lines if line.strip()))
    unknown = [] if known is None else [name for name in names if name not in known]
    if unknown or not names:
        raise BadInput(f"{path} names {first_few(unknown) or 'nothing'}; expected names, one a line" +
                       (f", such as {next(iter(known))}" if known else ""))
    return names


def write_names(path: Path | str, names: Iterable[str], remark: str = "") -> None:
    """Write a text file that read_names reads."""
    write_text(path, "\n".join([f"# {STAMP}: {remark}" if remark else f"# {STAMP}", *map(as_line, names), ""]))


def hash_to_unit(name: str) -> float:
    """Return a number from 0 to 1 that depends on nothing but the name."""
    return int(hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8], 16) / 2**32


def split_by_hash(names: Collection[str], shares: tuple[float, ...], seed: int) -> dict[str, list[str]]:
    """Return {"train": names, "val": names, "test": names}, by a hash of seed and name; at least one to train on."""
    shuffled = sorted(names, key=lambda name: hash_to_unit(f"{seed} {name}"))
    testing = min(round(shares[2] * len(names)), max(len(names) - 1, 0))
    validating = min(round(shares[1] * len(names)), max(len(names) - 1 - testing, 0))
    return {"train": shuffled[testing + validating:], "val": shuffled[testing:testing + validating],
            "test": shuffled[:testing]}


def head_and_length(path: Path | str) -> bytes:
    """Return a file's first 64 KiB and its size: enough to recognize it, without the minutes that reading all takes."""
    with open(path, "rb") as file:
        return file.read(65536) + b"%d" % os.fstat(file.fileno()).st_size


def in_threads(function: Callable, items: Iterable, workers: int | None = None) -> Iterator:
    """Yield function(item) for each item, in order, computed by several threads; few results are held in memory."""
    workers, waiting = workers or min(os.cpu_count() or 1, 8), deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def first_few(names: list[str], most: int = 5) -> str:
    """Join the first few names, and say how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return up to `most` evenly spaced indices of range(count)."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def print_left_out(problems: list[tuple[str, Any]]) -> None:
    """Print what a data set lacks, [(kind of problem, which), …]: a line for each kind."""
    for kind in dict.fromkeys(kind for kind, _ in problems):
        which = [str(item) for other, item in problems if other == kind]
        print(f"left out: {len(which)} {kind}: {first_few(which)}")


# ---------------------------------------------------------------------------------------------------
# Reading


@contextlib.contextmanager
def decoding(path: Source) -> Iterator[None]:
    """Turn whatever goes wrong with an image file inside `with decoding(path):` into a BadInput.

    Where the file is missing, damaged or not to be read at all, that is an Unreadable.
    """
    try:
        yield
    except BadInput:
        raise
    except FileNotFoundError:
        raise Unreadable(f"{path} does not exist; expected an image file") from None
    except Image.DecompressionBombError:
        raise BadInput(f"{path} is too large; expected at most {Image.MAX_IMAGE_PIXELS} pixels{LARGER}") from None
    except PermissionError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror}); expected an image file") from None
    except Exception as error:   # a decoder raises nearly anything on a damaged file: struct.error, zlib.error, …
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(f"{path} is no readable image ({reason}); expected a PNG, JPEG, TIFF, BMP or WebP") from error


def open_image(path: Source) -> Image.Image | Bands:
    """Return a decoded, upright PIL image, or the Bands of a TIFF file that Pillow does not read rightly.

    Raises BadInput, also above Pillow's limit of 89 megapixels.
    """
    return open_with_header(path)[1]


class Header(NamedTuple):
    """The facts that stand in the header of an image file."""

    size: tuple[int, int]        # (height, width), upright
    turn: int                    # EXIF's number for how the file lies, 1 to 8
    deep: bool                   # whether it has whole numbers of more than 8 bits
    palette: tuple | None        # see palette_in
    nodata: float | None         # what a TIFF file says stands for no data


def open_with_header(path: Source, wanted: bool = False) -> tuple[Header | None, Image.Image | Bands]:
    """Return what open_image does and, where it is `wanted`, the Header: both of a single look into the file."""
    header = None
    with decoding(path):
        image = open_header(path)
        if image is None:
            bands = read_bands(path)
            if wanted:
                deep = bands.values.dtype.kind in "ui" and bands.values.itemsize > 1
                header = Header(*tiff_size_and_turn(path), deep, None, bands.nodata)
            return header, bands
        if wanted:
            nodata = parse_nodata(image.tag_v2.get(NODATA, "")) if image.format == "TIFF" else None
            header = Header(*size_and_turn_in(path, image), is_deep(image), palette_in(image), nodata)
        return header, decode(path, image)


def decode(path: Source, image: Any) -> Image.Image:
    """Return the decoded, upright image that open_header has opened. Raises BadInput where it is too large."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit and image.width * image.height > limit:
        raise BadInput(f"{path} is too large; expected at most {limit} pixels{LARGER}")
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
    """Return whether an image file holds more pictures, as large as the first; smaller copies of it do not count."""
    if image.format != "TIFF":
        return image.format in ("GIF", "PNG", "WEBP") and getattr(image, "is_animated", False)
    again: Any
    try:
        with Image.open(path) as again:          # or what is wrong with the second page would spoil the first
            again.seek(1)
            large = again.width >= image.width and again.height >= image.height
            return large and not again.tag_v2.get(SUBFILE, 0) & NO_PAGE
    except Exception:
        return False


def image_size(path: Path | str) -> tuple[int, int]:
    """Return (height, width) of an image file, upright, from its header alone. Raises BadInput."""
    return size_and_turn(path)[0]


def size_and_turn(path: Path | str) -> tuple[tuple[int, int], int]:
    """Return (height, width) of an image file, upright, and EXIF's number for how it lies, 1 to 8. Raises BadInput."""
    with decoding(path), contextlib.ExitStack() as stack:
        image = open_header(path)
        if image is None:
            return tiff_size_and_turn(path)
        return size_and_turn_in(path, stack.enter_context(image))


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
    with Image.open(path) as image:              # other ways to write an orientation, which Pillow reads
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


def read_image(path: Path | str, background: str = "white", full: int = FULL) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3): red, green, blue.

    EXIF orientation is applied. Transparent pixels are composited on a background, so that colours hidden
    below them never show. 16-bit files are scaled to 8 bits (`full` → 255), never clipped; floats must lie in
    [0, 1]. Of several frames the first is read, of several bands the first three. What a TIFF file says is no
    data becomes black. Raises BadInput.
    """
    return to_rgb(open_image(path), path, background, full)


def to_rgb(image: Image.Image | Bands, path: Source, background: str, full: int = FULL) -> np.ndarray:
    """Return what read_image promises, for what open_image has decoded."""
    if not isinstance(image, Image.Image):
        image = bands_to_image(image, path, full)
    elif full != FULL and has_deep_colours(path):
        colours = to_bytes(deep_colours(image, path), path, full=full)
        opacity = image.split()[-1:] if image.mode.endswith("A") else ()
        image = Image.merge("RGBA" if opacity else "RGB", [*Image.fromarray(colours).split(), *opacity])
    if image.mode.startswith(("I", "F")):               # a single channel of 16 bits or more
        grey = to_bytes(np.asarray(image), path, full=full)
        return np.repeat((255 - grey if image.info.get(NEGATIVE) else grey)[:, :, None], 3, axis=2)
    try:
        if image.has_transparency_data:
            image = lay_on(image.convert("RGBA"), path, background)
        return np.asarray(image.convert("RGB"))
    except ValueError:
        raise BadInput(f"{path} has the colour mode {image.mode}; expected grey, RGB, palette or CMYK") from None


def lay_on(image: Image.Image, path: Source, background: str) -> Image.Image:
    """Return an RGBA image on a background, and note where its opacity cannot be meant as that.

    What is transparent everywhere has colours all the same, and what is neither opaque nor transparent over
    more than half of an image is another band, such as near-infrared. On the black of masks, a black mask
    with an opacity that differs keeps its values there.
    """
    colours, opacity = np.asarray(image)[:, :, :3], image.getchannel("A")
    if isinstance(path, Block):                  # the whole image says what its opacity is
        return on(image, background) if path.opacity else image.convert("RGB")
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
    return on(image, background)


def on(image: Image.Image, background: str) -> Image.Image:
    """Return an RGBA image laid on a background of this colour."""
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


def is_another_band(pixels: Any) -> bool:
    """Return whether a band for opacity, of which there are so many pixels of each value, can be none."""
    return bool(2 * (pixels[0] + pixels[255]) < sum(pixels) and np.count_nonzero(pixels) > 16)


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
    if grey:
        return np.repeat(found[:, :, :1].astype(np.uint16) << 8 | found[:, :, 1:2], 3, axis=2)
    return np.asarray(image)[:, :, :3].astype(np.uint16) << 8 | found[:, :, :3]


def has_deep_colours(path: Source) -> bool:
    """Return whether Pillow reads a file as colours and it has more than 8 bits of each, by its header."""
    with decoding(path), open_header(path) or contextlib.nullcontext() as image:
        return image is not None and raw_mode(image) is not None


def highest_value(path: Path | str) -> int:
    """Return the highest value in an image file of more than 8 bits, 0 for others and for floats. Raises BadInput."""
    with decoding(path), open_header(path) or contextlib.nullcontext() as image:
        if image and not is_deep(image):
            return 0             # most images: nothing has to be decoded
    return highest_in(open_image(path), path)


def highest_in(opened: Image.Image | Bands, path: Path | str) -> int:
    """As highest_value, of a file of more than 8 bits that open_image has opened."""
    if isinstance(opened, Image.Image):
        return int((np.asarray(opened) if opened.mode.startswith("I") else deep_colours(opened, path)).max())
    values = opened.values[:, :, :3 if opened.values.shape[2] >= 3 else 1][opened.known]
    return int(values.max()) if values.dtype.kind in "ui" and values.itemsize > 1 and values.size else 0


class ImageFacts(NamedTuple):
    """The facts about an image that are known before a training."""

    size: tuple[int, int]        # (height, width), upright
    turn: int                    # EXIF's number for how the file lies, 1 to 8
    highest: int                 # the highest value, of more than 8 bits, else 0


def image_facts(path: Path | str) -> tuple[ImageFacts, np.ndarray | None]:
    """Return the ImageFacts of a file and what read_image returns, None where that depends on a full scale.

    Raises BadInput where it cannot be read: its pixels are decoded, as a header may be the sound part of a damaged
    file.
    """
    header, opened = open_with_header(path, wanted=True)
    assert header is not None
    highest = highest_in(opened, path) if header.deep else 0
    return ImageFacts(header.size, header.turn, highest), None if highest else to_rgb(opened, path, "white")


def full_scale(paths: Collection[Path | str]) -> int:
    """As choose_full_scale, of the images at these paths. Raises BadInput."""
    return choose_full_scale(max(in_threads(highest_value, paths), default=0))


def choose_full_scale(highest: int) -> int:
    """Return what white is in images of more than 8 bits whose highest value this is: 65535, or less if that will do.

    A camera of 12 bits writes 0 to 4095 into 16; seen as parts of 65535, that would be nearly black. Prints
    any other full scale than 65535.
    """
    if highest > SCALES[-2]:
        return FULL
    full = next(scale for scale in SCALES if highest <= scale) if highest > 0 else FULL
    if full != FULL:
        print(f"images of 16 bits hold values up to {highest}: {full} is white, as of {full.bit_length()} bits")
    return full


def note_other_range(path: Path | str, image: np.ndarray, full: int) -> None:
    """Note where an image, read with this full scale, is so dark that it may have another one."""
    highest = highest_value(path) if image.max() < 32 else 0
    if highest:
        note(path, f"holds values up to {highest}, less than an eighth of {full}, which is white to this network; "
                   "expected images of the kind that it learned from")


def to_bytes(values: np.ndarray, path: Source, known: np.ndarray | bool = True, full: int = FULL) -> np.ndarray:
    """Return numbers as uint8: those of 8 bits as they are, floats from 0 to 1 and others from 0 to `full` scaled.

    Where they are not `known`, they become 0. Raises BadInput for what lies beyond.
    """
    floats = values.dtype.kind == "f"
    full = 1 if floats else 255 if values.itemsize == 1 else full
    with np.errstate(invalid="ignore"):                 # of what is no number; the check that follows finds it
        values = values.astype(np.float64)
        chosen = values if np.all(known) or not np.any(known) else values[known]
    if not (chosen.min() >= 0 and chosen.max() <= full):
        whose = ", the full scale of what the network learned from" if full in SCALES[1:-1] else ""
        raise BadInput(f"{path} holds values from {chosen.min():g} to {chosen.max():g}; expected 0 to {full}{whose}" +
                       ", or whole numbers of 8 or 16 bits" * floats)
    if chosen is not values:
        note(path, "what it marks as no data is read as black")
        values[~known] = 0
    return np.rint(values * (255 / full)).astype(np.uint8)


def bands_to_image(bands: Bands, path: Source, full: int = FULL) -> Image.Image:
    """Return the Bands of a TIFF file as a PIL image of 8 bits. Raises BadInput for values out of their range."""
    colours = colour_bands(path, bands)
    if colours.dtype == np.uint16 and colours.shape[2] == 3 and full == FULL:    # as Pillow reads them otherwise
        colours, known = (colours >> 8).astype(np.uint8), bands.known
        if not known.all() and known.any() and colours[~known].any():
            note(path, "what it marks as no data is read as black")
            colours[~known] = 0
    else:
        colours = to_bytes(colours, path, bands.known, full)
    image = Image.fromarray(colours if colours.shape[2] == 3 else colours[:, :, 0])
    if bands.alpha:
        opacity = bands.values[:, :, -1]
        image.putalpha(Image.fromarray((opacity >> 8 * (opacity.itemsize - 1)).astype(np.uint8)))
    return image


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


def nodata_of(path: Path | str) -> float | None:
    """Return the number that stands for no data in a file, where it is a TIFF file that names one. Raises BadInput."""
    with decoding(path):
        return tiff_nodata(path)


def nodata_values(found: Iterable[float | None]) -> list[int]:
    """Return those of the values that stand for no data that lie from 0 to 65535, each once, in order."""
    values = {value for value in found if value is not None}
    return sorted(int(value) for value in values if 0 <= value <= FULL and value.is_integer())


def is_lossy(path: Path | str) -> bool:
    """Return whether a file's content, whatever its name, is of a kind that changes values: JPEG, lossy WebP, ….

    Where there is no such file, its name says.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            if head[:4] == b"RIFF" and head[8:] == b"WEBP":
                return is_lossy_webp(file)
        if head[:4] in MAGIC:
            return tiff_compression(path) in LOSSY
        return head.startswith(b"\xff\xd8")
    except Exception:            # a file that cannot be read: whoever reads it will say so
        return is_jpeg(path)


def is_lossy_webp(file: BinaryIO) -> bool:
    """Return whether the first picture in an open WebP file, which stands behind its head, is a lossy one."""
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8 "
        file.seek(16 if kind == b"ANMF" else length + length % 2, os.SEEK_CUR)       # a frame holds such parts itself
    return False


def read_mask(path: Path | str, threshold: int | None = None, coloured: bool = False) -> np.ndarray:
    """Return a mask file's own values: int32 (H, W), or uint8 (H, W, 3) where it is really coloured.

    A palette gives its indices or, where the classes are `coloured`, its colours; a 1-bit file 0 and 255; 16
    bits, and 2 or 4 of a TIFF file, what they hold; floats that are whole numbers these; what is transparent is
    black. What a TIFF file says is no data is NO_DATA, unless that has a value from 0 to 65535. With a
    threshold, what is at least as bright, on a scale of 0 to 255, becomes 255 and the rest 0. Raises BadInput.
    """
    return to_mask(open_image(path), path, threshold, coloured)


def to_mask(image: Image.Image | Bands, path: Path | str, threshold: int | None, coloured: bool) -> np.ndarray:
    """Return what read_mask promises, for what open_image has decoded."""
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


def grey_if_it_is(colours: np.ndarray) -> np.ndarray:
    """Return colours uint8 (H, W, 3) as a mask: int32 (H, W) where they are greys, saved as colours."""
    return colours[:, :, 0].astype(np.int32) if (colours == colours[:, :, :1]).all() else colours


def value_codes(mask: np.ndarray) -> np.ndarray:
    """Return a mask's values as one number a pixel, (H, W): a grey value as it is, a colour as 65536·R + 256·G + B."""
    return mask if mask.ndim == 2 else mask @ np.array([65536, 256, 1])


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
    header, opened = open_with_header(path, wanted=True)
    assert header is not None
    palette = hashlib.sha256(repr(header.palette).encode()).hexdigest() if header.palette else None
    found = mask_values(to_mask(opened, path, threshold, coloured=False), path)
    return MaskFacts(header.size, header.turn, palette, header.nodata, found)


def mask_values(mask: np.ndarray, path: Path | str) -> MaskValues:
    """Return the MaskValues of a mask as read_mask returns it."""
    values, number = np.unique(value_codes(mask), return_counts=True)
    if values[0] == NO_DATA:
        values, number = values[1:], number[1:]
    counts = dict(zip(values.tolist(), number.tolist())) if len(values) <= MAX_VALUES else {}
    return MaskValues(len(values), counts, mask.ndim == 3, len(values) > 2 and is_lossy(path))


def used_colours(path: Path | str) -> dict[int, int]:
    """Return {index: colour as value_codes has it} of the indices that occur in a palette mask."""
    indices, first = np.unique(read_mask(path), return_index=True)
    colours = value_codes(read_mask(path, coloured=True))
    colours = colours.ravel()[first] * (0x010101 if colours.max() < 256 else 1)
    return dict(zip(indices.tolist(), colours.tolist()))


def palettes_differ(paths: Collection[Path | str], palettes: Sequence[Any] | None = None) -> bool:
    """Return whether, over the masks at these paths, an index has several colours, or a colour several indices.

    That is what programs do that make each file a palette of its own. Indices that do not occur do not count.
    `palettes` are those of the masks, or what they can be told apart by, where that is known.
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


class Values(NamedTuple):
    """The values that masks hold."""

    counts: Counter              # value, or colour as value_codes has it → pixels
    coloured: bool               # whether they are colours
    last: object                 # the path of the last mask
    files: int                   # masks


def find_classes(masks: Iterable[tuple[np.ndarray, Path | str]]) -> list[dict]:
    """Return the classes of (mask, its path), …, by value: [{"name": "background", "value": 0}, …].

    Two classes are named by name_two_classes. Raises BadInput where the values cannot be classes.
    """
    return name_classes(count_values((mask_values(mask, path), path) for mask, path in masks))


def count_values(masks: Iterable[tuple[MaskValues, Path | str]], coloured: bool = False) -> Values:
    """Return the Values of (those of a mask, its path), …: colours where a mask is coloured, or all are said to be.

    Raises BadInput where they cannot be classes.
    """
    counts, path, files = Counter(), None, 0
    for found, path in masks:
        if not found.distinct:
            continue
        most = 2 if found.lossy else MAX_VALUES
        if found.distinct > most:
            why = ", as its compression changes them" if found.lossy else ""
            raise BadInput(f"{path} holds {found.distinct} different values{why}; expected one for each class, at most "
                           f"{most}; if it is antialiased or a JPEG, --threshold 128 makes two of them, if it has so "
                           "many classes, list them in a classes.json; if it numbers objects, give those of a class "
                           "one value")
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
    """Return the classes of the Values of masks, see find_classes. Raises BadInput for one value, or too many."""
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


def name_two_classes(lower: int, higher: int) -> list[str]:
    """Return the names of two classes, given the pixels of the one of the lower value and of the other.

    The higher one is called foreground, unless it covers more than three quarters: then the masks are taken to be
    black on white.
    """
    return ["background", "foreground"][::-1 if higher > 0.75 * (lower + higher) else 1]


def read_classes(path: Path | str) -> tuple[list[dict], list]:
    """Return the class table in a JSON file: (classes as find_classes gives them, values to ignore). Raises BadInput.

    {"classes": [{"name": "background", "value": 0}, {"name": "road", "value": [128, 64, 128]}], "ignore": [7]}

    A class may also have a "colour" [red, green, blue] to be shown in, if all have.
    """
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
    classes, ignore = table["classes"], table.get("ignore", [])
    try:
        check_classes(classes, ignore)
    except ValueError as error:
        raise wrong(error) from None
    return [{key: entry[key] for key in ("name", "value", "colour") if key in entry} for entry in classes], ignore


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
            raise ValueError(f"{str(value)[:40]} is neither a grey value from 0 to 65535 nor a colour "
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


def look_black(classes: list[dict]) -> str:
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


def brighter(classes: list[dict]) -> int:
    """Return the index of the brighter of two classes: a black and white mask shows it white."""
    first, second = (np.mean(entry["value"]) for entry in classes)
    return int(second >= first)


def black_and_white(indices: np.ndarray, classes: list[dict]) -> np.ndarray:
    """Return indices (H, W) of two classes as uint8 (H, W): 255 for the brighter class, 0 for the other."""
    return np.where(indices == brighter(classes), 255, 0).astype(np.uint8)


def class_colours(classes: list[dict]) -> np.ndarray:
    """Return a colour for each class index, uint8 (256, 3): the table's, the masks', black and white or a palette's."""
    values = [entry.get("colour", entry["value"]) for entry in classes]
    if isinstance(values[0], list):
        own = np.array(values)
    elif len(values) == 2:
        own = np.array([[0] * 3, [255] * 3])
    else:
        own = np.array([list(bytes.fromhex(PALETTE[number % len(PALETTE)][1:])) for number in range(len(values))])
    colours = np.full((256, 3), UNKNOWN_GREY, np.uint8)
    colours[:len(own)] = own
    return colours


def to_picture(indices: np.ndarray, classes: list[dict]) -> np.ndarray:
    """Return class indices as a picture: two classes black and white, more in colours, see class_colours."""
    if len(classes) == 2 and not isinstance(classes[0]["value"], list):
        return black_and_white(indices, classes)
    return class_colours(classes)[indices]


def read_pair(image_path: Path | str, mask_path: Path | str, classes: list[dict], ignore: Collection = (),
              threshold: int | None = None, full: int = FULL) -> tuple[np.ndarray, np.ndarray]:
    """Return an image uint8 (H, W, 3) and its mask as class indices uint8 (H, W). Raises BadInput."""
    image, mask = read_image(image_path, full=full), read_mask(mask_path, threshold, are_coloured(classes))
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
