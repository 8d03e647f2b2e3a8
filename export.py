"""A trained network as an ONNX file, which runs without PyTorch: checked, written, perhaps in 8 bits too, and timed.

    python export.py                                     model.pt to model.onnx
    python export.py runs/name/model.pt --out runs/name/model.onnx --int8 DIR/images --int8-only DIR/train.txt
    python export.py model.pt --int8 photos --benchmark DIR/images --masks DIR/masks --only DIR/test.txt

infer.py --onnx runs such a file on images of any size, through the same windows. It takes windows (1, 3, height, width)
of any height and width up to 256 that are multiples of the network's stride; classes, normalization, halo and stride
stand in its metadata. Before it is written, its logits are compared with PyTorch's.
"""
from arguments import Parser, number


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("checkpoint", nargs="?", default="model.pt", metavar="CHECKPOINT", help="a trained network (model.pt)")
    add("--out", default="model.onnx", metavar="FILE", help="the file to write (model.onnx)")
    add("--int8", metavar="IMAGE_DIR", help="also write it in 8 bits, as model.int8.onnx, scaled to these images")
    add("--int8-only", metavar="FILE", help="those of them that this text file names, as train.txt (all)")
    add("--windows", type=number(int, 1), default=200, metavar="N",
        help="windows of those images that the scales of the 8 bits are taken from, at most (200)")
    add("--benchmark", metavar="IMAGE_DIR", help="then time all kinds on these images: a table")
    add("--masks", metavar="DIR", help="their masks: the table also has the Dice of each")
    add("--only", metavar="FILE", help="those of them that this text file names, as test.txt (all)")
    add("--rounds", type=number(int, 1, 100), default=3, metavar="N",
        help="processes for each kind, taking turns, so that a change in the machine's speed meets all (3)")
    add("--halo", type=number(int, 0, 127), metavar="PIXELS",
        help="what windows see around what they keep, in the benchmark (all the network can)")
    args = parser.parse_args(argv)
    if args.int8_only and not args.int8:
        parser.error("--int8-only: expected --int8 beside it")
    if not args.benchmark and (args.masks or args.only or args.halo is not None):
        parser.error("--masks, --only and --halo belong to the benchmark; expected --benchmark beside them")
    return args


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take seconds: --help and typos answer at once

import contextlib
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import exported
import metrics
from checkpoint import load_checkpoint
from data import named_images, read_image
from dataset import spread
from files import MARK, BadInput, claim, write_whole
from model import predictor
from patches import MAX_SIDE, context, resized, stitch, zoomed
from processes import cores
from sample import sample
from scoring import Examples, find_examples

TOLERANCE = 1e-4                 # largest difference of a logit that is put down to rounding


# ---------------------------------------------------------------------------------------------------
# The file


