"""export.py, speed.py and infer.py --onnx: the same network without PyTorch, checked against PyTorch."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
import torch
from conftest import ROOT, TABLE, command, fails_in_one_line, inside, write_pair
from forked import Forked
from PIL import Image

import segmenter
from model import FCN, BatchNorm, UNet, load_network
from segmenter import Segmenter, onnx_forward, torch_forward
from support import onnx_file
from support.checkpoint import save_checkpoint
from support.files import BadInput
from support.images import read_image
from tools import export, speed
from tools.arguments import export_arguments

SHIPPED = ROOT / "checkpoints" / "fcn.pt"
METADATA = {
    **TABLE,
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.25, 0.3],
    "settings": {"flips": "mirror", "zoom": 1, "threshold": None, "noise": 0.0, "light": "keep"},
}


def network(kind, **arguments):
    """A network with random weights in which every class occurs and BatchNorm has something to do."""
    torch.manual_seed(0)
    model = kind(3, **arguments)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, BatchNorm):
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 2)
                layer.bias.uniform_(-0.5, 0.5)
        last = model.classify if kind is UNet else model.layers.conv4
        last.weight.mul_(20)
        logits = model.eval()(torch.randn(1, 3, 64, 64))
        last.bias.sub_(logits.mean(dim=(0, 2, 3)))
    return model


def run(*words):
    export.export(export_arguments([str(word) for word in words]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a function of what `network` takes: a folder of its checkpoint and what export.py made of it, once."""

    @functools.cache
    def make(kind, **arguments):
        folder = tmp_path_factory.mktemp("network")
        save_checkpoint(folder / "model.pt", network(kind, **arguments), **METADATA)
        run(folder / "model.pt", "--out", folder / "model.onnx")
        return folder

    return make


@pytest.fixture(scope="module")
def unet(made):
    return made(UNet, width=4, depth=2, dropout=0.3)


@pytest.fixture
def exported(unet, monkeypatch):
    """The same as the fixture unet, and what PyTorch would export again is read from its file: that takes seconds."""
    monkeypatch.setattr(export, "to_onnx", lambda model, metadata: onnx.load(unet / "model.onnx"))
    return unet


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name, size in [("small.png", (5, 9)), ("odd.png", (131, 77)), ("large.png", (301, 420))]:
        coarse = random.integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(coarse).resize(size).save(tmp_path / "images" / name)
    return tmp_path / "images"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, arguments",
    [
        (FCN, {}),
        (FCN, {"upsample": "bilinear", "batchnorm": True, "dropout": 0.3}),
        (UNet, {"width": 4, "depth": 2, "dropout": 0.3}),
        (UNet, {"width": 2, "depth": 2, "upsample": "bilinear"}),
        (UNet, {"width": 2, "depth": 6, "upsample": "nearest"}),
    ],
)
def test_every_network_gives_the_same_logits_at_every_size(made, kind, arguments):
    model = network(kind, **arguments)
    opened, metadata = onnx_file.load_onnx(made(kind, **arguments) / "model.onnx")
    assert (opened.halo, opened.stride) == (model.halo, model.stride)
    assert {name: metadata[name] for name in METADATA} == METADATA
    random = np.random.default_rng(1)
    ours, theirs = (
        torch_forward(model, metadata["mean"], metadata["std"]),
        onnx_forward(opened, metadata["mean"], metadata["std"]),
    )
    for rows, columns in [(1, 1), (1, 3), (4, 2), (256 // model.stride, 1), (256 // model.stride,) * 2]:
        window = random.integers(0, 256, (rows * model.stride, columns * model.stride, 3), np.uint8)
        assert theirs(window).shape == (3, *window.shape[:2])
        np.testing.assert_allclose(theirs(window), ours(window), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [3, 40])
def test_the_kernels_of_the_fcn_are_numbers_in_the_file(made, classes):
    """Their taps are added up once, not for each window; quantization would not find them otherwise."""
    proto = onnx.load(made(FCN) / "model.onnx") if classes == 3 else export.to_onnx(FCN(classes), {})
    nodes = [node.op_type for node in proto.graph.node]
    assert nodes == ["Conv", "Relu", "Conv", "MaxPool", "Relu", "Conv", "Relu", "Conv", "DepthToSpace"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"halo": None}, {"halo": 4}, {"tta": True}], ids=str)
@pytest.mark.parametrize("zoom", [1, 0.5])
def test_whole_images_get_the_same_classes(unet, images, settings, zoom):
    model, metadata = load_network(unet / "model.pt")
    opened, exported = onnx_file.load_onnx(unet / "model.onnx")
    metadata["settings"]["zoom"] = exported["settings"]["zoom"] = zoom
    for path in images.iterdir():
        image = read_image(path)
        ours = Segmenter(model, metadata, **settings)(image)
        np.testing.assert_array_equal(Segmenter(opened, exported, **settings)(image), ours)
    assert len(np.unique(ours)) > 1


