"""The light of an image: the gain and offset of each channel that make its colours those that a network learned from.

The next picture of a kind often has another exposure, contrast or tint. Its mean and deviation could be brought to
those of the training image, but they also tell what it shows: a field with more plants is greener in the same light.
So the shares of the classes are left open here. The colours that each class had in the training image make a mixture.
We look for the gain and offset with which the image's values are likeliest under it, whatever its shares, and use them
where they explain much more than other shares alone would; otherwise the image is taken as it is.
"""
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

EVIDENCE = 0.15                  # nats a value by which another light must at least be likelier, to be taken for one
SURPRISES = 0.02                 # share of the values that are none of the classes' colours
CAUTION = 0.1                    # nats that a gain of e costs, or a shift by a quarter of the full scale
NOTED = ("is in another light than the images that the network learned from, or shows something else, and is predicted "
         "as it would be in theirs")
GREY = "is grey, but the network learned from colours: expect little of it"
SMOOTH = np.array([1, 6, 15, 20, 15, 6, 1]) / 64     # over neighbouring values, as a camera's noise
SQUARES, SIDE = 8, 64            # an image is known by 8x8 squares of 64x64 pixels, evenly spaced
SEARCHES = [                     # factors of the gain, and by how much the mean is shifted: first far, then near
    (np.exp(np.linspace(-0.7, 0.7, 21)), np.arange(-65, 66, 5)),
    (np.exp(np.linspace(-0.25, 0.25, 13)), np.arange(-16, 17, 2)),
    (np.exp(np.linspace(-0.05, 0.05, 11)), np.arange(-4, 5)),
]


class Light(NamedTuple):
    """How an image's values become those of the light learned from: value · gain + offset."""

    gain: np.ndarray             # (3,)
    offset: np.ndarray           # (3,), in units of 1/255
    evidence: float              # nats a value by which it is likelier than the image as it is


def some_pixels(image: Any) -> np.ndarray:
    """Return the pixels, uint8 (n, 3), of some squares of an image uint8 (H, W, 3), which tell its light."""
    height, width, _ = image.shape
    rows, columns = (np.linspace(0, max(0, length - SIDE), SQUARES).astype(int) for length in (height, width))
    return np.concatenate([np.asarray(image[y:y + SIDE, x:x + SIDE]).reshape(-1, 3) for y in rows for x in columns])


def count_values(image: Any) -> np.ndarray:
    """Return how often each value occurs in some squares of an image uint8 (H, W, 3): int64 (3, 256)."""
    return np.stack([np.bincount(channel, minlength=256) for channel in some_pixels(image).T])


def count_colours(image: np.ndarray, indices: np.ndarray, classes: int) -> np.ndarray:
    """Return how often each value occurs in each class, and where no truth is known: int64 (classes + 1, 3, 256).

    The image is uint8 (H, W, 3), its class indices are uint8 (H, W).
    """
    rows = 256 * np.minimum(indices, classes).astype(np.int64)       # (H, W); 255, no truth, comes last
    counts = [np.bincount((rows + image[:, :, channel]).ravel(), minlength=256 * (classes + 1)) for channel in range(3)]
    return np.stack(counts, axis=-1).reshape(classes + 1, 256, 3).swapaxes(1, 2)


def find_light(values: np.ndarray, colours: np.ndarray) -> Light:
    """Return the likeliest Light of an image with these counts of values (3, 256).

    `colours`, (n, 3, 256), counts the values of each class in the images learned from. First their shares are taken to
    be what they were there: were they free from the start, an image too dark would be one that shows dark things only.
    Then a search over gains and offsets and expectation maximization of the shares take turns. Channels count as if
    they were independent.
    """
    colours = colours[colours.sum(axis=(1, 2)) > 0]
    shares = colours.sum(axis=(1, 2)) / colours.sum()                 # (n,)
    density = np.apply_along_axis(np.convolve, 2, colours / colours.sum(axis=2, keepdims=True), SMOOTH, "same")
    seen = values / values.sum(axis=1, keepdims=True)                 # (3, 256)
    gain, offset = np.ones(3), np.zeros(3)
    _, before = fit_shares(in_light(density, gain, offset), seen, shares)
    for factors, shifts in SEARCHES:
        mixture = np.tensordot(shares, density, 1)                    # (3, 256)
        for channel in range(3):
            gain[channel], offset[channel] = search(mixture[channel], seen[channel], gain[channel] * factors,
                                                    offset[channel], gain[channel], shifts)
        shares, after = fit_shares(in_light(density, gain, offset), seen, shares)
    return Light(gain, offset, after - before)


