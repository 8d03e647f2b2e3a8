"""The common form of all kinds of annotations, and the drawing that several of them share."""
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from support import coco
from support.files import BadInput


class Item(NamedTuple):
    """An image and how its mask is made."""

    name: str                    # below images/ and masks/, without extension, with /
    image: Path
    source: Path                 # the file that the mask is made of
    draw: Callable | None = None             # (height, width) → mask uint8 (H, W); None: the source is the mask
    part: str | None = None      # "train", "val" or "test", where the annotations tell; else see part_of
    more: list = []              # further files that the mask is made of


class Found(NamedTuple):
    """The annotations that a command found."""

    items: list
    names: list | None = None    # of the classes; None: as the masks have it
    problems: list = []          # (problem, which)
    values: list | None = None   # of the classes, numbers or colours, where they are not 0, 1, 2, …


class CannotDraw(ValueError):
    """The reason why an image's annotation cannot be drawn wholly, as a kind of images."""


def blank(size):
    return np.zeros(size, np.uint8)


def number_classes(labels):
    """Return {label: value}: 0 for the background, 1, 2, ... for the others in their order."""
    labels = list(dict.fromkeys(labels))
    others = [label for label in labels if not is_background(label)]
    return {**dict.fromkeys(labels, 0), **{label: value for value, label in enumerate(others, start=1)}}


def is_background(label):
    return label.strip().lower() in ("background", "_background_")


def names_of(values):
    """Return the names by value of what number_classes returned."""
    return ["background", *[label for label, value in values.items() if value]]


def print_empty(count):
    """Print how many images have no shape, if any: nothing may be there to see, or nobody has looked."""
    if count:
        print(f"{count} images without any shape are background all over; leave out those that nobody has annotated")


def read_lines(path):
    """Return the lines of a text file that hold something, without remarks. Raises BadInput."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error})") from None
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise BadInput(f"{path} is empty; expected a line for each class")
    return found


def draw_polygon(mask, polygon, value):
    """Draw a polygon [x, y, x, y, ...] into a mask (H, W), as pycocotools does. Raises CannotDraw."""
    if len(polygon) < 6:         # four numbers it would take for a box
        raise CannotDraw("images with a polygon of less than three corners")
    try:
        mask[coco.draw([polygon], *mask.shape)] = value
    except (ValueError, TypeError) as error:
        raise CannotDraw(f"images with {error}") from None


def draw_ellipse(mask, x, y, along, across, value):
    """Draw an ellipse around (x, y) into a mask (H, W): the pixels whose centres are inside. Raises CannotDraw.

    Its half axes are vectors (2,), [x, y].
    """
    half, size = np.hypot(along, across), mask.shape[::-1]           # half the sides of the box around it
    if not (np.abs([x, y, *half]) <= 10 * max(size)).all():
        raise CannotDraw("images with an ellipse far outside of the image")
    if not (along.any() and across.any()):
        return
    left, top = np.clip([x, y] - half - 1, 0, size).astype(int)
    right, bottom = np.clip([x, y] + half + 1, 0, size).astype(int)
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5           # the centres of pixels
    away = np.stack([columns - x, rows - y], axis=-1)
    inside = (away @ along / (along @ along)) ** 2 + (away @ across / (across @ across)) ** 2 <= 1
    mask[top:bottom, left:right][inside] = value
