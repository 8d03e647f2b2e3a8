"""What a GPU computes, beside the CPU. Where there is no CUDA GPU, all of this is skipped."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, command, history, torchrun, with_gpus
from PIL import Image

AS_ON_THE_CPU = """
import copy
import numpy as np
import torch
from model import FCN, UNet, batchnorm_layers, normalize
from segmenter import Segmenter

classes = [{"name": "ground", "value": 0}, {"name": "object", "value": 255}]
metadata = {"classes": classes, "ignore": [], "mean": [0.5] * 3, "std": [0.25] * 3, "settings": {}}
torch.manual_seed(0)
networks = FCN(), FCN(upsample="bilinear"), UNet(2, 16, 3), UNet(2, 8, 4, "bilinear"), UNet(2, 8, 2, separable=True)
for seed, network in enumerate(networks):
    torch.manual_seed(seed)
    for layer in batchnorm_layers(network):
        torch.nn.init.uniform_(layer.running_var, 0.05, 0.2)
    image = np.random.default_rng(seed).integers(0, 256, (1700, 611, 3), np.uint8)       # two regions, many windows
    on_cpu = Segmenter(copy.deepcopy(network).eval(), metadata).logits(image)
    on_gpu = Segmenter(network.eval(), metadata, "cuda").logits(image)
    with torch.inference_mode():
        whole = network(normalize(image[None], metadata["mean"], metadata["std"], "cuda"))[0].cpu().numpy()
    largest = np.abs(on_cpu).max()
    print(np.abs(on_gpu - on_cpu).max() / largest, np.abs(on_gpu - whole).max() / largest)
"""

LITTLE_MEMORY = """
import runpy
import sys
import torch

torch.cuda.set_per_process_memory_fraction(1e-5)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module", autouse=True)
def environment():
    there = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    if shutil.which("nvidia-smi") is None or subprocess.run([sys.executable, "-c", there], env=with_gpus()).returncode:
        pytest.skip("needs a CUDA GPU")
    return with_gpus()


def ran(process):
    assert process.returncode == 0, process.stderr
    return process.stdout


def run_python(text, *words, cwd, env):
    path = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    line = [sys.executable, "-c", text, *map(str, words)]
    return subprocess.run(line, cwd=cwd, env={**env, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300)


def best_iou(folder):
    return max(float(row["val_iou"]) for row in history(folder))


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--amp", "on"], ["--model", "unet", "--width", 8]])
def test_it_learns_as_on_the_cpu(pair, environment, words):
    folder, image, mask = pair
    for device in "cpu", "cuda":
        settings = image, mask, "--zoom", 1, "--epochs", 6, "--steps", 20, "--device", device, "--out", device, *words
        if device == "cpu" and "--amp" in words:  # which a CPU may have to imitate
            settings = settings[:-2]
        assert f"s on {device}" in ran(command("train.py", *settings, cwd=folder, env=environment))
    assert abs(best_iou(folder / "cpu") - best_iou(folder / "cuda")) < 0.03


@pytest.mark.slow
def test_logits_are_those_of_the_cpu_and_of_the_whole_image(tmp_path, environment):
    """In float32: cuDNN would multiply 10 bits, and be wrong by 3e-3."""
    for line in ran(run_python(AS_ON_THE_CPU, cwd=tmp_path, env=environment)).splitlines():
        assert max(map(float, line.split())) < 1e-4


@pytest.mark.slow
def test_a_folder_is_learned_resumed_and_predicted(folder, tmp_path, environment):
    settings = "--model", "unet", "--width", 8, "--depth", 2, "--scale", 0.7, 1.4, "--dropout", 0.1, "--steps", 20
    run = lambda *words: ran(command(*words, cwd=tmp_path, env=environment))
    run("train.py", "--data", folder, *settings, "--epochs", 2, "--out", "run")
    assert "s on cuda" in run("train.py", "--resume", "--epochs", 4, "--out", "run")
    predict = lambda out, *words: run(
        "infer.py", folder / "images", out, "--checkpoint", "run/model.pt", "--format", "png", *words
    )
    predict("on_cpu", "--device", "cpu")
    predict("on_gpu")
    masks = lambda out: [np.asarray(Image.open(path)) for path in sorted((tmp_path / out).glob("*.png"))]
    expected = masks("on_cpu")
    for out, most, *knobs in [
        ("on_gpu", 1e-3),
        ("in_16_bits", 0.05, "--amp", "on"),
        ("over_views", 0.3, "--tta", "--adapt", 0.5),
        ("scored", 1e-3, "--reject", -99, "--score", "features"),
    ]:
        predict(out, *knobs)
        assert len(masks(out)) == len(expected) == 8
        assert np.mean([(one != other).mean() for one, other in zip(masks(out), expected)]) < most, out


@pytest.mark.slow
def test_a_full_gpu_is_told_in_one_line(pair, environment):
    folder, image, mask = pair
    for words in ["train.py", image, mask, "--model", "unet", "--width", 64], ["predict.py", image]:
        words = [ROOT / words[0], *words[1:]]
        process = run_python(LITTLE_MEMORY, *words, cwd=folder, env=environment)
        *before, last = process.stderr.strip().splitlines()
        assert process.returncode == 1 and "the GPU's memory is full" in last, process.stderr
        assert all("step/s" in line for line in before if line.strip())  # the bar, at most


@pytest.mark.slow
def test_two_processes_need_two_gpus(pair, environment):
    folder, image, mask = pair
    count = ran(run_python("import torch; print(torch.cuda.device_count())", cwd=folder, env=environment))
    if int(count) > 1:
        pytest.skip("there are two")
    process = torchrun("train.py", image, mask, "--epochs", 1, "--steps", 2, cwd=folder, env=environment)
    assert process.returncode and "process 2 on this machine has no GPU of its own" in process.stderr
