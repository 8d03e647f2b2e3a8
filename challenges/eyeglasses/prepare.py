"""Make a data set of faces and masks of their glasses, from either layout of such data.

    python -m challenges.eyeglasses.prepare DIR --out DATA
    python -m challenges.eyeglasses.prepare CelebAMask-HQ --out DATA

DIR holds images/ and masks/ of the same names. CelebAMask-HQ is taken as it is unpacked: it holds
CelebA-HQ-img/N.jpg, 1024x1024, and half as large CelebAMask-HQ-mask-anno/K/NNNNN_eye_g.png, where a
face wears glasses. Writes the input of train.py --data: images/, masks/*.png (0 and 255),
classes.json; and train.txt, val.txt and test.txt, each with its share of the faces with glasses.
Several photographs may show the same person, as in CelebAMask-HQ; they are not kept together. After
an interruption, the same command continues.
"""
import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from patches import resize
from support.files import (
    BadInput,
    begin_folder,
    keep_apart,
    keeps_changes,
    set_of_files,
    write_image,
    write_json,
)
from support.images import SMALLEST, is_lossy, read_image
from support.machine import in_threads
from support.masks import read_mask
from support.names import hash_to_unit, images_by_name, print_left_out, split_by_hash, write_names
from support.script import Parser, number, run_script

CLASSES = {"classes": [{"name": "background", "value": 0}, {"name": "glasses", "value": 255}]}
PHOTOGRAPHS, PARTS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"       # the folders of CelebAMask-HQ


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("source", metavar="DIR", help="the faces")
    add("--out", required=True, metavar="DIR", help="the data set: a new folder, or one to go on with")
    add("--size", type=number(int, 32, 4096), default=512, metavar="PIXELS",
        help="the longer side of what is larger (512: that of CelebAMask-HQ's masks)")
    add("--part", default="eye_g", metavar="NAME", help="CelebAMask-HQ's name of what to find (eye_g: glasses)")
    add("--without", type=number(float, 0), metavar="N", help="faces without glasses for each with, at most (all)")
    add("--split", type=number(float, 0, 1), nargs=3, default=[0.7, 0.2, 0.1], metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the faces (0.7 0.2 0.1)")
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, metavar="S", help="of the choice and the split (0)")
    args = parser.parse_args(argv)
    if abs(sum(args.split) - 1) > 1e-6 or not args.split[0]:
        parser.error(f"--split {' '.join(f'{share:g}' for share in args.split)}: expected shares that add up to 1, "
                     "not 0 to train on")
    return args


class Face(NamedTuple):
    name: str
    image: Path
    mask: Path | None            # None: no glasses


def find_faces(folder, part):
    """Return ([Face, …], [(problem, which), …]) of a folder in either layout. Raises BadInput."""
    problems = []
    if (folder / PHOTOGRAPHS).is_dir():
        if not (folder / PARTS).is_dir():
            raise BadInput(f"{folder} holds {PHOTOGRAPHS} but no {PARTS}; expected both, as CelebAMask-HQ unpacks")
        masks, known = {}, set()
        for path in (folder / PARTS).rglob("*.png"):
            digits, _, part_of_it = path.stem.partition("_")
            if digits.isdecimal():
                known.add(int(digits))       # it was annotated, with or without glasses
                if part_of_it == part:
                    masks[int(digits)] = path
        if not masks:
            raise BadInput(f"{folder / PARTS} holds no *_{part}.png; expected one for each face that has it")
        faces = []
        for name, path in images_by_name(folder / PHOTOGRAPHS).items():
            if name.isdecimal() and int(name) in known:
                faces.append(Face(name, path, masks.pop(int(name), None)))
            else:
                problems.append(("images without annotations", name))
        problems += [("masks without an image", path.name) for path in masks.values()]
    elif (folder / "images").is_dir() and (folder / "masks").is_dir():
        images, masks = images_by_name(folder / "images"), images_by_name(folder / "masks")
        faces = [Face(name, path, masks[name]) for name, path in images.items() if name in masks]
        problems += [("images without a mask", name) for name in images if name not in masks]
        problems += [("masks without an image", name) for name in masks if name not in images]
    else:
        raise BadInput(f"{folder} holds neither images/ and masks/ nor {PHOTOGRAPHS}/; expected one of the two")
    return faces, problems


def read_glasses(path):
    """Return a mask uint8 (H, W), 255 where there are glasses and 0 elsewhere.

    Glasses are whatever is not black; in a JPEG, what is nearer to white.
    """
    mask = read_mask(path, threshold=128 if is_lossy(path) else None)
    return np.where(mask if mask.ndim == 2 else mask.any(axis=2), 255, 0).astype(np.uint8)


def wears(face):
    """Return whether a face has glasses, by its mask, or a text that says what is wrong."""
    try:
        return face.mask is not None and bool(read_glasses(face.mask).any())
    except BadInput as error:
        return str(error)


