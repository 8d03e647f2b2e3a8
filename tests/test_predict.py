"""predict.py as a user runs it."""

import copy
import pickle
import statistics
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, command, fails_in_one_line, inside
from PIL import Image
from scipy import ndimage

import patches
import predict
from model import FCN, UNet, batchnorm_layers, load_network, normalize
from segmenter import Segmenter, adapted_batchnorm
from support.arguments import predict_arguments
from support.checkpoint import save_checkpoint
from support.files import BadInput
from support.images import read_image
from support.masks import read_mask
from support.sample import BLACK_AND_WHITE, sample


def checkpoint(path, classes=BLACK_AND_WHITE, seed=0, **metadata):
    """An untrained network: its masks are noise, which is the hardest to write and to stitch."""
    torch.manual_seed(seed)
    model = FCN(len(classes)).eval()
    colours = {"mean": [0.45, 0.4, 0.35], "std": [0.1, 0.1, 0.1]}
    save_checkpoint(path, model, classes=classes, settings={}, ignore=[], **colours, **metadata)
    return model


def oracle(path, image):
    """Class indices by one pass over the whole image."""
    model, metadata = load_network(path)
    with torch.inference_mode():
        return model(normalize(image[None], metadata["mean"], metadata["std"]))[0].argmax(0).numpy()


@pytest.mark.slow
def test_a_new_image_of_any_size_in_windows_equals_the_whole_pass(tmp_path):
    checkpoint(tmp_path / "model.pt")
    random = np.random.default_rng(0)
    for height, width in [(1, 1), (301, 777), (256, 256), (3, 1000)]:
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / "new.png")
        done = inside("predict.py", "new.png", cwd=tmp_path)
        assert done.returncode == 0 and "by model.pt" in done.stdout and "there is no" not in done.stdout, done.stderr
        expected = oracle(tmp_path / "model.pt", image) * 255
        assert np.array_equal(read_mask(tmp_path / "predictions.png"), expected)
        assert np.array_equal(read_mask(tmp_path / "predictions.jpg", threshold=128), expected)


@pytest.mark.slow
def test_right_after_cloning_the_shipped_checkpoint_segments_the_sample(tmp_path):
    done = command("predict.py", "rgb.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "wrote the bundled sample" in done.stdout and "fcn.pt" in done.stdout
    assert "there is no model.pt here" in done.stdout
    scored = inside("predict.py", "--mask", "gt.png", "--overlay", "outline.jpg", cwd=tmp_path)
    figures = dict(
        zip(
            ("IoU", "Dice", "accuracy"),
            map(float, [part.split()[-1] for part in scored.stdout.splitlines()[-2].split(", ")]),
        )
    )
    assert figures["IoU"] > 0.97 and figures["Dice"] > 0.985 and figures["accuracy"] > 0.98
    truth, found = read_mask(tmp_path / "gt.png") > 0, read_mask(tmp_path / "predictions.png") > 0
    assert figures["IoU"] == pytest.approx((truth & found).sum() / (truth | found).sum(), abs=1e-4)
    edges = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (truth, found)]
    shares = [(ndimage.distance_transform_edt(~one)[other] <= 2).mean() for one, other in (edges, edges[::-1])]
    assert f"boundaries: foreground F {statistics.harmonic_mean(shares):.4f}, " in scored.stdout
    changed = (read_image(tmp_path / "outline.jpg").astype(int) != read_image(tmp_path / "rgb.png")).any(axis=2)
    assert changed.any()
    averaged = inside("predict.py", "--mask", "gt.png", "--tta", "--out", "tta.png", cwd=tmp_path)
    assert float(averaged.stdout.splitlines()[-2].split()[3].rstrip(",")) > 0.97
    assert not (tmp_path / "tta.jpg").exists()


