"""TIFF files larger than memory: images that are read by parts, and masks that are written by rows of tiles.

A part of a large TIFF file is read as a small TIFF file is: the tiles or strips that it lies in become a file of their
own, in memory, with the same tags. So all that is true of small files is true here.
"""
import contextlib
import hashlib
import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from support.files import MARK, BadInput, check_writable, one_writer, write_whole
from support.geotiff import (
    SIDE,
    Kept,
    cut_tiles,
    free_value,
    gaps_of,
    mask_tags,
    no_data,
    opacity_of,
    place_of,
    read_world,
    without_data,
    write_tiles,
    write_world,
)
from support.images import (
    ANOTHER_BAND,
    AS_FOUND,
    Rendering,
    decoding,
    head_and_length,
    is_another_band,
    open_image,
    to_rgb,
)
from support.masks import to_values
from support.names import evenly_spaced
from support.notes import note
from support.tiff import (
    ALPHA,
    NODATA,
    ORIENTATION,
    SEPARATE,
    SEVERAL_PAGES,
    UNCOMPRESSED,
    UNPACKED,
    Bands,
    Block,
    check_chosen,
    has_another,
    open_header,
    starts_as_tiff,
    tag,
)

LARGE = 2**24                    # pixels from which on a TIFF file is read by parts
LONGEST = 2**17                  # pixels a side that are read
ROWS = 64                        # strips are read by so many rows, if one has not more
BLOCK = 2**21                    # tiles are read by so many bytes, if one has not more
MOST_BYTES = 2**25               # of a single tile or strip
MOST_HELD = 2**26                # bytes of all that is held of an image

# Tags: what a decoder needs to know of tiles and strips (bits, compression, colours, predictor, JPEG's tables, …),
OF_PIXELS = (258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 332, 338, 339, 347, 530, 531, 532, NODATA)
# where they are and how large.
WIDTH, LENGTH, OFFSETS, ROWS_PER_STRIP, COUNTS = 256, 257, 273, 278, 279
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
LONG = 4                         # a type of numbers in tags
OLD_JPEG, LZMA = 6, 34925        # compressions


# ---------------------------------------------------------------------------------------------------
# Reading


def open_large(path: Path | str, rendering: Rendering = AS_FOUND, whole: str = "") -> "LargeTiff | None":
    """Return a TIFF file of 16 megapixels or more as a LargeTiff; None for an image that is to be read as a whole.

    `whole` names what needs the whole image at once, if anything does. Raises BadInput where the image is too
    large for that, or is one that cannot be read by parts.
    """
    pixels = count_pixels(path)
    most: Any = Image.MAX_IMAGE_PIXELS
    if pixels < LARGE or whole and pixels <= most:
        return None
    if whole:
        raise BadInput(f"{path} has {pixels / 1e6:.0f} megapixels and can only be read by parts, unlike what {whole} "
                       f"needs; expected at most {most / 1e6:.0f}")
    try:
        return LargeTiff(path, rendering)
    except BadInput:
        if pixels > most:
            raise
        return None


def count_pixels(path: Path | str) -> int:
    """Return the number of pixels of a TIFF file, 0 for any other or a damaged one: who reads that will complain."""
    with contextlib.suppress(Exception):
        if starts_as_tiff(path):
            with import_module("tifffile").TiffFile(path) as file:
                return file.pages[0].imagewidth * file.pages[0].imagelength
    return 0


