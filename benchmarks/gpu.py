"""Time predictions on a GPU: by this project, in 32 and 16 bits, in one pass over the whole image, and by MONAI.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --quick       on smaller images: does it run?

Networks and images are those of benchmarks.peers: random weights, noise, two classes. All ways take turns in one
process; what counts is the fastest call, from the image to the classes, both in the host's memory. The memory is the
GPU's, at most, beyond the weights. "Differ" is the share of pixels with another class than this project's on the CPU.
MONAI is left out where it is not installed. For trainings: benchmarks.train_step --device cuda.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--device", default="cuda", help="where to predict: cuda or cpu (cuda)")
    parser.add_argument("--quick", action="store_true", help="images of an eighth of the sides")
    parser.add_argument("--rounds", type=int, default=5, help="how often all ways take turns (5)")
    ARGS = parser.parse_args()

import copy
import importlib.util
import time

import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.peers_predictions import CASES, monai, undecided, whole
from benchmarks.stages import METADATA
from segmenter import Segmenter
from support.devices import pick_device
from support.machine import keep_freed_memory


def ways(network, device):
    """Return {name: function of an image uint8 (H, W, 3) to classes uint8 (H, W)}, all on the device."""
    found = {"this project": Segmenter(network, METADATA, device),
             "this project, 16 bits": Segmenter(network, METADATA, device, amp="on"),
             "whole image at once": whole(network, device)}
    if importlib.util.find_spec("monai"):
        found |= {"MONAI, its overlap": monai(network, device, 16),
                  "MONAI, no overlap": monai(network, device, 16, overlap=0.0)}
    return found


def measure(predict, image, device):
    """Return (seconds, bytes of the GPU's memory, classes) of one call."""
    before = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    began = time.perf_counter()
    classes = predict(image)
    seconds = time.perf_counter() - began
    return seconds, torch.cuda.max_memory_allocated() - before if device.type == "cuda" else 0, classes


def main(args):
    keep_freed_memory()
    device = pick_device(args.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU"
    print(f"{machine()}, {name}; the best of {args.rounds}, after one")
    for case, (make, side) in CASES.items():
        side = side // 8 if args.quick and side > 256 else side
        network = undecided(make)
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        segment = Segmenter(copy.deepcopy(network), METADATA)
        segment(image[:256, :256])
        began = time.perf_counter()
        expected = segment(image)
        print(f"{case}, {side}x{side}; {1000 * (time.perf_counter() - began):.1f} ms on the CPU")
        predictors, found = ways(network, device), {}
        for _ in range(args.rounds + 1):
            for way, predict in predictors.items():
                found.setdefault(way, []).append(measure(predict, image, device))
        for way, calls in found.items():
            seconds, memory = min(call[0] for call in calls[1:]), max(call[1] for call in calls[1:])
            differs = (calls[-1][2] != expected).mean()
            print(f"  {way:<24}{1000 * seconds:>9.2f} ms{memory / 1e6:>8.0f} MB, {differs:.3%} differ", flush=True)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
