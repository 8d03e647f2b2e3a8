"""Every knob does what it says: a test for each that fails where the knob is ignored.

The tables at the end name them. An option without a test is a failure, too.
"""

import csv
import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import inside
from PIL import Image
from scipy.ndimage import grey_opening
from torch import nn
from tqdm import tqdm

import data
import patches
import predict
import train
from model import FCN, UNet, batchnorm_layers, load_network, normalize
from patches import Sampling, cut_batches, photometric_jitter, stitch
from segmenter import Segmenter, torch_forward
from support.arguments import evaluate_arguments, infer_arguments, predict_arguments, train_arguments
from support.checkpoint import save_checkpoint
from support.images import read_image
from support.masks import IGNORE, read_mask
from support.sample import BLACK_AND_WHITE

SMALL = ["--patch", 16, "--batch", 4, "--steps", 3, "--epochs", 1, "--device", "cpu"]


def arguments(*words):
    return train_arguments([str(word) for word in (*SMALL, *words)])


def prepare(*words):
    """Return a training before its first step; words given later replace those of SMALL."""
    run = train.prepare(arguments(*words))
    run.bar = tqdm(disable=True)
    return run


def take_epoch(run, epoch=0):
    return train.train_epoch(run, epoch, train.open_batches(run, run.args.epochs))


def first_batch(run):
    return next(train.open_batches(run, run.args.epochs))


def save(folder, image, mask):
    """Write an image and its mask, as the words that train.py takes for them."""
    Image.fromarray(image).save(folder / "i.png")
    Image.fromarray(mask).save(folder / "m.png")
    return folder / "i.png", folder / "m.png", "--out", folder / "run"


@pytest.fixture
def places(tmp_path):
    """An image that says of each pixel where it is, (y, x, 9), half of it foreground."""
    y, x = np.mgrid[:100, :250].astype(np.uint8)
    return save(tmp_path, np.stack([y, x, 9 + 0 * y], axis=2), np.where(y < 50, 255, 0).astype(np.uint8))


@pytest.fixture
def rare(tmp_path):
    """Foreground is a pixel here and there, of another colour: 12 of 60,000."""
    image, mask = np.full((200, 300, 3), 80, np.uint8), np.zeros((200, 300), np.uint8)
    mask[50::100, 25::50] = 255
    image[mask > 0] = 200
    return save(tmp_path, image, mask)


def batches_of(layer, watched):
    """Keep what a layer returns in the list `watched`."""
    return layer.register_forward_hook(lambda module, inputs, output: watched.append(output.detach().clone()))


# ---------------------------------------------------------------------------------------------------
# train.py: files


def test_the_image_and_mask_that_are_named_are_learned_from(places):
    [(image, mask, _)], whole = prepare(*places).data.validation.items, read_image(places[0])
    top, left = image[0, 0, :2]
    assert np.array_equal(image, whole[top : top + len(image), left : left + image.shape[1]])
    assert np.array_equal(mask == 1, image[:, :, 0] < 50)


def test_a_folder_is_learned_from(folder, tmp_path):
    run = prepare("--data", folder, "--out", tmp_path / "run")
    found = sorted(image.tobytes() for part in (run.data.training, run.data.validation) for image, *_ in part.items)
    assert found == sorted(read_image(path).tobytes() for path in (folder / "images").iterdir())


def test_results_go_where_they_should(pair, monkeypatch):
    folder, image, mask = pair
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    train.train(arguments(image, mask, "--steps", 1, "--out", "deep/er"))
    assert set(folder.iterdir()) - before == {folder / "deep"}
    written = {path.name for path in (folder / "deep" / "er").iterdir()}
    assert written == {"model.pt", "last.pt", "loss_vs_epochs.png", "history.csv", "settings.args"}


def test_resuming_goes_on_after_the_last_epoch(pair):
    folder, image, mask = pair
    histories = []
    for words in ([image, mask, *SMALL], ["--resume", "--epochs", 2]):
        assert inside("train.py", *words, cwd=folder).returncode == 0
        with open(folder / "history.csv", newline="") as file:
            histories.append(list(csv.reader(file)))
    assert [row[0] for row in histories[1]] == ["epoch", "1", "2"] and histories[1][:2] == histories[0]
    optimizer = load_network(folder / "last.pt")[1]["resume"]["optimizer"]
    assert {int(state["step"]) for state in optimizer["state"].values()} == {6}


