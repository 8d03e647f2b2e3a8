"""Digests of what the commands compute, to see that a change of the code changed not one bit of it.

    python -m tools.digests > before.txt
    python -m tools.digests > after.txt && diff before.txt after.txt

Trains small networks with most knobs on, predicts with the networks that ship, plainly and in every other way, scores
masks and exports networks, all through the commands that a user types. Prints one line for each result. Two runs can
be compared on one machine, with one set of versions and one number of threads; it takes about three minutes.
"""
from support.arguments import SCORES
from support.script import run_script
from tools.arguments import digests_arguments

if __name__ == "__main__":
    ARGS = digests_arguments(description=__doc__)    # before the imports that take seconds

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from tqdm import tqdm

from support.files import BadInput

ROOT = Path(__file__).resolve().parent.parent
STREETS = ROOT / "challenges" / "cityscapes"
SHIPPED = {
    "fcn": ROOT / "checkpoints" / "fcn.pt",
    "logo": ROOT / "challenges" / "logo" / "logo.pt",
    "coco": ROOT / "challenges" / "coco" / "coco.pt",
    "eyeglasses": ROOT / "challenges" / "eyeglasses" / "eyeglasses.pt",
    "camvid": STREETS / "camvid.pt",
    "half_size": STREETS / "half_size.pt",
}
TRAININGS = {
    "fcn, as it is": "--epochs 2 --steps 5",
    "fcn, many knobs": "a.png a_mask.png --patch 32 --batch 8 --epochs 3 --steps 6 --batchnorm --dropout 0.1 "
    "--jitter 0.1 --noise 0.1 --scale 0.8 1.25 --balance 0.7 --loss focal+dice --class-weights 0.5 --clip 1 "
    "--weight-decay 0.02 --ema 0.9 --warmup 5 --seed 3 --lr 0.01",
    "unet, a folder held in memory": "--data folder --model unet --width 4 --depth 2 --batch 32 --epochs 2 --steps 4 "
    "--paste 0.5 --flips mirror --loss ce+dice --val-share 0.3 --dropout 0.2 --ema 0.5",
    "unet, a folder decoded when needed": "--data folder --model unet --width 3 --depth 3 --zoom 0.5 --reuse 3 "
    "--memory 0 --epochs 2 --steps 5 --patch 32 --separable --upsample bilinear --flips none --halo 16 --val-images 2",
}
WAYS = {
    "plain": "",
    "tta": "--tta",
    "halo 16": "--halo 16",
    "adapt": "--adapt 0.7",
    "adapt, tta": "--adapt 1 --tta",
    "jpg": "--format jpg",
}
HISTORY = "epoch", "train_loss", "val_loss", "val_iou", "val_accuracy", "val_copies_iou", "learning_rate"


