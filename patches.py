"""The 256×256×3 budget: where training patches come from, how windows become a whole image again.

    python patches.py [IMAGE]     draws windows, cores and halos over an image: windows.png

Everything here is geometry on NumPy arrays; no network is needed to read or to test it.
"""
import math
import sys
from typing import NamedTuple

import numpy as np
from PIL import Image

from arguments import Parser
from data import IGNORE, read_image
from files import PICTURES, BadInput, claim
from sample import sample

MAX_SIDE = 256                   # no network input is ever wider or taller than this


def within_budget(batch, budget=1):
    """Return the batch (N, 3, H, W) unchanged, or raise BadInput if the memory it stands for is not there.

    The rule: one 256×256×3 input is all that fits. So no side is above 256, and all images of a batch
    together hold at most `budget`·256·256 pixels. Every batch passes here before it enters the network, so
    the rule is checked here and nowhere else.
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


def spans(length, halo, stride, window=None):
    """Cover `length` pixels of one axis by windows of one side: (side, [(window start, core start, core stop), …]).

    Windows overlap by at least 2·halo and start on multiples of the stride. Inside a core no window edge is
    nearer than the halo, unless it is the image's own. Unless `window` sets the side, it is the smallest
    with which no more windows are needed than with 256, so that the last one repeats no work of the others.

    >>> spans(600, halo=8, stride=2)
    (212, [(0, 0, 204), (196, 204, 400), (388, 400, 600)])
    >>> spans(600, halo=8, stride=2, window=256)        # the last window slides back to end with the image
    (256, [(0, 0, 248), (240, 248, 488), (344, 488, 600)])
    >>> spans(101, halo=8, stride=2)                    # one window, padded to a multiple of the stride
    (102, [(0, 0, 102)])
    """
    limit = MAX_SIDE if window is None else window
    if stride < 1 or not 0 <= 2 * halo < limit <= MAX_SIDE or halo % stride or limit % stride:
        raise BadInput(f"windows of {limit} pixels with a halo of {halo}; expected at most {MAX_SIDE}, a halo below "
                       f"half of that, and both multiples of the network's stride, {stride}")
    length = round_up(length, stride)
    if length <= limit:
        return length, [(0, 0, length)]
    if window is None:
        count = math.ceil((length - 2 * halo) / (limit - 2 * halo))
        window = round_up(math.ceil((length + (count - 1) * 2 * halo) / count), stride)
    starts = [*range(0, length - window, window - 2 * halo), length - window]
    stops = [start + window - halo for start in starts[:-1]] + [length]
    return window, list(zip(starts, [0, *stops[:-1]], stops))


def round_up(number, multiple):
    return math.ceil(number / multiple) * multiple


def tiles(height, width, halo, stride, window=None):
    """Windows that cover an image, all of one shape: (window height, window width, [Tile, …]).

    One shape, because the fastest kernel, and with it the last bit of a sum, depends on it. Starts on
    multiples of the stride, so that pooling groups the same pixels as it would in the whole image.

    >>> window_height, window_width, cover = tiles(601, 99, halo=8, stride=2)
    >>> window_height, window_width                     # the image is padded to 602×100
    (212, 100)
    >>> cover[2]
    Tile(y=390, x=0, top=400, bottom=601, left=0, right=99)
    """
    window_height, rows = spans(height, halo, stride, window)
    window_width, columns = spans(width, halo, stride, window)
    return window_height, window_width, [Tile(y, x, top, min(bottom, height), left, min(right, width))
                                         for y, top, bottom in rows for x, left, right in columns]


def stitch(forward, image, halo, stride, window=None, reduce=None):
    """Run `forward` over an image of any size, a window at a time, as if over the whole image at once.

    `forward` maps a uint8 window (h, w, 3) to an array (C, h, w), logits say; the result is that of the whole
    image (C, H, W) where `halo` is the network's own, since a kept pixel sees the same pixels in both; sums may
    differ in their last bit, since kernels differ from one input shape to another. `reduce` maps what is kept of a
    window, (C, y, x), to what is held of it, (K, y, x). One window at a time is no slower than several
    (`python -m benchmarks.windows`).
    """
    height, width = image.shape[:2]
    window_height, window_width, cover = tiles(height, width, halo, stride, window)
    # Pad as the network itself would: repeat the last row and column up to a multiple of the stride.
    padded = np.pad(image, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
    stitched = None
    for y, x, top, bottom, left, right in cover:
        kept = forward(padded[y:y + window_height, x:x + window_width])[:, top - y:bottom - y, left - x:right - x]
        kept = reduce(kept) if reduce else kept
        if stitched is None:
            stitched = np.empty((len(kept), height, width), kept.dtype)
        stitched[:, top:bottom, left:right] = kept
    return stitched


def stitch_at(zoom, forward, image, halo, stride):
    """As stitch, (C, H, W), but `forward` sees the image at `zoom` times its size, and its result is enlarged again.

    Halo and stride are in pixels of the zoomed image. At 0.5 a network sees twice as far, for a quarter of the work.
    """
    if zoom == 1:
        return stitch(forward, image, halo, stride)
    smaller = resized(image, zoomed(image.shape[:2], zoom))
    stitched = stitch(forward, smaller, halo, stride)                 # (C, zoom·H, zoom·W)
    return np.stack([resized(plane, image.shape[:2]) for plane in stitched])


def segment(zoom, forward, image, halo, stride, seen=None):
    """The class with the highest logit at each pixel of an image: uint8 (H, W). See stitch_at for the arguments.

    Never holds all logits of a large image at its own size: without zoom it decides in each window, else for one class
    after the other.
    `seen` is shown the logits (C, y, x) of each window that count, those of every pixel once.
    """
    def look(kept):
        if seen:
            seen(kept)
        return kept

    if zoom == 1:
        decide = lambda kept: look(kept).argmax(axis=0, keepdims=True).astype(np.uint8)              # (1, y, x)
        return stitch(forward, image, halo, stride, reduce=decide)[0]
    planes = stitch(forward, resized(image, zoomed(image.shape[:2], zoom)), halo, stride, reduce=look)
    classes, highest = np.zeros(image.shape[:2], np.uint8), resized(planes[0], image.shape[:2]).copy()
    for index, plane in enumerate(planes[1:], start=1):
        larger = resized(plane, image.shape[:2])
        classes[larger > highest] = index
        np.maximum(highest, larger, out=highest)
    return classes


def context(network, wanted=None):
    """The halo to stitch with: the network's own, with which stitching is exact, or what is `wanted` instead.

    Where the network sees so far that a window of 256 would have no core left, a quarter of the window: no longer
    exact. On the pooling grid in any case. Raises BadInput.
    """
    if wanted is None:
        halo = network.halo if 2 * network.halo < MAX_SIDE else MAX_SIDE // 4
    else:
        halo = -(-wanted // network.stride) * network.stride
    if not 0 <= 2 * halo < MAX_SIDE or halo % network.stride:
        raise BadInput(f"--halo {wanted}: expected 0 to {(MAX_SIDE - 1) // 2 // network.stride * network.stride}")
    return halo


def averaged(forward, views):
    """`forward` with its result averaged over `views` of each window (test-time augmentation).

    "none": the window as it is; "mirror": also left to right; "all": its eight flips and quarter turns.
    """
    def over_views(window):
        seen = []
        for turns in range(4 if views == "all" else 1):
            turned = np.rot90(window, turns)
            for view in (lambda array, axis: array), np.flip:
                result = view(forward(view(turned, 1)), 2)            # undo the flip, then the turns
                seen.append(np.rot90(result, -turns, axes=(1, 2)))
        return sum(seen) / len(seen)

    return forward if views == "none" else over_views


def segmenter(forward, network, settings, halo=None, tta=False, seen=None):
    """`forward` (see stitch) as a function of whole images: uint8 (H, W, 3), of any size → class indices uint8 (H, W).

    `network` says its halo and stride, `settings` are those of its training: they decide what zoom it sees at and,
    for `tta`, which views it knows. `seen` is shown all logits, see segment. Raises BadInput for a `halo` that does
    not fit (see context).
    """
    halo = context(network, halo)
    forward = averaged(forward, settings.get("flips", "all") if tta else "none")     # the first checkpoints had all
    return lambda image: segment(settings.get("zoom", 1), forward, image, halo, network.stride, seen)


def zoomed(size, zoom):
    """A size (height, width) at this zoom, at least one pixel."""
    return tuple(max(1, round(zoom * side)) for side in size)


def resized(image, size):
    """An image (H, W) or (H, W, 3) at another size (height, width), by Pillow, which averages where it shrinks."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