def test_the_device_is_the_one_asked_for(places, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    run = prepare(*places, "--device", "cpu")
    assert run.device.type == "cpu" and next(run.network.parameters()).device.type == "cpu"


def test_the_board_shows_every_epoch(places, monkeypatch):
    shown = []
    board = lambda folder, classes, epochs: lambda row, ious, images: shown.append((folder, row["epoch"]))
    monkeypatch.setattr("support.tensorboard.open_board", board)
    train.train(arguments(*places, "--epochs", 2, "--steps", 1, "--tensorboard", "curves"))
    assert shown == [("curves", 1), ("curves", 2)]


# ---------------------------------------------------------------------------------------------------
# train.py: the data


def test_a_threshold_makes_two_classes_of_greys(tmp_path):
    y, x = np.mgrid[:100, :250].astype(np.uint8)
    words = save(tmp_path, np.stack([y, x, x], axis=2), y)
    found = prepare(*words, "--threshold", 60).data
    assert [entry["value"] for entry in found.classes] == [0, 255]
    for image, mask, _ in [*found.training.items, *found.validation.items]:
        assert np.array_equal(mask == 1, image[:, :, 0] >= 60)


def test_the_class_table_is_the_one_named(places, tmp_path):
    classes = [{"name": "sky", "value": 255}, {"name": "ground", "value": 0}]
    (tmp_path / "table.json").write_text(json.dumps({"classes": classes}))
    run = prepare(*places, "--classes", tmp_path / "table.json")
    assert run.data.classes == run.metadata["classes"] == classes
    assert all(np.array_equal(mask == 0, image[:, :, 0] < 50) for image, mask, _ in run.data.training.items)


def test_lists_may_lie_elsewhere(folder, tmp_path):
    (tmp_path / "fold").mkdir()
    (tmp_path / "fold" / "val.txt").write_text("n2\nn5\n")
    run = prepare("--data", folder, "--lists", tmp_path / "fold", "--out", tmp_path / "run")
    assert run.data.held_out == ["n2", "n5"] and len(run.data.training) == 6


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_strip_takes_its_share(places, share):
    [(image, *_)] = prepare(*places, "--val-share", share).data.validation.items
    assert image.shape == (100, 250 * share, 3)


@pytest.mark.parametrize("gigabytes, held", [(0.00022, True), (0.00021, False)])
def test_what_fits_into_memory_is_held(folder, tmp_path, gigabytes, held):
    """Four times 70x90 and 70x100 pixels of four bytes are 212,800 bytes."""
    run = prepare("--data", folder, "--memory", gigabytes, "--out", tmp_path / "run")
    assert (run.data.training.decode is None) == held


@pytest.mark.parametrize("reuse, opened", [(1, 7), (3, 3), (None, 2)])
def test_an_image_is_used_for_some_steps_in_a_row(folder, tmp_path, monkeypatch, reuse, opened):
    """Seven steps open each patch's image so often; of a folder, four steps use it."""
    words = ["--data", folder, "--steps", 7, "--out", tmp_path / "run", *(["--reuse", reuse] if reuse else [])]
    run, numbers, get = prepare(*words), [], data.Dataset.__getitem__
    monkeypatch.setattr(data.Dataset, "__getitem__", lambda self, number: numbers.append(number) or get(self, number))
    assert len(list(train.open_batches(run, run.args.epochs))) == 7 and len(numbers) == opened * run.args.batch


# ---------------------------------------------------------------------------------------------------
# train.py: the network


@pytest.mark.parametrize("words, kind", [([], FCN), (["--model", "fcn"], FCN), (["--model", "unet"], UNet)])
def test_the_network_is_the_one_asked_for(places, words, kind):
    assert type(prepare(*places, *words).network) is kind


def test_width_and_depth_are_those_of_the_network(places):
    network = prepare(*places, "--model", "unet", "--width", 5, "--depth", 2).network
    assert [level[3].weight.shape[:2] for level in network.down] == [(5, 5), (10, 10), (20, 20)]


def test_upsampling_is_the_one_asked_for(places):
    assert prepare(*places, "--upsample", "bilinear").network.layers.upsample.mode == "bilinear"
    network = prepare(*places, "--model", "unet", "--depth", 1, "--upsample", "nearest").network
    assert network.up[0][1].mode == "nearest"


def test_batchnorm_follows_three_convolutions(places):
    assert [len(batchnorm_layers(prepare(*places, *words).network)) for words in ([], ["--batchnorm"])] == [0, 3]


def test_separable_convolutions_have_a_group_a_channel(places):
    network = prepare(*places, "--model", "unet", "--width", 4, "--depth", 1, "--separable").network
    groups = [layer.groups for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] == 3]
    assert groups == [1, 4, 4, 8, 8, 4]  # but for the colours


def dropped(run, *epochs):
    """Which channels dropout drops in each step of these epochs: bool (epochs, steps, patches, channels)."""
    seen, layer = [], run.network.layers.dropout
    layer.register_forward_pre_hook(lambda module, inputs: torch.ones_like(inputs[0]))
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output[:, :, 0, 0] == 0))
    for epoch in epochs:
        take_epoch(run, epoch)
    return torch.stack(seen).unflatten(0, (len(epochs), -1)).numpy()


def test_dropout_drops_its_share_and_other_channels_each_epoch(places):
    words = [*places, "--dropout", 0.3, "--epochs", 2, "--batch", 16]
    both = dropped(prepare(*words), 0, 1)
    assert both.mean() == pytest.approx(0.3, abs=0.05)  # three deviations, of 1,536 channels
    assert (both[0] != both[1]).mean() == pytest.approx(2 * 0.3 * 0.7, abs=0.06)  # as if drawn independently
    assert np.array_equal(dropped(prepare(*words), 1)[0], both[1])  # resumed, the second epoch is the same
    assert not np.array_equal(dropped(prepare(*words, "--seed", 1), 1)[0], both[1])


def test_no_two_epochs_drop_the_same_channels(places):
    """However many there are."""
    run, seeds = prepare(*places, "--dropout", 0.3, "--epochs", 2000, "--steps", 1), []
    for epoch in (0, 1, 2, 3, 700, 701, 1500, 1501):
        take_epoch(run, epoch)
        seeds.append(torch.initial_seed())
    assert len(set(seeds)) == 8


def test_zoomed_the_network_sees_more_of_the_image(places):
    run = prepare(*places, "--zoom", 0.5, "--flips", "none", "--val-share", 0.2)
    extent = np.ptp(first_batch(run)[0].astype(int), axis=(1, 2))
    assert np.abs(extent[:, :2] - 30).max() <= 1  # from the middle of the first two pixels to that of the last
    assert sum(image.shape[1] for image, *_ in run.data.training.items) in (250 - 50 - 16, 250 - 50 - 32)  # the gap
    shapes = []
    run.ema_model.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    train.validate(run)
    assert shapes[0] == (1, 3, 50, 26)  # the strip of 100x50, the width on the pooling grid; then, its copies


