"""Masks as outlines in the formats of annotation tools: COCO's, and GeoJSON. tools.convert is the command."""
from argparse import Namespace
from pathlib import Path

import numpy as np
import tifffile
from scipy.spatial import KDTree
from skimage.measure import approximate_polygon, find_contours, label, regionprops
from tqdm import tqdm

from evaluate import decide_classes, read_as, table_of_masks
from support import coco
from support.files import BadInput, check_writable, keep_apart, one_writer, write_json
from support.images import decoding, image_size
from support.masks import IGNORE, class_colours, same_size
from support.names import images_by_name, print_left_out
from support.script import needs
from support.tiff import ORIENTATION, starts_as_tiff, tag


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


def rings(top, left, part, tolerance):
    """Return the rings [[x, y], ...] of a region, see regions: the outer one, then its holes.

    They run midway between the centres of its pixels and those of others; the centre of the first
    pixel is (0.5, 0.5). So a pixel is in the region where its centre is inside of the rings. With a
    `tolerance` in pixels they have fewer corners, and pixels up to so far from them may change sides.
    """
    padded = np.pad(part, 1).astype(float)
    found = [corners(contour[:, ::-1] - 0.5 + (left, top)) for contour in find_contours(padded, 0.5)]
    found.sort(key=lambda ring: np.prod(np.ptp(ring, axis=0)), reverse=True)
    fewer = [approximate_polygon(ring, tolerance) for ring in found]
    return [(ring if len(short) < 4 else short).tolist()                      # less than three corners are no ring
            for ring, short in zip(found, fewer)]


def corners(ring):
    """Return a closed ring (points, 2), without those points of straight lines that are no ends."""
    steps = np.diff(np.concatenate([ring[-2:-1], ring]), axis=0)             # to each point
    turns = steps[:-1, 0] * steps[1:, 1] != steps[:-1, 1] * steps[1:, 0]     # at each point; the last is the first
    return np.concatenate([ring[:-1][turns], ring[:-1][turns][:1]])


def one_ring(outer, *holes):
    """Return rings as a single one, as COCO knows no holes: it goes to each hole, around it, and the same way back."""
    outer, ways, pieces, start = np.array(outer), [], [], 0
    corner = KDTree(outer[:-1])
    for number, hole in enumerate(map(np.array, holes)):
        distance, nearest = corner.query(hole)
        there = distance.argmin()
        ways.append((nearest[there], number, np.concatenate([hole[there:-1], hole[:there + 1]])))
    for here, _, around in sorted(ways):
        pieces += [outer[start:here + 1], around]
        start = here
    return np.concatenate([*pieces, outer[start:-1]])                # closed without its first corner again


def overlap(ring, top, left, part):
    """Return the pixels that a region, see regions, and its outline share, and those in either, as pycocotools draws.

    `ring` is an array (corners, 2) of x and y.
    """
    drawn = coco.draw([(ring - (left, top)).ravel().tolist()], *part.shape)
    return np.array([(drawn & part).sum(), (drawn | part).sum()])


def told(tolerance, shared):
    """Return the end of a line: the IoU that a sum of overlaps gives; "" where it is empty, as of exact outlines."""
    if not shared[1]:
        return ""
    return f"; with a tolerance of {tolerance:g} pixels, their IoU with the masks is {shared[0] / shared[1]:.4f}"


# ---------------------------------------------------------------------------------------------------
# COCO


