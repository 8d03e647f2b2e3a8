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
a matrix multiplication. ONNX Runtime and OpenVINO run the windows that this project cuts. Trainings:
see peers_training.py; the folder: see peers_folder.py.
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

import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import machine
from benchmarks.stages import MEAN, METADATA, STD
from model import FCN, UNet, batchnorm_layers, normalize
from patches import core_logits, decide
from segmenter import Segmenter
from support.machine import keep_freed_memory
from tools.speed import peak_memory

ROOT = Path(__file__).resolve().parent.parent
CASES = {"FCN, one window": (FCN, 256), "FCN": (FCN, 4096), "U-Net, width 16, depth 3": (lambda: UNet(2, 16, 3), 2048),
         "U-Net, width 12, depth 4": (lambda: UNet(2, 12, 4), 1024)}
CALLS = 3                        # in a process, for an image; the first warms up
PHOTOGRAPHS = 500                # in the folder


# ---------------------------------------------------------------------------------------------------
# Ways: network → function of an image uint8 (H, W, 3) to classes uint8 (H, W)


def classes_of(logits):
    """Return the classes uint8 (H, W) of logits (1, 2, H, W); PyTorch's argmax takes longer than the FCN for it."""
    return (logits[0, 1] > logits[0, 0]).to(torch.uint8).numpy()


def ours(network):
    keep_freed_memory()
    return Segmenter(network, METADATA)


def whole(network):
    keep_freed_memory()

    @torch.inference_mode()
    def predict(image):
        return classes_of(network(normalize(image[None], MEAN, STD)))

    return predict


def monai(network, **settings):
    from monai.inferers import sliding_window_inference

    @torch.inference_mode()
    def predict(image):
        logits = sliding_window_inference(normalize(image[None], MEAN, STD), (256, 256), 1, network, **settings)
        return classes_of(logits)

    return predict


def monai_best(network):
    """One window at a time without overlap: the fastest that it can be; memory is kept, as we do."""
    keep_freed_memory()
    return monai(network, overlap=0.0)


def monai_closest(network):
    """Windows that overlap by half, their edges weighted least: what comes closest to the whole image, of all tried."""
    keep_freed_memory()
    return monai(network, overlap=0.5, mode="gaussian")


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
        "MONAI, no overlap": monai_best, "MONAI, closest": monai_closest, "ONNX Runtime": onnx_runtime,
        "OpenVINO": openvino}


# ---------------------------------------------------------------------------------------------------
# One way in its process, and all of them in turns


@torch.no_grad()
def undecided(make):
    """Return a network of random weights for which each of its two classes is as likely on noise."""
    torch.manual_seed(0)
    network = make().to(memory_format=torch.channels_last).eval()
    for layer in batchnorm_layers(network):
        layer.running_var.fill_(0.05)        # so that the image, not the biases, decides
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    last.bias.sub_(network(torch.randn(1, 3, 256, 256)).mean(dim=(0, 2, 3)))
    return network


def measure(case, way, file, quick):
    """Print the figures of one way as JSON."""
    from benchmarks import peers_folder, peers_training

    if case == "training":
        print(json.dumps(peers_training.WAYS[way]()))
    elif case == "folder":
        print(json.dumps(peers_folder.images_a_second(way, PHOTOGRAPHS // 10 if quick else PHOTOGRAPHS)))
    else:
        print(json.dumps(measure_prediction(case, way, file, quick)))


def measure_prediction(case, way, file, quick):
    """Return the seconds of the fastest call and the memory of one way, and write its classes to a file."""
    make, side = CASES[case]
    side = side // 2 if quick and side > 256 else side
    network = undecided(make)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    predict = WAYS[way](network)
    predict(image[:256, :256])
    before, seconds = peak_memory(), []
    for _ in range(CALLS if side > 256 else 100 * CALLS):
        began = time.perf_counter()
        classes = predict(image)
        seconds.append(time.perf_counter() - began)
    np.save(file, classes)
    return min(seconds), peak_memory() - before


def operations(case, side):
    """Return how many floating point operations the network of a case needs for an image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        CASES[case][0]().eval()(torch.zeros(1, 3, 256, 256))
    return counter.get_total_flops() * (side / 256) ** 2


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
        for number, way in enumerate(WAYS):
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
        for case, (_, side) in CASES.items():
            side = side // 2 if args.quick and side > 256 else side
            found, needed = compare(case, args.rounds, folder, args.quick), operations(case, side)
            print(f"{case}, {side}x{side}")
            for way, (seconds, memory, differs) in found.items():
                ratio = seconds / found["this project"][0]
                print(f"  {way:<22}{1000 * seconds:>9.1f} ms{ratio:>7.2f} times ours{memory / 1e6:>8.0f} MB more, "
                      f"{differs:.2%} differ, {needed / seconds / rate:.2f} of the rate", flush=True)
            results[f"{case}, {side}×{side}"] = {way: figures[0] for way, figures in found.items()}
    return results


def training(args):
    """Print how all ways train, and return {title: {way: seconds to the target}}."""
    from benchmarks.peers_training import STEPS, TARGET, WAYS

    seconds = {}
    print(f"training on the bundled photograph, {STEPS} steps")
    for way in WAYS:
        rate, reached, parameters = in_its_process("training", way, args.quick)
        told = f"IoU {TARGET} after {reached:.1f} s" if reached else f"never an IoU of {TARGET}"
        print(f"  {way:<28}{parameters:>9,} parameters{rate:>6.1f} steps a second, {told}", flush=True)
        seconds |= {way: reached} if reached else {}
    return {f"training to an IoU of {TARGET}": seconds}


def folder(args):
    """Print how all ways go through a folder, and return {title: {way: seconds for an image}}."""
    from benchmarks.peers_folder import WAYS

    seconds = {}
    print("photographs of 512x340, read, predicted by the FCN, and written")
    for way in WAYS:
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
