"""YOLO's outlines: labels/*.txt, one file an image."""
import functools
import re
from pathlib import Path

import numpy as np

from support.files import BadInput
from support.names import find_images
from tools.annotations.found import CannotDraw, Found, Item, blank, draw_polygon, read_lines

# A name in a YAML list: in quotation marks, or up to the next comma.
QUOTED = r"""\s*('[^']*'|"[^"]*"|[^,]*)\s*(?:,|$)"""


def find_yolo(args):
    """Return the Found of a YOLO folder: images below a folder images/, outlines below labels/, as Ultralytics has it.

    An empty file of labels stands for an image of nothing; without one, nobody knows.
    """
    folder, items, problems = Path(args.folder), [], []
    names = read_yolo_names(Path(args.names) if args.names else find_yolo_names(folder))
    for image in find_images(folder):
        parts = list(image.relative_to(folder).parts)
        if "images" not in parts[:-1]:
            continue
        place = len(parts) - 2 - parts[-2::-1].index("images")           # the last one
        labels = folder.joinpath(*parts[:place], "labels", *parts[place + 1:]).with_suffix(".txt")
        name = Path(*parts[:place], *parts[place + 1:]).with_suffix("").as_posix()
        if labels.is_file():
            items.append(Item(name, image, labels, functools.partial(draw_yolo, labels, len(names))))
        else:
            problems.append(("images without a file of labels", labels))
    if not items:
        raise BadInput(f"{folder} holds no image with its labels; expected images/NAME.jpg and labels/NAME.txt, or "
                       "train/images/NAME.jpg and train/labels/NAME.txt" +
                       (f": {problems[0][1]} is not there" if problems else ""))
    return Found(items, ["background", *names], problems)


def find_yolo_names(folder):
    """Return the path of data.yaml in a folder, else of its only other YAML file, else of classes.txt where that is."""
    others = [*folder.glob("*.yaml"), *folder.glob("*.yml")]
    if not (folder / "data.yaml").is_file() and len(others) == 1:
        return others[0]
    return folder / ("classes.txt" if not others and (folder / "classes.txt").is_file() else "data.yaml")


def read_yolo_names(path):
    """Return the names of the classes in a data.yaml, or in a text file with one a line. Raises BadInput."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return read_lines(path)
    unquote = lambda text: text.strip().strip("'\"")
    if not path.is_file():
        raise BadInput(f"{path} does not exist; expected the names of the classes there, or a file with a name a line "
                       "after --names")
    without_remarks = (re.sub(r"(^|\s)#.*", "", line).rstrip() for line in read_lines(path))
    lines = "\n".join(line for line in without_remarks if line)
    row = re.search(r"^names:\s*\[(.*?)\]", lines, re.MULTILINE | re.DOTALL)
    table = re.search(r"^names:\s*\{(.*?)\}", lines, re.MULTILINE | re.DOTALL)
    listed = re.search(r"^names:\s*((?:\n(?:-|\d+:).*)+)", lines, re.MULTILINE)
    if row:
        return [unquote(name) for name in re.findall(QUOTED, row.group(1)) if name.strip()]
    if listed or table:
        entries = listed.group(1).strip().splitlines() if listed else \
            [entry.group().strip(" ,") for entry in re.finditer(r"\d+\s*:" + QUOTED, table.group(1))]
        numbers = [entry.partition(":")[0] for entry in entries]
        if all(entry.startswith("-") for entry in entries):
            return [unquote(entry[1:]) for entry in entries]
        named = {number.strip(): unquote(entry.partition(":")[2]) for number, entry in zip(numbers, entries)}
        if named.keys() == {str(number) for number in range(len(entries))}:
            return [named[str(number)] for number in range(len(entries))]
    raise BadInput(f"{path} names no classes; expected names: ['cat', 'dog'], or another file after --names, with a "
                   "name a line")


def draw_yolo(path, classes, size):
    """Return the mask of a YOLO file of outlines, uint8 (H, W): a line is a class and x y x y ..., from 0 to 1."""
    mask = blank(size)
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError):
        raise CannotDraw("images whose labels cannot be read") from None
    for words in rows:
        try:
            number, polygon = int(words[0]), np.array(words[1:], float)
        except ValueError:
            raise CannotDraw("images with a line that is no outline") from None
        if len(polygon) == 4:
            raise CannotDraw("images with a box instead of an outline")
        if len(polygon) < 6 or len(polygon) % 2 or not (np.abs(polygon - 0.5) <= 0.51).all():
            raise CannotDraw("images with a line that is no outline from 0 to 1")
        if not 0 <= number < classes:
            raise CannotDraw(f"images with a class {number} that has no name")
        draw_polygon(mask, (polygon.reshape(-1, 2) * size[::-1]).ravel().tolist(), number + 1)
    return mask
