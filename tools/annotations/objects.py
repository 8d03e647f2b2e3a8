"""Images with a mask for each object, to be joined."""
import functools
from pathlib import Path

import numpy as np

from support.files import BadInput
from support.masks import read_mask
from support.names import find_images, name_of
from support.pairs import image_of, says_mask
from tools.annotations.found import CannotDraw, Found, Item, blank


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
