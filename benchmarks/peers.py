"""Time predictions beside what one would use instead: MONAI, ONNX Runtime, OpenVINO, the whole image.

    pip install -r benchmarks/requirements-bench.txt
    python -m benchmarks.peers            draws results/peers.png, too
    python -m benchmarks.peers --quick    smaller images

All predict with the same networks, of random weights, on the same noise, in float32, and return the
class of each pixel. Each way runs in a process of its own, all ways in turns; what counts is the
fastest of all calls. The memory is what a process takes at most while it predicts, beyond what it
took before. "Differs" is the share of pixels with another class than in one pass over the whole
image. ONNX Runtime and OpenVINO run the windows that this project cuts.
"""
import argparse

if __name__ == "__main__":       # before the imports that take seconds
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="images of half the sides")
    parser.add_argument("--rounds", type=int, default=2, help="how often all ways take turns (2)")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "WAY", "FILE"), help=argparse.SUPPRESS)
    ARGS = parser.parse_args()

import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.stages import MEAN, METADATA, STD
from model import FCN, UNet, batchnorm_layers, normalize
from patches import core_logits, decide
from segmenter import Segmenter
from support.machine import keep_freed_memory

ROOT = Path(__file__).resolve().parent.parent
CASES = {"FCN, one window": (FCN, 256), "FCN": (FCN, 4096), "U-Net, width 16, depth 3": (lambda: UNet(2, 16, 3), 2048),
         "U-Net, width 12, depth 4": (lambda: UNet(2, 12, 4), 1024)}
CALLS = 5                        # in a process, for an image; the first warms up


# ---------------------------------------------------------------------------------------------------
# Ways: network → function of an image uint8 (H, W, 3) to classes uint8 (H, W)


def ours(network):
    keep_freed_memory()
    return Segmenter(network, METADATA)


def whole(network):
    keep_freed_memory()

    @torch.inference_mode()
    def predict(image):
        return network(normalize(image[None], MEAN, STD))[0].argmax(0).to(torch.uint8).numpy()

    return predict


def monai(network, **settings):
    from monai.inferers import sliding_window_inference

    @torch.inference_mode()
    def predict(image):
        logits = sliding_window_inference(normalize(image[None], MEAN, STD), (256, 256), 1, network, **settings)
        return logits[0].argmax(0).to(torch.uint8).numpy()

    return predict


def monai_best(network):
    """One window at a time without overlap: the fastest that it can be; memory is kept, as we do."""
    keep_freed_memory()
    return monai(network, overlap=0.0)


def in_our_windows(network, run):
    """Predict by `run`, which maps a window float32 (1, 3, h, w) to logits (1, classes, h, w)."""
    def forward(window):
        return run(((window / np.float32(255) - np.float32(0.5)) / np.float32(0.25)).transpose(2, 0, 1)[None])[0]

    return lambda image: decide(core_logits(forward, image, network.halo, network.stride), image.shape[:2])


def as_onnx(network):
    from tools.export import to_onnx

    return to_onnx(network, {}).SerializeToString()


def onnx_runtime(network):
    import onnxruntime

    session = onnxruntime.InferenceSession(as_onnx(network), providers=["CPUExecutionProvider"])
    return in_our_windows(network, lambda images: session.run(None, {"image": np.ascontiguousarray(images)})[0])


def openvino(network):
    from openvino import Core

    precise = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    core = Core()
    compiled = core.compile_model(core.read_model(io.BytesIO(as_onnx(network))), "CPU", precise)
    return in_our_windows(network, lambda images: compiled(np.ascontiguousarray(images))[0])


WAYS = {"this project": ours, "whole image at once": whole, "MONAI, its defaults": monai,
        "MONAI, no overlap": monai_best, "ONNX Runtime": onnx_runtime, "OpenVINO": openvino}


# ---------------------------------------------------------------------------------------------------
# One way in its process, and all of them in turns


@torch.inference_mode()
def undecided(make):
    """Return a network of random weights for which each of its two classes is as likely on noise."""
    torch.manual_seed(0)
    network = make().to(memory_format=torch.channels_last).eval()
    for layer in batchnorm_layers(network):
        layer.running_var.fill_(0.05)        # so that the image, not the biases, decides
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    last.bias.sub_(network(torch.randn(1, 3, 256, 256)).mean(dim=(0, 2, 3)))
    return network


