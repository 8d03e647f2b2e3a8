"""Make a data set: photographs with a logo blended in, faint, turned, swirled, small, and masks of where it is.

    python -m challenges.logo.prepare --count 200 --out DIR          of scikit-image's photographs and logo
    python -m challenges.logo.prepare --images PHOTOGRAPHS --logo LOGO.png --count 20000 --out DIR

Writes what train.py --data reads: images/*.jpg, masks/*.bmp (0 and 255), classes.json, and val.txt, the images to
validate on, whose photographs are in no other image; and placements.csv: how each logo lies. Image k depends on nothing
but the seed and k, so an interrupted run goes on where it was, and a larger --count adds to what is there.
"""
import csv
import functools
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage
from tqdm import tqdm

from arguments import Parser, number
from challenges.logo.recipe import SCALE, Logo, background, compose, draw_placements, prepare_logo
from data import find_images, hashed, in_threads, name_of, open_image, read_image, some
from files import MARK, BadInput, claim, is_ours, write_image, write_text

INSTALLED = Path(skimage.__file__).parent / "data"     # some of it; the rest scikit-image would download
LOGO = INSTALLED / "logo.png"
PHOTOGRAPHS = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
               "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png",
               "retina.jpg", "rocket.jpg", "text.png")
TEST, VALIDATION = 0.25, 0.1     # shares of the photographs: of all, and of those that are used
QUALITY = (75, 95)               # of the JPEGs, drawn evenly: both ends are common
CLASSES = {"classes": [{"name": "background", "value": 0}, {"name": "logo", "value": 255}]}
COLUMNS = ["image", "photograph", "quality", "logo", "mirrored", "angle", "swirl", "scale", "alpha", "top", "left",
           "height", "width", "area"]


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="the data set: a new folder, or one to go on with")
    add("--count", type=number(int, 1, 10**6), default=1000, metavar="N", help="images (1000)")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, metavar="S", help="(0) another one, other images")
    add("--images", metavar="DIR", help="photographs, sub-folders too (those that scikit-image installs)")
    add("--part", choices=["all", "train", "test"], default="all",
        help="of the photographs: test is a quarter by a hash of the name, train the rest; networks must be tested on "
             "photographs that they did not learn from (all)")
    add("--logo", metavar="FILE", help="an image whose ground is transparent (scikit-image's logo)")
    add("--size", type=number(int, 32, 4096), nargs=2, default=[340, 512], metavar=("HEIGHT", "WIDTH"),
        help="of the images, in pixels (340 512)")
    add("--workers", type=number(int, 1, 64), default=os.cpu_count() or 1, metavar="K",
        help="threads; the images are the same (one for each core)")
    return parser.parse_args(argv)


class Recipe(NamedTuple):
    """All that the images depend on."""

    seed: int
    size: tuple                  # height, width
    folder: Path
    photographs: list            # paths
    logo: Logo


def read_logo(path, size):
    """A logo for images of this size (height, width). Prints what is odd about it. Raises BadInput."""
    image = open_image(path)
    if not image.has_transparency_data:
        raise BadInput(f"{path} has no transparency (its mode is {image.mode}); expected a picture, a PNG say, that is "
                       "transparent wherever the logo is not: what is opaque will be blended in and is the mask")
    try:
        logo = prepare_logo(np.asarray(image.convert("RGBA")), size)
    except ValueError as error:
        raise BadInput(f"{path}: {error}; expected a logo that can be seen and fits into {size[1]}x{size[0]} pixels "
                       "(see --size)") from None
    if logo.levels[0][1:-1, 1:-1, 3].min() == 255:
        print(f"{path} is opaque everywhere: all of its {image.width}x{image.height} pixels are the logo")
    if logo.most < SCALE[1]:
        print(f"{path} is large: scales from {SCALE[0]} to {logo.most:.3f}, so that it fits at any angle")
    return logo


def find_photographs(folder, part):
    """(their folder, paths of the photographs to use), in order. Raises BadInput."""
    if folder is None:
        folder, found = INSTALLED, [INSTALLED / name for name in PHOTOGRAPHS if (INSTALLED / name).exists()]
        if not found:
            raise BadInput(f"{INSTALLED} lacks the photographs of scikit-image; expected --images DIR")
    else:
        found = find_images(folder)
    chosen = [path for path in found if part == "all" or (hashed(name_of(path, folder)) < TEST) == (part == "test")]
    if not chosen:
        raise BadInput(f"{folder} holds {len(found)} photographs, none of them for --part {part}; expected more, or "
                       "--part all")
    return Path(folder), chosen


def first_readable(paths, start):
    """The first photograph from number `start` on, round the end, that can be read. Raises BadInput if there is none.

    (its path, pixels uint8 (H, W, 3), [paths that cannot be read])
    """
    unreadable = []
    for path in paths[start:] + paths[:start]:
        try:
            return path, read_image(path), unreadable
        except BadInput as error:
            problem, unreadable = error, [*unreadable, path]
    raise BadInput(f"none of {len(paths)} photographs can be read, nor the last tried: {problem}")


