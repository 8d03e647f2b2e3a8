"""Checks of what stands beside the weights in a checkpoint or an .onnx file, before anything is built of it.

A stranger may have written the file: every value has its type and its range.
"""
from typing import Any

import numpy as np

from support.classes import check_classes
from support.images import FULL, SCALES, Rendering, parse_rendering, rendering_entries

NETWORK_ARGUMENTS = {            # of the classes in model.py: what each may be
    "classes": lambda value: type(value) is int and 1 <= value <= 255,
    "width": lambda value: type(value) is int and 1 <= value <= 1024,
    "depth": lambda value: type(value) is int and 1 <= value <= 6,
    "dropout": lambda value: is_number(value, 0, 0.99),
    "upsample": lambda value: value in ("nearest", "bilinear", "transposed"),
    "batchnorm": lambda value: type(value) is bool,
    "separable": lambda value: type(value) is bool,
}
SETTINGS = {                     # of train.py: those that a prediction depends on
    "zoom": lambda value: is_number(value, 0.1, 4),
    "flips": lambda value: value in ("all", "mirror", "none"),
    "threshold": lambda value: value is None or type(value) is int and 1 <= value <= 255,
}


def is_number(value: Any, least: float, most: float) -> bool:
    """Return whether a value is a number from `least` to `most`; NaN is not."""
    return type(value) in (int, float) and least <= value <= most


def is_light(value: Any, classes: int) -> bool:
    """Return whether a value is what data.usual_light returns for so many classes."""
    if not isinstance(value, dict) or not is_number(value.get("evidence"), 0, 1e6):
        return False
    colours: Any = value.get("colours")
    if not is_list(colours, classes + 1) or not all(is_list(rows, 3) for rows in colours):
        return False
    rows = [row for channels in colours for row in channels]          # before NumPy takes memory for what they hold
    if not all(is_list(row, 256) and all(type(count) is int and 0 <= count <= 2**40 for count in row) for row in rows):
        return False
    pixels = np.array(colours).sum(axis=2)                            # (classes + 1, 3)
    return bool((pixels == pixels[:, :1]).all() and pixels.any())


def is_list(value: Any, length: int) -> bool:
    """Return whether a value is a list of this length."""
    return isinstance(value, list) and len(value) == length


def check_values(values: Any, allowed: dict, what: str) -> None:
    """Raise ValueError unless `values` is a dict in which each value that stands in `allowed` passes its check."""
    if not isinstance(values, dict):
        raise ValueError(f"its {what} are no table")
    for name, value in values.items():
        if name in allowed and not allowed[name](value):
            raise ValueError(f"its {what} hold {name} = {str(value)[:40]}")


def check_metadata(metadata: dict, classes: int) -> None:
    """Raise ValueError for metadata that this project did not write; `classes` is the network's number of classes."""
    check_classes(metadata["classes"], metadata["ignore"])
    if len(metadata["classes"]) != classes:
        raise ValueError(f"it names {len(metadata['classes'])} classes, its network has {classes}")
    for name, least in ("mean", -100), ("std", 1e-6):
        values = metadata[name]
        numbers = isinstance(values, list) and all(is_number(value, least, 100) for value in values)
        if not numbers or len(values) != 3:
            raise ValueError(f"its {name} is not three numbers from {least} to 100")
    if metadata.get("full_scale", FULL) not in SCALES:                # absent in older files
        raise ValueError(f"its full_scale is {str(metadata['full_scale'])[:40]}")
    if not isinstance(metadata.get("reading", {}), dict):
        raise ValueError("what it says of how images are read is no table")
    parse_rendering(metadata.get("reading", {}))
    if metadata.get("light") is not None and not is_light(metadata["light"], classes):
        raise ValueError("what it says of the light that it learned from is damaged")
    check_values(metadata["settings"], SETTINGS, "settings")


def rendering_metadata(rendering: Rendering) -> dict:
    """Return how images are read as metadata: what was written down stands in "reading", as in a class table."""
    written = rendering_entries(rendering)
    found = FULL if rendering.written else rendering.full
    return {"full_scale": found} | ({"reading": written} if written else {})


def rendering_in(metadata: dict) -> Rendering:
    """Return how images are read, by metadata that check_metadata has passed; the oldest say nothing of it."""
    said = parse_rendering(metadata.get("reading", {}))
    return said if said.written else said._replace(full=metadata.get("full_scale", FULL))
