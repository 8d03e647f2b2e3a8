"""The 256×256×3 budget: where training patches come from, how windows become a whole image again.

`python -m tools.show windows` and `python -m tools.show patches` draw both. Everything here works on
NumPy arrays; no network is needed to read or to test it.
"""
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from support.files import BadInput
from support.masks import IGNORE

MAX_SIDE = 256                   # no network input is ever wider or taller than this

Forward = Callable[[np.ndarray], np.ndarray]             # a window (h, w, 3) → its logits (C, h, w)
Pieces = Iterable[tuple[slice, slice, np.ndarray]]       # rows, columns and logits (C, y, x), see core_logits


def within_budget(batch: Any, budget: int = 1) -> Any:
    """Return the batch (N, 3, H, W) unchanged, or raise BadInput where it is over the budget.

    The rule: one 256×256×3 input is all that fits. So no side is above 256, and all images of a batch
    together hold at most `budget`·256·256 pixels. Every batch passes here before it enters the network; windows
    of a single stage, of which a GPU takes four at once, pass within_stage_budget.
    """
    count, channels, height, width = batch.shape
    found = f"a network input of {count} x {height}x{width}x{channels} is over the budget"
    if channels != 3 or max(height, width) > MAX_SIDE:
        raise BadInput(f"{found}: at most {MAX_SIDE}x{MAX_SIDE}x3 each")
    if count * height * width > budget * MAX_SIDE**2:
        raise BadInput(f"{found}: at most {budget * MAX_SIDE**2} pixels together; take fewer or smaller patches, or "
                       "raise --budget if the memory is there")
    return batch


# ---------------------------------------------------------------------------------------------------
# Prediction: image → windows → cores → image


