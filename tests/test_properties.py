"""Properties: what holds whatever hypothesis draws, and whatever is wrong with a file.

A test here states a sentence about all inputs, draws some dozens of them, and looks for one that refutes it. The
draws are the same in each run. What a property is compared with is computed in another way, mostly by a loop.
"""

import io
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from data import Dataset, hold_out, split, split_off, training_batches
from losses import loss_function
from metrics import accuracy, by_class, confusion_matrix, dice, iou, mean, overall, precision, recall
from model import FCN, UNet, batchnorm_layers, normalize
from patches import (
    MAX_SIDE,
    Sampling,
    choose_patch,
    core_logits,
    cut_batches,
    cut_windows,
    decide,
    find_pixel,
    region_limits,
    resize,
    stitch,
    tiles,
    zoom_image,
    zoomed_size,
)
from segmenter import average_views
from support.classes import read_classes
from support.files import write_image
from support.images import image_size, read_image
from support.masks import IGNORE, read_mask, to_indices, to_values
from support.names import hash_to_unit, images_by_name, name_of, named_images, read_names, split_by_hash, write_names

SEEDS = st.integers(0, 2**32 - 1)


def examples(count):
    """Draw so many examples, the same ones in each run, however long each takes."""
    return settings(max_examples=count, deadline=None, derandomize=True)


def random_image(random, height, width):
    return random.integers(0, 256, (height, width, 3), np.uint8)


# ---------------------------------------------------------------------------------------------------
# Windows


@st.composite
def layouts(draw, longest):
    """(height, width, (halo, stride, window)): any that tiles accepts, of at most some thousand windows."""
    window = draw(st.none() | st.integers(1, MAX_SIDE))
    limit = MAX_SIDE if window is None else window
    stride = draw(st.sampled_from([number for number in range(1, limit + 1) if limit % number == 0]))
    halo = stride * draw(st.integers(0, (limit - 1) // 2 // stride))
    sides = st.integers(1, min(longest, 50 * (limit - 2 * halo)))
    return draw(sides), draw(sides), (halo, stride, window)


@examples(200)
@given(layouts(longest=3000))
def test_every_pixel_is_in_one_core_and_every_core_lies_a_halo_inside_its_window(layout):
    height, width, (halo, stride, window) = layout
    window_height, window_width, cover = tiles(height, width, halo, stride, window)
    assert max(window_height, window_width) <= (window or MAX_SIDE)
    times = np.zeros((height, width), np.uint16)
    for y, x, top, bottom, left, right in cover:
        times[top:bottom, left:right] += 1
        rows, columns = (y, top, bottom, window_height, height), (x, left, right, window_width, width)
        for start, first, last, side, length in rows, columns:
            assert start % stride == side % stride == 0 and 0 <= start <= first < last <= start + side
            assert start + side <= length + -length % stride, "it ends on the image, padded to the stride"
            assert first == 0 or first - start >= halo
            assert last == length or start + side - last >= halo
    assert (times == 1).all()


@examples(60)
@given(layouts(longest=400), SEEDS)
def test_windows_show_the_image_and_their_cores_make_it_up_again(layout, seed):
    height, width, layout = layout
    image = random_image(np.random.default_rng(seed), height, width)
    for tile, window in cut_windows(image, *layout):
        rows, columns = (start + np.arange(side) for start, side in zip((tile.y, tile.x), window.shape))
        shown = image[np.minimum(rows, height - 1)[:, None], np.minimum(columns, width - 1)]
        np.testing.assert_array_equal(window, shown)
    again = np.full((3, height, width), -1)
    for rows, columns, logits in core_logits(lambda window: window.transpose(2, 0, 1), image, *layout):
        again[:, rows, columns] = logits
    np.testing.assert_array_equal(again, image.transpose(2, 0, 1))


@examples(200)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 6), st.sampled_from([6, 7]), st.integers(4, 40))
def test_a_region_is_no_larger_than_a_square_one_and_regions_overlap_no_more(height, width, depth, reach, sides):
    stride, halo = 2**depth, reach * 2**depth
    side = sides * math.lcm(stride, 4) + 4 * halo
    found = {}
    for name, limit in ("square", side), ("any", region_limits(height, width, halo, stride, side)):
        window_height, window_width, cover = tiles(height, width, halo, stride, limit=limit)
        assert window_height * window_width <= side**2
        found[name] = window_height * window_width * len(cover)
    assert found["any"] <= found["square"]
    padded = [length + -length % stride for length in (height, width)]
    if math.prod(padded) <= side**2 and min(padded) >= 4 * halo:
        assert found["any"] == math.prod(padded)  # one region, in which nothing is computed twice


