"""Data sets: which images and masks there are, how they are split, what reaches the training.

A folder holds images/ and masks/, paired by name without extension, and perhaps classes.json (see data.read_classes)
and train.txt, val.txt, test.txt with such names, one a line. One image and its mask are a data set of one.
"""
import functools
import hashlib
import math
import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from data import (
    SMALLEST,
    begins,
    find_classes,
    hashed,
    image_size,
    images_by_name,
    in_threads,
    read_classes,
    read_image,
    read_mask,
    read_names,
    read_pair,
    same_size,
    some,
    to_indices,
)
from files import BadInput
from patches import class_rows, draw_batches
from processes import RANK

STATISTICS = 500                 # images that mean and standard deviation are taken from, at most


class Samples:
    """A sequence of (image uint8 (H, W, 3), mask of class indices uint8 (H, W), its patches.class_rows).

    Held in memory, or decoded when asked for, where `decode` makes such an image and mask of an item. `ends`,
    (images, classes + 1), counts pixels: of each class, and of all, in the images up to and with each.
    """

    def __init__(self, items, counts, areas, decode=None):
        self.items, self.decode = items, decode
        self.ends = np.cumsum(np.column_stack([counts, areas]), axis=0)

    @classmethod
    def held(cls, pairs, classes):
        """Of (image, mask) arrays."""
        items = [(image, mask, class_rows(mask, classes)) for image, mask in pairs]
        return cls(items, [rows[:, -1] for _, _, rows in items], [mask.size for _, mask, _ in items])

    def __len__(self):
        return len(self.items)

    def __getitem__(self, number):
        if self.decode is None:
            return self.items[number]
        image, mask = self.decode(*self.items[number])
        return image, mask, class_rows(mask, self.ends.shape[1] - 1)


class Data(NamedTuple):
    training: Samples
    validation: Samples
    classes: list                # as in data.find_classes
    ignore: list                 # mask values that are no class
    fingerprint: str             # of images, masks and split, so that a resumed training knows its data again
    held_out: list               # names of the images to validate on; of one image, none


# ---------------------------------------------------------------------------------------------------
# What is there


def find_pairs(folder):
    """[(name, image path, mask path), …] of a folder, by name. Prints what has no partner. Raises BadInput."""
    for part in (folder, Path(folder) / "images", Path(folder) / "masks"):
        if not Path(part).is_dir():
            raise BadInput(f"{part} is no folder; expected a data set: {Path(folder) / 'images'} and "
                           f"{Path(folder) / 'masks'}")
    images, masks = images_by_name(Path(folder) / "images"), images_by_name(Path(folder) / "masks")
    pairs = [(stem, images[stem], masks[stem]) for stem in images if stem in masks]
    if not pairs:
        raise BadInput(f"{folder} holds {len(images)} images and {len(masks)} masks, but no pair; expected "
                       "images/NAME.jpg (or .png, .tif, ...) and masks/NAME.png, each with the same NAME")
    for kind, here, there in [("images without a mask", images, masks), ("masks without an image", masks, images)]:
        alone = [here[stem].name for stem in here if stem not in there]
        if alone:
            print(f"left out: {len(alone)} {kind}: {some(alone)}")
    return pairs


def split(stems, folder, share):
    """(names to train on, names to validate on), each in the order of `stems`, and how that was decided.

    As train.txt, val.txt and test.txt in the folder say, where they are; what they do not name joins the part that
    has no list, and what test.txt names is in neither. Without lists, a hash of the name puts a `share` of the images
    into validation: files that come later do not move those that are there. Raises BadInput.
    """
    listed, where = {}, {}
    for part in ("train", "val", "test"):
        path = Path(folder) / f"{part}.txt"
        if not path.exists():
            continue
        listed[part] = read_names(path, None if part == "test" else stems)       # which may have no masks
        for name in listed[part]:
            if name in where:
                raise BadInput(f"{path} names {name}, which {where[name]} names, too; expected each name once")
            where[name] = path.name
    training, validation = listed.get("train"), listed.get("val")
    rest = [stem for stem in stems if stem not in where]
    if validation is None and (training is None or not rest):
        kept = training or rest
        if not kept:
            raise BadInput(f"{Path(folder) / 'test.txt'} names all images; expected some to train on")
        ordered = sorted(kept, key=hashed)
        count = sum(hashed(stem) < share for stem in kept)
        count = min(max(count, 1), max(len(kept) - 1, 1))             # some of both, even where there are few
        training, validation, how = ordered[count:], ordered[:count], "by a hash of the names"
    else:
        how = "by " + " and ".join(f"{part}.txt" for part in listed)
        if training is not None and validation is not None and rest:
            print(f"left out: {len(rest)} pairs that neither train.txt nor val.txt names: {some(rest)}")
        training, validation = rest if training is None else training, rest if validation is None else validation
    if not training or not validation:
        raise BadInput(f"{folder}: {how} {len(training)} images are to train on and {len(validation)} to validate on; "
                       "expected some for each")
    training, validation = set(training), set(validation)
    return [stem for stem in stems if stem in training], [stem for stem in stems if stem in validation], how