class Tile(NamedTuple):
    """One window and the part of it that is kept, in pixels of the image; bottom and right are exclusive."""

    y: int                       # the window's corner; its size is the same for all tiles of an image
    x: int
    top: int                     # the core: every pixel of the image is in exactly one
    bottom: int
    left: int
    right: int

    @property
    def core(self) -> tuple[slice, slice]:
        """Return its rows and columns in the image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def inside(self) -> tuple:
        """Return where in an array of its window, (…, h, w), the core lies."""
        return ..., slice(self.top - self.y, self.bottom - self.y), slice(self.left - self.x, self.right - self.x)


def spans(length: int, halo: int, stride: int, window: int | None = None,
          limit: int = MAX_SIDE) -> tuple[int, list[tuple[int, int, int]]]:
    """Cover `length` pixels of one axis by windows of one side: (side, [(window start, core start, core stop), …]).

    Windows overlap by at least 2·halo and start on multiples of the stride. Inside a core no window edge is
    nearer than the halo, unless it is the image's own. Unless `window` sets the side, it is the smallest
    that needs no more windows than the `limit` would, so that the last one repeats no work of the others. It is
    a multiple of four, or the limit, as PyTorch doubles a map ten times as slowly where its sides are prime numbers.

    >>> spans(600, halo=8, stride=2)
    (212, [(0, 0, 204), (196, 204, 400), (388, 400, 600)])
    >>> spans(600, halo=8, stride=2, window=256)        # the last window slides back to end with the image
    (256, [(0, 0, 248), (240, 248, 488), (344, 488, 600)])
    >>> spans(101, halo=8, stride=2)                    # one window, padded to a multiple of the stride
    (102, [(0, 0, 102)])
    """
    side = limit if window is None else window
    if stride < 1 or not 0 <= 2 * halo < side <= limit or halo % stride or side % stride:
        raise BadInput(f"windows of {side} pixels with a halo of {halo}; expected at most {limit}, a halo below "
                       f"half of that, and both multiples of the network's stride, {stride}")
    length = round_up(length, stride)
    if length <= side:
        return length, [(0, 0, length)]
    if window is None:
        count = math.ceil((length - 2 * halo) / (side - 2 * halo))
        window = min(side, round_up(math.ceil((length + (count - 1) * 2 * halo) / count), math.lcm(stride, 4)))
    starts = [*range(0, length - window, window - 2 * halo), length - window]
    stops = [start + window - halo for start in starts[:-1]] + [length]
    return window, list(zip(starts, [0, *stops[:-1]], stops))


def round_up(number: float, multiple: int) -> int:
    return math.ceil(number / multiple) * multiple


def tiles(height: int, width: int, halo: int, stride: int, window: int | None = None,
          limit: int | tuple[int, int] = MAX_SIDE) -> tuple[int, int, list[Tile]]:
    """Return windows that cover an image, all of one shape: (window height, window width, [Tile, …]).

    They have one shape, because the fastest kernel, and with it the last bit of a sum, depends on it. They start on
    multiples of the stride, so that pooling groups the same pixels as it would in the whole image. No side is above
    the `limit`, or limits (height, width).

    >>> window_height, window_width, cover = tiles(601, 99, halo=8, stride=2)
    >>> window_height, window_width                     # the image is padded to 602×100
    (212, 100)
    >>> cover[2]
    Tile(y=390, x=0, top=400, bottom=601, left=0, right=99)
    """
    highest, widest = limit if isinstance(limit, tuple) else (limit, limit)
    window_height, rows = spans(height, halo, stride, window, highest)
    window_width, columns = spans(width, halo, stride, window, widest)
    return window_height, window_width, [Tile(y, x, top, min(bottom, height), left, min(right, width))
                                         for y, top, bottom in rows for x, left, right in columns]


def region_limits(height: int, width: int, halo: int, stride: int, side: int) -> tuple[int, int]:
    """Return the limits (height, width) with which regions of at most `side`² pixels overlap least, for `tiles`.

    What lies in two regions is computed twice. So an image that is long, but has no more pixels than a region, is a
    single one, and a larger one may be cut in one direction only.

    >>> region_limits(1024, 2048, halo=96, stride=16, side=1536)        # of a street: one region
    (1024, 2304)
    >>> region_limits(2048, 2048, halo=96, stride=16, side=1536)        # two of 2048×1120, not four of 1120×1120
    (2048, 1152)
    """
    def pixels(limits):
        both = [spans(length, halo, stride, limit=limit) for length, limit in zip((height, width), limits)]
        return math.prod(window * len(starts) for window, starts in both)

    grid, limits = math.lcm(stride, 4), [(side, side)]
    for count in range(1, math.ceil(4 * height / side) + 1):          # of regions, one below the other
        rows = max(round_up((height + (count - 1) * 2 * halo) / count, grid), 4 * halo)
        columns = side**2 // rows // grid * grid
        if columns > 4 * halo:
            limits.append((rows, columns))
    return min(limits, key=pixels)


def cut_windows(image: Any, halo: int, stride: int, window: int | None = None, limit: int | tuple[int, int] = MAX_SIDE,
                begin: int = 0) -> Iterator[tuple[Tile, np.ndarray]]:
    """Yield (Tile, uint8 window (h, w, 3)) for each window that covers an image (H, W, 3), see tiles.

    The image may be anything that has a shape and gives its parts, as a LargeTiff does. Windows whose core lies
    above the row `begin` are left out.
    """
    height, width = image.shape[:2]
    window_height, window_width, cover = tiles(height, width, halo, stride, window, limit)
    for tile in cover:
        if tile.bottom > begin:
            part = image[tile.y:tile.y + window_height, tile.x:tile.x + window_width]
            # Pad as the network itself would: repeat the last row and column up to a multiple of the stride.
            beyond = (0, window_height - part.shape[0]), (0, window_width - part.shape[1]), (0, 0)
            yield tile, np.pad(part, beyond, mode="edge")


def core_logits(forward: Forward, image: Any, halo: int, stride: int, window: int | None = None,
                limit: int | tuple[int, int] = MAX_SIDE, begin: int = 0) -> Pieces:
    """Yield (rows, columns, logits) of each window's core: two slices of the image, and (C, y, x).

    `forward` maps a uint8 window (h, w, 3) to an array (C, h, w). Every pixel of the image, from the row `begin`
    on, is in exactly one core. They come from left to right, then down. One window at a time is no slower than
    several (`python -m benchmarks.windows`).
    """
    for tile, pixels in cut_windows(image, halo, stride, window, limit, begin):
        yield *tile.core, forward(pixels)[tile.inside]


def stitch(forward: Forward, image: np.ndarray, halo: int, stride: int, window: int | None = None) -> np.ndarray:
    """Run `forward` over an image of any size, a window at a time, as if over the whole image at once.

    `forward` maps a uint8 window (h, w, 3) to an array (C, h, w), logits say; the result is that of the
    whole image (C, H, W) where `halo` is the network's own, since a pixel of a core sees the same pixels in
    both; sums may differ in their last bit, since kernels differ from one input shape to another.
    """
    return assemble(core_logits(forward, image, halo, stride, window), image.shape[:2])


def stage_side(level: int) -> int:
    """Return the side of a stage's windows at 1/2^level of the resolution.

    Channels double from level to level. So this is the largest even side with which no stage has more values
    than the first one has for an input of 256×256×3: 256, 180, 128, 90, 64, 44, 32.
    """
    return int(MAX_SIDE / 2 ** (level / 2)) // 2 * 2


def within_stage_budget(level: int, height: int, width: int) -> None:
    """Raise BadInput where a window of a stage holds more values than an input of 256×256×3 gives the first one."""
    if max(height, width) > MAX_SIDE or height * width * 2**level > MAX_SIDE**2:
        raise BadInput(f"a window of {width}x{height} at 1/{2**level} of the resolution is over the budget: at most "
                       f"{stage_side(level)} a side")


def assemble(pieces: Pieces, size: tuple[int, int]) -> np.ndarray:
    """Return the logits (C, H, W) of an image of this size (H, W) from what core_logits yields for it."""
    stitched: Any = None         # the first piece says how many classes there are
    for rows, columns, logits in pieces:
        if stitched is None:
            stitched = np.empty((len(logits), *size), logits.dtype)
        stitched[:, rows, columns] = logits
        del logits               # before the next ones take their memory
    return stitched


def decide(pieces: Pieces, size: tuple[int, int], zoom: float = 1,
           probabilities: np.ndarray | None = None) -> np.ndarray:
    """Return the class with the highest logit at each pixel, uint8 (H, W), from what core_logits yields.

    The pieces are those of the image at `zoom` times its size (H, W). Never holds all logits of a large
    image at its own size: without zoom it decides in each window, else for one class after the other. The
    softmax of these logits, in 255ths, goes into `probabilities`, uint8 (C, H, W), if that is given. Rounding
    keeps their order, so none is above that of the class decided on.
    """
    classes = np.zeros(size, np.uint8)
    if zoom == 1:
        for rows, columns, logits in pieces:
            classes[rows, columns] = likeliest(logits)
            if probabilities is not None:
                powers = np.exp(logits - logits.max(axis=0))
                probabilities[:, rows, columns] = np.rint(powers * (255 / powers.sum(axis=0)))
            del logits                                                # as in assemble
        return classes
    planes = assemble(pieces, zoomed_size(size, zoom))                # (C, zoom·H, zoom·W)
    highest = resize(planes[0], size).copy()
    for index, plane in enumerate(planes[1:], start=1):
        larger = resize(plane, size)
        classes[larger > highest] = index
        np.maximum(highest, larger, out=highest)
    if probabilities is not None:
        power = lambda plane: np.exp(resize(plane, size) - highest)
        share = 255 / sum(power(plane) for plane in planes)
        for index, plane in enumerate(planes):
            probabilities[index] = np.rint(power(plane) * share)
    return classes


def at_own_size(pieces: Pieces, size: tuple[int, int], zoom: float, most: int = 2**18) -> Pieces:
    """Yield (rows, columns, logits), of `most` pixels or so each, that cover an image at its own size (H, W).

    `pieces` are what core_logits yields for it at `zoom` times that size. Never holds all logits of a large
    image at its own size.
    """
    height, width = size
    if zoom != 1:
        planes = assemble(pieces, zoomed_size(size, zoom))            # (C, zoom·H, zoom·W)
        for top, bottom in strips(0, height, most // width):
            yield slice(top, bottom), slice(0, width), resize_rows(planes, size, top, bottom)
        return
    for rows, columns, logits in pieces:
        for top, bottom in strips(rows.start, rows.stop, most // logits.shape[2]):
            yield slice(top, bottom), columns, logits[:, top - rows.start:bottom - rows.start]


def strips(start: int, stop: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield (first row, row after the last) of strips of so many rows, at least one."""
    for top in range(start, stop, max(rows, 1)):
        yield top, min(top + max(rows, 1), stop)