@st.composite
def networks(draw):
    """A small network of any kind, in double precision, so that a pixel that is not seen shows."""
    torch.manual_seed(draw(SEEDS))
    classes = draw(st.integers(2, 4))
    if draw(st.integers(0, 3)) == 0:
        network = FCN(classes, upsample=draw(st.sampled_from(["nearest", "bilinear"])), batchnorm=draw(st.booleans()))
    else:
        network = UNet(
            classes,
            width=draw(st.integers(1, 4)),
            depth=draw(st.integers(1, 3)),
            upsample=draw(st.sampled_from(["transposed", "nearest", "bilinear"])),
            separable=draw(st.booleans()),
        )
    for layer in batchnorm_layers(network):
        for values, least, most in [
            (layer.running_mean, -1, 1),
            (layer.running_var, 0.1, 2),
            (layer.weight.data, -2, 2),
            (layer.bias.data, -0.5, 1),
        ]:
            values.uniform_(least, most)
    return network.double().eval()


@pytest.mark.slow
@examples(60)
@given(networks(), st.integers(200, 700), st.integers(1, 120), st.booleans(), SEEDS)
def test_what_is_stitched_is_what_the_network_makes_of_the_whole_image(network, long, short, upright, seed):
    image = random_image(np.random.default_rng(seed), *((long, short) if upright else (short, long)))

    @torch.inference_mode()
    def forward(pixels):
        return network(normalize(pixels[None], [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]).double())[0].numpy()

    expected = forward(image)
    rounding = 1e-12 * max(1, np.abs(expected).max())
    np.testing.assert_allclose(stitch(forward, image, network.halo, network.stride), expected, rtol=0, atol=rounding)
    classes = decide(core_logits(forward, image, network.halo, network.stride), image.shape[:2])
    second, highest = np.sort(expected, axis=0)[-2:]
    clear = highest - second > 2 * rounding
    np.testing.assert_array_equal(classes[clear], expected.argmax(axis=0)[clear])


@examples(60)
@given(st.integers(1, 90), st.integers(1, 90), st.floats(0.1, 4), st.integers(2, 4), SEEDS)
def test_at_any_zoom_the_result_has_the_size_of_the_image(height, width, zoom, classes, seed):
    random = np.random.default_rng(seed)
    image, mix = random_image(random, height, width), random.integers(-1, 2, (classes, 3)).astype(np.float32)
    forward = lambda window: np.tensordot(mix, window.astype(np.float32), (1, 2))
    small = zoom_image(image, zoom)
    assert small.shape == (*zoomed_size((height, width), zoom), 3) and min(small.shape) >= 1
    assert all(abs(side - zoom * whole) <= 1 for side, whole in zip(small.shape, (height, width)))
    assert resize(image[:, :, 0], (width, height)).shape == (width, height)
    logits = np.stack([resize(plane, (height, width)) for plane in stitch(forward, small, 8, 2)])
    assert logits.shape == (classes, height, width)
    decided = decide(core_logits(forward, small, 8, 2), (height, width), zoom)
    assert decided.dtype == np.uint8
    np.testing.assert_array_equal(decided, logits.argmax(axis=0))


def turned(array, turns, mirrored):
    """An array (..., H, W) turned by quarters, then perhaps mirrored."""
    array = np.rot90(array, turns, axes=(-2, -1))
    return array[..., ::-1] if mirrored else array


@examples(60)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["all", "mirror"]), SEEDS)
def test_an_average_over_views_keeps_what_turns_with_the_image_and_turns_with_it(height, width, views, seed):
    random = np.random.default_rng(seed)
    window, mix = random_image(random, height, width), random.normal(size=(2, 3))

    def turns_with_it(window):  # each pixel's colours, and the sum of its four neighbours
        planes = np.tensordot(mix, window.astype(float), (1, 2))
        padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
        near = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
        return np.maximum(planes, 0) + 0.1 * near

    expected = turns_with_it(window)
    np.testing.assert_allclose(average_views(turns_with_it, views)(window), expected, atol=1e-9)
    np.testing.assert_array_equal(average_views(turns_with_it, "none")(window), expected)

    lopsided = lambda window: turns_with_it(window).cumsum(axis=1) * np.arange(window.shape[1])
    average = average_views(lopsided, views)
    for turns in range(4) if views == "all" else [0]:
        for mirrored in False, True:
            view = turned(window.transpose(2, 0, 1), turns, mirrored).transpose(1, 2, 0)
            np.testing.assert_allclose(average(view), turned(average(window), turns, mirrored), atol=1e-6)


# ---------------------------------------------------------------------------------------------------
# Patches


@st.composite
def trainings(draw):
    """(data set, Sampling, steps an epoch): images of any size, of rare classes, some pixels without a truth."""
    random, classes, pairs = np.random.default_rng(draw(SEEDS)), draw(st.integers(2, 4)), []
    for _ in range(draw(st.integers(1, 4))):
        height, width = random.integers(1, 30, 2)
        mask = random.choice([*range(classes), IGNORE], (height, width)).astype(np.uint8)
        pairs.append((random_image(random, height, width), mask))
    pairs[0][1][0, 0] = 1  # a data set has some truth
    sampling = Sampling(
        seed=draw(st.integers(0, 5)),
        size=draw(st.integers(1, 20)),
        batch=draw(st.integers(1, 5)),
        balance=draw(st.sampled_from([0, 0.5, 1])),
        scale=draw(st.sampled_from([(1, 1), (0.5, 2)])),
        flips=draw(st.sampled_from(["all", "mirror", "none"])),
        reuse=draw(st.integers(1, 4)),
        paste=draw(st.sampled_from([0, 0.5])),
        background=0,
    )
    return Dataset.in_memory(pairs, classes), sampling, draw(st.integers(1, 6))


