"""Pascal VOC's folders: JPEGImages/ and SegmentationClass/."""
import functools
from pathlib import Path

import numpy as np
from PIL import Image

from support.classes import check_classes
from support.files import BadInput
from support.images import open_image
from support.machine import in_threads
from support.masks import IGNORE, to_indices
from support.names import PARTS, first_few, images_by_name, read_names
from tools.annotations.found import CannotDraw, Found, Item, read_lines
from tools.annotations.pairs import are_colours, read_class_list


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
