"""Measure how the side of the windows, and their number at once, decide the time of a prediction.

    python -m benchmarks.windows

Times all windows of an image of 1300×970 pixels, as `patches.tiles` lays them: one at a time at
several sides, and several at a time, which is over the default budget. All cases take turns in one
process.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often all take turns (9)")
    ARGS = parser.parse_args()

import statistics
import time

import numpy as np
import torch

from benchmarks.machine import machine
from model import FCN, normalize
from patches import tiles, within_budget
from support.machine import keep_freed_memory

MEAN, STD = [0.5] * 3, [0.25] * 3


def in_batches(model, image, window, count):
    """Return the seconds for all windows of an image, `count` at a time."""
    height, width, cover = tiles(*image.shape[:2], model.halo, model.stride, window)
    began = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(cover), count):
            some = cover[start:start + count]
            batch = np.stack([image[tile.y:tile.y + height, tile.x:tile.x + width] for tile in some])
            model(within_budget(normalize(batch, MEAN, STD), budget=count)).numpy()
    return time.perf_counter() - began


def main(args):
    keep_freed_memory()
    torch.manual_seed(0)
    model = FCN().eval().to(memory_format=torch.channels_last)
    image = np.random.default_rng(0).integers(0, 256, (970, 1300, 3), np.uint8)
    sides = 64, 96, 128, 192, 224, 232, 240, 242, 250, 256, None
    cases = [*((side, 1) for side in sides), (256, 2), (256, 4), (256, 8)]
    seconds = {case: [] for case in cases}
    for case in cases:
        in_batches(model, image, *case)      # warm-up
    for _ in range(args.rounds):
        for case in cases:
            seconds[case].append(in_batches(model, image, *case))
    print(f"{machine()}; median and range of {args.rounds}")
    for (side, count), times in seconds.items():
        height, width, cover = tiles(*image.shape[:2], model.halo, model.stride, side)
        pixels, times = len(cover) * height * width, [1e3 * one for one in times]
        work = pixels / image[:, :, 0].size
        print(f"{len(cover):>4} windows of {height}x{width}, {count} at a time: {work:.2f} x the pixels, "
              f"{1e6 * statistics.median(times) / pixels:>3.0f} ns each, {statistics.median(times):>4.0f} ms "
              f"({min(times):.0f} to {max(times):.0f})"
              f"{'  (the default)' if side is None else ''}")


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
