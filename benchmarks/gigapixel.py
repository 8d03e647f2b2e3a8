"""Time and memory of `python predict.py big.tif --out mask.tif`, from 1 megapixel to 1 gigapixel.

    python -m benchmarks.gigapixel             needs 3 GB on the disk
    python -m benchmarks.gigapixel --quick     up to 64 megapixels

Makes tiled TIFF files of the bundled tissue, again and again, and segments each in a process of its own, which has
segmented a small image before: so what is measured is neither the start nor the libraries' own memory. Draws
results/gigapixel.png.
"""
from argparse import SUPPRESS

from support.arguments import predict_arguments
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--checkpoint", help="a trained network (the one that ships)")
    parser.add_argument("--quick", action="store_true", help="only up to 64 megapixels")
    parser.add_argument("--most", type=int, default=32768, metavar="PIXELS", help="side of the largest image (32768)")
    parser.add_argument("--out", default="results/gigapixel.png", help="the picture (results/gigapixel.png)")
    parser.add_argument("--measure", metavar="FOLDER", help=SUPPRESS)      # the process that segments
    ARGS = parser.parse_args()

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import tifffile
from matplotlib.figure import Figure

from benchmarks.machine import machine
from predict import SHIPPED, predict
from support.files import PICTURES, BadInput, check_writable, write_image
from support.plots import BLUE, ORANGE, save
from support.sample import photograph, sample
from tools.speed import peak_memory

SIDES = 1024, 2048, 4096, 8192, 16384, 32768
TILE = 256


def make_image(path, side):
    """Write a tiled TIFF file of so many pixels a side that shows the bundled tissue again and again."""
    tissue, _ = sample()
    tiles = {(y, x): zlib.compress(tissue[y:y + TILE, x:x + TILE].tobytes(), 1)
             for y in range(0, 512, TILE) for x in range(0, 512, TILE)}
    again = (tiles[y % 512, x % 512] for y in range(0, side, TILE) for x in range(0, side, TILE))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(again, shape=(side, side, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb",
                   compression="adobe_deflate")


def measure(checkpoint, folder):
    """Segment big.tif in a folder; print the seconds, and the bytes of memory above those for a small image."""
    def run(image, out):
        with contextlib.redirect_stdout(io.StringIO()):
            predict(predict_arguments([str(folder / image), "--out", str(folder / out), "--checkpoint", checkpoint]))
        return peak_memory()

    write_image(folder / "small.png", photograph())
    before, began = run("small.png", "small_mask.png"), time.perf_counter()
    after = run("big.tif", "mask.tif")
    print(json.dumps([time.perf_counter() - began, after - before]))


def draw(megapixels, seconds, extra, path):
    figure = Figure(figsize=(8, 3.6), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(megapixels, seconds, "o-", color=BLUE, linewidth=2)
    left.loglog(megapixels, np.array(megapixels) * seconds[-1] / megapixels[-1], ":", color="grey",
                label="in proportion to the last")
    left.set(xlabel="megapixels", ylabel="seconds", title="Time")
    left.legend(edgecolor="none")
    right.semilogx(megapixels, extra, "s-", color=ORANGE, linewidth=2)
    right.set(xlabel="megapixels", ylabel="MB above those for a small image", title="Memory", ylim=(0, 320))
    for axes in left, right:
        axes.grid(alpha=0.3)
    save(figure, path)


def main(args):
    if args.measure:
        return measure(args.checkpoint, Path(args.measure))
    out, rows = check_writable(args.out, endings=PICTURES), []
    print(machine())
    print(f"{'pixels':>15}{'seconds':>10}{'megapixels a second':>21}{'MB':>7}")
    for side in [side for side in SIDES if side <= (8192 if args.quick else args.most)]:
        with tempfile.TemporaryDirectory() as folder:
            make_image(Path(folder, "big.tif"), side)
            command = [sys.executable, "-m", "benchmarks.gigapixel", "--measure", folder, "--checkpoint",
                       args.checkpoint or str(SHIPPED)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise BadInput((done.stderr.strip().splitlines() or ["the prediction failed"])[-1])
        seconds, extra = json.loads(done.stdout)
        rows.append((side**2 / 1e6, seconds, extra / 1e6))
        print(f"{f'{side}x{side}':>15}{seconds:>10.2f}{rows[-1][0] / seconds:>21.1f}{rows[-1][2]:>7.0f}", flush=True)
    draw(*zip(*rows), out)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