def without(tmp_path, name, *packages):
    """An environment in which these packages cannot be imported."""
    folder = tmp_path / f"{name} without"
    folder.mkdir()
    for package in packages:  # stands before the real one on the path
        (folder / f"{package}.py").write_text(f"raise ImportError('no {package}', name='{package}')")
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.slow
def test_infer_runs_it_without_pytorch(unet, images, tmp_path):
    for out, words, missing in [
        ("ours", ["--checkpoint", unet / "model.pt"], ["onnxruntime"]),
        ("theirs", ["--onnx", unet / "model.onnx"], ["torch", "onnx", "skimage", "matplotlib"]),
    ]:
        words = [images, tmp_path / out, *words, "--probabilities", tmp_path / f"{out} maps"]
        process = command("infer.py", *words, cwd=tmp_path, env=without(tmp_path, out, *missing))
        assert process.returncode == 0 and "3 masks in" in process.stdout, process.stderr
    for path in images.iterdir():
        assert (tmp_path / "ours" / path.name).read_bytes() == (tmp_path / "theirs" / path.name).read_bytes()
        ours, theirs = (tifffile.imread(tmp_path / f"{out} maps" / f"{path.stem}.tif") for out in ("ours", "theirs"))
        assert ours.shape[0] == 3 and np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_what_is_missing_is_named_where_it_is_needed(unet, images, tmp_path, package):
    def without_it(*words):
        process = Forked(*words, cwd=tmp_path, without=package)
        return subprocess.CompletedProcess(words, process.wait(), *process.communicate())

    process = without_it("-m", "tools.export", unet / "model.pt", "--out", "x.onnx")
    fails_in_one_line(process, f"pip install {package}")
    assert not (tmp_path / "x.onnx").exists()
    if package == "onnxruntime":
        process = without_it("infer.py", images, "masks", "--onnx", unet / "model.onnx")
        fails_in_one_line(process, f"pip install {package}")
        process = without_it("predict.py", images / "odd.png", "--checkpoint", unet / "model.pt")
        assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_a_file_that_differs_from_pytorch_is_not_written(exported, tmp_path, monkeypatch):
    real = segmenter.onnx_forward
    for wrong, told in (2e-4, "0.0002"), (np.nan, "nan"):

        def forward(*words, wrong=wrong):  # wrong for the last window only
            return lambda window: real(*words)(window) + (wrong if window.shape[:2] == (256, 256) else 0)

        monkeypatch.setattr(segmenter, "onnx_forward", forward)
        with pytest.raises(BadInput, match=f"differ from PyTorch's by {told}; expected at most 0.0001; nothing was wr"):
            run(exported / "model.pt", "--out", tmp_path / "x.onnx")
        assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_network_of_ours(unet, images, tmp_path):
    whole = (unet / "model.onnx").read_bytes()
    stranger = onnx.load(unet / "model.onnx")
    stranger.producer_name = ""
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "stranger.onnx")
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.onnx").write_text("segmentation-from-scratch")
    for name in ["stranger.onnx", "half.onnx", "text.onnx"]:
        process = inside("infer.py", images, tmp_path / "masks", "--onnx", tmp_path / name, cwd=tmp_path)
        fails_in_one_line(process, name, "expected")
    with pytest.raises(BadInput, match="tools.export wrote"):
        onnx_file.load_onnx(tmp_path / "stranger.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, reason",
    [
        ({"format": "segmentation-from-scratch onnx 9"}, "its format is not"),
        ({"halo": -1}, "its halo or stride is no whole number"),
        ({"stride": 0}, "its halo or stride is no whole number"),
        ({"classes": METADATA["classes"][:2]}, "it names 2 classes, its network has 3"),
    ],
)
def test_a_file_whose_metadata_do_not_fit_its_network_is_refused(unet, tmp_path, change, reason):
    changed = onnx.load(unet / "model.onnx")
    [entry] = changed.metadata_props
    entry.value = json.dumps({**json.loads(entry.value), **change})
    onnx.save(changed, tmp_path / "changed.onnx")
    with pytest.raises(BadInput, match=reason):
        onnx_file.load_onnx(tmp_path / "changed.onnx")


def test_only_pytorch_adapts():
    network = onnx_file.OnnxNetwork(halo=8, stride=2, session=None)
    with pytest.raises(BadInput, match="--adapt: only PyTorch"):
        Segmenter(network, METADATA, adapt=0.5)


