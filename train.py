"""Train a small network from scratch: on one image and its mask, in about a minute on two cores, or on a folder.

    python train.py                    on rgb.png and gt.png, or the bundled sample where neither is here
    python train.py photo.png photo_mask.png --out runs/photo
    python train.py --data DIR --model unet --out runs/name      DIR holds images/ and masks/, see docs/FOLDERS.md
    python train.py @challenges/cityscapes/camvid.args --data DIR         with the settings in that file
    python train.py --resume --out runs/name           go on from last.pt after an interruption
    torchrun --nproc-per-node 2 train.py ...           in several processes

Writes model.pt (the best epoch by validation), last.pt (to resume), loss_vs_epochs.png, history.csv, settings.args
(with which it can be repeated) and, for a folder, val.txt (the images that it validated on).
"""
from support.arguments import network_settings, train_arguments
from support.script import as_path, as_typed, run_script

if __name__ == "__main__":
    ARGS = train_arguments(description=__doc__)  # first: PyTorch takes two seconds to import, a typo should not

import contextlib
import copy
import functools
import io
import math
import multiprocessing
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

import data
import metrics
from losses import class_weights, loss_function, loss_of_pieces
from model import build, load_network, normalize, reach, start_from, unused_settings
from optimizer import AdamW
from patches import (
    MAX_SIDE,
    Pieces,
    Sampling,
    choose_halo,
    inexact_line,
    likeliest,
    noise,
    photometric_jitter,
    within_budget,
)
from segmenter import Segmenter
from support.checkpoint import read_checkpoint
from support.copies import changed_copies
from support.devices import (
    all_reduce_sum,
    average_gradients,
    barrier,
    broadcast,
    join_processes,
    leave_processes,
    multiplying_in,
    pick_device,
    pick_precision,
)
from support.files import BadInput, is_ours, one_writer
from support.machine import RANK, WORLD, cores, keep_freed_memory
from support.masks import foreground_index
from support.metadata import rendering_metadata
from support.names import evenly_spaced, first_few
from support.run_files import (
    NOT_SETTINGS,
    begin_files,
    check_outputs,
    restore,
    save_best,
    save_last,
    versions,
    write_history,
    write_settings,
)
from support.sample import SAMPLE, ensure_sample

# Of a single image, an epoch beyond this share of the training is kept before all earlier ones. Its strip is too small
# to compare early epochs with late ones: the network learns first what the strip shows most of.
LATE = 0.75

# --try-zoom is gone on with where it promises an IoU that is more by this: less may be chance so early, and borders are
# sharper at the image's own size.
CLEARLY = 0.03


@dataclass
class Run:
    """A training: what it learns from, what it changes, and how far it is."""

    args: Namespace
    device: torch.device
    precision: torch.dtype                   # that the network multiplies in
    data: data.TrainingData
    sampling: Sampling
    network: torch.nn.Module
    ema_model: torch.nn.Module               # a moving average of the network's weights, validated and kept
    optimizer: Any                           # an AdamW; GradScaler's annotations ask for PyTorch's own
    scaler: torch.amp.GradScaler             # does nothing unless the precision is float16
    criterion: Callable                      # a function of (logits, truth, all_reduce)
    metadata: dict                           # what the checkpoint holds beside the weights
    began: float = field(default_factory=time.perf_counter)      # less the seconds before it was resumed
    history: list = field(default_factory=list)  # rows of history.csv
    best: dict = field(default_factory=dict)     # the row whose weights are kept; empty before the first
    best_is_late: bool = False               # whether that epoch comes after LATE, of a single image
    on_trial: bool = False                   # whether another zoom is tried, of which no file is written yet
    progress: float = 0.0                    # from 0 to 1: the share of the steps or, if that is more, of the time
    validation_seconds: float = 0.0          # that the last validation took
    copies: dict = field(default_factory=dict)   # {how it is changed: (image, mask)} of the strip of a single image
    board: Callable | None = None            # shows an epoch on TensorBoard
    bar: Any = None                          # the progress bar, while epochs are taken

    @functools.cached_property
    def segment(self) -> Segmenter:
        """The averaged weights as a function: image → classes."""
        return Segmenter(self.ema_model, self.metadata, self.device, self.args.halo)


