"""Pictures, their maps and their tiles; and which of their pixels a stroke covers, or the network sees.

Needs no PyTorch.
"""
import io
import math
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
from PIL import Image

from patches import zoomed_size
from support.files import BadInput
from support.images import Rendering, image_size, read_image
from support.masks import IGNORE

TILE = 512                       # pixels a side of what the page loads at once
LEARNT, PUT_ASIDE, CORRECTION = 0, 1, 2  # what a painted pixel is for
HELD = 2**28                     # bytes of decoded images that are kept ready for tiles


# ---------------------------------------------------------------------------------------------------
# Which pixels


def covered(points: np.ndarray, width: float, height: int, length: int) -> tuple[int, int, np.ndarray]:
    """Return the pixels of an image (height, length) that a line of this `width` covers: (top, left, bool (h, w)).

    The line goes through the points (N, 2), x and y. It covers the pixels whose centre, (x + ½, y + ½), is within
    half a width of it, and those that hold its points. Around each piece of the line lies a convex shape, of which
    every row of pixels cuts one interval.
    """
    radius = width / 2
    low, high = points.min(axis=0) - radius, points.max(axis=0) + radius
    left, top = (int(max(0, math.floor(edge))) for edge in low)
    right, bottom = (int(min(most, math.ceil(edge))) for edge, most in zip(high, (length, height)))
    if right <= left or bottom <= top:
        return 0, 0, np.zeros((0, 0), bool)
    edges = np.zeros((bottom - top, right - left + 1), np.int16)      # +1 where an interval begins, −1 behind its end
    following = points[1:] if len(points) > 1 else points             # a single point: a piece without length
    pieces = np.concatenate([points[:len(following)], following], axis=1)             # (N − 1, 4)
    first = np.floor(np.minimum(pieces[:, 1], pieces[:, 3]) - radius).clip(top, bottom).astype(int)
    last = np.ceil(np.maximum(pieces[:, 1], pieces[:, 3]) + radius).clip(top, bottom).astype(int)
    ends = np.cumsum(last - first)
    for start in range(0, int(ends[-1]), 2**20):  # so many rows of pieces at once
        row = np.arange(start, min(start + 2**20, ends[-1]))
        piece = np.searchsorted(ends, row, side="right")
        y = row - (ends - (last - first))[piece] + first[piece]
        begin, end = row_interval(*pieces[piece].T, y + 0.5, radius)
        begin = np.ceil(begin - 0.5 - left).clip(0, right - left)
        end = np.floor(end - 0.5 - left).clip(-1, right - left - 1) + 1
        cut = begin < end                                             # not where the row misses the shape, NaN
        np.add.at(edges, (y[cut] - top, begin[cut].astype(int)), 1)
        np.add.at(edges, (y[cut] - top, end[cut].astype(int)), -1)
    inside = np.cumsum(edges, axis=1, dtype=np.int16, out=edges)[:, :-1] > 0          # of at most 20,000 pieces
    own = np.floor(points).astype(int) - (left, top)
    own = own[((own >= 0) & (own < (right - left, bottom - top))).all(axis=1)]
    inside[own[:, 1], own[:, 0]] = True
    return top, left, inside


