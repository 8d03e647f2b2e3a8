"""Which images a folder holds, what their names are, and lists of such names."""
import contextlib
import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features

from support.files import STAMP, BadInput, write_text
from support.notes import note

WRITABLE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")   # what counts as an image in a folder
# These count, too, where no file of the same name has one of the endings above; the last three if Pillow can read them.
READABLE = WRITABLE + (".jfif", ".jpe", ".gif", ".tga", ".pbm", ".pgm", ".ppm", ".pnm", *[
    f".{ending}" for ending, feature in [("jp2", "jpg_2000"), ("j2k", "jpg_2000"), ("avif", "avif")]
    if feature in {*features.modules, *features.codecs} and features.check(feature)])
FOREIGN = (".heic", ".heif", ".dcm", ".jp2", ".j2k", ".avif", ".jxl", ".psd", ".xcf", ".svg", ".eps", ".pdf", ".exr",
           ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".svs", ".ndpi", ".czi", ".lif", ".lsm",
           ".nd2", ".nii", ".gz", ".nrrd", ".mha", ".fits", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".mp4", ".avi",
           ".mov")               # pictures that are not read, as far as they are not among those
PARTS = "train", "val", "test"   # of a data set: NAME.txt beside images/ and masks/
PART_FOLDERS = {**dict(zip(PARTS, PARTS)), "training": "train", "valid": "val", "validation": "val", "testing": "test"}


# ---------------------------------------------------------------------------------------------------
# The images of a folder


def find_images(folder: Path | str) -> list[Path]:
    """Return the paths of all images below a folder, in order, but for hidden ones and thumbnails. Raises BadInput.

    Links to folders are followed, unless they lead back to where they stand. Notes pictures that are not read.
    """
    def refuse(error):
        raise BadInput(f"{error.filename} cannot be read ({error.strerror}); expected a folder of images")

    if not os.path.isdir(folder):
        raise BadInput(f"{folder} is no folder; expected one of images")
    found, others = [], Counter()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders
                      if not is_passed_over(name) and not leads_back(Path(place, name), folder)]
        pipes = {entry.name for entry in os.scandir(place)
                 if not (entry.is_symlink() or entry.is_dir() or entry.is_file())}
        names = [name for name in names if not name.startswith(".") and name not in pipes]
        found += [Path(place, name) for name in names if name.lower().endswith(READABLE)]
        others.update(Path(name).suffix.lower() for name in names if not name.lower().endswith(READABLE))
    foreign = {ending: others[ending] for ending in FOREIGN if others[ending]}
    unread = f"{sum(foreign.values())} files that end in {', '.join(foreign)} are not read" if foreign else ""
    if not found:
        raise BadInput(f"{folder} holds no image; expected files that end in {', '.join(READABLE)}" +
                       f"; {unread}" * bool(unread))
    if unread:
        note(folder, unread)
    usual = {path.with_suffix("") for path in found if path.suffix.lower() in WRITABLE}
    return sorted(path for path in found if path.suffix.lower() in WRITABLE or path.with_suffix("") not in usual)


def is_passed_over(name: str) -> bool:
    """Return whether a name below a folder, with /, is hidden, or in a folder of thumbnails or of a Mac's remarks."""
    return any(part.startswith((".", "__MACOSX", "@eaDir")) for part in name.split("/"))


def leads_back(path: Path, folder: Path | str) -> bool:
    """Return whether a folder is, by links, one of those that it lies in: no walk below it would end."""
    above, target = [Path(folder), *Path(os.path.realpath(folder)).parents], os.path.realpath(path)
    above += [parent for parent in path.parents if Path(folder) in parent.parents]
    return any(os.path.realpath(other) == target for other in above)


def name_of(path: Path | str, folder: Path | str) -> str:
    """Return the path below a folder without extension, with /, an umlaut as a single character (Unicode's NFC)."""
    return unicodedata.normalize("NFC", Path(path).relative_to(folder).with_suffix("").as_posix())


def find_file(folder: Path, name: str) -> Path | None:
    """Return the path of the file of this name, or None; umlauts may be one character in it, or two, as on a Mac."""
    names = dict.fromkeys([name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))])
    # Of a Path, is_file raises OSError for a name that is too long.
    return next((folder / name for name in names if os.path.isfile(folder / name)), None)


def part_of(name: str) -> str | None:
    """Return "train", "val" or "test" where a folder in a name, as in train/one, says so, else None."""
    return next((PART_FOLDERS[word.lower()] for word in name.split("/")[:-1] if word.lower() in PART_FOLDERS), None)


