"""TensorBoard, an optional package: curves and a few predictions, epoch by epoch."""
from collections.abc import Callable
from pathlib import Path

import numpy as np

from support.files import BadInput
from support.masks import class_colours


def open_board(folder: Path | str, classes: list[dict], epochs: int) -> Callable:
    """Return a function of (row of history.csv, IoU of each class, [(image, mask, prediction), …]) that shows an epoch.

    What an interrupted run has shown beyond the `epochs` that are done is taken back. Raises BadInput where the
    package is missing, or the folder cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise BadInput("--tensorboard needs a package that is missing here; pip install tensorboard") from None
    try:
        board = SummaryWriter(folder, purge_step=epochs + 1)
    except OSError as error:
        raise BadInput(f"--tensorboard {folder} cannot be written ({error.strerror}); expected a folder") from error
    colours = class_colours(classes)                                  # uint8 (256, 3)

    def show(row, iou, shown):
        epoch = row["epoch"]
        for name, value in row.items():
            if name != "epoch" and value is not None:
                board.add_scalar(name.replace("train_", "train/").replace("val_", "val/"), value, epoch)
        for entry, value in zip(classes, iou):
            if value is not None:
                board.add_scalar(f"iou/{entry['name']}", value, epoch)
        for number, (image, mask, prediction) in enumerate(shown):    # side by side
            picture = np.concatenate([image, colours[mask], colours[prediction]], axis=1)
            board.add_image(f"validation/{number}", picture, epoch, dataformats="HWC")
        board.flush()

    return show