def make(recipe, out, k):
    """Write image k and its mask: (a row of placements.csv for each logo, [photographs that could not be read])."""
    random = np.random.default_rng((recipe.seed, k))
    path, photograph, unreadable = first_readable(
        recipe.photographs, int(random.integers(len(recipe.photographs))))
    ground = background(photograph, recipe.size, random)
    quality = int(random.integers(QUALITY[0], QUALITY[1] + 1))
    placements = draw_placements(random, recipe.logo.most)
    image, mask, boxes = compose(ground, recipe.logo, placements)
    name = f"{k:06d}"
    write_image(out / "images" / f"{name}.jpg", image, quality=quality, subsampling="4:2:0")
    write_image(out / "masks" / f"{name}.bmp", np.where(mask, 255, 0).astype(np.uint8))
    return [[name, path.relative_to(recipe.folder).as_posix(), quality, one, int(placement.mirrored),
             *placement[1:5], *box] for one, (placement, box) in enumerate(zip(placements, boxes), start=1)], unreadable


def as_csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_rows(path):
    """The rows of placements.csv, but for those of the last image: its writing may have been interrupted."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    rows = list(csv.reader(text[:text.rfind("\n") + 1].splitlines()))[1:]
    return [row for row in rows if row[0] != rows[-1][0]]


def enter(out, facts):
    """Make the folder of a data set, or go on with the one there, if it was made of the same facts. Raises BadInput."""
    note = out / "recipe.json"
    if note.is_file() and is_ours(note):
        there = json.loads(note.read_text(encoding="utf-8"))
        other = [name for name in facts if facts[name] != there.get(name)]
        if other:
            name = other[0]
            raise BadInput(f"{out} holds a data set of another {name} ({there.get(name)}, not {facts[name]}); expected "
                           "a new folder, as they must not be mixed")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} exists and holds something else; expected a new folder")
    for part in ("images", "masks"):
        claim(out / part / "000000")         # which makes the folder
    write_text(note, json.dumps({"written by": MARK, **facts}, indent=1))
    write_text(out / "classes.json", json.dumps(CLASSES))


def prepare(args):
    """Do what `args` ask for (see parse_arguments)."""
    out, size = Path(args.out), tuple(args.size)
    folder, photographs = find_photographs(args.images, args.part)
    logo_path = args.logo or LOGO
    recipe = Recipe(args.seed, size, folder, photographs, read_logo(logo_path, size))
    first_readable(photographs, 0)           # or there is nothing to do
    listing = "\n".join(f"{name_of(path, folder)} {path.stat().st_size}" for path in photographs)
    enter(out, {"seed": args.seed, "size": args.size,
                "logo": hashlib.sha256(Path(logo_path).read_bytes()).hexdigest(),
                "list of photographs": hashlib.sha256(listing.encode()).hexdigest()})

    table, unreadable = out / "placements.csv", set()
    rows = read_rows(table)
    done = len({row[0] for row in rows})
    if done >= args.count:
        raise BadInput(f"{out} holds more than {args.count} images; expected a --count of at least {done + 1}, or "
                       "a new folder")
    write_text(table, as_csv([COLUMNS, *rows]))
    make_one = functools.partial(make, recipe, out)
    with table.open("a", newline="", encoding="utf-8") as file:
        for found, skipped in tqdm(in_threads(make_one, range(done, args.count), args.workers), initial=done,
                                   total=args.count, unit="image", disable=None):
            file.write(as_csv(found))
            file.flush()             # in this order, so that what the table names is there
            rows += found
            unreadable.update(skipped)

    # Photographs to validate on: a tenth by a hash of the name, the highest ones, as the lowest are for testing.
    names = sorted({row[1] for row in rows}, key=hashed)
    apart = set(names[len(names) - max(1, round(VALIDATION * len(names))):]) if len(names) > 1 else set()
    images = list(dict.fromkeys(row[0] for row in rows if row[1] in apart))
    if images:
        write_text(out / "val.txt", "\n".join([f"# {MARK}: photographs {some(sorted(apart))}", *images, ""]))
    if unreadable:
        print(f"left out: {len(unreadable)} photographs that cannot be read: {some(sorted(map(str, unreadable)))}")
    print(f"{out}: {args.count} images of {size[1]}x{size[0]} pixels, {len(rows)} logos on {len(names)} photographs, "
          f"{len(images)} images on {len(apart)} of these to validate on")


def main(args):
    try:
        prepare(args)
    except BadInput as error:
        sys.exit(f"prepare.py: {error}")
    except KeyboardInterrupt:
        sys.exit("prepare.py: interrupted; the same command goes on from here")


if __name__ == "__main__":
    main(parse_arguments())
