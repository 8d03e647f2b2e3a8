"""Train a small network on one image and its mask, from scratch, on a laptop, in under a minute.

    python train.py                    on rgb.png and gt.png, or the bundled sample where neither is here
    python train.py photo.png photo_mask.png --out runs/photo
    python train.py --resume           go on from last.pt after an interruption

Writes model.pt (the best epoch by validation), last.pt (to resume), loss_vs_epochs.png and history.csv.
"""
import argparse
import math
import sys


def parse_arguments(argv=None, **defaults):
    """The command line. Every knob of a training is here, once, with its default and the reason for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.error = lambda message: parser.exit(2, f"train.py: {message}\n")
    add = parser.add_argument
    add("image", nargs="?", help="the image to learn from (rgb.png)")
    add("mask", nargs="?", help="its mask, one grey value or colour for each class (gt.png)")
    add("--out", default=".", metavar="DIR", help="where the results go (here)")
    add("--resume", action="store_true", help="go on from last.pt in --out; its settings hold where you give no others")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="(auto: a GPU if there is one)")
    add("--threshold", type=number(int, 1, 255), metavar="N",
        help="mask pixels at least this bright are one class, the rest the other (off)")
    # The network
    add("--upsample", choices=["nearest", "bilinear"], default="nearest", help="(nearest: bilinear gains nothing)")
    add("--batchnorm", action="store_true", help="add BatchNorm (off: it helps one data set and harms another)")
    add("--dropout", type=number(float, 0, 0.99), default=0.0, metavar="P",
        help="drop a share of the channels (0: it gains nothing, see README)")
    # The patches
    add("--patch", type=number(int, 8), default=64, metavar="PIXELS",
        help="side of a patch (64: several small ones differ more than one large)")
    add("--batch", type=number(int, 1), default=16, metavar="N",
        help="patches a step (16: of 64x64, that is all the budget)")
    add("--budget", type=number(int, 1), default=1, metavar="N",
        help="how many 256x256x3 inputs fit into memory at once (1)")
    add("--balance", type=number(float, 0, 1), default=0.5, metavar="P",
        help="share of patches placed on a class drawn evenly (0.5: so rare ones are seen)")
    add("--jitter", type=number(float, 0, 1), default=0.07, metavar="S",
        help="change light and contrast by up to this share, tint by a third of it (0.07: more costs IoU)")
    # The optimization
    add("--epochs", type=number(int, 1), default=40, metavar="N", help="(40: about 40 seconds on two cores)")
    add("--steps", type=number(int, 1), default=50, metavar="N",
        help="steps an epoch (50: one image has no natural epoch)")
    add("--lr", type=number(float, 1e-9), default=0.02, metavar="RATE",
        help="peak learning rate (0.02: high, as the network is tiny)")
    add("--warmup", type=number(int, 1), default=100, metavar="STEPS",
        help="steps up to the peak, from where a cosine leads down to 0 (100)")
    add("--weight-decay", type=number(float, 0, 1), default=0.01, metavar="D", help="AdamW's (0.01)")
    add("--ema", type=number(float, 0, 0.9999), default=0.99, metavar="D",
        help="decay of the moving average of the weights that is kept (0.99: steadier; 0 is no average)")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, metavar="S",
        help="(0) on a CPU, the same seed, machine and thread count give the same weights")
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    if (args.image is None) != (args.mask is None):
        parser.error("IMAGE and MASK go together: give both or neither")
    if args.image is None:
        args.image, args.mask = "rgb.png", "gt.png"
    return args


def number(kind, least, most=1e30):
    """An argparse type: an int or float within bounds."""
    def parse(text):
        if not least <= kind(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} to {most:g}")
        return kind(text)
    parse.__name__ = kind.__name__           # argparse names it where the text is no number at all
    return parse


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take two seconds: --help and typos answer at once

import copy
import csv
import ctypes
import hashlib
import platform
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import metrics
from checkpoint import load_checkpoint, save_checkpoint
from data import hold_out, read_pair
from files import BadInput, claim, write_whole
from losses import cross_entropy
from model import FCN, normalize, pick_device, predictor
from patches import class_pixels, photometric_jitter, sample_batch, stitch, within_budget
from sample import SAMPLE, ensure_sample

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1         # of glibc's malloc.h
SMALLEST = 2 * FCN.halo          # pixels a side of an image to train on
HISTORY = ["epoch", "train_loss", "val_loss", "val_iou", "val_accuracy", "learning_rate", "seconds"]


def load_data(args):
    """The pair, cut into parts to train on and a strip to validate on: (training, validation, classes).

    Both are lists of (image uint8 (H, W, 3), mask of class indices (H, W)). Prints what was found. Raises BadInput.
    """
    if (args.image, args.mask) == SAMPLE:
        ensure_sample()
    image, mask, classes = read_pair(args.image, args.mask, threshold=args.threshold)
    size = f"{image.shape[1]}x{image.shape[0]} pixels"
    if min(mask.shape) < SMALLEST:
        raise BadInput(f"{args.image} is {size}; expected at least {SMALLEST} a side to train on")
    shares = np.bincount(mask.ravel(), minlength=len(classes)) / mask.size
    print(f"{args.image}: {size}; {args.mask}: " + ", ".join(
        f"{one['value']} is {one['name']} ({part:.1%})" for one, part in zip(classes, shares)))
    training, validation = hold_out(image, mask, least=min(args.patch, min(mask.shape) // 2), gap=FCN.halo)
    if training is validation:
        print("too small to hold out a strip for validation: validating on the training pixels, which flatters")
    for part, name in [(training, "training"), (validation, "validation")]:
        absent = set(range(len(classes))).difference(*(np.unique(mask).tolist() for _, mask in part))
        if absent:
            print(f"no pixel left for {name}: {', '.join(classes[index]['name'] for index in sorted(absent))}")
    return training, validation, classes


def keep_freed_memory():
    """On Linux, let the C library keep freed memory for the next step (mallopt(3)); elsewhere, do nothing.

    By default it hands the large blocks of every step back to the system and gets them back page by page, all
    zeroed, which takes time in every step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)               # no blocks of their own for large requests
        mallopt(M_TRIM_THRESHOLD, 2**30)     # and up to 1 GB kept at the heap's end