@pytest.mark.slow
def test_it_overwrites_its_own_file_and_no_other(exported, tmp_path):
    run(exported / "model.pt", "--out", exported / "model.onnx")
    (tmp_path / "mine.onnx").write_bytes(b"precious")
    with pytest.raises(BadInput, match="was not written by this program"):
        run(exported / "model.pt", "--out", tmp_path / "mine.onnx")
    with pytest.raises(BadInput, match="ends in .pb; expected .onnx"):
        run(exported / "model.pt", "--out", tmp_path / "model.pb")
    for words in ["--masks", "masks"], ["--halo", "3"], ["--int8-only", "train.txt"]:
        with pytest.raises(SystemExit):
            export_arguments(words)


@pytest.mark.slow
def test_eight_bits_and_the_benchmark(tmp_path):
    """The shipped network on pictures like those that it learned from: smaller, and nearly the same."""
    inside("predict.py", cwd=tmp_path)  # writes rgb.png and gt.png
    image, truth = (np.asarray(Image.open(tmp_path / name)) for name in ("rgb.png", "gt.png"))
    for part, array in ("images", image), ("masks", truth):
        (tmp_path / part).mkdir()
        for number, left in enumerate([0, 150, 300]):
            Image.fromarray(array[:200, left : left + 180]).save(tmp_path / part / f"n{number}.png")
    (tmp_path / "first.txt").write_text("n0\n")
    (tmp_path / "rest.txt").write_text("n1\nn2\n")
    process = inside(
        "-m", "tools.export", SHIPPED, "--int8", "images", "--int8-only", "first.txt",
        "--benchmark", "images", "--masks", "masks", "--only", "rest.txt", "--rounds", 1, cwd=tmp_path,
    )  # fmt: skip
    assert process.returncode == 0 and process.stderr == "", process.stderr
    assert float(re.search(r"([\d.]+)% of the pixels keep their class", process.stdout)[1]) > 98
    assert not list(tmp_path.glob("*inferred*"))
    assert (tmp_path / "model.int8.onnx").stat().st_size < 0.6 * (tmp_path / "model.onnx").stat().st_size
    kernels = [onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / "model.int8.onnx").graph.initializer]
    kernels = [each for each in kernels if each.dtype == np.int8 and each.ndim == 4]
    assert len(kernels) == 4 and max(np.abs(each.astype(int)).max() for each in kernels) in (63, 64)  # of 7 bits
    rows = {}
    for line in process.stdout.splitlines():
        found = re.match(
            r"(PyTorch|ONNX) (fp32|bf16|int8) +([\d.]+) +[\d.]+ to [\d.]+ +(\d+|n/a) +([\d.]+) +([\d.]+)", line
        )
        if found:
            rows[found[1], found[2]] = [float(number.replace("n/a", "nan")) for number in found.groups()[2:]]
    assert {("PyTorch", "fp32"), ("ONNX", "fp32"), ("ONNX", "int8")} <= set(rows), process.stdout
    for milliseconds, peak, _, dice in rows.values():
        assert milliseconds > 0 and not peak <= 20 and dice == pytest.approx(rows["PyTorch", "fp32"][3], abs=0.01)
    assert not rows["ONNX", "fp32"][1] >= rows["PyTorch", "fp32"][1]  # PyTorch was not loaded
    assert rows["PyTorch", "fp32"][3] > 0.5
    assert re.search(r"^ONNX fp32 .* 0 of 72000 pixels, in 0 images$", process.stdout, re.M), process.stdout
    told = re.search(r"^ONNX fp32 is ([\d.]+) times as fast as PyTorch fp32$", process.stdout, re.M)
    slow, fast = rows["PyTorch", "fp32"][0], rows["ONNX", "fp32"][0]  # rounded, as is their ratio
    assert (slow - 0.05) / (fast + 0.05) - 0.006 < float(told[1]) < (slow + 0.05) / (fast - 0.05) + 0.006, told
    assert re.search(r"^ONNX int8 is [\d.]+ times as fast as ONNX fp32$", process.stdout, re.M)

    process = inside("infer.py", "images", "out", "--onnx", "model.int8.onnx", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    words = ["-m", "tools.export", SHIPPED, "--out", "again.onnx", "--benchmark", "images"]
    for more, told in [
        (["--masks", "nowhere"], "nowhere"),
        (["--only", "no.txt"], "no.txt"),
        (["--halo", 127], "--halo"),
    ]:
        fails_in_one_line(inside(*words, *more, cwd=tmp_path), told)  # before anything is written
    assert not (tmp_path / "again.onnx").exists()


@pytest.mark.slow
def test_what_is_timed_may_look_like_options(exported, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "faster_in_16_bits", lambda model: False)
    monkeypatch.chdir(tmp_path)
    images.rename("-images")
    Path("-only.txt").write_text("odd\n")
    shutil.copyfile(exported / "model.pt", "-model.pt")
    run("./-model.pt", "--out=-x.onnx", "--benchmark=-images", "--only=-only.txt", "--rounds", 1)
    assert "1 images of -images, 1 processes of each kind" in capsys.readouterr().out


def test_windows_for_the_scales_come_from_all_images_and_all_places(images):
    model = network(UNet, width=2, depth=2)
    segment, half = (Segmenter(model, {**METADATA, "settings": {"zoom": zoom}}) for zoom in (1, 0.5))
    pictures = [read_image(path) for path in sorted(images.iterdir())]  # large, odd, small
    assert segment.halo == 24
    windows = export.choose_windows(pictures.__getitem__, 3, segment, 100)
    assert [window.shape for window in windows] == [(236, 176, 3)] * 4 + [(80, 132, 3), (12, 8, 3)]
    assert len(export.choose_windows(pictures.__getitem__, 3, half, 100)) == 3
    assert [window.shape[0] for window in export.choose_windows(pictures.__getitem__, 3, segment, 2)] == [236, 12]
    same = export.choose_windows(lambda place: pictures[0], 50, segment, 50)  # one of each: not always the same
    assert len({window.tobytes() for window in same}) == 4


@pytest.mark.slow
def test_speed(tmp_path):
    for name in "n0", "n1", "deep/er/n2":
        write_pair(tmp_path, name, len(name))
    save_checkpoint(tmp_path / "model.pt", network(FCN), **METADATA)
    words = ["model.pt", "images", "--threads", 1]
    process = inside("-m", "tools.speed", *words, "--json", "speed.json", "--indices", "indices", cwd=tmp_path)
    assert process.returncode == 0 and "median of 3" in process.stdout, process.stderr
    figures = json.loads((tmp_path / "speed.json").read_text())
    assert figures["file_bytes"] == (tmp_path / "model.pt").stat().st_size and figures["threads"] == 1
    assert len(figures["seconds"]) == 3 and min(figures["seconds"]) > 0
    segment = Segmenter(*load_network(tmp_path / "model.pt"))
    for name in "n0", "n1", "deep/er/n2":
        indices = np.asarray(Image.open(tmp_path / "indices" / f"{name}.png"))
        np.testing.assert_array_equal(indices, segment(read_image(tmp_path / "images" / f"{name}.png")))

    before = (tmp_path / "model.pt").read_bytes()
    for more, told in [
        (["--json", "model.pt"], "expected .json"),
        (["--indices", "images"], "is there already; expected the name of a new folder"),
        (["--only", "missing.txt"], "missing.txt cannot be read"),
    ]:
        fails_in_one_line(inside("-m", "tools.speed", *words, *more, cwd=tmp_path), told)
    fails_in_one_line(inside("-m", "tools.speed", "model.pt", "nowhere", cwd=tmp_path), "nowhere")
    assert (tmp_path / "model.pt").read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the most memory")
def test_the_memory_is_that_of_the_process():
    code = "from tools.speed import peak_memory as peak; a = peak(); b = b'x' * 300_000_000; del b; print(a, peak())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 1e7 < before < 3e8 and after - before == pytest.approx(3e8, rel=0.1)


def test_a_checkpoint_of_half_the_size(unet, tmp_path, capsys):
    run(unet / "model.pt", "--out", tmp_path / "small.pt")
    (whole, known), (small, same) = load_network(unet / "model.pt"), load_network(tmp_path / "small.pt")
    assert "of the pixels keep their class" in capsys.readouterr().out
    assert all(same[name] == known[name] for name in ("classes", "ignore", "mean", "std", "settings"))
    weights = torch.load(tmp_path / "small.pt", weights_only=True)["weights"]
    for name, tensor in small.state_dict().items():
        expected = whole.state_dict()[name]
        kernel = tensor.ndim > 1
        assert weights[name].dtype == (torch.float16 if kernel else expected.dtype) and tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected.half().float() if kernel else expected)
    with torch.no_grad():
        whole.classify.weight[0] = 1e5
    save_checkpoint(tmp_path / "large.pt", whole, **METADATA)
    with pytest.raises(BadInput, match="too large for 16 bits"):
        run(tmp_path / "large.pt", "--out", tmp_path / "other.pt")
    with pytest.raises(BadInput, match="is an input and would be overwritten"):
        run(unet / "model.pt", "--out", unet / "model.pt")
    assert not (tmp_path / "other.pt").exists()


def test_sixteen_bits_are_for_pytorch(unet):
    with pytest.raises(BadInput, match="expected a .pt file"):
        speed.open_segmenter(unet / "model.onnx", None, "on", 1)
    segment = speed.open_segmenter(unet / "model.pt", None, "on", torch.get_num_threads())
    assert segment.in_16_bits and segment(np.zeros((20, 30, 3), np.uint8)).shape == (20, 30)
