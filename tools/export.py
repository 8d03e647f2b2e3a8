"""A trained network as an ONNX file, which runs without PyTorch: checked, written, perhaps in 8 bits too, and timed.

Or, where --out ends in .pt, as a checkpoint of half the size, for all that takes a checkpoint.

    python -m tools.export                               model.pt to model.onnx
    python -m tools.export runs/name/model.pt --out runs/name/model.onnx --int8 DIR/images --int8-only DIR/train.txt
    python -m tools.export model.pt --int8 photos --benchmark DIR/images --masks DIR/masks --only DIR/test.txt
    python -m tools.export model.pt --out small.pt                 its weights in 16 bits, which it computes with in 32

infer.py --onnx runs such a file on images of any size, through the same windows. It takes windows (1, 3, height, width)
of any height and width up to 256 that are multiples of the network's stride; classes, normalization, halo and stride
stand in its metadata. Before it is written, its logits are compared with PyTorch's.
"""
from support.script import as_path, needs, run_script
from tools.arguments import export_arguments

if __name__ == "__main__":
    ARGS = export_arguments(description=__doc__)     # before the imports that take seconds

import contextlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

import metrics
from model import load_network
from patches import MAX_SIDE, choose_halo, cut_windows
from segmenter import Segmenter
from support.checkpoint import save_checkpoint
from support.devices import trial_seconds
from support.files import MARK, BadInput, check_writable, write_whole
from support.images import read_image
from support.machine import cores
from support.metadata import rendering_metadata
from support.names import evenly_spaced, named_images
from support.onnx_file import FORMAT, normalize_window
from support.sample import photograph
from tools.scoring import Examples, find_examples

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4                 # largest difference of a logit that is put down to rounding


# ---------------------------------------------------------------------------------------------------
# The file


