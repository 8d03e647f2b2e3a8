"""Train a small network from scratch: on one image and its mask, in under a minute on a laptop, or on a folder.

    python train.py                    on rgb.png and gt.png, or the bundled sample where neither is here
    python train.py photo.png photo_mask.png --out runs/photo
    python train.py --data DIR --model unet --out runs/name      DIR holds images/ and masks/, see the README
    python train.py @challenges/cityscapes/camvid.args --data DIR         with the settings in that file
    python train.py --resume --out runs/name           go on from last.pt after an interruption
    torchrun --nproc-per-node 2 train.py ...           in several processes

Writes model.pt (the best epoch by validation), last.pt (to resume), loss_vs_epochs.png, history.csv, settings.args
(with which it can be repeated) and, of a folder, val.txt (the images that it did not learn from).
"""
import math
import sys
from argparse import ArgumentTypeError

from arguments import Parser, as_settings_file, number


def parse_arguments(argv=None, **defaults):
    """The command line. Every knob of a training is here, once, with its default and the reason for it."""
    parser = Parser(__file__, __doc__)
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
    add("--workers", type=number(int, 0, 64), metavar="N",
        help="processes that cut patches ahead (0 where images are held, else one for every two cores of this one)")
    add("--reuse", type=number(int, 1, 64), metavar="STEPS",
        help="steps in a row that use the same images (1 for a pair; 4 for a folder: saves decoding)")
    add = parser.add_argument_group("the network").add_argument
    add("--model", choices=["fcn", "unet"], default="fcn", help="(fcn: the small one; unet sees further)")
    add("--upsample", choices=["nearest", "bilinear", "transposed"],
        help="(fcn: nearest, as bilinear gains nothing; unet: transposed, as in the paper)")
    add("--batchnorm", action="store_true", help="fcn: add BatchNorm (off: it helps one data set and harms another)")
    add("--width", type=number(int, 1, 256), default=16, metavar="N",
        help="unet: channels at full resolution, doubled at each pooling (16: fast on two cores)")
    add("--depth", type=number(int, 1, 6), default=3, metavar="N",
        help="unet: poolings (3: with 4, windows of 256 overlap by three quarters)")
    add("--separable", action="store_true",
        help="unet: depthwise-separable convolutions (off: they do less work, but learn less)")
    add("--dropout", type=number(float, 0, 0.99), default=0.0, metavar="P",
        help="drop a share of the channels (0: it gains nothing, see README)")
    add("--zoom", type=number(float, 0.1, 4), default=1.0, metavar="Z",
        help="see images at this scale, masks keep their size (1: sharp; 0.5: sees twice as far, predicts faster)")
    add = parser.add_argument_group("the patches").add_argument
    add("--patch", type=number(int, 8), default=64, metavar="PIXELS",
        help="side of a patch (64: several small ones differ more than one large)")
    add("--batch", type=number(int, 1), default=16, metavar="N",
        help="patches a step, of all processes together (16: of 64x64, that is all the budget)")
    add("--budget", type=number(int, 1), default=1, metavar="N",
        help="how many 256x256x3 inputs fit into memory at once (1)")
    add("--accumulate", type=number(int, 1), default=1, metavar="N",
        help="parts a batch goes through the network in, so that a larger one fits the budget; each is averaged (1)")
    add("--balance", type=number(float, 0, 1), default=0.5, metavar="P",
        help="share of patches placed on a class drawn evenly (0.5: so rare ones are seen)")
    add("--scale", type=number(float, 0.1, 10), nargs=2, default=[1.0, 1.0], metavar=("LEAST", "MOST"),
        help="patches show the image at a scale between these (1.0 1.0: objects of one size, as under a microscope)")
    add("--flips", choices=["all", "mirror", "none"], default="all",
        help="all eight ways to lay a square, left-right only, or none (all: mirror is for photographs with a sky)")
    add("--jitter", type=number(float, 0, 1), default=0.07, metavar="S",
        help="change light and contrast by up to this share, tint by a third of it (0.07: more costs IoU)")
    add("--noise", type=number(float, 0, 1), default=0.0, metavar="S",
        help="add noise, fine or coarse, with a deviation of up to this share of white (0: none; prepares for damage)")
    add("--paste", type=number(float, 0, 1), default=0.0, metavar="P",
        help="lay the objects of another patch, all but the class background, on this share (0: made for few images)")
    add = parser.add_argument_group("the loss").add_argument
    add("--loss", type=loss_names, default="ce", metavar="NAMES",
        help="ce, bce (of two classes), focal, dice, or a sum such as ce+dice (ce)")
    add("--gamma", type=number(float, 0, 10), default=2.0, metavar="G", help="focal: 0 is ce (2.0, as in its paper)")
    add("--class-weights", type=number(float, 0, 1), default=0.0, metavar="P",
        help="weight a class by its share of pixels to the power of -P (0: all alike; 1: all count the same)")
    add = parser.add_argument_group("the optimization").add_argument
    add("--epochs", type=number(int, 1), default=40, metavar="N", help="(40: about 40 seconds on two cores)")
    add("--steps", type=number(int, 1), default=50, metavar="N",
        help="steps an epoch (50: one image has no natural epoch)")
    add("--time-limit", type=number(float, 0.01), metavar="MINUTES",
        help="anneal and end within this time, if the epochs are not done before; but for the first validation (none)")
    add("--patience", type=number(int, 1), metavar="EPOCHS", help="end after so many without a better one (off)")
    add("--lr", type=number(float, 1e-9), metavar="RATE",
        help="peak learning rate (0.02 for the FCN: high, as it is tiny; 0.003 for the U-Net)")
    add("--warmup", type=number(int, 1), default=100, metavar="STEPS",
        help="steps up to the peak, from where a cosine leads down to 0 (100)")
    add("--weight-decay", type=number(float, 0, 1), default=0.01, metavar="D", help="AdamW's (0.01)")
    add("--clip", type=number(float, 0), default=0.0, metavar="NORM",
        help="scale gradients down to this norm (0: off, as AdamW scales them anyway)")
    add("--ema", type=number(float, 0, 0.9999), default=0.99, metavar="D",
        help="decay of the moving average of the weights that is kept (0.99: steadier; 0 is no average)")
    add("--amp", choices=["auto", "on", "off"], default="off",
        help="multiply in 16 bits; auto tries whether that is faster here (off: the same result on more machines)")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, metavar="S",
        help="(0) on a CPU, the same seed, machine and thread count give the same weights")
    add = parser.add_argument_group("looking at it").add_argument
    add("--halo", type=number(int, 0, 127), metavar="PIXELS",
        help="what validation's windows see around what they keep (all the network can; less is faster, not exact)")
    add("--val-images", type=number(int, 1), default=100, metavar="N",
        help="validate on at most so many, spread evenly (100: enough to choose an epoch by)")
    add("--tensorboard", metavar="DIR", help="curves and predictions for TensorBoard, if that is installed (off)")
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    if (args.image is None) != (args.mask is None):
        parser.error("IMAGE and MASK go together: give both or neither")
    if args.lists and not args.data:
        parser.error("--lists: expected --data beside it")
    if args.data and args.image:
        parser.error("IMAGE and --data: give one or the other")
    if args.scale[0] > args.scale[1]:
        parser.error(f"--scale {args.scale[0]:g} {args.scale[1]:g}: expected the smaller one first")
    if not args.data and args.image is None:
        args.image, args.mask = "rgb.png", "gt.png"
    if args.reuse is None:
        args.reuse = 4 if args.data else 1
    if args.lr is None:
        args.lr = {"fcn": 0.02, "unet": 0.003}[args.model]
    return args