class Validation(NamedTuple):
    """The figures of the averaged weights on the images to validate on."""

    loss: float
    confusion: np.ndarray                    # int64 (classes, classes)
    shown: list                              # the first three as (image, mask, predicted class indices)
    copies_iou: float | None                 # the mean over Run.copies


def train(args: Namespace, last: dict | None = None) -> dict:
    """Run the training that `args` describe, or go on with the one in `last`, last.pt's metadata.

    It seeds PyTorch's generator, the only one of a process: two trainings at once take two processes. Returns the row
    of history.csv of the best epoch. Raises BadInput.
    """
    run = prepare(args, last)
    with one_writer(args.out) if RANK == 0 else contextlib.nullcontext():
        if last:
            restore(run, last)
        begin_files(run)
        run = take_epochs(run)
        finish(run)
    return run.best


def take_epochs(run: Run) -> Run:
    """Train and validate, epoch by epoch, until all are done or time or patience has run out.

    After a sixth of them --try-zoom is tried for as many. Returns the Run that was gone on with.
    """
    args, before = run.args, len(run.history)
    trial = args.epochs // 6 if args.try_zoom else 0                  # epochs
    if before > trial:
        trial = 0                                # it was tried before the interruption
    with tqdm(total=(args.epochs + trial) * args.steps, initial=before * args.steps, unit="step", mininterval=0.5,
              disable=RANK > 0) as run.bar:
        if trial:
            take_epochs_until(run, trial)
            run = try_zoom(run) if len(run.history) == trial else run
        take_epochs_until(run, args.epochs)
    if len(run.history) == before:
        print(f"no epoch is left after {before}: expected more --epochs, or more of what else ended the training, "
              "--time-limit or --patience")
    return run


def take_epochs_until(run: Run, end: int) -> None:
    """Train and validate until so many epochs are done, or time or patience has run out."""
    batches = open_batches(run, end)
    for epoch in range(len(run.history), end):
        if is_over(run, epoch):
            break
        train_loss = train_epoch(run, epoch, batches)
        if train_loss is None:                   # time was up before its first step
            break
        finish_epoch(run, epoch, train_loss, validate(run))


def try_zoom(run: Run) -> Run:
    """Return the Run to go on with: this one, or a new one at --try-zoom, where that promises clearly more.

    The new one takes the same epochs first, and is then compared with this one (successive halving, Jamieson &
    Talwalkar, 2016). It has no file before it is chosen: interrupted, it is tried again, to the same end.
    """
    zooms = run.args.zoom, run.args.try_zoom
    other = another_zoom(run)
    if run.data.validation[0][1].shape != other.data.validation[0][1].shape:
        return run                               # of other strips, what they promise cannot be compared
    run.bar.set_description(f"zoom {zooms[1]:g}")
    take_epochs_until(other, len(run.history))
    run.bar.set_description("")
    if len(other.history) < len(run.history):                         # time is up
        return run
    promised = [quality(each.history[-1])[0] for each in (run, other)]
    better = bool(broadcast(promised[1] - promised[0] > CLEARLY))
    chosen = other if better else run
    chosen.metadata["zoom_choice"] = (
        f"goes on at zoom {zooms[better]:g}: after {len(run.history)} epochs the validation promises an IoU of "
        f"{promised[0]:.4f} at {zooms[0]:g}, of {promised[1]:.4f} at {zooms[1]:g}")
    run.bar.write(chosen.metadata["zoom_choice"])
    if better:
        chosen.best, chosen.board, chosen.on_trial = chosen.history[-1], run.board, False
    if RANK == 0:
        if better:
            write_epoch(chosen, better)
        write_settings(chosen)                   # once more, with the choice
    return chosen


def another_zoom(run: Run) -> Run:
    """Return a new Run at --try-zoom, of the same data and settings and by the same clock."""
    args = Namespace(**{**vars(run.args), "zoom": run.args.try_zoom, "try_zoom": None})
    with contextlib.redirect_stdout(io.StringIO()):                   # all this has been said
        found = load_data(args, reach(args.model, **network_settings(args))[0])
        other = build_run(args, run.device, found)
    if run.copies:
        other.copies = changed_copies(*other.data.validation[0][:2])
    other.began, other.progress, other.validation_seconds = run.began, run.progress, run.validation_seconds
    other.bar, other.on_trial = run.bar, True
    return other