def same(batches, others):
    """Whether two sequences of (images, masks) are the same."""
    return len(batches) == len(others) and all(
        np.array_equal(array, other) for pair, pair2 in zip(batches, others) for array, other in zip(pair, pair2)
    )


@examples(60)
@given(trainings(), st.integers(0, 2), st.data())
def test_a_patch_is_the_same_whoever_cuts_it_and_whenever(training, begun, data):
    dataset, sampling, steps = training
    cut = lambda epochs, slots: list(training_batches(dataset, sampling, steps, epochs, slots))
    whole = cut(range(3), range(sampling.batch))
    assert len(whole) == 3 * steps

    world = data.draw(st.integers(1, sampling.batch))
    for rank in range(world):  # a training that goes on in another epoch, in several processes
        slots = range(rank, sampling.batch, world)
        expected = [(images[slots], masks[slots]) for images, masks in whole[begun * steps :]]
        assert same(cut(range(begun, 3), slots), expected)

    order = data.draw(st.permutations([(step, slot) for step in range(3 * steps) for slot in range(sampling.batch)]))
    for step, slot in order[:12]:  # one patch alone, in any order
        epoch, number = divmod(step, steps)
        first = number - number % sampling.reuse
        images, masks = cut_batches(dataset, sampling, epoch, first, number - first + 1, [slot])[-1]
        assert same([(images[0], masks[0])], [(whole[step][0][slot], whole[step][1][slot])])


@examples(60)
@given(trainings(), st.integers(0, 2))
def test_no_two_patches_are_drawn_alike_but_those_of_reused_steps_come_from_one_image(training, epoch):
    dataset, sampling, steps = training
    drawn = {
        (epoch, step, slot): choose_patch(dataset.cumulative_counts, sampling, epoch, step, slot)
        for epoch in (epoch, epoch + 1)
        for step in range(steps)
        for slot in range(sampling.batch)
    }
    assert len({tuple(more) for _, _, _, more in drawn.values()}) == len(drawn)
    for (epoch, step, slot), (number, label, place, more) in drawn.items():
        assert (number, label) == drawn[epoch, step - step % sampling.reuse, slot][:2]
        assert len(more) == 8 and all(0 <= value < 1 for value in more)
        _, mask, rows = dataset[number]
        y, x = find_pixel(mask, rows, label, place)
        assert 0 <= y < len(mask) and 0 <= x < mask.shape[1] and label in (None, mask[y, x])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than there are cores
@examples(6)
@given(trainings(), st.integers(1, 3), st.integers(0, 1))
def test_a_patch_is_the_same_however_many_workers_cut_patches(training, workers, begun):
    dataset, sampling, steps = training
    cut = lambda workers: list(
        training_batches(dataset, sampling, steps, range(begun, 2), range(sampling.batch), workers)
    )
    assert same(cut(workers), cut(0))


# ---------------------------------------------------------------------------------------------------
# Metrics and losses


@st.composite
def predictions(draw):
    """(truth, prediction, number of classes), some of them absent from one or both, some pixels without a truth."""
    random, classes = np.random.default_rng(draw(SEEDS)), draw(st.integers(2, 5))
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    some = st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes)
    true = draw(some) + draw(st.sampled_from([[], [IGNORE]]))
    if draw(st.integers(0, 9)) == 0:
        true = [IGNORE]
    return random.choice(true, shape).astype(np.uint8), random.choice(draw(some), shape).astype(np.uint8), classes


def quotient(numerator, denominator):
    return numerator / denominator if denominator else None


@examples(150)
@given(st.lists(predictions(), min_size=1, max_size=3))
def test_metrics_are_what_a_loop_over_all_pixels_counts(images):
    classes = max(number for _, _, number in images)
    confusion = sum(confusion_matrix(truth, prediction, classes) for truth, prediction, _ in images)
    pixels = [
        (int(true), int(found))
        for truth, prediction, _ in images
        for true, found in zip(truth.ravel(), prediction.ravel())
        if true != IGNORE
    ]
    right = sum(true == found for true, found in pixels)
    expected = {name: [] for name in ("iou", "dice", "precision", "recall")}
    for label in range(classes):
        hits = sum(true == found == label for true, found in pixels)
        truly, found = (sum(pixel[kind] == label for pixel in pixels) for kind in (0, 1))
        expected["iou"].append(quotient(hits, sum(label in pixel for pixel in pixels)))
        expected["dice"].append(quotient(2 * hits, truly + found))
        expected["precision"].append(quotient(hits, found))
        expected["recall"].append(quotient(hits, truly))
        assert confusion[label, label] == hits and confusion[label].sum() == truly
    for function in iou, dice, precision, recall:
        assert function(confusion) == pytest.approx(expected[function.__name__])
    assert accuracy(confusion) == pytest.approx(quotient(right, len(pixels)))

    table = [{"name": f"class {label}", "value": label} for label in range(classes)]
    for label, row in enumerate(by_class(confusion, table)):
        count = sum(true == label for true, _ in pixels)
        scores = {name: pytest.approx(values[label]) for name, values in expected.items()}
        assert row == {**table[label], "pixels": count, **scores}

    ious = [iou(confusion_matrix(truth, prediction, classes))[1] for truth, prediction, _ in images]
    existing = lambda values: [value for value in values if value is not None]
    average = lambda values: pytest.approx(quotient(sum(values), len(values)))
    assert overall(confusion, ious) == {
        "accuracy": pytest.approx(quotient(right, len(pixels))),
        "mean_iou": average(existing(expected["iou"])),
        "mean_f1": average(existing(expected["dice"])),
        "image_iou": average(existing(ious)),
        "image_iou_empty_as_1": average([1 if value is None else value for value in ious]),
    }
    assert mean(ious) == average(existing(ious))


