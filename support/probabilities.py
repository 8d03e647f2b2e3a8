"""Class probabilities as files: how sure a network is of what a mask says.

They are written in 255ths, as uint8: 0 is never, 255 is certain. Of two classes, a grey PNG shows that of the
foreground; a TIFF file has a band for each class of any number. Beside it lies the uncertainty: what the most probable
class lacks to 255.
"""
import json
import math
import tempfile
from pathlib import Path

import numpy as np

from support.files import STAMP, BadInput, seal, write_image, write_whole
from support.masks import brighter_index, foreground_index
from support.script import needs

ENDINGS = ".png", ".tif", ".tiff"
MOST_HELD = 2**28                # bytes of probabilities that are held in memory; more wait in a file


def usual_ending(classes: list[dict]) -> str:
    """Return what kind of file, "png" or "tif", the probabilities of these classes go to if nobody chooses."""
    return "png" if len(classes) == 2 else "tif"


def check_kind(ending: str, classes: list[dict]) -> None:
    """Raise BadInput where files with this ending cannot hold the probabilities of these classes."""
    if not ending.lower().endswith("png"):
        needs("tifffile")
    elif len(classes) != 2:
        raise BadInput(f"--probabilities: a PNG holds one of two probabilities, and this network has {len(classes)} "
                       "classes; expected a name that ends in .tif")


def beside(path: Path) -> Path:
    """Return where the uncertainty goes that belongs to these probabilities."""
    return path.with_name(f"{path.stem}_uncertainty{path.suffix}")


def empty_probabilities(classes: int, size: tuple[int, int], folder: Path) -> np.ndarray:
    """Return uint8 (classes, H, W) to be filled: in memory or, beyond MOST_HELD, in a nameless file in `folder`.

    The system keeps of that file in memory what it has room for. Raises BadInput where the disk is full.
    """
    shape = classes, *size
    if math.prod(shape) <= MOST_HELD:
        return np.empty(shape, np.uint8)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(classes):             # now, as a disk that is full later ends the process
                file.write(bytes(math.prod(size)))
            return np.memmap(file, np.uint8, "r+", shape=shape)
    except OSError as error:
        raise BadInput(f"{folder} has no room for {math.prod(shape) / 1e9:.1f} GB of probabilities "
                       f"({error.strerror or error}); make room for it") from error


def write_probabilities(paths: dict[str, Path], probabilities: np.ndarray, indices: np.ndarray,
                        classes: list[dict]) -> None:
    """Write the "probabilities" and the "uncertainty" to `paths`, which may name others, too.

    `probabilities` are uint8 (C, H, W), `indices`, (H, W), the classes that were decided on.
    """
    for what, path in paths.items():
        if what == "uncertainty":
            write_bands(path, 255 - probabilities.max(axis=0, keepdims=True), [what])
        elif what == "probabilities" and path.suffix.lower() == ".png":
            write_bands(path, foreground(probabilities, indices, classes), [what])
        elif what == "probabilities":
            write_bands(path, probabilities, [entry["name"] for entry in classes])


def foreground(probabilities: np.ndarray, indices: np.ndarray, classes: list[dict]) -> np.ndarray:
    """Return the probability of the foreground of two classes, (1, H, W): thresholded at 128, it is the mask.

    Where both are alike, and 128, it becomes 127 if the mask says background. Without a class named foreground or
    background, it is that of the brighter one.
    """
    named = foreground_index(classes)
    shown = brighter_index(classes) if named is None else named
    return np.minimum(probabilities[shown], np.where(indices == shown, 255, 127).astype(np.uint8))[None]


def write_bands(path: Path, bands: np.ndarray, names: list[str]) -> None:
    """Write bands uint8 (C, H, W), whole or not at all, as a TIFF file or, if the name ends so, the first as a PNG.

    In a TIFF file their names stand in ImageDescription, as JSON.
    """
    if path.suffix.lower() == ".png":
        return write_image(path, bands[0])
    tifffile, = needs("tifffile")
    description = json.dumps({"written by": STAMP, "bands": names})
    with write_whole(path) as temporary:             # level 1 takes a third of the usual time, for an eighth more bytes
        tifffile.imwrite(temporary, bands, photometric="minisblack", compression="zlib", compressionargs={"level": 1},
                         planarconfig="separate" if len(bands) > 1 else None, description=description, software=False,
                         metadata=None)
        seal(temporary)
