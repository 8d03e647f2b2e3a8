"""Make a data set of street scenes for train.py --data, from Cityscapes' folders or CamVid's.

    python -m challenges.cityscapes.prepare cityscapes --layout cityscapes --out DATA
    python -m challenges.cityscapes.prepare camvid --layout camvid --out DATA

Cityscapes holds leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and
gtFine/SPLIT/CITY/*_gtFine_labelIds.png. CamVid holds, as SegNet's authors made it, SPLIT/ and
SPLITannot/, or SPLIT/images/ and SPLIT/masks/. Images and masks are taken unchanged. They are
linked, where the system can, so that they take no space. So Cityscapes' masks keep its labelIds.
classes.json names the 19 of these that are evaluated; the others are ignored. The masks that
infer.py predicts for inference/ have labelIds, too, and can be submitted unchanged.

Where Cityscapes has no labelIds, but *_gtFine_labelTrainIds.png, the masks have these, 0 to 18.
CamVid's own masks, SPLIT_labels/*_L.png or LabeledApproved_full/*_L.png beside 701_StillsRaw_full/,
are coloured, in 32 classes; they are written anew, with the 11 classes that SegNet's authors made of
these.

    python -m challenges.cityscapes.prepare pairs --layout pairs --out DATA

takes Cityscapes as small pairs, see pairs.py. Its images and masks are written anew, with train ids.

The epoch is not chosen on the images that are reported. With labels for three splits, these are
train.txt, val.txt and test.txt. Where test has no labels, test.txt is the split val. Where nothing
is left for val.txt, it gets the last frames of each city or drive in train. Images without labels
go to inference/. After an interruption, the same command continues.
"""
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from challenges.cityscapes.pairs import find_pairs, hold_label_ids, read_pair, train_ids, write_pair
from support.files import (
    BadInput,
    begin_folder,
    keep_apart,
    keeps_changes,
    set_of_files,
    take,
    write_image,
    write_json,
)
from support.images import image_size
from support.machine import in_threads
from support.masks import read_mask, same_size, to_indices
from support.names import find_images, first_few, print_left_out, write_names
from support.script import Parser, number, run_script

HERE = Path(__file__).parent     # where the class tables are
SPLITS = "train", "val", "test"
LABELS = "labelIds", "labelTrainIds"     # of Cityscapes, the better ones first: these can be submitted

# CamVid's own 32 classes and their colours (its label_colors.txt), under the classes of camvid.json that SegNet's
# authors made of them: as in MathWorks' example "Semantic Segmentation Using Deep Learning", camvidPixelLabelIDs,
# "following the original SegNet training methodology". Void is ignored.
CAMVID = {
    "sky": {"Sky": [128, 128, 128]},
    "building": {"Building": [128, 0, 0], "Archway": [192, 0, 128], "Bridge": [0, 128, 64], "Tunnel": [64, 0, 64],
                 "Wall": [64, 192, 0]},
    "pole": {"Column_Pole": [192, 192, 128], "TrafficCone": [0, 0, 64]},
    "road": {"Road": [128, 64, 128], "LaneMkgsDriv": [128, 0, 192], "LaneMkgsNonDriv": [192, 0, 64]},
    "pavement": {"Sidewalk": [0, 0, 192], "ParkingBlock": [64, 192, 128], "RoadShoulder": [128, 128, 192]},
    "tree": {"Tree": [128, 128, 0], "VegetationMisc": [192, 192, 0]},
    "sign": {"SignSymbol": [192, 128, 128], "Misc_Text": [128, 128, 64], "TrafficLight": [0, 64, 64]},
    "fence": {"Fence": [64, 64, 128]},
    "car": {"Car": [64, 0, 128], "SUVPickupTruck": [64, 128, 192], "Truck_Bus": [192, 128, 192],
            "Train": [192, 64, 128], "OtherMoving": [128, 64, 64]},
    "pedestrian": {"Pedestrian": [64, 64, 0], "Child": [192, 128, 64], "CartLuggagePram": [64, 0, 192],
                   "Animal": [64, 128, 64]},
    "bicyclist": {"Bicyclist": [0, 128, 192], "MotorcycleScooter": [192, 0, 192]},
    "ignored": {"Void": [0, 0, 0]},
}
CAMVID_COLOURS = [{"name": name, "value": colour} for group in CAMVID.values() for name, colour in group.items()]
CAMVID_VALUES = np.array([number for number, group in enumerate(CAMVID.values()) for _ in group], np.uint8)


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("source", metavar="DIR", help="the data as it is unpacked")
    add("--layout", choices=["cityscapes", "camvid", "pairs"], required=True, help="of the folders in DIR")
    add("--out", required=True, metavar="DIR", help="the data set: a new folder, or one to go on with")
    add("--choose", type=number(float, 0, 0.9), default=0.05, metavar="P",
        help="share of train to choose the epoch by, where there is no third split (0.05: the others learn)")
    return parser.parse_args(argv)


