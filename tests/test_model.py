"""The prescribed network, what it sees, what it costs, and the file that keeps it."""

import copy
import itertools
import math
import pickle
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import variants
from model import FCN, NETWORKS, BatchNorm, MaxPool, UNet, build, convolution, load_network, normalize, reach
from patches import choose_halo, stitch
from segmenter import torch_forward
from support.checkpoint import save_checkpoint
from support.devices import pick_precision
from support.files import BadInput
from support.sample import BLACK_AND_WHITE
from tools.show import summary

METADATA = {
    "classes": BLACK_AND_WHITE,
    "ignore": [],
    "settings": {},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


def test_it_is_the_prescribed_network():
    layers = [layer for layer in FCN().modules() if not list(layer.children())]
    kinds = [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Conv2d, nn.ReLU, nn.Upsample, nn.Conv2d]
    assert len(layers) == len(kinds) and all(map(isinstance, layers, kinds))
    convolutions = [
        (c.in_channels, c.out_channels, c.kernel_size, c.padding, c.stride, c.bias is not None)
        for c in layers
        if isinstance(c, nn.Conv2d)
    ]
    assert convolutions == [
        (3, 16, (3, 3), (1, 1), (1, 1), True),
        (16, 32, (3, 3), (1, 1), (1, 1), True),
        (32, 16, (3, 3), (1, 1), (1, 1), True),
        (16, 2, (5, 5), (2, 2), (1, 1), True),
    ]
    assert sum(parameter.numel() for parameter in FCN().parameters()) == 10_514
    assert FCN().layers.upsample.mode == "nearest"


@pytest.mark.parametrize("settings", [{}, {"classes": 7}, {"batchnorm": True}, {"dropout": 0.5}], ids=str)
@pytest.mark.parametrize("height, width", [(2, 2), (1, 5), (37, 52)])
def test_the_taps_that_are_added_up_before_give_the_prescribed_result_and_gradients(settings, height, width):
    """Four 3x3 convolutions of the small map, against nearest upsampling and the 5x5 convolution."""
    torch.manual_seed(0)
    model = FCN(**settings).double()
    image = torch.randn(3, 3, height, width, dtype=torch.double, requires_grad=True)
    results = []
    for forward in model, model.as_prescribed:
        torch.manual_seed(1)  # dropout drops the same channels
        logits = forward(image)
        model.zero_grad()
        gradients = torch.autograd.grad(logits.sin().sum(), [image, *model.parameters()])
        results.append([logits, *gradients])
    for ours, prescribed in zip(*results):
        torch.testing.assert_close(ours, prescribed, rtol=1e-9, atol=1e-9)


def test_the_prescribed_network_does_not_upsample_when_it_need_not(monkeypatch):
    model = FCN()
    monkeypatch.setattr(model.layers.upsample, "forward", None)
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 2, 8, 8)


@torch.inference_mode()
def test_every_step_that_the_benchmark_times_gives_the_prescribed_result():
    network, image = FCN(), torch.randn(2, 3, 20, 24)
    for taken in itertools.product([False, True], repeat=4):
        logits = variants.fcn(network.layers, image, *taken)
        assert torch.allclose(logits, network.as_prescribed(image), atol=1e-5), taken


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pooling_in_prediction_is_pytorchs_to_the_last_bit(memory_format):
    x = torch.randn(2, 5, 12, 8).to(memory_format=memory_format)
    x[0, 0, 3, 3], x[0, 1, 2, 2], x[1, :, 4:6, 4:6] = math.nan, -math.inf, 0.5  # the last: all the same
    with torch.inference_mode():
        pooled = MaxPool(2)(x)
        assert MaxPool(3)(x).shape == (2, 5, 4, 2)  # as while training, for whoever tries another size
    assert pooled.isnan().sum() == 1
    torch.testing.assert_close(pooled, F.max_pool2d(x, 2), rtol=0, atol=0, equal_nan=True)