def to_onnx(model, metadata):
    """Return a network as onnx.ModelProto, in which these metadata stand."""
    onnx, optimizer = needs("onnx", "onnxscript.optimizer")
    height, width = (torch.export.Dim(name, min=1, max=MAX_SIDE // model.stride) for name in ("height", "width"))
    window = torch.zeros(1, 3, 2 * model.stride, 3 * model.stride)    # an example; any other size will do
    with warnings.catch_warnings(), quiet("torch.onnx"), torch.no_grad():
        warnings.simplefilter("ignore")      # what PyTorch deprecates in itself
        program = torch.onnx.export(
            model.eval(), (window,), dynamo=True, verbose=False, input_names=["image"], output_names=["logits"],
            dynamic_shapes=({2: model.stride * height, 3: model.stride * width},))
    optimizer.optimize(program.model, input_size_limit=2**24, output_size_limit=2**24)         # adds up FCN's taps
    proto = program.model_proto
    mark(onnx, proto, metadata)
    return proto


@contextlib.contextmanager
def quiet(name=None):
    """Let this logger (or all) report errors only, inside `with quiet():`."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def mark(onnx, proto, metadata):
    """Put the metadata into the file, and our mark where files.is_ours finds it."""
    proto.producer_name = MARK
    onnx.helper.set_model_props(proto, {MARK: json.dumps(metadata)})


def write(proto, path):
    with write_whole(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def to_int8(whole, folder, windows, metadata):
    """Return the network in the file `whole` in 8 bits, scaled to what these windows bring about: onnx.ModelProto.

    Static quantization of weights and activations: a value is stored as an integer times a scale that is fixed
    beforehand, one for each output channel of a convolution's weights and one for each activation (Jacob et al.,
    2018). `folder` is for files in between.
    """
    onnx, quantization = needs("onnx", "onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):
        waiting = iter(windows)

        def get_next(self):
            window = next(self.waiting, None)
            return None if window is None else {"image": normalize_window(window, metadata["mean"], metadata["std"])}

    with quiet():                # it advises steps that gain nothing here
        quantization.quantize_static(
            whole, folder / "int8.onnx", Reader(), per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            reduce_range=True)   # 7 bits of weights: two products of 8 overflow where a processor has no VNNI
    small = onnx.load(folder / "int8.onnx")
    mark(onnx, small, metadata)
    return small


# ---------------------------------------------------------------------------------------------------
# Whether it is right


def choose_windows(read, count, segment, most):
    """Return at most so many windows of `count` images, spread over them and in them, as prediction cuts them.

    `read` returns the image at a place, uint8 (H, W, 3); a window is uint8 (h, w, 3).
    """
    chosen, images = [], evenly_spaced(count, most)
    for turn, place in enumerate(images):
        image = segment.seen(read(place))
        windows = [window for _, window in cut_windows(image, segment.window_halo, segment.network.stride)]
        share = min(len(windows), most // len(images))
        # Each image begins with another of its windows: of many street scenes, one would else see nothing but sky.
        chosen += [windows[(turn + part * len(windows) // share) % len(windows)].copy() for part in range(share)]
    return chosen


def largest_difference(first, second, windows, stride):
    """Return the largest difference between the logits of two functions, on these windows and on noise."""
    random, most = np.random.default_rng(0), MAX_SIDE // stride
    shapes = [(1, 1), (1, most), (most, 1), (most // 2, most // 3 or 1), (most, most)]
    noise = [random.integers(0, 256, (rows * stride, columns * stride, 3), np.uint8) for rows, columns in shapes]
    return float(np.max([np.abs(first(window) - second(window)).max() for window in [*windows, *noise]]))   # NaN stays


def check(path, trained, windows):
    """Raise BadInput unless the logits of an ONNX file are those of PyTorch; returns the largest difference."""
    difference = largest_difference(trained.forward, Segmenter.load(path).forward, windows, trained.network.stride)
    if not difference <= TOLERANCE:
        raise BadInput(f"ONNX Runtime's logits differ from PyTorch's by {difference:.2g}; expected at most "
                       f"{TOLERANCE:g}; nothing was written: try another version of onnxruntime or torch")
    return difference


def agreement(first, second, windows):
    """Return the share of the windows' pixels that the networks in two files give the same class."""
    first, second = (Segmenter.load(path).forward for path in (first, second))
    return float(np.mean([(first(window).argmax(0) == second(window).argmax(0)).mean() for window in windows]))


# ---------------------------------------------------------------------------------------------------
# How fast it is


def faster_in_16_bits(model):
    """Return whether bfloat16 takes less than twice the time of float32 on this CPU: some only imitate it."""
    full, half = (trial_seconds(model, dtype, training=False) for dtype in (torch.float32, torch.bfloat16))
    return half < 2 * full


def benchmark(args, kinds, examples, classes):
    """Time kinds [(name, file, more arguments for tools.speed), …] on the same images, in turns, and print a table.

    The predicted classes are compared with the masks, if there are any, and with those of the first kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        timed = time_kinds(args, kinds, Path(folder))
        compared = compare_kinds(examples, Path(folder), list(timed), classes, with_masks=bool(args.masks))
    print_benchmark(args, timed, compared, len(examples.names), classes)


def time_kinds(args, kinds, folder):
    """Return {name: [what tools.speed --json wrote, of each round]}; masks go to the folder's sub-folders."""
    words = ["--threads", str(cores())]
    words += [word for name in ("only", "halo") if getattr(args, name) is not None
              for word in (f"--{name}", as_path(str(getattr(args, name))))]
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    timed = {name: [] for name, *_ in kinds}
    for turn in range(args.rounds):
        for name, file, more in kinds:
            indices = ["--indices", folder / name] if turn == 0 else []
            paths = [as_path(str(file)), as_path(args.benchmark)]
            done = subprocess.run([sys.executable, "-m", "tools.speed", *paths, *words, *more, *indices,
                                   "--json", folder / "speed.json"], capture_output=True, text=True,
                                  env={**os.environ, "PYTHONPATH": search})
            if done.returncode:
                raise BadInput((done.stderr.strip().splitlines() or [f"tools.speed of {file} failed"])[-1])
            timed[name].append(json.loads((folder / "speed.json").read_text(encoding="utf-8")))
    return timed


def compare_kinds(examples, folder, names, classes, with_masks):
    """Return (pixels in all, {name: pixels of each image whose class differs}, {name: confusion matrix})."""
    pixels, differing = 0, {name: [] for name in names}
    confusion = {name: np.zeros((len(classes),) * 2, np.int64) for name in names}
    for place, image in enumerate(examples.names):
        truth = examples.read(place)[1] if with_masks else None
        predicted = {name: read_image(folder / name / f"{image}.png")[:, :, 0] for name in names}
        pixels += predicted[names[0]].size
        for name, indices in predicted.items():
            differing[name].append(int((indices != predicted[names[0]]).sum()))
            if with_masks:
                confusion[name] += metrics.confusion_matrix(truth, indices, len(classes))
    return pixels, differing, confusion


def print_benchmark(args, timed, compared, images, classes):
    """Print a row for each kind: its times, memory, file, Dice, and how many pixels differ from the first kind's."""
    pixels, differing, confusion = compared
    milliseconds = {name: [1000 * statistics.median(figures["seconds"]) for figures in rounds]
                    for name, rounds in timed.items()}
    typical = {name: statistics.median(each) for name, each in milliseconds.items()}
    reference = next(iter(timed))
    print(f"{images} images of {args.benchmark}, {args.rounds} processes of each kind, {cores()} threads\n"
          f"{'':<14}{'ms an image':>12}{'each process':>18}{'peak MB':>9}{'file MB':>9}{'Dice':>8}  other class")
    for name, rounds in timed.items():
        each = f"{min(milliseconds[name]):.1f} to {max(milliseconds[name]):.1f}"
        peak = max(figures["peak_bytes"] or 0 for figures in rounds)
        dice = metrics.foreground_or_mean(metrics.dice(confusion[name]), classes) if args.masks else None
        print(f"{name:<14}{typical[name]:>12.1f}{each:>18}{f'{peak / 1e6:.0f}' if peak else 'n/a':>9}"
              f"{rounds[0]['file_bytes'] / 1e6:>9.2f}{metrics.format_metric(dice):>8}  " +
              (f"{sum(differing[name])} of {pixels} pixels, in {sum(map(bool, differing[name]))} images"
               if name != reference else "(the others are compared with this)"))
    for first, second in (reference, "ONNX fp32"), ("ONNX fp32", "ONNX int8"):
        if second in typical:
            print(f"{second} is {typical[first] / typical[second]:.2f} times as fast as {first}")


# ---------------------------------------------------------------------------------------------------
# All of it


def export(args):
    """Write the network that `args` name as ONNX, and time it where that is asked for. Raises BadInput."""
    if Path(args.out).suffix.lower() == ".pt":
        return write_in_16_bits(args)
    needs("onnx", "onnxscript", "onnxruntime")
    trained = Segmenter(*load_network(args.checkpoint))
    out = check_writable(args.out, args.checkpoint, endings=[".onnx", ".pt"])
    small = check_writable(out.with_suffix(".int8.onnx"), args.checkpoint) if args.int8 else None
    examples = find_benchmark(args, trained) if args.benchmark else None         # mistakes are reported now
    if args.int8:
        paths = list(named_images(args.int8, args.int8_only).values())
        windows = choose_windows(lambda place: trained.read(paths[place]), len(paths), trained, args.windows)
    else:
        windows = choose_windows(lambda place: photograph(), 1, trained, args.windows)
    write_networks(trained, windows, out, small)
    if args.benchmark:
        kinds = [("PyTorch fp32", args.checkpoint, [])]
        if faster_in_16_bits(trained.network):
            kinds.append(("PyTorch bf16", args.checkpoint, ["--amp", "on"]))
        kinds.append(("ONNX fp32", out, []))
        if small:
            kinds.append(("ONNX int8", small, []))
        benchmark(args, kinds, examples, trained.classes)


def write_in_16_bits(args):
    """Write a checkpoint whose kernels are float16, without what --resume needs. Raises BadInput where they do not fit.

    Biases and BatchNorm's numbers stay as they are: they are few, and a variance may be beyond 65504.
    """
    out = check_writable(args.out, args.checkpoint)
    network, metadata = load_network(args.checkpoint)
    kept = {name: value for name, value in metadata.items()
            if name not in ("format", "network", "arguments", "weights", "resume")}
    windows = choose_windows(lambda place: photograph(), 1, Segmenter(network, metadata), args.windows)
    for name, kernel in network.named_parameters():
        if kernel.ndim > 1:
            kernel.data = kernel.data.half()
            if not torch.isfinite(kernel).all():
                raise BadInput(f"{args.checkpoint}: its {name} is too large for 16 bits; expected at most 65504")
    save_checkpoint(out, network, **kept)
    same = agreement(args.checkpoint, out, windows)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB; on a photograph, {same:.3%} of the pixels keep their class")


def find_benchmark(args, trained):
    """Return the Examples to time the network on; without --masks they cannot be read. Raises BadInput."""
    choose_halo(trained.network.halo, trained.network.stride, args.halo)
    if args.masks:
        return find_examples(args.benchmark, args.masks, trained, only=args.only)
    return Examples(list(named_images(args.benchmark, args.only)), None, args.benchmark)


def write_networks(trained, windows, out, small):
    """Write the network as ONNX to `out` and, unless that is None, in 8 bits to `small`. Raises BadInput."""
    metadata = {"format": FORMAT, "halo": trained.network.halo, "stride": trained.network.stride,
                **{name: trained.metadata[name] for name in ("classes", "ignore", "mean", "std", "settings")},
                **rendering_metadata(trained.rendering), "light": trained.usual_light}
    with tempfile.TemporaryDirectory() as folder:
        whole, unchecked, few = Path(folder) / "whole.onnx", Path(folder) / "unchecked.onnx", windows[:16]
        proto = to_onnx(trained.network, metadata)
        write(proto, whole)
        difference = check(whole, trained, few)
        write(proto, out)
        print(f"{out}: {out.stat().st_size / 1e6:.2f} MB; logits differ from PyTorch's by {difference:.2g} at most, on "
              f"{len(few)} real windows and 5 of noise")
        if small:
            quantized = to_int8(whole, Path(folder), windows, metadata)
            write(quantized, unchecked)
            same = agreement(whole, unchecked, windows)
            write(quantized, small)
            print(f"{small}: {small.stat().st_size / 1e6:.2f} MB; of the {len(windows)} windows that it was scaled to, "
                  f"{same:.2%} of the pixels keep their class")


def main(args):
    try:
        export(args)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"this PyTorch cannot export the network ({reason}); try another version") from None


if __name__ == "__main__":
    run_script(main, ARGS, "tools.export")
