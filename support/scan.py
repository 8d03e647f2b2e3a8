"""A look into every file of a data set before a training: what it holds, and which files cannot be read."""
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from support.files import BadInput
from support.images import (
    SMALLEST,
    ImageFacts,
    MaskFacts,
    first_few,
    image_facts,
    in_threads,
    mask_facts,
    same_size,
)
from support.machine import RANK
from support.mistakes import Unreadable

Pair = tuple[str, Path, Path]    # a name, the image's path and the mask's


class PairFacts(NamedTuple):
    """The facts about an image and its mask that are known before a training."""

    image: ImageFacts
    mask: MaskFacts


class Scan(NamedTuple):
    """The pairs of a data set that can be read, and what is known of them."""

    pairs: list[Pair]
    facts: list[PairFacts]               # of each pair
    fits: bool                           # whether all pairs, as bytes, fit into memory
    images: dict[str, np.ndarray]        # name → uint8 (H, W, 3), then, of those that depend on no full scale
    damaged: set[str]                    # names of the other pairs


def scan_pairs(pairs: list[Pair], threshold: int | None = None, memory: float = 0) -> Scan:
    """Return the Scan of pairs, of which `memory` GB may be held.

    Each file is decoded, as a header may be the sound part of a damaged one. Pairs with a file that cannot be
    read are left out, and those files named. Raises BadInput where no pair is left, and for what is no damage,
    such as an image and a mask of different sizes.
    """
    readable, facts, images, area, lost = [], [], {}, 0, []
    looks = in_threads(lambda pair: look(pair, threshold), pairs)
    for pair, (found, pixels, failures) in zip(pairs, tqdm(looks, total=len(pairs), unit="pair", leave=False,
                                                           disable=RANK > 0 or None)):
        lost += failures
        if found is None:
            continue
        readable.append(pair)
        facts.append(found)
        area += found.image.size[0] * found.image.size[1]
        if pixels is not None:
            images[pair[0]] = pixels
        if len(pairs) > 1 and 4 * area > memory * 1e9:   # a pixel is three bytes in its image, one in its mask
            images.clear()
    if not readable:
        raise lost[0][2] if len(pairs) == 1 else BadInput(f"none of {len(pairs)} pairs can be read: {lost[0][2]}")
    print_unreadable(lost)
    fits = len(readable) == 1 or 4 * area <= memory * 1e9
    return Scan(readable, facts, fits, images, {name for name, *_ in pairs} - {name for name, *_ in readable})


def look(pair: Pair, threshold: int | None) -> tuple[PairFacts | None, np.ndarray | None, list]:
    """Return what is known of a pair, its image as image_facts returns it, and what cannot be read.

    The last is [("images" or "masks", path, Unreadable), …]; then the others are None. Raises BadInput for
    whatever else is wrong.
    """
    _, image_path, mask_path = pair
    failures: list[tuple[str, Path, Unreadable]] = []

    def attempt(part, path, read):
        try:
            return read()
        except Unreadable as error:
            failures.append((part, path, error))

    image = attempt("images", image_path, lambda: image_facts(image_path))
    mask = attempt("masks", mask_path, lambda: mask_facts(mask_path, threshold))
    if image is None or mask is None:
        return None, None, failures
    facts, pixels = image
    same_size(image_path, facts.size, mask_path, mask.size)
    if min(facts.size) < SMALLEST:
        raise BadInput(f"{image_path} is {facts.size[1]}x{facts.size[0]} pixels; expected at least {SMALLEST} a side "
                       "to train on")
    return PairFacts(facts, mask), pixels, []


def print_unreadable(lost: list[tuple[str, Path, Unreadable]]) -> None:
    """Print which files are left out, as look returns them, and why the first of them is."""
    for part in ("images", "masks"):
        some = [(path.name, error) for other, path, error in lost if other == part]
        if some:
            print(f"left out: {len(some)} {part} that cannot be read: {first_few([name for name, _ in some])} "
                  f"({some[0][1]})")