def test_optional_layers_are_there_when_asked_for():
    model = FCN(batchnorm=True, dropout=0.2, upsample="bilinear")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("BatchNorm") == 3 and kinds.count("Dropout2d") == 1 and model.layers.upsample.mode == "bilinear"
    assert model(torch.zeros(2, 3, 7, 9)).shape == (2, 2, 7, 9)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 2), (2, 1), (3, 3), (7, 64), (255, 256), (256, 255)])
@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_any_size_in_gives_the_same_size_out(height, width, upsample):
    assert FCN(5, upsample)(torch.randn(2, 3, height, width)).shape == (2, 5, height, width)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_the_halo_is_what_the_gradient_says(upsample):
    """Outside the halo the derivative is exactly zero; over all positions, the last pixel inside is reached."""
    torch.manual_seed(0)
    model = FCN(upsample=upsample).eval()
    with torch.no_grad():  # nothing is cut off by a ReLU, nothing cancels: the gradient shows the reach
        for parameter in model.parameters():
            parameter.copy_(parameter.abs() + 0.01)
    reach = 0
    for y, x in [(32, 32), (32, 33), (33, 32), (33, 33)]:
        # A maximum passes the gradient to one pixel of four: add up several images to meet them all.
        image = torch.rand(64, 3, 64, 64, requires_grad=True)
        model(image)[:, :, y, x].sum().backward()
        seen = image.grad.abs().sum(dim=(0, 1)).nonzero()
        reach = max(reach, (seen - torch.tensor([y, x])).abs().max().item())
    assert reach == {"nearest": 7, "bilinear": 8}[upsample]
    assert model.halo == -(-reach // model.stride) * model.stride == 8
    assert summary(model, 64)[-1][4] == {"nearest": 14, "bilinear": 16}[upsample]


@pytest.mark.parametrize(
    "model",
    [
        FCN(classes=3),
        FCN(3, "bilinear", True, 0.1),
        UNet(3),
        UNet(3, 5, 2, "bilinear", 0.2),
        UNet(3, 4, 4, "nearest", separable=True),
    ],
    ids=lambda model: f"{model.name} {model.arguments}",
)
def test_summary_agrees_with_pytorch(model):
    model.eval()
    rows = summary(model, 64)
    forward = model.as_prescribed if isinstance(model, FCN) else model
    with FlopCounterMode(display=False) as counter:
        forward(torch.zeros(1, 3, 64, 64))
    assert sum(row[3] for row in rows) == counter.get_total_flops()
    assert sum(row[2] for row in rows) == sum(parameter.numel() for parameter in model.parameters())
    assert rows[-1][1] == (3, 64, 64)


# ---------------------------------------------------------------------------------------------------
# The U-Net


def plain_unet(weights, image, depth, upsample):
    """An independent construction: the same weights in a plain functional version that recurses level by level."""

    def twice(x, prefix):
        for place, norm in [(0, 1), (3, 4)]:
            x = F.conv2d(x, weights[f"{prefix}.{place}.weight"], padding=1)
            mean, variance = (weights[f"{prefix}.{norm}.running_{name}"][:, None, None] for name in ("mean", "var"))
            scale, shift = (weights[f"{prefix}.{norm}.{name}"][:, None, None] for name in ("weight", "bias"))
            x = ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)
        return x

    def from_level(x, level):
        x = twice(x, f"down.{level}")
        if level == depth:
            return x
        n, c, h, w = x.shape
        below = from_level(x.reshape(n, c, h // 2, 2, w // 2, 2).amax(dim=(3, 5)), level + 1)
        if upsample == "transposed":
            kernel, bias = weights[f"up.{level}.weight"], weights[f"up.{level}.bias"]  # (before, after, 2, 2)
            up = torch.einsum("nchw,cdij->ndhiwj", below, kernel).reshape(n, c, h, w) + bias[:, None, None]
        else:
            up = F.interpolate(below, scale_factor=2, mode=upsample)
            up = F.conv2d(up, weights[f"up.{level}.0.weight"], weights[f"up.{level}.0.bias"])
        return twice(torch.cat([x, up], dim=1), f"merge.{level}")

    return F.conv2d(from_level(image, 0), weights["classify.weight"], weights["classify.bias"])


def random_unet(*arguments):
    """In double precision, with statistics of the norms that are not the identity."""
    torch.manual_seed(0)
    model = UNet(*arguments).double().eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 2)
            for tensor in (layer.bias, layer.running_mean):
                nn.init.normal_(tensor)
    return model


@pytest.mark.parametrize("upsample", ["transposed", "bilinear", "nearest"])
@pytest.mark.parametrize("width, depth", [(64, 4), (3, 1), (6, 3)])
def test_the_unet_agrees_with_an_independent_construction(width, depth, upsample):
    model = random_unet(5, width, depth, upsample)
    image = torch.randn(2, 3, 32, 48, dtype=torch.double)
    with torch.no_grad():
        torch.testing.assert_close(model(image), plain_unet(model.state_dict(), image, depth, upsample))


@pytest.mark.parametrize("classes, width, depth", [(2, 64, 4), (11, 24, 3), (2, 16, 3), (7, 5, 1), (3, 4, 5)])
def test_the_number_of_parameters_is_the_formula(classes, width, depth):
    channels = [width * 2**level for level in range(depth + 1)]
    two = lambda before, after: 9 * before * after + 9 * after * after + 4 * after  # two convolutions, two norms
    expected = (
        sum(two(before, after) for before, after in zip([3, *channels], channels))
        + sum(4 * 2 * c * c + c + two(2 * c, c) for c in channels[:-1])  # 2×2 up from twice the channels; merge
        + width * classes
        + classes
    )
    assert sum(parameter.numel() for parameter in UNet(classes, width, depth).parameters()) == expected
    if (width, depth) == (64, 4):
        # The paper's figure 1: 3×3 convolutions with biases, where ours have a scale and a shift; one grey channel
        # in, where ours has three.
        paper = 31_030_658 + 9 * 64 * 2
        norms = sum(layer.weight.numel() for layer in UNet(2, 64, 4).modules() if isinstance(layer, nn.BatchNorm2d))
        assert expected == paper + norms == 31_037_698


@pytest.mark.parametrize("height, width", [(1, 1), (3, 64), (33, 17), (100, 75), (255, 256)])
@pytest.mark.parametrize("depth", [1, 3, 5])
def test_the_unet_takes_any_size(height, width, depth):
    model = UNet(4, 2, depth).eval()
    assert model(torch.randn(2, 3, height, width)).shape == (2, 4, height, width)


@pytest.mark.slow
@pytest.mark.parametrize("depth, separable", [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("upsample", ["transposed", "bilinear", "nearest"])
def test_the_halo_of_the_unet_is_what_the_gradient_says(depth, upsample, separable):
    torch.manual_seed(0)
    model = UNet(1, 2, depth, upsample, separable=separable).double().eval()
    with torch.no_grad():  # nothing is cut off by a ReLU, nothing cancels: the gradient shows the reach
        for parameter in model.parameters():
            parameter.copy_(parameter.abs() + 0.05)
    edge = 16 * 2**depth  # on the pooling grid: where the core of a window may end
    reach = []
    for inside in range(2**depth):  # the pixels of the first and of the last cell of a core
        for y, x in [(edge + inside, edge + inside), (edge - 1 - inside, edge - 1 - inside)]:
            image = torch.rand(6, 3, 2 * edge, 2 * edge, dtype=torch.double, requires_grad=True)
            model(image)[:, :, y, x].sum().backward()
            seen = image.grad.abs().sum(dim=(0, 1)).nonzero()
            reach.append((edge - seen.min() if y >= edge else seen.max() - edge + 1).item())
    assert max(reach) <= model.halo and model.halo % model.stride == 0 and model.stride == 2**depth
    assert depth == 1 or max(reach) > model.halo - model.stride  # and not more than it takes


def test_a_separable_convolution_is_a_usual_one_whose_kernels_are_products():
    torch.manual_seed(0)
    separable, usual = convolution(5, 7, True), convolution(5, 7, False)
    in_each, between = (layer.weight for layer in separable)  # (5, 1, 3, 3) and (7, 5, 1, 1)
    with torch.no_grad():
        usual.weight.copy_(between * in_each[:, 0])
    x = torch.randn(2, 5, 9, 8)
    torch.testing.assert_close(separable(x), usual(x))
    assert sum(map(torch.numel, separable.parameters())) == 5 * 9 + 5 * 7
    first = UNet(2, 3, 2, separable=True).down[0]
    assert isinstance(first[0], nn.Conv2d) and isinstance(first[3], nn.Sequential)  # the colours in the usual way
    count = lambda separable: sum(map(torch.numel, UNet(2, 8, 2, separable=separable).parameters()))
    flops = lambda separable: sum(row[3] for row in summary(UNet(2, 8, 2, separable=separable), 32))
    assert count(True) < count(False) / 3 and flops(True) < flops(False) / 3
    model = UNet(4, 3, 3, separable=True).eval()
    assert model(torch.randn(1, 3, 33, 17)).shape == (1, 4, 33, 17)


def test_dropout_of_the_unet():
    model = UNet(2, 4, 2, dropout=0.5)
    image = torch.randn(4, 3, 16, 16)
    assert not torch.equal(model(image), model(image))
    model.eval()
    assert torch.equal(model(image), model(image))


def test_batchnorm_alone_is_pytorchs():
    torch.manual_seed(0)
    ours, theirs = BatchNorm(5), nn.BatchNorm2d(5)
    for _ in range(3):
        x = torch.randn(4, 5, 6, 7)
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_build_and_halo():
    assert build("fcn", 3).arguments == FCN(3).arguments
    assert build("unet", 3, width=8, depth=2, separable=True).arguments == UNet(3, 8, 2, separable=True).arguments
    assert build("fcn", 3, width=8, separable=True, upsample=None).arguments == FCN(3).arguments
    with pytest.raises(BadInput, match="--upsample transposed belongs to --model unet"):
        build("fcn", 3, upsample="transposed")
    with pytest.raises(TypeError, match="no network has the settings .'widht'.; expected some of .'width', 'depth'"):
        build("unet", 3, widht=8)
    for name, settings in [("fcn", {}), ("unet", {}), ("unet", {"depth": 4}), ("unet", {"upsample": "bilinear"})]:
        network = build(name, 2, **settings)
        assert reach(name, **settings) == (network.halo, network.stride)  # known before anything is built
    assert choose_halo(*reach("fcn")) == 8 and choose_halo(*reach("unet")) == 48
    assert choose_halo(*reach("unet", depth=4)) == 96
    assert choose_halo(*reach("unet", depth=5)) == 64  # it sees 192 pixels to each side: no window would have a core
    assert choose_halo(48, 8, 20) == 24 and choose_halo(48, 8, 0) == 0  # on the pooling grid
    with pytest.raises(BadInput, match="--halo 127: expected 0 to 120"):
        choose_halo(48, 8, 127)


def test_auto_precision_measures_and_trains_nothing(capsys):
    model = UNet(2, 4, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dtype, word = pick_precision("auto", model, torch.device("cpu"))
    assert (dtype, word) in [(torch.float32, "off"), (torch.bfloat16, "on")] and f": {word}" in capsys.readouterr().out
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert pick_precision("off", model, torch.device("cpu")) == (torch.float32, "off")
    assert pick_precision("on", model, torch.device("cpu")) == (torch.bfloat16, "on")


@pytest.fixture
def every_warning():
    """Let PyTorch repeat a warning that it has given before in this process."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


def test_a_read_only_image_is_taken_without_a_warning(every_warning):
    """As a memory-mapped one is."""
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 5, 3), np.uint8)
    expected = normalize(image, [0.5] * 3, [0.2] * 3)
    image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(normalize(image, [0.5] * 3, [0.2] * 3), expected)


def test_normalize_is_the_formula():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4, 6, 5, 3), np.uint8)
    mean, std = [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]
    gain, offset = random.uniform(0.9, 1.1, (4, 3)), random.uniform(-0.1, 0.1, (4, 3))
    expected = ((images / 255 * gain[:, None, None] + offset[:, None, None]) - mean) / std
    result = normalize(images, mean, std, gain=gain, offset=offset)
    np.testing.assert_allclose(result.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert result.dtype == torch.float32 and result.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(
        normalize(images, mean, std).numpy(), ((images / 255 - mean) / std).transpose(0, 3, 1, 2), atol=1e-5
    )


# ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_rebuilds_its_own_network(tmp_path):
    torch.manual_seed(1)
    model = FCN(2, upsample="bilinear", batchnorm=True).eval()
    save_checkpoint(tmp_path / "model.pt", model, **METADATA, metrics={"iou": 0.5})
    loaded, metadata = load_network(tmp_path / "model.pt")
    window = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    before, after = (torch_forward(m, METADATA["mean"], METADATA["std"])(window) for m in (model, loaded))
    assert np.array_equal(before, after)
    assert metadata["metrics"] == {"iou": 0.5} and metadata["classes"] == METADATA["classes"] and not loaded.training
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_checkpoint_cannot_run_code(tmp_path):
    trap = tmp_path / "trap"
    torch.save({"format": "segmentation-from-scratch 1", "weights": Malicious(trap)}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Malicious(trap)))
    for name in ("new.pt", "old.pt"):
        with pytest.raises(BadInput, match=f"{name} is no checkpoint"):
            load_network(tmp_path / name)
        assert not trap.exists()
    torch.load(tmp_path / "new.pt", weights_only=False)  # the trap does work
    assert trap.exists()


@pytest.mark.parametrize(
    "value", [np.float64(0.01), np.arange(3), Path("photos")], ids=lambda value: type(value).__name__
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, value):
    """As a program may set train.py's arguments: args.lr from np.logspace, args.data a Path."""
    with pytest.raises(TypeError, match="a checkpoint cannot hold"):
        save_checkpoint(tmp_path / "model.pt", FCN(), **{**METADATA, "settings": {"some": [value]}})
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_cannot_unfold_in_memory(tmp_path):
    save_checkpoint(tmp_path / "model.pt", FCN(), **METADATA)
    with (
        zipfile.ZipFile(tmp_path / "model.pt") as source,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in source.infolist():
            bomb.writestr(entry.filename, source.read(entry))
    with pytest.raises(BadInput, match="compressed"):
        load_network(tmp_path / "bomb.pt")


def test_a_checkpoint_cannot_be_larger_inside_than_outside(tmp_path):
    """Entries of a zip archive may overlap: many names for the same bytes."""
    save_checkpoint(tmp_path / "model.pt", FCN(), **METADATA)
    with zipfile.ZipFile(tmp_path / "model.pt", "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        for number in range(5):
            twin = copy.copy(largest)
            twin.filename = f"{largest.filename}{number}"
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    with pytest.raises(BadInput, match="larger inside than outside"):
        load_network(tmp_path / "model.pt")


@pytest.mark.slow
def test_a_checkpoint_takes_no_memory_before_its_weights_are_known(tmp_path):
    """A U-Net of this width has 570 million parameters; the file has none of them."""
    model = UNet(2, 4, 2)
    save_checkpoint(tmp_path / "wide.pt", model, **{**METADATA, "arguments": {**model.arguments, "width": 1024}})
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from model import load_network; from tools.speed import peak_memory; before = peak_memory()\n"
        "try: load_network('wide.pt')\n"
        "except ValueError as error: print(error)\n"
        "print(peak_memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, ROOT], cwd=tmp_path, capture_output=True, text=True, check=True)
    message, grown = done.stdout.splitlines()
    assert "wide.pt is no checkpoint of ours (its weights are not those of its network)" in message
    assert int(grown) < 1e8


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [0.5, 0.5, math.nan]},
        {"mean": "abc"},
        {"std": [0.1, 0.1, 0]},
        {"std": [0.1, 0.1, -1]},
        {"settings": {"zoom": -1}},
        {"settings": {"zoom": 1e9}},
        {"settings": {"flips": "upside down"}},
        {"settings": {"threshold": "128"}},
        {"settings": []},
        {"ignore": 7},
        {"classes": [{"name": "a", "value": 0}, {"name": "b"}]},
        {"classes": [{"name": "a", "value": 0}, {"name": "\x1b[31mb", "value": 1}]},
        {"classes": [{"name": "a", "value": 0}, {"name": "b", "value": 10**400}]},
        {"classes": {"name": "a"}},
        {"arguments": {"classes": 2.0}},
        {"arguments": {"classes": 2, "dropout": "much"}},
        {"arguments": {"classes": 2, "upsample": "bicubic"}},
        {"arguments": {"classes": 2, "upsample": "transposed"}},  # of a U-Net, not of the FCN
        {"format": [[[[]]]]},
    ],
    ids=lambda change: str(change)[:40],
)
def test_odd_checkpoints_are_refused_in_one_line(tmp_path, change):
    save_checkpoint(tmp_path / "odd.pt", FCN(), **{**METADATA, **change})
    with pytest.raises(BadInput, match="odd.pt is no checkpoint of ours") as caught:
        load_network(tmp_path / "odd.pt")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_weights_of_another_precision_are_read(tmp_path, dtype):
    save_checkpoint(tmp_path / "other.pt", FCN().to(dtype), **METADATA)
    network, metadata = load_network(tmp_path / "other.pt")
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    torch_forward(network, metadata["mean"], metadata["std"])(np.zeros((20, 30, 3), np.uint8))
    with warnings.catch_warnings():  # PyTorch calls complex modules new
        warnings.simplefilter("ignore")
        save_checkpoint(tmp_path / "complex.pt", FCN().to(torch.complex64), **METADATA)
    with pytest.raises(BadInput, match="complex.pt is no checkpoint"):
        load_network(tmp_path / "complex.pt")


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = FCN()
    with torch.no_grad():
        model.layers.conv1.weight[0, 0, 0, 0] = math.nan
    save_checkpoint(tmp_path / "nan.pt", model, **METADATA)
    with pytest.raises(BadInput, match="no number"):
        load_network(tmp_path / "nan.pt")


def test_a_unet_comes_back_from_its_checkpoint(tmp_path):
    model = random_unet(2, 6, 2, "bilinear", 0.1).float()
    save_checkpoint(tmp_path / "model.pt", model, **METADATA)
    loaded, _ = load_network(tmp_path / "model.pt")
    assert loaded.arguments == model.arguments and (loaded.halo, loaded.stride) == (model.halo, model.stride) == (28, 4)
    image = torch.randn(1, 3, 20, 30)
    assert torch.equal(loaded(image), model(image))


def test_a_unet_from_before_separable_convolutions_is_what_it_was(tmp_path):
    model = UNet(2, 4, 2)
    arguments = {name: value for name, value in model.arguments.items() if name != "separable"}
    save_checkpoint(tmp_path / "model.pt", model, **{**METADATA, "arguments": arguments})
    again, metadata = load_network(tmp_path / "model.pt")
    assert metadata["arguments"] == again.arguments == model.arguments  # so that --resume knows it again


def test_the_first_format_is_still_read(tmp_path):
    """Which had no ignored values and kept less for --resume."""
    save_checkpoint(tmp_path / "model.pt", FCN(), **METADATA, resume={"history": []})
    metadata = torch.load(tmp_path / "model.pt", weights_only=True)
    del metadata["ignore"]
    torch.save({**metadata, "format": "segmentation-from-scratch 1"}, tmp_path / "old.pt")
    model, read = load_network(tmp_path / "old.pt")
    assert read["ignore"] == [] and "resume" not in read and model.name == "fcn"


def test_files_that_are_no_checkpoints_are_refused_in_one_line(tmp_path):
    torch.save([1, 2, 3], tmp_path / "list.pt")
    torch.save({"weights": {}}, tmp_path / "foreign.pt")
    save_checkpoint(tmp_path / "huge.pt", FCN(), **{**METADATA, "arguments": {"classes": 10**9}})
    save_checkpoint(tmp_path / "model.pt", FCN(), **METADATA)
    damaged = torch.load(tmp_path / "model.pt", weights_only=True)
    for change in (
        {"format": "segmentation-from-scratch 99"},
        {"network": "resnet"},
        {"mean": [0.5]},
        {"classes": METADATA["classes"][:1]},
        {"arguments": {"classes": 2, "depth": 3}},
        {"weights": {}},
    ):
        torch.save({**damaged, **change}, tmp_path / f"{next(iter(change))}.pt")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 10
    for file in files:
        if file.name != "model.pt":
            with pytest.raises(BadInput) as caught:
                load_network(file)
            assert file.name in str(caught.value) and "\n" not in str(caught.value) and "expected" in str(caught.value)


# ---------------------------------------------------------------------------------------------------
# What every network promises


@pytest.mark.parametrize("name", NETWORKS)
def test_windows_of_every_network_are_cut_as_it_says(name):
    """In 64 bits: a halo that is a pixel too small, or a stride that is a half, shows, however faintly."""
    torch.manual_seed(0)
    network = build(name, 3).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():  # weights that let much through
            parameter.normal_(std=0.2 if parameter.ndim > 1 else 0.01)
    assert (network.halo, network.stride) == reach(name) and 256 % network.stride == 0

    @torch.no_grad()
    def forward(window):
        return network(torch.from_numpy(window / 255).permute(2, 0, 1)[None])[0].numpy()

    side = 2 * network.halo + 4 * network.stride
    image = np.random.default_rng(0).integers(
        0, 256, (side + 6 * network.stride, side + 2 * network.stride, 3), np.uint8
    )
    whole = forward(image)
    assert whole.shape == (3, *image.shape[:2]) and np.ptp(whole) > 1e-3
    stitched = stitch(forward, image, network.halo, network.stride, side)
    assert abs(stitched - whole).max() < 1e-12 * np.ptp(whole) + 1e-15
    if network.stride > 1:  # each window begins where no window may
        shifted = stitch(forward, image[1:], network.halo, network.stride, side)
        assert abs(shifted - whole[:, 1:]).max() > 1e-9 * np.ptp(whole)


def test_a_checkpoint_whose_network_has_unknown_arguments_is_refused(tmp_path):
    save_checkpoint(
        tmp_path / "model.pt", FCN(), classes=BLACK_AND_WHITE, mean=[0.5] * 3, std=[0.2] * 3, ignore=[], settings={}
    )
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    for change, told in [
        ({"arguments": content["arguments"] | {"rates": 10**9}}, "an argument 'rates'"),
        ({"network": "deep"}, "its network is 'deep', which this version does not have"),
    ]:
        torch.save(content | change, tmp_path / "other.pt")
        with pytest.raises(BadInput, match=told):
            load_network(tmp_path / "other.pt")
