"""Find what annotation tools write, and draw it as masks: pairs, masks of objects, labelme, CVAT, VOC, YOLO and COCO.

Each find function takes the command line of tools.convert and returns a Found.
"""
import base64
import functools
import io
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from support import coco
from support.classes import check_classes
from support.files import BadInput
from support.images import open_image
from support.machine import in_threads
from support.masks import IGNORE, read_mask, to_indices
from support.names import PARTS, find_file, find_images, first_few, images_by_name, name_of, part_of, read_names
from support.pairs import SEVERAL, bare_name, image_of, says_mask, show_objects
from support.tiff import open_known

# A name in a YAML list: in quotation marks, or up to the next comma.
QUOTED = r"""\s*('[^']*'|"[^"]*"|[^,]*)\s*(?:,|$)"""


class Item(NamedTuple):
    """An image and how its mask is made."""

    name: str                    # below images/ and masks/, without extension, with /
    image: Path
    source: Path                 # the file that the mask is made of
    draw: Callable | None = None             # (height, width) → mask uint8 (H, W); None: the source is the mask
    part: str | None = None      # "train", "val" or "test", where the annotations tell; else see part_of
    more: list = []              # further files that the mask is made of


class Found(NamedTuple):
    """The annotations that a command found."""

    items: list
    names: list | None = None    # of the classes; None: as the masks have it
    problems: list = []          # (problem, which)
    values: list | None = None   # of the classes, numbers or colours, where they are not 0, 1, 2, …


class CannotDraw(ValueError):
    """The reason why an image's annotation cannot be drawn wholly, as a kind of images."""


def blank(size):
    return np.zeros(size, np.uint8)


def number_classes(labels):
    """Return {label: value}: 0 for the background, 1, 2, ... for the others in their order."""
    labels = list(dict.fromkeys(labels))
    others = [label for label in labels if not is_background(label)]
    return {**dict.fromkeys(labels, 0), **{label: value for value, label in enumerate(others, start=1)}}


def is_background(label):
    return label.strip().lower() in ("background", "_background_")


def names_of(values):
    """Return the names by value of what number_classes returned."""
    return ["background", *[label for label, value in values.items() if value]]


def print_empty(count):
    """Print how many images have no shape, if any: nothing may be there to see, or nobody has looked."""
    if count:
        print(f"{count} images without any shape are background all over; leave out those that nobody has annotated")


def draw_polygon(mask, polygon, value):
    """Draw a polygon [x, y, x, y, ...] into a mask (H, W), as pycocotools does. Raises CannotDraw."""
    if len(polygon) < 6:         # four numbers it would take for a box
        raise CannotDraw("images with a polygon of less than three corners")
    try:
        mask[coco.draw([polygon], *mask.shape)] = value
    except (ValueError, TypeError) as error:
        raise CannotDraw(f"images with {error}") from None


def draw_ellipse(mask, x, y, along, across, value):
    """Draw an ellipse around (x, y) into a mask (H, W): the pixels whose centres are inside. Raises CannotDraw.

    Its half axes are vectors (2,), [x, y].
    """
    half, size = np.hypot(along, across), mask.shape[::-1]           # half the sides of the box around it
    if not (np.abs([x, y, *half]) <= 10 * max(size)).all():
        raise CannotDraw("images with an ellipse far outside of the image")
    if not (along.any() and across.any()):
        return
    left, top = np.clip([x, y] - half - 1, 0, size).astype(int)
    right, bottom = np.clip([x, y] + half + 1, 0, size).astype(int)
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5           # the centres of pixels
    away = np.stack([columns - x, rows - y], axis=-1)
    inside = (away @ along / (along @ along)) ** 2 + (away @ across / (across @ across)) ** 2 <= 1
    mask[top:bottom, left:right][inside] = value


# ---------------------------------------------------------------------------------------------------
# Pairs