def other_light(counts: np.ndarray, usual: dict) -> Light | None:
    """Return the Light of an image whose values count_values has counted; None where it is the `usual` one.

    See data.usual_light for that.
    """
    light = find_light(counts, np.array(usual["colours"]))
    return light if light.evidence > usual["evidence"] else None


def lacks_colour(image: Any, usual: dict | None) -> bool:
    """Return whether an image is grey, but those that were learned from, see data.usual_light, were not."""
    if not usual:
        return False
    corner = np.asarray(image[:SIDE, :SIDE])
    if (corner != corner[:, :, :1]).any():       # which tells nearly all coloured images, before all squares are read
        return False
    grey = lambda channels: (channels == channels[0]).all()           # of counts (3, 256)
    return grey(count_values(image)) and not grey(np.array(usual["colours"]).sum(axis=0))


def likelihood(density: np.ndarray, gains: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return how likely each value of a channel is by a `density` (..., 256) in each of m lights: (..., m, 256)."""
    places = np.rint(np.arange(256) * gains[:, None] + offsets[:, None]).astype(int)          # (m, 256)
    inside = (places >= 0) & (places < 256)
    at = np.where(inside, density[..., places.clip(0, 255)], 0)       # (..., m, 256)
    return (1 - SURPRISES) * at * gains[:, None] + SURPRISES / 256


def in_light(density: np.ndarray, gain: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Return how likely each value is by the densities (n, 3, 256) in one light, gain and offset (3,): (n, 3, 256)."""
    channels = [likelihood(density[:, channel], gain[[channel]], offset[[channel]]) for channel in range(3)]
    return np.concatenate(channels, axis=1)


def fit_shares(likely: np.ndarray, seen: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the shares of the classes that make what was seen likeliest, and how likely, in nats a value.

    `likely` is (n, 3, 256), `seen` the share of each value (3, 256), `shares`, (n,), where to begin.
    """
    for _ in range(15):
        whose = shares[:, None, None] * likely                        # (n, 3, 256)
        shares = (whose / whose.sum(axis=0) * seen).sum(axis=(1, 2)) / 3
    return shares, float((np.log(np.tensordot(shares, likely, 1)) * seen).sum() / 3)


def search(density: np.ndarray, seen: np.ndarray, gains: np.ndarray, offset: float, gain: float,
           shifts: np.ndarray) -> tuple[float, float]:
    """Return the likeliest (gain, offset) of a channel, of all `gains` and `shifts` of what its mean becomes.

    `density` and `seen` are (256,); `gain` and `offset` are the best so far.
    """
    mean = seen @ np.arange(256)
    means = gain * mean + offset + shifts                             # that the channel would have
    every_gain, every_mean = (each.ravel() for each in np.meshgrid(gains, means, indexing="ij"))
    offsets = every_mean - every_gain * mean
    nats = np.log(likelihood(density, every_gain, offsets)) @ seen
    nats -= CAUTION * (np.log(every_gain) ** 2 + ((every_mean - mean) / 64) ** 2)
    best = nats.argmax()
    return every_gain[best], offsets[best]


def relight(image: Any, light: Light) -> Any:
    """Return an image uint8 (H, W, 3) as it would be in the light that was learned from.

    An image that is read by parts, as a LargeTiff, is relit by parts, too.
    """
    if not isinstance(image, np.ndarray):
        return Relit(image, light)
    table = np.rint(np.arange(256) * light.gain[:, None] + light.offset[:, None]).clip(0, 255)         # (3, 256)
    return np.asarray(Image.fromarray(image).point(table.astype(int).ravel().tolist()))


class Relit:
    """An image of which parts are read, each then relit."""

    def __init__(self, image: Any, light: Light):
        self.image, self.light, self.shape = image, light, image.shape

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        return relight(self.image[part], self.light)