def loss_names(names):
    """An argparse type: loss functions joined by +."""
    unknown = set(names.split("+")) - {"ce", "bce", "focal", "dice"}
    if unknown:
        raise ArgumentTypeError(f"{names}: expected ce, bce, focal, dice, or some of them joined by +")
    return names


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take two seconds: --help and typos answer at once

import copy
import csv
import platform
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import dataset
import distributed
import metrics
import processes
from checkpoint import load_checkpoint, save_checkpoint
from data import some, write_names
from files import MARK, BadInput, claim, write_text, write_whole
from losses import class_weights, sum_of
from model import build, normalize, pick_device, pick_precision, predictor
from patches import Drawing, context, noise, photometric_jitter, stitch_at, within_budget
from sample import SAMPLE, ensure_sample

RUN = ("out", "resume")                      # arguments that belong to one start of a training, not to its settings
FILES = ("model.pt", "last.pt", "loss_vs_epochs.png", "history.csv", "settings.args", "val.txt")
HISTORY = ["epoch", "train_loss", "val_loss", "val_iou", "val_accuracy", "learning_rate", "seconds"]


def load_data(args, model):
    """What `args` say to learn from, as dataset.Data; no pixel of a validation strip is seen from the rest."""
    if (args.image, args.mask) == SAMPLE:
        if processes.RANK == 0:
            ensure_sample()
        distributed.wait()
    return dataset.load(args.data or (args.image, args.mask), args.threshold, args.classes, args.val_share,
                        args.memory, least=math.ceil(args.patch / args.zoom),
                        gap=math.ceil(context(model) / args.zoom), lists=args.lists)