def row_interval(ax, ay, bx, by, y, radius) -> tuple[np.ndarray, np.ndarray]:
    """Return where the row at height y enters and leaves what is within `radius` of the line from a to b; NaN, if not.

    That is two discs and a rectangle between them. All are arrays of one length.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        around_a, around_b = np.sqrt(radius**2 - (y - ay) ** 2), np.sqrt(radius**2 - (y - by) ** 2)
        begin, end = np.fmin(ax - around_a, bx - around_b), np.fmax(ax + around_a, bx + around_b)
        # A point of the rectangle is a + t·(b − a) + s·n, 0 ≤ t ≤ 1, |s| ≤ radius; in this row, t decides about s.
        dx, dy = bx - ax, by - ay
        distance = np.hypot(dx, dy)
        nx, ny = -dy / distance, dx / distance
        limits = [(y - ay - s * ny) / dy for s in (-radius, radius)]  # of t
        least = np.where(dy == 0, 0, np.minimum(*limits)).clip(0, 1)
        most = np.where(dy == 0, 1, np.maximum(*limits)).clip(0, 1)
        inside = np.where(dy == 0, np.abs(y - ay) <= radius, np.maximum(*limits) >= 0) & \
            np.where(dy == 0, True, np.minimum(*limits) <= 1)
        for t in least, most:
            s = np.where(ny == 0, radius, (y - ay - t * dy) / ny)
            x = np.where(inside, ax + t * dx + s * nx, np.nan)
            begin, end = np.fmin(begin, x), np.fmax(end, x)
            x = np.where(inside & (ny == 0), ax + t * dx - s * nx, np.nan)
            begin, end = np.fmin(begin, x), np.fmax(end, x)
    return begin, end


def region_around(strokes: np.ndarray, x: int, y: int) -> tuple[int, int, np.ndarray]:
    """Return the connected pixels of equal value around one, of strokes (H, W): (top, left, bool (h, w)).

    Pixels touch at their sides: no region leaks through between two that touch at their corners.
    """
    from skimage.segmentation import flood  # only now: it takes half a second to import

    region = flood(np.asarray(strokes), (y, x), connectivity=1)
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    return top, left, region[top:rows[-1] + 1, left:columns[-1] + 1]


def sees(place: int, length: int, steps: list, zoom: float = 1) -> tuple[int, int]:
    """Return the first pixel that the network sees for one at `place` of an axis, and the one behind the last.

    `steps` lead from the output to the input: a number widens by so many pixels either way, "/" is where the
    network doubles the resolution, "*" where it halves it. All that is at its `zoom`.

    >>> sees(40, 100, [2, "/", 1, "*", 2])       # the FCN: conv4, upsample, conv3, pool, conv2 and conv1
    (34, 48)
    """
    zoomed, _ = zoomed_size((length, 1), zoom)
    first, behind = averaged(place, place + 1, length, zoomed)
    last = behind - 1
    for step in steps:
        if step == "/":
            first, last = first // 2, last // 2
        elif step == "*":
            first, last = 2 * first, 2 * last + 1
        else:
            first, last = first - step, last + step
    return averaged(max(first, 0), min(last + 1, zoomed), zoomed, length)


def averaged(first: int, behind: int, length: int, other: int) -> tuple[int, int]:
    """Return which pixels of an axis of `other` pixels make up some of it at this `length`, see patches.resize."""
    scale = other / length
    reach = max(scale, 1)
    begin, end = (first + 0.5) * scale - reach - 0.5, (behind - 0.5) * scale + reach - 0.5
    return max(math.floor(begin) + 1, 0), min(math.ceil(end), other)


def scaled(box: list[int], size: tuple[int, int], other: tuple[int, int]) -> list[int]:
    """Return a box [left, top, right, bottom] of an image of this size (H, W) where it lies at another size."""
    return [edge * new // old for edge, old, new in zip(box, 2 * size[::-1], 2 * other[::-1])]


def most_painted(strokes: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return strokes (H, W) at another size: a pixel has the class of most painted pixels that it covers.

    What it covers begins at these rows and columns. So a thin stroke stays; among equals the first class counts.
    """
    if strokes.shape == (len(rows), len(columns)):
        return strokes
    found, most = np.full((len(rows), len(columns)), IGNORE, np.uint8), 0
    for label in np.flatnonzero(np.bincount(strokes.ravel())[:IGNORE]):
        votes = np.add.reduceat(np.add.reduceat(strokes == label, rows, axis=0, dtype=np.int32), columns, axis=1)
        found[votes > most] = label
        most = np.maximum(most, votes)
    return found


# ---------------------------------------------------------------------------------------------------
# An image, and what belongs to it


