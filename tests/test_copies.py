"""The changed copies of the strip that a single image is validated on, and how epochs are chosen by them."""

import math

import numpy as np
import pytest
import torch
from conftest import history, inside
from PIL import Image
from scipy import ndimage
from sklearn.metrics import jaccard_score
from tqdm import tqdm

import train
from model import load_network
from segmenter import Segmenter
from support.arguments import train_arguments
from support.copies import changed_copies
from support.images import read_image
from support.run_files import take_over

QUICK = ["--patch", 32, "--batch", 4, "--steps", 5, "--epochs", 8, "--device", "cpu"]


def discs(height=90, width=140):
    """Bright soft discs on a ground that grows brighter to the right: an image and its class indices."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for _ in range(9):
        mask[(y - random.integers(height)) ** 2 + (x - random.integers(width)) ** 2 < random.integers(60, 200)] = 1
    image = np.stack([60 + x / 2 + 90 * mask, 50 + y + 60 * mask, 240 - 100 * mask - 0 * x], axis=2)
    return np.uint8(image + random.normal(0, 3, image.shape)), mask


def prepared(*words):
    return train.prepare(train_arguments([str(word) for word in (*QUICK, *words)]))


# ---------------------------------------------------------------------------------------------------
# The copies


def test_copies_are_changed_as_they_say():
    image, mask = discs()
    copies = changed_copies(image, mask)
    assert list(copies) == ["darker", "flatter", "warmer", "noisy", "blurred", "smaller", "larger"]
    cut = lambda values: np.clip(np.floor(values + 0.5), 0, 255)
    red, green, blue = np.moveaxis(image.astype(float), 2, 0)
    expected = {
        "darker": cut(0.75 * image),
        "flatter": cut(0.7 * image + 38),
        "warmer": np.stack([cut(1.12 * red), green, cut(0.88 * blue)], axis=2),
        "blurred": ndimage.gaussian_filter(image.astype(float), (1, 1, 0), mode="nearest"),
    }
    for name, pixels in expected.items():
        copy, indices = copies[name]
        assert copy.dtype == np.uint8 and np.array_equal(indices, mask)
        assert np.abs(copy - pixels).max() <= (6 if name == "blurred" else 1)
    noise = copies["noisy"][0].astype(float) - image
    assert abs(noise.mean()) < 0.5 and noise[:, :, :2].std() == pytest.approx(8, rel=0.05)
    assert np.array_equal(copies["noisy"][0], changed_copies(image, mask)["noisy"][0])  # the same each time


@pytest.mark.parametrize("name, scale", [("smaller", 0.8), ("larger", 1.25)])
def test_the_mask_keeps_to_the_image_at_another_size(name, scale):
    image, mask = discs()
    copy, indices = changed_copies(image, mask)[name]
    assert indices.shape == copy.shape[:2] == (round(scale * 90), round(scale * 140))
    assert set(np.unique(indices)) == {0, 1}
    y, x = (((np.arange(size) + 0.5) * side / size).astype(int) for size, side in zip(indices.shape, mask.shape))
    assert (indices == mask[y][:, x]).mean() > 0.98
    inside = ~(ndimage.maximum_filter(indices, 5) != ndimage.minimum_filter(indices, 5))
    assert np.array_equal(indices[inside] == 1, copy[inside, 2] < 190)


def test_of_large_images_the_middle_is_copied():
    image, mask = discs(700, 515)
    copy, indices = changed_copies(image, mask)["darker"]
    assert np.array_equal(indices, mask[94:606, 1:513]) and copy.shape == (512, 512, 3)
    assert np.abs(copy - 0.75 * image[94:606, 1:513]).max() <= 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2)])
def test_the_smallest_images_have_copies(size):
    image, mask = np.full((*size, 3), 200, np.uint8), np.full(size, 255, np.uint8)
    for copy, indices in changed_copies(image, mask).values():
        assert copy.shape == (*indices.shape, 3) and min(indices.shape) >= 1 and (indices == 255).all()


# ---------------------------------------------------------------------------------------------------
# The figure, and the epoch that is kept


def test_the_figure_is_the_mean_iou_of_the_copies_relit(pair):
    folder, image, mask = pair
    done = inside("train.py", image, mask, *QUICK, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows, (network, metadata) = history(folder), load_network(folder / "model.pt")
    strip, truth = prepared(image, mask, "--out", folder / "other").data.validation.items[0][:2]
    matching, keeping = Segmenter(network, metadata), Segmenter(network, metadata | {"light": None})
    ious, relit = [], 0
    for copy, indices in changed_copies(strip, truth).values():
        relit += matching.light(copy) is not None
        ious.append(jaccard_score(indices.ravel(), keeping(matching.relit(copy)).ravel()))
    assert relit >= 2
    kept = rows[metadata["metrics"]["epoch"] - 1]
    assert float(kept["val_copies_iou"]) == pytest.approx(np.mean(ious))
    assert list(kept)[-1] == "val_copies_iou" and metadata["metrics"]["val_copies_iou"] == pytest.approx(np.mean(ious))
    line = f"the strip in another light, focus, size: IoU {np.mean(ious):.4f}; expect that of the next image, or less;"
    assert done.stdout.splitlines()[-2].startswith(line)
    assert Image.open(folder / "loss_vs_epochs.png").width > 1200  # two panels
    best = max(
        rows[6:], key=lambda row: (float(row["val_iou"]) + float(row["val_copies_iou"]), -float(row["val_loss"]))
    )
    assert best == kept


def test_epochs_are_compared_by_the_mean_of_what_is_known():
    row = lambda strip, copies, loss=0.5: {"val_iou": strip, "val_copies_iou": copies, "val_loss": loss}
    assert train.quality(row(0.8, 0.6)) == (pytest.approx(0.7), -0.5)
    assert train.quality(row(0.9, 0.5)) < train.quality(row(0.8, 0.7)) < train.quality(row(0.8, 0.7, 0.4))
    assert train.quality(row(0.9, None)) == train.quality({"val_iou": 0.9, "val_loss": 0.5}) == (0.9, -0.5)
    assert train.quality(row(None, 0.4)) == (0.4, -0.5) and train.quality(row(None, None)) == (0, -0.5)


def test_of_a_single_image_one_of_the_last_quarter_is_kept(pair, folder):
    """By itself, the first epoch would be better than all that follow."""
    in_time = "--time-limit", 1, "--epochs", 1000  # which ends it after five
    for number, (words, kept) in enumerate(
        [(pair[1:], [1, 1, 1, 4, 4]), ((*pair[1:], *in_time), [1, 1, 1, 4, 4]), (["--data", folder], [1] * 5)]
    ):
        run = prepared("--epochs", 5, *words, "--out", pair[0] / f"run {number}")
        run.bar = tqdm(disable=True)
        for epoch, right in enumerate([9, 5, 3, 7, 6]):
            confusion = np.array([[right, 10 - right], [10 - right, right]])
            run.progress = (epoch + 0.9) / 5  # at its last step
            train.finish_epoch(run, epoch, 1.0, train.Validation(0.5, confusion, [], None))
            assert run.best["epoch"] == kept[epoch]
        _, last = load_network(pair[0] / f"run {number}" / "last.pt")
        run.best_is_late = None
        take_over(run, last)
        assert run.best_is_late is last["resume"]["late"] is (kept[-1] == 4)
        run.args.epochs += 1  # then there are others to come
        take_over(run, last)
        assert run.best_is_late is False


def test_a_folder_has_no_copies(folder, tmp_path):
    words = ["--data", folder, *QUICK, "--steps", 1, "--epochs", 1, "--out", "run"]
    done = inside("train.py", *words, cwd=tmp_path)
    assert done.returncode == 0 and "another light" not in done.stdout, done.stderr
    [row] = history(tmp_path / "run")
    assert row["val_copies_iou"] == "" and float(row["val_iou"]) >= 0
    assert Image.open(tmp_path / "run" / "loss_vs_epochs.png").width < 1000  # one panel


def test_copies_are_scored_on_the_device_of_the_training(pair):
    """Or the average of the weights would be moved to the CPU, before the first step on a GPU."""
    run = prepared(*pair[1:], "--out", pair[0] / "run")
    run.device = torch.device("cpu", 0)
    train.score_copies(run)
    assert run.segment.device is run.device


def test_an_image_too_small_for_a_strip_is_copied_itself(tmp_path, monkeypatch):
    mask = np.repeat(np.uint8([[1] * 7 + [0] * 9]), 16, axis=0)
    image = np.repeat(60 + 90 * mask[:, :, None], 3, axis=2)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(image).save("i.png")
    Image.fromarray(255 * mask).save("m.png")
    done = inside("train.py", "i.png", "m.png", *QUICK, "--patch", 16, cwd=tmp_path)
    assert done.returncode == 0 and "no strip of it can be held out" in done.stdout, done.stderr
    assert 0 <= float(history(tmp_path)[0]["val_copies_iou"]) <= 1
    copy, _ = prepared("i.png", "m.png", "--patch", 16, "--light", "keep", "--out", "other").copies["darker"]
    assert np.abs(copy - 0.75 * read_image("i.png")).max() <= 0.5


def test_a_class_that_the_strip_lacks_has_no_iou(tmp_path, monkeypatch):
    """The only disc is learned from: of the strip, and of its copies, no IoU is known unless a disc is seen there."""
    monkeypatch.chdir(tmp_path)
    image, mask = np.full((60, 200, 3), 90, np.uint8), np.zeros((60, 200), np.uint8)
    mask[20:40, 150:156] = 255
    image[mask > 0] = 200
    image = np.uint8(image + np.random.default_rng(0).normal(0, 3, image.shape))
    Image.fromarray(image).save("i.png")
    Image.fromarray(mask).save("m.png")
    run = prepared("i.png", "m.png")
    assert not any((indices == 1).any() for _, indices in run.copies.values())
    with torch.no_grad():
        for weights in run.ema_model.parameters():
            weights.zero_()
        bias = run.ema_model.layers.conv4.bias
        for preferred, iou in (0, None), (1, 0):
            bias[preferred] += 1 + preferred
            assert train.score_copies(run) == iou
    done = inside("train.py", "i.png", "m.png", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the strip shows no foreground: its IoU says nothing of the next image" in done.stdout
    assert "expect" not in done.stdout
    for row in history(tmp_path):
        assert row["val_copies_iou"] in ("", "0.0") or math.isfinite(float(row["val_copies_iou"]))
    _, last = load_network("last.pt")
    last["resume"]["best"]["val_copies_iou"] = None  # where no copy had an IoU: not what an earlier version left
    take_over(run, last)
    assert len(run.copies) == 7