def to_onnx(model, facts):
    """A network → onnx.ModelProto, in which these facts stand."""
    onnx, _ = exported.needs("onnx", "onnxscript")
    height, width = (torch.export.Dim(name, min=1, max=MAX_SIDE // model.stride) for name in ("height", "width"))
    window = torch.zeros(1, 3, 2 * model.stride, 3 * model.stride)    # an example; any other size will do
    with warnings.catch_warnings(), quiet("torch.onnx"), torch.no_grad():
        warnings.simplefilter("ignore")      # what PyTorch deprecates in itself
        program = torch.onnx.export(
            model.eval(), (window,), dynamo=True, verbose=False, input_names=["image"], output_names=["logits"],
            dynamic_shapes=({2: model.stride * height, 3: model.stride * width},))
    proto = program.model_proto
    mark(onnx, proto, facts)
    return proto


@contextlib.contextmanager
def quiet(name=None):
    """Of this logger (or all), only errors."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def mark(onnx, proto, facts):
    """Put the facts into the file, and our mark where files.is_ours finds it."""
    proto.producer_name = MARK
    onnx.helper.set_model_props(proto, {MARK: json.dumps(facts)})


def write(proto, path):
    with write_whole(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def to_int8(whole, folder, windows, facts):
    """The network in the file `whole` in 8 bits, scaled to what these windows bring about: onnx.ModelProto.

    Static quantization of weights and activations: a value is stored as an integer times a scale that is fixed
    beforehand, one for each output channel of a convolution's weights and one for each activation (Jacob et al.,
    2018). `folder` is for files in between.
    """
    onnx, quantization = exported.needs("onnx", "onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):
        waiting = iter(windows)

        def get_next(self):
            window = next(self.waiting, None)
            return None if window is None else {"image": exported.normalize(window, facts["mean"], facts["std"])}

    with quiet():                # it advises steps that gain nothing here
        quantization.quantize_static(
            whole, folder / "int8.onnx", Reader(), per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8)
    small = onnx.load(folder / "int8.onnx")
    mark(onnx, small, facts)
    return small


# ---------------------------------------------------------------------------------------------------
# Whether it is right


def windows_of(read, count, network, settings, most):
    """At most so many windows of `count` images, spread over them and in them, as prediction cuts them.

    `read` gives the image at a place, uint8 (H, W, 3); a window is uint8 (h, w, 3).
    """
    halo, zoom, chosen = context(network), settings.get("zoom", 1), []
    images = spread(count, most)
    for turn, place in enumerate(images):
        image, seen = read(place), []

        def look(window, seen=seen):
            seen.append(window)
            return np.zeros((1, *window.shape[:2]), np.uint8)

        stitch(look, resized(image, zoomed(image.shape[:2], zoom)) if zoom != 1 else image, halo, network.stride)
        share = min(len(seen), most // len(images))
        # Each image begins with another of its windows: of many street scenes, one would else see nothing but sky.
        chosen += [seen[(turn + part * len(seen) // share) % len(seen)].copy() for part in range(share)]
    return chosen


def largest_difference(one, other, windows, stride):
    """Between the logits of two functions, on these windows and on noise of several shapes."""
    random, most = np.random.default_rng(0), MAX_SIDE // stride
    shapes = [(1, 1), (1, most), (most, 1), (most // 2, most // 3 or 1), (most, most)]
    noise = [random.integers(0, 256, (rows * stride, columns * stride, 3), np.uint8) for rows, columns in shapes]
    return float(np.max([np.abs(one(window) - other(window)).max() for window in [*windows, *noise]]))   # NaN stays


def check(path, model, facts, windows):
    """Raise BadInput unless ONNX Runtime's logits are PyTorch's; returns the largest difference."""
    network, told = exported.load_exported(path)
    difference = largest_difference(predictor(model, facts["mean"], facts["std"]),
                                    exported.predictor(network, told["mean"], told["std"]), windows, model.stride)
    if not difference <= TOLERANCE:
        raise BadInput(f"ONNX Runtime's logits differ from PyTorch's by {difference:.2g}; expected at most "
                       f"{TOLERANCE:g}; nothing was written: try another version of onnxruntime or torch")
    return difference


def agreement(first, second, windows):
    """The share of the windows' pixels that two ONNX files give the same class."""
    one, other = (exported.predictor(network, facts["mean"], facts["std"])
                  for network, facts in map(exported.load_exported, (first, second)))
    return float(np.mean([(one(window).argmax(0) == other(window).argmax(0)).mean() for window in windows]))


# ---------------------------------------------------------------------------------------------------
# How fast it is


def faster_in_16_bits(model):
    """Whether this CPU predicts a window in bfloat16 in less than twice the time of float32: some only imitate it."""
    window, seconds = torch.zeros(1, 3, MAX_SIDE, MAX_SIDE).to(memory_format=torch.channels_last), {}
    model = model.eval().to(memory_format=torch.channels_last)
    for half in False, True:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            for _ in range(3):   # the last one counts
                began = time.perf_counter()
                model(window)
                seconds[half] = time.perf_counter() - began
    return seconds[True] < 2 * seconds[False]


def benchmark(args, kinds, examples, facts):
    """Time kinds [(name, file, more arguments for speed.py), …] on the same images, in turns; prints a table.

    Whose classes are compared with the masks, where `examples` (see scoring.py) has some, and with the first kind's.
    """
    words = ["--threads", str(cores())]
    words += [word for name in ("only", "halo") if getattr(args, name) is not None
              for word in (f"--{name}", str(getattr(args, name)))]
    found = {name: [] for name, *_ in kinds}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for turn in range(args.rounds):
            for name, file, more in kinds:
                indices = ["--indices", folder / name] if turn == 0 else []
                done = subprocess.run([sys.executable, Path(__file__).with_name("speed.py"), file, args.benchmark,
                                       *words, *more, *indices, "--json", folder / "speed.json"],
                                      capture_output=True, text=True)
                if done.returncode:
                    raise BadInput((done.stderr.strip().splitlines() or [f"speed.py of {file} failed"])[-1])
                found[name].append(json.loads((folder / "speed.json").read_text(encoding="utf-8")))
        reference, pixels, shown = kinds[0][0], 0, {name: [] for name in found}
        confusion = {name: np.zeros((len(facts["classes"]),) * 2, np.int64) for name in found}
        for place, one in enumerate(examples.names):
            truth = examples.read(place)[1] if args.masks else None
            classes = {name: read_image(folder / name / f"{one}.png")[:, :, 0] for name in found}
            pixels += classes[reference].size
            for name, indices in classes.items():
                shown[name].append(int((indices != classes[reference]).sum()))
                if args.masks:
                    confusion[name] += metrics.confusion_matrix(truth, indices, len(facts["classes"]))

    milliseconds = {name: [1000 * statistics.median(one["seconds"]) for one in rounds]
                    for name, rounds in found.items()}
    typical = {name: statistics.median(each) for name, each in milliseconds.items()}
    print(f"{len(examples.names)} images of {args.benchmark}, {args.rounds} processes of each kind, {cores()} threads\n"
          f"{'':<14}{'ms an image':>12}{'each process':>18}{'peak MB':>9}{'file MB':>9}{'Dice':>8}  other class")
    for name, rounds in found.items():
        each = f"{min(milliseconds[name]):.1f} to {max(milliseconds[name]):.1f}"
        peak = max(one["peak_bytes"] or 0 for one in rounds)
        dice = metrics.foreground(metrics.dice(confusion[name]), facts["classes"]) if args.masks else None
        print(f"{name:<14}{typical[name]:>12.1f}{each:>18}{f'{peak / 1e6:.0f}' if peak else 'n/a':>9}"
              f"{rounds[0]['file_bytes'] / 1e6:>9.2f}{metrics.text(dice):>8}  " +
              (f"{sum(shown[name])} of {pixels} pixels, in {sum(map(bool, shown[name]))} images"
               if name != reference else "(the others are compared with this)"))
    for first, second in (reference, "ONNX fp32"), ("ONNX fp32", "ONNX int8"):
        if second in typical:
            print(f"{second} is {typical[first] / typical[second]:.2f} times as fast as {first}")


# ---------------------------------------------------------------------------------------------------
# All of it


def export(args):
    """Do what `args` ask for (see parse_arguments)."""
    exported.needs("onnx", "onnxscript", "onnxruntime")
    model, facts = load_checkpoint(args.checkpoint)
    out = claim(args.out, args.checkpoint, endings=[".onnx"])
    small = claim(out.with_suffix(".int8.onnx"), args.checkpoint) if args.int8 else None
    examples = None
    if args.benchmark:           # what is wrong with that is told now, not in minutes
        context(model, args.halo)
        if args.masks:
            examples = find_examples(args.benchmark, args.masks, facts, only=args.only)
        else:
            examples = Examples(list(named_images(args.benchmark, args.only)), None, args.benchmark)
    if args.int8:
        paths = list(named_images(args.int8, args.int8_only).values())
        windows = windows_of(lambda place: read_image(paths[place]), len(paths), model, facts["settings"], args.windows)
    else:
        windows = windows_of(lambda place: sample()[0], 1, model, facts["settings"], args.windows)

    told = {"format": exported.FORMAT, "halo": model.halo, "stride": model.stride,
            **{name: facts[name] for name in ("classes", "ignore", "mean", "std", "settings")}}
    with tempfile.TemporaryDirectory() as folder:
        whole, unchecked, few = Path(folder) / "whole.onnx", Path(folder) / "unchecked.onnx", windows[:16]
        proto = to_onnx(model, told)
        write(proto, whole)
        difference = check(whole, model, facts, few)
        write(proto, out)
        print(f"{out}: {out.stat().st_size / 1e6:.2f} MB; logits differ from PyTorch's by {difference:.2g} at most, on "
              f"{len(few)} real windows and 5 of noise")
        if small:
            quantized = to_int8(whole, Path(folder), windows, told)
            write(quantized, unchecked)
            same = agreement(whole, unchecked, windows)
            write(quantized, small)
            print(f"{small}: {small.stat().st_size / 1e6:.2f} MB; of the {len(windows)} windows that it was scaled to, "
                  f"{same:.2%} of the pixels keep their class")
    if args.benchmark:
        kinds = [("PyTorch fp32", args.checkpoint, [])]
        if faster_in_16_bits(model):
            kinds.append(("PyTorch bf16", args.checkpoint, ["--bf16"]))
        kinds.append(("ONNX fp32", out, []))
        if small:
            kinds.append(("ONNX int8", small, []))
        benchmark(args, kinds, examples, facts)


def main(args):
    try:
        export(args)
    except BadInput as error:
        sys.exit(f"export.py: {error}")
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).splitlines()[0]
        sys.exit(f"export.py: this PyTorch cannot export the network ({reason}); try another version")
    except KeyboardInterrupt:
        sys.exit("export.py: interrupted")


if __name__ == "__main__":
    main(ARGS)