def find_pairs(args):
    """Return the Found of folders of images and of masks, whose names may differ in prefix and suffix."""
    if len(args.images) != len(args.masks):
        raise BadInput(f"--images names {len(args.images)} folders, --masks {len(args.masks)}; expected as many masks, "
                       "in the same order")
    masks = named_by(args.masks, args.images, args.prefix, args.suffix)
    taken = set(masks.values())              # both may lie in one folder
    images = {name: path for name, path in named_by(args.images, args.images, "", args.image_suffix).items()
              if path not in taken}
    for name, path in images.items():        # as some write it: photo.jpg and photo.jpg.png
        if name not in masks and f"{name}{path.suffix}" in masks:
            masks[name] = masks.pop(f"{name}{path.suffix}")
    items = [Item(name, path, masks[name]) for name, path in images.items() if name in masks]
    if not items:
        raise BadInput(f"{args.images[0]} and {args.masks[0]} hold no pair; expected images NAME{args.image_suffix} "
                       f"and masks {args.prefix}NAME{args.suffix}, found {first_of(args.images[0])} and "
                       f"{first_of(args.masks[0])}")
    alone = [("images without a mask", images[name].name) for name in images if name not in masks]
    alone += [("masks without an image", masks[name].name) for name in masks if name not in images]
    paired = {item.image for item in items}
    for folder, mask_folder in zip(args.images, args.masks):
        others = [name_of(path, mask_folder) for path in find_images(mask_folder) if path not in paired]
        if show_objects([name_of(path, folder) for path in paired if path.is_relative_to(folder)], others):
            print(f"{mask_folder}: {SEVERAL.format('tools.convert objects')}")
    names, values = read_class_list(Path(args.names)) if args.names else (None, None)
    if are_colours(values) and not any(read_mask(item.source, coloured=True).ndim == 3 for item in items):
        raise BadInput(f"{args.names} lists colours, but the masks, such as {items[0].source}, hold numbers; expected "
                       "a name a line, from value 0 on")
    return Found(items, names, alone, values)


def read_class_list(path):
    """Return (names of the classes, their values or None) of a text file: a name a line, from value 0 on, or a table.

    Tables are Roboflow's _classes.csv, "Pixel Value, Class", and the class_dict.csv of others, "name,r,g,b".
    Raises BadInput.
    """
    lines = read_lines(path)
    header, *rows = [[word.strip() for word in re.split("[,;\t]", line)] for line in lines]
    if len(header) == 1 or any(len(row) != len(header) for row in rows):         # a name may hold a comma
        return lines, None
    if not rows:
        raise BadInput(f"{path} has a single line, {lines[0][:60]!r}; expected a line for each class")
    try:
        if [word.lower() for word in header] == ["pixel value", "class"]:
            return [name for _, name in rows], [int(value) for value, _ in rows]
        if [word.lower() for word in header] == ["name", "r", "g", "b"]:
            return [name for name, *_ in rows], [[int(part) for part in colour] for _, *colour in rows]
    except ValueError:
        raise BadInput(f"{path}: a value is no number; expected a class a line, as its first line says") from None
    raise BadInput(f"{path} begins with {lines[0][:60]!r}; expected the names of the classes alone, one a line, from "
                   "value 0 on, or a table that begins with 'Pixel Value, Class' or 'name,r,g,b'")


def are_colours(values):
    """Return whether the values that read_class_list has returned are colours."""
    return bool(values) and isinstance(values[0], list)


def named_by(folders, images, prefix, suffix):
    """Return {name without prefix and suffix: path} of all images in folders.

    Of several, what tells the folders of `images` apart stands before a name: train/one, val/one.
    """
    found = {}
    for folder, label in zip(folders, what_differs(images)):
        for name, path in images_by_name(folder).items():
            bare = bare_name(name, prefix, suffix)
            if bare is not None and found.setdefault(f"{label}{bare}", path) != path:
                raise BadInput(f"{found[label + bare]} and {path} would both become {label}{bare}; rename one")
    return found


def what_differs(folders):
    """Return what tells each of several folders apart, with / behind: train/ and val/ of a/train/images, a/val/images.

    Of a single folder that is nothing. A drive is no part of a name.
    """
    parts = [Path(os.path.abspath(folder)).parts[1:] for folder in folders]
    start = len(os.path.commonprefix(parts))
    rest = [part[start:] for part in parts]
    end = len(os.path.commonprefix([part[::-1] for part in rest]))
    return ["".join(f"{word}/" for word in part[:len(part) - end]) for part in rest]


