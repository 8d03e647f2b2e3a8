"""Masks as outlines in the formats of annotation tools: COCO's, and GeoJSON. tools.convert is the command."""
from pathlib import Path

import numpy as np
from skimage.measure import find_contours, label, regionprops
from tqdm import tqdm

from support import coco
from support.files import BadInput, check_writable, keep_apart, one_writer, write_json
from support.images import (
    IGNORE,
    class_colours,
    find_classes,
    image_size,
    images_by_name,
    in_threads,
    print_left_out,
    read_classes,
    read_mask,
    same_size,
    to_indices,
)


def class_table(masks, file=None):
    """Return (classes, values to ignore) of masks {name: path}: of the `file`, or found by their values."""
    if file:
        return read_classes(file)
    return find_classes(in_threads(lambda path: (read_mask(path), path), masks.values())), []


def table_beside(folder):
    """Return the classes.json in a folder of masks or beside it, or None."""
    paths = Path(folder, "classes.json"), Path(folder).resolve().parent / "classes.json"
    return next((path for path in paths if path.is_file()), None)


def regions(indices, classes):
    """Yield (class index, top, left, part bool (h, w)) for each region of class indices (H, W).

    The pixels of a region are of one class and connected by their sides. The background and what is
    ignored are left out.
    """
    background = [number for number, entry in enumerate(classes) if entry["name"] == "background"]
    outlined = ~np.isin(indices, [*background, IGNORE])
    for region in regionprops(label(np.where(outlined, indices.astype(int) + 1, 0), connectivity=1)):
        top, left, _, _ = region.bbox
        yield int(indices[tuple(region.coords[0])]), top, left, region.image


def read_masks(args):
    """Return ({name: path}, classes, values to ignore) of the masks that `args` name. Raises BadInput."""
    masks = images_by_name(args.masks)
    return masks, *class_table(masks, args.classes or table_beside(args.masks))


# ---------------------------------------------------------------------------------------------------
# COCO


def run_lengths(top, left, part, size):
    """Return a region, see regions, as COCO's run lengths, its area and its box [x, y, width, height]."""
    from pycocotools import mask as codes

    whole = np.zeros(size, np.uint8, order="F")
    whole[top:top + part.shape[0], left:left + part.shape[1]] = part
    code = codes.encode(whole)
    shape = {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode()}
    return shape, int(codes.area(code)), codes.toBbox(code).tolist()


def to_coco(args):
    """Write the masks that `args` name as one COCO file. Raises BadInput."""
    coco.need_pycocotools()
    masks, classes, ignore = read_masks(args)
    out = check_writable(args.out, endings=[".json"])
    images, problems = images_by_name(args.images), []
    categories = [{"id": number, "name": entry["name"], "supercategory": ""} for number, entry in enumerate(classes)
                  if entry["name"] != "background"]
    table = {"images": [], "annotations": [], "categories": categories}
    for name, path in tqdm(masks.items(), unit="mask", disable=None):
        if name not in images:
            problems.append(("masks without an image", path.name))
            continue
        indices = to_indices(read_mask(path), classes, path, ignore)
        same_size(images[name], image_size(images[name]), path, indices.shape)
        number = len(table["images"]) + 1
        table["images"].append({"id": number, "file_name": images[name].relative_to(args.images).as_posix(),
                                "height": indices.shape[0], "width": indices.shape[1]})
        for category, *region in regions(indices, classes):
            shape, area, box = run_lengths(*region, indices.shape)
            table["annotations"].append({"id": len(table["annotations"]) + 1, "image_id": number, "iscrowd": 0,
                                         "category_id": category, "segmentation": shape, "area": area, "bbox": box})
        if (indices == IGNORE).any():
            problems.append(("masks with pixels to ignore, for which COCO has no word", path.name))
    if not table["images"]:
        raise BadInput(f"{args.masks} and {args.images} hold no pair; expected the same names, found "
                       f"{next(iter(masks))} and {next(iter(images))}")
    write_json(out, table, indent=None)
    print(f"{out}: {len(table['annotations'])} outlines in {len(table['images'])} images")
    print_left_out(problems)


# ---------------------------------------------------------------------------------------------------
# GeoJSON


def rings(top, left, part):
    """Return the rings [[x, y], ...] of a region, see regions: the outer one, then its holes.

    They run midway between the centres of its pixels and those of others; the centre of the first
    pixel is (0.5, 0.5). So a pixel is in the region where its centre is inside of the rings.
    """
    padded = np.pad(part, 1).astype(float)
    found = [contour[:, ::-1] - 0.5 + (left, top) for contour in find_contours(padded, 0.5)]
    extent = lambda ring: np.prod(np.ptp(ring, axis=0))
    return [ring.tolist() for ring in sorted(found, key=extent, reverse=True)]


def to_geojson(args):
    """Write each of the masks that `args` name as a GeoJSON file, in pixels from the upper left corner."""
    keep_apart(args.out, args.masks)
    masks, classes, ignore = read_masks(args)
    out, colours = Path(args.out), class_colours(classes).tolist()
    with one_writer(out):
        for name, path in tqdm(masks.items(), unit="mask", disable=None):
            target = check_writable(out / f"{name}.geojson", path)
            features = []
            for category, *region in regions(to_indices(read_mask(path), classes, path, ignore), classes):
                kind = {"name": classes[category]["name"], "color": colours[category]}           # as QuPath has it
                features.append({"type": "Feature", "properties": {"objectType": "annotation", "classification": kind},
                                 "geometry": {"type": "Polygon", "coordinates": rings(*region)}})
            write_json(target, {"type": "FeatureCollection", "features": features}, indent=None)
    print(f"{len(masks)} files in {out}")