def learning_rate(step, done, peak, warmup):
    """Linear warm-up, times a cosine from 1 down to 0 as `done` goes from 0 to 1 (Loshchilov & Hutter, SGDR, 2017)."""
    return peak * min((step + 1) / warmup, 1) * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def update_average(pairs, decay):
    """Move the first tensor of each pair towards the second by the share 1 − decay (Polyak & Juditsky, 1992)."""
    for slow, fast in pairs:
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)     # BatchNorm's count of batches


def validate(model, samples, numbers, halo, zoom, classes, mean, std, criterion, device):
    """Loss and confusion matrix over the images of these numbers, each whole, in windows as predict.py does it.

    Every process takes its share; all get the result. And the first three as (image, mask, predicted class indices).
    """
    forward, loss, shown = predictor(model, mean, std, device), 0.0, []
    confusion = np.zeros((classes, classes), np.int64)
    for place in numbers[processes.RANK::processes.WORLD]:
        image, mask, _ = samples[place]
        logits = stitch_at(zoom, forward, image, halo, model.stride)             # (classes, H, W)
        loss += criterion(*(torch.from_numpy(array)[None].to(device) for array in (logits, mask))).item()
        prediction = logits.argmax(axis=0)
        confusion = confusion + metrics.confusion_matrix(mask, prediction, classes)
        if len(shown) < 3:
            shown.append((image, mask, prediction))
    loss = distributed.total(torch.tensor(loss, dtype=torch.float64, device=device)).item() / len(numbers)
    return loss, distributed.total(torch.from_numpy(confusion).to(device)).cpu().numpy(), shown


def restore(path, last, data, zoom, model, average, optimizer, scaler):
    """Put the training that last.pt's facts describe into these objects. Raises BadInput where it was another one."""
    if last["settings"].get("zoom", 1) != zoom:
        raise BadInput(f"{path} learned at --zoom {last['settings'].get('zoom', 1)}; expected that, not {zoom}")
    saved = last["network"], last["arguments"]
    if saved != (model.name, model.arguments):
        raise BadInput(f"{path} holds another network, {saved[0]} {saved[1]}; expected {model.name} {model.arguments}")
    if last["data"] != data.fingerprint:
        raise BadInput(f"{path} was trained on other images or masks, or another split of them (--val-share, val.txt); "
                       "name those, or leave --resume out")
    average.load_state_dict(last["weights"])
    model.load_state_dict(last["resume"]["weights"])
    optimizer.load_state_dict(last["resume"]["optimizer"])
    if last["resume"]["scaler"]:                 # empty where it did nothing
        scaler.load_state_dict(last["resume"]["scaler"])


