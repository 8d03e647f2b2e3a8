"""--amp of what predicts: the network multiplies in 16 bits where it should, and windows still change nothing."""

import re

import numpy as np
import pytest
import torch
from conftest import fails_in_one_line, inside
from PIL import Image

from model import FCN, UNet, load_network, normalize
from segmenter import Segmenter
from support import devices
from support.checkpoint import save_checkpoint
from support.files import BadInput
from support.images import read_image
from support.masks import read_mask
from support.onnx_file import OnnxNetwork

CLASSES = [{"name": name, "value": value} for name, value in [("sky", 0), ("land", 100), ("sea", 200)]]
METADATA = {"classes": CLASSES, "ignore": [], "mean": [0.5] * 3, "std": [0.2] * 3, "settings": {"zoom": 1.0}}


def network(kind):
    torch.manual_seed(0)
    model = kind(3) if kind is FCN else kind(3, 8, 3)
    for _ in range(10 if kind is UNet else 0):
        model.train()(torch.randn(2, 3, 64, 64))
    return model.eval()


def noise(height=300, width=411, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def whole(model, image, half):
    """The logits (C, H, W) of one pass over the whole image."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        return model(normalize(image[None].copy(), METADATA["mean"], METADATA["std"]))[0].float().numpy()


@pytest.mark.parametrize("kind", [FCN, UNet])
@pytest.mark.parametrize("staged", [True, False])
def test_windows_in_16_bits_equal_the_whole_pass_in_16_bits(kind, staged):
    model, image = network(kind), noise()
    half, full = whole(model, image, True), whole(model, image, False)
    found = Segmenter(model, METADATA, halo=None if staged else model.halo, amp="on").logits(image)
    error, rounding = np.abs(found - half), np.abs(full - half)
    assert error.max() < rounding.max() / 4 and error.mean() < rounding.mean() / 20
    plain = Segmenter(model, METADATA, amp="off").logits(image)
    np.testing.assert_allclose(plain, full, atol=1e-5)
    assert np.array_equal(plain, Segmenter(model, METADATA).logits(image))


def test_adapted_in_16_bits_is_near_to_adapted_in_32():
    model, image = network(UNet), noise()
    bright = image // 2 + 127
    full, half, plain = (
        Segmenter(model, METADATA, adapt=adapt, amp=amp)(bright) for adapt, amp in [(1, "off"), (1, "on"), (0, "off")]
    )
    assert (full != half).mean() < 0.02 < 0.1 < (full != plain).mean()


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for number, name in enumerate(["a.png", "b.png"]):
        Image.fromarray(noise(600, 90, number)).save(tmp_path / "in" / name)
    save_checkpoint("model.pt", network(UNet), **METADATA)
    return tmp_path


@pytest.fixture
def dtypes(monkeypatch):
    """Note what the network's passes return: their dtypes, and the sizes of the images."""
    found, forward = [], UNet.forward

    def watched(self, image, *more, **others):
        logits = forward(self, image, *more, **others)
        found.append((logits.dtype, tuple(image.shape[2:])))
        return logits

    monkeypatch.setattr(UNet, "forward", watched)
    return found


WAYS = [
    ["predict.py", "in/a.png"],
    ["infer.py", "in", "out"],
    ["-m", "tools.thresholds", "in"],
    ["-m", "tools.speed", "model.pt", "in"],
]


@pytest.mark.parametrize("words", WAYS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("amp, dtype", [("on", torch.bfloat16), ("off", torch.float32)])
def test_all_that_predict_multiply_as_asked(photos, dtypes, words, amp, dtype):
    done = inside(*words, "--amp", amp, cwd=photos)
    assert done.returncode == 0, done.stderr
    assert {found for found, _ in dtypes} == {dtype} and "--amp auto" not in done.stdout
    if "tools.thresholds" in words:  # scores of 16 bits are for infer.py in 16 bits
        assert ("--amp on" in done.stdout) == (amp == "on")


@pytest.mark.parametrize("faster", [True, False])
def test_auto_goes_by_a_trial_and_says_what_changes_in_the_first_image(photos, dtypes, monkeypatch, faster):
    seconds = {torch.float32: 1.0, torch.bfloat16: 0.5 if faster else 0.95}
    monkeypatch.setattr(devices, "trial_seconds", lambda network, dtype, training: seconds[dtype])
    done = inside("infer.py", "in", "out", "--amp", "auto", cwd=photos)
    assert done.returncode == 0 and f"times as fast on this CPU: {'on' if faster else 'off'}" in done.stdout
    model, _ = load_network("model.pt")
    for name in ("a.png", "b.png"):
        expected = whole(model, read_image(f"in/{name}"), faster).argmax(axis=0)
        assert (read_mask(f"out/{name}") // 100 != expected).mean() < 1e-3
    told = re.findall(r"16 bits change the class of ([\d.]+)% of the pixels", done.stdout)
    if not faster:
        assert not told and {dtype for dtype, _ in dtypes} == {torch.float32}
        return
    middle = read_image("in/a.png")[44:556]
    different = whole(model, middle, True).argmax(axis=0) != whole(model, middle, False).argmax(axis=0)
    assert len(told) == 1 and float(told[0]) == pytest.approx(100 * different.mean(), abs=0.02) and different.any()


def test_the_trial_predicts_and_changes_nothing():
    model, seen = network(UNet), []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.register_forward_hook(lambda module, inputs, output: seen.append((module.training, output.requires_grad)))
    for dtype in (torch.float32, torch.bfloat16):
        assert devices.trial_seconds(model, dtype, training=False) > 0
    assert set(seen) == {(False, False)}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_onnx_is_refused(photos):
    words = ["infer.py", "in", "out", "--onnx", "model.onnx", "--amp", "on"]
    fails_in_one_line(inside(*words, cwd=photos), "--amp: only PyTorch")
    for amp in ("on", "auto"):
        with pytest.raises(BadInput, match="--amp: only PyTorch"):
            Segmenter(OnnxNetwork(halo=8, stride=2, session=None), METADATA, amp=amp)