def loss_by_a_loop(name, logits, target, weights):
    """A loss, in double precision and a pixel at a time."""
    total = weight = 0.0
    overlap, squares, pixels = np.zeros((3, logits.shape[1]))
    for place in np.argwhere(target != IGNORE):
        n, y, x = place
        scores, true = logits[n, :, y, x], target[n, y, x]
        p = np.exp(scores - scores.max())
        p /= p.sum()
        overlap[true] += p[true]
        squares += p * p
        pixels[true] += 1
        log_p = scores[true] - scores.max() - np.log(np.exp(scores - scores.max()).sum())
        total -= weights[true] * log_p * ((1 - p[true]) ** 2 if name == "focal" else 1)
        weight += weights[true]
    if name != "dice":
        return total / weight if weight else 0
    there = pixels > 0
    losses = 1 - 2 * overlap[there] / (squares + pixels)[there]
    return np.average(losses, weights=weights[there]) if there.any() else 0


@examples(100)
@given(
    st.sets(st.sampled_from(["ce", "bce", "focal", "dice"]), min_size=1),
    st.lists(predictions(), min_size=1, max_size=2),
    st.sampled_from([0.1, 3, 40]),
    st.booleans(),
    SEEDS,
)
def test_losses_are_what_a_loop_over_all_pixels_sums_and_ignored_pixels_get_no_gradient(
    names, images, strength, weighted, seed
):
    random = np.random.default_rng(seed)
    classes = 2 if "bce" in names else max(number for _, _, number in images)
    target = np.full((len(images), 9, 9), IGNORE, np.uint8)
    for plane, (truth, _, _) in zip(target, images):
        plane[: truth.shape[0], : truth.shape[1]] = np.where(truth == IGNORE, IGNORE, truth % classes)
    values = random.normal(0, strength, (len(target), classes, 9, 9))
    weights = random.uniform(0.1, 5, classes) if weighted else np.ones(classes)

    logits = torch.tensor(values, requires_grad=True)
    loss = loss_function("+".join(sorted(names)), torch.tensor(weights) if weighted else None)
    result = loss(logits, torch.from_numpy(target))
    expected = sum(loss_by_a_loop(name, values, target, weights) for name in names)
    assert result.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)

    result.backward()
    gradient = logits.grad.permute(0, 2, 3, 1).numpy()  # (N, H, W, classes)
    assert np.isfinite(gradient).all() and not gradient[target == IGNORE].any()
    assert strength > 3 or gradient.any() == (target != IGNORE).any()


# ---------------------------------------------------------------------------------------------------
# Names, tables and masks, through files


ODD = [
    "a",
    "b",
    '"',
    '"a"',
    "#",
    " ",
    "\\",
    ".png",
    ".JPG",
    "\\n",
    "a\u0308",
]  # what a list may take for something else
ODD += ["\n", "\r", "\t", "\u2028", "\ufeff", "\xa0", "\udcff"]
CHARACTERS = st.sampled_from(ODD) | st.characters().filter(
    lambda letter: letter not in "\0/" and unicodedata.category(letter) != "Cs"
)
NAMES = st.one_of(
    st.lists(st.sampled_from(ODD[:11]), min_size=1, max_size=3).map("".join),
    st.lists(CHARACTERS, min_size=1, max_size=8).map("".join),
)


def folder_for_a_test():
    """A folder for one example: pytest's tmp_path is the same for all examples of a test."""
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)


@examples(100)
@given(st.lists(NAMES, min_size=1, max_size=6), st.lists(NAMES, max_size=2))
def test_any_names_that_are_written_to_a_list_are_read_back(names, images):
    names += [*images, *(f"{name}.png" for name in images)]
    names = list(dict.fromkeys(unicodedata.normalize("NFC", name) for name in names))
    with folder_for_a_test() as folder:
        path = Path(folder) / "list.txt"
        write_names(path, names, "a remark")
        assert read_names(path) == read_names(path, dict.fromkeys(names)) == names


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some of these names, or change them")
@examples(40)
@given(st.lists(NAMES, min_size=1, max_size=4))
def test_any_files_are_found_by_the_list_of_their_names(names):
    with folder_for_a_test() as folder:
        images, found = Path(folder) / "images", {}
        images.mkdir()
        for name in [f"{name}.png" for name in names] + ["one.png"]:
            path = images / name
            if not name.startswith(".") and name_of(path, images) not in found:
                path.touch()
                found[name_of(path, images)] = path
        assert images_by_name(images) == found
        write_names(Path(folder) / "list.txt", list(found))
        assert named_images(images, Path(folder) / "list.txt") == found