# ---------------------------------------------------------------------------------------------------
# train.py: the patches


def test_patches_are_as_large_and_as_many_as_asked_for(places):
    images, truth = first_batch(prepare(*places, "--patch", 24, "--batch", 5))
    assert images.shape == (5, 24, 24, 3) and truth.shape == (5, 24, 24)


@pytest.mark.parametrize("budget, parts", [(1, [9, 8]), (2, [17])])
def test_the_budget_decides_the_parts(places, budget, parts):
    run, counts = prepare(*places, "--patch", 64, "--batch", 17, "--budget", budget, "--steps", 1), []
    run.network.register_forward_pre_hook(lambda module, inputs: counts.append(len(inputs[0])))
    take_epoch(run)
    assert counts == parts


@pytest.mark.parametrize("world", [1, 2])
def test_a_batch_goes_through_in_as_few_parts_as_fit(monkeypatch, world):
    """In the first number of parts, 1, 2, 3, …, that are within the budget; two processes halve them."""
    monkeypatch.setattr(train, "WORLD", world)
    for patch, budget in [(64, 1), (64, 3), (96, 1), (100, 2), (181, 1), (200, 1), (256, 1), (256, 5)]:
        for batch in (2, 4, 6, 16, 34, 100):
            args = train_arguments(["--patch", str(patch), "--batch", str(batch), "--budget", str(budget)])
            sizes = (math.ceil(batch / parts) for parts in range(1, batch + 1))
            largest = next(size for size in sizes if size * patch**2 <= budget * 256**2)
            parts = next(parts for parts in range(1, batch + 1) if math.ceil(batch / parts) == largest)
            assert train.micro_batch_size(args) == math.ceil(batch / world / parts)


@pytest.mark.parametrize("balance", [0, 0.4, 1])
def test_a_share_of_the_patches_is_placed_on_a_class(rare, balance):
    """Half of those on each of two classes; few others meet the rare one."""
    _, truth = first_batch(prepare(*rare, "--balance", balance, "--batch", 400, "--patch", 8, "--budget", 9))
    assert (truth == 1).any(axis=(1, 2)).mean() == pytest.approx(balance / 2, abs=0.08)


def test_scales_lie_between_the_two(places):
    words = [*places, "--scale", 0.5, 2, "--flips", "none", "--batch", 200, "--balance", 0]
    images, _ = first_batch(prepare(*words))
    scales = 15 / np.ptp(images[..., 1].astype(int), axis=(1, 2))
    assert 0.45 < scales.min() < 0.6 and 1.7 < scales.max() < 2.6


@pytest.mark.parametrize("flips, ways", [("all", 8), ("mirror", 2), ("none", 1)])
def test_patches_lie_as_they_may(places, flips, ways):
    images = first_batch(prepare(*places, "--flips", flips, "--batch", 100))[0].astype(int)
    found = {(*np.sign(patch[0, -1] - patch[0, 0]), *np.sign(patch[-1, 0] - patch[0, 0])) for patch in images}
    assert len(found) == ways and (flips == "all" or {way[3] for way in found} == {1})  # never upside down


def relit(run, step=0):
    """What becomes of black, grey and white patches, in units of the full scale: (3, patches, channels)."""
    shape, found = (run.args.batch, 16, 16), []
    for level in (0, 127.5, 255):
        images, _ = train.to_network_input(run, np.full((*shape, 3), level), np.zeros(shape, np.uint8), 0, step)
        assert (images.std(dim=(2, 3)) < 1e-6).all()
        found.append(images.mean(dim=(2, 3)).numpy() * run.metadata["std"] + run.metadata["mean"])
    return np.stack(found)


def test_light_contrast_and_tint_change_within_their_strength(places):
    black, grey, white = relit(prepare(*places, "--jitter", 0, "--batch", 100))
    np.testing.assert_allclose([black.mean(), grey.mean(), white.mean()], [0, 0.5, 1], atol=1e-6)
    assert np.ptp(white) < 1e-6 and np.ptp(black) < 1e-6
    black, grey, white = relit(prepare(*places, "--jitter", 0.3, "--batch", 100))
    light, contrast = 2 * grey, (white - black) / (2 * grey)
    assert 0.7 <= contrast.min() < 0.73 and 1.27 < contrast.max() <= 1.3
    assert 0.7 * 0.9 <= light.min() < 0.75 and 1.25 < light.max() <= 1.3 * 1.1
    assert np.ptp(contrast, axis=1).max() < 1e-5 and np.ptp(light, axis=1).max() > 0.1  # the tint, by channel


def test_noise_is_added_in_the_networks_units(places):
    """Its units are deviations of the colours, and each step has its own."""
    still, noisy = (prepare(*places, "--noise", strength, "--seed", 7) for strength in (0, 0.3))
    batch, truth = first_batch(noisy)
    for epoch, step in (0, 0), (2, 1):
        before, after = (train.to_network_input(run, batch, truth, epoch, step)[0] for run in (still, noisy))
        expected = patches.noise(7, epoch, step, range(4), 16, 0.3) / noisy.metadata["std"]
        np.testing.assert_allclose((after - before).permute(0, 2, 3, 1), expected, atol=1e-4)


