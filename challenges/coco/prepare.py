"""Make a data set of a COCO annotation file: some classes, N images of each, masks in colour.

    python -m challenges.coco.prepare --annotations instances_train2017.json --images train2017 --out DIR
    python -m challenges.coco.prepare ... --classes cat dog --per-class 500 --seed 1

Writes the input of train.py --data: images/, the files unchanged; masks/*.png, RGBA: black, then
red, green, blue, ... for the classes in the order given; classes.json; train.txt, val.txt and
test.txt. Also writes annotations.json, the same images and outlines in COCO's own format. Where
instances overlap, a class that is named later lies on top (--order). An object whose category id
the file does not name lies below all of them; it is gray, and ignored in training. If it is killed,
the same command continues. It needs several times the annotation file's size as memory, however
many images there are.
"""
import colorsys
import functools
import hashlib
import shutil
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from support.coco import box, check_image, draw, find_images, identity, outline, read, sound
from support.files import BadInput, begin_folder, keep_apart, keeps_changes, write_image, write_json, write_whole
from support.machine import in_threads
from support.masks import IGNORE
from support.names import first_few, hash_to_unit, name_of, print_left_out, split_by_hash, write_names
from support.script import Parser, needs, number, run_script

BACKGROUND, UNKNOWN = (0, 0, 0, 255), (128, 128, 128, 255)


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("--annotations", required=True, metavar="FILE", help="instances_*.json, or any file in that format")
    add("--images", required=True, metavar="DIR", help="the folder that its file names are in")
    add("--out", required=True, metavar="DIR", help="the data set: a new folder, or one to go on with")
    add("--classes", nargs="+", default=["person", "bicycle", "car"], metavar="NAME",
        help="category names (person bicycle car)")
    add("--per-class", type=number(int, 1), default=2000, metavar="N",
        help="images drawn for each class, of those that are there; a damaged one is not replaced (2000)")
    add("--order", nargs="+", metavar="NAME", help="the classes from the lowest to the uppermost (as in --classes)")
    add("--boxes", type=number(float, 0), metavar="MARGIN",
        help="in training masks, ignore the background outside these classes' boxes, grown by so many pixels (off)")
    add("--split", type=number(float, 0, 1), nargs=3, default=[0.7, 0.2, 0.1], metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the images (0.7 0.2 0.1)")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, metavar="S", help="of the choice and the split (0)")
    args = parser.parse_args(argv)
    if len(set(args.classes)) < len(args.classes) or len(args.classes) > 99:
        parser.error(f"--classes {' '.join(args.classes)}: expected each once, and at most 99")
    args.order = args.order or args.classes
    if sorted(args.order) != sorted(args.classes):
        parser.error(f"--order {' '.join(args.order)}: expected each of --classes {' '.join(args.classes)} once")
    if abs(sum(args.split) - 1) > 1e-6 or not args.split[0]:
        parser.error(f"--split {' '.join(f'{share:g}' for share in args.split)}: expected shares that add up to 1, "
                     "not 0 to train on")
    return args


def palette(classes):
    """Return the colours by class index, uint8 (256, 4): black, then `classes` others.

    Red, green and blue come first.
    """
    colours = np.full((256, 4), UNKNOWN, np.uint8)
    colours[0] = BACKGROUND
    for index in range(classes):             # twelve hues, those far apart first; then darker and paler ones, turned
        around, third = divmod(index % 12, 3)
        turn = index // 12
        hue = third / 3 + (0, 1 / 6, 1 / 12, 1 / 4)[around] + turn / 108
        colour = colorsys.hsv_to_rgb(hue % 1, (1, 1, 0.6)[turn % 3], (1, 0.6, 0.9)[turn % 3])
        colours[index + 1, :3] = np.rint(np.array(colour) * 255)
    return colours


# ---------------------------------------------------------------------------------------------------
# Which images


def find_categories(categories, names, path):
    """Return {category id: class index} of the classes of these names, from 1.

    `categories` are those that `sound` returned as valid. Raises BadInput for an unknown name.
    """
    ids = defaultdict(list)
    for category in categories:
        ids[str(category.get("name"))].append(category["id"])
    unknown = [name for name in names if name not in ids]
    if unknown:
        known = ", ".join(sorted(ids))
        raise BadInput(f"{path} has no category {', '.join(unknown)}; expected some of {known}")
    return {category: index for index, name in enumerate(names, start=1) for category in ids[name]}


def number_anew(annotations):
    """Give annotations the ids 1, 2, 3, ... unless each has an id of its own; return whether that was needed.

    Nothing refers to these ids, and some programs begin anew with each image. But pycocotools keeps
    only the last annotation of an id.
    """
    ids = [identity(annotation.get("id")) for annotation in annotations]
    needed = None in ids or len(set(ids)) < len(ids)
    for annotation, identifier in zip(annotations, range(1, len(ids) + 1) if needed else ids):
        annotation["id"] = identifier
    return needed


def choose(annotations, wanted, classes, per_class, seed, images):
    """Return ({image id} to take, how many images show any of the classes).

    For each class on its own, up to `per_class` of the `images` that show it are drawn evenly. An
    image drawn for two classes is taken once.
    """
    showing = defaultdict(set)
    for annotation in annotations:
        index = wanted.get(annotation["category_id"])
        if index and annotation["image_id"] in images and outline(annotation):
            showing[classes[index - 1]].add(annotation["image_id"])
    chosen = set()
    for name in classes:
        chosen.update(sorted(showing[name], key=lambda image: hash_to_unit(f"{seed} {name} {image}"))[:per_class])
    return chosen, len(set().union(*showing.values()))


# ---------------------------------------------------------------------------------------------------
# One image


class Plan(NamedTuple):
    """The settings that all images of a data set share."""

    images: Path                 # the folder they come from
    out: Path
    layers: dict                 # {category id: class index}; IGNORE for a category without a name, lowest of all
    order: list                  # class indices from the lowest to the uppermost
    colours: np.ndarray          # by class index, uint8 (256, 4)
    margin: float | None         # see --boxes


class Made(NamedTuple):
    """The outcome for an image."""

    shown: list                  # class indices in its mask; empty if it is not in the data set
    annotations: list            # those that were drawn
    problems: list               # (problem, which)


def paint(annotations, plan, size, boxed):
    """Return (mask, the annotations drawn in it, [(problem, annotation id), …]).

    The mask holds class indices, uint8 (H, W). With `boxed`, the background outside of all boxes is
    ignored.
    """
    mask, outside = np.zeros(size, np.uint8), np.ones(size, bool)
    drawn, problems = [], []
    for index in [IGNORE, *plan.order]:
        for annotation in (one for one in annotations if plan.layers[one["category_id"]] == index):
            shape = outline(annotation)
            try:
                where = draw(shape, *size) if shape else None
            except (ValueError, TypeError, KeyError):
                problems.append(("annotations with a damaged outline", annotation["id"]))
                continue
            if where is None:
                problems.append((lacking(annotation), annotation["id"]))
            elif not where.any():
                problems.append(("annotations that cover no pixel", annotation["id"]))
            else:
                mask[where] = index
                drawn.append({**annotation, "segmentation": shape})
                if boxed and index != IGNORE:
                    top, left, bottom, right = box(annotation) or extent(where)
                    outside[max(0, int(top - plan.margin)):max(0, int(np.ceil(bottom + plan.margin))),
                            max(0, int(left - plan.margin)):max(0, int(np.ceil(right + plan.margin)))] = False
    if boxed:
        mask[outside & (mask == 0)] = IGNORE
    return mask, drawn, problems


def lacking(annotation):
    """Return what is wrong with an annotation that has no outline."""
    return "annotations with a box but no outline" if box(annotation) else "annotations without an outline"


def extent(where):
    """Return the box around the true pixels of (H, W): (top, left, bottom, right).

    The latter two are exclusive.
    """
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def make(plan, job):
    """Write one image and its mask, unless they exist, and return Made.

    A job is (image, its annotations, whether boxed).
    """
    image, annotations, boxed = job
    name, size = image["file_name"], (image["height"], image["width"])
    problem = check_image(plan.images / name, size)
    if problem:
        return Made([], [], [(problem, name)])
    mask, drawn, problems = paint(annotations, plan, size, boxed)
    shown = [index for index in np.unique(mask).tolist() if index not in (0, IGNORE)]
    if not shown:
        return Made([], [], [*problems, ("images in which no pixel is of the classes", name)])
    copy, painted = plan.out / "images" / name, (plan.out / "masks" / name).with_suffix(".png")
    for path in (copy, painted):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not copy.exists():
        with write_whole(copy) as temporary:
            shutil.copyfile(plan.images / name, temporary)
    if not painted.exists():
        write_image(painted, plan.colours[mask])
    return Made(shown, drawn, problems)


# ---------------------------------------------------------------------------------------------------
# All of them


class Chosen(NamedTuple):
    """The images and outlines that an annotation file has for the wanted classes."""

    images: list                 # its entries of the images to take, by file name
    outlines: dict               # {image id: annotations to draw in it}
    layers: dict                 # {category id: class index; IGNORE for one without a name}
    table: dict                  # the rest of the file
    problems: list               # (problem, which)


def why_none(listed, entries, images, outlines, wanted, problems):
    """Return why no image can be chosen, as a part of a sentence.

    `entries` are the sound ones of the images `listed`, `images` those of them that are there.
    """
    if not images:
        reason = f"no image can be used of the {len(listed)} that it names"
        return reason + (f", as {problems[0][1]} is one of the {problems[0][0]}" if problems else "")
    of_classes = [one for one in outlines if one["category_id"] in wanted]
    if not of_classes:
        return f"none of its {len(outlines)} sound annotations has their category_id"
    named = {entry["id"] for entry in entries}
    of_images = [one for one in of_classes if one["image_id"] in named]
    if not of_images:
        return (f"its annotations have an image_id such as {of_classes[0]['image_id']!r}, but its images an id such as "
                f"{entries[0]['id']!r}")
    there = [one for one in of_images if one["image_id"] in images]
    if not there:
        return (f"{len(images)} of the {len(listed)} images that it names are there, but none of those that its "
                "annotations name")
    return f"it has {len(there)} {lacking(there[0])}"


def gather(args, folder):
    """Read the annotation file, choose images and return Chosen. Raises BadInput.

    Of millions of outlines, only those in chosen images are held in memory from then on.
    """
    table = read(args.annotations)
    table["categories"], _ = sound(table["categories"], ["id"])
    wanted = find_categories(table["categories"], args.classes, args.annotations)
    entries, odd_images = sound(table["images"], ["id", "height", "width"])
    outlines, odd_outlines = sound(table.pop("annotations"), ["image_id", "category_id"], once=False)
    if number_anew(outlines):
        print(f"{args.annotations}: not every annotation has an id of its own; they are numbered from 1 in their order")
    images, problems = find_images(entries, folder)
    chosen, showing = choose(outlines, wanted, args.classes, args.per_class, args.seed, images)
    if not chosen:
        raise BadInput(f"{args.annotations} outlines no {first_few(args.classes)} in an image that is there: "
                       f"{why_none(table['images'], entries, images, outlines, wanted, problems)}; "
                       f"expected polygons or run lengths in images of {folder}")
    print(f"{len(images)} images are there; {len(images) - showing} show none of the classes, "
          f"{showing - len(chosen)} that do were not drawn")
    layers = {**{one["category_id"]: IGNORE for one in outlines},
              **{category["id"]: None for category in table["categories"]}, **wanted}
    named, of_image = {entry["id"] for entry in entries}, defaultdict(list)
    for one in outlines:
        if one["image_id"] not in named:
            problems.append(("annotations of images that the file does not name", one["id"]))
        elif one["image_id"] in chosen and layers[one["category_id"]] is not None:
            of_image[one["image_id"]].append(one)
        elif one["image_id"] in images and one["category_id"] in wanted and not outline(one):
            problems.append((lacking(one), one["id"]))
    problems += [("images without id, height or width, or with another's id", "?")] * odd_images
    problems += [("annotations without image or category", "?")] * odd_outlines
    taken = sorted((images[number] for number in chosen), key=lambda image: image["file_name"])
    return Chosen(taken, of_image, layers, table, problems)


def prepare(args):
    """Make the data set that `args` ask for. Raises BadInput."""
    needs("pycocotools")
    out, folder = Path(args.out), Path(args.images)
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder; expected the one that the images are in")
    keep_apart(out, folder)
    chosen, colours = gather(args, folder), palette(len(args.classes))
    parts = split_by_hash([image["file_name"] for image in chosen.images], args.split, args.seed)

    digest = hashlib.sha256(Path(args.annotations).read_bytes())
    for image in chosen.images:
        digest.update(f"{image['file_name']} {(folder / image['file_name']).stat().st_size}".encode())
    settings = ("classes", "per_class", "order", "boxes", "split", "seed")
    made_of = {**{name: getattr(args, name) for name in settings}, "colours": colours[:100, :3].tolist(),
               "set of annotations and images": f"{len(chosen.images)} {digest.hexdigest()[:16]}"}
    with begin_folder(out, made_of):
        write_all(args, out, folder, chosen, colours, parts)


def write_all(args, out, folder, chosen, colours, parts):
    """Write the images and masks that are `chosen`, the tables and the lists, and print what was made."""
    order = [1 + args.classes.index(name) for name in args.order]
    plan = Plan(folder, out, chosen.layers, order, colours, args.boxes)
    boxed = set(parts["train"]) if args.boxes is not None else set()
    jobs = [(image, chosen.outlines[image["id"]], image["file_name"] in boxed) for image in chosen.images]
    made = list(tqdm(in_threads(functools.partial(make, plan), jobs), total=len(jobs), unit="image", disable=None))
    kept = {image["file_name"]: one for image, one in zip(chosen.images, made) if one.shown}
    if not kept:
        what, name = made[0].problems[-1]
        raise BadInput(f"none of the {len(jobs)} images can be used, as {folder / name} is one of the {what}")
    write_tables(out, args.classes, colours, chosen, kept, parts)

    print(f"{out}: {len(kept)} images")
    for index, name in enumerate(args.classes, start=1):
        having = {file for file, one in kept.items() if index in one.shown}
        shares = ", ".join(f"{len(having.intersection(names))} in {part}" for part, names in parts.items())
        print(f"  {name}: in {len(having)} images ({shares})")
    problems = chosen.problems + [problem for one in made for problem in one.problems]
    print_left_out(problems)


def write_tables(out, names, colours, chosen, kept, parts):
    """Write classes.json, annotations.json and the lists.

    They describe the images that became part of the data set; `kept` is {file name: Made}.
    """
    values = colours[:len(names) + 1, :3].tolist()
    classes = [{"name": name, "value": value} for name, value in zip(["background", *names], values)]
    if not keeps_changes(out / "classes.json"):
        write_json(out / "classes.json", {"classes": classes, "ignore": [list(UNKNOWN[:3])]})
    for part, files in parts.items():
        listed = [name_of(out / file, out) for file in files if file in kept]
        if listed and not keeps_changes(out / f"{part}.txt"):
            write_names(out / f"{part}.txt", listed)
    of_a_class = lambda category: chosen.layers[category] not in (None, IGNORE)
    if keeps_changes(out / "annotations.json"):
        return
    write_json(out / "annotations.json", {
        **{part: chosen.table[part] for part in ("info", "licenses") if part in chosen.table},
        "images": [image for image in chosen.images if image["file_name"] in kept],
        "annotations": [one for made in kept.values() for one in made.annotations if of_a_class(one["category_id"])],
        "categories": [category for category in chosen.table["categories"] if of_a_class(category["id"])]}, indent=None)


if __name__ == "__main__":
    run_script(prepare, parse_arguments(), __file__,
               interrupted="interrupted, the data set is not whole; the same command goes on from here")
