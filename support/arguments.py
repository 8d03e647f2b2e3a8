"""The command lines: every knob of train.py, predict.py, infer.py and evaluate.py, with its default and the reason.

Nothing but the standard library is imported here, so that --help and a mistyped option answer at once.
"""
import argparse
import shlex
from argparse import SUPPRESS, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable
from typing import Any

from support.script import Parser, as_path, number

POSITIONAL = ("image", "mask")   # of train.py, as it writes them to a settings file
SCORES = "softmax", "logit", "energy", "entropy", "features"          # see support/ood.py
LOSS_NAMES = "ce", "bce", "focal", "dice"                             # see losses.py


# ---------------------------------------------------------------------------------------------------
# What all command lines share


def as_settings_file(args: Namespace, remarks: Iterable[str], leave_out: Iterable[str]) -> str:
    """Return the text of a settings file that stands for these arguments: remarks, then one argument a line.

    `leave_out` names those that belong to one run only. Positional arguments come without their names.
    """
    lines = [f"# {remark}" for remark in remarks]
    for name, value in vars(args).items():
        if name in leave_out or value is None or value is False:
            continue
        values = [] if value is True else value if isinstance(value, list) else [value]
        words = [] if name in POSITIONAL else [f"--{name.replace('_', '-')}"]
        values = [as_path(item) if isinstance(item, str) else str(item) for item in values]
        lines.append(" ".join(words + [shlex.quote(item) for item in values]))
    return "\n".join(lines) + "\n"


def add_prediction_knobs(add: Callable) -> None:
    """Add the knobs of all scripts that predict: how a network looks at images."""
    add("--tta", action="store_true",
        help="average over flips and turns, those that training used (off: up to eight times the work)")
    add("--halo", type=number(int, 0, 127), metavar="PIXELS",
        help="run whole windows that see this many pixels around what they keep (off: all the network can see, exact)")
    add("--amp", choices=["auto", "on", "off"], default="off",
        help="multiply in 16 bits; auto tries whether that is faster here, and says what it changes (off: up to "
             "a pixel in 700 would get another class, see docs/BENCHMARKS.md)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto: a GPU if there is one")


NETWORK_KNOBS = "upsample", "batchnorm", "width", "depth", "dropout", "separable"           # beside --model


def add_network_knobs(add: Callable) -> None:
    """Add the knobs that a network is built with."""
    add("--model", choices=["fcn", "unet"], default="fcn", help="(fcn: the small one; unet sees further)")
    add("--upsample", choices=["nearest", "bilinear", "transposed"],
        help="(fcn: nearest, as bilinear gains nothing; unet: transposed, as in the paper)")
    add("--batchnorm", action="store_true", help="fcn: add BatchNorm (off: it helps one data set and harms another)")
    add("--width", type=number(int, 1, 256), default=16, metavar="N",
        help="unet: channels at full resolution, doubled at each pooling (16: fast on two cores)")
    add("--depth", type=number(int, 1, 6), default=3, metavar="N",
        help="unet: poolings (3: each more sees twice as far, with four times the parameters)")
    add("--separable", action="store_true",
        help="unet: depthwise-separable convolutions (off: they do less work, but learn less)")
    add("--dropout", type=number(float, 0, 0.99), default=0.0, metavar="P",
        help="drop this share of the channels (0: the FCN gains nothing, see docs/RESULTS.md)")


def network_settings(args: Namespace) -> dict[str, Any]:
    """Return those of the arguments that a network is built with, see model.build."""
    return {name: getattr(args, name) for name in NETWORK_KNOBS}


def add_weather_knobs(add: Callable) -> None:
    """Add the knobs for images in weather or with other damage that training had none of."""
    add("--adapt", type=number(float, 0, 1), default=0.0, metavar="SHARE",
        help="move BatchNorm's statistics by this share towards each image's own: for weather, dusk or noise that "
             "training had none of (0: as trained; above 0, each image is gone through twice)")
    add("--opening", type=number(int, 0, 99), default=0, metavar="PIXELS",
        help="take away what is bright, upright and less wide than this many pixels, as streaks of rain (0: nothing; "
             "thin objects suffer, too)")


