"""Cityscapes as small pairs of image and labels, as it is passed around for translating images into each other.

Each split has images/ and masks/, or files that show both side by side, image on the left. Scenes are often squashed
to squares; here they are stretched back to 2:1. Labels are grey, labelIds or train ids, or Cityscapes' colours, also
as a JPEG has them: then each pixel is of the class with the nearest colour, or void where none is near.
"""
import json
from pathlib import Path

import numpy as np

from patches import resize
from support.files import BadInput, write_image
from support.images import is_lossy, read_image
from support.machine import in_threads
from support.masks import read_mask, same_size
from support.names import find_images

VOID = 255
TABLE = json.loads(Path(__file__).with_name("cityscapes.json").read_text(encoding="utf-8"))["classes"]
VOID_COLOURS = [[0, 0, 0], [111, 74, 0], [81, 0, 81], [250, 170, 160], [230, 150, 140], [180, 165, 180],
                [150, 100, 100], [150, 120, 90], [0, 0, 90], [0, 0, 110]]      # of classes that are not evaluated
COLOURS = np.array([entry["colour"] for entry in TABLE] + VOID_COLOURS, np.int32)
FARTHEST = 60                    # from the nearest of these colours; a JPEG changes the inside of areas by a few


def find_pairs(folder, split):
    """Return [(image, file of its labels, where they would be), …] of a split; side by side, both are one file."""
    images, masks = folder / split / "images", folder / split / "masks"
    if not images.is_dir():
        return [(path, path, path) for path in (find_images(folder / split) if (folder / split).is_dir() else [])]
    labels = {path.stem: path for path in find_images(masks)} if masks.is_dir() else {}
    return [(image, labels.get(image.stem), masks / f"{image.stem}.png") for image in find_images(images)]


def read_pair(image_path, labels_path):
    """Return an image uint8 (H, W, 3) and its labels as they are, uint8 (H, W) or (H, W, 3). Raises BadInput."""
    image = read_image(image_path)
    if labels_path == image_path:
        height, width = image.shape[:2]
        if width % 2 or width < 2 * height:
            raise BadInput(f"{image_path} has {width}x{height} pixels; expected image and labels side by side")
        return image[:, :width // 2], image[:, width // 2:]
    labels = read_image(labels_path) if is_lossy(labels_path) else read_mask(labels_path)
    same_size(image_path, image.shape[:2], labels_path, labels.shape[:2])
    return image, labels


def hold_label_ids(paths):
    """Return whether grey masks hold labelIds: some of them has a value beyond the train ids, which end at 18."""
    def beyond(path):
        try:
            labels = read_mask(path)
        except BadInput:         # it will be named when its scene is checked
            return False
        return labels.ndim == 2 and bool(((labels > 18) & (labels != VOID)).any())
    return any(in_threads(beyond, [path for path in paths if not is_lossy(path)]))


def train_ids(labels, label_ids):
    """Return labels, grey (H, W) or coloured (H, W, 3), as train ids uint8 (H, W): 0 to 18, and VOID."""
    ids = np.full(256, VOID, np.uint8)
    ids[[entry["value"] for entry in TABLE] if label_ids else range(len(TABLE))] = range(len(TABLE))
    if labels.ndim == 2:
        return ids[labels]
    distances = np.stack([((labels - colour) ** 2).sum(axis=2) for colour in COLOURS])   # (colours, H, W)
    nearest = distances.argmin(axis=0)
    known = (nearest < len(TABLE)) & (distances.min(axis=0) <= FARTHEST**2)
    return np.where(known, nearest, VOID).astype(np.uint8)


def write_pair(scene, label_ids, out):
    """Write a scene's image and train ids into a data set, squares stretched to 2:1, unless the files are there."""
    image_path, mask_path = (out / part / f"{scene.name}.png" for part in ("images", "masks"))
    if image_path.exists() and mask_path.exists():
        return
    image, labels = read_pair(scene.image, scene.mask)
    ids = train_ids(labels, label_ids)                                # (H, W)
    height, width = ids.shape
    if height == width:
        image, ids = resize(np.ascontiguousarray(image), (height, 2 * width)), ids.repeat(2, axis=1)
    for path, array in (image_path, image), (mask_path, ids):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_image(path, np.ascontiguousarray(array))