def first_of(folder):
    return find_images(folder)[0].relative_to(folder)


# ---------------------------------------------------------------------------------------------------
# A mask for each object


def find_objects(args):
    """Return the Found of a folder whose images have several masks, each of which shows an object, as one class.

    images/ and masks/ may lie side by side, below any folder; the only image there has all of the masks. Else a mask
    belongs to the image whose name its own begins with, up to a mark, or which its folder is named after. Without
    such folders, masks lie beside their image and say in their names that they are masks.
    """
    folder, items, problems, groups = Path(args.folder), [], [], {}
    for path in find_images(folder):
        groups.setdefault(path.parent, []).append(path)
    for place, files in groups.items():
        if "masks" in place.relative_to(folder).parts:
            continue
        beside = place.name == "images" and (place.parent / "masks").is_dir()
        above, within = (place.parent, place.parent / "masks") if beside else (place, place)
        masks = find_images(within) if beside else [path for path in files if says_mask(path.stem)]
        found = {path.stem: [path] for path in files if beside or not says_mask(path.stem)}      # then come its masks
        for mask in masks:
            name = next(iter(found)) if beside and len(found) == 1 else image_of(name_of(mask, within), found)
            if name is None:
                problems.append(("masks without an image", mask.relative_to(folder)))
            else:
                found[name].append(mask)
        for name, (image, *masks) in found.items():
            if masks:
                name = name_of(above if above.name == name else above / image.name, folder)     # ONE/images/ONE.png
                draw = functools.partial(draw_objects, masks)
                items.append(Item(name, image, masks[0], draw, more=masks[1:]))
            else:
                problems.append(("images without a mask", image.relative_to(folder)))
    if not items:
        raise BadInput(f"{folder} holds no image with masks; expected ONE/images/ and ONE/masks/, images/ONE.png and "
                       "masks/ONE_1.png, or ONE.png and ONE_mask_1.png")
    return Found(items, ["background", "object"], problems)


def draw_objects(paths, size):
    """Return the mask of all objects, uint8 (H, W): 1 where a mask of `paths` is not 0. Raises CannotDraw, BadInput."""
    objects = blank(size)
    for path in paths:
        mask = read_mask(path)
        if mask.shape[:2] != size:
            raise CannotDraw("images of another size than a mask of theirs")
        if mask.ndim > 2 or len(np.unique(mask[mask > 0])) > 1:
            raise CannotDraw("images with a mask that has several values beside 0, where a single object was expected")
        objects[mask > 0] = 1
    return objects


# ---------------------------------------------------------------------------------------------------
# Labelme


def read_json(path, part):
    """Return a JSON file that is a dict with a list `part`. Raises BadInput."""
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read ({error})") from None
    if not isinstance(table, dict) or not isinstance(table.get(part), list):
        raise BadInput(f'{path} has no list "{part}"')
    return table


def find_labelme(args):
    """Return the Found of JSON files of labelme, below a folder."""
    folder, tables, problems = Path(args.folder), {}, []
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder; expected labelme's JSON files")
    for path in sorted(folder.rglob("*.json")):
        try:
            tables[path] = read_json(path, "shapes")
        except BadInput as error:
            problems.append(("files that are not labelme's", str(error)))
    shapes = [shape for table in tables.values() for shape in table["shapes"] if isinstance(shape, dict)]
    labels = sorted({shape["label"] for shape in shapes if isinstance(shape.get("label"), str)} - {"__ignore__"})
    values, items, empty = number_classes(labels), [], 0
    for path, table in tables.items():
        name = str(table.get("imagePath")).replace("\\", "/")
        last = name.rpartition("/")[2]           # the folder before it may be one of another computer
        image = find_file(path.parent, name)
        if not image and args.images:
            image = find_file(Path(args.images), last)
        if not image and Path(last).stem == path.stem:
            image = find_file(path.parent, last)
        if image:
            draw = functools.partial(draw_shapes, table, {**values, "__ignore__": IGNORE})
            items.append(Item(name_of(path, folder), image, path, draw))
            empty += not table["shapes"]
        else:
            inside = ", only inside of it: save it as a file" * bool(table.get("imageData"))
            problems.append(("files whose image is not there", f"{path}: {name}{inside}"))
    if not items:
        raise BadInput(f"{folder} holds no labelme file with its image" +
                       (f": {problems[0][1]}" if problems else "; expected NAME.json beside NAME.jpg"))
    print_empty(empty)
    return Found(items, names_of(values), problems)


