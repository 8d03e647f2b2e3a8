"""labelme's JSON files, one an image."""
import base64
import functools
import io
import json
from pathlib import Path

import numpy as np

from support import coco
from support.files import BadInput
from support.masks import IGNORE
from support.names import find_file, name_of
from support.tiff import open_known
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


def find_labelme(args):
    """Return the Found of JSON files of labelme, below a folder."""
    folder, tables, problems = Path(args.folder), {}, []
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder; expected labelme's JSON files")
    for path in sorted(folder.rglob("*.json")):
        try:
            tables[path] = read_labelme(path)
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


def read_labelme(path):
    """Return labelme's JSON file as a dict with a list "shapes". Raises BadInput."""
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read ({error})") from None
    if not isinstance(table, dict) or not isinstance(table.get("shapes"), list):
        raise BadInput(f'{path} has no list "shapes"')
    return table


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