def learning_rate(step, total, peak, warmup):
    """Linear warm-up, times a cosine from 1 down to 0 (Loshchilov & Hutter, SGDR, 2017)."""
    return peak * min((step + 1) / warmup, 1) * 0.5 * (1 + math.cos(math.pi * step / total))


@torch.no_grad()
def update_average(pairs, decay):
    """Move the first tensor of each pair towards the second by the share 1 − decay (Polyak & Juditsky, 1992)."""
    for slow, fast in pairs:
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)     # BatchNorm's count of batches


def validate(model, pairs, classes, mean, std, device):
    """Loss and confusion matrix over whole images, predicted in windows just as predict.py does it."""
    forward, losses, confusion = predictor(model, mean, std, device), [], 0
    for image, mask in pairs:
        logits = stitch(forward, image, model.halo, model.stride)                # (classes, H, W)
        losses.append(cross_entropy(torch.from_numpy(logits)[None], torch.from_numpy(mask)[None]).item())
        confusion = confusion + metrics.confusion_matrix(mask, logits.argmax(axis=0), len(classes))
    return sum(losses) / len(losses), confusion


def train(args):
    """Run the training that `args` describe (see parse_arguments); returns the best epoch's row of history.csv."""
    began = time.perf_counter()
    keep_freed_memory()
    device = pick_device(args.device)

    # Data in, results out: whatever is wrong with either is said now, not after a minute.
    training, validation, classes = load_data(args)
    images, masks = zip(*training)
    size = min(args.patch, *(side for mask in masks for side in mask.shape))
    within_budget(torch.empty(args.batch, 3, size, size, device="meta"), args.budget)
    out, inputs = Path(args.out), (args.image, args.mask)
    best_file, last_file = claim(out / "model.pt", *inputs), claim(out / "last.pt", *inputs)
    curves = claim(out / "loss_vs_epochs.png", *inputs)
    history_file = claim(out / "history.csv", *inputs, mark=",".join(HISTORY))
    pixels = class_pixels(masks, len(classes))
    colours = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    mean, std = colours.mean(axis=0).tolist(), colours.std(axis=0).clip(min=0.01).tolist()

    # The network, the moving average of its weights (validated and kept in its stead), the optimizer.
    torch.manual_seed(args.seed)
    model = FCN(len(classes), args.upsample, args.batchnorm, args.dropout).to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, betas=(0.9, 0.99), weight_decay=args.weight_decay)
    facts = {"classes": classes, "mean": mean, "std": std,
             "settings": {name: value for name, value in vars(args).items() if name not in ("out", "resume", "device")},
             "data": hashlib.sha256(b"".join(
                 array.tobytes() for pair in [*training, *validation] for array in pair)).hexdigest(),
             "versions": {"python": platform.python_version(), "torch": str(torch.__version__),
                          "device": device.type, "threads": torch.get_num_threads()}}
    history, best = [], None

    def keep_last():             # all that --resume needs
        save_checkpoint(last_file, average, **facts, resume={
            "weights": model.state_dict(), "optimizer": optimizer.state_dict(), "history": history, "best": best})

    if args.resume:
        saved, last = load_checkpoint(last_file)
        if last["data"] != facts["data"]:
            raise BadInput(f"{last_file} was trained on another image or mask; name that one or leave --resume out")
        if saved.arguments != model.arguments:
            raise BadInput(f"{last_file} holds another network, {saved.arguments}; expected {model.arguments}")
        average.load_state_dict(last["weights"])
        model.load_state_dict(last["resume"]["weights"])
        optimizer.load_state_dict(last["resume"]["optimizer"])
        history, best = last["resume"]["history"], last["resume"]["best"]
        began -= history[-1]["seconds"] if history else 0
    keep_last()                  # so that even a run killed in its first epoch can be resumed, and with its settings

    averaged = list(zip(average.state_dict().values(), model.state_dict().values()))     # the weights, not copies
    progress = tqdm(total=args.epochs * args.steps, initial=len(history) * args.steps, unit="step", mininterval=0.5)
    with progress:
        for epoch in range(len(history), args.epochs):
            model.train()
            torch.manual_seed(args.seed + 1000 * (epoch + 1))     # for dropout: the same whether resumed or not
            loss_sum = torch.zeros((), device=device)             # read once an epoch, since reading makes a GPU wait
            for step in range(args.steps):
                batch, truth = sample_batch(
                    images, masks, pixels, args.seed, epoch, step, args.batch, size, args.balance)
                gain, offset = photometric_jitter(args.seed, epoch, step, args.batch, args.jitter)
                batch = normalize(batch, mean, std, device, gain, offset)            # (batch, 3, size, size)
                logits = model(within_budget(batch, args.budget))                    # (batch, classes, size, size)
                loss = cross_entropy(logits, torch.from_numpy(truth).to(device))
                optimizer.zero_grad()
                loss.backward()
                rate = learning_rate(epoch * args.steps + step, args.epochs * args.steps, args.lr, args.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
                update_average(averaged, args.ema)
                loss_sum += loss.detach()
                progress.update()
            train_loss = loss_sum.item() / args.steps
            val_loss, confusion = validate(average, validation, classes, mean, std, device)
            if not math.isfinite(train_loss + val_loss):
                raise BadInput(f"the loss became {train_loss + val_loss} in epoch {epoch + 1}; expected a number: "
                               f"lower --lr, now {args.lr}")
            row = {"epoch": epoch + 1, "train_loss": train_loss, "val_loss": val_loss,
                   "val_iou": metrics.foreground(metrics.iou(confusion), classes),
                   "val_accuracy": metrics.accuracy(confusion),
                   "learning_rate": rate, "seconds": round(time.perf_counter() - began, 2)}
            history.append(row)
            progress.set_postfix(loss=f"{train_loss:.4f}", val_iou=metrics.text(row["val_iou"]))

            # Each file appears whole or not at all; last.pt comes last, so a kill between two repeats the epoch.
            if best is None or (row["val_iou"] or 0, -val_loss) > (best["val_iou"] or 0, -best["val_loss"]):
                best = row
                save_checkpoint(best_file, average, **facts, metrics=best)
            with write_whole(history_file) as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, HISTORY)
                writer.writeheader()
                writer.writerows(history)
            keep_last()

    from plots import draw_curves  # only now: matplotlib takes half a second

    draw_curves(history, best, curves)
    print(f"best of {len(history)} epochs: number {best['epoch']}, validation loss {best['val_loss']:.4f}, "
          f"IoU {metrics.text(best['val_iou'])}, accuracy {metrics.text(best['val_accuracy'])}; "
          f"{time.perf_counter() - began:.0f} s on {device}; see {best_file}, {curves}")
    return best


def main(args):
    try:
        if args.resume:          # the interrupted run's settings hold where the command line gives no others
            _, last = load_checkpoint(Path(args.out) / "last.pt")
            if "resume" not in last:
                raise BadInput(f"{Path(args.out) / 'last.pt'} holds a network but no training; expected train.py's own")
            args = parse_arguments(**last["settings"])
        train(args)
    except BadInput as error:
        sys.exit(f"train.py: {error}")
    except KeyboardInterrupt:
        sys.exit(f"train.py: interrupted; from the last whole epoch on: python train.py --resume --out {args.out}")


if __name__ == "__main__":
    main(ARGS)