@pytest.mark.parametrize("share", [0, 0.4, 1])
def test_objects_are_laid_on_a_share_of_the_patches(rare, share):
    words = [*rare, "--paste", share, "--balance", 0, "--batch", 400, "--patch", 8, "--budget", 9, "--jitter", 0]
    images, truth = first_batch(prepare(*words))
    assert (truth == 1).any(axis=(1, 2)).mean() == pytest.approx(share, abs=0.08)
    assert np.array_equal(images[..., 0] == 200, truth == 1)


# ---------------------------------------------------------------------------------------------------
# train.py: the loss


def numpy_loss(name, logits, truth, weights):
    """The formulas of the papers, in NumPy: logits (N, C, H, W), class indices (N, H, W), weights (C,)."""
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    chance, weight = np.take_along_axis(p, truth[:, None].astype(int), axis=1)[:, 0], weights[truth]
    if name == "dice":
        of_class = [
            2 * p[:, label][truth == label].sum() / ((p[:, label] ** 2).sum() + (truth == label).sum())
            for label in range(len(weights))
        ]
        return ((1 - np.array(of_class)) * weights).sum() / weights.sum()
    factor = (1 - chance) ** 2 if name == "focal" else 1
    return -(weight * factor * np.log(chance)).sum() / weight.sum()


@pytest.mark.parametrize("loss", ["ce", "bce", "focal", "dice", "ce+dice"])
@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_the_loss_of_a_step_is_the_weighted_formula(pair, loss, power):
    """The loss that the epoch returns, of the logits that the network gave, in two parts of the batch."""
    folder, image, mask = pair
    words = ["--loss", loss, "--class-weights", power, "--batch", 20, "--patch", 64, "--steps", 1]
    run, logits = prepare(image, mask, *words, "--out", folder / "run"), []
    _, truth = first_batch(run)
    batches_of(run.network, logits)
    found = take_epoch(run)
    pixels = sum(np.bincount(part.ravel(), minlength=2) for _, part, _ in run.data.training.items)
    weights = (pixels / pixels.sum()) ** -power
    parts = zip(logits, np.split(truth, [10]))
    expected = np.mean(
        [sum(numpy_loss(name, x.double().numpy(), t, weights) for name in loss.split("+")) for x, t in parts]
    )
    assert len(logits) == 2 and found == pytest.approx(expected, rel=1e-5)


def test_a_pair_learns_by_two_losses_and_a_folder_by_one():
    losses = [train_arguments(words).loss for words in ([], ["--data", "x"], ["--loss", "dice"])]
    assert losses == ["ce+dice", "ce", "dice"]


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(places):
    run, losses = prepare(*places, "--steps", 4), [1.0, 2.0, 6.0, 7.0]
    run.criterion = lambda logits, truth, all_reduce: 0 * logits.sum() + losses.pop(0)
    assert take_epoch(run) == 4


# ---------------------------------------------------------------------------------------------------
# train.py: the optimization


def before_each_step(optimizer, do):
    take = optimizer.step
    optimizer.step = lambda: (do(), take())


def test_epochs_and_steps_are_as_many_as_asked_for(places):
    run, rates = prepare(*places, "--epochs", 3, "--steps", 2, "--warmup", 1, "--lr", 0.01), []
    before_each_step(run.optimizer, lambda: rates.append(run.optimizer.lr))
    train.take_epochs(run)
    assert [row["epoch"] for row in run.history] == [1, 2, 3] and run.bar.total == 6
    np.testing.assert_allclose(rates, [0.01 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)])
    assert [row["learning_rate"] for row in run.history] == rates[1::2]


@pytest.mark.parametrize("words, peak", [([], 0.02), (["--lr", 0.3], 0.3), (["--model", "unet"], 0.003)])
def test_the_rate_warms_up_to_its_peak(places, words, peak):
    run, rates = prepare(*places, "--warmup", 4, "--steps", 6, "--epochs", 1000, *words), []
    before_each_step(run.optimizer, lambda: rates.append(run.optimizer.lr))
    take_epoch(run)
    np.testing.assert_allclose(rates, peak * np.array([1, 2, 3, 4, 4, 4]) / 4, rtol=1e-5)


def test_the_time_limit_counts_the_validation_and_ends(places, monkeypatch):
    run = prepare(*places, "--time-limit", 2, "--steps", 10)
    monkeypatch.setattr(time, "perf_counter", lambda: run.began + 30)  # of 120 seconds
    assert train.progress_at(run, 0) == 0.25
    assert train.progress_at(run, 9) == 0.9  # the steps are further
    run.validation_seconds = 60
    assert train.progress_at(run, 0) == 0.75
    run.validation_seconds = 99
    assert train.progress_at(run, 0) == train.progress_at(run, 9) == 1
    assert take_epoch(run) > 0 and run.optimizer.steps == 1  # in any case, so that there is a network
    run.history.append({})
    assert take_epoch(run) is None and run.optimizer.steps == 1 and train.is_over(run, 1)
    assert train.progress_at(prepare(*places, "--steps", 10), 5) == 0.5


def test_patience_counts_from_the_best_epoch(places):
    run = prepare(*places, "--epochs", 99, "--patience", 3)
    assert not train.is_over(run, 50)  # nothing is validated yet
    run.history, run.best = [{}], {"epoch": 2}  # its number; the next epoch has the index 2
    assert [train.is_over(run, epoch) for epoch in range(2, 7)] == [False, False, False, True, True]
    run.args.patience = None
    assert not train.is_over(run, 98)


