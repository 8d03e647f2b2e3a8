"""Folders of images and of masks, to be paired by name."""
import os
import re
from pathlib import Path

from support.files import BadInput
from support.masks import read_mask
from support.names import find_images, images_by_name, name_of
from support.pairs import SEVERAL, bare_name, show_objects
from tools.annotations.found import Found, Item, read_lines


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