# ---------------------------------------------------------------------------------------------------
# Training: images → patches


class Drawing(NamedTuple):
    """How the patches of a training are drawn. The defaults, and the reasons for them, are train.py's."""

    seed: int
    size: int                    # side of a patch, in pixels
    batch: int                   # patches a step
    balance: float               # share of the patches that is placed on a class drawn evenly
    scale: tuple = (1.0, 1.0)    # a patch shows the image at a scale between these two
    flips: str = "all"           # "all" eight ways to lay a square, left-right "mirror" or "none"
    reuse: int = 1               # steps in a row that cut their patches from the same images
    paste: float = 0.0           # share of the patches onto which the objects of another one are laid
    ground: int | None = None    # the class that is no object; needed to paste


def class_rows(mask, classes):
    """Pixels of each class above and in each row, cumulatively: int64 (classes, H). What has no truth is no class."""
    rows = np.arange(len(mask))[:, None] * 256
    return np.bincount((mask + rows).ravel(), minlength=256 * len(mask)).reshape(-1, 256)[:, :classes].cumsum(axis=0).T


def draw_place(ends, drawing, epoch, step, slot):
    """Where patch `slot` of a step lies: (number of the image, class or None, which of its pixels, six more dice).

    `ends`, (images, classes + 1), counts pixels: of each class, and of all, in the images up to and with each. A
    pure function of seed, epoch, step and slot: there is no generator state to save, so a resumed training sees
    what the uninterrupted one would have seen, and it does not matter who computes which patch.

    A share `balance` of the patches contains a pixel of a class drawn evenly from those that occur, however rare
    it is; the rest contains a pixel drawn evenly from all images. With `reuse`, class and image stay the same for
    so many steps in a row, so that an image has to be decoded only once for them.
    """
    def dice(step):              # all at once, each in [0, 1): a draw costs more than what is done with it
        return np.random.default_rng((drawing.seed, epoch, step * drawing.batch + slot)).random(9).tolist()

    first = step - step % drawing.reuse
    balanced, kind, place, *more = dice(first)
    label = None
    if balanced < drawing.balance:
        existing = np.flatnonzero(ends[-1, :-1])
        label = int(existing[int(kind * len(existing))])
    column = ends[:, -1 if label is None else label]
    place = int(place * int(column[-1]))
    number = int(np.searchsorted(column, place, side="right"))
    before = int(column[number - 1]) if number else 0
    if step == first:
        return number, label, place - before, more
    _, _, place, *more = dice(step)
    return number, label, int(place * (int(column[number]) - before)), more


