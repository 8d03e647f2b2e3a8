"""Compare the steps per second of train.py with those of a bare loop, in one process.

    python -m benchmarks.train_step
    python -m benchmarks.train_step --device cuda

The difference is the cost of train.py beyond arithmetic. The bare loop feeds the same network
random tensors of the same shape, made beforehand: forward, PyTorch's own loss, backward, AdamW.
train.py draws, augments and normalizes patches, averages the weights and, each epoch, validates and
writes its files. The two take turns; the medians over epochs are compared.

There are three cases. The first is the one-image exercise, with all of that counted. The second is
a U-Net on a folder of 40 photographs of 480×360, with random scales, held in memory. In the third,
a worker decodes the images in every step. In the latter two, validation is not counted: its
frequency is a matter of --steps.
"""
from support.arguments import train_arguments
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often the two take turns (3)")
    parser.add_argument("--device", default="cpu", help="where both compute: cpu or cuda (cpu)")
    ARGS = parser.parse_args()

import contextlib
import csv
import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import train
from benchmarks.machine import machine
from model import build
from patches import within_budget
from support.devices import multiplying_in, pick_device, pick_precision
from support.files import write_image
from support.machine import keep_freed_memory
from support.sample import sample

STEPS = 50                       # per epoch


def bare_loop(args):
    """Return the seconds of each epoch of the bare loop."""
    device = pick_device(args.device)
    model = build(args.model, 2, width=args.width, depth=args.depth).train()
    model = model.to(device, memory_format=torch.channels_last)
    precision, _ = pick_precision(args.amp, model, device)
    optimizer = torch.optim.AdamW(model.parameters())
    batch = torch.randn(args.batch, 3, args.patch, args.patch).to(device, memory_format=torch.channels_last)
    truth = torch.randint(0, 2, (args.batch, args.patch, args.patch), device=device)
    seconds = []
    for _ in range(args.epochs):
        began = time.perf_counter()
        for _ in range(args.steps):
            with multiplying_in(precision, device):
                logits = model(within_budget(batch))
            loss = F.cross_entropy(logits.float(), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()              # or a GPU is still at work
        seconds.append(time.perf_counter() - began)
    return seconds


def real_loop(args):
    """Return the seconds of each epoch but the first, from the history that train.py writes.

    The first is left out, as its start is not that of the loop.
    """
    pauses, validate = [], train.validate

    def timed(*words):
        began = time.perf_counter()
        result = validate(*words)
        pauses.append(time.perf_counter() - began)
        return result

    train.validate = timed
    with contextlib.redirect_stdout(io.StringIO()):
        train.train(args)
    train.validate = validate
    with (Path(args.out) / "history.csv").open(newline="") as file:
        ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    uncounted = pauses[1:] if args.data else [0] * len(ends)
    return [after - before - pause for before, after, pause in zip(ends, ends[1:], uncounted)]


def write_folder(folder):
    """Write parts of the bundled photograph, enlarged to 480×360, as a data set.

    The images are JPEGs and their masks are PNGs.
    """
    random, (image, mask) = np.random.default_rng(0), sample()
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(40):
        y, x = random.integers(0, 512 - 180), random.integers(0, 512 - 240)
        for part, array, ending in [("images", image, "jpg"), ("masks", mask, "png")]:
            cut = array[y:y + 180, x:x + 240].repeat(2, axis=0).repeat(2, axis=1)
            write_image(folder / part / f"{number}.{ending}", cut)


def main(args):
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pair = [str(folder / name) for name in ("rgb.png", "gt.png")]
        for path, array in zip(pair, sample()):
            write_image(path, array)
        write_folder(folder / "data")
        fcn = [*pair, "--loss", "ce", "--zoom", "1"]
        unet = ["--data", str(folder / "data"), "--model", "unet", "--scale", "0.7", "1.5"]
        keep_freed_memory()
        for name, words in {
            "one image, FCN": fcn,
            "a folder, U-Net of width 16, held in memory": unet,
            "a folder, U-Net of width 16, decoded when needed": [*unet, "--memory", "0"],
        }.items():
            settings = train_arguments([*words, "--out", str(folder), "--epochs", "6", "--steps", str(STEPS),
                                        "--device", args.device])
            bare_loop(settings)      # warm-up
            bare, real = [], []
            for _ in range(args.rounds):
                bare += bare_loop(settings)
                real += real_loop(settings)
            ratio = statistics.median(bare) / statistics.median(real)
            print(f"{name}: train.py does {ratio:.2f} of the bare loop's steps")
            for loop, seconds in [("bare loop", bare), ("train.py", real)]:
                slow, median, fast = (STEPS / statistics.quantiles(seconds, n=10)[i] for i in (8, 4, 0))
                print(f"  {loop:<10}{median:>6.1f} steps a second, median of {len(seconds)} epochs; "
                      f"a tenth are below {slow:.1f}, a tenth above {fast:.1f}", flush=True)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
