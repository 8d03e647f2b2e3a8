"""The recipe by which a logo is blended into a photograph, as arrays; prepare.py makes the files.

Up to three times in an image the logo is mirrored, rotated, swirled, scaled down, placed and
blended in, faintly. The literal way does that step by step, each step on a large picture (see
benchmarks/logo.py). Here the steps are composed: each pixel of the image is mapped back to the
point of the logo that it shows, and only there the logo is sampled.
"""
from typing import NamedTuple

import numpy as np
from PIL import Image

LOGOS = 3                        # in an image, at most; at least one
SWIRL = 5.0                      # strongest swirl, in radians at its centre, either way
RADIUS = 500 / 5 * np.log(2)     # pixels of the logo over which it falls to 1/e: skimage.transform.swirl(radius=500)
SCALE = (0.1, 0.38)              # of the logo's own size
ALPHA = (0.1, 0.4)               # its weight in the blend
SAMPLES = 2                      # samples along each side of a pixel: their mean keeps thin strokes


class Logo(NamedTuple):
    """A logo, ready to be sampled."""

    levels: list                 # itself, then averaged over 2×2, 3×3, … pixels: float32 (H, W, 4), 0 to 255
    size: tuple                  # height, width
    visible: tuple               # top, bottom, left, right of what is not fully transparent
    largest: float               # the largest scale at which it fits into the image at any angle, at most SCALE[1]


class Placement(NamedTuple):
    """The position and transformation of one logo in an image."""

    mirrored: bool
    angle: float                 # radians; 0 where it was not rotated
    swirl: float                 # radians at the centre; 0 where it was not swirled
    scale: float
    alpha: float
    down: float                  # from 0 (the logo at the image's upper edge) to 1 (lower edge)
    right: float