def run(*words):
    """Run a command in the current directory and return what it prints."""
    script, *rest = map(str, words)
    line = [script, *rest] if script == "-m" else [ROOT / script, *rest]
    done = subprocess.run(
        [sys.executable, *line], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    if done.returncode:
        raise BadInput(f"{' '.join(map(str, words))} failed: {done.stderr}")
    return done.stdout


def digest(content):
    """Return the first 16 hexadecimal digits of the SHA-256 of bytes, an array or anything that JSON holds."""
    if isinstance(content, np.ndarray):
        content = str((content.dtype, content.shape)).encode() + content.tobytes()
    elif not isinstance(content, bytes):
        content = json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def digest_of_tensors(found):
    """Return the digest of all tensors in nested dictionaries and lists, with their names."""
    parts = []

    def collect(name, value):
        if isinstance(value, torch.Tensor):
            parts.append([name, digest(value.contiguous().numpy())])
        elif isinstance(value, dict):
            for key in value:
                collect(f"{name}.{key}", value[key])
        elif isinstance(value, (list, tuple)):
            for place, item in enumerate(value):
                collect(f"{name}.{place}", item)

    collect("", found)
    return digest(sorted(parts))


def say(name, content):
    print(f"{content if isinstance(content, str) else digest(content)}  {name}", flush=True)


def write_images():
    """Write photographs of several sizes and kinds, a pair, and a folder of pairs, to the current directory."""
    random = np.random.default_rng(0)
    photographs = {
        "astronaut.png": data.astronaut()[:300, :420],
        "coffee.jpg": data.coffee()[:, 60:361],
        "below/grey.tif": data.camera()[:257, :259],
        "below/tiny.png": data.chelsea()[100:105, 100:103],
        "tissue.bmp": data.immunohistochemistry()[:, :390],
    }
    for name, pixels in photographs.items():
        path = Path("photographs", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    y, x = np.mgrid[:120, :200]
    for number in range(9):
        height, width = (120, 200) if number % 2 else (97, 131)
        mask = np.zeros((height, width), np.uint8)
        for label in 1, 2, 1, 2:
            radius = random.integers(6, 20)
            distance = (y - random.integers(height)) ** 2 + (x - random.integers(width)) ** 2
            mask[distance[:height, :width] < radius**2] = label
        colours = np.array([(120, 100, 90), (70, 140, 60), (60, 60, 160)])
        image = (colours[mask] + random.normal(0, 15, (height, width, 3))).clip(0, 255).astype(np.uint8)
        mask[:6, :9] = 9
        if number == 8:
            Image.fromarray(image).save("a.png")
            Image.fromarray(np.where(mask == 1, 255, 0).astype(np.uint8)).save("a_mask.png")
            break
        for part, array in ("images", image), ("masks", mask):
            Path("folder", part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(Path("folder", part, f"n{number}.png"))
    names = [{"name": "background", "value": 0}, {"name": "disc", "value": 1}, {"name": "dot", "value": 2}]
    Path("folder", "classes.json").write_text(json.dumps({"classes": names, "ignore": [9]}))


def digest_training(name, words, out):
    run("train.py", *words.split(), "--out", out, "--device", "cpu")
    best, last = (torch.load(Path(out, file), weights_only=True) for file in ("model.pt", "last.pt"))
    say(f"train.py, {name}: the best weights", digest_of_tensors(best["weights"]))
    resume = {part: last["resume"][part] for part in ("weights", "optimizer")}
    say(f"train.py, {name}: the last weights and the optimizer", digest_of_tensors(resume))
    with open(Path(out, "history.csv"), newline="") as file:
        say(f"train.py, {name}: its history", [[row[part] for part in HISTORY] for row in csv.DictReader(file)])
    metadata = {part: best[part] for part in ("classes", "ignore", "mean", "std", "arguments", "network")}
    say(f"train.py, {name}: what else stands in the checkpoint", metadata)


def digest_files(name, folder):
    """Print one digest of all files in a folder, by name."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    say(name, [[str(path.relative_to(folder)), digest(path.read_bytes())] for path in files])


def digest_predictions(name, checkpoint):
    for way, words in WAYS.items():
        if "adapt" in way and name == "fcn":  # it has no BatchNorm
            continue
        out = f"masks/{name}/{way.replace(', ', '_').replace(' ', '_')}"
        run("infer.py", "photographs", out, "--checkpoint", checkpoint, *words.split(), "--device", "cpu")
        digest_files(f"infer.py, {name}, {way}", out)
    for score in SCORES[: 4 if name == "fcn" else 5]:
        out = f"scores/{name}/{score}"
        adapt = ["--adapt", "0.5"] if score == "features" else []
        words = ["--checkpoint", checkpoint, "--score", score, "--reject", "1e9", *adapt, "--device", "cpu"]
        run("infer.py", "photographs", out, *words)
        digest_files(f"infer.py, {name}, --score {score}", out)
    words = ["--checkpoint", checkpoint, "--overlay", f"{name}_outline.png", "--out", f"{name}_mask.jpg"]
    run("predict.py", "photographs/coffee.jpg", *words, "--device", "cpu")
    for path in f"{name}_mask.jpg", f"{name}_mask.png", f"{name}_outline.png":
        say(f"predict.py, {path}", Path(path).read_bytes())


def digest_evaluation(predictions, masks):
    run("evaluate.py", predictions, masks, "--json", "scores.json", "--missing", "skip")
    say(f"evaluate.py {predictions} {masks}", Path("scores.json").read_bytes())
    Path("scores.json").unlink()


def digest_export(name, checkpoint):
    import onnxruntime

    run("-m", "tools.export", checkpoint, "--out", f"{name}.onnx")
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    window = np.random.default_rng(0).normal(0, 1, (1, 3, 96, 128)).astype(np.float32)
    say(f"export.py, {name}: logits by ONNX Runtime", session.run(None, {"image": window})[0])
    run("infer.py", "photographs", f"masks/{name}/onnx", "--onnx", f"{name}.onnx", "--tta")
    digest_files(f"infer.py --onnx, {name}, --tta", f"masks/{name}/onnx")


def print_digests():
    """Compute everything in the current folder, an empty one, and print a line for each result."""
    write_images()
    jobs = [(digest_training, name, words, f"run{number}") for number, (name, words) in enumerate(TRAININGS.items())]
    jobs += [(digest_predictions, name, checkpoint) for name, checkpoint in SHIPPED.items()]
    jobs += [
        (digest_evaluation, "masks/camvid/tta", "masks/half_size/plain"),
        (digest_evaluation, "masks/fcn/jpg", "masks/fcn/plain"),
        (digest_export, "fcn", SHIPPED["fcn"]),
        (digest_export, "coco", SHIPPED["coco"]),
    ]
    for function, *words in tqdm(jobs, unit="part", disable=None):
        function(*words)
    table = run("-m", "tools.thresholds", "photographs", "--checkpoint", SHIPPED["half_size"], "--against", "folder")
    say("thresholds.py, half_size", table.splitlines()[:-1])
    words = "--folds 2 --data folder --out folds --epochs 1 --steps 3 --patch 32 --batch 4 --device cpu"
    run("-m", "tools.crossvalidate", *words.split())
    say("crossvalidate.py", Path("folds", "crossvalidation.json").read_bytes())


def main(args):
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            print_digests()
        finally:
            os.chdir(ROOT)       # Windows deletes no folder that is somebody's current one


if __name__ == "__main__":
    run_script(main, ARGS, "tools.digests")