@st.composite
def class_tables(draw):
    """(classes, values to ignore) as a classes.json may hold them: grey values or colours."""
    if draw(st.booleans()):
        channel = st.integers(0, 255) | st.sampled_from([0, 1, 255])
        value = st.lists(channel, min_size=3, max_size=3) | channel.map(lambda grey: [grey] * 3)
    else:
        value = st.integers(0, draw(st.sampled_from([12, 255, 65535])))
    values = draw(st.lists(value, min_size=2, max_size=12, unique_by=str))
    count = draw(st.integers(2, len(values)))
    printable = st.text(max_size=8).filter(str.isprintable)
    names = draw(st.lists(printable, min_size=count, max_size=count, unique=True))
    classes = [{"name": name, "value": value} for name, value in zip(names, values)]
    if draw(st.booleans()):
        for entry in classes:
            entry["colour"] = draw(st.lists(st.integers(0, 255), min_size=3, max_size=3))
    return classes, values[count:]


@examples(60)
@given(class_tables(), st.booleans(), st.sampled_from(["utf-8", "utf-8-sig"]))
def test_any_class_table_is_read_back(table, ascii_only, encoding):
    classes, ignore = table
    content = {"classes": [{**entry, "note": "other keys are left out"} for entry in classes]}
    content |= {"ignore": ignore} if ignore else {}
    with folder_for_a_test() as folder:
        path = Path(folder) / "classes.json"
        path.write_text(json.dumps(content, ensure_ascii=ascii_only), encoding=encoding)
        assert read_classes(path) == (classes, ignore)


@examples(60)
@given(
    class_tables(), st.integers(1, 20), st.integers(1, 20), st.sampled_from([".png", ".tif", ".bmp", ".webp"]), SEEDS
)
def test_indices_become_values_and_a_file_and_indices_again(table, height, width, ending, seed):
    classes, ignore = table
    random = np.random.default_rng(seed)
    some = random.permutation(len(classes))[: random.integers(1, len(classes) + 1)]
    indices = random.choice(some, (height, width)).astype(np.uint8)
    mask = to_values(indices, classes)
    np.testing.assert_array_equal(to_indices(mask, classes, "mask"), indices)
    with folder_for_a_test() as folder:
        path = Path(folder) / ("mask" + (ending if mask.dtype == np.uint8 else ".png"))
        write_image(path, mask)
        found = to_indices(read_mask(path), classes, path, ignore)
    np.testing.assert_array_equal(found, indices)
    np.testing.assert_array_equal(to_values(found, classes), mask)
    if ignore:
        unknown = random.random((height, width)) < 0.5
        mask = to_values(np.where(unknown, 0, indices), [{"value": ignore[0]}, *classes[1:]])
        expected = np.where(unknown | (indices == 0), IGNORE, indices)
        np.testing.assert_array_equal(to_indices(mask, classes, "mask", ignore), expected)


@examples(60)
@given(
    st.sampled_from([(".png", 8), (".png", 16), (".tif", 8), (".tiff", 16), (".bmp", 8), (".webp", 8)]),
    st.sampled_from(["grey", "two greys", "colour", "grey as colour"]),
    st.integers(1, 30),
    st.integers(1, 30),
    SEEDS,
)
def test_any_mask_written_without_loss_is_read_back(kind, contents, height, width, seed):
    (ending, bits), random = kind, np.random.default_rng(seed)
    high = 2**bits
    mask = random.integers(0, high, (height, width), np.uint16 if bits == 16 else np.uint8)
    if contents == "two greys":
        mask = np.where(mask < high // 2, 0, high - 1).astype(mask.dtype)
    elif contents != "grey" and bits == 8:
        mask = random_image(random, height, width) if contents == "colour" else np.stack([mask] * 3, axis=2)
    with folder_for_a_test() as folder:
        path = Path(folder) / f"mask{ending}"
        write_image(path, mask)
        found, image, size = read_mask(path), read_image(path), image_size(path)
    one_grey = mask.ndim == 3 and (mask == mask[:, :, :1]).all()
    np.testing.assert_array_equal(found, mask[:, :, 0] if one_grey else mask)
    assert size == image.shape[:2] == (height, width)
    if bits == 8:
        np.testing.assert_array_equal(image, mask if mask.ndim == 3 else np.stack([mask] * 3, axis=2))


@examples(60)
@given(st.sampled_from([".png", ".jpg", ".tif", ".webp"]), st.integers(0, 10), st.integers(1, 20), st.integers(1, 20))
def test_the_size_in_a_header_is_that_of_the_upright_image(ending, orientation, height, width):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    with folder_for_a_test() as folder:
        path = Path(folder) / f"image{ending}"
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path, exif=exif)
        expected = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
        assert image_size(path) == read_image(path).shape[:2] == expected