def hold_out(image, mask, least, gap, share):
    """Cut a validation strip out of one image: ([(image, mask), …] to train on, [(image, mask)] to validate on).

    The strip takes `share` of the longer side. Of nine places it gets the one that leaves the most classes in
    both parts and, among equals, whose class shares are most like the whole image's. `gap` pixels on either
    side of it are in neither part, so that a network with a halo of at most `gap` is scored on one part without
    seeing a pixel of the other. Training parts narrower than `least` are dropped. An image too short to be cut
    comes back whole, one list for both.
    """
    wide = image.shape[1] > image.shape[0]
    length = max(mask.shape)
    strip = round(share * length)

    def cut(start, stop):
        where = np.s_[:, start:stop] if wide else np.s_[start:stop]
        return image[where], mask[where]

    def class_shares(parts):
        counts = sum(np.bincount(mask.ravel(), minlength=256) for _, mask in parts)
        return counts / counts.sum()

    whole = [(image, mask)]
    shares = class_shares(whole)

    def quality(choice):
        training, held_out = map(class_shares, choice)
        return np.count_nonzero(training * held_out), -np.abs(held_out - shares).sum()

    choices = []
    for start in np.linspace(0, length - strip, 9).astype(int).tolist():
        bounds = [(0, start - gap), (start + strip + gap, length)]
        training = [cut(*bound) for bound in bounds if bound[1] - bound[0] >= least]
        if training and strip:
            choices.append((training, [cut(start, start + strip)]))
    return max(choices, key=quality, default=(whole, whole))


# ---------------------------------------------------------------------------------------------------
# Files → samples


class Look(NamedTuple):
    """What there is to know of a pair before the training."""

    counts: np.ndarray           # pixels of each class, (classes,)
    area: int                    # pixels
    digest: bytes                # of the mask, and of the image file's start and length
    held: tuple | None           # (image, mask, rows), where it is held in memory


def look_at(image_path, mask_path, classes, ignore, threshold, hold):
    """Read a pair once. Raises BadInput for whatever is wrong with it."""
    mask = to_indices(read_mask(mask_path, threshold), classes, mask_path, ignore)
    digest = hashlib.sha256(begins(image_path) + mask.tobytes()).digest()
    rows = class_rows(mask, len(classes))
    return Look(rows[:, -1], mask.size, digest, (read_image(image_path), mask, rows) if hold else None)