def resize_rows(planes: np.ndarray, size: tuple[int, int], top: int, bottom: int) -> np.ndarray:
    """Return rows `top` to `bottom` of what `resize` makes of each plane (C, h, w) at the size (H, W), up to rounding.

    Across, Pillow does it. Down, a row is the mean of those around it, with weights that fall off linearly.
    """
    rows, (height, width) = planes.shape[1], size
    scale = rows / height
    reach = max(scale, 1)
    centres = (np.arange(top, bottom) + 0.5) * scale                  # of the rows that are asked for, among the others
    first, last = max(0, int(centres[0] - reach)), min(rows, int(centres[-1] + reach) + 1)
    distance = np.abs(np.arange(first, last) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distance / reach)                     # (bottom - top, last - first)
    weights /= weights.sum(axis=1, keepdims=True)
    wide = np.stack([resize(plane[first:last], (last - first, width)) for plane in planes])
    return weights.astype(planes.dtype) @ wide                        # (C, bottom - top, W)


def decide_rows(pieces: Pieces, width: int) -> Iterator[tuple[int, np.ndarray]]:
    """As decide, but for an image so large that not even its classes fit into memory.

    Yield (top, classes uint8 (rows, width)) for one row of windows after the other.
    """
    # By map, which keeps no logits: those of a region are gone before the next ones take their memory.
    decided = map(lambda piece: (*piece[:2], likeliest(piece[2])), pieces)
    for (top, bottom), row in itertools.groupby(decided, key=lambda piece: (piece[0].start, piece[0].stop)):
        classes = np.empty((bottom - top, width), np.uint8)
        for _, columns, indices in row:
            classes[:, columns] = indices
        yield top, classes