def to_coco(args):
    """Write the masks that `args` name as one COCO file. Raises BadInput."""
    if args.tolerance:
        needs("pycocotools")
    masks, classes, read = read_masks(args)
    out = check_writable(args.out, *filter(None, [table_of_masks(args)]), endings=[".json"])
    images, problems, shared = images_by_name(args.images), [], np.zeros(2)
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
        for category, top, left, part in regions(indices, classes):
            ring = one_ring(*rings(top, left, part, args.tolerance))
            shared += overlap(ring, top, left, part) if args.tolerance else 0
            table["annotations"].append({"id": len(table["annotations"]) + 1, "image_id": number, "iscrowd": 0,
                                         "category_id": category, "segmentation": [ring.ravel().tolist()],
                                         "area": int(part.sum()), "bbox": [left, top, *part.shape[::-1]]})
        if (indices == IGNORE).any():
            problems.append(("masks with pixels to ignore, for which COCO has no word", path.name))
    if not table["images"]:
        raise BadInput(f"{args.masks} and {args.images} hold no pair; expected the same names, found "
                       f"{next(iter(masks))} and {next(iter(images))}")
    write_json(out, table, indent=None)
    print(f"{out}: {len(table['annotations'])} outlines in {len(table['images'])} images" +
          told(args.tolerance, shared))
    print_left_out(problems)


# ---------------------------------------------------------------------------------------------------
# GeoJSON


def place_on_earth(path):
    """Return (matrix (2, 3) from pixels (x, y, 1) to a map, GeoJSON's entry for that map) of a GeoTIFF, else None.

    GeoJSON means WGS 84 unless an entry says otherwise, which QGIS and GDAL read.
    """
    if not starts_as_tiff(path):
        return None
    with decoding(path), tifffile.TiffFile(path) as file:
        page = file.pages[0]
        scale, tie, matrix, keys = (tag(page, number, ()) for number in (33550, 33922, 34264, 34735))
        if tag(page, ORIENTATION, 1) in range(2, 9) or len(matrix) != 16 and (len(scale) < 2 or len(tie) != 6):
            return None
        if len(matrix) != 16:    # a pixel (tie[0], tie[1]) lies at (tie[3], tie[4]), and y points up on a map
            matrix = [scale[0], 0, 0, tie[3] - tie[0] * scale[0], 0, -scale[1], 0, tie[4] + tie[1] * scale[1]]
        matrix = np.array(matrix[:8], float).reshape(2, 4)[:, [0, 1, 3]]
        if not np.isfinite(matrix).all():
            raise ValueError("its tags tell a place on the earth that is none")
        keys = {key: value for key, kind, _, value in zip(*[iter(keys[4:])] * 4) if kind == 0}    # four numbers a key
    if keys.get(1025) == 2:      # whole numbers stand for the centres of pixels there
        matrix[:, 2] -= matrix[:, :2].sum(axis=1) / 2
    code = keys.get(3072) or keys.get(2048)      # of a projection, else of longitude and latitude
    known = {"crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{code}"}}}
    return matrix, {} if code == 4326 else known if code and code != 32767 else {"crs": None}


def to_geojson(args):
    """Write each of the masks that `args` name as a GeoJSON file.

    Its numbers are those of the map where the mask is a GeoTIFF, else pixels from the upper left corner.
    """
    if args.tolerance:
        needs("pycocotools")
    keep_apart(args.out, args.masks)
    masks, classes, read = read_masks(args)
    out, colours, shared = Path(args.out), class_colours(classes).tolist(), np.zeros(2)
    with one_writer(out):
        for name, path in tqdm(masks.items(), unit="mask", disable=None):
            target = check_writable(out / f"{name}.geojson", path)
            features, place = [], place_on_earth(path)
            for category, *region in regions(read(path), classes):
                outline = rings(*region, args.tolerance)
                shared += overlap(one_ring(*outline), *region) if args.tolerance else 0
                if place:
                    outline = [(np.array(ring) @ place[0][:, :2].T + place[0][:, 2]).tolist() for ring in outline]
                kind = {"name": classes[category]["name"], "color": colours[category]}           # as QuPath has it
                features.append({"type": "Feature", "properties": {"objectType": "annotation", "classification": kind},
                                 "geometry": {"type": "Polygon", "coordinates": outline}})
            write_json(target, {"type": "FeatureCollection", **(place[1] if place else {}), "features": features},
                       indent=None)
    print(f"{len(masks)} files in {out}" + told(args.tolerance, shared))
