"""Make a data set of photographs with a logo blended in, and masks of where it is.

    python -m challenges.logo.prepare --count 200 --out DIR
    python -m challenges.logo.prepare --images PHOTOGRAPHS --logo LOGO.png --count 20000 --out DIR

The logo is faint, rotated, swirled and small. The first command takes scikit-image's photographs
and logo. Writes the input of train.py --data: images/*.jpg, masks/*.bmp (0 and 255), classes.json
and, where there are several photographs, val.txt. This lists the images to validate on, which show
other photographs than the rest. Also writes placements.csv: how each logo lies. For the same
photographs, logo and size, image k depends only on the seed and k. So an interrupted run continues
where it was, and a larger --count adds to the images that exist.
"""
import csv
import functools
import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage
from PIL import Image
from tqdm import tqdm

from challenges.logo import recipe
from support.files import (
    BadInput,
    begin_folder,
    check_writable,
    keep_apart,
    keeps_changes,
    write_image,
    write_json,
    write_text,
)
from support.images import head_and_length, open_image, read_image
from support.machine import in_threads
from support.names import find_images, first_few, hash_to_unit, name_of, write_names
from support.script import Parser, number, run_script

INSTALLED = Path(skimage.__file__).parent / "data"     # a part; scikit-image downloads the rest
LOGO = INSTALLED / "logo.png"
PHOTOGRAPHS = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
               "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png",
               "retina.jpg", "rocket.jpg", "text.png")
TEST, VALIDATION = 0.25, 0.1     # shares of the photographs: of all, and of those that are used
QUALITY = (75, 95)               # of the JPEGs, drawn evenly: from programs' defaults to a camera's
CLASSES = {"classes": [{"name": "background", "value": 0}, {"name": "logo", "value": 255}]}
COLUMNS = ["image", "photograph", "quality", "logo", "mirrored", "angle", "swirl", "scale", "alpha", "top", "left",
           "height", "width", "area"]


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="the data set: a new folder, or one to go on with")
    add("--count", type=number(int, 1, 10**6), default=1000, metavar="N", help="images (1000)")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, metavar="S", help="(0) another seed, other images")
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


class Ingredients(NamedTuple):
    """The settings that all images of a data set share."""

    seed: int
    size: tuple                  # height, width
    folder: Path                 # of the photographs
    photographs: list            # their paths
    logo: recipe.Logo


def read_logo(path, size):
    """Return a logo for images of this size (height, width). Raises BadInput.

    Prints what is unusual about it.
    """
    image = open_image(path)
    if not isinstance(image, Image.Image):
        raise BadInput(f"{path} holds numbers that are no colours; expected a picture, a PNG say")
    if not image.has_transparency_data:
        raise BadInput(f"{path} has no transparency (its mode is {image.mode}); expected a picture, a PNG say, that is "
                       "transparent wherever the logo is not: what is opaque will be blended in and is the mask")
    pixels = np.asarray(image.convert("RGBA"))
    try:
        logo = recipe.prepare_logo(pixels, size)
    except ValueError as error:
        raise BadInput(f"{path}: {error}; expected a logo that can be seen and fits into {size[1]}x{size[0]} pixels "
                       "(see --size; transparent margins count)") from None
    if pixels[:, :, 3].min() == 255 and path != LOGO:
        print(f"{path} is opaque everywhere: all of its {image.width}x{image.height} pixels are taken for the logo; "
              "if they are not, make the ground transparent")
    if logo.largest < recipe.SCALE[1]:
        print(f"{path} is large: scales from {recipe.SCALE[0]} to {logo.largest:.3f}, so that it fits at any angle")
    return logo


def find_photographs(folder, part):
    """Return (their folder, paths of the photographs to use), in order. Raises BadInput."""
    if folder is None:
        folder, found = INSTALLED, [INSTALLED / name for name in PHOTOGRAPHS if (INSTALLED / name).exists()]
        if not found:
            raise BadInput(f"{INSTALLED} lacks the photographs of scikit-image; expected --images DIR")
    else:
        found = find_images(folder)
    is_test = lambda path: hash_to_unit(name_of(path, folder)) < TEST
    chosen = [path for path in found if part == "all" or is_test(path) == (part == "test")]
    if not chosen:
        raise BadInput(f"{folder} holds {len(found)} photographs, none of them for --part {part}; expected more, or "
                       "--part all")
    return Path(folder), chosen


def first_readable(paths, start):
    """Return the first photograph that can be read, from number `start` on and round the end.

    Returns (its path, pixels uint8 (H, W, 3), [paths that cannot be read]). Raises BadInput if
    there is none.
    """
    unreadable = []
    for path in paths[start:] + paths[:start]:
        try:
            return path, read_image(path), unreadable
        except BadInput as error:
            cause = error.__cause__
            if isinstance(cause, MemoryError) or getattr(cause, "errno", None):
                raise            # not the file's fault: it may be readable next time
            problem, unreadable = error, [*unreadable, path]
    raise BadInput(f"none of the {len(paths)} photographs can be read; the last: {problem}")