# ---------------------------------------------------------------------------------------------------
# Before the first step


def prepare(args: Namespace, last: dict | None = None) -> Run:
    """Return the Run that `args` describe, before its first step; `last` are the metadata of the one to go on with.

    Raises BadInput for whatever is wrong.
    """
    began = time.perf_counter()
    keep_freed_memory()
    device = pick_device(args.device)
    join_processes(device)
    halo, stride = reach(args.model, **network_settings(args))
    if args.halo is not None and (line := inexact_line(halo, choose_halo(halo, stride, args.halo))):
        print(line)              # whatever is wrong with it is said now, not after a minute
    replaced = ""
    if last:
        check_former_knobs(args, last["settings"])
    else:
        replaced = check_unfinished(args)
        if unused := unused_settings(args.model, **network_settings(args)):
            print(unused)
    found = load_data(args, halo)
    check_settings(args, found.classes, stride)
    check_outputs(args)
    if not args.data and len(found.training) > 2:        # an image read by parts, as predict.py does at its own size
        args.try_zoom = None
    if replaced:
        print(replaced)
    run = build_run(args, device, found, last)
    run.began = began            # reading the data counts, too
    if not args.data:
        run.copies = changed_copies(*run.data.validation[0][:2])
    return run


def build_run(args: Namespace, device: torch.device, found: data.TrainingData, last: dict | None = None,
              colours: tuple | None = None) -> Run:
    """Return the Run of a new network that learns from the TrainingData `found`; `last` as in `prepare`.

    `colours` are (mean, std) for a network that goes on with another's weights, else those of the data.
    """
    mean, std = colours or data.colour_statistics(found.training)
    names = [entry["name"] for entry in found.classes]
    background = names.index("background") if "background" in names else None

    # The network, the moving average of its weights, the optimizer, the loss, and how patches are drawn.
    torch.manual_seed(args.seed)
    network = build(args.model, len(found.classes), **network_settings(args))
    start = last.get("start") if last else first_weights(args, network, found.classes)
    network = network.to(device).to(memory_format=torch.channels_last)
    ema_model = copy.deepcopy(network)
    optimizer = AdamW(network.parameters(), args.lr, weight_decay=args.weight_decay)
    precision, args.amp = pick_precision(args.amp, network, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    pixels = found.training.cumulative_counts[-1, :-1]                # of each class
    weights = class_weights(pixels, args.class_weights).to(device) if args.class_weights else None
    scale = tuple(args.zoom * part for part in args.scale)
    sampling = Sampling(args.seed, args.patch, args.batch, args.balance, scale, args.flips, args.reuse, args.paste,
                        background)
    metadata = {"classes": found.classes, "ignore": found.ignore, "mean": mean, "std": std,
                "settings": {name: value for name, value in vars(args).items() if name not in NOT_SETTINGS},
                "data": found.fingerprint, **rendering_metadata(found.rendering), "versions": versions(device),
                "start": start, "light": data.usual_light(found.training) if args.light == "match" else None,
                "zoom_choice": last.get("zoom_choice") if last else None}
    return Run(args=args, device=device, precision=precision, data=found, sampling=sampling, network=network,
               ema_model=ema_model, optimizer=optimizer, scaler=scaler, criterion=loss_function(args.loss, weights),
               metadata=metadata)


def load_data(args: Namespace, halo: int) -> data.TrainingData:
    """Return the TrainingData that `args` name, for a network of this halo. Raises BadInput.

    Of one image a strip is held out to validate on, a halo apart from the rest.
    """
    if (args.image, args.mask) == SAMPLE:
        if RANK == 0:
            ensure_sample()
        barrier()
    return data.load(args.data or (args.image, args.mask), args.threshold, args.classes, args.val_share, args.memory,
                     least=math.ceil(args.patch / args.zoom), gap=math.ceil(halo / args.zoom),
                     lists=args.lists)


def check_settings(args: Namespace, classes: list[dict], stride: int) -> None:
    """Raise BadInput for settings that do not fit the data."""
    if "bce" in args.loss and len(classes) != 2:
        raise BadInput(f"--loss {args.loss}: bce is for two classes, there are {len(classes)}; use ce")
    names = [entry["name"] for entry in classes]
    if args.paste and "background" not in names:
        raise BadInput(f"--paste {args.paste:g}: none of the classes {first_few(names)} is called background; expected "
                       "one, as all others are taken for objects")
    if args.patch < 2 * stride:                  # or BatchNorm would find a single pixel at the bottom
        raise BadInput(f"--patch {args.patch}: the network's stride is {stride}, expected at least {2 * stride}")
    if args.batch % WORLD:
        raise BadInput(f"--batch {args.batch}: expected a multiple of {WORLD}, the number of processes")
    within_budget(torch.empty(micro_batch_size(args), 3, args.patch, args.patch, device="meta"), args.budget)


def first_weights(args: Namespace, network: torch.nn.Module, classes: list[dict]) -> dict | None:
    """Put in the weights that --start-from names, and return what was taken; None where all are random."""
    if not args.start_from:
        return None
    start = start_from(args.start_from, network, classes)
    taken, new = (first_few(start[names]) or "none" for names in ("classes", "new_classes"))
    print(f"starts from {args.start_from}: all layers but the last; of that, the classes {taken}; random: {new}")
    return start


def micro_batch_size(args: Namespace) -> int:
    """Return how many patches of this process go through the network at once: the batch in as few parts as fit."""
    fitting = max(1, args.budget * MAX_SIDE**2 // args.patch**2)
    parts = math.ceil(args.batch / fitting)      # as many as a single process would need
    return math.ceil(args.batch / WORLD / parts)


def check_unfinished(args: Namespace) -> str:
    """Raise BadInput where the folder for the results holds a training that was interrupted: it would be lost.

    Returns a line about a finished one, which this one replaces, or "".
    """
    out = Path(args.out)
    if RANK > 0 or not (out / "last.pt").is_file() or not is_ours(out / "last.pt"):
        return ""                                # check_outputs refuses a stranger's
    with one_writer(out):                        # or it goes on at this moment
        try:
            last = read_checkpoint(out / "last.pt")      # without its network, which may be another by now
        except BadInput as error:
            raise BadInput(f"{error}; it may hold an interrupted training: write elsewhere with --out, or remove "
                           "it") from error
    resume, epochs = last.get("resume", {}), last["settings"].get("epochs")
    done = len(resume.get("history", []))
    drawn = (out / "loss_vs_epochs.png").exists()        # tells of older files, without "finished"
    if done and not resume.get("finished", done == epochs or drawn):
        raise BadInput(f"{out / 'last.pt'} holds a training that was interrupted after {done} of {epochs} epochs; go "
                       "on with --resume, or write elsewhere with --out, or remove that file")
    if not done:
        return ""
    return (f"{out / 'model.pt'} is of a former training, of {done} epochs, and is replaced after the first epoch of "
            "this one")


def check_former_knobs(args: Namespace, settings: dict) -> None:
    """Raise BadInput where an interrupted run had a knob that is gone, or say what it changes."""
    if "focal" in args.loss and settings.get("gamma", 2.0) != 2.0:
        raise BadInput(f"the interrupted run had --gamma {settings['gamma']:g}, a knob that is gone: it cannot go on; "
                       "begin another one elsewhere, with --out")
    if "accumulate" not in settings:
        return
    before = args.batch // WORLD // settings["accumulate"]
    if before != micro_batch_size(args):
        print(f"resumed with parts of {micro_batch_size(args)} patches instead of {before}: weights may differ")


def open_batches(run: Run, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return the generator of the batches that are still to come until so many epochs, see data.training_batches."""
    args, training = run.args, run.data.training
    # Beside a GPU, other processes cut patches even of images held in memory, if these need not be copied to them.
    shared = bool(args.data) and run.device.type == "cuda" and multiprocessing.get_start_method() == "fork"
    ahead = training.decode is not None or shared
    workers = math.ceil(cores() / 2) if ahead else 0                  # they leave half of the cores to the network
    return data.training_batches(training, run.sampling, args.steps, range(len(run.history), end), slots(args),
                                 workers)


def slots(args: Namespace) -> range:
    """Return the numbers of this process's patches of each batch."""
    return range(RANK, args.batch, WORLD)


# ---------------------------------------------------------------------------------------------------
# Epochs


def is_over(run: Run, epoch: int) -> bool:
    """Return whether the training ends before this epoch: out of time, or out of patience."""
    patience = run.args.patience
    over = run.progress >= 1 or bool(patience and run.history and epoch - run.best["epoch"] >= patience)
    return bool(broadcast(over))                 # unlike machines may differ in an IoU's last digit


def train_epoch(run: Run, epoch: int, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Take the steps of an epoch and return their mean loss; None where time was up before the first of them."""
    args, network = run.args, run.network
    micro_batch = micro_batch_size(args)
    average, latest = averaged_tensors(run.ema_model), averaged_tensors(network)
    network.train()
    torch.manual_seed(args.seed + 1000 * (epoch + 1) + RANK)          # for dropout, resumed or not
    loss_sum = torch.zeros((), device=run.device)                     # read once an epoch: reading makes a GPU wait
    steps = 0
    for step in range(epoch * args.steps, (epoch + 1) * args.steps):
        run.progress = progress_at(run, step)
        if run.progress == 1 and (steps or run.history):
            break
        images, truth = to_network_input(run, *next(batches), epoch, step % args.steps)
        run.optimizer.zero_grad()

        # Forward and backward; a batch larger than the budget in parts, whose gradients add up.
        for part, part_truth in zip(images.split(micro_batch), truth.split(micro_batch)):
            with multiplying_in(run.precision, run.device):
                logits = network(within_budget(part, args.budget))    # (part, classes, size, size)
            loss = run.criterion(logits.float(), part_truth, all_reduce_sum) / (len(images) / len(part))
            run.scaler.scale(loss).backward()
            loss_sum += loss.detach()

        average_gradients(network)
        if args.clip:
            run.scaler.unscale_(run.optimizer)
            torch.nn.utils.clip_grad_norm_(network.parameters(), args.clip)
        run.optimizer.lr = learning_rate(step, run.progress, args.lr, args.warmup)
        run.scaler.step(run.optimizer)
        run.scaler.update()
        update_average(average, latest, average_decay(step, args.ema))
        steps += 1
        run.bar.update()
    return loss_sum.item() / steps if steps else None


def progress_at(run: Run, step: int) -> float:
    """Return how far a training is at this step, from 0 to 1: in steps or, if that is more, in time."""
    args = run.args
    progress = step / (args.epochs * args.steps)
    if args.time_limit:
        # All processes go by the first one's clock, and by how long it validates: a validation is still to come.
        elapsed = broadcast(time.perf_counter() - run.began + run.validation_seconds)
        progress = min(max(progress, elapsed / (60 * args.time_limit)), 1.0)
    return progress


def to_network_input(run: Run, batch: np.ndarray, truth: np.ndarray, epoch: int,
                     step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch as the network takes it, relit and with noise: float32 (share, 3, size, size), and its truth.

    `batch` is uint8 (share, size, size, 3), `truth` class indices (share, size, size), NumPy arrays both.
    """
    args, mean, std = run.args, run.metadata["mean"], run.metadata["std"]
    mine = slots(args)
    gain, offset = photometric_jitter(args.seed, epoch, step, args.batch, args.jitter)
    images = normalize(batch, mean, std, run.device, gain[mine], offset[mine])
    if args.noise:
        grains = noise(args.seed, epoch, step, mine, args.patch, args.noise)     # (share, size, size, 3)
        grains /= np.array(std, np.float32)                           # in units of the input
        images += torch.from_numpy(grains).to(run.device).permute(0, 3, 1, 2)
    return images, torch.from_numpy(truth).to(run.device)


def learning_rate(step: int, progress: float, peak: float, warmup: int) -> float:
    """Return the rate: `peak`, times a linear warm-up, times a cosine from 1 down to 0 as `progress` goes from 0 to 1.

    The warm-up takes `warmup` steps, or a tenth of the training, if that is less. The cosine is that of Loshchilov &
    Hutter, "SGDR", 2017, without restarts.
    """
    warm = min(max((step + 1) / warmup, 10 * progress), 1)
    return peak * warm * 0.5 * (1 + math.cos(math.pi * progress))


def average_decay(step: int, decay: float) -> float:
    """Return the decay of the moving average at this step: little at first, or it would long hold the random weights.

    TensorFlow's ExponentialMovingAverage does the same where it is given the step.
    """
    return min(decay, (1 + step) / (10 + step))


def averaged_tensors(network: torch.nn.Module) -> list[torch.Tensor]:
    """Return the tensors themselves that a moving average is kept of: weights and BatchNorm's means and variances.

    BatchNorm's counts of batches are left out, as nothing reads them: those of the average stay 0.
    """
    return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]


@torch.no_grad()
def update_average(average: list[torch.Tensor], latest: list[torch.Tensor], decay: float) -> None:
    """Move each average towards the latest tensor by the share 1 − decay (after Polyak & Juditsky, 1992)."""
    torch._foreach_lerp_(average, latest, 1 - decay)                  # see optimizer.py


def validate(run: Run) -> Validation:
    """Return the Validation of the averaged weights, over whole images, each in windows as predict.py does it.

    Every process takes its share of the images; all get the same loss and confusion matrix.
    """
    began = time.perf_counter()
    classes, loss, shown = len(run.data.classes), 0.0, []
    confusion = np.zeros((classes, classes), np.int64)
    candidates = run.data.validation.with_truth()                     # others say nothing, and have no loss
    numbers = [candidates[place] for place in evenly_spaced(len(candidates), run.args.val_images)]
    for number in numbers[RANK::WORLD]:
        image, mask, _ = run.data.validation[number]
        prediction = np.empty_like(mask)                              # (H, W), filled while the loss looks on
        loss += loss_of_pieces(run.criterion, score_pieces(run, run.segment.pieces(image), mask, prediction)).item()
        confusion = confusion + metrics.confusion_matrix(mask, prediction, classes)
        if len(shown) < 3:
            shown.append((image, mask, prediction))
    loss = all_reduce_sum(torch.tensor(loss, dtype=torch.float64, device=run.device)).item() / len(numbers)
    confusion = all_reduce_sum(torch.from_numpy(confusion).to(run.device)).cpu().numpy()
    copies_iou = score_copies(run)
    run.validation_seconds = time.perf_counter() - began
    return Validation(loss, confusion, shown, copies_iou)


def score_copies(run: Run) -> float | None:
    """Return the mean IoU of the changed copies of a single image's strip; None where none has an IoU."""
    classes, copies = run.data.classes, run.copies.values()
    confusions = [metrics.confusion_matrix(mask, run.segment(image), len(classes)) for image, mask in copies]
    return metrics.mean(metrics.foreground_or_mean(metrics.iou(confusion), classes) for confusion in confusions)


def score_pieces(run: Run, pieces: Pieces, mask: np.ndarray,
                 prediction: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (logits (1, classes, y, x), truth (1, y, x)) of pieces of an image, whose classes go into `prediction`.

    All logits of a large image at once would take gigabytes.
    """
    for rows, columns, logits in pieces:                              # (classes, y, x)
        prediction[rows, columns] = likeliest(logits)
        truth = np.ascontiguousarray(mask[rows, columns])
        yield torch.from_numpy(logits)[None].to(run.device), torch.from_numpy(truth)[None].to(run.device)


def finish_epoch(run: Run, epoch: int, train_loss: float, validation: Validation) -> None:
    """Add an epoch to the history, keep its weights if they are the best so far, and write the files.

    Each file appears whole or not at all. A kill before last.pt repeats the epoch; one between last.pt and
    model.pt is mended when the training goes on, since last.pt holds the same weights. Raises BadInput where
    the loss is no number any more.
    """
    loss_sum = train_loss + validation.loss
    if not math.isfinite(loss_sum):
        raise BadInput(f"the loss became {loss_sum} in epoch {epoch + 1}; expected a number: lower --lr, now "
                       f"{run.args.lr}")
    ious = metrics.iou(validation.confusion)
    row = {"epoch": epoch + 1, "train_loss": train_loss, "val_loss": validation.loss,
           "val_iou": metrics.foreground_or_mean(ious, run.data.classes),
           "val_accuracy": metrics.accuracy(validation.confusion),
           "learning_rate": run.optimizer.lr,
           "seconds": round(time.perf_counter() - run.began, 2), "val_copies_iou": validation.copies_iou}
    run.history.append(row)
    run.bar.set_postfix(loss=f"{train_loss:.4f}", val_iou=metrics.format_metric(row["val_iou"]))
    late = not run.args.data and run.progress > LATE
    better = not run.best or (late, quality(row)) > (run.best_is_late, quality(run.best))
    if better:
        run.best, run.best_is_late = row, late
    if RANK == 0 and not run.on_trial:
        if run.board:
            run.board(row, ious, validation.shown)
        write_epoch(run, better)


def write_epoch(run: Run, better: bool) -> None:
    """Write the files of the latest epoch, and those of the network that is kept, where it is `better`."""
    try:
        write_history(run)
    except BadInput as error:                    # Windows keeps what a spreadsheet has open from being replaced
        if not isinstance(error.__cause__, PermissionError):
            raise
        run.bar.write(f"{error}; the training goes on")
    save_last(run)
    if better:
        if len(run.history) == 1:
            write_settings(run)
        save_best(run)


def quality(row: dict) -> tuple[float, float]:
    """Return what epochs are compared by: the IoU and, where that is the same, the loss.

    For a single image it is the mean IoU of its strip and of the strip's changed copies, which promises less too much
    for the next image.
    """
    return metrics.mean([row["val_iou"], row.get("val_copies_iou")]) or 0.0, -row["val_loss"]


def finish(run: Run) -> None:
    """Draw the curves and say how it went."""
    if RANK > 0:
        return
    from support.plots import draw_curves  # only now: matplotlib takes half a second

    out, best = Path(run.args.out), run.best
    write_history(run)                           # again, as the last epoch's may have been open elsewhere
    draw_curves(run.history, best, run.args.loss, out / "loss_vs_epochs.png")
    save_last(run, finished=True)
    foreground = foreground_index(run.data.classes)
    if not run.args.data and foreground is not None and not run.data.validation.cumulative_counts[-1, foreground]:
        print(f"the strip shows no {run.data.classes[foreground]['name']}: its IoU says nothing of the next image")
    elif best.get("val_copies_iou") is not None:
        print(f"the strip in another light, focus, size: IoU {best['val_copies_iou']:.4f}; expect that of the next "
              f"image, or less; of the strip as it is, {metrics.format_metric(best['val_iou'])}")
    print(f"best of {len(run.history)} epochs: number {best['epoch']}, validation loss {best['val_loss']:.4f}, "
          f"IoU {metrics.format_metric(best['val_iou'])}, accuracy {metrics.format_metric(best['val_accuracy'])}; "
          f"{time.perf_counter() - run.began:.0f} s on {run.device}; see {out / 'model.pt'}, "
          f"{out / 'loss_vs_epochs.png'}")


def main(args: Namespace) -> None:
    """Train, or go on where --resume is given.

    The command line is then parsed again, with the interrupted run's settings for those that it does not name.
    """
    last = None
    if args.resume:
        if not (Path(args.out) / "last.pt").exists():
            raise BadInput(f"{Path(args.out) / 'last.pt'} does not exist; expected the --out of a training that was "
                           "interrupted after its first epoch or later")
        _, last = load_network(Path(args.out) / "last.pt")   # the network, too: it knows what older files lack
        if "resume" not in last:
            raise BadInput(f"{Path(args.out) / 'last.pt'} holds a network but no training; expected train.py's own")
        args = train_arguments(**last["settings"])
    train(args, last)
    leave_processes()


if __name__ == "__main__":
    run_script(main, ARGS, __file__,
               interrupted="interrupted; from the last whole epoch on: "
                           f"python train.py --resume --out {as_typed(as_path(ARGS.out))}")
