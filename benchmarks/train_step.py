"""What train.py costs beyond the arithmetic: its steps per second beside a bare loop's, in one process.

    python -m benchmarks.train_step

The bare loop feeds the same network random tensors of the same shape, made beforehand: forward, PyTorch's own
loss, backward, AdamW. train.py draws, augments and normalizes patches, averages the weights and, each epoch,
validates and writes its files: all of that is counted. The two take turns; the medians over epochs are compared.
"""
import argparse


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often the two take turns (3)")
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports that take seconds

import contextlib
import csv
import io
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import train
from benchmarks.machine import machine
from files import write_image
from model import FCN
from patches import within_budget
from sample import sample

STEPS = 50                       # an epoch's


def bare_loop(args):
    """Seconds of each epoch."""
    model = FCN().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters())
    batch = torch.randn(args.batch, 3, args.patch, args.patch).to(memory_format=torch.channels_last)
    truth = torch.randint(0, 2, (args.batch, args.patch, args.patch))
    seconds = []
    for _ in range(args.epochs):
        began = time.perf_counter()
        for _ in range(args.steps):
            loss = F.cross_entropy(model(within_budget(batch)), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.perf_counter() - began)
    return seconds


def real_loop(args):
    """Seconds of each epoch but the first, whose start is not the loop's, from the history that train.py writes."""
    with contextlib.redirect_stdout(io.StringIO()):
        train.train(args)
    with (Path(args.out) / "history.csv").open(newline="") as file:
        ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    return [after - before for before, after in zip(ends, ends[1:])]


def main(args):
    bare, real = [], []
    with tempfile.TemporaryDirectory() as folder:
        pair = [str(Path(folder) / name) for name in ("rgb.png", "gt.png")]
        for path, array in zip(pair, sample()):
            write_image(path, array)
        train.keep_freed_memory()
        settings = train.parse_arguments([*pair, "--out", folder, "--epochs", "6", "--steps", str(STEPS)])
        bare_loop(settings)      # warm-up
        for _ in range(args.rounds):
            bare += bare_loop(settings)
            real += real_loop(settings)
    print(machine())
    for name, seconds in [("bare loop", bare), ("train.py", real)]:
        slow, median, fast = (STEPS / statistics.quantiles(seconds, n=10)[i] for i in (8, 4, 0))
        print(f"{name:<10}{median:>6.1f} steps a second, median of {len(seconds)} epochs; "
              f"a tenth are below {slow:.1f}, a tenth above {fast:.1f}")
    print(f"train.py does {statistics.median(bare) / statistics.median(real):.2f} of the bare loop's steps")


if __name__ == "__main__":
    main(ARGS)
