"""The prescribed network, what it sees, what it costs, and the file that keeps it."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from checkpoint import load_checkpoint, save_checkpoint
from files import BadInput
from model import FCN, field_of_view, normalize, predictor, summary

FACTS = {
    "classes": [{"name": "background", "value": 0}, {"name": "foreground", "value": 255}],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


def test_it_is_the_prescribed_network():
    layers = [layer for layer in FCN().modules() if not list(layer.children())]
    assert [type(layer).__name__ for layer in layers] == [
        "Conv2d",
        "ReLU",
        "Conv2d",
        "ReLU",
        "MaxPool2d",
        "Conv2d",
        "ReLU",
        "Upsample",
        "Conv2d",
    ]
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


def test_optional_layers_are_there_when_asked_for():
    model = FCN(batchnorm=True, dropout=0.2, upsample="bilinear")
    kinds = [type(layer).__name__ for layer in model.layers]
    assert (
        kinds.count("BatchNorm2d") == 3 and kinds.count("Dropout2d") == 1 and model.layers.upsample.mode == "bilinear"
    )
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
    assert field_of_view(list(model.layers)) == {"nearest": 14, "bilinear": 16}[upsample]


def test_field_of_view_of_known_stacks():
    conv, pool = nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2)
    assert field_of_view([conv]) == 3
    assert field_of_view([conv, conv, pool, conv]) == 10
    assert field_of_view([pool, nn.Upsample(scale_factor=2)]) == 2


def test_summary_agrees_with_pytorch():
    model = FCN(classes=3)
    rows = summary(model, 64)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64))
    assert sum(row[3] for row in rows) == counter.get_total_flops()
    assert sum(row[2] for row in rows) == sum(parameter.numel() for parameter in model.parameters())
    assert rows[-1][1] == (3, 64, 64)


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
    save_checkpoint(tmp_path / "model.pt", model, **FACTS, metrics={"iou": 0.5})
    loaded, facts = load_checkpoint(tmp_path / "model.pt")
    window = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    before, after = (predictor(m, FACTS["mean"], FACTS["std"])(window) for m in (model, loaded))
    assert np.array_equal(before, after)
    assert facts["metrics"] == {"iou": 0.5} and facts["classes"] == FACTS["classes"] and not loaded.training
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
            load_checkpoint(tmp_path / name)
        assert not trap.exists()
    torch.load(tmp_path / "new.pt", weights_only=False)  # the trap does work
    assert trap.exists()


def test_a_checkpoint_cannot_unfold_in_memory(tmp_path):
    save_checkpoint(tmp_path / "model.pt", FCN(), **FACTS)
    with (
        zipfile.ZipFile(tmp_path / "model.pt") as source,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in source.infolist():
            bomb.writestr(entry.filename, source.read(entry))
    with pytest.raises(BadInput, match="compressed"):
        load_checkpoint(tmp_path / "bomb.pt")


def test_files_that_are_no_checkpoints_are_refused_in_one_line(tmp_path):
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("not a checkpoint")
    torch.save([1, 2, 3], tmp_path / "list.pt")
    torch.save({"weights": {}}, tmp_path / "foreign.pt")
    save_checkpoint(tmp_path / "huge.pt", FCN(), **{**FACTS, "arguments": {"classes": 10**9}})
    save_checkpoint(tmp_path / "model.pt", FCN(), **FACTS)
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    damaged = torch.load(tmp_path / "model.pt", weights_only=True)
    for change in (
        {"format": "segmentation-from-scratch 99"},
        {"network": "resnet"},
        {"mean": [0.5]},
        {"classes": FACTS["classes"][:1]},
        {"arguments": {"classes": 2, "depth": 3}},
        {"weights": {}},
    ):
        torch.save({**damaged, **change}, tmp_path / f"{next(iter(change))}.pt")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 13
    for file in [*files, tmp_path / "missing.pt"]:
        if file.name != "model.pt":
            with pytest.raises(BadInput) as caught:
                load_checkpoint(file)
            assert file.name in str(caught.value) and "\n" not in str(caught.value) and "expected" in str(caught.value)