def likeliest(logits: np.ndarray) -> np.ndarray:
    """Return the class with the highest of the logits (C, y, x) at each pixel, (y, x)."""
    if len(logits) == 2:
        return logits[1] > logits[0]             # argmax is slower, a tenth of a window's time
    return logits.argmax(axis=0)


def choose_halo(halo: int, stride: int, wanted: int | None = None) -> int:
    """Return the halo to stitch with: the network's own, with which stitching is exact, or what is `wanted`.

    Where the network sees so far that a window of 256 would have no core left, it is a quarter of the
    window, and no longer exact. In any case it lies on the pooling grid. Raises BadInput.
    """
    if wanted is None:
        chosen = halo if 2 * halo < MAX_SIDE else MAX_SIDE // 4
    else:
        chosen = round_up(wanted, stride)
    if not 0 <= 2 * chosen < MAX_SIDE or chosen % stride:
        raise BadInput(f"--halo {wanted}: expected 0 to {(MAX_SIDE - 1) // 2 // stride * stride}")
    return chosen


def inexact_line(halo: int, chosen: int) -> str:
    """Return a line that says how a network of this halo is stitched with a smaller one, or "" where it is not."""
    if chosen >= halo:
        return ""
    return (f"this network sees {halo} pixels around each one, its windows show {chosen}: the result is close to that "
            "of the whole image at once, but not equal")


def zoomed_size(size: tuple[int, int], zoom: float) -> tuple[int, int]:
    """Return a size (height, width) at this zoom, at least one pixel."""
    height, width = size
    return max(1, round(zoom * height)), max(1, round(zoom * width))


def zoom_image(image: np.ndarray, zoom: float) -> np.ndarray:
    """Return an image (H, W, 3) at this zoom; the image itself at 1."""
    return image if zoom == 1 else resize(image, zoomed_size(image.shape[:2], zoom))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image (H, W) or (H, W, 3) at another size (height, width); Pillow averages where it shrinks."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def resize_indices(indices: np.ndarray, size: tuple[int, int], down: int = 1, across: int = 1) -> np.ndarray:
    """Return class indices (H, W) at another size (height, width): never averaged, each is that of one pixel.

    Halfway between two pixels it is the lower and right one, so that halving shifts a mask by half a pixel
    against its image, which is averaged. With `down` or `across` -1 it is the upper or left one.
    """
    mirrored = Image.fromarray(indices[::down, ::across])
    return np.asarray(mirrored.resize(size[::-1], Image.Resampling.NEAREST))[::down, ::across]


# ---------------------------------------------------------------------------------------------------
# Training: images → patches


class Sampling(NamedTuple):
    """How the patches of a training are drawn. Defaults, and the reasons for them, stand in support/arguments.py."""

    seed: int
    size: int                    # side of a patch, in pixels
    batch: int                   # patches a step
    balance: float               # share of the patches that is placed on a class drawn evenly
    scale: tuple = (1.0, 1.0)    # a patch shows the image at a scale between these two
    flips: str = "all"           # "all" eight ways to lay a square, left-right "mirror" or "none"
    reuse: int = 1               # steps in a row that cut their patches from the same images
    paste: float = 0.0           # share of the patches onto which the objects of another one are laid
    background: int | None = None    # the class that is no object; needed to paste