class Picture:
    """An image of the session: where it is, and maps of its size, uint8 (H, W), made when they are first needed.

    The maps are files, which the learner's process has open, too: "strokes" holds class indices, IGNORE where
    nothing is painted, "roles" what a painted pixel is for, "prediction" class indices and "uncertainty" 0 to 255.
    """

    def __init__(self, number: int, name: str, path: Path, maps: Path):
        self.number, self.name, self.path, self.maps = number, name, path, maps
        self.height, self.width = image_size(path)
        self.arrays: dict[str, np.ndarray] = {}
        self.lock = threading.Lock()             # a map that two threads make would lose what one has painted into it
        self.strokes_version = self.prediction_version = 0            # rise when tiles change
        self.whole = False                       # whether each pixel is predicted
        self.accepted: np.ndarray | None = None  # class indices (H, W) of the prediction that was accepted
        self.accepted_version: int | None = None

    def map(self, kind: str) -> np.ndarray:
        """Return a map of the picture, made empty where it is not there. Raises BadInput where there is no room."""
        with self.lock:
            if kind not in self.arrays:
                path = map_path(self.maps, self.number, kind)
                row = bytes([IGNORE if kind in ("strokes", "prediction") else 0]) * self.width
                try:
                    with path.open("wb") as file:        # now: a disk that is full later would end the process
                        for _ in range(self.height):
                            file.write(row)
                except OSError as error:
                    raise BadInput(f"{path} cannot be written ({error.strerror}); make room for it") from error
                self.arrays[kind] = np.memmap(path, np.uint8, "r+", shape=(self.height, self.width))
            return self.arrays[kind]

    def open_maps(self) -> None:
        """Make all maps, before the learner opens them."""
        for kind in ("strokes", "roles", "prediction", "uncertainty"):
            self.map(kind)


def map_path(maps: Path, number: int, kind: str) -> Path:
    return maps / f"{number}.{kind}"


class Pyramids:
    """Decoded images at 1, ½, ¼, … of their size, the last ones that were asked for kept."""

    def __init__(self, rendering: Rendering):
        self.rendering = rendering               # how images are read
        self.kept: OrderedDict[int, list[np.ndarray]] = OrderedDict()
        self.lock = threading.Lock()             # one is decoded at a time, or ten tiles would decode it ten times

    def level(self, picture: Picture, level: int) -> np.ndarray:
        """Return the image at 1/2^level of its size, uint8 (⌈H/2^level⌉, ⌈W/2^level⌉, 3). Raises BadInput."""
        with self.lock:
            if picture.number not in self.kept:
                self.kept[picture.number] = [read_image(picture.path, rendering=self.rendering)]
                while len(self.kept) > 1 and sum(levels[0].nbytes for levels in self.kept.values()) > HELD:
                    self.kept.popitem(last=False)
            self.kept.move_to_end(picture.number)
            levels = self.kept[picture.number]
            while len(levels) <= level:
                levels.append(np.asarray(Image.fromarray(levels[-1]).reduce(2)))
            return levels[level]


def tile_of(array: np.ndarray, column: int, row: int, step: int = 1) -> np.ndarray:
    """Return what a tile at 1/`step` of the size shows of an array (H, W) or (H, W, 3). Raises KeyError for none."""
    side = TILE * step
    tile = array[row * side:(row + 1) * side, column * side:(column + 1) * side]
    if not tile.size:
        raise KeyError(f"tile {column}, {row}")
    return tile


def any_painted(strokes: np.ndarray, step: int) -> np.ndarray:
    """Return strokes (h, w) at 1/`step` of their size: a pixel is painted if any of those it stands for is.

    So thin strokes stay visible. As unpainted is the highest value, the least of each square says so.
    """
    height, width = strokes.shape
    padded = np.pad(strokes, ((0, -height % step), (0, -width % step)), constant_values=IGNORE)
    return padded.reshape(-(-height // step), step, -(-width // step), step).min(axis=(1, 3))


def as_file(array: np.ndarray, kind: str = "PNG") -> bytes:
    """Return an image array as the content of a PNG or JPEG file."""
    file = io.BytesIO()
    options = {"compress_level": 1} if kind == "PNG" else {"quality": 92, "subsampling": 0}
    Image.fromarray(np.ascontiguousarray(array)).save(file, kind, **options)
    return file.getvalue()