def cut_patch(image, mask, rows, label, place, dice, drawing):
    """The patch around one pixel, flipped and scaled as the dice say: uint8 (size, size, 3) and (size, size).

    The pixel is number `place` of class `label`, by `rows` (see class_rows), or of all where that is None. It may
    lie anywhere in the patch, the patch only inside the image; where the image is smaller than a patch, its last
    rows and columns are repeated, without a truth.
    """
    up, left, upside_down, mirrored, transposed, zoom = dice
    if label is None:
        y, x = divmod(place, mask.shape[1])
    else:
        y = int(np.searchsorted(rows[label], place, side="right"))
        x = int(np.flatnonzero(mask[y] == label)[place - (rows[label, y - 1] if y else 0)])
    smallest, largest = drawing.scale
    side = max(1, round(drawing.size / (smallest * (largest / smallest) ** zoom)))
    height, width = mask.shape
    top = min(max(y - int(up * side), 0), max(height - side, 0))
    left = min(max(x - int(left * side), 0), max(width - side, 0))
    image, mask = image[top:top + side, left:left + side], mask[top:top + side, left:left + side]
    if mask.shape != (side, side):
        missing = [(0, side - length) for length in mask.shape]
        image = np.pad(image, [*missing, (0, 0)], mode="edge")
        mask = np.pad(mask, missing, constant_values=IGNORE)
    if side != drawing.size:     # a class index is never averaged
        image = resized(image, (drawing.size, drawing.size))
        mask = np.asarray(Image.fromarray(mask).resize([drawing.size] * 2, Image.Resampling.NEAREST))
    # Two flips and a transposition make up all eight ways to lay a square.
    down = -1 if drawing.flips == "all" and upside_down < 0.5 else 1
    across = -1 if drawing.flips != "none" and mirrored < 0.5 else 1
    axis = int(drawing.flips == "all" and transposed < 0.5)
    return tuple(array[::down, ::across].swapaxes(0, axis) for array in (image, mask))


