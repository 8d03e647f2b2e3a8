"""Names of images and of their masks that differ in what stands before and behind them, or in their folders."""
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from support.names import READABLE, evenly_spaced, is_passed_over
from support.script import as_typed

MASK_WORDS = re.compile("mask|label|annot|truth|segm|manual|(^|[^a-z])(ann|gt|seg)([^a-z]|$)")       # in names of masks
SEVERAL = "some images have several masks, of which one is taken; if each shows another object, {} joins them"
MOST_FOLDERS, DEEPEST = 50, 3    # folders that are looked into, and how deep they may lie


def is_data_set(folder: Path | str) -> bool:
    """Return whether a folder holds images/ and masks/."""
    return os.path.isdir(Path(folder, "images")) and os.path.isdir(Path(folder, "masks"))


def bare_name(name: str, prefix: str, suffix: str) -> str | None:
    """Return a name, folders before it, without this prefix and suffix; None where it lacks one of them."""
    place, slash, last = name.rpartition("/")
    bare = last[len(prefix):len(last) - len(suffix)]
    return f"{place}{slash}{bare}" if bare and last == f"{prefix}{bare}{suffix}" else None


def count_pairs(images: Iterable[str], masks: Iterable[str], image_suffix: str, prefix: str, suffix: str) -> int:
    """Return how many masks have an image, if all lose these beginnings and ends."""
    bare = {bare_name(name, "", image_suffix) for name in images} - {None}
    return len(bare & {bare_name(name, prefix, suffix) for name in masks})


def find_affixes(images: list[str], masks: list[str]) -> tuple[str, str, str] | None:
    """Return (end of the images' names, beginning and end of the masks' names) that make most of them pairs, or None.

    Either the name of an image stands in that of its mask, or begins with it, as 1_0000 does with 1; or both
    begin alike and end in words after a mark, as 1_sat and 1_seg do.
    """
    whole_names = {os.path.splitext(mask)[0] for mask in masks if mask.lower().endswith(READABLE)}
    if len(whole_names & set(images)) > min(len(images), len(masks)) / 2:        # photo.jpg and photo.jpg.png
        return "", "", ""
    images_last = {image.rpartition("/")[2] for image in images}
    choices: set[tuple[str, str, str]] = set()
    for number in evenly_spaced(len(masks), 3):
        mask = masks[number].rpartition("/")[2]
        for image in sorted((image for image in images_last if image in mask), key=len)[-3:]:
            choices |= {("", before, behind) for before, behind in [mask.split(image, 1), mask.rsplit(image, 1)]}
        choices |= {(image[len(mask):], "", "") for image in sorted(images_last) if image.startswith(mask)}
        for image in sorted(images_last, key=lambda image: len(os.path.commonprefix([image, mask])))[-3:]:
            shared = os.path.commonprefix([image, mask])
            cut = max(shared.rfind(mark) for mark in "_-. ")
            choices |= {(image[cut:], "", mask[cut:])} if cut > 0 else set()
    counts = {choice: count_pairs(images, masks, *choice) for choice in sorted(choices)}
    best = max(counts, key=lambda choice: counts[choice], default=None)
    believed = best and counts[best] > min(len(images), len(masks)) / 2 and (counts[best] > 1 or not best[0])
    return best if believed else None


def image_of(mask: str, images: Collection[str]) -> str | None:
    """Return the image that a mask shows an object of, by their names, folders before them, or None.

    It is the longest that the name of the mask begins with, up to a mark: one for one_2 and one/2.
    """
    cuts = [mark.start() for mark in re.finditer(r"[\W_]", mask) if mark.start() >= mask.rfind("/")]
    return next((name for name in [mask, *(mask[:cut] for cut in reversed(cuts))] if name in images), None)


def show_objects(images: list[str], masks: list[str]) -> bool:
    """Return whether some image has several masks whose names differ in nothing but numbers, as of its objects."""
    known, ends = set(images), {}
    for mask in masks:
        image = image_of(mask, known)
        if image is not None:
            ends.setdefault(image, []).append(re.sub(r"[\W\d_]", "", mask.removeprefix(image)))
    return any(len(found) > 1 and len(set(found)) == 1 for found in ends.values())