def class_rows(mask: np.ndarray, classes: int) -> np.ndarray:
    """Return how many pixels of each class lie above and in each row of a mask (H, W): int64 (classes, H)."""
    rows = np.arange(len(mask))[:, None] * 256
    return np.bincount((mask + rows).ravel(), minlength=256 * len(mask)).reshape(-1, 256)[:, :classes].cumsum(axis=0).T


def choose_patch(cumulative_counts: np.ndarray, sampling: Sampling, epoch: int, step: int,
                 slot: int) -> tuple[int, int | None, int, list[float]]:
    """Return where patch `slot` of a step lies: (image number, class or None, pixel number, eight random numbers).

    `cumulative_counts`, (images, classes + 1), are those of a data.Dataset. This is a pure function of seed, epoch,
    step and slot: there is no generator state to save, so a resumed training sees what the uninterrupted one would
    have seen, and it does not matter who computes which patch.

    A share `balance` of the patches contains a pixel of a class drawn evenly from those that occur, however
    rare it is; the rest contains a pixel drawn evenly from all images. With `reuse`, class and image stay
    the same for so many steps in a row, so that an image has to be decoded only once for them.
    """
    def draw(step):              # all at once, each in [0, 1): drawing costs more than what is done with it
        return np.random.default_rng((sampling.seed, epoch, step * sampling.batch + slot)).random(11).tolist()

    first = step - step % sampling.reuse
    balanced, kind, place, *more = draw(first)
    label = None
    if balanced < sampling.balance:
        existing = np.flatnonzero(cumulative_counts[-1, :-1])
        label = int(existing[int(kind * len(existing))])
    column = cumulative_counts[:, -1 if label is None else label]
    place = int(place * int(column[-1]))
    number = int(np.searchsorted(column, place, side="right"))
    before = int(column[number - 1]) if number else 0
    if step == first:
        return number, label, place - before, more
    _, _, place, *more = draw(step)
    return number, label, int(place * (int(column[number]) - before)), more


def find_pixel(mask: np.ndarray, rows: np.ndarray, label: int | None, place: int) -> tuple[int, int]:
    """Return (y, x) of pixel number `place`, row by row, of class `label`, or of all where that is None."""
    if label is None:
        return divmod(place, mask.shape[1])
    y = int(np.searchsorted(rows[label], place, side="right"))
    earlier = rows[label, y - 1] if y else 0                          # pixels of the class in the rows above
    return y, int(np.flatnonzero(mask[y] == label)[place - earlier])


def cut_patch(image: np.ndarray, mask: np.ndarray, rows: np.ndarray, label: int | None, place: int,
              random_numbers: list[float], sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Return the patch around one pixel, flipped and scaled by chance: uint8 (size, size, 3) and (size, size).

    The pixel is number `place` of class `label`, or of all where that is None; `rows` is class_rows(mask).
    It may lie anywhere in the patch, the patch only inside the image; where the image is smaller than a
    patch, its last rows and columns are repeated, without a truth.
    """
    above, before, upside_down, mirrored, transposed, scaled, below, right = random_numbers
    y, x = find_pixel(mask, rows, label, place)
    smallest, largest = sampling.scale
    side = max(1, round(sampling.size / (smallest * (largest / smallest) ** scaled)))
    height, width = mask.shape
    top = min(max(y - int(above * side), 0), max(height - side, 0))
    left = min(max(x - int(before * side), 0), max(width - side, 0))
    image, mask = image[top:top + side, left:left + side], mask[top:top + side, left:left + side]
    if mask.shape != (side, side):
        missing = [(0, side - length) for length in mask.shape]
        image = np.pad(image, [*missing, (0, 0)], mode="edge")
        mask = np.pad(mask, missing, constant_values=IGNORE)
    if side != sampling.size:
        size = sampling.size, sampling.size
        image = resize(image, size)
        mask = resize_indices(mask, size, 1 if below < 0.5 else -1, 1 if right < 0.5 else -1)    # unshifted on average
    # Two flips and a transposition make up all eight ways to lay a square.
    down = -1 if sampling.flips == "all" and upside_down < 0.5 else 1
    across = -1 if sampling.flips != "none" and mirrored < 0.5 else 1
    axis = int(sampling.flips == "all" and transposed < 0.5)
    image, mask = (array[::down, ::across].swapaxes(0, axis) for array in (image, mask))
    return image, mask


def cut_batches(dataset: Any, sampling: Sampling, epoch: int, first: int, steps: int,
                slots: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the patches `slots` of `steps` steps from step `first` on: [(uint8 (slots, size, size, 3), masks), …].

    `dataset` is a data.Dataset, `first` a multiple of sampling.reuse.
    """
    shape = len(slots), sampling.size, sampling.size
    batches = [(np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)) for _ in range(steps)]
    for row, slot in enumerate(slots):
        for step, (images, masks) in enumerate(batches, start=first):
            number, label, place, more = choose_patch(dataset.cumulative_counts, sampling, epoch, step, slot)
            if step % sampling.reuse == 0:
                image, mask, rows = dataset[number]     # decoded here, where it is not held in memory
            images[row], masks[row] = cut_patch(image, mask, rows, label, place, more, sampling)
    if sampling.paste:
        paste_objects(dataset, sampling, epoch, first, slots, batches)
    return batches