# ---------------------------------------------------------------------------------------------------
# train.py

USUAL_KNOBS = ("image", "mask", "data", "out", "resume", "device", "threshold", "model", "zoom", "loss", "epochs",
               "time_limit", "lr", "seed")

# Knobs that are gone. Settings files of earlier versions still hold them: there they may have the value
# that is now fixed; any value where what they said now follows from other knobs.
RETIRED = {
    "--gamma": ("2.0", "the focal loss has the exponent 2 of its paper"),
    "--accumulate": (None, "a batch larger than the budget goes through in parts by itself"),
    "--workers": (None, "train.py decides itself"),
}


# What files leave unsaid that were written before there was such a knob.
FORMER_SETTINGS = {"flips": "all", "zoom": 1, "threshold": None, "noise": 0.0, "light": "keep"}


def with_former_settings(settings: dict) -> dict:
    """Return a training's settings with those that were not yet known when they were saved."""
    return {**FORMER_SETTINGS, **settings}


class Retired(argparse.Action):
    """An option of earlier versions, which is read, checked and dropped."""

    def __init__(self, option_strings, dest):
        super().__init__(option_strings, dest=SUPPRESS, default=SUPPRESS, help=SUPPRESS)

    def __call__(self, parser, namespace, values, option_string=None):
        fixed, reason = RETIRED[option_string]
        try:
            changes = fixed is not None and float(values) != float(fixed)
        except ValueError:
            changes = True
        if changes:
            parser.error(f"{option_string} {values}: this knob is gone, as {reason}; leave it out")
        print(f"{option_string} is no longer needed: {reason}")