def test_weights_decay_by_rate_times_decay(places):
    """Without a gradient, AdamW does nothing else."""
    run, rates = prepare(*places, "--weight-decay", 0.2, "--lr", 0.5, "--warmup", 2), []
    run.criterion = lambda logits, truth, all_reduce: 0 * logits.sum()
    before_each_step(run.optimizer, lambda: rates.append(run.optimizer.lr))
    before = [parameter.detach().clone() for parameter in run.network.parameters()]
    take_epoch(run)
    for old, new in zip(before, run.network.parameters()):
        torch.testing.assert_close(new.detach(), old * math.prod(1 - 0.2 * rate for rate in rates))


def gradients(run):
    """Return the gradients, in one vector, with which the first step is taken."""
    found = []
    note = lambda: found.append(torch.cat([parameter.grad.flatten() for parameter in run.network.parameters()]))
    before_each_step(run.optimizer, note)
    take_epoch(run)
    return found[0]


def test_gradients_are_clipped_to_the_norm(places):
    free = gradients(prepare(*places, "--clip", 0))
    torch.testing.assert_close(gradients(prepare(*places, "--clip", 0.01)), 0.01 * free / free.norm())
    assert torch.equal(gradients(prepare(*places, "--clip", 1e6)), free) and free.norm() > 0.02
    assert train_arguments([]).clip == 1 and train_arguments(["--model", "unet"]).clip == 0


@pytest.mark.parametrize("decay", [0, 0.15, 0.9])
def test_the_weights_that_are_kept_are_the_moving_average(places, decay):
    """The decay is (1 + step) / (10 + step) at first: 0.1, 0.182, 0.25."""
    run, weights = prepare(*places, "--ema", decay), []
    note = lambda: weights.append(run.network.layers.conv1.weight.detach().clone())
    before_each_step(run.optimizer, note)
    take_epoch(run)
    note()
    expected, *after = weights
    for step, now in enumerate(after):
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * now
    torch.testing.assert_close(run.ema_model.layers.conv1.weight, expected)
    assert len(weights) == 1 + 3


@pytest.mark.parametrize("amp, dtype", [("on", torch.bfloat16), ("off", torch.float32)])
def test_the_network_multiplies_in_sixteen_bits_where_asked_to(places, amp, dtype):
    run, logits = prepare(*places, "--amp", amp), []
    batches_of(run.network, logits)
    take_epoch(run)
    assert {output.dtype for output in logits} == {dtype} and run.args.amp == amp


def test_all_chance_follows_from_the_seed(places):
    run = prepare(*places, "--seed", 7)
    torch.manual_seed(7)
    expected = FCN()
    assert all(map(torch.equal, run.network.state_dict().values(), expected.state_dict().values()))
    assert all(map(torch.equal, run.ema_model.state_dict().values(), expected.state_dict().values()))
    [drawn] = cut_batches(run.data.training, Sampling(7, 16, 4, 0.5), 0, 0, 1, range(4))
    assert all(map(np.array_equal, first_batch(run), drawn))
    gain, offset = photometric_jitter(7, 0, 2, 4, 0.07)
    np.testing.assert_allclose(relit(run, step=2), [offset, gain / 2 + offset, gain + offset], atol=1e-5)


# ---------------------------------------------------------------------------------------------------
# train.py: validation


def test_validation_sees_what_the_halo_says(places, monkeypatch):
    halos, pieces = [], Segmenter.pieces
    monkeypatch.setattr(Segmenter, "pieces", lambda self, image: halos.append(self.halo) or pieces(self, image))
    for words in ([], ["--halo", 4], ["--halo", 0]):
        train.validate(prepare(*places, *words))
    assert halos == [8, 4, 0]