class LargeTiff:
    """A TIFF file as an array uint8 (H, W, 3), of which parts are read: image[top:bottom, left:right].

    They are those of support.images.read_image, though only 25 blocks of it decide what its opacity is. They should
    be asked for from left to right, then down, as what lies before is forgotten first. `kept` is what a mask keeps of
    the image. Raises BadInput for a file that cannot be read by parts.
    """

    def __init__(self, path: Path | str, rendering: Rendering = AS_FOUND):
        self.path, self.rendering, self.by_tifffile, self.opacity = path, rendering, False, True
        self.held: dict[tuple[int, int], dict] = {}     # (row, column) of a block → what read_block returns
        with decoding(path), import_module("tifffile").TiffFile(path) as file:
            page = file.pages[0]
            check_page(path, page)
            self.shape = page.imagelength, page.imagewidth, 3
            gaps, self.nodata = gaps_of(page)
            self.kept = Kept(place_of(path, page), read_world(path), gaps, None)
            self.byte_order, self.compression = file.byteorder, int(page.compression)
            self.tags = {code: raw_value(page.tags[code]) for code in OF_PIXELS if code in page.tags}
            self.find_segments(page)
            check_segments(path, self, file.filehandle.size)
            if has_another(page):
                note(path, SEVERAL_PAGES)
            if rendering.bands:
                check_chosen(path, page.samplesperpixel, rendering.bands)
            self.by_tifffile = bool(rendering.bands) or open_header(self.cut_block(0, 0)) is None
            self.opacity = self.judge_opacity() if {*page.extrasamples} & {*ALPHA} else True

    def find_segments(self, page: Any) -> None:
        """Find where the tiles or strips, both called segments, lie in the file, and choose how many make a block."""
        height, width, _ = self.shape
        planes = page.samplesperpixel if page.planarconfig == SEPARATE else 1
        offsets, counts = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
        self.tiled = page.is_tiled
        rows, columns = (page.tilelength, page.tilewidth) if self.tiled else (min(page.rowsperstrip, height), width)
        row_bytes = math.ceil(columns * page.bitspersample * page.samplesperpixel / planes / 8)
        if not self.tiled and rows == height and self.compression == UNCOMPRESSED and len(offsets) == planes:
            rows, tops = ROWS, np.arange(0, height, ROWS)              # one strip of bare pixels: cut it as we like
            offsets = (offsets[:, None] + tops * row_bytes).ravel()
            counts = np.tile(np.minimum(ROWS, height - tops) * row_bytes, planes)
        self.offsets, self.counts = offsets, counts
        self.segment, self.segment_bytes = (rows, columns), rows * row_bytes
        self.grid = planes, math.ceil(height / rows), math.ceil(width / columns)
        self.block = (1, max(1, BLOCK // (planes * self.segment_bytes))) if self.tiled else (max(1, ROWS // rows), 1)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        """Return a part of the image, uint8 (rows, columns, 3). Raises BadInput where the file is damaged."""
        return self.read(part, "colours", np.uint8, (3,))

    def missing(self, top: int, bottom: int) -> np.ndarray:
        """Return where these rows hold no data, bool (rows, W)."""
        return self.read(np.s_[top:bottom, :], "missing", bool, ())

    def read(self, part: tuple[slice, slice], what: str, dtype: Any, bands: tuple[int, ...]) -> np.ndarray:
        """Return a part of what read_block returns for each block."""
        (top, bottom, _), (left, right, _) = (each.indices(side) for each, side in zip(part, self.shape))
        result = np.empty((bottom - top, right - left, *bands), dtype)
        high, wide = (side * number for side, number in zip(self.segment, self.block))
        for row in range(top // high, math.ceil(bottom / high)):
            for column in range(left // wide, math.ceil(right / wide)):
                y, x = row * high, column * wide
                inside = np.s_[max(top - y, 0):bottom - y, max(left - x, 0):right - x]
                found = self.read_block(row, column)[what][inside]
                y, x = max(y - top, 0), max(x - left, 0)
                result[y:y + found.shape[0], x:x + found.shape[1]] = found[:bottom - top - y, :right - left - x]
        return result

    def read_block(self, row: int, column: int) -> dict[str, np.ndarray]:
        """Return {"colours": uint8 (h, w, 3), "missing": bool (h, w)} of a block, which may reach beyond the image."""
        if (row, column) not in self.held:
            with decoding(self.path):
                block = self.decode(self.cut_block(row, column))
            while sum(each.nbytes for other in self.held.values() for each in other.values()) > MOST_HELD:
                del self.held[min(self.held)]            # the uppermost, of these the one at the left
            self.held[row, column] = block
        return self.held[row, column]

    def decode(self, block: Block) -> dict[str, np.ndarray]:
        """Return the pixels of a block, see read_block."""
        opened = open_image(block, self.rendering.bands)
        placed = bool(self.kept.tags) and self.opacity
        missing = without_data(opened, block, self.nodata, placed) if self.kept.gaps else None
        if isinstance(opened, Bands) and not opened.known.any():       # black, as it is beside others
            values = opened.values.copy()
            values[:, :, :values.shape[2] - opened.alpha] = 0
            opened = opened._replace(values=values, known=~opened.known)
        colours = to_rgb(opened, block, "white", self.rendering)
        return {"colours": colours, "missing": np.zeros((0, 0), bool) if missing is None else missing}

    def judge_opacity(self) -> bool:
        """Return whether a band for opacity is what it is called, as images.lay_on judges it, by some blocks."""
        pixels = np.zeros(256, int)
        down, across = (math.ceil(count / number) for count, number in zip(self.grid[1:], self.block))
        for row in evenly_spaced(down, 5):
            for column in evenly_spaced(across, 5):
                opacity = opacity_of(open_image(self.cut_block(row, column), self.rendering.bands))
                pixels += np.bincount(opacity.ravel(), minlength=256) if opacity is not None else 0
        if is_another_band(pixels):
            note(self.path, ANOTHER_BAND)
            return False
        return bool(pixels[1:].any())            # else it is transparent everywhere, and has colours all the same

    def cut_block(self, row: int, column: int) -> Block:
        """Return a block as a TIFF file of its own."""
        (planes, down, across), (high, wide) = self.grid, self.block
        rows = range(row * high, min((row + 1) * high, down))
        columns = range(column * wide, min((column + 1) * wide, across))
        with open(self.path, "rb") as file:
            segments = [self.read_segment(file, (plane * down + y) * across + x)
                        for plane in range(planes) for y in rows for x in columns]
        height, width = len(rows) * self.segment[0], len(columns) * self.segment[1]
        if self.tiled:
            sides = {TILE_LENGTH: self.segment[0], TILE_WIDTH: self.segment[1]}
        else:                                            # the last strip may be lower than the others
            sides, height = {ROWS_PER_STRIP: self.segment[0]}, min(height, self.shape[0] - rows[0] * self.segment[0])
        sides |= {WIDTH: width, LENGTH: height}
        block = Block(tiff_file(self.byte_order, self.tags, sides, segments), self.path)
        block.opacity = self.opacity
        return block

    def read_segment(self, file: BinaryIO, number: int) -> bytes:
        """Return a tile or strip as it is in the file. Raises BadInput where it would unpack to more than it should.

        Pillow stops there itself.
        """
        file.seek(self.offsets[number])
        segment = file.read(self.counts[number])
        if self.by_tifffile and self.compression in UNPACKED[1:]:
            unpacked = zlib.decompressobj().decompress(segment, self.segment_bytes + 1)
            if len(unpacked) > self.segment_bytes:
                raise BadInput(f"{self.path} is damaged: what it holds is larger than it says")
        return segment


def check_page(path: Path | str, page: Any) -> None:
    """Raise BadInput for a page that cannot be read by parts, by its header."""
    if tag(page, ORIENTATION, 1) in range(2, 9):
        raise BadInput(f"{path} is turned by its orientation; so large an image has to lie as it is stored")
    if page.imagedepth != 1 or int(page.compression) in (OLD_JPEG, LZMA):
        raise BadInput(f"{path} is a volume, or compressed as LZMA or in the way of old JPEGs; expected a flat image")
    if not 0 < max(page.imagewidth, page.imagelength) <= LONGEST:
        raise BadInput(f"{path} is {page.imagewidth}x{page.imagelength} pixels; expected at most {LONGEST} a side")


def check_segments(path: Path | str, image: LargeTiff, size: int) -> None:
    """Raise BadInput where the tiles or strips of an image, in a file of this size, cannot be read one by one."""
    if image.segment_bytes * image.grid[0] > MOST_BYTES:
        rows, columns = image.segment
        raise BadInput(f"{path} is stored in pieces of {columns}x{rows} pixels, too large to be read by "
                       "parts; expected tiles, as of gdal_translate -co TILED=YES -co COMPRESS=DEFLATE")
    expected = math.prod(image.grid)
    if len(image.offsets) != expected or len(image.counts) != expected:
        raise BadInput(f"{path} is damaged: it has {len(image.offsets)} tiles or strips; expected {expected}")
    if (image.counts <= 0).any():
        raise BadInput(f"{path} leaves out tiles; expected all of them, as gdal_translate writes without SPARSE_OK")
    if (image.offsets < 0).any() or (image.offsets + image.counts).max() > size:
        raise BadInput(f"{path} is damaged: it ends before its pixels do")
    if image.counts.max() > 2 * image.segment_bytes + 2**16:
        raise BadInput(f"{path} is damaged: a tile or strip is larger than its pixels")


def raw_value(found: Any) -> tuple[int, int, bytes]:
    """Return a tag of tifffile's as (type, count, value as it is in the file)."""
    file = found.parent.filehandle
    file.seek(found.valueoffset)
    return int(found.dtype), found.count, file.read(min(found.valuebytecount, 2**20))


def tiff_file(byte_order: str, tags: dict[int, tuple], sides: dict[int, int], segments: list[bytes]) -> bytes:
    """Return a TIFF file of these tags, {number: (type, count, packed value)}, more of them, and tiles or strips."""
    def longs(*numbers):
        return LONG, len(numbers), struct.pack(f"{byte_order}{len(numbers)}I", *numbers)

    counts, offsets = (TILE_COUNTS, TILE_OFFSETS) if TILE_WIDTH in sides else (COUNTS, OFFSETS)
    lengths = [len(segment) for segment in segments]
    tags = {**tags, **{number: longs(side) for number, side in sides.items()}, counts: longs(*lengths),
            offsets: longs(*lengths)}                    # of the right length, for now
    start = 8 + 2 + 12 * len(tags) + 4                   # header, number of tags, tags, no further page
    apart = sum(len(value) + len(value) % 2 for _, _, value in tags.values() if len(value) > 4)
    tags[offsets] = longs(*(start + apart + np.cumsum([0, *lengths[:-1]])).tolist())
    entries, values = b"", b""
    for number, (kind, count, value) in sorted(tags.items()):
        if len(value) > 4:
            place = struct.pack(f"{byte_order}I", start + len(values))
            values += value + bytes(len(value) % 2)
            value = place
        entries += struct.pack(f"{byte_order}HHI", number, kind, count) + value.ljust(4, b"\0")
    header = {"<": b"II*\0", ">": b"MM\0*"}[byte_order] + struct.pack(f"{byte_order}IH", 8, len(tags))
    return b"".join([header, entries, bytes(4), values, *segments])


# ---------------------------------------------------------------------------------------------------
# Writing


def write_large(out: Path, image: LargeTiff, by_rows: Callable[..., Iterator], classes: list[dict],
                made_of: dict) -> None:
    """Write the mask of a large image. `by_rows(image, begin)` yields (top, class indices uint8 (rows, W)), …, down.

    What is done stands in OUT.part. Killed at any moment, the same command goes on from there, and the mask has the
    same bytes in the end. `made_of` is what it depends on, besides the classes: another one begins anew.
    """
    height, width, _ = image.shape
    nodata, across = free_value(classes), math.ceil(width / SIDE)
    part = check_writable(out.with_name(f"{out.name}.part"))
    with one_writer(out.parent, f".{out.name}.lock"), open_part(part, {**made_of, "classes": classes}) as file:
        begin = SIDE * keep_whole_rows(file, across)
        if begin:
            print(f"{out}: goes on at row {begin} of {height}")
        values = mask_values(image, by_rows(image, begin), classes, nodata, begin)
        with tqdm(total=height * width, initial=begin * width, unit="pixel", unit_scale=True, disable=None) as bar:
            for rows in values:                          # (256 or, at the end, fewer, W) or (…, W, 3)
                for tile in cut_tiles(rows):
                    file.write(struct.pack("<II", len(tile), zlib.crc32(tile)) + tile)
                file.flush()
                bar.update(rows.shape[0] * width)
        size = file.tell()
        to_first_tile(file)
        kind = to_values(np.zeros((1, 1), np.uint8), classes)
        write_world(out, image.kept.world)
        write_tiles(out, iter(lambda: next_tile(file), None), (height, width, *kind.shape[2:]), kind.dtype,
                    mask_tags(image.kept, nodata), size)
    part.unlink()


def mask_values(image: LargeTiff, strips: Iterator, classes: list[dict], nodata: int | None,
                begin: int) -> Iterator[np.ndarray]:
    """Yield a mask's own values by rows of tiles, from the row `begin` on, of what by_rows yields, see write_large."""
    rest = np.zeros((0, 0), np.uint8)
    for top, indices in strips:
        for y in range(max(begin - top, 0), len(indices), SIDE):
            values = to_values(indices[y:y + SIDE], classes)
            if image.kept.gaps and nodata is not None:
                missing = image.missing(top + y, top + y + len(values))
                values[missing] = nodata
                if missing.any():
                    note(image.path, no_data(nodata))
            values = np.concatenate([rest, values]) if len(rest) else values
            if len(values) >= SIDE:
                yield values[:SIDE]
            rest = values[SIDE:] if len(values) >= SIDE else values
    if len(rest):
        yield rest


@contextlib.contextmanager
def open_part(path: Path, made_of: dict) -> Iterator[BinaryIO]:
    """Open the file that holds the finished tiles of a mask, or begin it anew if it is one of another mask."""
    first_line = json.dumps({"written by": MARK, **made_of}).encode() + b"\n"
    if not path.exists() or first_bytes(path, len(first_line)) != first_line:
        with write_whole(path) as temporary:             # or, killed now, it would not be known as ours
            temporary.write_bytes(first_line)
    with open(path, "r+b") as file:
        yield file


def first_bytes(path: Path, count: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)


def to_first_tile(file: BinaryIO) -> None:
    """Go to where the first tile stands in a part file, after its first line."""
    file.seek(0)
    file.readline()


def next_tile(file: BinaryIO) -> bytes | None:
    """Return the next tile in a part file, None at its end, or where a process was killed while it wrote."""
    head = file.read(8)
    length, checksum = struct.unpack("<II", head) if len(head) == 8 else (0, 0)
    tile = file.read(length)
    return tile if tile and len(tile) == length and zlib.crc32(tile) == checksum else None


def keep_whole_rows(file: BinaryIO, across: int) -> int:
    """Return how many rows of tiles, so many `across`, are whole in a part file, and remove what follows them."""
    to_first_tile(file)
    rows, tiles, end = 0, 0, file.tell()
    while next_tile(file):
        tiles += 1
        if tiles % across == 0:
            rows, end = rows + 1, file.tell()
    file.seek(end)
    file.truncate()
    return rows


def made_of(image: Path | str, network: Path | str, options: tuple) -> dict:
    """Return what a mask depends on: an image, a network's file, options, as what JSON can hold."""
    with open(network, "rb") as file:
        weights = hashlib.sha256(file.read()).hexdigest()
    head = hashlib.sha256(head_and_length(image)).hexdigest()
    return {"image": head, "changed": os.stat(image).st_mtime_ns, "network": weights, "options": options}