def train_arguments(argv: list[str] | None = None, description: str | None = None, **defaults: Any) -> Namespace:
    """Parse train.py's command line (sys.argv, if `argv` is None); `defaults` replace the knobs' own.

    Those that are no knobs are left out: the settings of an earlier version may hold some.
    """
    parser = Parser("train.py", description)
    add = parser.add_argument
    add("image", nargs="?", help="the image to learn from (rgb.png)")
    add("mask", nargs="?", help="its mask, one grey value or colour for each class (gt.png)")
    add("--data", metavar="DIR", help="a folder of images/ and masks/ to learn from instead")
    add("--out", default=".", metavar="DIR", help="where the results go (here)")
    add("--resume", action="store_true", help="go on from last.pt in --out; its settings hold where you give no others")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="(auto: a GPU if there is one)")

    add = parser.add_argument_group("the data").add_argument
    add("--threshold", type=number(int, 1, 255), metavar="N",
        help="mask pixels at least this bright are one class, the rest the other (off)")
    add("--classes", metavar="FILE", help="names and values of the classes (classes.json in --data, else found)")
    add("--lists", metavar="DIR", help="where train.txt, val.txt and test.txt are (in --data, where there are any)")
    add("--val-share", type=number(float, 0.001, 0.9), default=0.2, metavar="P",
        help="share of images, or of the one image, to validate on where no val.txt says which (0.2)")
    add("--memory", type=number(float, 0), default=2.0, metavar="GB",
        help="images and masks up to this size are held by each process, else decoded when needed (2.0)")
    add("--reuse", type=number(int, 1, 64), metavar="STEPS",
        help="steps in a row that use the same images (1 for a pair; 4 for a folder: saves decoding)")

    add = parser.add_argument_group("the network").add_argument
    add_network_knobs(add)
    add("--start-from", metavar="FILE",
        help="begin with the weights of this checkpoint; in the last layer, classes take those of their name (off: "
             "random ones)")
    add("--zoom", type=number(float, 0.1, 4), metavar="Z",
        help="see images at this scale, masks keep their size (1: sharp; 0.5: sees twice as far, predicts faster)")
    add("--try-zoom", type=number(float, 0.1, 4), metavar="Z",
        help="after a sixth of the epochs, begin anew at this scale, and stay there if the validation promises clearly "
             "more (0.5 for the FCN and a pair with no other scale, time limit or first weights; else off)")

    add = parser.add_argument_group("the patches").add_argument
    add("--patch", type=number(int, 8, 2**16), default=64, metavar="PIXELS",
        help="side of a patch (64: several small ones differ more than one large)")
    add("--batch", type=number(int, 1, 2**16), default=16, metavar="N",
        help="patches a step, of all processes together; beyond the budget they go through in parts (16: of 64x64, "
             "that is all the budget)")
    add("--budget", type=number(int, 1), default=1, metavar="N",
        help="how many 256x256x3 inputs fit into memory at once (1)")
    add("--balance", type=number(float, 0, 1), default=0.5, metavar="P",
        help="share of patches placed on a class drawn evenly (0.5: so rare ones are seen)")
    add("--scale", type=number(float, 0.1, 10), nargs=2, default=[1.0, 1.0], metavar=("LEAST", "MOST"),
        help="patches show the image at a scale between these (1.0 1.0: objects of one size, as under a microscope)")
    add("--flips", choices=["all", "mirror", "none"], default="all",
        help="all eight ways to lay a square, left-right only, or none (all: mirror is for photographs with a sky)")
    add("--jitter", type=number(float, 0, 1), default=0.07, metavar="S",
        help="change light and contrast by up to this share, tint by a third of it (0.07: more costs IoU)")
    add("--light", choices=["match", "keep"],
        help="where a new image is in another light, predict it as it would be in that learned from (match for a "
             "pair: it shows one light; keep for a folder)")
    add("--noise", type=number(float, 0, 1), default=0.0, metavar="S",
        help="add noise, fine or coarse, with a deviation of up to this share of white (0: none; prepares for damage)")
    add("--paste", type=number(float, 0, 1), default=0.0, metavar="P",
        help="lay the objects of another patch, all but the class background, on this share (0: made for few images)")

    add = parser.add_argument_group("the loss").add_argument
    add("--loss", type=loss_names, metavar="NAMES",
        help="ce, bce (of two classes), focal, dice, or a sum such as ce+dice (ce+dice for a pair: at times better "
             "with many classes, as good with two; ce for a folder)")
    add("--class-weights", type=number(float, 0, 1), default=0.0, metavar="P",
        help="weight a class by its share of pixels to the power of -P (0: each pixel counts the same; 1: each class)")

    add = parser.add_argument_group("the optimization").add_argument
    add("--epochs", type=number(int, 1), metavar="N",
        help="(20 for the FCN and a pair: more gain nothing, see docs/RESULTS.md; else 40)")
    add("--steps", type=number(int, 1), default=50, metavar="N",
        help="steps an epoch (50: one image has no natural epoch)")
    add("--time-limit", type=number(float, 0.01), metavar="MINUTES",
        help="stop within this time, the learning rate annealed by then; only the first validation may take longer "
             "(no limit)")
    add("--patience", type=number(int, 1), metavar="EPOCHS",
        help="end after this many epochs without a better one (off)")
    add("--lr", type=number(float, 1e-9), metavar="RATE",
        help="peak learning rate (0.02 for the FCN: high, as it is tiny; 0.003 for the U-Net)")
    add("--warmup", type=number(int, 1), default=100, metavar="STEPS",
        help="steps of a ramp from 0 to 1, or a tenth of all if that is less, times a cosine from the peak down to 0 "
             "(100)")
    add("--weight-decay", type=number(float, 0, 1), default=0.01, metavar="D", help="AdamW's (0.01)")
    add("--clip", type=number(float, 0), metavar="NORM",
        help="scale gradients down to this norm (1 for the FCN, which a single step can ruin at its high rate; 0, off, "
             "for the U-Net)")
    add("--ema", type=number(float, 0, 0.9999), default=0.99, metavar="D",
        help="decay of the moving average of the weights that is kept, less at first (0.99: steadier; 0 is no average)")
    add("--amp", choices=["auto", "on", "off"], default="off",
        help="multiply in 16 bits; auto tries whether that is faster here (off: the same result on more machines)")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, metavar="S",
        help="(0) on a CPU, the same seed, machine and thread count give the same weights")

    add = parser.add_argument_group("looking at it").add_argument
    add("--halo", type=number(int, 0, 127), metavar="PIXELS",
        help="as predict.py's: what windows see around what they keep (off: all the network can see, exact)")
    add("--val-images", type=number(int, 1), default=100, metavar="N",
        help="validate on at most this many, evenly spaced (100: enough to choose an epoch by)")
    add("--tensorboard", metavar="DIR", help="curves and predictions for TensorBoard, if that is installed (off)")
    for name in RETIRED:
        parser.add_argument(name, action=Retired)
    parser.show_only(USUAL_KNOBS)

    known = {action.dest for action in parser._actions}
    parser.set_defaults(**{name: value for name, value in defaults.items() if name in known})
    return check_train_arguments(parser, parser.parse_args(argv))