@pytest.mark.parametrize("most, expected", [(1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (100, [0, 1, 2, 3, 4])])
def test_so_many_images_are_validated_on_and_their_losses_averaged(folder, tmp_path, monkeypatch, most, expected):
    (folder / "val.txt").write_text("n1\nn2\nn4\nn5\nn6\n")
    run, seen = prepare("--data", folder, "--val-images", most, "--out", tmp_path / "run"), []
    pieces = Segmenter.pieces
    monkeypatch.setattr(Segmenter, "pieces", lambda self, image: seen.append(image) or pieces(self, image))
    validation = train.validate(run)
    items = [run.data.validation[number] for number in expected]
    assert len(seen) == len(items) and all(np.array_equal(image, one) for image, (one, *_) in zip(seen, items))
    losses, hits, known = [], 0, 0
    for image, mask, _ in items:
        with torch.inference_mode():
            whole = run.ema_model(normalize(image[None], run.metadata["mean"], run.metadata["std"]))
        losses.append(F.cross_entropy(whole, torch.from_numpy(mask)[None].long(), ignore_index=IGNORE).item())
        hits += int((whole[0].argmax(dim=0).numpy() == mask).sum())
        known += int((mask != IGNORE).sum())
    assert validation.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert validation.confusion.sum() == known and np.trace(validation.confusion) == hits
    assert len(validation.shown) == min(3, len(items)) and run.validation_seconds > 0


def test_of_epochs_with_the_same_iou_the_one_of_the_lower_loss_is_kept(places):
    row = lambda iou, loss: {"val_iou": iou, "val_loss": loss}
    ordered = [row(None, 2.0), row(0.0, 1.0), row(0.7, 0.9), row(0.7, 0.3), row(0.8, 5.0)]
    assert sorted(ordered[::-1], key=train.quality) == ordered
    run = prepare(*places, "--epochs", 9)
    for epoch, loss in enumerate([0.5, 0.4, 0.4, 0.6]):  # of one confusion matrix, and so of one IoU
        train.finish_epoch(run, epoch, 1.0, train.Validation(loss, np.array([[5, 1], [2, 7]]), [], None))
        assert run.best["epoch"] == [1, 2, 2, 2][epoch]


# ---------------------------------------------------------------------------------------------------
# predict.py and infer.py

METADATA = {"classes": BLACK_AND_WHITE, "ignore": [], "mean": [0.5] * 3, "std": [0.2] * 3}


def write_network(path, seed=0):
    """Write a small U-Net that has seen noise, and finds each class in half of it."""
    torch.manual_seed(seed)
    model = UNet(2, 4, 2)
    with torch.no_grad():
        for _ in range(40):
            model.train()(torch.randn(4, 3, 32, 32))
        logits = model.eval()(torch.randn(1, 3, 64, 64))
        model.classify.bias[0] += (logits[:, 1] - logits[:, 0]).median()
    save_checkpoint(path, model, **METADATA, settings={"flips": "all", "zoom": 1.0})


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A folder with a network model.pt and another one, other.pt."""
    folder = tmp_path_factory.mktemp("networks")
    write_network(folder / "model.pt")
    write_network(folder / "other.pt", seed=1)
    return folder


@pytest.fixture
def photos(networks, tmp_path, monkeypatch):
    """The current folder, with a network model.pt, another one other.pt, and in/ with three pictures."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number, name in enumerate(["a.png", "b.jpg", "c.png"]):
        random = np.random.default_rng(number)
        pixels = random.normal(128 + 4 * number, 51, (36, 300, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(Path("in") / name)
    for name in "model.pt", "other.pt":
        shutil.copyfile(networks / name, name)
    return tmp_path


def whole_pass(checkpoint, image, tta=False):
    """Class indices by a pass over the whole image, at once; with `tta`, by the mean of eight."""
    model, metadata = load_network(checkpoint)
    logits = lambda view: model(normalize(view[None], metadata["mean"], metadata["std"]))[0].numpy()
    with torch.inference_mode():
        if not tta:
            return logits(image).argmax(axis=0)
        views = [
            np.rot90(logits(np.rot90(image, turns)[:, ::step].copy())[:, :, ::step], -turns, (1, 2))
            for turns in range(4)
            for step in (1, -1)
        ]
        return np.mean(views, axis=0).argmax(axis=0)


def nearly(first, second):
    """Whether class indices are the same but where rounding may decide."""
    return np.mean(first == second) > 0.999


def as_asked(words, image):
    """Class indices that predict.py and infer.py owe to these words: with each, others than without."""
    model, metadata = load_network("model.pt")
    plain = whole_pass("model.pt", image)
    if words[0] == "--tta":
        expected = whole_pass("model.pt", image, tta=True)
    elif words[0] == "--halo":
        expected = stitch(torch_forward(model, [0.5] * 3, [0.2] * 3), image, 4, 4).argmax(axis=0)
    elif words[0] == "--opening":
        expected = Segmenter(model, metadata)(grey_opening(image, (1, 5, 1), mode="nearest"))
    else:
        expected = Segmenter(model, metadata, adapt=0.5)(image)
    assert not np.array_equal(plain, expected)
    return expected


EVERY_LOOK = [["--tta"], ["--halo", "4"], ["--adapt", "0.5"], ["--opening", "5"]]
LOOKS = pytest.mark.parametrize("words", EVERY_LOOK, ids=lambda words: words[0])


def test_predict_segments_the_image_with_the_checkpoint(photos):
    for image in ("in/a.png", "in/b.jpg"):
        for words, network in ([], "model.pt"), (["--checkpoint", "other.pt"], "other.pt"):
            found = predict.predict(predict_arguments([image, *words, "--out", "mask.png"]))
            assert nearly(found, whole_pass(network, read_image(image)))
            assert np.array_equal(read_mask("mask.png"), 255 * found) and not Path("predictions.png").exists()


@LOOKS
def test_predict_looks_at_the_image_as_asked(photos, words):
    expected = as_asked(words, read_image("in/a.png"))
    assert nearly(predict.predict(predict_arguments(["in/a.png", *words])), expected)


def test_predict_scores_against_the_mask(photos, capsys):
    truth = np.random.default_rng(0).integers(0, 2, (36, 300))
    Image.fromarray((255 * truth).astype(np.uint8)).save("truth.png")
    found = predict.predict(predict_arguments(["in/a.png", "--mask", "truth.png"]))
    iou = ((truth == 1) & (found == 1)).sum() / ((truth == 1) | (found == 1)).sum()
    assert f"foreground IoU {iou:.4f}" in capsys.readouterr().out


def test_predict_draws_the_outline(photos):
    image = read_image("in/a.png")
    found = predict.predict(predict_arguments(["in/a.png", "--overlay", "line.png"]))
    drawn = read_image("line.png")
    around, (height, width) = np.pad(found, 1, mode="edge"), found.shape
    edge = sum(around[y : y + height, x : x + width] != found for y, x in [(0, 1), (2, 1), (1, 0), (1, 2)]) > 0
    assert np.array_equal(drawn[~edge], image[~edge]) and (drawn[edge] == (255, 0, 255)).all()


@pytest.mark.parametrize("script", ["predict.py", "infer.py"])
def test_the_device_to_predict_on_is_the_one_asked_for(photos, monkeypatch, script):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    seen, call = [], Segmenter.__call__
    monkeypatch.setattr(Segmenter, "__call__", lambda self, *args: seen.append(self.device.type) or call(self, *args))
    words = ["in/a.png"] if script == "predict.py" else ["in", "out"]
    assert inside(script, *words, "--device", "cpu", cwd=photos).returncode == 0
    assert set(seen) == {"cpu"}


def masks(folder):
    return {path.name: read_mask(path) for path in sorted(Path(folder).iterdir())}


def test_infer_segments_a_folder_into_another_with_the_checkpoint(photos):
    for words, network in ([], "model.pt"), (["--checkpoint", "other.pt"], "other.pt"):
        assert inside("infer.py", "in", f"out {network}", *words, cwd=photos).returncode == 0
        found = masks(f"out {network}")
        assert list(found) == ["a.png", "b.jpg", "c.png"]
        assert all(nearly(found[name] > 127, whole_pass(network, read_image(f"in/{name}")) == 1) for name in found)


@LOOKS
def test_infer_looks_at_images_as_asked(photos, words):
    assert inside("infer.py", "in", "out", *words, cwd=photos).returncode == 0
    assert nearly(masks("out")["a.png"], 255 * as_asked(words, read_image("in/a.png")))


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_infer_writes_one_kind_of_file(photos, kind):
    assert inside("infer.py", "in", "out", "--format", kind, cwd=photos).returncode == 0
    assert list(masks("out")) == [f"a.{kind}", f"b.{kind}", f"c.{kind}"]


def test_infer_takes_the_images_that_are_named(photos):
    Path("names.txt").write_text("b\nc\n")
    assert inside("infer.py", "in", "out", "--only", "names.txt", cwd=photos).returncode == 0
    assert list(masks("out")) == ["b.jpg", "c.png"]


def test_infer_leaves_alone_what_is_there(photos):
    assert inside("infer.py", "in", "out", cwd=photos).returncode == 0
    before = masks("out")
    Path("out/c.png").unlink()
    assert inside("infer.py", "in", "out", "--resume", "--checkpoint", "other.pt", cwd=photos).returncode == 0
    after = masks("out")
    assert np.array_equal(before["a.png"], after["a.png"]) and not np.array_equal(before["c.png"], after["c.png"])


@pytest.mark.parametrize("score", ["softmax", "energy", "features"])
def test_infer_rejects_what_scores_below_the_threshold(photos, score):
    segment = Segmenter(*load_network("model.pt"))
    names = ["a.png", "b.jpg", "c.png"]
    scores = {name: segment.with_scores(read_image(f"in/{name}"), [score])[1][score] for name in names}
    low, middle, _ = sorted(scores.values())
    words = ["infer.py", "in", "out", "--score", score, f"--reject={(low + middle) / 2}"]
    assert inside(*words, cwd=photos).returncode == 0
    with open("out/rejected.csv", newline="") as file:
        [[_, name], [image, value]] = csv.reader(file)
    assert name == score and scores[image] == low == pytest.approx(float(value))
    assert {path.name for path in Path("out").iterdir()} == {*scores, "rejected.csv"} - {image}


# ---------------------------------------------------------------------------------------------------
# evaluate.py


def test_evaluate_names_its_picture_as_asked(photos):
    """And compares the folders that are named, in this order: of the second, a class is absent from the first."""
    for folder, level in ("pred", 100), ("true", 150):
        Path(folder).mkdir()
        Image.fromarray(np.where(read_image("in/a.png")[:, :, 0] > level, 255, 0).astype(np.uint8)).save(
            f"{folder}/a.png"
        )
    done = inside("evaluate.py", "pred", "true", "--worst", 1, "--out", "drawn.jpg", cwd=photos)
    assert done.returncode == 0 and read_image("drawn.jpg").std() > 1 and not Path("worst.png").exists()
    pixels = read_image("in/a.png")[:, :, 0]
    precision = (pixels > 150).sum() / (pixels > 100).sum()
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("foreground"))
    assert row[3:5] == [f"{precision:.4f}", "1.0000"]  # what is true is found, but more than that


# ---------------------------------------------------------------------------------------------------
# The tables: what holds each knob to its word, a function here or a test elsewhere

TRAIN = {
    "image": test_the_image_and_mask_that_are_named_are_learned_from,
    "mask": test_the_image_and_mask_that_are_named_are_learned_from,
    "data": test_a_folder_is_learned_from,
    "out": test_results_go_where_they_should,
    "resume": test_resuming_goes_on_after_the_last_epoch,
    "device": test_the_device_is_the_one_asked_for,
    "light": "tests/test_light.py::test_the_light_is_matched_or_kept_as_asked",
    "threshold": test_a_threshold_makes_two_classes_of_greys,
    "classes": test_the_class_table_is_the_one_named,
    "lists": test_lists_may_lie_elsewhere,
    "val_share": test_the_strip_takes_its_share,
    "memory": test_what_fits_into_memory_is_held,
    "reuse": test_an_image_is_used_for_some_steps_in_a_row,
    "model": test_the_network_is_the_one_asked_for,
    "upsample": test_upsampling_is_the_one_asked_for,
    "batchnorm": test_batchnorm_follows_three_convolutions,
    "width": test_width_and_depth_are_those_of_the_network,
    "depth": test_width_and_depth_are_those_of_the_network,
    "separable": test_separable_convolutions_have_a_group_a_channel,
    "dropout": test_dropout_drops_its_share_and_other_channels_each_epoch,
    "start_from": "tests/test_train.py::test_weights_may_start_from_those_of_other_classes",
    "zoom": test_zoomed_the_network_sees_more_of_the_image,
    "try_zoom": "tests/test_train.py::test_of_two_zooms_one_is_gone_on_with_as_if_it_were_the_only_one",
    "patch": test_patches_are_as_large_and_as_many_as_asked_for,
    "batch": test_patches_are_as_large_and_as_many_as_asked_for,
    "budget": test_the_budget_decides_the_parts,
    "balance": test_a_share_of_the_patches_is_placed_on_a_class,
    "scale": test_scales_lie_between_the_two,
    "flips": test_patches_lie_as_they_may,
    "jitter": test_light_contrast_and_tint_change_within_their_strength,
    "noise": test_noise_is_added_in_the_networks_units,
    "paste": test_objects_are_laid_on_a_share_of_the_patches,
    "loss": test_the_loss_of_a_step_is_the_weighted_formula,
    "class_weights": test_the_loss_of_a_step_is_the_weighted_formula,
    "epochs": test_epochs_and_steps_are_as_many_as_asked_for,
    "steps": test_epochs_and_steps_are_as_many_as_asked_for,
    "time_limit": test_the_time_limit_counts_the_validation_and_ends,
    "patience": test_patience_counts_from_the_best_epoch,
    "lr": test_the_rate_warms_up_to_its_peak,
    "warmup": test_the_rate_warms_up_to_its_peak,
    "weight_decay": test_weights_decay_by_rate_times_decay,
    "clip": test_gradients_are_clipped_to_the_norm,
    "ema": test_the_weights_that_are_kept_are_the_moving_average,
    "amp": test_the_network_multiplies_in_sixteen_bits_where_asked_to,
    "seed": test_all_chance_follows_from_the_seed,
    "halo": test_validation_sees_what_the_halo_says,
    "val_images": test_so_many_images_are_validated_on_and_their_losses_averaged,
    "tensorboard": test_the_board_shows_every_epoch,
}
PREDICT = {
    "image": test_predict_segments_the_image_with_the_checkpoint,
    "checkpoint": test_predict_segments_the_image_with_the_checkpoint,
    "out": test_predict_segments_the_image_with_the_checkpoint,
    "mask": test_predict_scores_against_the_mask,
    "overlay": test_predict_draws_the_outline,
    "probabilities": "tests/test_probabilities.py::test_a_tiff_file_has_a_band_for_each_class",
    "tta": test_predict_looks_at_the_image_as_asked,
    "halo": test_predict_looks_at_the_image_as_asked,
    "adapt": test_predict_looks_at_the_image_as_asked,
    "opening": test_predict_looks_at_the_image_as_asked,
    "amp": "tests/test_amp.py::test_all_that_predict_multiply_as_asked",
    "device": test_the_device_to_predict_on_is_the_one_asked_for,
}
INFER = {
    "images": test_infer_segments_a_folder_into_another_with_the_checkpoint,
    "output": test_infer_segments_a_folder_into_another_with_the_checkpoint,
    "checkpoint": test_infer_segments_a_folder_into_another_with_the_checkpoint,
    "onnx": "tests/test_export.py::test_infer_runs_it_without_pytorch",
    "overlay": "tests/test_infer.py::test_overlays_show_the_image_the_colours_of_its_classes_and_their_outline",
    "probabilities": "tests/test_probabilities.py::test_infer_writes_the_kind_that_fits_the_classes_beside_the_masks",
    "format": test_infer_writes_one_kind_of_file,
    "only": test_infer_takes_the_images_that_are_named,
    "resume": test_infer_leaves_alone_what_is_there,
    "reject": test_infer_rejects_what_scores_below_the_threshold,
    "score": test_infer_rejects_what_scores_below_the_threshold,
    "tta": test_infer_looks_at_images_as_asked,
    "halo": test_infer_looks_at_images_as_asked,
    "adapt": test_infer_looks_at_images_as_asked,
    "opening": test_infer_looks_at_images_as_asked,
    "amp": "tests/test_amp.py::test_all_that_predict_multiply_as_asked",
    "device": test_the_device_to_predict_on_is_the_one_asked_for,
}
EVALUATE = {
    "predictions": test_evaluate_names_its_picture_as_asked,
    "masks": test_evaluate_names_its_picture_as_asked,
    "only": "tests/test_evaluate.py::test_only_those_that_are_named_are_scored",
    "missing": "tests/test_evaluate.py::test_a_mask_without_prediction_is_an_error_unless_asked_otherwise",
    "classes": "tests/test_evaluate.py::test_a_class_table_is_the_one_given_else_found_in_the_folder_else_beside_it",
    "threshold": "tests/test_evaluate.py::test_antialiased_true_masks_need_a_threshold",
    "json": "tests/test_evaluate.py::test_json_holds_what_evaluate_returns_and_may_be_written_again",
    "worst": "tests/test_evaluate.py::test_the_worst_come_first_with_their_images",
    "gallery": "tests/test_evaluate.py::test_the_gallery_shows_the_best_the_median_and_the_worst",
    "out": test_evaluate_names_its_picture_as_asked,
    "images": "tests/test_evaluate.py::test_the_worst_come_first_with_their_images",
}


@pytest.mark.parametrize(
    "table, knobs",
    [
        (TRAIN, train_arguments([])),
        (PREDICT, predict_arguments([])),
        (INFER, infer_arguments(["images", "masks"])),
        (EVALUATE, evaluate_arguments(["predicted", "true"])),
    ],
    ids=["train.py", "predict.py", "infer.py", "evaluate.py"],
)
def test_every_knob_has_a_test(table, knobs):
    assert set(vars(knobs)) == set(table), "a knob without a test, or a test without a knob"
    for test in table.values():
        if isinstance(test, str):
            file, name = test.split("::")
            assert f"\ndef {name}(" in (Path(__file__).parent.parent / file).read_text(encoding="utf-8"), test
        else:
            assert globals()[test.__name__] is test and test.__name__.startswith("test_")
