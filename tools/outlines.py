"""Masks as outlines in the formats of annotation tools: COCO's, and GeoJSON. tools.convert is the command."""
from argparse import Namespace
from pathlib import Path

import numpy as np
from skimage.measure import approximate_polygon, find_contours, label, regionprops
from tqdm import tqdm

from evaluate import decide_classes, read_as
from support import coco
from support.files import BadInput, check_writable, keep_apart, one_writer, write_json
from support.images import IGNORE, class_colours, image_size, images_by_name, print_left_out, same_size


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
    """Return ({name: path}, classes, function: path → class indices uint8 (H, W)) of the masks that `args` name.

    They are read as evaluate.py reads them: the JPEG that infer.py makes of two classes is exact, too.
    """
    masks = images_by_name(args.masks)
    given = Namespace(masks=args.masks, classes=args.classes, threshold=None)
    classes, ignore, _ = decide_classes(given, list(masks.values()))
    return masks, classes, lambda path: read_as(path, classes, ignore, predicted=True)


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
    masks, classes, read = read_masks(args)
    out = check_writable(args.out, endings=[".json"])
    images, problems = images_by_name(args.images), []
    categories = [{"id": number, "name": entry["name"], "supercategory": ""} for number, entry in enumerate(classes)
                  if entry["name"] != "background"]
    table = {"images": [], "annotations": [], "categories": categories}
    for name, path in tqdm(masks.items(), unit="mask", disable=None):
        if name not in images:
            problems.append(("masks without an image", path.name))
            continue
        indices = read(path)
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
    straight = 1e-6              # pixels: only corners stay of a straight line
    return [approximate_polygon(ring, straight).tolist() for ring in sorted(found, key=extent, reverse=True)]


def to_geojson(args):
    """Write each of the masks that `args` name as a GeoJSON file, in pixels from the upper left corner."""
    keep_apart(args.out, args.masks)
    masks, classes, read = read_masks(args)
    out, colours = Path(args.out), class_colours(classes).tolist()
    with one_writer(out):
        for name, path in tqdm(masks.items(), unit="mask", disable=None):
            target = check_writable(out / f"{name}.geojson", path)
            features = []
            for category, *region in regions(read(path), classes):
                kind = {"name": classes[category]["name"], "color": colours[category]}           # as QuPath has it
                features.append({"type": "Feature", "properties": {"objectType": "annotation", "classification": kind},
                                 "geometry": {"type": "Polygon", "coordinates": rings(*region)}})
            write_json(target, {"type": "FeatureCollection", "features": features}, indent=None)
    print(f"{len(masks)} files in {out}")
