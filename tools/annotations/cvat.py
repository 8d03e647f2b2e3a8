"""CVAT's own XML, "CVAT for images 1.1"."""
import functools
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np

from support import coco
from support.files import BadInput
from support.names import find_file, part_of
from tools.annotations.found import (
    CannotDraw,
    Found,
    Item,
    blank,
    draw_ellipse,
    draw_polygon,
    names_of,
    number_classes,
    print_empty,
)


def find_cvat(args):
    """Return the Found of CVAT's own file, "CVAT for images 1.1"; an image without a shape shows nothing."""
    path, folder = Path(args.file), Path(args.images or Path(args.file).parent)
    root = read_xml(path)
    images = root.findall("image")
    if not images:
        raise BadInput(f"{path} names no images; expected CVAT's annotations.xml" +
                       "; export this video as CVAT for images" * bool(root.findall("track")))
    labels = [label.findtext("name", "") for label in root.findall("meta//labels/label")]
    labels += sorted({shape.get("label", "") for image in images for shape in image if shape.tag != "tag"})
    labels = [label for label in labels if label]
    values, items, problems, empty = number_classes(labels), [], [], 0
    named = [(image.get("subset") or "", image.get("name", "").replace("\\", "/")) for image in images]
    times, subsets = Counter(named), Counter(name for _, name in set(named))
    for image, (part, name) in zip(images, named):
        places = [base / part for base in (folder, folder / "images")]
        if subsets[name] == 1:
            places += [folder, folder / "images"]
        found = next(filter(None, (find_file(place, name) for place in places)), None)
        if found is None or any(Path(each).anchor or ".." in Path(each).parts for each in (part, name)):
            problems.append(("images that are not there", name))
            continue
        if times[part, name] > 1:
            problems.append(("images that stand there twice", name))
            continue
        empty += not len(image)
        stem = Path(name).with_suffix("").as_posix()
        whole = f"{part}/{stem}" if part else stem
        draw = functools.partial(draw_cvat, image, values)
        items.append(Item(stem if subsets[name] == 1 else whole, found, path, draw, part_of(whole)))
    if not items:
        raise BadInput(f"{path} names {len(images)} images, but {problems[0][1]} is not in {folder}; expected them "
                       "there or in images/, or their folder after --images")
    print_empty(empty)
    return Found(items, names_of(values), problems)


def read_xml(path):
    """Return the root of an XML file. Raises BadInput, also for entities, which could fill the memory."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text:
            raise ValueError("it declares a document type")
        return ElementTree.fromstring(text)
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read ({error}); expected CVAT's annotations.xml") from None


def draw_cvat(image, values, size):
    """Return the mask of an <image> of CVAT's, uint8 (H, W). Raises CannotDraw.

    A box, which may be turned, and an ellipse are areas, as in CVAT's own export of masks; a line is none.
    """
    if size != (coco.whole(image.get("height")), coco.whole(image.get("width"))):
        raise CannotDraw("images of another size than the annotations say")
    mask = blank(size)
    try:
        for shape in sorted(image, key=lambda shape: int(shape.get("z_order", 0))):
            if shape.tag != "tag":               # a word about the whole image
                draw_shape(mask, shape, values[shape.get("label")])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, CannotDraw):
            raise
        raise CannotDraw("images with a damaged shape") from None
    return mask


def draw_shape(mask, shape, value):
    """Draw one of CVAT's shapes into a mask (H, W). Raises CannotDraw, or ValueError or TypeError for a damaged one."""
    number = lambda name: finite(shape.get(name))
    turn = np.deg2rad(finite(shape.get("rotation", 0)))              # clockwise, as y points down
    along, across = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    if shape.tag == "polygon":
        draw_polygon(mask, [finite(word) for word in re.split("[,;]", shape.get("points", ""))], value)
    elif shape.tag == "box":
        corners = np.array([[number("xtl"), number("ytl")], [number("xbr"), number("ybr")]])
        middle, half = corners.mean(axis=0), (corners[1] - corners[0]) / 2
        signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        polygon = [middle + x * half[0] * along + y * half[1] * across for x, y in signs]
        draw_polygon(mask, np.concatenate(polygon).tolist(), value)
    elif shape.tag == "ellipse":
        draw_ellipse(mask, number("cx"), number("cy"), number("rx") * along, number("ry") * across, value)
    elif shape.tag == "mask":
        left, top, width, height = (int(shape.get(name)) for name in ("left", "top", "width", "height"))
        counts = [int(word) for word in shape.get("rle").split(",")]             # row by row, outside first
        part = mask[top:top + height, left:left + width]
        if min(left, top, *counts) < 0 or part.shape != (height, width) or sum(counts) != part.size:
            raise ValueError
        part[np.repeat(np.arange(len(counts)) % 2, counts).reshape(part.shape) > 0] = value
    else:
        raise CannotDraw(f"images with a shape without an area, a {shape.tag}")


def finite(text):
    """Return a finite number. Raises ValueError or TypeError for what is none."""
    if not np.isfinite(float(text)):
        raise ValueError
    return float(text)
