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
from support.masks import same_size, to_values
from support.names import evenly_spaced
from support.notes import note
from support.segments import ROWS, Part, Segments
from support.tiff import (
    ALPHA,
    SEVERAL_PAGES,
    Bands,
    Block,
    check_chosen,
    has_another,
    most_pixels,
    open_header,
    starts_as_tiff,
)

LARGE = 2**24                    # pixels from which on a TIFF file is read by parts
HEADER_WORTH = 2**18             # bytes of a file of which a training looks up whether it is large
PART = 1024                      # pixels a side of the parts that a training reads
BLOCK = 2**21                    # tiles are read by so many bytes, if one has not more
MOST_HELD = 2**26                # bytes of all that is held of an image


# ---------------------------------------------------------------------------------------------------
# Reading


def open_large(path: Path | str, rendering: Rendering = AS_FOUND, whole: str = "") -> "LargeTiff | None":
    """Return a TIFF file of 16 megapixels or more as a LargeTiff; None for an image that is to be read as a whole.

    `whole` names what needs the whole image at once, if anything does. Raises BadInput where the image is too
    large for that, or is one that cannot be read by parts.
    """
    pixels, most = count_pixels(path), most_pixels()
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


def in_parts(pairs: list, memory: float, said: Rendering) -> list:
    """Return pairs (name, image, mask), a large one as several of parts, which have a NUL in their names, see stem_of.

    Large is a TIFF file of more pixels than are read as a whole, or of 16 megapixels where all together take more than
    `memory` GB. One of those that cannot be read by parts stays whole, if it can. Raises BadInput.
    """
    worth = [Path(image).exists() and os.stat(image).st_size >= HEADER_WORTH for _, image, _ in pairs]
    pixels = [count_pixels(image) if looked_up else 0 for looked_up, (_, image, _) in zip(worth, pairs)]
    fits, most, found = 4 * sum(pixels) <= memory * 1e9, most_pixels(), []
    for (name, image, mask), count in zip(pairs, pixels):
        parts: list = []
        if count >= LARGE and not (fits and count <= most):
            try:
                parts = cut_pair(image, mask, said)
            except BadInput:
                if count > most:
                    raise
        found += [(f"{name}\0{part.rows.start},{part.columns.start}", part, truth) for part, truth in parts] or [
            (name, image, mask)]
    return found


def stem_of(name: str) -> str:
    """Return the name of the pair that the one of this name is a part of."""
    return name.partition("\0")[0]


def cut_pair(image_path: Path | str, mask_path: Path | str, said: Rendering = AS_FOUND) -> list[tuple[Part, Part]]:
    """Return the parts of a large image and those of its mask, both TIFF files, from left to right, then down.

    They have about PART pixels a side; strips, which run from side to side, are not cut across. Raises BadInput where
    a file cannot be read by parts.
    """
    if not count_pixels(mask_path):
        raise BadInput(f"{mask_path} is no TIFF file; expected one, as so large an image is read by parts")
    image, mask = LargeTiff(image_path, said), LargeTiff(mask_path)
    same_size(image_path, image.shape[:2], mask_path, mask.shape[:2])
    height, width, _ = image.shape
    if image.segments.tiled and mask.segments.tiled:
        rows, columns = equal_parts(height, PART), equal_parts(width, PART)
    else:
        rows, columns = equal_parts(height, max(PART // 4, PART**2 // width)), [range(width)]
    return [(Part(image.segments, down, across, image.opacity), Part(mask.segments, down, across, mask.opacity))
            for down in rows for across in columns]


def equal_parts(length: int, side: int) -> list[range]:
    """Return ranges of this side that cover a length; the last one is up to half as long again, or shorter by half."""
    count = max(1, round(length / side))
    return [range(number * side, length if number == count - 1 else (number + 1) * side) for number in range(count)]


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
        self.path, self.rendering, self.guarded, self.opacity = path, rendering, False, True
        self.held: dict[tuple[int, int], dict] = {}     # (row, column) of a block → what read_block returns
        with decoding(path), import_module("tifffile").TiffFile(path) as file:
            page = file.pages[0]
            self.segments = segments = Segments(path, page)
            self.shape = segments.height, segments.width, 3
            gaps, self.nodata = gaps_of(page)
            self.kept = Kept(place_of(path, page), read_world(path), gaps, None)
            if segments.tiled:                           # how many segments make a block, down and across
                self.block = 1, max(1, BLOCK // (segments.grid[0] * segments.bytes))
            else:
                self.block = max(1, ROWS // segments.rows), 1
            if has_another(page):
                note(path, SEVERAL_PAGES)
            if rendering.bands:
                check_chosen(path, page.samplesperpixel, rendering.bands)
            self.guarded = bool(rendering.bands) or open_header(self.cut_block(0, 0)) is None    # not read by Pillow
            self.opacity = self.judge_opacity() if {*page.extrasamples} & {*ALPHA} else True

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
        high, wide = self.segments.rows * self.block[0], self.segments.columns * self.block[1]
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
        down, across = (math.ceil(count / number) for count, number in zip(self.segments.grid[1:], self.block))
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
        (_, down, across), (high, wide) = self.segments.grid, self.block
        block = self.segments.cut(range(row * high, min((row + 1) * high, down)),
                                  range(column * wide, min((column + 1) * wide, across)), self.guarded)
        block.opacity = self.opacity
        return block


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
    with one_writer(out.parent, out.name), open_part(part, {**made_of, "classes": classes}) as file:
        begin = SIDE * keep_whole_rows(file, across)
        if begin:
            print(f"{out}: goes on at row {begin} of {height}")
        values = tile_rows(image, by_rows(image, begin), classes, nodata, begin)
        with tqdm(total=height * width, initial=begin * width, unit="pixel", unit_scale=True, disable=None) as bar:
            for rows in values:                          # (256 or, at the end, fewer, W) or (…, W, 3)
                for tile in cut_tiles(rows):
                    file.write(struct.pack("<II", len(tile), zlib.crc32(tile)) + tile)
                file.flush()
                bar.update(rows.shape[0] * width)
        if os.stat(image.path).st_mtime_ns != made_of["changed"]:
            raise BadInput(f"{image.path} was changed while it was read; predict it again")
        size = file.tell()
        to_first_tile(file)
        kind = to_values(np.zeros((1, 1), np.uint8), classes)
        write_world(out, image.kept.world)
        write_tiles(out, iter(lambda: next_tile(file), None), (height, width, *kind.shape[2:]), kind.dtype,
                    mask_tags(image.kept, nodata), size)


def tile_rows(image: LargeTiff, strips: Iterator, classes: list[dict], nodata: int | None,
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
    try:
        with open(path, "r+b") as file:
            yield file
        path.unlink()                # closed first, as Windows removes no open file
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror or error}); make room for it: the same command goes "
                       "on from there") from error


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
