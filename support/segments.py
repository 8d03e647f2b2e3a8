"""The tiles or strips of a large TIFF file, both called segments, and parts of it as small TIFF files in memory."""
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from support.mistakes import BadInput
from support.tiff import NODATA, ORIENTATION, SEPARATE, UNCOMPRESSED, UNPACKED, Block, tag

LONGEST = 2**17                  # pixels a side that are read
ROWS = 64                        # one strip of bare pixels is read by so many rows
MOST_BYTES = 2**25               # of a single tile or strip

# Tags: what a decoder needs to know of segments (bits, compression, colours, predictor, JPEG's tables, …),
OF_PIXELS = (258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 332, 338, 339, 347, 530, 531, 532, NODATA)
# where they are and how large.
WIDTH, LENGTH, OFFSETS, ROWS_PER_STRIP, COUNTS = 256, 257, 273, 278, 279
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
LONG = 4                         # a type of numbers in tags
OLD_JPEG, LZMA = 6, 34925        # compressions


class Segments:
    """The segments of a TIFF file's first page, which tifffile has opened: where they lie, and how large they are.

    Raises BadInput for a file that cannot be read by parts.
    """

    def __init__(self, path: Path | str, page: Any):
        check_page(path, page)
        file = page.parent
        height, width = page.imagelength, page.imagewidth
        self.path, self.height, self.width, self.byte_order = path, height, width, file.byteorder
        self.compression = int(page.compression)
        self.tags = {code: raw_value(page.tags[code]) for code in OF_PIXELS if code in page.tags}
        planes = page.samplesperpixel if page.planarconfig == SEPARATE else 1
        offsets, counts = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
        self.tiled = page.is_tiled
        rows, columns = (page.tilelength, page.tilewidth) if self.tiled else (min(page.rowsperstrip, height), width)
        row_bytes = math.ceil(columns * page.bitspersample * page.samplesperpixel / planes / 8)
        if not self.tiled and rows == height and self.compression == UNCOMPRESSED and len(offsets) == planes:
            rows, tops = ROWS, np.arange(0, height, ROWS, dtype=np.int64)    # one strip of bare pixels, cut as we like
            offsets = (offsets[:, None] + tops * row_bytes).ravel()
            counts = np.tile(np.minimum(ROWS, height - tops) * row_bytes, planes)
        self.offsets, self.counts = offsets, counts
        self.rows, self.columns, self.bytes = rows, columns, rows * row_bytes            # of a segment
        self.grid = planes, math.ceil(height / rows), math.ceil(width / columns)
        check_segments(self, file.filehandle.size)

    def cut(self, rows: range, columns: range, guarded: bool = True) -> Block:
        """Return these rows and columns of segments as a TIFF file of its own.

        Where it is not Pillow that reads it, the file is to be `guarded` against segments that unpack to more than
        they should. Raises BadInput for one.
        """
        planes, down, across = self.grid
        with open(self.path, "rb") as file:
            segments = [self.read_segment(file, (plane * down + y) * across + x, guarded)
                        for plane in range(planes) for y in rows for x in columns]
        height, width = len(rows) * self.rows, len(columns) * self.columns
        if self.tiled:
            sides = {TILE_LENGTH: self.rows, TILE_WIDTH: self.columns}
        else:                                            # the last strip may be lower than the others
            sides, height = {ROWS_PER_STRIP: self.rows}, min(height, self.height - rows[0] * self.rows)
        sides |= {WIDTH: width, LENGTH: height}
        return Block(tiff_file(self.byte_order, self.tags, sides, segments), self.path)

    def read_segment(self, file: BinaryIO, number: int, guarded: bool) -> bytes:
        """Return a segment as it is in the file. Raises BadInput where it would unpack to more than it should."""
        file.seek(self.offsets[number])
        segment = file.read(self.counts[number])
        if guarded and self.compression in UNPACKED[1:]:
            unpacked = zlib.decompressobj().decompress(segment, self.bytes + 1)
            if len(unpacked) > self.bytes:
                raise BadInput(f"{self.path} is damaged: what it holds is larger than it says")
        return segment


class Part(os.PathLike):
    """A rectangle of a large TIFF file, which is read as if it were a file; as a path, it is the whole one."""

    def __init__(self, segments: Segments, rows: range, columns: range, opacity: bool):
        self.segments, self.rows, self.columns, self.opacity = segments, rows, columns, opacity

    def __fspath__(self) -> str:
        return os.fspath(self.segments.path)

    def __str__(self) -> str:
        return str(self.segments.path)

    def cut(self) -> Block:
        """Return it as a file in memory, of whole segments, of which a reader crops what lies `inside`."""
        segments = self.segments
        (y, down), (x, across) = ((some.start // side, math.ceil(some.stop / side))
                                  for some, side in ((self.rows, segments.rows), (self.columns, segments.columns)))
        block = segments.cut(range(y, down), range(x, across))
        top, left = y * segments.rows, x * segments.columns
        block.inside = (slice(self.rows.start - top, self.rows.stop - top),
                        slice(self.columns.start - left, self.columns.stop - left))
        block.opacity = self.opacity
        return block


def check_page(path: Path | str, page: Any) -> None:
    """Raise BadInput for a page that cannot be read by parts, by its header."""
    if tag(page, ORIENTATION, 1) in range(2, 9):
        raise BadInput(f"{path} is turned by its orientation; so large an image has to lie as it is stored")
    if page.imagedepth != 1 or int(page.compression) in (OLD_JPEG, LZMA):
        raise BadInput(f"{path} is a volume, or compressed as LZMA or in the way of old JPEGs; expected a flat image")
    if not 0 < max(page.imagewidth, page.imagelength) <= LONGEST:
        raise BadInput(f"{path} is {page.imagewidth}x{page.imagelength} pixels; expected at most {LONGEST} a side")


def check_segments(segments: Segments, size: int) -> None:
    """Raise BadInput where segments, in a file of this size, cannot be read one by one."""
    path, offsets, counts = segments.path, segments.offsets, segments.counts
    if segments.bytes * segments.grid[0] > MOST_BYTES:
        raise BadInput(f"{path} is stored in pieces of {segments.columns}x{segments.rows} pixels, too large to be read "
                       "by parts; expected tiles, as of gdal_translate -co TILED=YES -co COMPRESS=DEFLATE")
    expected = math.prod(segments.grid)
    if len(offsets) != expected or len(counts) != expected:
        raise BadInput(f"{path} is damaged: it has {len(offsets)} tiles or strips; expected {expected}")
    if (counts <= 0).any():
        raise BadInput(f"{path} leaves out tiles; expected all of them, as gdal_translate writes without SPARSE_OK")
    if (offsets < 0).any() or (offsets + counts).max() > size:
        raise BadInput(f"{path} is damaged: it ends before its pixels do")
    if counts.max() > 2 * segments.bytes + 2**16:
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