def prepare_logo(pixels, size):
    """Return the Logo of pixels uint8 RGBA (H, W, 4), for images of `size` (height, width).

    Colours are multiplied by their own alpha (premultiplied), so that the colour of a transparent
    pixel weighs nothing in an average. Each level has a border of transparent pixels. Raises
    ValueError.
    """
    height, width = pixels.shape[:2]
    if (pixels[:, :, 3] < 128).all():
        raise ValueError("no pixel of it is at least half opaque")
    visible = []
    for axis in (1, 0):
        there = np.flatnonzero(pixels[:, :, 3].any(axis=axis))
        visible += [int(there[0]), int(there[-1]) + 1]
    top, bottom, left, right = visible
    across = 2 * np.hypot(max(height / 2 - top, bottom - height / 2), max(width / 2 - left, right - width / 2))
    if across * SCALE[0] > min(size):
        raise ValueError(f"turned, and at the smallest scale of {SCALE[0]}, it is {across * SCALE[0]:.0f} pixels wide")
    premultiplied = pixels * (pixels[:, :, 3:] / np.float32(255))
    premultiplied[:, :, 3] = pixels[:, :, 3]
    levels = []
    for side in range(1, 1 + round(1 / (SCALE[0] * SAMPLES))):
        padded = np.pad(premultiplied, [(side, side + -height % side), (side, side + -width % side), (0, 0)])
        levels.append(padded.reshape(len(padded) // side, side, -1, side, 4).mean(axis=(1, 3)))
    return Logo(levels, (height, width), tuple(visible), min(SCALE[1], min(size) / across))


def draw_placements(random, largest=SCALE[1]):
    """Return [Placement, …] of one image, drawn from a NumPy generator.

    There are one to three, scaled by at most `largest`.
    """
    def between(least, most, dice):
        return float(least + (most - least) * dice)

    count = int(random.integers(1, LOGOS + 1))
    return [Placement(mirrored=bool(mirror < 0.5), angle=between(0, 2 * np.pi, angle) if turn < 0.5 else 0.0,
                      swirl=between(-SWIRL, SWIRL, strength) if twist < 0.5 else 0.0,
                      scale=between(SCALE[0], largest, scale), alpha=between(*ALPHA, alpha),
                      down=float(down), right=float(right))
            for mirror, turn, angle, twist, strength, scale, alpha, down, right in random.random((count, 9))]


def extent(logo, placement):
    """Return the extent of the transformed logo: (top, left, rows, columns).

    Top and left are offsets from its centre in pixels of the logo. Rows and columns are pixels of
    the image.
    """
    (height, width), (top, bottom, left, right) = logo.size, logo.visible
    along = np.linspace(0, 1, 200)           # along each side of the visible part: no point inside comes further out
    across, down = left + (right - left) * along, top + (bottom - top) * along
    y = np.concatenate([np.full(200, top), np.full(200, bottom), down, down]) - height / 2
    x = np.concatenate([across, across, np.full(200, left), np.full(200, right)]) - width / 2
    x *= -1 if placement.mirrored else 1
    cos, sin = direction(y, x, placement)    # the inverse has the same angle: the radius is kept
    y, x = cos * y - sin * x, sin * y + cos * x
    rows, columns = (max(1, int(np.ceil(np.ptp(axis) * placement.scale - 0.001))) for axis in (y, x))  # 40.00001 is 40
    return y.min(), x.min(), rows, columns


def direction(y, x, placement):
    """Return (cos, sin) of the angle by which the point at this offset from the centre was rotated.

    The offset is in pixels of the logo.
    """
    if not placement.swirl:
        return np.float32(np.cos(placement.angle)), np.float32(np.sin(placement.angle))
    angle = placement.angle + placement.swirl * np.exp(np.hypot(y, x) * np.float32(-1 / RADIUS))
    return np.cos(angle), np.sin(angle)


def transform(logo, placement):
    """Return the logo as it lies in the image: float32 (rows, columns, 4), 0 to 255.

    Colours are multiplied by alpha. The logo is mirrored, rotated counter-clockwise, swirled as
    skimage.transform.swirl does, and scaled, all around its centre.
    """
    # The position of each sample: first as an offset from the centre of the transformed logo, then
    # from that of the logo itself.
    top, left, rows, columns = extent(logo, placement)
    spacing = np.float32(1 / (placement.scale * SAMPLES))             # in pixels of the logo
    y = (np.arange(rows * SAMPLES, dtype=np.float32)[:, None] + 0.5) * spacing + np.float32(top)
    x = (np.arange(columns * SAMPLES, dtype=np.float32)[None] + 0.5) * spacing + np.float32(left)
    cos, sin = direction(y, x, placement)
    y, x = cos * y + sin * x, cos * x - sin * y
    x *= -1 if placement.mirrored else 1

    height, width = logo.size
    side = min(max(1, round(float(spacing))), len(logo.levels))       # the level whose pixels are about as far apart
    y, x = ((axis + length / 2) / side + 0.5 for axis, length in [(y, height), (x, width)])   # 1 for the border, - 0.5
    samples = bilinear(logo.levels[side - 1], y, x)
    return samples.reshape(rows, SAMPLES, columns, SAMPLES, 4).mean(axis=(1, 3))


def bilinear(image, y, x):
    """Interpolate an image (H, W, C) bilinearly at fractional indices y and x, (h, w): (h, w, C).

    Outside of the image, the values are those of its edge.
    """
    height, width = image.shape[:2]
    y, x = y.clip(0, height - 1), x.clip(0, width - 1)
    above, before = np.minimum(y.astype(np.intp), height - 2), np.minimum(x.astype(np.intp), width - 2)
    y, x = (y - above)[:, :, None], (x - before)[:, :, None]
    pixels, place = image.reshape(height * width, -1), above * width + before
    upper, lower = pixels.take(place, axis=0), pixels.take(place + width, axis=0)
    upper += (pixels.take(place + 1, axis=0) - upper) * x
    lower += (pixels.take(place + width + 1, axis=0) - lower) * x
    lower -= upper
    lower *= y
    lower += upper
    return lower


def background(photograph, size, random):
    """Return a part of a photograph uint8 (H, W, 3), scaled to `size`: uint8 (*size, 3).

    The photograph is scaled so that it just covers `size`. The place of the part is random.
    """
    (height, width), (rows, columns) = photograph.shape[:2], size
    shrink = min(height / rows, width / columns)
    tall, wide = min(rows * shrink, height), min(columns * shrink, width)      # rounding must not lead out of it
    top, left = random.random(2) * (height - tall, width - wide)
    box = left, top, left + wide, top + tall
    return np.asarray(Image.fromarray(photograph).resize((columns, rows), Image.Resampling.BICUBIC, box))


def compose(image, logo, placements):
    """Blend the logo into an image uint8 (H, W, 3).

    Returns (image uint8, mask bool (H, W), [(top, left, h, w, area), …]).

    The image becomes (1 − α·a)·image + α·a·logo, where α is the placement's alpha and a the logo's
    own, from 0 to 1. The mask is true where a is at least one half, and the area is the number of
    these pixels.
    """
    blended, mask, boxes = image.astype(np.float32), np.zeros(image.shape[:2], bool), []
    for placement in placements:
        pixels = transform(logo, placement)
        height, width = pixels.shape[:2]
        top, left = (int(dice * (whole - part + 1)) for dice, whole, part in
                     zip((placement.down, placement.right), mask.shape, (height, width)))
        where = np.s_[top:top + height, left:left + width]
        blended[where] += placement.alpha * (pixels[:, :, :3] - pixels[:, :, 3:] / 255 * blended[where])
        covered = pixels[:, :, 3] >= 127.5
        mask[where] |= covered
        boxes.append((top, left, height, width, int(covered.sum())))
    return np.rint(blended).clip(0, 255).astype(np.uint8), mask, boxes
