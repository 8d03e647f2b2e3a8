"""Measure how the side of the windows, and their number at once, decide the time of a prediction.

    python -m benchmarks.windows

Times all windows of an image of 1300×970 pixels, as `patches.tiles` lays them: one at a time at
several sides, and several at a time, which is over the default budget. All cases take turns in one
process.
"""
import argparse

if __name__ == "__main__":       # before the imports that take seconds
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="how often all take turns (9)")
    parser.add_argument("--keep-memory", action="store_true", help="keep freed memory, as training does")
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
    if args.keep_memory:
        keep_freed_memory()
    torch.manual_seed(0)
    model = FCN().eval().to(memory_format=torch.channels_last)
    image = np.random.default_rng(0).integers(0, 256, (970, 1300, 3), np.uint8)
    cases = [(side, 1) for side in (64, 96, 128, 192, 256, None)] + [(256, 2), (256, 4), (256, 8)]
    seconds = {case: [] for case in cases}
    for case in cases:
        in_batches(model, image, *case)      # warm-up
    for _ in range(args.rounds):
        for case in cases:
            seconds[case].append(in_batches(model, image, *case))
    print(f"{machine()}; median and range of {args.rounds}")
    for (side, count), times in seconds.items():
        height, width, cover = tiles(*image.shape[:2], model.halo, model.stride, side)
        work = len(cover) * height * width / image[:, :, 0].size
        print(f"{len(cover):>4} windows of {height}x{width}, {count} at a time: {work:.2f} x the pixels, "
              f"{1e3 * statistics.median(times):>5.0f} ms ({1e3 * min(times):.0f} to {1e3 * max(times):.0f})"
              f"{'  (the default)' if side is None else ''}")


if __name__ == "__main__":
    main(ARGS)