def load(source, threshold=None, table=None, share=0.2, memory=2.0, least=64, gap=8, lists=None):
    """The data set in `source`, a folder or (image path, mask path): Data. Prints what was found. Raises BadInput.

    `table` is a file as data.read_classes reads it, else the folder's classes.json, else classes are found by
    scanning the masks. Images and masks that take at most `memory` GB together, as bytes, are held; others are
    decoded when needed. Of several pairs, whole ones are set apart to validate on, see split for the `share` and for
    the folder of `lists`, which may be another one; a single one is cut, see hold_out for `least` and `gap`.
    """
    if isinstance(source, tuple):
        stems, images, masks = ("pair",), source[:1], source[1:]
    else:
        stems, images, masks = zip(*find_pairs(source))
        if table is None and (Path(source) / "classes.json").exists():
            table = Path(source) / "classes.json"
    sizes = list(in_threads(image_size, images))
    for image, (height, width), mask, size in zip(images, sizes, masks, in_threads(image_size, masks)):
        same_size(image, (height, width), mask, size)
        if min(height, width) < SMALLEST:
            raise BadInput(f"{image} is {width}x{height} pixels; expected at least {SMALLEST} a side to train on")
    classes, ignore = read_classes(table) if table else (
        find_classes(in_threads(lambda mask: (read_mask(mask, threshold), mask), masks)), [])
    hold = len(stems) == 1 or 4 * sum(height * width for height, width in sizes) <= memory * 1e9
    look = lambda pair: look_at(*pair, classes, ignore, threshold, hold)
    looks = list(tqdm(in_threads(look, list(zip(images, masks))), total=len(stems), unit="pair", leave=False,
                      disable=RANK > 0 or None))

    if len(stems) == 1:
        image, mask, _ = looks[0].held
        parts = hold_out(image, mask, min(least, min(mask.shape) // 2), gap, share)
        training, validation = (Samples.held(part, len(classes)) for part in parts)
        held_out = []
        print(f"{images[0]}: {image.shape[1]}x{image.shape[0]} pixels; {masks[0]}, " +
              ("too small to hold out a strip: validating on the training pixels, which flatters"
               if parts[0] is parts[1] else "a strip of it held out to validate on"))
    else:
        place = {stem: number for number, stem in enumerate(stems)}
        decode = functools.partial(read_pair, classes=classes, ignore=ignore, threshold=threshold)

        def samples_of(names):
            numbers = [place[name] for name in names]
            items = [looks[number].held if hold else (images[number], masks[number]) for number in numbers]
            return Samples(items, [looks[number].counts for number in numbers],
                           [looks[number].area for number in numbers], None if hold else decode)

        if lists and not any((Path(lists) / f"{part}.txt").exists() for part in ("train", "val", "test")):
            raise BadInput(f"{lists} holds no list; expected train.txt, val.txt or test.txt")
        learnt, held_out, how = split(stems, lists or source, share)
        training, validation = samples_of(learnt), samples_of(held_out)
        extremes = dict.fromkeys([min(sizes, key=math.prod), max(sizes, key=math.prod)])
        extent = " to ".join(f"{width}x{height}" for height, width in extremes)
        where = "held in memory" if hold else "decoded when needed"
        print(f"{source}: {len(stems)} pairs of {extent} pixels, {where}; {len(training)} to train on, "
              f"{len(validation)} to validate on, {how}")
    print_classes(classes, ignore, training.ends[-1], validation.ends[-1])
    digest = hashlib.sha256(training.ends.tobytes() + validation.ends.tobytes())
    for seen in looks:
        digest.update(seen.digest)
    return Data(training, validation, classes, ignore, digest.hexdigest(), held_out)


def print_classes(classes, ignore, training, validation):
    """The classes as a table; `training` and `validation`, (classes + 1,), count the pixels of each, and of all."""
    width, digits = max(len(one["name"]) for one in classes), max(len(str(one["value"])) for one in classes)
    for number, one in enumerate(classes):
        shares = [f"{part[number] / part[-1]:6.1%} of {kind} pixels" if part[number] else f"no pixel for {kind}"
                  for part, kind in [(training, "training"), (validation, "validation")]]
        print(f"  {one['value']!s:>{digits}} is {one['name']:<{width}}  {', '.join(shares)}")
    if ignore:
        unknown = 1 - training[:-1].sum() / training[-1]
        print(f"  {', '.join(map(str, ignore))} ignored: {unknown:.1%} of training pixels")


def spread(count, most):
    """At most so many of the numbers below `count`, evenly."""
    return np.unique(np.linspace(0, count - 1, most).astype(int)).tolist()


def colour_statistics(samples):
    """Mean and standard deviation of red, green and blue, as two lists, 1 being full; of at most 500 images."""
    def count(number):
        return np.stack([np.bincount(samples[number][0][:, :, channel].ravel(), minlength=256) for channel in range(3)])

    histogram = sum(in_threads(count, spread(len(samples), STATISTICS)))                  # (3, 256)
    levels = np.arange(256) / 255
    mean = histogram @ levels / histogram.sum(axis=1)                 # (3,)
    variance = (histogram * (levels - mean[:, None]) ** 2).sum(axis=1) / histogram.sum(axis=1)
    return mean.tolist(), np.sqrt(variance).clip(min=0.01).tolist()


# ---------------------------------------------------------------------------------------------------
# Samples → the patches of each step


class Groups:
    """The patches of a whole training as a sequence of groups: those of drawing.reuse steps of an epoch.

    A group is a list of (batch, truth), or the BadInput that came instead. It is what a loader worker computes.
    """

    def __init__(self, samples, drawing, steps, slots):
        self.samples, self.drawing, self.steps, self.slots = samples, drawing, steps, slots
        self.an_epoch = -(-steps // drawing.reuse)

    def __getitem__(self, number):
        epoch, group = divmod(number, self.an_epoch)
        first = group * self.drawing.reuse
        count = min(self.drawing.reuse, self.steps - first)
        try:
            return draw_batches(self.samples, self.drawing, epoch, first, count, self.slots)
        except BadInput as error:            # as a value: raised in a worker, it would come with a traceback
            return error


def as_it_is(group):             # named functions, since a lambda cannot travel to a worker
    return group


def begin_worker(number):
    """Prepare a loader worker: Ctrl-C is for the training, which ends its workers, and none outlives it.

    PyTorch's own watch over that fails where a worker waits for a killed parent to read its patches.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def stream(samples, drawing, steps, epochs, slots, workers=0):
    """(batch uint8 (slots, size, size, 3), truth (slots, size, size)) of one step after the other.

    Of `epochs`, a range, of so many `steps` each. `slots` are the patches of each step that this process takes.
    With `workers`, other processes draw them ahead; the patches are the same.
    """
    groups = Groups(samples, drawing, steps, slots)
    numbers = range(epochs.start * groups.an_epoch, epochs.stop * groups.an_epoch)
    if workers:                  # a generator of its own, so that PyTorch's, which dropout uses, is left alone
        found = DataLoader(groups, batch_size=None, sampler=numbers, num_workers=workers, collate_fn=as_it_is,
                           worker_init_fn=begin_worker, generator=torch.Generator())
    else:
        found = map(groups.__getitem__, numbers)
    for group in found:
        if isinstance(group, BadInput):
            raise group
        yield from group