# ---------------------------------------------------------------------------------------------------
# Splits


SHARES = st.floats(0, 1)


@examples(60)
@given(st.lists(NAMES, min_size=2, max_size=30, unique=True), st.lists(NAMES, max_size=9), SHARES, st.randoms())
def test_every_name_is_in_one_part_whatever_the_order_and_later_ones_move_none(names, later, share, random):
    training, validation = split_off(names, share)
    assert sorted(training + validation) == sorted(names) and training and validation
    other_order = random.sample(names, len(names))
    assert [set(part) for part in split_off(other_order, share)] == [set(training), set(validation)]

    learnt, held_out, _ = split(names, "no such folder", share)
    assert (set(learnt), set(held_out)) == (set(training), set(validation))
    assert all(part == [name for name in names if name in part] for part in (learnt, held_out))

    drawn = {name for name in names if hash_to_unit(name) < share}
    if 0 < len(drawn) < len(names):  # else one part would have been empty, and a name was moved for that
        assert set(validation) == drawn
        training, validation = split_off([*names, *set(later).difference(names)], share)
        assert set(validation) & set(names) == drawn


@examples(60)
@given(st.lists(NAMES, min_size=1, max_size=30, unique=True), SHARES, SHARES, st.randoms(), st.integers(0, 9))
def test_every_name_is_in_one_of_three_parts_whatever_the_order(names, validating, testing, random, seed):
    shares = (1 - validating - testing, validating, testing)
    parts = split_by_hash(names, shares, seed)
    assert sorted(sum(parts.values(), [])) == sorted(names) and parts["train"]
    assert split_by_hash(random.sample(names, len(names)), shares, seed) == parts


@examples(150)
@given(*(st.integers(1, 150) for _ in "hw"), st.integers(1, 70), st.integers(0, 40), st.floats(0, 0.9), SEEDS)
def test_the_strip_that_is_held_out_lies_a_gap_from_the_rest(height, width, least, gap, share, seed):
    random = np.random.default_rng(seed)
    mask = random.choice([0, 1, 2, IGNORE], (height, width)).astype(np.uint8)
    rows, columns = np.indices((height, width), np.uint8)
    image = np.stack([rows, columns, mask], axis=2)  # a pixel says where it is
    training, validation = hold_out(image, mask, least, gap, share)
    for image, mask in training + validation:
        np.testing.assert_array_equal(image[:, :, 2], mask)
    if training is validation:
        assert len(training) == 1 and training[0][1].shape == (height, width)
        return
    [(strip, _)] = validation
    axis = int(strip.shape[0] == height)
    places = lambda image: np.unique(image[:, :, axis]).astype(int)
    held_out, length = places(strip), (height, width)[axis]
    assert len(held_out) == round(share * length) and strip.shape[1 - axis] == (height, width)[1 - axis]
    seen = [places(image) for image, _ in training]
    assert all(np.abs(part[:, None] - held_out).min() > gap and len(part) >= least for part in seen)
    assert len(np.unique(np.concatenate(seen))) == sum(map(len, seen))
    assert np.ptp(held_out) + 1 == len(held_out) and all(np.ptp(part) + 1 == len(part) for part in seen)


# ---------------------------------------------------------------------------------------------------
# Damaged files. Another process reads them: what it prints, takes or dies of is plain to see.

IMAGES = """
from support.images import (image_size, read_image)
from support.masks import (read_mask)
READERS = [image_size, lambda path: read_image(path).shape, lambda path: read_mask(path).shape]
"""
NETWORKS = """
from model import load_network
from segmenter import Segmenter
READERS = [lambda path: Segmenter(*load_network(path))(np.zeros((9, 12, 3), np.uint8)).shape]
"""
READ = """
import json, sys, time
import numpy as np
from support.files import BadInput
{readers}
def result(read, path):
    try:
        return list(read(path)[:2])
    except BadInput:
        return None
    except BaseException as error:
        return repr(error)

def peak():
    if sys.platform != "linux":
        return 0
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for path in sys.stdin.read().splitlines():
    began = time.process_time()
    results = [result(read, path) for read in READERS]
    print(json.dumps([path, results, time.process_time() - began, peak()]), flush=True)
"""
SECONDS, MEGABYTES = 2, 300  # that a damaged file may take, the latter beyond what others took


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def interlaced_png(pixels):
    """A grey PNG (H, W) in the seven passes of Adam7, which Pillow reads but does not write."""
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    rows = [row for y, down, x, right in passes for row in pixels[y::down, x::right] if row.size]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 1)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", content) + png_chunk(b"IEND", b"")


def tiled_tiff(pixels):
    """A grey TIFF (H, W) in tiles, which Pillow reads but does not write."""
    tiles, side = [], 16
    for y in range(0, pixels.shape[0], side):
        for x in range(0, pixels.shape[1], side):
            tile = np.zeros((side, side), np.uint8)
            part = pixels[y : y + side, x : x + side]
            tile[: part.shape[0], : part.shape[1]] = part
            tiles.append(zlib.compress(tile.tobytes()))
    offsets = [8 + sum(map(len, tiles[:number])) for number in range(len(tiles))]
    table = TiffImagePlugin.ImageFileDirectory_v2()
    height, width = pixels.shape
    entries = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    for tag, value in {**entries, 324: tuple(offsets), 325: tuple(map(len, tiles))}.items():
        table[tag] = value
    start = 8 + sum(map(len, tiles))
    return b"II*\0" + struct.pack("<I", start) + b"".join(tiles) + table.tobytes(start)