def draw_shapes(table, values, size):
    """Return the mask of labelme's shapes, uint8 (H, W). Raises CannotDraw."""
    said = table.get("imageHeight"), table.get("imageWidth")          # older files lack both
    if said != (None, None) and size != tuple(map(coco.whole, said)):
        raise CannotDraw("images of another size than the annotations say")
    mask = blank(size)
    for shape in table["shapes"]:
        try:
            kind, points = shape.get("shape_type") or "polygon", np.array(shape["points"], float).reshape(-1, 2)
            value = values[shape["label"]]
            if not np.isfinite(points).all():
                raise ValueError
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            raise CannotDraw("images with a damaged shape") from None
        if kind in ("polygon", "rectangle", "rotation") and len(points) > 2:     # the latter two, X-AnyLabeling's
            draw_polygon(mask, points.ravel().tolist(), value)
        elif kind == "rectangle" and len(points) == 2:
            (left, top), (right, bottom) = points
            draw_polygon(mask, [left, top, right, top, right, bottom, left, bottom], value)
        elif kind == "circle" and len(points) == 2:
            radius = np.hypot(*(points[1] - points[0]))
            draw_ellipse(mask, *points[0], np.array([radius, 0]), np.array([0, radius]), value)
        elif kind == "mask" and len(points) == 2:
            paste_mask(mask, shape.get("mask"), points[0], value)
        else:
            raise CannotDraw(f"images with a shape without an area, a {kind} of {len(points)} points")
    return mask


def paste_mask(mask, code, corner, value):
    """Lay a labelme mask, a picture as text, into a mask (H, W), its corner (x, y) given. Raises CannotDraw."""
    try:
        left, top = (int(side) for side in corner)
        with open_known(io.BytesIO(base64.b64decode(code))) as picture:
            part = mask[top:top + picture.height, left:left + picture.width]
            if min(left, top) < 0 or part.shape != picture.size[::-1]:
                raise ValueError                 # before it is decoded, as it may be of any size
            inside = np.asarray(picture.convert("L")) > 0
    except Exception:            # a decoder raises nearly anything on damaged text
        raise CannotDraw("images with a damaged shape") from None
    part[inside] = value


# ---------------------------------------------------------------------------------------------------
# CVAT


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


# ---------------------------------------------------------------------------------------------------
# VOC


def find_voc(args):
    """Return the Found of a folder like Pascal VOC's: JPEGImages/, SegmentationClass/ and perhaps lists."""
    folder = Path(args.folder)
    photos = Path(args.images) if args.images else folder / "JPEGImages"
    for part in (photos, folder / "SegmentationClass"):
        if not part.is_dir():
            raise BadInput(f"{part} is no folder; expected SegmentationClass/ in {folder}, and JPEGImages/, or the "
                           "folder of the images after --images")
    images, masks = images_by_name(photos), images_by_name(folder / "SegmentationClass")
    names, colours = read_voc_names(folder, args.names, masks.values())
    parts = read_parts(folder / "ImageSets" / "Segmentation")
    draw = lambda path: functools.partial(read_voc_mask, path, names, colours)
    items = [Item(name, images[name], path, draw(path), parts.get(name)) for name, path in masks.items()
             if name in images]
    if not items:
        raise BadInput(f"{folder} holds no pair: {len(images)} images such as {next(iter(images))}, {len(masks)} "
                       f"masks such as {next(iter(masks))}; expected the same names")
    problems = [("masks without an image", path.name) for name, path in masks.items() if name not in images]
    return Found(items, names, problems)