def peak_memory():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def measure(case, way, file, quick):
    """Print the seconds of the fastest call and the memory of one way, and write its classes to a file."""
    make, side = CASES[case]
    side = side // 2 if quick and side > 256 else side
    network = undecided(make)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    predict = WAYS[way](network)
    predict(image[:256, :256])
    before, seconds = peak_memory(), []
    for _ in range(CALLS if side > 256 else 50 * CALLS):
        began = time.perf_counter()
        classes = predict(image)
        seconds.append(time.perf_counter() - began)
    np.save(file, classes)
    print(json.dumps([min(seconds), peak_memory() - before]))


def multiplications():
    """Return how many floating point operations a second a matrix multiplication does here, in float32."""
    a, b = torch.randn(2, 2048, 2048)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(seconds)


def compare(case, rounds, folder, quick):
    """Return {way: (seconds, bytes, share of pixels that differ)} of a case."""
    found = {}
    for _ in range(rounds):
        for number, way in enumerate(WAYS):
            if way in ("ONNX Runtime", "OpenVINO") and not case.startswith("FCN"):
                continue             # a whole U-Net in windows, as MONAI has it
            file = Path(folder) / f"{number}.npy"
            line = [sys.executable, "-m", "benchmarks.peers", "--one", case, way, str(file), *["--quick"] * quick]
            done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{way}: {done.stderr.strip().splitlines()[-1]}")
            seconds, memory = json.loads(done.stdout.splitlines()[-1])
            differs = float((np.load(file) != np.load(Path(folder) / "1.npy")).mean()) if number else 0.0
            before = found.get(way, (seconds, memory))
            found[way] = min(seconds, before[0]), min(memory, before[1]), differs
    own = float((np.load(Path(folder) / "0.npy") != np.load(Path(folder) / "1.npy")).mean())
    found["this project"] = (*found["this project"][:2], own)
    return found


def draw(results, path):
    """Draw how long each way takes, in times of ours, a panel for each case."""
    from matplotlib.figure import Figure

    from support.plots import BLUE, SKY, save

    figure = Figure(figsize=(9, 6), dpi=100, layout="constrained")
    for axes, (case, found) in zip(figure.subplots(2, 2).flat, results.items()):
        names, ratios = list(found), [seconds / found["this project"][0] for seconds, *_ in found.values()]
        times = [1000 * seconds for seconds, *_ in found.values()]
        bars = axes.barh(names, ratios, color=[BLUE if name == "this project" else SKY for name in names])
        axes.bar_label(bars, [f" {time:,.0f} ms" if time >= 100 else f" {time:.1f} ms" for time in times])
        axes.invert_yaxis()
        side = CASES[case][1]
        axes.set(xlabel="times this project's time", xlim=(0, 1.35 * max(ratios)))
        axes.set_title(f"{case}, {side}×{side}", fontsize=11, loc="right")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def main(args):
    if args.one:
        return measure(*args.one, args.quick)
    import monai
    import onnxruntime
    import openvino

    print(f"{machine()}; MONAI {monai.__version__}, ONNX Runtime {onnxruntime.__version__}, "
          f"OpenVINO {openvino.__version__.split('-')[0]}")
    print(f"a matrix multiplication does {multiplications() / 1e9:.0f} GFLOP/s")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for case, (_, side) in CASES.items():
            found = results[case] = compare(case, args.rounds, folder, args.quick)
            side = side // 2 if args.quick and side > 256 else side
            print(f"{case}, {side}x{side}")
            for way, (seconds, memory, differs) in found.items():
                ratio = seconds / found["this project"][0]
                print(f"  {way:<22}{1000 * seconds:>9.1f} ms{ratio:>7.2f} times ours{memory / 1e6:>8.0f} MB more, "
                      f"{differs:.2%} differ", flush=True)
    if not args.quick:
        draw(results, ROOT / "results" / "peers.png")


if __name__ == "__main__":
    main(ARGS)
