"""Time this project beside what one would use instead: MONAI, ONNX Runtime, OpenVINO, smp, a plain loop.

    pip install -r benchmarks/requirements-bench.txt
    python -m benchmarks.peers                  draws results/peers.png, too, by its predictions
    python -m benchmarks.peers --quick          smaller images, and fewer
    python -m benchmarks.peers training         or "predictions", or "folder": a part of it

Predictions are those of the same networks, of random weights, on the same noise, in float32: the class of
each pixel. Each way runs in a process of its own, all ways in turns; what counts is the fastest of all
calls. The memory is what a process takes at most while it predicts, beyond what it took before.
"Differs" is the share of pixels with another class than in one pass over the whole image. The rate is
that of the multiplications and additions which the network needs for these pixels, in times of that of
a matrix multiplication. ONNX Runtime and OpenVINO run the windows that this project cuts. See
peers_predictions.py, peers_training.py and peers_folder.py.
"""
from argparse import SUPPRESS

from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("parts", nargs="*", help="predictions, training, folder (all of them)")
    parser.add_argument("--quick", action="store_true", help="images of half the sides, a tenth of the folder")
    parser.add_argument("--rounds", type=int, default=2, help="how often all ways take turns (2)")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "WAY", "FILE"), help=SUPPRESS)
    ARGS = parser.parse_args()
    if set(ARGS.parts) - {"predictions", "training", "folder"}:
        parser.error(f"{' '.join(ARGS.parts)}: expected some of predictions, training, folder")

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks import peers_folder, peers_predictions, peers_training
from benchmarks.machine import machine

ROOT = Path(__file__).resolve().parent.parent
PHOTOGRAPHS = 500                # in the folder


# ---------------------------------------------------------------------------------------------------
# One way in its process, and all of them in turns


def measure(case, way, file, quick):
    """Print the figures of one way as JSON."""
    if case == "training":
        print(json.dumps(peers_training.WAYS[way]()))
    elif case == "folder":
        print(json.dumps(peers_folder.images_a_second(way, PHOTOGRAPHS // 10 if quick else PHOTOGRAPHS)))
    else:
        print(json.dumps(peers_predictions.measure(case, way, file, quick)))


def multiplications():
    """Return how many floating point operations a second a matrix multiplication does here, in float32."""
    a, b = torch.randn(2, 2048, 2048)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(seconds)


def in_its_process(case, way, quick, file="-"):
    """Return what measure prints."""
    line = [sys.executable, "-m", "benchmarks.peers", "--one", case, way, str(file), *["--quick"] * quick]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(case, rounds, folder, quick):
    """Return {way: (seconds, bytes, share of pixels that differ)} of a case."""
    found = {}
    for _ in range(rounds):
        for number, way in enumerate(peers_predictions.WAYS):
            if way in ("ONNX Runtime", "OpenVINO") and not case.startswith("FCN"):
                continue             # a whole U-Net in windows, as MONAI has it
            file = Path(folder) / f"{number}.npy"
            seconds, memory = in_its_process(case, way, quick, file)
            differs = float((np.load(file) != np.load(Path(folder) / "1.npy")).mean()) if number else 0.0
            before = found.get(way, (seconds, memory))
            found[way] = min(seconds, before[0]), min(memory, before[1]), differs
    own = float((np.load(Path(folder) / "0.npy") != np.load(Path(folder) / "1.npy")).mean())
    found["this project"] = (*found["this project"][:2], own)
    return found


def predictions(args):
    """Print how all ways predict, and return {case: {way: seconds}}."""
    rate, results = multiplications(), {}
    print(f"a matrix multiplication does {rate / 1e9:.0f} GFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        for case in peers_predictions.CASES:
            side = peers_predictions.side_of(case, args.quick)
            found, needed = compare(case, args.rounds, folder, args.quick), peers_predictions.operations(case, side)
            print(f"{case}, {side}x{side}")
            for way, (seconds, memory, differs) in found.items():
                ratio = seconds / found["this project"][0]
                print(f"  {way:<22}{1000 * seconds:>9.1f} ms{ratio:>7.2f} times ours{memory / 1e6:>8.0f} MB more, "
                      f"{differs:.2%} differ, {needed / seconds / rate:.2f} of the rate", flush=True)
            results[f"{case}, {side}×{side}"] = {way: figures[0] for way, figures in found.items()}
    return results


def training(args):
    """Print how all ways train, and return {title: {way: seconds to the target}}."""
    seconds, target = {}, peers_training.TARGET
    print(f"training on the bundled photograph, {peers_training.STEPS} steps")
    for way in peers_training.WAYS:
        rate, reached, parameters = in_its_process("training", way, args.quick)
        told = f"IoU {target} after {reached:.1f} s" if reached else f"never an IoU of {target}"
        print(f"  {way:<28}{parameters:>9,} parameters{rate:>6.1f} steps a second, {told}", flush=True)
        seconds |= {way: reached} if reached else {}
    return {f"training to an IoU of {target}": seconds}


def folder(args):
    """Print how all ways go through a folder, and return {title: {way: seconds for an image}}."""
    seconds = {}
    print("photographs of 512x340, read, predicted by the FCN, and written")
    for way in peers_folder.WAYS:
        images = max(in_its_process("folder", way, args.quick) for _ in range(args.rounds))
        print(f"  {way:<28}{images:>6.1f} images a second", flush=True)
        seconds[way] = 1 / images
    return {"FCN, a photograph of a folder": seconds}


def draw(results, path):
    """Draw how long each way takes, in times of ours, which is the first, a panel for each case."""
    from matplotlib.figure import Figure

    from support.plots import BLUE, SKY, save

    rows = -(-len(results) // 2)
    figure = Figure(figsize=(9, 3 * rows), dpi=100, layout="constrained")
    for axes, (title, seconds) in zip(figure.subplots(rows, 2).flat, results.items()):
        names, times = list(seconds), list(seconds.values())
        ours = [name.startswith(("this", "train.py", "infer.py")) for name in names]
        bars = axes.barh(names, [time / times[0] for time in times], color=[BLUE if own else SKY for own in ours])
        axes.bar_label(bars, [f" {time:.1f} s" if time >= 1 else f" {1000 * time:.3g} ms" for time in times])
        axes.invert_yaxis()
        axes.set(xlabel=f"times that of {names[0]}", xlim=(0, 1.35 * max(times) / times[0]))
        axes.set_title(title, fontsize=11, loc="right")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


PARTS = {"predictions": predictions, "training": training, "folder": folder}


def main(args):
    if args.one:
        return measure(*args.one, args.quick)
    import monai
    import onnxruntime
    import openvino
    import segmentation_models_pytorch as smp

    print(f"{machine()}; MONAI {monai.__version__}, ONNX Runtime {onnxruntime.__version__}, "
          f"OpenVINO {openvino.__version__.split('-')[0]}, segmentation-models-pytorch {smp.__version__}")
    results = {}
    for part in args.parts or PARTS:
        results |= PARTS[part](args)
    if not args.quick and "predictions" in (args.parts or PARTS):
        draw(results, ROOT / "results" / "peers.png")


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
