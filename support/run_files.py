"""The files of a training: checked before it begins, written while it runs, read back to go on with it.

A `run` is train.py's: it has the arguments, the data, the networks, the history and the metadata of a training.
"""
import csv
import platform
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from support.arguments import as_settings_file
from support.checkpoint import save_checkpoint
from support.files import MARK, STAMP, BadInput, check_writable, is_same, keep_apart, remove, write_text, write_whole
from support.machine import RANK, WORLD
from support.names import write_names

NOT_SETTINGS = ("out", "resume")             # arguments of one start of a training, which no settings file repeats
FILES = ("model.pt", "last.pt", "loss_vs_epochs.png", "history.csv", "settings.args", "val.txt")
FORMER_HISTORY = ["epoch", "train_loss", "val_loss", "val_iou", "val_accuracy", "learning_rate", "seconds"]
HISTORY = [*FORMER_HISTORY, "val_copies_iou"]


def check_outputs(args: Namespace) -> None:
    """Raise BadInput where a file that will be written cannot be, or is not ours to overwrite."""
    inputs = [path for path in (args.image, args.mask, args.classes, args.start_from) if path]
    for folder in filter(None, (args.data, args.lists)):
        if is_same(args.out, folder):
            raise BadInput(f"--out {args.out} is the data set itself or the folder of its lists, where val.txt would "
                           "be taken for a list of yours; write elsewhere")
    if args.data:
        keep_apart(args.out, Path(args.data) / "images", Path(args.data) / "masks")
    for name in FILES if RANK == 0 else ():      # of several processes, the first writes
        check_writable(Path(args.out) / name, *inputs, mark=",".join(FORMER_HISTORY) if name == "history.csv" else MARK)


def versions(device: torch.device) -> dict[str, Any]:
    """Return what the last bits of the weights depend on beside the settings."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__,
            "machine": f"{platform.system()} {platform.machine()}", "device": device.type,
            "threads": torch.get_num_threads(), "processes": WORLD}


def begin_files(run: Any) -> None:
    """Write what is known before the first step, so that even a run killed in its first epoch can be resumed."""
    if RANK > 0:
        return
    if run.args.tensorboard:                     # first: a mistake in it must not cost a former training's last.pt
        from support.tensorboard import open_board

        run.board = open_board(run.args.tensorboard, run.data.classes, len(run.history))
    save_last(run)
    if run.history:
        write_settings(run)


def write_settings(run: Any) -> None:
    """Write settings.args and val.txt, remove former curves. They belong to model.pt, so not before its first one."""
    args, out = run.args, Path(run.args.out)
    remove(out / "loss_vs_epochs.png")           # of a former training; this one draws its own at its end
    machine = ", ".join(f"{name} {value}" for name, value in run.metadata["versions"].items())
    remarks = [f'{STAMP}: python train.py "@settings.args" --out DIR repeats this training', machine]
    if run.metadata["zoom_choice"]:
        remarks.append(run.metadata["zoom_choice"])
    write_text(out / "settings.args", as_settings_file(args, remarks, (*NOT_SETTINGS, "device", "tensorboard")))
    if run.data.held_out:
        write_names(out / "val.txt", run.data.held_out, "the images to validate on")
    else:
        remove(out / "val.txt")


def write_history(run: Any) -> None:
    """Write history.csv: a row for each epoch so far."""
    with write_whole(Path(run.args.out) / "history.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, HISTORY)
        writer.writeheader()
        writer.writerows(run.history)


def save_best(run: Any) -> None:
    """Write model.pt: the averaged weights as they are now, which are the best so far."""
    save_checkpoint(Path(run.args.out) / "model.pt", run.ema_model, **run.metadata, metrics=run.best)


def save_last(run: Any, finished: bool = False) -> None:
    """Write last.pt: all that --resume needs."""
    save_checkpoint(Path(run.args.out) / "last.pt", run.ema_model, **run.metadata, resume={
        "weights": run.network.state_dict(), "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(), "history": run.history, "best": run.best, "late": run.best_is_late,
        "done": run.progress, "validating": run.validation_seconds, "finished": finished})


def restore(run: Any, last: dict) -> None:
    """Put the training that last.pt's metadata describe into a Run. Raises BadInput where it was another one."""
    path, zoom = Path(run.args.out) / "last.pt", last["settings"]["zoom"]
    if zoom != run.args.zoom:
        raise BadInput(f"{path} learned at --zoom {zoom}; expected that, not {run.args.zoom}")
    if run.args.start_from != last["settings"].get("start_from"):
        raise BadInput(f"--start-from: {path} has weights to go on with; expected it of a new training, elsewhere "
                       "(--out)")
    saved, wanted = (last["network"], last["arguments"]), (run.network.name, run.network.arguments)
    if saved != wanted:
        raise BadInput(f"{path} holds another network, {saved[0]} {saved[1]}; expected {wanted[0]} {wanted[1]}")
    if last.get("data") != run.data.fingerprint:
        raise BadInput(f"{path} was trained on other images or masks, read as another full_scale or bands in "
                       "classes.json say, or split in another way (--val-share, val.txt); name those, or begin another "
                       "training elsewhere, with --out")
    try:
        take_over(run, last)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise BadInput(f"{path} is damaged ({reason}); begin another training elsewhere, with --out") from error
    if RANK == 0 and run.best and run.best["epoch"] == len(run.history):
        save_best(run)                           # a kill may have come between last.pt and this
    if last.get("versions") != run.metadata["versions"]:
        print("resumed with other versions, threads or processes: weights may differ in their last bits")


def take_over(run: Any, last: dict) -> None:
    """Put weights, optimizer, history and clock of last.pt's metadata into a Run."""
    resume = last["resume"]
    run.ema_model.load_state_dict(last["weights"])
    run.network.load_state_dict(resume["weights"])
    run.optimizer.load_state_dict(resume["optimizer"])
    if resume["scaler"]:                         # empty where it did nothing
        run.scaler.load_state_dict(resume["scaler"])
    run.history, run.best, run.validation_seconds = resume["history"], resume["best"], resume["validating"]
    as_planned = all(last["settings"][name] == vars(run.args)[name] for name in ("epochs", "time_limit"))
    run.best_is_late = as_planned and resume.get("late", False)       # earlier versions chose among all epochs
    if run.best and "val_copies_iou" not in run.best:
        run.copies = {}                          # of an earlier version: epochs stay comparable
    run.progress = resume["done"] if last["settings"]["time_limit"] == run.args.time_limit else 0.0
    run.began -= run.history[-1]["seconds"] if run.history else 0