@pytest.mark.parametrize("values", [[0, 1], [254, 255], [0, 1, 255], [3, 7, 200], [0, 1000], [[0, 0, 0], [255, 0, 0]]])
def test_predictions_carry_the_training_masks_own_values(tmp_path, values):
    classes = [{"name": str(value), "value": value} for value in values]
    checkpoint(tmp_path / "model.pt", classes)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "rgb.png")
    assert inside("predict.py", cwd=tmp_path).returncode == 0
    assert np.array_equal(
        read_mask(tmp_path / "predictions.png"), np.array(values)[oracle(tmp_path / "model.pt", image)]
    )
    assert np.ptp(read_image(tmp_path / "predictions.jpg")) > 200  # to be seen, whatever the values


def test_a_mask_that_lacks_a_class_scores_not_available(tmp_path):
    model = FCN()
    with torch.no_grad():  # always says background
        model.layers.conv4.weight.zero_()
        model.layers.conv4.bias.copy_(torch.tensor([1.0, 0.0]))
    save_checkpoint(
        tmp_path / "model.pt", model, classes=BLACK_AND_WHITE, mean=[0, 0, 0], std=[1, 1, 1], settings={}, ignore=[]
    )
    Image.new("RGB", (50, 40), (9, 9, 9)).save(tmp_path / "rgb.png")
    Image.new("L", (50, 40), 0).save(tmp_path / "mask.png")
    done = inside("predict.py", "--mask", "mask.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pixels, boundaries = done.stdout.splitlines()[-2:]
    assert pixels == "pixels: foreground IoU n/a, Dice n/a, accuracy 1.0000"
    assert boundaries.startswith("boundaries: foreground F n/a, where up to 2 pixels off is right")


def test_the_mask_is_read_as_in_training(pair):
    """A mask that needed --threshold to train with needs no flag to score with."""
    folder, image, mask = pair
    Image.open(mask).save(folder / "lossy.jpg", quality=60)
    settings = ["--threshold", 100, "--epochs", 1, "--steps", 2]
    assert inside("train.py", image, "lossy.jpg", *settings, cwd=folder).returncode == 0
    assert "foreground IoU 0." in inside("predict.py", image, "--mask", "lossy.jpg", cwd=folder).stdout


@pytest.mark.parametrize("words", [[], ["--tta"], ["--overlay", "o.png"]])
def test_no_window_is_over_the_budget(tmp_path, monkeypatch, words):
    checkpoint(tmp_path / "model.pt")
    Image.new("RGB", (1111, 513), (9, 90, 9)).save(tmp_path / "rgb.png")
    monkeypatch.chdir(tmp_path)
    shapes, forward = [], FCN.forward
    monkeypatch.setattr(FCN, "forward", lambda self, batch: shapes.append(tuple(batch.shape)) or forward(self, batch))
    predict.predict(predict_arguments(words))
    assert len(shapes) == 15 * (8 if words == ["--tta"] else 1)
    assert {shape[:2] for shape in shapes} == {(1, 3)} and max(max(shape[2:]) for shape in shapes) <= 256


def test_nothing_is_imported_that_is_not_needed(tmp_path):
    checkpoint(tmp_path / "model.pt")
    Image.new("RGB", (50, 40)).save(tmp_path / "rgb.png")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import predict\n"
        "from support.arguments import predict_arguments\n"
        "predict.predict(predict_arguments([]))\n"
        "print([name for name in ('matplotlib', 'skimage', 'scipy', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, ROOT], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


# ---------------------------------------------------------------------------------------------------


def test_bad_inputs_are_one_line_and_leave_nothing(tmp_path):
    checkpoint(tmp_path / "model.pt")
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    Image.new("L", (50, 41)).save(tmp_path / "taller.png")
    Image.new("L", (50, 40), 77).save(tmp_path / "other.png")
    Image.new("1", (1_000_000, 1)).save(tmp_path / "row.png")
    before = sorted(tmp_path.iterdir())
    for words, expect in [
        (["row.png"], ["row.png", "65500"]),
        (["a.png", "--mask", "taller.png"], ["50x40", "50x41"]),
        (["a.png", "--mask", "nomask.png"], ["nomask.png"]),
        (["a.png", "--out", "a.jpg"], ["a.png is an input"]),  # its lossless twin would be
        (["a.png", "--out", "other.jpg"], ["other.png exists and was not written"]),
        (["a.png", "--overlay", "x.gif"], ["x.gif", ".png or .jpg"]),
        (["a.png", "--overlay", "a.png"], ["a.png is an input"]),
        (["a.png", "--out", "x.jpg", "--overlay", "x.png"], ["x.png is where the mask goes"]),
    ]:
        fails_in_one_line(inside("predict.py", *words, cwd=tmp_path), *expect)
        assert sorted(tmp_path.iterdir()) == before, words


def test_a_default_image_that_is_missing_beside_a_mask_is_an_error(tmp_path):
    Image.new("L", (50, 40)).save(tmp_path / "gt.png")
    fails_in_one_line(inside("predict.py", cwd=tmp_path), "rgb.png does not exist")
    assert [file.name for file in tmp_path.iterdir()] == ["gt.png"]


def test_a_mistake_comes_before_the_sample(tmp_path):
    for words in (["predict.py"], ["-m", "tools.show", "patches"]):
        fails_in_one_line(inside(*words, "--out", "x.gif", cwd=tmp_path), "x.gif")
        assert not list(tmp_path.iterdir())


def test_an_outline_follows_the_border():
    image, indices = np.zeros((6, 6, 3), np.uint8), np.zeros((6, 6), np.uint8)
    indices[:, 3:] = 1
    drawn = predict.outline(image, indices).any(axis=2)
    assert np.array_equal(np.flatnonzero(drawn[0]), [2, 3]) and not image.any()


@pytest.fixture
def experienced():
    """A small U-Net whose BatchNorm has seen some noise, and the facts to segment with."""
    torch.manual_seed(0)
    model = UNet(3, 4, 2)
    for _ in range(20):
        model.train()(torch.randn(4, 3, 64, 64))
    metadata = {
        "classes": BLACK_AND_WHITE,
        "ignore": [],
        "mean": [0.5] * 3,
        "std": [0.2] * 3,
        "settings": {"zoom": 1.0},
    }
    return model.eval(), metadata


def noisy(height, width, level=200):
    return np.random.default_rng(0).normal(level, 20, (height, width, 3)).clip(0, 255).astype(np.uint8)


def test_a_network_adapted_whole_to_a_window_sees_it_as_in_training(experienced):
    model, metadata = experienced
    image, statistics = noisy(64, 64), [layer.running_var.clone() for layer in batchnorm_layers(model)]
    plain = Segmenter(model, metadata)(image)
    before = copy.deepcopy(model.state_dict())
    adapted = Segmenter(model, metadata, adapt=1.0)(image)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not model.training and np.array_equal(Segmenter(model, metadata)(image), plain)
    reference = copy.deepcopy(model)
    for layer, usual in zip(batchnorm_layers(reference), statistics):
        assert torch.equal(usual, layer.running_var)
        layer.momentum = 1.0  # what it sees last is all that it knows
    x = normalize(image[None], metadata["mean"], metadata["std"])
    reference.train()(x)
    expected = reference.eval()(x)[0].argmax(dim=0).numpy()
    assert (adapted == expected).mean() > 0.999 and (plain != expected).mean() > 0.05


def test_adapting_averages_over_the_windows_as_pytorch_does_over_batches(experienced):
    model, metadata = experienced
    image = np.concatenate([noisy(300, 200), noisy(300, 190, level=60)], axis=1)
    height, width, cover = patches.tiles(*image.shape[:2], model.halo, model.stride)
    crops = [image[None, y : y + height, x : x + width] for y, x, *_ in cover]
    windows = [normalize(crop, metadata["mean"], metadata["std"]) for crop in crops]
    assert len(windows) > 3
    reference = copy.deepcopy(model)
    torch.optim.swa_utils.update_bn(windows, reference)
    for layer, usual in zip(batchnorm_layers(reference), batchnorm_layers(model)):
        layer.running_mean.mul_(0.75).add_(usual.running_mean, alpha=0.25)
        layer.running_var.mul_(0.75).add_(usual.running_var, alpha=0.25)
    expected = Segmenter(reference, metadata)(image)
    assert (Segmenter(model, metadata, adapt=0.75)(image) == expected).mean() > 0.999
    assert (Segmenter(model, metadata)(image) != expected).mean() > 0.05


@pytest.mark.parametrize("zoom", [1.0, 0.25])
def test_adapting_to_the_smallest_images_does_not_fail(experienced, zoom):
    model, metadata = experienced
    metadata["settings"]["zoom"] = zoom
    for size in [(1, 1), (4, 3), (5, 4), (17, 3), (30, 30)]:
        image = noisy(*size)
        assert Segmenter(model, metadata, adapt=1.0)(image).shape == size
        if max(size) * zoom <= 4:
            assert np.array_equal(Segmenter(model, metadata, adapt=1.0)(image), Segmenter(model, metadata)(image))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda segment: pickle.loads(pickle.dumps(segment))])