def choose(wearing, without, seed):
    """Return the names to take, of {name: whether there are glasses}.

    These are all with glasses, and `without` times as many others at most.
    """
    others = sorted((name for name in wearing if not wearing[name]), key=lambda name: hash_to_unit(f"{seed} {name}"))
    if without is not None:
        others = others[:round(without * sum(wearing.values()))]
    return {name for name in wearing if wearing[name]}.union(others)


def read_face(face, size):
    """Return an image uint8 (H, W, 3) and its mask uint8 (H, W), 0 and 255. Raises BadInput.

    No side is longer than `size`.
    """
    image = read_image(face.image)
    height, width = image.shape[:2]
    mask = read_glasses(face.mask) if face.mask else np.zeros((height, width), np.uint8)
    if abs(mask.shape[1] / width * height / mask.shape[0] - 1) > 0.02:               # half of an odd side is rounded
        raise BadInput(f"{face.mask} has {mask.shape[1]}x{mask.shape[0]} pixels, {face.image} has {width}x{height}; "
                       "expected the same shape, at any scale")
    scale = min(1, size / max(height, width))
    wanted = round(scale * height), round(scale * width)
    if min(wanted) < SMALLEST:
        raise BadInput(f"{face.image} would have {wanted[1]}x{wanted[0]} pixels; expected at least {SMALLEST} a side")
    if image.shape[:2] != wanted:
        image = resize(image, wanted)
    if mask.shape != wanted:     # averaged as the image is, so that neither is shifted against the other
        mask = np.where(resize(mask, wanted) >= 128, 255, 0).astype(np.uint8)
    return image, mask


def make(out, size, face):
    """Write one face and its mask, unless they exist.

    Returns a text that says what is wrong with them, or None.
    """
    image_path, mask_path = out / "images" / f"{face.name}.jpg", out / "masks" / f"{face.name}.png"
    if image_path.exists() and mask_path.exists():
        return None
    try:
        image, mask = read_face(face, size)
    except BadInput as error:
        return str(error)
    for path, array in (image_path, image), (mask_path, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_image(path, array)
    return None


def prepare(args):
    """Make the data set that `args` ask for. Raises BadInput."""
    source, out = Path(args.source), Path(args.out)
    keep_apart(out, source)
    faces, problems = find_faces(source, args.part)
    files = [path for face in faces for path in (face.image, face.mask) if path]
    wearing = {}
    for face, found in zip(faces, in_threads(wears, faces)):
        if isinstance(found, str):
            problems.append(("masks that cannot be read", found))
        else:
            wearing[face.name] = found
    chosen = choose(wearing, args.without, args.seed)
    if not chosen:
        raise BadInput(f"{source} holds {len(wearing)} faces that can be read, {sum(wearing.values())} with glasses; "
                       f"expected some to take" + (f": {problems[0][1]}" if problems else ""))
    settings = ("size", "part", "without", "split", "seed")
    made_of = {**{name: getattr(args, name) for name in settings}, "set of files": set_of_files(files)}
    with begin_folder(out, made_of):
        write_faces(args, out, faces, chosen, wearing, problems)


def write_faces(args, out, faces, chosen, wearing, problems):
    """Write the faces of the `chosen` names, the lists and the class table.

    `wearing` is {name: whether there are glasses}, `problems` are those found so far.
    """
    jobs = [face for face in faces if face.name in chosen]
    made = in_threads(functools.partial(make, out, args.size), jobs)
    for face, problem in zip(jobs, tqdm(made, total=len(jobs), unit="face", disable=None)):
        if problem:
            problems.append(("faces that cannot be read", problem))
            chosen.discard(face.name)
    if not chosen:
        raise BadInput(f"none of the {len(jobs)} faces can be read: {problems[-len(jobs)][1]}")
    wearing = {name: wearing[name] for name in sorted(chosen)}
    if not keeps_changes(out / "classes.json"):
        write_json(out / "classes.json", CLASSES)
    print(f"{out}: {sum(wearing.values())} faces with glasses, {len(wearing) - sum(wearing.values())} without")
    halves = [split_by_hash([name for name in wearing if wearing[name] == with_glasses], args.split, args.seed)
              for with_glasses in (True, False)]        # each part gets its share of either
    for part in ("train", "val", "test"):
        names = sorted(halves[0][part] + halves[1][part])
        if names:
            if not keeps_changes(out / f"{part}.txt"):
                write_names(out / f"{part}.txt", names)
            print(f"  {part}: {sum(wearing[name] for name in names)} with, "
                  f"{sum(not wearing[name] for name in names)} without")
    print_left_out(problems)


if __name__ == "__main__":
    run_script(prepare, parse_arguments(), __file__,
               interrupted="interrupted, the data set is not whole; the same command goes on from here")
