"""Make the folder that train.py --data reads of other people's annotations; and outlines of masks, to be corrected.

    python -m tools.convert pairs --images photos --masks labels --suffix _mask --out DATA
    python -m tools.convert objects DIR --out DATA               a mask for each object: ONE/images/, ONE/masks/
    python -m tools.convert labelme DIR --out DATA               JSON files beside their images
    python -m tools.convert cvat annotations.xml --out DATA      CVAT's own XML, "CVAT for images 1.1"
    python -m tools.convert voc DIR --out DATA                   JPEGImages/ and SegmentationClass/
    python -m tools.convert yolo DIR --out DATA                  images/ and labels/*.txt, data.yaml
    python -m tools.convert coco FILE --images DIR --out DATA
    python -m tools.convert to-coco MASKS --images DIR --out FILE.json
    python -m tools.convert to-geojson MASKS --out DIR

Images are linked where the system can, else copied: who changes one in its place changes both. Masks get 0 for the
background, 1, 2, ... for the classes and 255 for what is ignored; classes.json names them. Masks of pairs are copied as
they are, so that they can be corrected. Outlines are drawn as pycocotools does; where they overlap, what stands later
in a file lies on top. An image whose annotation cannot be drawn wholly, such as one with a line among the outlines, is
left out and named: its mask would be wrong. After an interruption, the same command continues.
"""
from support.script import needs, run_script
from tools.arguments import convert_arguments

if __name__ == "__main__":
    ARGS = convert_arguments(description=__doc__)      # before the imports that take seconds

import functools
import hashlib
from pathlib import Path

from tqdm import tqdm

from support.classes import check_classes
from support.files import (
    BadInput,
    CannotWrite,
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
from support.masks import IGNORE, are_coloured, same_size
from support.names import PARTS, READABLE, first_few, is_passed_over, part_of, print_left_out, write_names
from tools.annotations import FIND
from tools.annotations.found import CannotDraw


def make(out, item):
    """Write an image and its mask; returns what is wrong, (problem, which), or None."""
    if item.image.suffix.lower() not in READABLE or is_passed_over(item.name):
        return "images whose name no data set can have", item.image.name
    image = out / "images" / f"{item.name}{item.image.suffix.lower()}"
    mask = out / "masks" / f"{item.name}{'.png' if item.draw else item.source.suffix.lower()}"
    try:
        size = image_size(item.image)
        if item.draw is None:
            same_size(item.image, size, item.source, image_size(item.source))
            take(item.source, mask, link=False)      # a mask is corrected where it lies
        elif not mask.exists():
            drawn = item.draw(size)
            mask.parent.mkdir(parents=True, exist_ok=True)
            write_image(mask, drawn)
    except CannotDraw as error:
        return str(error), item.image.name
    except CannotWrite:          # a full disk is no fault of the image
        raise
    except BadInput as error:
        return "images that cannot be used", str(error)
    take(item.image, image)
    return None


def digest_of(paths):
    """Return a digest of what files hold, as a short text: an outline can change without the size of its file."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def check_names(items):
    """Raise BadInput where two items would share a file; some systems do not tell A from a."""
    taken = {}
    for item in items:
        other = taken.setdefault(item.name.casefold(), item)
        if other is not item:
            raise BadInput(f"{other.image} and {item.image} would both become {item.name}; rename one")


def convert(args):
    """Make the data set that `args` ask for. Raises BadInput."""
    if args.kind in ("labelme", "cvat", "yolo", "coco"):
        needs("pycocotools")     # it draws the outlines
    out = Path(args.out)
    for sources in (getattr(args, name, None) or [] for name in ("folder", "images", "masks")):
        for source in sources if isinstance(sources, list) else [sources]:
            keep_apart(out, source)
    found = FIND[args.kind](args)
    check_names(found.items)
    table = None
    if found.names is not None:
        values = found.values or range(len(found.names))
        classes = [{"name": name, "value": value} for name, value in zip(found.names, values)]
        table = {"classes": classes, "ignore": [] if are_coloured(classes) or IGNORE in values else [IGNORE]}
        try:
            check_classes(table["classes"], table["ignore"])
        except ValueError as error:
            raise BadInput(f"{args.kind}: the classes {first_few(found.names)} cannot be taken: {error}") from None
    files = dict.fromkeys(path for item in found.items for path in (item.image, item.source, *item.more))
    options = {name: getattr(args, name, "") for name in ("prefix", "suffix", "image_suffix")}
    made_of = {"kind": args.kind, **options, "classes": found.names, "values": found.values,
               "set of files": set_of_files(files),
               "content of annotations": digest_of({path for item in found.items if item.draw
                                                for path in (item.source, *item.more)})}
    with begin_folder(out, made_of):
        write_all(out, found, table)


def write_all(out, found, table):
    """Write images, masks, the class table and the lists, and print what was made."""
    made = list(tqdm(in_threads(functools.partial(make, out), found.items), total=len(found.items), unit="image",
                     disable=None))
    problems = found.problems + [problem for problem in made if problem]
    kept = [item for item, problem in zip(found.items, made) if not problem]
    if not kept:
        kind, which = problems[-1]
        raise BadInput(f"none of the {len(found.items)} images can be used; {which} is one of the {kind}")
    if table and not keeps_changes(out / "classes.json"):
        write_json(out / "classes.json", table)
    parts = [item.part or part_of(item.name) for item in kept]
    lists = {part: [item.name for item, other in zip(kept, parts) if other == part] for part in PARTS}
    if not lists["train"] and None not in parts:
        lists = {}               # nothing would be left to train on
    for part, names in lists.items():
        if names and not keeps_changes(out / f"{part}.txt"):
            write_names(out / f"{part}.txt", names)
    print(f"{out}: {len(kept)} images with masks" +
          "".join(f", {len(names)} in {part}.txt" for part, names in lists.items() if names))
    print_left_out(problems)


def main(args):
    """Make a data set, or outlines of masks."""
    if args.kind in FIND:
        return convert(args)
    from tools import outlines  # here, as scikit-image takes half a second to import

    return {"to-coco": outlines.to_coco, "to-geojson": outlines.to_geojson}[args.kind](args)


if __name__ == "__main__":
    run_script(main, ARGS, __file__,
               interrupted="interrupted, the data set is not whole; the same command goes on from here")