class Scene(NamedTuple):
    split: str
    drive: str                   # the city, or the drive of a car: its frames are alike
    name: str
    image: Path
    mask: Path | None
    sought: Path                 # where the mask would be


def cityscapes_scenes(folder):
    """Return [Scene, …] of Cityscapes' folders, in order; all masks have the same LABELS."""
    images = sorted(folder.glob("leftImg8bit/*/*/*_leftImg8bit.png"))
    stems = [folder.joinpath("gtFine", *path.parts[-3:-1], path.name.removesuffix("_leftImg8bit.png"))
             for path in images]
    masks_of = lambda labels: [stem.with_name(f"{stem.name}_gtFine_{labels}.png") for stem in stems]
    having = [labels for labels in LABELS if any(mask.exists() for mask in masks_of(labels))]
    return [Scene(*stem.parts[-3:], image, mask if mask.exists() else None, mask)
            for stem, image, mask in zip(stems, images, masks_of([*having, *LABELS][0]))]


def camvid_scenes(folder):
    """Return [Scene, …] of CamVid's folders, in order."""
    scenes = []
    for split in SPLITS:
        images, masks, ending = folder / split / "images", folder / split / "masks", ""
        if not images.is_dir():
            images, masks = folder / split, folder / f"{split}annot"
            if (folder / f"{split}_labels").is_dir():
                masks, ending = folder / f"{split}_labels", "_L"
        if split == "train" and (folder / "701_StillsRaw_full").is_dir():         # as CamVid itself is: one part
            images, masks, ending = folder / "701_StillsRaw_full", folder / "LabeledApproved_full", "_L"
        for image in find_images(images) if images.is_dir() else []:
            mask = masks / f"{image.stem}{ending}.png"
            drive = image.stem.split("_")[0]
            scenes.append(Scene(split, drive, image.stem, image, mask if mask.exists() else None, mask))
    return scenes


def pair_scenes(folder):
    """Return [Scene, …] of small pairs, in order. Splits number alike, so each name begins with its split."""
    return [Scene(split, split, f"{split}_{image.stem}", image, mask, sought)
            for split in SPLITS for image, mask, sought in find_pairs(folder, split)]


SCENES = {"cityscapes": cityscapes_scenes, "camvid": camvid_scenes, "pairs": pair_scenes}


def class_table(layout, scenes):
    """Return what classes.json holds for the masks of these scenes."""
    name = "camvid.json" if layout == "camvid" else "cityscapes.json"
    table = json.loads((HERE / name).read_text(encoding="utf-8"))
    if layout == "pairs" or layout == "cityscapes" and any(
            scene.mask and scene.mask.stem.endswith(LABELS[1]) for scene in scenes):
        for number, entry in enumerate(table["classes"]):             # they stand in the order of the train ids
            entry["value"] = number
        table["ignore"] = [255]
    return table


def read_scene_mask(layout, path):
    """Return a mask as read_mask does; a palette file in CamVid's own colours gives these. Raises BadInput."""
    return read_mask(path, coloured=layout == "camvid" and path.stem.endswith("_L"))


def is_coloured(path, mask):
    """Return whether a mask has CamVid's own colours; one of nothing but void and sky is grey."""
    return mask.ndim == 3 or path.stem.endswith("_L")


def from_colours(mask, path):
    """Return a mask in CamVid's own colours as values of camvid.json, uint8 (H, W). Raises BadInput for others."""
    return CAMVID_VALUES[to_indices(mask, CAMVID_COLOURS, path)]


def check(scene, layout, classes, ignore, label_ids):
    """Return whether a scene has a pixel to learn from, or a text that says what is wrong."""
    try:
        size = image_size(scene.image)
        if scene.mask is None:
            return False
        if layout == "pairs":
            return bool((train_ids(read_pair(scene.image, scene.mask)[1], label_ids) < len(classes)).any())
        mask = read_scene_mask(layout, scene.mask)
        same_size(scene.image, size, scene.mask, mask.shape[:2])
        if layout == "camvid" and is_coloured(scene.mask, mask):
            mask = from_colours(mask, scene.mask)
        return bool((to_indices(mask, classes, scene.mask, ignore) < len(classes)).any())
    except BadInput as error:
        return str(error)


def take_mask(layout, source, target):
    """Link or copy a mask to another place, or write it there with other values, unless the target exists."""
    if layout == "camvid" and not target.exists() and is_coloured(source, mask := read_scene_mask(layout, source)):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_image(target, from_colours(mask, source))
    else:
        take(source, target)