def train(args, last=None):
    """Run the training that `args` describe (see parse_arguments), or go on with the one in `last`, last.pt's facts.

    Returns the best epoch's row of history.csv.
    """
    began = time.perf_counter()
    processes.keep_freed_memory()
    device = pick_device(args.device)
    distributed.join(device)
    writes = processes.RANK == 0                 # of several processes, one writes

    # Data in, results out: whatever is wrong with either is said now, not after a minute.
    network_of = lambda classes: build(
        args.model, classes, args.upsample, args.batchnorm, args.width, args.depth, args.dropout, args.separable)
    blank = network_of(2)                        # to know its reach
    halo = context(blank, args.halo)             # to validate with
    data = load_data(args, blank)
    training, validation, classes = data.training, data.validation, data.classes
    if "bce" in args.loss and len(classes) != 2:
        raise BadInput(f"--loss {args.loss}: bce is for two classes, there are {len(classes)}; use ce")
    ground = next((number for number, one in enumerate(classes) if one["name"] == "background"), None)
    if args.paste and ground is None:
        raise BadInput(f"--paste {args.paste:g}: none of the classes {some([one['name'] for one in classes])} is "
                       "called background; expected one, as all others are taken for objects")
    if args.patch < 2 * blank.stride:            # or BatchNorm would find a single pixel at the bottom
        raise BadInput(f"--patch {args.patch}: with {args.depth} poolings, expected at least {2 * blank.stride}")
    part, rest = divmod(args.batch, args.accumulate * processes.WORLD)
    if rest or not part:
        raise BadInput(f"--batch {args.batch}: expected a multiple of {args.accumulate * processes.WORLD}, that is of "
                       f"--accumulate {args.accumulate} times {processes.WORLD} processes")
    within_budget(torch.empty(part, 3, args.patch, args.patch, device="meta"), args.budget)
    out, inputs = Path(args.out), [path for path in (args.image, args.mask, args.classes) if path]
    if writes:
        for name in FILES:
            claim(out / name, *inputs, mark=",".join(HISTORY) if name == "history.csv" else MARK)
    mean, std = dataset.colour_statistics(training)

    # The network, the moving average of its weights (validated and kept in its stead), the optimizer, the loss.
    torch.manual_seed(args.seed)
    model = network_of(len(classes)).to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, betas=(0.9, 0.99), weight_decay=args.weight_decay)
    precision, args.amp = pick_precision(args.amp, model, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)        # else it does nothing
    weights = class_weights(training.ends[-1, :-1], args.class_weights).to(device) if args.class_weights else None
    criterion = sum_of(args.loss, weights, args.gamma)

    history, best = [], None                     # rows of history.csv: all, and the one whose weights are kept
    done, validating = 0.0, 0.0                  # how far the training is, from 0 to 1; seconds of a validation
    facts = {"classes": classes, "ignore": data.ignore, "mean": mean, "std": std,
             "settings": {name: value for name, value in vars(args).items() if name not in RUN},
             "data": data.fingerprint,
             "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__,
                          "machine": f"{platform.system()} {platform.machine()}", "device": device.type,
                          "threads": torch.get_num_threads(), "processes": processes.WORLD}}
    if last:
        restore(out / "last.pt", last, data, args.zoom, model, average, optimizer, scaler)
        history, best, validating = (last["resume"][name] for name in ("history", "best", "validating"))
        done = last["resume"]["done"] if last["settings"]["time_limit"] == args.time_limit else 0.0
        began -= history[-1]["seconds"] if history else 0
        if last["versions"] != facts["versions"]:
            print("resumed with other versions, threads or processes: weights may differ in their last bits")

    def keep_last():             # all that --resume needs
        save_checkpoint(out / "last.pt", average, **facts, resume={
            "weights": model.state_dict(), "optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(),
            "history": history, "best": best, "done": done, "validating": validating})

    show = None
    if writes:
        keep_last()              # so that even a run killed in its first epoch can be resumed, and with its settings
        versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
        remarks = [f"{MARK}: python train.py @settings.args --out DIR repeats this training", versions]
        write_text(out / "settings.args", as_settings_file(args, remarks, (*RUN, "device", "tensorboard")))
        if data.held_out:
            write_names(out / "val.txt", data.held_out, "the images to validate on")
        if args.tensorboard:
            from board import open_board
            show = open_board(args.tensorboard, classes, len(history))

    scale = tuple(args.zoom * part for part in args.scale)
    drawing = Drawing(args.seed, args.patch, args.batch, args.balance, scale, args.flips, args.reuse, args.paste,
                      ground)
    slots = range(processes.RANK, args.batch, processes.WORLD)       # this process's patches of each batch
    workers = args.workers if args.workers is not None else 0 if training.decode is None else -(-processes.cores() // 2)
    patches = dataset.stream(training, drawing, args.steps, range(len(history), args.epochs), slots, workers)
    validated = dataset.spread(len(validation), args.val_images)
    averaged = list(zip(average.state_dict().values(), model.state_dict().values()))     # the weights, not copies
    progress = tqdm(total=args.epochs * args.steps, initial=len(history) * args.steps, unit="step", mininterval=0.5,
                    disable=not writes)
    with progress:
        for epoch in range(len(history), args.epochs):
            if done >= 1 or args.patience and history and epoch - best["epoch"] >= args.patience:
                break
            model.train()
            torch.manual_seed(args.seed + 1000 * (epoch + 1) + processes.RANK)     # for dropout, resumed or not
            loss_sum = torch.zeros((), device=device)             # read once an epoch, since reading makes a GPU wait
            steps = 0
            for step in range(epoch * args.steps, (epoch + 1) * args.steps):
                done = step / (args.epochs * args.steps)
                if args.time_limit:
                    elapsed = distributed.told_by_first(time.perf_counter() - began) + validating      # still to come
                    done = min(max(done, elapsed / (60 * args.time_limit)), 1.0)
                    if done == 1 and (steps or history):
                        break

                # A step: patches, relit, with noise; forward and backward, in parts where over the budget; the move.
                batch, truth = next(patches)                      # uint8 (share, size, size, 3) and (share, size, size)
                gain, offset = photometric_jitter(args.seed, epoch, step % args.steps, args.batch, args.jitter)
                batch = normalize(batch, mean, std, device, gain[slots], offset[slots])      # (share, 3, size, size)
                if args.noise:
                    grains = noise(args.seed, epoch, step % args.steps, slots, args.patch, args.noise)
                    grains /= np.array(std, np.float32)               # (share, size, size, 3), in units of the input
                    batch += torch.from_numpy(grains).to(device).permute(0, 3, 1, 2)
                truth = torch.from_numpy(truth).to(device)
                optimizer.zero_grad()
                for images, masks in zip(batch.split(part), truth.split(part)):
                    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                        logits = model(within_budget(images, args.budget))           # (part, classes, size, size)
                    loss = criterion(logits.float(), masks, distributed.total) / args.accumulate
                    scaler.scale(loss).backward()
                    loss_sum += loss.detach()
                distributed.average_gradients(model)
                if args.clip:
                    scaler.unscale_(optimizer)
                    torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip)
                rate = learning_rate(step, done, args.lr, args.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                scaler.step(optimizer)
                scaler.update()
                update_average(averaged, args.ema)
                steps += 1
                progress.update()
            if not steps:
                break

            train_loss, validation_began = loss_sum.item() / steps, time.perf_counter()
            val_loss, confusion, shown = validate(
                average, validation, validated, halo, args.zoom, len(classes), mean, std, criterion, device)
            validating = time.perf_counter() - validation_began
            if not math.isfinite(train_loss + val_loss):
                raise BadInput(f"the loss became {train_loss + val_loss} in epoch {epoch + 1}; expected a number: "
                               f"lower --lr, now {args.lr}")
            row = {"epoch": epoch + 1, "train_loss": train_loss, "val_loss": val_loss,
                   "val_iou": metrics.foreground(metrics.iou(confusion), classes),
                   "val_accuracy": metrics.accuracy(confusion),
                   "learning_rate": rate, "seconds": round(time.perf_counter() - began, 2)}
            history.append(row)
            progress.set_postfix(loss=f"{train_loss:.4f}", val_iou=metrics.text(row["val_iou"]))
            better = best is None or (row["val_iou"] or 0, -val_loss) > (best["val_iou"] or 0, -best["val_loss"])
            best = row if better else best

            # Each file appears whole or not at all; last.pt comes last, so a kill between two repeats the epoch.
            if writes:
                if better:
                    save_checkpoint(out / "model.pt", average, **facts, metrics=best)
                with write_whole(out / "history.csv") as temporary, temporary.open("w", newline="") as file:
                    writer = csv.DictWriter(file, HISTORY)
                    writer.writeheader()
                    writer.writerows(history)
                if show:
                    show(row, metrics.iou(confusion), shown)
                keep_last()

    if writes:
        from plots import draw_curves  # only now: matplotlib takes half a second

        draw_curves(history, best, args.loss, out / "loss_vs_epochs.png")
        print(f"best of {len(history)} epochs: number {best['epoch']}, validation loss {best['val_loss']:.4f}, "
              f"IoU {metrics.text(best['val_iou'])}, accuracy {metrics.text(best['val_accuracy'])}; "
              f"{time.perf_counter() - began:.0f} s on {device}; see {out / 'model.pt'}, {out / 'loss_vs_epochs.png'}")
    return best


def main(args):
    try:
        last = None
        if args.resume:          # the interrupted run's settings hold where the command line gives no others
            _, last = load_checkpoint(Path(args.out) / "last.pt")
            if "resume" not in last:
                raise BadInput(f"{Path(args.out) / 'last.pt'} holds a network but no training; expected train.py's own")
            args = parse_arguments(**last["settings"])
        train(args, last)
    except BadInput as error:
        sys.exit(f"train.py: {error}")
    except torch.OutOfMemoryError:
        sys.exit("train.py: the GPU's memory is full; lower --batch, --patch or --budget, or raise --accumulate")
    except KeyboardInterrupt:
        sys.exit(f"train.py: interrupted; from the last whole epoch on: python train.py --resume --out {args.out}")
    distributed.leave()


if __name__ == "__main__":
    main(ARGS)