def draw_batches(samples, drawing, epoch, first, steps, slots):
    """The patches `slots` of `steps` steps from step `first` on: a list of (uint8 (slots, size, size, 3), masks).

    `samples` is a data set as in dataset.py. `first` is a multiple of drawing.reuse, `steps` at most as many.
    """
    shape = len(slots), drawing.size, drawing.size
    batches = [(np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)) for _ in range(steps)]
    for row, slot in enumerate(slots):
        for step, (images, masks) in enumerate(batches, start=first):
            number, label, place, dice = draw_place(samples.ends, drawing, epoch, step, slot)
            if step == first:
                image, mask, rows = samples[number]     # decoded here, where it is not held in memory
            images[row], masks[row] = cut_patch(image, mask, rows, label, place, dice, drawing)
    if drawing.paste:
        paste_objects(samples, drawing, epoch, first, slots, batches)
    return batches


def paste_objects(samples, drawing, epoch, first, slots, batches):
    """Lay the objects of other patches on a share of these, changing them (copy-paste: Ghiasi et al., CVPR 2021).

    From few objects on few grounds it makes many pairs of them, some of them odd: a network learns to know the object
    by itself. All pixels of the other patch with a class other than drawing.ground are copied, with their class.
    """
    objects = samples.ends.copy()
    objects[:, drawing.ground] = 0
    if not objects[-1, :-1].any():           # then there is nothing to paste
        return
    # Drawn as the patches of another training would be, where a patch that is not placed on a class means: none.
    donors = drawing._replace(seed=drawing.seed + 2**32, balance=drawing.paste)
    for row, slot in enumerate(slots):
        for step, (images, masks) in enumerate(batches, start=first):
            number, label, place, dice = draw_place(objects, donors, epoch, step, slot)
            if label is None:
                break                        # with `reuse`, that is so for all of these steps
            if step == first:
                image, mask, rows = samples[number]
            other, truth = cut_patch(image, mask, rows, label, place, dice, donors)
            there = (truth != drawing.ground) & (truth != IGNORE)
            images[row][there], masks[row][there] = other[there], truth[there]


def photometric_jitter(seed, epoch, step, count, strength):
    """Gain and offset (count, 3), in units of the full scale, for each patch and colour channel of a batch.

    `pixel · gain + offset` changes contrast around mid-grey, then light, each by up to ±strength, then the tint
    by a third of that. Being affine it costs nothing: `model.normalize` folds it into its own.
    """
    random = np.random.default_rng((seed, epoch, step, 1))            # the 1 sets it apart from a patch's key
    contrast, light = 1 + random.uniform(-strength, strength, (2, count, 1))
    light = light * (1 + random.uniform(-strength, strength, (count, 3)) / 3)
    return light * contrast, light * (1 - contrast) / 2


def noise(seed, epoch, step, slots, size, strength):
    """Gaussian noise for the patches `slots` of a step: float32 (slots, size, size, 3), in units of the full scale.

    Of each patch the deviation is drawn evenly from 0 to `strength`, the side of a grain from 1, 2, 4, … pixels up to
    a quarter of the patch. Grains of more than a pixel are enlarged smoothly, which leaves two thirds of the deviation;
    the coarsest resemble uneven light. To learn with noise helps against other damage, too (Rusak et al., ECCV 2020).
    """
    fields = np.empty((len(slots), size, size, 3), np.float32)
    for field, slot in zip(fields, slots):
        random = np.random.default_rng((seed, epoch, step, 2, slot))  # the 2 sets it apart from the jitter
        deviation, grain = strength * random.random(), 2 ** random.integers(max(1, size.bit_length() - 2))
        coarse = deviation * random.standard_normal((3, -(-size // grain), -(-size // grain)), np.float32)
        for channel, plane in enumerate(coarse):
            field[:, :, channel] = plane if grain == 1 else resized(plane, (size, size))
    return fields


def main():
    parser = Parser(__file__, __doc__)
    parser.add_argument("image", nargs="?", help="an image to draw on (the bundled sample)")
    parser.add_argument("--halo", type=int, default=8, help="what the network sees around a pixel (8, the FCN's)")
    parser.add_argument("--stride", type=int, default=2, help="its pooling grid (2, the FCN's)")
    parser.add_argument("--window", type=int, help="side of a window (the least that needs no more windows than 256)")
    parser.add_argument("--out", default="windows.png", help="the picture (windows.png)")
    args = parser.parse_args()

    from plots import draw_windows

    try:
        image = read_image(args.image) if args.image else sample()[0]
        out = claim(args.out, *filter(None, [args.image]), endings=PICTURES)
        draw_windows(image, args.halo, args.stride, args.window, out)
    except BadInput as error:
        sys.exit(f"patches.py: {error}")
    print(f"{args.out} shows the windows over {image.shape[1]}x{image.shape[0]} pixels")


if __name__ == "__main__":
    main()
