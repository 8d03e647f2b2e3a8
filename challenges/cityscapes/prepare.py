"""Make a data set of street scenes for train.py --data, from Cityscapes' folders or CamVid's.

    python -m challenges.cityscapes.prepare cityscapes --layout cityscapes --out DATA
    python -m challenges.cityscapes.prepare camvid --layout camvid --out DATA

Cityscapes holds leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and
gtFine/SPLIT/CITY/*_gtFine_labelIds.png. CamVid holds, as SegNet's authors made it, SPLIT/ and
SPLITannot/, or SPLIT/images/ and SPLIT/masks/. Images and masks are taken unchanged. They are
linked, where the system can, so that they take no space. So Cityscapes' masks keep its labelIds.
classes.json names the 19 of these that are evaluated; the others are ignored. The masks that
infer.py predicts for inference/ have labelIds, too, and can be submitted unchanged.

The epoch is not chosen on the images that are reported. With labels for three splits, these are
train.txt, val.txt and test.txt. Where test has no labels, test.txt is the split val. Where nothing
is left for val.txt, it gets the last frames of each city or drive in train. Images without labels
go to inference/. After an interruption, the same command continues.
"""
import json
import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from support.arguments import Parser, number, run_script
from support.files import BadInput, begin_folder, keep_apart, keeps_changes, set_of_files, write_json, write_whole
from support.images import (
    find_images,
    image_size,
    in_threads,
    print_left_out,
    read_classes,
    read_mask,
    same_size,
    to_indices,
    write_names,
)

HERE = Path(__file__).parent     # where the class tables are
SPLITS = "train", "val", "test"


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("source", metavar="DIR", help="the data as it is unpacked")
    add("--layout", choices=["cityscapes", "camvid"], required=True, help="of the folders in DIR")
    add("--out", required=True, metavar="DIR", help="the data set: a new folder, or one to go on with")
    add("--choose", type=number(float, 0, 0.9), default=0.05, metavar="P",
        help="share of train to choose the epoch by, where there is no third split (0.05: the others learn)")
    add("--workers", type=number(int, 1, 64), default=os.cpu_count() or 1, metavar="K",
        help="threads; the files are the same (one for each core)")
    return parser.parse_args(argv)


class Scene(NamedTuple):
    split: str
    drive: str                   # the city, or the drive of a car: its frames are alike
    name: str
    image: Path
    mask: Path | None


def cityscapes_scenes(folder):
    """Return [Scene, …] of Cityscapes' folders, in order."""
    scenes = []
    for image in sorted(folder.glob("leftImg8bit/*/*/*_leftImg8bit.png")):
        split, city, name = *image.parts[-3:-1], image.name.removesuffix("_leftImg8bit.png")
        mask = folder / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
        scenes.append(Scene(split, city, name, image, mask if mask.exists() else None))
    return scenes


def camvid_scenes(folder):
    """Return [Scene, …] of CamVid's folders, in order."""
    scenes = []
    for split in SPLITS:
        images, masks = folder / split / "images", folder / split / "masks"
        if not images.is_dir():
            images, masks = folder / split, folder / f"{split}annot"
        for image in find_images(images) if images.is_dir() else []:
            mask = masks / f"{image.stem}.png"
            scenes.append(Scene(split, image.stem.split("_")[0], image.stem, image, mask if mask.exists() else None))
    return scenes


def check(scene, classes, ignore):
    """Return whether a scene has a pixel to learn from, or a text that says what is wrong."""
    try:
        size = image_size(scene.image)
        if scene.mask is None:
            return False
        mask = read_mask(scene.mask)
        same_size(scene.image, size, scene.mask, mask.shape[:2])
        return bool((to_indices(mask, classes, scene.mask, ignore) < len(classes)).any())
    except BadInput as error:
        return str(error)


def take(source, target):
    """Link a file to another place where the system can, else copy it, unless the target exists."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(target) as temporary:
        try:
            os.link(source.resolve(), temporary)         # resolved, as a link to a relative link would point nowhere
        except OSError:          # another disk, or a file system without links
            shutil.copyfile(source, temporary)


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
    classes, ignore = read_classes(HERE / f"{args.layout}.json")
    if not source.is_dir():
        raise BadInput(f"{source} is no folder; expected {args.layout} as it is unpacked")
    scenes = (cityscapes_scenes if args.layout == "cityscapes" else camvid_scenes)(source)
    if not scenes:
        expected = "leftImg8bit/train/CITY/*.png" if args.layout == "cityscapes" else "train/images/ or train/"
        raise BadInput(f"{source} holds no images where {args.layout} has them; expected {expected}")
    files = [path for scene in scenes for path in (scene.image, scene.mask) if path]
    made_of = {"layout": args.layout, "choose": args.choose, "set of files": set_of_files(files)}
    with begin_folder(out, made_of):
        link_scenes(args, out, scenes, classes, ignore)


def link_scenes(args, out, scenes, classes, ignore):
    """Link or copy the images and masks of all scenes that can be used, and write the lists and the class table."""
    problems, taken, labelled = [], set(), defaultdict(list)
    found = in_threads(lambda scene: check(scene, classes, ignore), scenes, args.workers)
    for scene, has_labels in zip(scenes, tqdm(found, total=len(scenes), unit="scene", disable=None)):
        if isinstance(has_labels, str):
            problems.append(("scenes that cannot be used", has_labels))
        elif scene.name in taken:
            problems.append(("scenes whose name another one has", scene.name))
        else:
            taken.add(scene.name)
            image = f"{scene.name}{scene.image.suffix.lower()}"
            take(scene.image, out / ("images" if has_labels else "inference") / image)
            if has_labels:
                take(scene.mask, out / "masks" / f"{scene.name}.png")
                labelled[scene.split].append(scene)
    if not taken:
        raise BadInput(f"none of the {len(scenes)} scenes in {args.source} can be used: {problems[0][1]}")
    if not keeps_changes(out / "classes.json"):
        write_json(out / "classes.json", json.loads((HERE / f"{args.layout}.json").read_text(encoding="utf-8")))

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
    print_left_out(problems)


if __name__ == "__main__":
    run_script(prepare, parse_arguments(), __file__,
               interrupted="interrupted, the data set is not whole; the same command goes on from here")