def command(*words: Path | str) -> str:
    """Return the command line of tools.convert with these words."""
    return as_typed("python", "-m", "tools.convert", *map(str, words), "--out", "DIR")


def convert_line(images: list[Path], masks: list[Path], affixes: tuple[str, str, str]) -> str:
    """Return the command that makes a data set of folders of images and as many of masks; see find_affixes.

    The names of the classes are those that Roboflow writes beside the masks, where it did.
    """
    words: list[Path | str] = ["pairs", "--images", *images, "--masks", *masks]
    for option, text in zip(("--image-suffix", "--prefix", "--suffix"), affixes):
        if text:
            words += [f"{option}={text}"] if text.startswith("-") else [option, text]
    if (masks[0] / "_classes.csv").is_file():
        words += ["--names", masks[0] / "_classes.csv"]
    return command(*words)


def find_folders(folder: Path | str) -> str | None:
    """Return the command that makes a data set of whatever folders lie below one, or None where that cannot be seen.

    A folder or a file is one of masks if its name says so; images and masks may lie in one folder.
    """
    known = known_layout(Path(folder))
    if known:
        return command(*known)
    found = []                   # (folder, names of images, names of masks)
    for place, folders, files in os.walk(folder):
        below = Path(place).relative_to(folder)
        deeper = len(below.parts) < DEEPEST
        folders[:] = sorted(name for name in folders if deeper and not is_passed_over(name))
        names = {False: [], True: []}                   # whether of masks → names
        for name in sorted(os.path.splitext(name)[0] for name in files if name.lower().endswith(READABLE)):
            names[says_mask(f"{below.as_posix()}/{name}")].append(name)
        if any(names.values()) and len(found) < MOST_FOLDERS:
            found.append((Path(place), names[False], names[True]))
    if any(show_objects(images, masks) for _, images, masks in found):
        return command("objects", folder)
    pairs = []                   # (images, masks, affixes)
    for masks, _, mask_names in found:
        choices = [(count_pairs(names, mask_names, *affixes), nearness(images, masks), images, affixes)
                   for images, names, _ in found if names and mask_names
                   for affixes in [find_affixes(names, mask_names)] if affixes is not None]
        if choices:
            _, _, images, affixes = max(choices)
            pairs.append((images, masks, affixes))
    alike: dict[Path, Path] = {}             # images → the first of their folders of masks
    for images, masks, affixes in pairs:
        if affixes == pairs[0][2]:
            alike.setdefault(images, masks)
    return convert_line(list(alike), list(alike.values()), pairs[0][2]) if pairs else None


def known_layout(folder: Path) -> list | None:
    """Return the words after `python -m tools.convert` for what annotation tools have written, or None."""
    if (folder / "JPEGImages").is_dir() and (folder / "SegmentationClass").is_dir():
        return ["voc", folder]
    files = sorted([*folder.glob("_annotations.coco.json"), *folder.glob("*/_annotations.coco.json")])
    if files:                    # as Roboflow writes them
        return ["coco", *files, "--images", *(file.parent for file in files)]
    if (folder / "data.yaml").is_file():
        return ["yolo", folder]
    each = [[[*path.glob("*")] for path in (image.parent, image.parent.parent / "masks")]
            for image in sorted(folder.glob("*/images/*"))[:2]]
    return ["objects", folder] if any(len(images) == 1 < len(masks) for images, masks in each) else None


def says_mask(name: str) -> bool:
    """Return whether a name has a word for masks in it."""
    return bool(MASK_WORDS.search(name.lower()))


def nearness(one: Path, other: Path) -> tuple[int, int]:
    """Return how much two folders have in common: whole names, and how far they begin alike."""
    return len(set(one.parts) & set(other.parts)), len(os.path.commonprefix([str(one), str(other)]))
