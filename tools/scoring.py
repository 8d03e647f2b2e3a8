"""A trained network tested on images with masks: which, how well, how fast."""
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import metrics
from support.files import BadInput
from support.names import first_few, images_by_name, read_names


class Examples(NamedTuple):
    """The images and masks that a network is tested on."""

    names: list
    read: Callable[[int], tuple]     # place in the list → (image uint8 (H, W, 3), class indices uint8 (H, W))
    source: str                      # where they come from, for the reader


class Scores(NamedTuple):
    """How well a network did on some examples."""

    confusion: np.ndarray        # of all images together, (classes, classes)
    ious: list                   # of each image, None where there is nothing to score
    seconds: list                # of each prediction
    size: tuple                  # (height, width) of the first image


def find_examples(folder_of_images, folder_of_masks, segment, names=None, only=None):
    """Return the Examples: all names that have an image and a mask, or these `names`, or those in the file `only`.

    Masks are read as those that the network of this Segmenter was trained on. Raises BadInput.
    """
    images, masks = images_by_name(folder_of_images), images_by_name(folder_of_masks)
    source = f"images of {folder_of_images}"
    if only:
        names, source = read_names(only, masks), f"{source} that {only} names"
    names = [name for name in masks if name in images] if names is None else names
    missing = [name for name in names if name not in images or name not in masks]
    if missing or not names:
        raise BadInput(f"{folder_of_images} and {folder_of_masks} do not both have {first_few(missing) or 'any name'}; "
                       "expected images and masks of the same names")

    def read(place):
        return segment.read_pair(images[names[place]], masks[names[place]])
    return Examples(names, read, f"{len(names)} {source}")


def score(examples, segment, classes, keep=None):
    """Segment all examples and return the Scores; each prediction goes to `keep(name, prediction)`. Raises BadInput."""
    confusion, ious, seconds, size = np.zeros((len(classes),) * 2, np.int64), [], [], None
    for place in tqdm(range(len(examples.names)), unit="image", leave=False, disable=None):
        image, truth = examples.read(place)
        began = time.perf_counter()
        prediction = segment(image)
        seconds.append(time.perf_counter() - began)
        if keep:
            keep(examples.names[place], prediction)
        image_confusion = metrics.confusion_matrix(truth, prediction, len(classes))
        confusion += image_confusion
        ious.append(metrics.foreground_or_mean(metrics.iou(image_confusion), classes))
        size = size or truth.shape
    return Scores(confusion, ious, seconds, size)