def images_by_name(folder: Path | str) -> dict[str, Path]:
    """Return {name, as name_of gives it: path} of all images in a folder. Raises BadInput where two share a name."""
    found = {}
    for path in find_images(folder):
        name = name_of(path, folder)
        if name in found:
            raise BadInput(f"{found[name]} and {path} differ in nothing but the extension; expected one of them")
        found[name] = path
    return found


def named_images(folder: Path | str, only: Path | str | None = None) -> dict[str, Path]:
    """Return {name: path} of all images in a folder, or of those that the text file `only` names. Raises BadInput."""
    found = images_by_name(folder)
    return {name: found[name] for name in read_names(only, found)} if only else found


# ---------------------------------------------------------------------------------------------------
# Lists of names


def read_names(path: Path | str, known: Collection[str] | None = None) -> list[str]:
    """Return the names in a text file, one a line, # before a remark. Raises BadInput for one not among the `known`.

    A name may come with the extension of its image, or quoted as in JSON, see as_line.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")       # -sig: Notepad puts a mark in front
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BadInput(f"{path} cannot be read ({reason}); expected names, one a line") from None
    lines = [line.removesuffix("\r") for line in lines if not line.startswith("#")]
    known = known and dict.fromkeys(known)       # which finds a name at once, in a list of thousands
    names = list(dict.fromkeys(find_name(line, known or ()) for line in lines if line.strip()))
    unknown = [] if known is None else [name for name in names if name not in known]
    if unknown or not names:
        raise BadInput(f"{path} names {first_few(unknown) or 'nothing'}; expected names, one a line" +
                       (f", such as {next(iter(known))}" if known else ""))
    return names


def find_name(line: str, known: Collection[str]) -> str:
    """Return the name that a line of a list stands for: one of the `known` names if it can be."""
    normalize = lambda text: unicodedata.normalize("NFC", text)
    if line.startswith('"') and line.rstrip().endswith('"'):          # quoted by as_line
        with contextlib.suppress(ValueError):
            return normalize(json.loads(line))
    name, _, ending = line.strip().rpartition(".")
    for candidate in line, line.strip(), name if f".{ending.lower()}" in READABLE else line:
        if normalize(candidate) in known:
            return normalize(candidate)
    return normalize(line.strip())


def write_names(path: Path | str, names: Iterable[str], remark: str = "") -> None:
    """Write a text file that read_names reads."""
    write_text(path, "\n".join([f"# {STAMP}: {remark}" if remark else f"# {STAMP}", *map(as_line, names), ""]))


def as_line(name: str) -> str:
    """Return a name as a line of a list: as it is, or quoted as in JSON where it would be read as another.

    So any name that a file system allows can be written and read back.
    """
    return name if listable(name) and not name.startswith('"') else json.dumps(name)


def listable(name: str) -> bool:
    """Return whether a name can stand in a list as it is; one that is no text is not printable either."""
    return bool(name) and name == name.strip() and name.isprintable() and not name.startswith("#")


# ---------------------------------------------------------------------------------------------------
# Some of many


def hash_to_unit(name: str) -> float:
    """Return a number from 0 to 1 that depends on nothing but the name."""
    return int(hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8], 16) / 2**32


def split_by_hash(names: Collection[str], shares: tuple[float, ...], seed: int) -> dict[str, list[str]]:
    """Return {"train": names, "val": names, "test": names}, by a hash of seed and name; at least one to train on."""
    shuffled = sorted(names, key=lambda name: hash_to_unit(f"{seed} {name}"))
    testing = min(round(shares[2] * len(names)), max(len(names) - 1, 0))
    validating = min(round(shares[1] * len(names)), max(len(names) - 1 - testing, 0))
    return {"train": shuffled[testing + validating:], "val": shuffled[testing:testing + validating],
            "test": shuffled[:testing]}


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return up to `most` evenly spaced indices of range(count)."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def first_few(names: list[str], most: int = 5) -> str:
    """Join the first few names, and say how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def print_left_out(problems: list[tuple[str, Any]]) -> None:
    """Print what a data set lacks, [(kind of problem, which), …]: a line for each kind."""
    for kind in dict.fromkeys(kind for kind, _ in problems):
        which = [str(item) for other, item in problems if other == kind]
        print(f"left out: {len(which)} {kind}: {first_few(which)}")