def make(ingredients, out, k):
    """Write image k and its mask.

    Returns (a row of placements.csv for each logo, [photographs that cannot be read]).
    """
    random = np.random.default_rng((ingredients.seed, k))
    start = int(random.integers(len(ingredients.photographs)))
    path, photograph, unreadable = first_readable(ingredients.photographs, start)
    ground = recipe.background(photograph, ingredients.size, random)
    quality = int(random.integers(QUALITY[0], QUALITY[1] + 1))
    placements = recipe.draw_placements(random, ingredients.logo.largest)
    image, mask, boxes = recipe.compose(ground, ingredients.logo, placements)
    name = f"{k:06d}"
    image_path, mask_path = out / "images" / f"{name}.jpg", out / "masks" / f"{name}.bmp"
    if not image_path.exists():              # of the last image before an interruption, one or both may
        write_image(image_path, image, quality=quality, subsampling="4:2:0")        # as most JPEGs are
    if not mask_path.exists():
        write_image(mask_path, np.where(mask, 255, 0).astype(np.uint8))
    rows = [[name, shown(path, ingredients.folder), quality, one, int(placement.mirrored), placement.angle,
             placement.swirl, placement.scale, placement.alpha, *box]
            for one, (placement, box) in enumerate(zip(placements, boxes), start=1)]
    return rows, unreadable


def shown(path, folder):
    """Return a photograph's path below the folder as text, for the table.

    A file's name need not be text.
    """
    return path.relative_to(folder).as_posix().encode(errors="backslashreplace").decode()


def as_csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_rows(path):
    """Return the rows of placements.csv, except those of the last image.

    The writing of that image may have been interrupted. Raises BadInput for a table that is damaged.
    """
    if not path.exists():
        return []
    whole = path.read_bytes()
    try:
        rows = list(csv.reader(io.StringIO(whole[:whole.rfind(b"\n") + 1].decode("utf-8"), newline="")))[1:]
    except (ValueError, csv.Error):
        rows = [[]]
    if not all(len(row) == len(COLUMNS) for row in rows):
        raise BadInput(f"{path} is damaged; expected a new folder")
    return [row for row in rows if row[0] != rows[-1][0]]


def prepare(args):
    """Make the data set that `args` ask for. Raises BadInput."""
    out, size = Path(args.out), tuple(args.size)
    folder, photographs = find_photographs(args.images, args.part)
    keep_apart(out, folder)
    logo_path = Path(args.logo or LOGO)
    ingredients = Ingredients(args.seed, size, folder, photographs, read_logo(logo_path, size))
    first_readable(photographs, 0)           # raises BadInput if there is none
    names = {shown(path, folder): path for path in photographs}
    listing = hashlib.sha256(b"".join(name.encode() + head_and_length(path) for name, path in names.items()))
    rules = [recipe.LOGOS, recipe.SWIRL, recipe.RADIUS, *recipe.SCALE, *recipe.ALPHA, recipe.SAMPLES, *QUALITY]
    made_of = {"seed": args.seed, "size": args.size, "recipe": [round(float(rule), 6) for rule in rules],
               "logo": f"{logo_path.name} {hashlib.sha256(logo_path.read_bytes()).hexdigest()[:16]}",
               "set of photographs": f"{len(photographs)} {listing.hexdigest()[:16]}"}
    with begin_folder(out, made_of):
        make_all(args, out, ingredients, names)


def make_all(args, out, ingredients, names):
    """Make the images that are not there yet, the lists and the tables; `names` is {a photograph's: its path}."""
    size, folder = ingredients.size, ingredients.folder
    there = sorted((out / "images").glob("[0-9]" * 6 + ".jpg"))
    if there and int(there[-1].stem) >= args.count:
        raise BadInput(f"{out} holds more than {args.count} images; expected a --count of at least "
                       f"{int(there[-1].stem) + 1}, or a new folder")
    for part in ("images", "masks"):
        (out / part).mkdir(exist_ok=True)
    if not keeps_changes(out / "classes.json"):
        write_json(out / "classes.json", CLASSES)

    # A tenth of the photographs is for validation, at least one, by another hash than --part's.
    apart = sorted(names, key=hash_to_unit)[-max(1, round(VALIDATION * len(names))):] if len(names) > 1 else []
    listed = out / "val.txt"
    ours = not keeps_changes(listed)
    if ours:
        listed.unlink(missing_ok=True)       # removed until it is valid again

    table, unreadable = check_writable(out / "placements.csv", mark=",".join(COLUMNS)), set()
    rows = read_rows(table)
    done = len({row[0] for row in rows})
    write_text(table, as_csv([COLUMNS, *rows]))
    with table.open("a", newline="", encoding="utf-8") as file:
        for found, skipped in tqdm(
                in_threads(functools.partial(make, ingredients, out), range(done, args.count), args.workers),
                initial=done, total=args.count, unit="image", disable=None):
            file.write(as_csv(found))
            file.flush()         # after the image, so that all images in the table exist
            rows += found
            unreadable.update(skipped)

    images = list(dict.fromkeys(row[0] for row in rows if row[1] in apart))
    if images and ours:
        write_names(listed, images, f"those of {first_few(apart)}")
    if unreadable:
        print(f"left out, as they cannot be read: {first_few(sorted(shown(path, folder) for path in unreadable))}")
    hidden = sum(int(row[-1]) == 0 for row in rows)
    if hidden:
        print(f"of the logos, {hidden} are so small or thin that they cover no pixel by half")
    print(f"{out}: {args.count} images of {size[1]}x{size[0]} pixels, {len(rows)} logos on "
          f"{len({row[1] for row in rows})} photographs; to validate on, {len(images)} images, those of "
          f"{len({row[1] for row in rows} & set(apart))} photographs")


if __name__ == "__main__":
    run_script(prepare, parse_arguments(), __file__,
               interrupted="interrupted, the data set is not whole; the same command goes on from here")
