"""COCO's JSON files."""
import functools
import os
import re
from pathlib import Path
from typing import NamedTuple

from support import coco
from support.files import BadInput
from support.masks import IGNORE
from support.names import name_of, part_of
from tools.annotations.found import CannotDraw, Found, Item, blank, names_of, number_classes, print_empty
from tools.annotations.pairs import what_differs


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
