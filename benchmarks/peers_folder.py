"""A folder of photographs, for benchmarks.peers: infer.py, in one and two processes, and loops as one would write them.

The photographs, JPEGs of 512×340, are parts of those that scikit-image installs. All predict with the
FCN that ships and write a PNG for each; what counts is the time from the first image to the last, without
the imports.
"""
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.peers_predictions import monai, whole
from model import load_network
from support.machine import cores, keep_freed_memory

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "checkpoints" / "fcn.pt"


def write_photographs(folder, count):
    from skimage import data

    random = np.random.default_rng(0)
    pictures = [Image.fromarray(picture()) for picture in (data.astronaut, data.coffee, data.rocket, data.chelsea)]
    for number in range(count):
        picture = pictures[number % len(pictures)]
        width = random.uniform(0.5, 1) * min(picture.width, 512 / 340 * picture.height)
        x, y = random.uniform(0, (picture.width - width, picture.height - 340 / 512 * width))
        part = picture.resize((512, 340), box=(x, y, x + width, y + 340 / 512 * width))
        part.save(folder / f"{number:03}.jpg", quality=90)


def infer(folder, out, *words, processes=1):
    """Return the seconds that infer.py says it took."""
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    line = [sys.executable, *several, str(ROOT / "infer.py"), str(folder), str(out), "--format", "png", *words]
    alone = {**os.environ, "OMP_NUM_THREADS": str(max(1, cores() // processes))}     # or they would fight for the cores
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True, env=alone)
    return float(re.search(r", ([\d.]+) s on", done.stdout)[1])


def by_pytorch(folder, out, processes=1):
    return infer(folder, out, "--checkpoint", str(CHECKPOINT), processes=processes)


def by_onnx(folder, out):
    model = out / "model.onnx"
    subprocess.run([sys.executable, "-m", "tools.export", str(CHECKPOINT), "--out", str(model)], cwd=ROOT,
                   capture_output=True, check=True)
    return infer(folder, out / "masks", "--onnx", str(model))


def plain_loop(folder, out, way):
    """Return the seconds of reading, predicting and writing one image after the other."""
    keep_freed_memory()
    network, metadata = load_network(CHECKPOINT)
    predict = way(network.to(memory_format=torch.channels_last))
    values = np.array([entry["value"] for entry in metadata["classes"]], np.uint8)
    began = time.perf_counter()
    for path in sorted(folder.iterdir()):
        classes = predict(np.array(Image.open(path).convert("RGB")))
        Image.fromarray(values[classes]).save(out / f"{path.stem}.png")
    return time.perf_counter() - began


WAYS = {"infer.py": by_pytorch,
        "infer.py, two processes": lambda folder, out: by_pytorch(folder, out, 2),
        "infer.py --onnx": by_onnx,
        "plain loop, whole images": lambda folder, out: plain_loop(folder, out, whole),
        "plain loop, MONAI": lambda folder, out: plain_loop(folder, out, monai)}


def images_a_second(way, count):
    """Return how many photographs a second a way predicts."""
    with tempfile.TemporaryDirectory() as images, tempfile.TemporaryDirectory() as out:
        write_photographs(Path(images), count)
        return count / WAYS[way](Path(images), Path(out))