def read_voc_names(folder, file, masks):
    """Return (names of the classes by value, their colours or None) of a VOC folder. Raises BadInput.

    They stand in the `file` or in labelme's class_names.txt, a name a line from value 0 on, or in CVAT's
    labelmap.txt, NAME:RED,GREEN,BLUE:: a line. VOC's own folder has none of these.
    """
    labelmap, class_names = folder / "labelmap.txt", folder / "class_names.txt"
    if labelmap.is_file() and not file:
        return read_labelmap(labelmap)
    if file or class_names.is_file():
        names, values = read_class_list(Path(file or class_names))
        if values and values != list(range(len(values))) and not are_colours(values):
            raise BadInput(f"{file} has the values {first_few(list(map(str, values)))}; expected 0, 1, 2, …")
        names = ["background" if name == "_background_" else name for name in names if name != "__ignore__"]
        return names, values if are_colours(values) else None
    highest = max(in_threads(highest_class, masks))
    print(f"{folder} has neither labelmap.txt nor class_names.txt; its classes are called by their values: give "
          "--names a file with a name a line, from value 0 on")
    return ["background", *[f"class {value}" for value in range(1, highest + 1)]], None


def highest_class(path):
    """Return the largest value of a mask but for 255, at least 1; of one that cannot be read, 1."""
    try:
        picture = open_image(path)
    except BadInput:
        return 1
    if not isinstance(picture, Image.Image) or picture.mode not in ("P", "L"):        # as read_voc_mask has it
        return 1
    mask = np.asarray(picture)
    return int(mask[mask < IGNORE].max(initial=1))


def read_labelmap(path):
    """Return (names of the classes by value, their colours) of CVAT's labelmap.txt. Raises BadInput."""
    try:
        rows = [line.split(":") for line in read_lines(path)]
        colours = {row[0]: [int(part) for part in row[1].split(",")] for row in rows}
        colours = {"background": colours.pop("background", colours.pop("_background_", [0, 0, 0])), **colours}
        check_classes([{"name": name, "value": colour} for name, colour in colours.items()], [])
    except (ValueError, IndexError) as error:
        raise BadInput(f"{path} is damaged ({error}); expected NAME:RED,GREEN,BLUE:: a line") from None
    return list(colours), list(colours.values())


def read_lines(path):
    """Return the lines of a text file that hold something, without remarks. Raises BadInput."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error})") from None
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise BadInput(f"{path} is empty; expected a line for each class")
    return found


def read_parts(folder):
    """Return {name: "train", "val" or "test"} of VOC's lists, where they are."""
    return {name: part for part in PARTS if (folder / f"{part}.txt").is_file()
            for name in read_names(folder / f"{part}.txt")}


def read_voc_mask(path, names, colours, size):
    """Return a VOC mask as values, uint8 (H, W): 255, and its colour (224, 224, 192), are ignored."""
    picture = open_image(path)
    if not isinstance(picture, Image.Image):     # a TIFF file of numbers that are no colours
        raise CannotDraw("images whose mask is neither grey nor of a palette")
    if (picture.height, picture.width) != size:
        raise CannotDraw("images of another size than their mask")
    classes = [{"name": name, "value": value} for value, name in enumerate(names)]
    if colours is None:
        if picture.mode not in ("P", "L"):
            raise CannotDraw("images whose mask is neither grey nor of a palette, without a labelmap.txt")
        return to_indices(np.asarray(picture).astype(np.int32), classes, path, [IGNORE])
    classes = [{"name": name, "value": colour} for name, colour in zip(names, colours)]
    void = [] if [224, 224, 192] in colours else [[224, 224, 192]]
    return to_indices(np.asarray(picture.convert("RGB")), classes, path, void)


# ---------------------------------------------------------------------------------------------------
# YOLO


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


# ---------------------------------------------------------------------------------------------------
# COCO


class CocoFile(NamedTuple):
    """The sound parts of a COCO file."""

    categories: list
    images: list
    odd_images: int
    annotations: list