def image_files():
    """[bytes of a small image file, ...]: a few of each format that we read."""
    random = np.random.default_rng(0)
    colours = np.kron(random.integers(0, 256, (5, 6, 3)), np.ones((4, 4, 1), int)).astype(np.uint8)
    colours += random.integers(0, 9, colours.shape, np.uint8)
    rgb, grey = Image.fromarray(colours), Image.fromarray(colours[:, :, 0])
    deep = Image.fromarray(colours[:, :, 0].astype(np.uint16) * 257)
    fine = Image.fromarray((colours[:, :, 0] > 127).astype(np.float32))
    exif, note, alpha = Image.Exif(), PngImagePlugin.PngInfo(), rgb.copy()
    exif[ExifTags.Base.Orientation] = 6
    note.add_text("Raw profile type exif", f"\nexif\n{9:8}\n{exif.tobytes().hex()}\n", zip=True)
    note.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta tiff:Orientation='6'/>", zip=True)
    alpha.putalpha(grey)
    kinds = [("PNG", image, {}) for image in (rgb, grey, deep, rgb.quantize(8), grey.convert("1"), alpha)]
    kinds += [("PNG", rgb, {"exif": exif}), ("PNG", rgb, {"pnginfo": note})]
    kinds += [("PNG", rgb.quantize(8), {"transparency": 0}), ("PNG", rgb, {"save_all": True, "append_images": [rgb]})]
    kinds += [("JPEG", rgb, {}), ("JPEG", rgb, {"progressive": True}), ("JPEG", rgb.convert("CMYK"), {})]
    kinds += [("JPEG", grey, {}), ("JPEG", rgb, {"exif": exif})]
    kinds += [("TIFF", rgb, {"compression": name}) for name in (None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    kinds += [("TIFF", deep, {"compression": name}) for name in (None, "tiff_lzw")]
    kinds += [("TIFF", grey.convert("1"), {"compression": "group4"}), ("TIFF", rgb, {"exif": exif})]
    kinds += [("TIFF", fine, {}), ("TIFF", rgb.convert("CMYK"), {}), ("TIFF", rgb.quantize(8), {})]
    kinds += [("BMP", image, {}) for image in (rgb, grey, rgb.quantize(8), grey.convert("1"))]
    kinds += [("WEBP", rgb, {}), ("WEBP", alpha, {"lossless": True}), ("WEBP", rgb, {"exif": exif})]
    found = [interlaced_png(colours[:, :, 0]), tiled_tiff(colours[:, :, 0])]
    for options in [{"dtype": "int64"}, {"dtype": "float64", "compression": "deflate"}, {"bigtiff": True}]:
        file = io.BytesIO()
        array = (colours[:, :, 0] > 127).astype(options.pop("dtype", "uint16"))
        planes = np.stack([array] * 3) if "bigtiff" in options else array
        tifffile.imwrite(file, planes, photometric="rgb" if planes.ndim == 3 else "minisblack", **options)
        found.append(file.getvalue())
    for kind, image, options in kinds:
        file = io.BytesIO()
        image.save(file, kind, **options)
        found.append(file.getvalue())
    return found


# Where a chunk or a segment begins: a length and four letters, as in PNG, the reverse, as in WebP, a JPEG's marker.
PARTS = re.compile(rb"(?s)\0.{3}[A-Za-z]{4}|[A-Z]{3}[A-Z8 ].{3}\0|\xff[\xc0-\xfe]")
NUMBERS = [0, 1, 2, 3, 7, 8, 16, 255, 256, 4095, 20_000, 32_767, 65_535, 65_536, 10**6, 2**31 - 1, 2**31, 2**32 - 1]


def mutated(content, other, random):
    """The bytes of a file with one to four things wrong with it; `other` is a file from which some may come."""
    content = bytearray(content)

    def place():  # seldom in the first bytes, by which a format is known
        parts = [part.start() for part in PARTS.finditer(content)]
        if parts and random.random() < 0.5:
            return int(random.choice(parts))
        return int(random.integers(0 if random.random() < 0.1 else min(8, len(content)), len(content) + 1))

    for _ in range(random.choice([1, 1, 2, 4])):
        kind, spot, (first, second, third) = random.integers(8), place(), sorted(place() for _ in range(3))
        short = slice(spot, spot + int(random.integers(1, 40)))
        if kind == 0:
            content[spot : spot + 1] = [byte ^ 1 << int(random.integers(8)) for byte in content[spot : spot + 1]]
        elif kind == 1:
            content[spot : spot + 1] = random.bytes(1)
        elif kind == 2:  # a length, an offset or a number of pixels, in either order of bytes
            spot, length = spot + int(random.choice([0, 2, 4, 8, 12])), int(random.choice([1, 2, 4]))
            number = int(random.choice(NUMBERS)) % 256**length
            content[spot : spot + length] = number.to_bytes(length, str(random.choice(["big", "little"])))
        elif kind == 3:
            content[spot:] = b""
        elif kind == 4:
            content[short] = b""
        elif kind == 5:
            content[spot:spot] = content[short]
        elif kind == 6:  # chunks change places
            content[first:third] = content[second:third] + content[first:second]
        else:
            content[first:second] = other[first:second]
    return with_checksums(content) if random.random() < 0.8 else bytes(content)


def with_checksums(content):
    """The content of a PNG file with all checksums right again, so that a reader looks further."""
    content, position = bytearray(content), 8
    while content.startswith(b"\x89PNG") and position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[position + 4 : end]))
        position = end + 4
    return bytes(content)