def paste_objects(dataset: Any, sampling: Sampling, epoch: int, first: int, slots: Sequence[int],
                  batches: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Lay the objects of other patches on a share of these, changing them (copy-paste: Ghiasi et al., CVPR 2021).

    From few objects on few backgrounds it makes many pairs of them, some of them odd: a network learns to
    know the object by itself. All pixels of the other patch with a class other than sampling.background are
    copied, with their class.
    """
    objects = dataset.cumulative_counts.copy()
    objects[:, sampling.background] = 0
    if not objects[-1, :-1].any():           # then there is nothing to paste
        return
    # Drawn as the patches of another training would be, where a patch that is not placed on a class means: none.
    donors = sampling._replace(seed=sampling.seed + 2**32, balance=sampling.paste)
    for row, slot in enumerate(slots):
        for step, (images, masks) in enumerate(batches, start=first):
            number, label, place, more = choose_patch(objects, donors, epoch, step, slot)
            if label is None:
                continue
            if step % sampling.reuse == 0:
                image, mask, rows = dataset[number]
            other, truth = cut_patch(image, mask, rows, label, place, more, donors)
            there = (truth != sampling.background) & (truth != IGNORE)
            images[row][there], masks[row][there] = other[there], truth[there]


def photometric_jitter(seed: int, epoch: int, step: int, count: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return gain and offset (count, 3) for each patch and colour channel of a batch, where 1 is the full scale.

    `pixel · gain + offset` changes contrast around mid-grey, then light, each by up to ±strength, then the
    tint by a third of that. Being affine it costs nothing: `model.normalize` folds it into its own.
    """
    random = np.random.default_rng((seed, epoch, step, 1))            # the 1 sets it apart from a patch's key
    contrast, light = 1 + random.uniform(-strength, strength, (2, count, 1))             # (count, 1) each
    light = light * (1 + random.uniform(-strength, strength, (count, 3)) / 3)            # (count, 3)
    return light * contrast, light * (1 - contrast) / 2


def noise(seed: int, epoch: int, step: int, slots: Sequence[int], size: int, strength: float) -> np.ndarray:
    """Return Gaussian noise for patches of a step: float32 (slots, size, size, 3), in units of the full scale.

    For each patch, draw a standard deviation from [0, strength] and a grain size from 1, 2, 4, … pixels up to
    a quarter of the patch. Grains of more than a pixel are enlarged smoothly, which leaves two thirds of the
    deviation; the coarsest resemble uneven light. Training with noise helps against other damage, too
    (Rusak et al., ECCV 2020).
    """
    fields = np.empty((len(slots), size, size, 3), np.float32)
    for field, slot in zip(fields, slots):
        random = np.random.default_rng((seed, epoch, step, 2, slot))  # the 2 sets it apart from the jitter
        deviation, grain = strength * random.random(), 2 ** random.integers(max(1, size.bit_length() - 2))
        side = math.ceil(size / grain)
        coarse = deviation * random.standard_normal((3, side, side), np.float32)
        for channel, plane in enumerate(coarse):                      # (3, h, w)
            field[:, :, channel] = resize(plane, (size, size))
    return fields