def test_a_copy_calls_its_own_network(experienced, copied):
    model, metadata = experienced
    image, segment = noisy(64, 64), Segmenter(model, metadata, halo=4, adapt=1.0, tta=True, amp="on", opening=3)
    plain, other = Segmenter(model, metadata, halo=4, tta=True, amp="on", opening=3), copied(segment)
    assert np.array_equal(other.logits(image), segment.logits(image))
    assert not np.array_equal(other.logits(image), plain.logits(image))
    assert other.with_scores(image, ["features"])[1] == segment.with_scores(image, ["features"])[1]
    torch.nn.init.zeros_(other.network.classify.weight)
    assert np.ptp(other.logits(image)[0]) == 0 < np.ptp(segment.logits(image)[0])


def test_a_broken_look_leaves_the_network_as_it_was(experienced):
    model, _ = experienced
    before = copy.deepcopy(model.state_dict())

    def interrupted():
        yield model(torch.zeros(1, 3, 64, 64))
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        torch.no_grad(),
        adapted_batchnorm(batchnorm_layers(model), interrupted(), 0.5),
    ):
        pass
    assert not any(layer.training or layer.momentum is None for layer in batchnorm_layers(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_batchnorm_adapts(tmp_path):
    fails_in_one_line(inside("predict.py", "--adapt", "0.5", cwd=tmp_path), "no BatchNorm")
    fails_in_one_line(inside("predict.py", "--adapt", "2", cwd=tmp_path), "--adapt", "2")
    assert not list(tmp_path.glob("predictions*"))


@pytest.mark.slow
def test_demonstrations_write_their_pictures(tmp_path):
    show = ["-m", "tools.show"]
    for kind, picture in [("windows", "windows.png"), ("patches", "patches.png")]:
        done = inside(*show, kind, cwd=tmp_path)
        assert done.returncode == 0 and picture in done.stdout, done.stderr
        assert read_image(tmp_path / picture).std() > 10
    assert sorted(file.name for file in tmp_path.iterdir()) == ["patches.png", "windows.png"]
    assert "10,514" in inside(*show, "network", cwd=tmp_path).stdout
    fails_in_one_line(inside(*show, "windows", "missing.png", cwd=tmp_path), "missing.png")
    fails_in_one_line(inside(*show, "windows", "--halo", 200, cwd=tmp_path), "halo")
    fails_in_one_line(inside(*show, "windows", "--window", 0, cwd=tmp_path), "halo")
    fails_in_one_line(
        inside(*show, "windows", "patches.png", "--out", "patches.png", cwd=tmp_path), "patches.png is an input"
    )
    fails_in_one_line(inside(*show, "network", "--size", 258, cwd=tmp_path), "--size", "256")
    textbook = ["--model", "unet", "--width", 64, "--depth", 4]
    assert "31,037,698" in inside(*show, "network", *textbook, cwd=tmp_path).stdout
    for words, told in [
        (["--width", 8], "--model fcn has nothing to set by --width: left out"),
        (["--separable", "--depth", 4], "--model fcn has nothing to set by --depth and --separable"),
        (["--model", "unet", "--batchnorm"], "--model unet has nothing to set by --batchnorm"),
        (["--model", "unet", "--width", 8, "--depth", 2], ""),
        (["--batchnorm"], ""),
    ]:
        lines = inside(*show, "network", *words, cwd=tmp_path).stdout.splitlines()
        assert lines[bool(told)].startswith("layer") and lines[0].startswith(told), words


def test_a_name_in_capitals_is_a_png_too(tmp_path):
    checkpoint(tmp_path / "model.pt", [{"name": "a", "value": 3}, {"name": "b", "value": 7}])
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "rgb.png")
    assert inside("predict.py", "--out", "mask.PNG", cwd=tmp_path).returncode == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mask.PNG", "model.pt", "rgb.png"]
    assert np.array_equal(read_mask(tmp_path / "mask.PNG"), np.array([3, 7])[oracle(tmp_path / "model.pt", image)])


SHIPPED = ROOT / "checkpoints" / "fcn.pt"


@pytest.mark.parametrize("suit", [lambda image: image, lambda image: image[::2, ::2], lambda image: image[:1, :1]])
def test_an_image_of_any_size_is_segmented(suit):
    image = suit(sample()[0][:60, :80])
    assert Segmenter.load(SHIPPED)(image).shape == image.shape[:2]


@pytest.mark.parametrize(
    "change, found",
    [
        (lambda image: image / 255, r"ndarray float64 \(20, 30, 3\)"),
        (lambda image: image.astype(np.uint16), "uint16"),
        (lambda image: image[:, :, 0], r"uint8 \(20, 30\)"),
        (lambda image: image[:, :, :1], r"uint8 \(20, 30, 1\)"),
        (lambda image: image[:0], r"uint8 \(0, 30, 3\)"),
        (lambda image: image.tolist(), "a list$"),
        (lambda image: Image.fromarray(image), "a Image$"),
        (lambda image: torch.from_numpy(image), "a Tensor torch.uint8"),
    ],
)
def test_what_is_no_image_is_refused(change, found):
    segment, image = Segmenter.load(SHIPPED), np.zeros((20, 30, 3), np.uint8)
    for use in segment, segment.logits, lambda image: list(segment.pieces(image)), lambda image: segment.by_rows(image):
        with pytest.raises(BadInput, match=f"expected an image uint8 .H, W, 3., found .*{found}"):
            use(change(image))
    with pytest.raises(BadInput, match="no device gpu; expected auto, cpu or cuda"):
        Segmenter.load(SHIPPED, device="gpu")
    with pytest.raises(BadInput, match="amp is 'maybe'; expected auto, on or off"):
        Segmenter.load(SHIPPED, amp="maybe")


@pytest.mark.parametrize("change", [lambda image: image / 255, lambda image: image.astype(np.float32)])
def test_values_from_0_to_1_are_not_taken_for_nearly_black(change):
    """As matplotlib reads a PNG."""
    segment, image = Segmenter.load(SHIPPED), sample()[0][:40, :50]
    assert patches.stitch(segment.forward, image, segment.halo, 2).shape == (2, 40, 50)
    with pytest.raises(ValueError, match="a window is a ndarray of float.*; expected an array of uint8"):
        patches.stitch(segment.forward, change(image), segment.halo, 2)
