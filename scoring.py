"""A trained network tested on images with masks: which, how well, how fast."""
import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import metrics
from data import images_by_name, read_names, read_pair, some
from files import BadInput


class Examples(NamedTuple):
    """What a network is tested on."""

    names: list
    read: object                 # place in the list → (image uint8 (H, W, 3), class indices uint8 (H, W))
    told: str                    # where they come from, for the reader


class Scores(NamedTuple):
    confusion: np.ndarray        # of all images together, (classes, classes)
    ious: list                   # of each image, None where there is nothing to score
    seconds: list                # of each prediction
    size: tuple                  # (height, width) of the first image


def find_examples(folder_of_images, folder_of_masks, facts, names=None, only=None):
    """Images and masks of the same names: all that have both, or these names, or those in the file `only`: Examples.

    Masks are read as those that the network of these `facts` was trained on. Raises BadInput.
    """
    images, masks = images_by_name(folder_of_images), images_by_name(folder_of_masks)
    told = f"images of {folder_of_images}"
    if only:
        names, told = read_names(only, masks), f"{told} that {only} names"
    names = [name for name in masks if name in images] if names is None else names
    missing = [name for name in names if name not in images or name not in masks]
    if missing or not names:
        raise BadInput(f"{folder_of_images} and {folder_of_masks} do not both have {some(missing) or 'any name'}; "
                       "expected images and masks of the same names")

    def read(place):
        return read_pair(images[names[place]], masks[names[place]], facts["classes"], facts["ignore"],
                         facts["settings"].get("threshold"))
    return Examples(names, read, f"{len(names)} {told}")


def score(examples, segment, classes, keep=None):
    """Segment all examples and compare: Scores. Each prediction goes to `keep(name, prediction)`. Raises BadInput."""
    confusion, ious, seconds, size = np.zeros((len(classes),) * 2, np.int64), [], [], None
    for place in tqdm(range(len(examples.names)), unit="image", leave=False, disable=None):
        image, truth = examples.read(place)
        began = time.perf_counter()
        prediction = segment(image)
        seconds.append(time.perf_counter() - began)
        if keep:
            keep(examples.names[place], prediction)
        one = metrics.confusion_matrix(truth, prediction, len(classes))
        confusion += one
        ious.append(metrics.foreground(metrics.iou(one), classes))
        size = size or truth.shape
    return Scores(confusion, ious, seconds, size)