def what_is_there(path):
    """Return a few names of the folder that a file was looked for in, or of the nearest that exists."""
    folder = next(parent for parent in path.parents if parent.is_dir())
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return f"{folder} holds {first_few(names, 3) or 'nothing'}"


def last_of_each(scenes, share):
    """Return the names of the last `share` of each drive's frames.

    Of several frames at least one is named, unless the share is 0, and never all.
    """
    drives = defaultdict(list)
    for scene in scenes:
        drives[scene.drive].append(scene.name)
    count = lambda names: min(max(1, round(share * len(names))), len(names) - 1)
    return {name for names in drives.values() if share and len(names) > 1 for name in sorted(names)[-count(names):]}


def prepare(args):
    """Make the data set that `args` ask for. Raises BadInput."""
    source, out = Path(args.source), Path(args.out)
    keep_apart(out, source)
    if not source.is_dir():
        raise BadInput(f"{source} is no folder; expected {args.layout} as it is unpacked")
    scenes = SCENES[args.layout](source)
    if not scenes:
        expected = {"cityscapes": "leftImg8bit/train/CITY/*_leftImg8bit.png",
                    "camvid": "train/images/, train/ or 701_StillsRaw_full/",
                    "pairs": "train/images/ and train/masks/, or files that show both side by side in train/"}
        raise BadInput(f"{source} holds no images where {args.layout} has them; expected {expected[args.layout]}; "
                       + what_is_there(source / "any"))
    if not any(scene.mask for scene in scenes):
        raise BadInput(f"{source} holds {len(scenes)} images, but no mask of any: {scenes[0].sought} is not there; "
                       + what_is_there(scenes[0].sought))
    files = [path for scene in scenes for path in (scene.image, scene.mask) if path]
    made_of = {"layout": args.layout, "choose": args.choose, "set of files": set_of_files(files)}
    with begin_folder(out, made_of):
        link_scenes(args, out, scenes, class_table(args.layout, scenes))


def link_scenes(args, out, scenes, table):
    """Link or copy the images and masks of all scenes that can be used, and write the lists and the class `table`."""
    classes, ignore = table["classes"], table["ignore"]
    problems, taken, labelled, pairs = [], set(), defaultdict(list), []
    grey = [scene.mask for scene in scenes if scene.mask and scene.mask != scene.image]
    label_ids = args.layout == "pairs" and hold_label_ids(grey)
    found = in_threads(lambda scene: check(scene, args.layout, classes, ignore, label_ids), scenes)
    for scene, has_labels in zip(scenes, tqdm(found, total=len(scenes), unit="scene", disable=None)):
        if isinstance(has_labels, str):
            problems.append(("scenes that cannot be used", has_labels))
        elif scene.name in taken:
            problems.append(("scenes whose name another one has", scene.name))
        else:
            taken.add(scene.name)
            image = f"{scene.name}{scene.image.suffix.lower()}"
            if has_labels:
                labelled[scene.split].append(scene)
            if has_labels and args.layout == "pairs":
                pairs.append(scene)
                continue
            take(scene.image, out / ("images" if has_labels else "inference") / image)
            if has_labels:
                take_mask(args.layout, scene.mask, out / "masks" / f"{scene.name}.png")
    written = in_threads(lambda scene: write_pair(scene, label_ids, out), pairs)
    for _ in tqdm(written, total=len(pairs), unit="pair", disable=None if pairs else True):
        continue
    if not taken:
        raise BadInput(f"none of the {len(scenes)} scenes in {args.source} can be used: {problems[0][1]}")
    if not keeps_changes(out / "classes.json"):
        write_json(out / "classes.json", table)

    lists = {split: {scene.name for scene in labelled[split]} for split in SPLITS}
    if not lists["test"]:
        lists["test"], lists["val"] = lists["val"], set()
    if not lists["val"]:
        lists["val"] = last_of_each(labelled["train"], args.choose)
        lists["train"] -= lists["val"]
    for split, names in lists.items():
        listed = out / f"{split}.txt"
        if keeps_changes(listed):
            continue
        if names:
            write_names(listed, sorted(names))
        else:
            listed.unlink(missing_ok=True)
    print(f"{out}: " + ", ".join(f"{len(names)} in {split}.txt" for split, names in lists.items() if names) +
          f"; {len(taken) - sum(map(len, labelled.values()))} without labels, to infer")
    if classes[0]["value"] == 0 and args.layout != "camvid":
        reason = "" if args.layout == "pairs" else f", as {args.source} has no labelIds"
        print(f"the masks hold labelTrainIds, 0 to 18{reason}: what is predicted cannot be submitted unchanged")
    print_left_out(problems)


if __name__ == "__main__":
    run_script(prepare, parse_arguments(), __file__,
               interrupted="interrupted, the data set is not whole; the same command goes on from here")