def in_another_process(readers, paths):
    """[(path, what each reader returns, seconds, peak of memory so far in MB), ...], read by another process."""
    done = subprocess.run(
        [sys.executable, "-c", READ.format(readers=readers)],
        input="\n".join(map(str, paths)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{paths[len(found)]} ended it: {done.stderr[-500:]}"
    assert done.stderr == "", f"it printed: {done.stderr[:500]}"
    return found


def all_are_read_or_refused(readers, paths, unharmed):
    """Check that each file is read or is a BadInput, at once, in silence; `unharmed` are read. Return the results."""
    damaged = []
    for start in range(0, len(paths), 500):
        found = in_another_process(readers, [*unharmed, *paths[start : start + 500]])
        assert all(None not in results for _, results, _, _ in found[: len(unharmed)])
        least = found[len(unharmed) - 1][3]
        for path, results, seconds, peak in found:
            assert not any(isinstance(result, str) for result in results), f"{path}: {results}"
            assert len({tuple(size) for size in results if size}) <= 1, f"{path} has the sizes {results}"
            assert seconds < SECONDS and peak - least < MEGABYTES, path
        damaged += [tuple(map(bool, results)) for _, results, _, _ in found[len(unharmed) :]]
    return damaged


def test_a_mutated_image_is_read_or_refused(tmp_path, request):
    files, paths, unharmed = image_files(), [], []
    for number, content in enumerate(files):
        unharmed.append(tmp_path / f"unharmed_{number}")
        unharmed[-1].write_bytes(content)
    for number in range(request.config.getoption("--mutations")):
        random = np.random.default_rng((1, number))
        first, second = random.integers(len(files), size=2)
        paths.append(tmp_path / f"mutated_{number}")
        paths[-1].write_bytes(mutated(files[first], files[second], random))
    found = all_are_read_or_refused(IMAGES, paths, unharmed)
    for kind in [(False, False, False), (True, False, False), (True, True, True)]:  # as deep as one can get
        assert found.count(kind) > len(paths) / 20


def repacked(content, random):
    """A checkpoint with something wrong in one of its files and nothing in the archive around them."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    names = sorted(parts, key=lambda name: not name.endswith("data.pkl"))
    name, other = names[int(len(names) * random.random() ** 4)], random.choice(names)
    parts[name] = mutated(parts[name], parts[other], random)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue()


def altered(content, random):
    """A checkpoint in which one value stands that does not belong there, or one is missing."""
    inner = checkpoint = torch.load(io.BytesIO(content), weights_only=True)
    while True:
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        key = keys[random.integers(len(keys))]
        if not (isinstance(inner[key], (dict, list)) and inner[key]) or random.random() < 0.2:
            break
        inner = inner[key]
    values = [None, True, -1, 0, 300, 2**70, 0.5, float("nan"), 1e30, "", "unet", "two\nlines", [], [1], [0, 0, 0], {}]
    values += [torch.zeros(2, 3), torch.zeros(2, 2).to_sparse(), torch.tensor(float("inf")), torch.zeros(2, dtype=int)]
    if isinstance(inner[key], torch.Tensor):
        tensor = inner[key]
        values += [
            tensor * float("nan"),
            tensor.double(),
            tensor.bool(),
            tensor.to(torch.complex64),
            tensor.to_sparse(),
        ]
        values += [tensor.half() * 1e9, tensor * 1e38, tensor.to("meta"), tensor[:1].expand_as(tensor)]
    number = int(random.integers(len(values) + 1))
    if number == len(values):
        del inner[key]
    else:
        inner[key] = values[number]
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


@pytest.mark.slow
def test_a_mutated_checkpoint_is_read_or_refused(tmp_path, request):
    unharmed, paths = ROOT / "checkpoints" / "fcn.pt", []
    content = unharmed.read_bytes()
    for number in range(request.config.getoption("--mutations") // 5):
        random = np.random.default_rng((2, number))
        paths.append(tmp_path / f"mutated_{number}.pt")
        damaged = [repacked(content, random), altered(content, random), mutated(content, content, random)][number % 3]
        paths[-1].write_bytes(damaged)
    found = all_are_read_or_refused(NETWORKS, paths, [unharmed])
    assert len(paths) / 20 < found.count((True,)) < len(paths) / 2