def find_coco(args):
    """Return the Found of COCO files, each with the folder of its images: all categories, all images that are there.

    Categories of one name are one class.
    """
    if len(args.file) != len(args.images):
        raise BadInput(f"{len(args.file)} files, but --images names {len(args.images)} folders; expected as many, in "
                       "the same order")
    for folder in args.images:
        if not os.path.isdir(folder):
            raise BadInput(f"{folder} is no folder; expected the one that the images are in")
    files, items, problems = [read_coco(path) for path in args.file], [], []
    values = number_classes(str(category.get("name")) for file in files for category in file.categories)
    for path, file, folder, label in zip(args.file, files, args.images, what_differs(args.images)):
        some, wrong = coco_items(Path(path), file, Path(folder), label, values)
        words = "/".join(re.split("[^a-z]+", Path(path).stem.lower()))       # instances/train/ of instances_train2017
        part = part_of(f"{words}/") if len(files) > 1 else None
        items, problems = items + [item._replace(part=part) for item in some], problems + wrong
    if not items:
        reason = f", as {problems[0][1]} is one of the {problems[0][0]}" if problems else ""
        raise BadInput(f"{args.file[0]}: no image can be used of the {len(files[0].images)} that it names{reason}; "
                       f"expected some in {args.images[0]}")
    return Found(items, names_of(values), problems)


def read_coco(path):
    """Return the CocoFile at a path. Raises BadInput where nobody knows which masks would be wrong."""
    table = coco.read(path)
    categories, doubled = coco.sound(table["categories"], ["id"])
    if doubled:
        raise BadInput(f"{path}: {doubled} categories have no id, or another's; expected one for each")
    images, odd = coco.sound(table["images"], ["id", "height", "width"])
    annotations, lost = coco.sound(table["annotations"], ["image_id", "category_id"], once=False)
    if lost:
        raise BadInput(f"{path}: {lost} annotations have no image_id or category_id; expected both, as nobody "
                       "knows which masks would be wrong")
    used = {one["category_id"] for one in annotations}
    above = [category.get("supercategory") for category in categories if category.get("supercategory")]
    for one in list(categories):             # as Roboflow writes it
        if one.get("supercategory") == "none" and one.get("name") in above and one["id"] not in used:
            print(f"{path}: the category {one['name']} gathers others and has no annotation, so it is no class")
            categories.remove(one)
    return CocoFile(categories, images, odd, annotations)


def coco_items(path, file, folder, label, values):
    """Return ([Item, …], problems) of a CocoFile whose images are in a folder; `label` begins their names."""
    images, problems = coco.find_images(file.images, folder)
    problems += [("images without id, height or width, or with another's id", "?")] * file.odd_images
    of_category = {category["id"]: values[str(category.get("name"))] for category in file.categories}
    of_image = {number: [] for number in images}
    for one in file.annotations:
        of_image.get(one["image_id"], []).append(one)
    print_empty(sum(not drawn for drawn in of_image.values()))
    known = {entry["id"] for entry in file.images}
    problems += [("annotations of images that the file does not name", one["image_id"]) for one in file.annotations
                 if one["image_id"] not in known]
    problems += [("annotations of a category that the file does not name: nobody knows what their pixels are, 255",
                  one["category_id"]) for one in file.annotations if one["category_id"] not in of_category]
    items = [Item(label + name_of(folder / image["file_name"], folder), folder / image["file_name"], path,
                  functools.partial(draw_coco, folder, image, of_image[number], of_category))
             for number, image in images.items()]
    return items, problems


def draw_coco(folder, image, annotations, values, size):
    """Return the mask of an image's annotations in COCO's way, uint8 (H, W). Raises CannotDraw."""
    problem = coco.check_image(folder / image["file_name"], (image["height"], image["width"]))
    if problem:
        raise CannotDraw(problem)
    mask = blank(size)
    for one in annotations:
        shape, given = coco.outline(one), one.get("segmentation")
        if isinstance(shape, list) and isinstance(given[0], list) and len(shape) < len(given):
            raise CannotDraw("images with a polygon of less than three corners")
        if shape is None:
            raise CannotDraw("images with a box but no outline" if coco.box(one) else
                             "images with an annotation without an outline")
        try:
            mask[coco.draw(shape, *size)] = values.get(one["category_id"], IGNORE)
        except (ValueError, TypeError, KeyError):
            raise CannotDraw("images with a damaged outline") from None
    return mask


FIND = {"pairs": find_pairs, "objects": find_objects, "labelme": find_labelme, "cvat": find_cvat, "voc": find_voc,
        "yolo": find_yolo, "coco": find_coco}
