"""Measure what happens before the first step of a training, and before the first mask of infer.py, on many images.

    python -m benchmarks.start [--pairs 20000]

Makes a data set of crops of scikit-image's pictures, JPEGs and PNGs in turns, with masks of what is bright, in a
temporary folder. Then times train.py until it takes its first step and infer.py until its first mask is there.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--pairs", type=int, default=20000, help="images and masks of the data set (20000)")
    parser.add_argument("--folder", help="where to keep it for another run (a temporary folder)")
    ARGS = parser.parse_args()

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from benchmarks.machine import machine
from support.machine import in_threads

ROOT = Path(__file__).resolve().parent.parent
PICTURES = "astronaut", "chelsea", "coffee", "immunohistochemistry", "rocket"
HEIGHT, WIDTH = 160, 192         # 20,000 pairs of these are more than --memory holds, so they are decoded when needed
QUICK = "--epochs", "1", "--steps", "1", "--val-images", "1", "--device", "cpu"


def make_pairs(folder, count):
    """Write so many pairs into a folder, unless they are there."""
    pictures = [getattr(data, name)()[:, :, :3] for name in PICTURES]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)

    def make(number):
        random, picture = np.random.default_rng(number), pictures[number % len(pictures)]
        top, left = (random.integers(have - need) for have, need in zip(picture.shape, (HEIGHT, WIDTH)))
        image = picture[top:top + HEIGHT, left:left + WIDTH]
        bright = image.mean(axis=2) > picture.mean()
        path = folder / "images" / f"{number:05d}{'.jpg' if number % 2 else '.png'}"
        Image.fromarray(image).save(path, **({"quality": 90} if number % 2 else {"compress_level": 1}))
        Image.fromarray((255 * bright).astype(np.uint8)).save(folder / "masks" / f"{number:05d}.png")

    if not any((folder / "masks").iterdir()):
        for _ in in_threads(make, range(count)):
            pass


def seconds_until(found, *words):
    """Run a script and return the seconds until `found()` is true."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while not found() and process.poll() is None:
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        there = found()
        process.kill()
        process.wait()
        output.seek(0)
        printed = output.read()
    if not there:
        raise SystemExit(f"{words[0]} ended too early:\n{printed}")
    return seconds


def main(args):
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = Path(args.folder or temporary / "data")
        make_pairs(folder, args.pairs)
        print(f"{machine()}; {args.pairs} pairs of {WIDTH}x{HEIGHT} pixels")
        for run in "first", "second":
            out = temporary / run
            training = seconds_until((out / "last.pt").exists, "-u", "train.py", "--data", folder, "--out", out, *QUICK)
            masks = temporary / f"{run} masks"
            begun = lambda masks=masks: any(masks.glob("*.???"))
            inference = seconds_until(begun, "infer.py", folder / "images", masks, "--checkpoint",
                                      ROOT / "checkpoints" / "fcn.pt", "--device", "cpu")
            print(f"{run} time: {training:6.1f} s until train.py's first step, {inference:6.1f} s until infer.py's "
                  "first mask", flush=True)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