def check_train_arguments(parser: Parser, args: Namespace) -> Namespace:
    """Return train.py's arguments with what follows from others filled in; end where they contradict each other."""
    if (args.image is None) != (args.mask is None):
        parser.error("IMAGE and MASK go together: give both or neither")
    if args.lists and not args.data:
        parser.error("--lists: expected --data beside it")
    if args.data and args.image:
        parser.error("IMAGE and --data: give one or the other, and with --resume neither: it has its own")
    if args.scale[0] > args.scale[1]:
        parser.error(f"--scale {args.scale[0]:g} {args.scale[1]:g}: expected the smaller one first")
    if not args.data and args.image is None:
        args.image, args.mask = "rgb.png", "gt.png"
    folder, fcn = bool(args.data), args.model == "fcn"
    plain = fcn and not folder and not (args.zoom or args.time_limit or args.start_from)
    usual = {"zoom": 1.0, "try_zoom": 0.5 if plain else None,
             "reuse": 4 if folder else 1, "loss": "ce" if folder else "ce+dice", "light": "keep" if folder else "match",
             "epochs": 20 if fcn and not folder else 40, "lr": 0.02 if fcn else 0.003, "clip": 1.0 if fcn else 0.0}
    for name, value in usual.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def loss_names(names: str) -> str:
    """An argparse type: loss functions joined by +."""
    if set(names.split("+")) - set(LOSS_NAMES):
        raise ArgumentTypeError(f"{names}: expected {', '.join(LOSS_NAMES)}, or some of them joined by +")
    return names


# ---------------------------------------------------------------------------------------------------
# predict.py, infer.py, evaluate.py


def predict_arguments(argv: list[str] | None = None, description: str | None = None) -> Namespace:
    """Parse predict.py's command line."""
    parser = Parser("predict.py", description)
    add = parser.add_argument
    add("image", nargs="?", default="rgb.png", help="the image to segment (rgb.png)")
    add("--checkpoint", metavar="FILE", help="a trained network (model.pt here, else the one that ships)")
    add("--out", default="predictions.jpg", metavar="FILE",
        help="the mask: NAME.png; NAME.tif, which keeps a GeoTIFF's place; or NAME.jpg, to look at, with NAME.png "
             "beside it (predictions.jpg)")
    add("--mask", metavar="FILE", help="the true mask: print IoU, Dice, accuracy and the boundary's F-score")
    add("--overlay", metavar="FILE", help="also save the image with the predicted outline")
    add("--probabilities", metavar="FILE",
        help="also save how probable the classes are, 0 to 255: NAME.png, that of the foreground of two, or NAME.tif, "
             "a band for each class; and what the highest lacks to 255, as NAME_uncertainty (off)")
    add_prediction_knobs(add)
    add_weather_knobs(add)
    return parser.parse_args(argv)


