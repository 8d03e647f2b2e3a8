"""Names of images and of their masks that differ in what stands before and behind them."""
import os
from collections.abc import Iterable

from support.images import evenly_spaced


def bare_name(name: str, prefix: str = "", suffix: str = "") -> str | None:
    """Return a name, folders before it, without what begins and ends it; None where it has that not."""
    place, slash, last = name.rpartition("/")
    bare = last[len(prefix):len(last) - len(suffix)]
    return f"{place}{slash}{bare}" if bare and last == f"{prefix}{bare}{suffix}" else None


def count_pairs(images: Iterable[str], masks: Iterable[str], image_suffix: str, prefix: str, suffix: str) -> int:
    """Return how many masks have an image, if all lose these beginnings and ends."""
    bare = {bare_name(name, "", image_suffix) for name in images} - {None}
    return len(bare & {bare_name(name, prefix, suffix) for name in masks})


def find_affixes(images: list[str], masks: list[str]) -> tuple[str, str, str] | None:
    """Return (end of the images' names, beginning and end of the masks' names) that make most of them pairs, or None.

    Either the name of an image stands in that of its mask, or both begin alike and end in words after a
    mark, as 1_sat and 1_seg do.
    """
    images_last = {image.rpartition("/")[2] for image in images}
    choices: set[tuple[str, str, str]] = set()
    for number in evenly_spaced(len(masks), 3):
        mask = masks[number].rpartition("/")[2]
        for image in sorted((image for image in images_last if image in mask), key=len)[-3:]:
            choices |= {("", before, behind) for before, behind in [mask.split(image, 1), mask.rsplit(image, 1)]}
        for image in sorted(images_last, key=lambda image: len(os.path.commonprefix([image, mask])))[-3:]:
            shared = os.path.commonprefix([image, mask])
            cut = max(shared.rfind(mark) for mark in "_-. ")
            choices |= {(image[cut:], "", mask[cut:])} if cut > 0 else set()
    counts = {choice: count_pairs(images, masks, *choice) for choice in sorted(choices)}
    best = max(counts, key=lambda choice: counts[choice], default=None)
    believed = best and counts[best] > min(len(images), len(masks)) / 2 and (counts[best] > 1 or not best[0])
    return best if believed else None