def infer_arguments(argv: list[str] | None = None, description: str | None = None) -> Namespace:
    """Parse infer.py's command line."""
    parser = Parser("infer.py", description)
    add = parser.add_argument
    add("images", metavar="IMAGE_DIR", help="a directory of images")
    add("output", metavar="OUTPUT_DIR", help="where the masks go; not inside IMAGE_DIR")
    add("--checkpoint", metavar="FILE", help="a trained network (model.pt)")
    add("--onnx", metavar="FILE", help="what tools.export made of one, instead; no safe format: trust its author")
    add("--format", choices=["auto", "png", "jpg"], default="auto",
        help="of the masks (auto: the image's own wherever that can hold them; jpg: of several classes, to look at)")
    add("--overlay", metavar="DIR",
        help="also write each image with the classes' colours and outline, as .jpg, to look at (off)")
    add("--probabilities", metavar="DIR",
        help="also write how probable the classes are, 0 to 255: .png, that of the foreground of two, .tif of more, a "
             "band for each; and what the highest lacks to 255, as NAME_uncertainty (off)")
    add("--only", metavar="FILE", help="the images it names, without extension, one a line, as in test.txt (all)")
    add("--resume", action="store_true", help="leave out masks that are there already, whichever network made them")
    add("--reject", type=number(float, -1e9), metavar="THRESHOLD",
        help="write no mask for images with a lower --score (off)")
    add("--score", choices=SCORES, default="energy",
        help="how familiar an image looks (energy: works with all; features: needs BatchNorm and PyTorch); see "
             "python -m tools.thresholds")
    add_prediction_knobs(add)
    add_weather_knobs(add)
    args = parser.parse_args(argv)
    if args.checkpoint and args.checkpoint.lower().endswith(".onnx") and not args.onnx:
        args.checkpoint, args.onnx = None, args.checkpoint
    if args.onnx and args.score == "features" and args.reject is not None:
        parser.error("--score features: only PyTorch shows them; choose another score, or leave out --onnx")
    if args.onnx and args.adapt:
        parser.error("--adapt: only PyTorch can change BatchNorm's statistics; leave out --onnx")
    if args.onnx and args.amp != "off":
        parser.error("--amp: only PyTorch chooses what it multiplies in; leave out --onnx")
    if args.onnx and (args.checkpoint or args.device == "cuda"):
        parser.error("--onnx: runs on the CPU, without --checkpoint; give one or the other")
    args.checkpoint = args.checkpoint or "model.pt"
    return args


def evaluate_arguments(argv: list[str] | None = None, description: str | None = None) -> Namespace:
    """Parse evaluate.py's command line."""
    parser = Parser("evaluate.py", description)
    add = parser.add_argument
    add("predictions", metavar="PRED_DIR", help="predicted masks, sub-folders too")
    add("masks", metavar="MASK_DIR", help="true masks of the same names, sub-folders too")
    add("--only", metavar="FILE", help="score those that this text file names, one a line, without extension (all)")
    add("--missing", choices=["stop", "skip"], default="stop", help="what to do at a mask without prediction (stop)")
    add("--classes", metavar="FILE", help="the class table (classes.json in MASK_DIR or beside it, where there is one)")
    add("--threshold", type=number(int, 1, 255), metavar="N",
        help="true mask pixels at least this bright are foreground, the rest background, whatever the table (off)")
    add("--json", metavar="FILE", help="also write all figures, with those of each image, for programs to read")
    add("--worst", type=number(int, 1, 50), metavar="N", help="also draw the N worst images (off)")
    add("--gallery", type=number(int, 1, 15), metavar="N", help="draw the N best, N median and N worst instead (off)")
    add("--out", metavar="FILE", help="that picture, .png or .jpg (worst.png or gallery.png)")
    add("--images", metavar="DIR", help="the images themselves, to be shown in that picture")
    args = parser.parse_args(argv)
    if args.worst and args.gallery:
        parser.error("--worst and --gallery draw the same picture; expected one of them")
    if args.images and not (args.worst or args.gallery):
        parser.error("--images is for the picture that --worst or --gallery draws; expected both")
    if args.classes and args.threshold:
        parser.error("--threshold makes two classes; expected no --classes beside it")
    args.out = args.out or ("gallery.png" if args.gallery else "worst.png")
    return args
