"""tools.convert: other people's annotations become a data set, and masks become outlines again.

What is right is drawn by pycocotools itself, by matplotlib or by NumPy.
"""

import base64
import errno
import io
import json
import os
import shlex
import shutil
import unicodedata

import numpy as np
import pytest
import rasterio
import tifffile
from conftest import contents, fails_in_one_line, inside
from matplotlib.patches import Ellipse
from matplotlib.path import Path as Outline
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from pycocotools import coco
from pycocotools import mask as codes
from rasterio.features import rasterize

import data
from infer import write_mask
from support.classes import read_classes
from support.files import BadInput
from support.pairs import find_folders
from tools.annotations.yolo import find_yolo_names, read_yolo_names

HEIGHT, WIDTH = 60, 80
SQUARE = [10, 10, 40, 10, 40, 40, 10, 40]
TRIANGLE = [30.5, 5, 70, 50.2, 20, 55]


def photo(path, seed=0, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


def drawn(*shapes):
    """A mask by pycocotools: polygons [x, y, ...] and their values, one over the other."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for polygon, value in shapes:
        mask[codes.decode(codes.frPyObjects([polygon], HEIGHT, WIDTH))[:, :, 0] > 0] = value
    return mask


def convert(folder, *words):
    return inside("-m", "tools.convert", *words, cwd=folder)


def converted(folder, *words):
    done = convert(folder, *words, "--out", "data")
    assert done.returncode == 0, done.stderr
    return done.stdout


def mask_of(folder, name):
    return np.asarray(Image.open(folder / "data" / "masks" / f"{name}.png"))


def names_of(folder):
    classes, ignore = read_classes(folder / "data" / "classes.json")
    assert ignore == [255] and [entry["value"] for entry in classes] == list(range(len(classes)))
    return [entry["name"] for entry in classes]


# ---------------------------------------------------------------------------------------------------
# Pairs


@pytest.mark.parametrize(
    "image, mask, words",
    [
        ("a/{}.jpg", "b/{}_mask.png", ["--images", "a", "--masks", "b", "--suffix", "_mask"]),
        ("a/x/{}.jpg", "b/x/mask_{}.png", ["--images", "a", "--masks", "b", "--prefix", "mask_"]),
        ("a/{}.png", "a/{}_mask.png", ["--images", "a", "--masks", "a", "--suffix", "_mask"]),
        ("a/{}_sat.jpg", "a/{}_mask.png", "--images a --masks a --suffix _mask --image-suffix _sat".split()),
        ("a/{}.jpg", "b/{}.png", ["--images", "a", "--masks", "b"]),
    ],
)
def test_pairs_of_any_names(tmp_path, image, mask, words):
    random = np.random.default_rng(0)
    for number in range(4):
        photo(tmp_path / image.format(number), number)
        (tmp_path / mask.format(number)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 3, (HEIGHT, WIDTH), np.uint8)).save(tmp_path / mask.format(number))
    photo(tmp_path / image.format("alone"))
    told = converted(tmp_path, "pairs", *words)
    assert "4 images with masks" in told and "1 images without a mask: alone" in told
    pairs = data.find_pairs(tmp_path / "data")
    assert [name.split("/")[-1] for name, _, _ in pairs] == list("0123")
    for (_, image_path, mask_path), number in zip(pairs, range(4)):
        assert image_path.read_bytes() == (tmp_path / image.format(number)).read_bytes()
        assert mask_path.read_bytes() == (tmp_path / mask.format(number)).read_bytes()
        assert image_path.samefile(tmp_path / image.format(number))  # linked: it takes no space
        assert not mask_path.samefile(tmp_path / mask.format(number))  # who corrects it leaves the source as it is
    assert len(data.load(tmp_path / "data").classes) == 3


def test_a_full_disk_ends_it_and_a_link_to_nowhere_is_left_out(tmp_path, monkeypatch):
    for number in range(3):
        photo(tmp_path / "images" / f"{number}.jpg", number)
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.eye(HEIGHT, WIDTH, dtype=np.uint8)).save(tmp_path / "masks" / f"{number}.png")
    words = ["-m", "tools.convert", "pairs", "--images", "images", "--masks", "masks", "--out", "data"]
    copy, copied = shutil.copyfile, []

    def full(source, target):
        copied.append(source)
        if len(copied) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        done = inside(*words, cwd=tmp_path)
    fails_in_one_line(done, "cannot be written (No space left on device); make room for it")
    if os.name != "nt":  # where links need rights
        (tmp_path / "images" / "2.jpg").unlink()
        (tmp_path / "images" / "2.jpg").symlink_to(tmp_path / "away" / "2.jpg")
        done = inside(*words[:-1], "other", cwd=tmp_path)
        assert done.returncode == 0 and "2 images with masks" in done.stdout and "2.jpg does not exist" in done.stdout


@pytest.mark.parametrize(
    "image, mask, words",
    [
        (
            "x/{}/images/{}.jpg",
            "x/{}/masks/{}.png",
            "--images x/train/images x/val/images --masks x/train/masks x/val/masks",
        ),
        (
            "x/{}/{}.jpg",
            "x/{}_labels/{}_L.png",
            "--images x/train x/val --masks x/train_labels x/val_labels --suffix _L",
        ),
        ("img_dir/{}/{}.jpg", "ann_dir/{}/{}.png", "--images img_dir --masks ann_dir"),
    ],
)
def test_pairs_in_folders_of_parts_keep_these(tmp_path, image, mask, words):
    random, truth = np.random.default_rng(0), {}
    for number, (part, name) in enumerate([("train", "one"), ("train", "two"), ("val", "one")]):
        photo(tmp_path / image.format(part, name), number)
        truth[part, name] = random.integers(0, 3, (HEIGHT, WIDTH), np.uint8)
        (tmp_path / mask.format(part, name)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth[part, name]).save(tmp_path / mask.format(part, name))
    (tmp_path / "codes.txt").write_text("Animal\nArchway\nBicyclist\n")
    told = converted(tmp_path, "pairs", *words.split(), "--names", "codes.txt")
    assert "3 images with masks, 2 in train.txt, 1 in val.txt" in told
    assert names_of(tmp_path) == ["Animal", "Archway", "Bicyclist"]
    for (part, name), expected in truth.items():
        assert (mask_of(tmp_path, f"{part}/{name}") == expected).all()
        source, made = tmp_path / image.format(part, name), tmp_path / "data" / "images" / part / f"{name}.jpg"
        assert made.samefile(source)
    assert data.load(tmp_path / "data").held_out == ["val/one"]


@pytest.mark.parametrize(
    "table, classes",
    [
        ("background\nroad\ncar, parked\n", [("background", 0), ("road", 1), ("car, parked", 2)]),
        ("Pixel Value, Class\n0, background\n2, road\n1, car\n", [("background", 0), ("road", 2), ("car", 1)]),
    ],
)
def test_the_classes_of_pairs_stand_in_a_list_or_a_table(tmp_path, table, classes):
    photo(tmp_path / "a" / "one.jpg")
    Image.fromarray(drawn((SQUARE, 1), (TRIANGLE, 2))).save(tmp_path / "a" / "one_mask.png")
    (tmp_path / "_classes.csv").write_text(table)
    words = "pairs --images a --masks a --suffix _mask --names _classes.csv".split()
    converted(tmp_path, *words)
    found, ignore = read_classes(tmp_path / "data" / "classes.json")
    assert [(entry["name"], entry["value"]) for entry in found] == classes and ignore == [255]


def test_the_classes_of_coloured_pairs_stand_in_a_table_of_colours(tmp_path):
    photo(tmp_path / "a" / "one.jpg")
    colours = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 142]], np.uint8)
    Image.fromarray(colours[drawn((SQUARE, 1), (TRIANGLE, 2))]).save(tmp_path / "a" / "one_L.png")
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nVoid,0,0,0\nRoad,128,64,128\nCar,0,0,142\n")
    words = "pairs --images a --masks a --suffix _L --names class_dict.csv".split()
    converted(tmp_path, *words)
    found = data.load(tmp_path / "data")
    assert [(entry["name"], entry["value"]) for entry in found.classes] == [
        ("Void", [0, 0, 0]),
        ("Road", [128, 64, 128]),
        ("Car", [0, 0, 142]),
    ]
    Image.fromarray(drawn((SQUARE, 1))).save(tmp_path / "a" / "one_L.png")
    done = convert(tmp_path, *words, "--out", "other")
    fails_in_one_line(done, "class_dict.csv lists colours, but the masks, such as a/one_L.png, hold numbers")
    for text, told in [
        ("Idx\tName\n1\twall\n", "begins with 'Idx"),
        ("Pixel Value, Class\nx, road\n", "a value is no number"),
        ("Pixel Value, Class\n", "has a single line, 'Pixel Value, Class'"),
    ]:
        (tmp_path / "class_dict.csv").write_text(text)
        fails_in_one_line(convert(tmp_path, *words, "--out", "other"), "class_dict.csv", told)


def test_folders_of_pairs_that_do_not_belong_together(tmp_path):
    for name in ("a/x", "b/x", "c/x_m", "c/x_n"):
        photo(tmp_path / f"{name}.png")
    done = convert(tmp_path, "pairs", "--images", "a", "b", "--masks", "c", "--out", "data")
    fails_in_one_line(done, "--images names 2 folders, --masks 1; expected as many masks, in the same order")
    done = convert(tmp_path, "pairs", "--images", "a", "a", "--masks", "c", "c", "--suffix", "_m", "--out", "data")
    assert done.returncode == 0 and "1 images with masks" in done.stdout


def test_pairs_that_do_not_fit(tmp_path):
    photo(tmp_path / "a" / "one.jpg")
    photo(tmp_path / "b" / "one_mask.png")
    done = convert(tmp_path, "pairs", "--images", "a", "--masks", "b", "--suffix", "_gt", "--out", "data")
    fails_in_one_line(done, "a and b hold no pair; expected images NAME and masks NAME_gt, found one.jpg and one_mask")
    photo(tmp_path / "b" / "one_gt.png", size=(HEIGHT, 5))
    done = convert(tmp_path, "pairs", "--images", "a", "--masks", "b", "--suffix", "_gt", "--out", "data")
    fails_in_one_line(done, "none of the 1 images can be used", "is 5x60; expected the same size")
    assert not contents(tmp_path / "data")
    fails_in_one_line(convert(tmp_path, "pairs", "--images", "a", "--masks", "b", "--out", "a/x"), "is inside a")


@pytest.mark.parametrize(
    "image, mask",
    [
        ("{}", "{}_mask"),
        ("{}", "the mask of {}"),
        ("{}_sat", "{}_seg"),
        ("x/{}", "x/{}-gt"),
        ("bonn_{}_leftImg8bit", "bonn_{}_gtFine_labelIds"),
        ("case_{}_0000", "case_{}"),
    ],
)
def test_where_no_name_fits_the_line_is_told_that_makes_pairs(tmp_path, image, mask):
    for number in range(3):
        photo(tmp_path / "my set" / "images" / f"{image.format(number)}.jpg", number)
        photo(tmp_path / "my set" / "masks" / f"{mask.format(number)}.png", number)
    with pytest.raises(BadInput, match="3 images and 3 masks, but no pair") as error:
        data.find_pairs(tmp_path / "my set")
    told = str(error.value)
    assert f"images/{image.format(0)}.jpg, masks/{mask.format(0)}.png;" in told
    line = told.split("; ")[-1].removesuffix(" makes pairs of them")
    python, *words = shlex.split(line.replace("--out DIR", "--out data"))
    assert python == "python" and inside(*words, cwd=tmp_path).returncode == 0
    assert len(data.find_pairs(tmp_path / "data")) == 3


@pytest.mark.parametrize(
    "image, mask",
    [
        ("photos/{1}", "labels/{1}"),
        ("Photos/{1}", "ground_truth/{1}_gt"),
        ("{0}/images/{1}", "{0}/masks/{1}"),
        ("{0}/{1}", "{0}_labels/{1}_L"),
        ("img_dir/{0}/{1}", "ann_dir/{0}/{1}"),
        ("{1}", "{1}_mask"),
        ("images/{1}", "SegmentationClass/{1}"),
    ],
)
def test_of_folders_of_other_names_the_line_is_told_that_makes_a_data_set(tmp_path, image, mask):
    for number, (part, name) in enumerate([("train", "a"), ("train", "b"), ("val", "a"), ("val", "c")]):
        name = name if "{0}" in image else f"{part}_{name}"
        photo(tmp_path / "my set" / f"{image.format(part, name)}.jpg", number)
        photo(tmp_path / "my set" / f"{mask.format(part, name)}.png", number)
    with pytest.raises(BadInput, match=" is no folder; .* makes one of other folders") as error:
        data.find_pairs(tmp_path / "my set")
    line = str(error.value).split("; ")[-1].removesuffix(" makes one of other folders")
    python, *words = shlex.split(line.replace("--out DIR", "--out data"))
    done = inside(*words, cwd=tmp_path)
    assert python == "python" and done.returncode == 0 and "4 images with masks" in done.stdout, (line, done)
    for _, image_path, mask_path in data.find_pairs(tmp_path / "data"):
        found = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (image_path, mask_path)]
        assert np.abs(found[0] - found[1]).mean() < 65  # the same noise, as a JPEG; of another it is 85


def test_masks_that_are_named_as_the_whole_files_of_images(tmp_path):
    random = np.random.default_rng(0)
    for number, ending in enumerate([".jpg", ".png", ".JPG", ".jpg"]):
        photo(tmp_path / "set" / "images" / f"n{number}{ending}", number)
        (tmp_path / "set" / "masks").mkdir(exist_ok=True)
        mask = random.integers(0, 2, (HEIGHT, WIDTH), np.uint8)
        Image.fromarray(mask).save(tmp_path / "set" / "masks" / f"n{number}{ending}.png")
    with pytest.raises(BadInput, match="but no pair") as error:
        data.find_pairs(tmp_path / "set")
    line = str(error.value).split("; ")[-1].removesuffix(" makes pairs of them")
    assert "suffix" not in line
    done = inside(*shlex.split(line.replace("--out DIR", "--out data"))[1:], cwd=tmp_path)
    assert "4 images with masks" in done.stdout and "left out" not in done.stdout, done
    assert [name for name, _, _ in data.find_pairs(tmp_path / "data")] == ["n0", "n1", "n2", "n3"]


@pytest.mark.parametrize("kind", ["voc", "coco", "yolo"])
def test_of_what_annotation_tools_write_the_line_is_told_that_makes_a_data_set(tmp_path, kind):
    there = tmp_path / "my set"
    for part in "train", "valid":
        photo(there / part / "images" / "one.jpg" if kind == "yolo" else there / part / "one.jpg")
    if kind == "voc":
        photo(there / "JPEGImages" / "one.jpg")
        for folder in "SegmentationClass", "SegmentationObject":
            (there / folder).mkdir()
            Image.fromarray(drawn((SQUARE, 1))).save(there / folder / "one.png")
    elif kind == "coco":
        table = {
            "images": [{"id": 0, "file_name": "one.jpg", "height": HEIGHT, "width": WIDTH}],
            "categories": [{"id": 1, "name": "dog"}],
            "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "segmentation": [SQUARE]}],
        }
        for part in "train", "valid":
            (there / part / "_annotations.coco.json").write_text(json.dumps(table))
    else:
        (there / "data.yaml").write_text("names: [dog]\n")
        for part in "train", "valid":
            (there / part / "labels").mkdir()
            (there / part / "labels" / "one.txt").write_text("0 0.2 0.2 0.6 0.2 0.6 0.6\n")
    with pytest.raises(BadInput, match=f" is no folder; .*convert {kind}.* makes one of other folders") as error:
        data.find_pairs(there)
    line = str(error.value).split("; ")[-1].removesuffix(" makes one of other folders")
    python, *words = shlex.split(line.replace("--out DIR", "--out data"))
    done = inside(*words, cwd=tmp_path)
    assert python == "python" and done.returncode == 0, (line, done)
    assert len(data.find_pairs(tmp_path / "data")) == (1 if kind == "voc" else 2)


def test_the_folder_above_is_told_where_it_is_the_data_set(tmp_path, monkeypatch):
    photo(tmp_path / "images" / "One.jpg")
    photo(tmp_path / "masks" / "one.png")
    with pytest.raises(BadInput, match="is part of a data set; expected the folder .* --data "):
        data.find_pairs(tmp_path / "images")
    with pytest.raises(BadInput, match="no pair: .* in the same small and capital letters"):
        data.find_pairs(tmp_path)
    monkeypatch.chdir(tmp_path / "images")
    with pytest.raises(BadInput, match=r"--data \.\.$"):
        data.find_pairs(".")
    with pytest.raises(BadInput, match="gone is no folder; expected a data set"):
        data.find_pairs("../gone")


def test_roboflow_s_names_of_classes_are_in_the_line(tmp_path):
    for part in "train", "valid":
        for name in "one", "two":
            photo(tmp_path / "set" / part / f"{part}_{name}.jpg")
            Image.fromarray(drawn((SQUARE, 1))).save(tmp_path / "set" / part / f"{part}_{name}_mask.png")
        (tmp_path / "set" / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, road\n")
    line = find_folders(tmp_path / "set")
    done = inside(*shlex.split(line.replace("--out DIR", "--out data"))[1:], cwd=tmp_path)
    assert "4 images with masks, 2 in train.txt, 2 in val.txt" in done.stdout, (line, done)
    assert names_of(tmp_path) == ["background", "road"]


# ---------------------------------------------------------------------------------------------------
# A mask for each object


LEFT, RIGHT, LOW = np.s_[5:20, 4:20], np.s_[5:30, 15:60], np.s_[40:55, 30:70]  # the first two overlap


def object_mask(path, *places, value=255, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    for place in places:
        mask[place] = value
    Image.fromarray(mask).save(path)


def union(*places):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place in places:
        mask[place] = 1
    return mask


@pytest.mark.parametrize(
    "image, first, second, name",
    [
        ("{0}/images/{0}.png", "{0}/masks/f7a0.png", "{0}/masks/0b3.png", "{0}"),
        ("{0}/images/photo.png", "{0}/masks/f7a0.png", "{0}/masks/0b3.png", "{0}/photo"),
        ("images/{0}.jpg", "masks/{0}_1.png", "masks/{0}-02.png", "{0}"),
        ("images/{0}.jpg", "masks/{0}/1.png", "masks/{0}/2.png", "{0}"),
        ("train/images/{0}.jpg", "train/masks/{0}_cell_1.png", "train/masks/{0}_cell_2.png", "train/{0}"),
        ("good/{0}.png", "good/{0}_mask.png", "good/{0}_mask_1.png", "good/{0}"),
    ],
)
def test_masks_of_objects_are_joined(tmp_path, image, first, second, name):
    shown = {"cell (1)": (LEFT, RIGHT), "cell (10)": (LOW, LEFT), "cell": (RIGHT, LOW)}
    for number, (one, places) in enumerate(shown.items()):
        photo(tmp_path / "set" / image.format(one), number)
        for mask, place in zip((first, second), places):
            object_mask(tmp_path / "set" / mask.format(one), place, value=255 - number)
    line = (
        find_folders(tmp_path / "set") if "good" in image or "f7a0" in first else "python -m tools.convert objects set"
    )
    assert "tools.convert objects" in line and "set" in line
    told = converted(tmp_path, "objects", "set")
    assert "3 images with masks" in told and "left out" not in told
    for one, places in shown.items():
        assert np.array_equal(mask_of(tmp_path, name.format(one)), union(*places)), one
    assert names_of(tmp_path) == ["background", "object"]
    assert ("2 in train.txt" in told or "3 in train.txt" in told) == ("train" in image)


def test_what_is_no_object_is_left_out_and_told(tmp_path):
    for name in "abcde":
        photo(tmp_path / "set" / "images" / f"{name}.png")
    object_mask(tmp_path / "set/masks/a_1.png", LEFT)
    object_mask(tmp_path / "set/masks/a_2.png")  # nothing is there
    object_mask(tmp_path / "set/masks/b_1.png", LEFT, size=(HEIGHT, WIDTH + 1))
    object_mask(tmp_path / "set/masks/c_1.png", LEFT, value=7)
    Image.fromarray(union(LEFT) + 2 * union(LOW)).save(tmp_path / "set/masks/c_2.png")
    Image.fromarray(np.dstack([union(LEFT), union(LOW), union(LOW)])).save(tmp_path / "set/masks/d_1.png")
    object_mask(tmp_path / "set/masks/strange.png", LEFT)
    told = converted(tmp_path, "objects", "set")
    assert "1 images with masks" in told and np.array_equal(mask_of(tmp_path, "a"), union(LEFT))
    for line in (
        "1 images of another size than a mask of theirs: b.png",
        "2 images with a mask that has several values beside 0, where a single object was expected: c.png, d.png",
        "1 images without a mask: images/e.png",
        "1 masks without an image: masks/strange.png",
    ):
        assert line in told, told
    object_mask(tmp_path / "set/masks/a_2.png", LOW)  # a mask changed: that is another data set
    fails_in_one_line(convert(tmp_path, "objects", "set", "--out", "data"), "data")
    photo(tmp_path / "none" / "a.png")
    fails_in_one_line(convert(tmp_path, "objects", "none", "--out", "new"), "none holds no image with masks; expected")
    assert not (tmp_path / "new").exists()


def test_several_masks_of_an_image_are_pointed_out(tmp_path, capsys):
    """In a data set, in folders that pairs are made of, and where no mask has its image's name."""
    hint = "if each shows another object, "
    for name in "one", "two":
        photo(tmp_path / "set" / "images" / f"{name}.png")
        object_mask(tmp_path / "set" / "masks" / f"{name}_1.png", LEFT)
    with pytest.raises(BadInput, match="tools.convert pairs"):
        data.find_pairs(tmp_path / "set")
    object_mask(tmp_path / "set" / "masks" / "two_2.png", LEFT)
    with pytest.raises(BadInput, match="tools.convert objects .*set --out DIR joins several masks"):
        data.find_pairs(tmp_path / "set")
    words = ["--images", "set/images", "--masks", "set/masks", "--suffix", "_1"]
    assert hint in converted(tmp_path, "pairs", *words)
    for name in "one", "two":
        object_mask(tmp_path / "set" / "masks" / f"{name}.png", LEFT)
    assert len(data.find_pairs(tmp_path / "set")) == 2 and hint in capsys.readouterr().out
    for path in (tmp_path / "set" / "masks").glob("*_?.png"):
        path.unlink()
    object_mask(tmp_path / "set" / "masks" / "two-extra.png", LEFT)  # of another kind, as it seems
    assert len(data.find_pairs(tmp_path / "set")) == 2 and hint not in capsys.readouterr().out


def test_of_two_folders_of_masks_one_is_taken(tmp_path):
    for folder in "images", "masks_by_class", "masks_to_look_at":
        photo(tmp_path / folder / "one.png")
        photo(tmp_path / folder / "two.png")
    line = find_folders(tmp_path)
    assert line.count("masks_by_class") == 1 and "masks_to_look_at" not in line, line


def test_of_folders_that_tell_nothing_no_line_is_told(tmp_path):
    for name in ("a/one", "b/one", "labels/other"):
        photo(tmp_path / f"{name}.png")
    with pytest.raises(BadInput, match="masks; python -m tools.convert makes one of other folders"):
        data.find_pairs(tmp_path)


@pytest.mark.parametrize(
    "images, masks",
    [(["cat"], ["dog"]), (["img_1"], ["img_2"]), (["frame_1", "frame_2"], ["frame_11", "frame_12"])],
)
def test_no_line_is_told_that_might_make_wrong_pairs(tmp_path, images, masks):
    for part, names in ("images", images), ("masks", masks):
        for name in names:
            photo(tmp_path / "set" / part / f"{name}.png")
    with pytest.raises(BadInput, match=f"pair: images/{images[0]}.png, masks/{masks[0]}.png; expected") as error:
        data.find_pairs(tmp_path / "set")
    assert "tools.convert" not in str(error.value)


# ---------------------------------------------------------------------------------------------------
# labelme


def labelme(folder, name, shapes, **more):
    photo(folder / f"{name}.jpg", len(name))
    shapes = [{"label": label, "points": points, "shape_type": kind, **rest} for label, kind, points, rest in shapes]
    table = {"version": "5.4.1", "shapes": shapes, "imagePath": f"{name}.jpg".split("/")[-1], "imageData": None}
    table |= {"imageHeight": HEIGHT, "imageWidth": WIDTH, **more}
    (folder / f"{name}.json").write_text(json.dumps(table))


def points(polygon):
    return np.reshape(polygon, (-1, 2)).tolist()


def test_labelme(tmp_path):
    stamp = np.zeros((9, 7), np.uint8)
    stamp[2:5, 1:6] = 1
    file = io.BytesIO()
    Image.fromarray(stamp * 255).convert("1").save(file, "PNG")
    code = {"mask": base64.b64encode(file.getvalue()).decode()}
    source = tmp_path / "source"
    labelme(source, "one", [("dog", "polygon", points(TRIANGLE), {}), ("cat", "rectangle", [[10, 10], [40, 40]], {})])
    labelme(
        source, "deep/two", [("cat", "mask", [[50, 20], [56, 28]], code), ("__ignore__", "polygon", points(SQUARE), {})]
    )
    labelme(source, "round", [("dog", "circle", [[30, 30], [30, 40]], {})])
    labelme(source, "empty", [])
    labelme(source, "line", [("cat", "polygon", points(SQUARE), {}), ("dog", "line", [[1, 1], [9, 9]], {})])
    labelme(source, "turned", [("cat", "polygon", points(SQUARE), {})], imageHeight=WIDTH, imageWidth=HEIGHT)
    labelme(source, "nan", [("dog", "circle", [[30, 30], [30, float("nan")]], {})])
    labelme(source, "vast", [("dog", "polygon", [[1, 1], [10**400, 1], [9, 9]], {})])
    labelme(source, "nameless", [(["cat"], "polygon", points(SQUARE), {})])
    labelme(source, "gone", [], imagePath="elsewhere\\none.jpg")
    labelme(source, "long", [], imagePath="x" * 999)
    (source / "other.json").write_text("[]")
    told = converted(tmp_path, "labelme", "source")
    assert names_of(tmp_path) == ["background", "cat", "dog"]
    assert (mask_of(tmp_path, "one") == drawn((TRIANGLE, 2), (SQUARE, 1))).all()
    expected = drawn((SQUARE, 255))
    expected[20:29, 50:57][stamp > 0] = 1
    assert (mask_of(tmp_path, "deep/two") == expected).all()
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert (mask_of(tmp_path, "round") == 2 * ((x - 30) ** 2 + (y - 30) ** 2 <= 100)).all()
    assert not mask_of(tmp_path, "empty").any()
    for line in [
        "4 images with masks",
        "1 images with a shape without an area, a line of 2 points: line.jpg",
        "1 images of another size than the annotations say: turned.jpg",
        "3 images with a damaged shape: nameless.jpg, nan.jpg, vast.jpg",
        "2 files whose image is not there",
        "1 files that are not labelme's",
    ]:
        assert line in told, told
    assert len(data.find_pairs(tmp_path / "data")) == 4


def test_labelme_s_images_are_found_where_they_are_now(tmp_path):
    source = tmp_path / "source"
    labelme(source, "one", [("dog", "polygon", points(SQUARE), {})], imagePath="C:\\Users\\me\\one.jpg")
    labelme(source, "two", [("Background", "polygon", points(SQUARE), {}), ("dog", "polygon", points(TRIANGLE), {})])
    (tmp_path / "photos").mkdir()
    (source / "two.jpg").rename(tmp_path / "photos" / "two.jpg")
    corners = [[10, 10], [40, 10], [40, 40], [10, 40]]
    labelme(source, "four", [("dog", "rectangle", corners, {})])  # as X-AnyLabeling writes it
    labelme(source, "turned", [("dog", "rotation", corners, {})])
    labelme(source, "older", [("dog", "polygon", points(SQUARE), {})], imageHeight=None, imageWidth=None)
    labelme(source, "empty", [])
    labelme(source, "inside", [], imagePath="gone.jpg", imageData="/9j/4AAQ")
    told = converted(tmp_path, "labelme", "source", "--images", "photos")
    assert names_of(tmp_path) == ["background", "dog"]
    for name in "one", "four", "turned", "older":
        assert (mask_of(tmp_path, name) == drawn((SQUARE, 1))).all(), name
    assert (mask_of(tmp_path, "two") == drawn((SQUARE, 0), (TRIANGLE, 1))).all()
    assert "6 images with masks" in told
    assert "1 images without any shape are background all over; leave out those that nobody has annotated" in told
    assert "gone.jpg, only inside of it: save it as a file" in told


def test_a_labelme_mask_larger_than_its_box_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    file = io.BytesIO()
    Image.new("RGBA", (3000, 3000)).save(file, "PNG")
    code = {"mask": base64.b64encode(file.getvalue()).decode()}
    labelme(tmp_path / "source", "one", [("cat", "rectangle", [[10, 10], [40, 40]], {})])
    labelme(tmp_path / "source", "huge", [("cat", "mask", [[50, 20], [56, 28]], code)])
    decoded, load = [], PngImageFile.load
    monkeypatch.setattr(PngImageFile, "load", lambda self: decoded.append(self.size) or load(self))
    assert "1 images with a damaged shape: huge.jpg" in converted(tmp_path, "labelme", "source")
    assert (3000, 3000) not in decoded


# ---------------------------------------------------------------------------------------------------
# CVAT


def cvat(folder, images):
    """CVAT's annotations.xml of {name: shapes as XML}, of the labels dog and cat."""
    for number, name in enumerate(images):
        photo(folder / "images" / name, number)
    told = "".join(f"<label><name>{label}</name><type>any</type></label>" for label in ("dog", "cat"))
    told = f"<meta><task><labels>{told}</labels></task></meta>"
    for number, (name, shapes) in enumerate(images.items()):
        told += f'<image id="{number}" name="{name}" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    (folder / "annotations.xml").write_text(f"<?xml version='1.0' encoding='utf-8'?><annotations>{told}</annotations>")


def as_points(polygon):
    return ";".join(f"{x},{y}" for x, y in points(polygon))


def test_cvat(tmp_path):
    random = np.random.default_rng(0)
    stamp = random.random((9, 7)) < 0.5
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], stamp.ravel(), [2]]))))  # lengths of equal values
    runs = ", ".join(map(str, ([0] if stamp[0, 0] else []) + runs.tolist()))
    polygon = lambda shape, label, order: f'<polygon label="{label}" points="{as_points(shape)}" z_order="{order}"/>'
    images = {
        "one.jpg": polygon(SQUARE, "cat", 1) + polygon(TRIANGLE, "dog", 0) + '<tag label="sunny"/>',
        "trip/two.jpg": f'<mask label="cat" rle="{runs}" left="50" top="20" width="7" height="9" z_order="0"/>',
        "box.jpg": '<box label="dog" xtl="10" ytl="10" xbr="40" ybr="40" z_order="0"/>',
        "turned.jpg": '<box label="dog" xtl="10" ytl="20" xbr="50" ybr="30" rotation="90.0"/>',
        "round.jpg": '<ellipse label="cat" cx="30" cy="25" rx="20" ry="10" rotation="30"/>',
        "empty.jpg": "",
        "line.jpg": polygon(SQUARE, "cat", 0) + '<polyline label="dog" points="1,1;9,9"/>',
        "point.jpg": '<points label="dog" points="1,1"/>',
        "short.jpg": '<mask label="cat" rle="9, 9" left="50" top="20" width="7" height="9"/>',
        "beyond.jpg": f'<mask label="cat" rle="{runs}" left="-1" top="20" width="7" height="9"/>',
        "nan.jpg": '<polygon label="dog" points="1,1;nan,9;4,3"/>',
        "two.jpg": '<polygon label="dog" points="1,1;9,9"/>',
        "far.jpg": '<ellipse label="dog" cx="1e30" cy="0" rx="1e30" ry="1"/>',
        "nameless.jpg": f'<polygon points="{as_points(SQUARE)}"/>',
    }
    cvat(tmp_path / "cvat", images)
    (tmp_path / "cvat" / "images" / "gone.jpg").unlink(missing_ok=True)
    told = converted(tmp_path, "cvat", "cvat/annotations.xml")
    assert names_of(tmp_path) == ["background", "dog", "cat"]
    assert (mask_of(tmp_path, "one") == drawn((TRIANGLE, 1), (SQUARE, 2))).all()
    expected = drawn()
    expected[20:29, 50:57][stamp] = 2
    assert (mask_of(tmp_path, "trip/two") == expected).all()
    assert (mask_of(tmp_path, "box") == drawn((SQUARE, 1))).all()
    assert (mask_of(tmp_path, "turned") == drawn(([25, 5, 35, 5, 35, 45, 25, 45], 1))).all()
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    circle = Ellipse((30, 25), 40, 20, angle=30)  # in matplotlib, too, y points up or down as x points right
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    inside_of = circle.get_patch_transform().inverted().transform(centres)
    assert (mask_of(tmp_path, "round") == 2 * (np.hypot(*inside_of.T) <= 1).reshape(HEIGHT, WIDTH)).all()
    assert not mask_of(tmp_path, "empty").any()
    for line in [
        "6 images with masks",
        "1 images without any shape are background all over",
        "1 images with a shape without an area, a polyline: line.jpg",
        "1 images with a shape without an area, a points: point.jpg",
        "1 images with a polygon of less than three corners: two.jpg",
        "1 images with an ellipse far outside of the image: far.jpg",
        "4 images with a damaged shape: short.jpg, beyond.jpg, nan.jpg, nameless.jpg",
    ]:
        assert line in told, told


def test_cvats_parts_and_folders(tmp_path):
    for name in ("photos/a.jpg", "photos/b.jpg"):
        photo(tmp_path / name)
    shape = f'<polygon label="cat" points="{as_points(SQUARE)}"/>'
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    told = "".join(
        f'<image name="{name}.jpg" {subset} {size}>{shape}</image>'
        for name, subset in [
            ("a", 'subset="Train"'),
            ("b", 'subset="Validation"'),
            ("../photos/a", ""),
            ("gone" * 99, ""),  # longer than a name may be
        ]
    )
    (tmp_path / "x.xml").write_text(f"<annotations>{told}</annotations>")
    told = converted(tmp_path, "cvat", "x.xml", "--images", "photos")
    assert "2 images with masks, 1 in train.txt, 1 in val.txt" in told
    assert "2 images that are not there: ../photos/a.jpg, gonegone" in told
    assert names_of(tmp_path) == ["background", "cat"]


def test_two_of_cvats_subsets_may_have_images_of_one_name(tmp_path):
    told, size = "", f'width="{WIDTH}" height="{HEIGHT}"'
    for part, shape in ("Train", SQUARE), ("Validation", TRIANGLE):
        photo(tmp_path / "images" / part / "frame.png", len(part))
        polygon = f'<polygon label="cat" points="{as_points(shape)}"/>'
        told += f'<image name="frame.png" subset="{part}" {size}>{polygon}</image>'
    photo(tmp_path / "images" / "frame.png", 99)  # of neither
    photo(tmp_path / "images" / "twice.png")
    told += 2 * f'<image name="twice.png" {size}/>' + f'<image name="x.png" subset="../.." {size}/>'
    (tmp_path / "x.xml").write_text(f"<annotations>{told}</annotations>")
    photo(tmp_path.parent / "x.png")
    told = converted(tmp_path, "cvat", "x.xml")
    assert "2 images with masks, 1 in train.txt, 1 in val.txt" in told
    assert "2 images that stand there twice: twice.png, twice.png" in told
    assert "1 images that are not there: x.png" in told
    for part, shape in ("Train", SQUARE), ("Validation", TRIANGLE):
        assert (mask_of(tmp_path, f"{part}/frame") == drawn((shape, 1))).all()
        image = tmp_path / "data" / "images" / part / "frame.png"
        assert image.read_bytes() == (tmp_path / "images" / part / "frame.png").read_bytes()


def test_an_image_that_no_data_set_can_hold_is_named(tmp_path):
    names = ["one.jpg", ".hidden/two.jpg", "no_ending", "raw.heic"]
    cvat(tmp_path, {name if name.endswith(".jpg") else f"{name}.jpg": "" for name in names})
    text = (tmp_path / "annotations.xml").read_text()
    for name in names[2:]:
        (tmp_path / "images" / f"{name}.jpg").rename(tmp_path / "images" / name)
        text = text.replace(f"{name}.jpg", name)
    (tmp_path / "annotations.xml").write_text(text)
    told = converted(tmp_path, "cvat", "annotations.xml")
    assert "1 images with masks" in told
    assert "3 images whose name no data set can have: two.jpg, no_ending, raw.heic" in told
    assert len(data.find_pairs(tmp_path / "data")) == 1


def test_what_is_no_file_of_cvats(tmp_path):
    bomb = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotations><image name="&c;"/></annotations>'
    for text, words in [
        (bomb, "it declares a document type"),
        ("<annotations>", "cannot be read"),
        ("<annotations/>", "names no images"),
        ("<annotations><track/></annotations>", "export this video as CVAT for images"),
        ('<annotations><image name="a.jpg"/></annotations>', "names 1 images, but a.jpg is not in"),
    ]:
        (tmp_path / "x.xml").write_text(text)
        fails_in_one_line(convert(tmp_path, "cvat", "x.xml", "--out", "data"), words)
        assert not (tmp_path / "data").exists()


# ---------------------------------------------------------------------------------------------------
# VOC

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 756 + [224, 224, 192]


def voc(folder, coloured=False):
    """Three pairs, an image without a mask; the masks have a palette, and a border of 255."""
    random, masks = np.random.default_rng(0), {}
    (folder / "SegmentationClass").mkdir(parents=True)
    for number in range(3):
        photo(folder / "JPEGImages" / f"n{number}.jpg", number)
        masks[f"n{number}"] = random.choice([0, 1, 2, 255], (HEIGHT, WIDTH)).astype(np.uint8)
        picture = Image.fromarray(masks[f"n{number}"])  # which a palette makes one of indices
        picture.putpalette(PALETTE)
        (picture.convert("RGB") if coloured else picture).save(folder / "SegmentationClass" / f"n{number}.png")
    photo(folder / "JPEGImages" / "alone.jpg")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("n0\nn1\n")
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("n2\n")
    return masks


def test_voc_by_values(tmp_path):
    masks = voc(tmp_path / "voc")
    told = converted(tmp_path, "voc", "voc")
    assert "neither labelmap.txt nor class_names.txt" in told and "2 in train.txt, 1 in val.txt" in told
    assert names_of(tmp_path) == ["background", "class 1", "class 2"]
    assert all((mask_of(tmp_path, name) == mask).all() for name, mask in masks.items())
    assert len(data.load(tmp_path / "data").held_out) == 1


def test_a_voc_mask_that_is_neither_grey_nor_of_a_palette_invents_no_classes(tmp_path):
    masks = voc(tmp_path / "voc")
    kind, size = tmp_path / "voc" / "SegmentationClass", (HEIGHT, WIDTH)
    for name in "float", "rgb":
        photo(tmp_path / "voc" / "JPEGImages" / f"{name}.jpg")
    tifffile.imwrite(kind / "float.tif", np.zeros(size, np.float32))
    Image.fromarray(np.full((*size, 3), 200, np.uint8)).save(kind / "rgb.png")
    told = converted(tmp_path, "voc", "voc")
    assert told.count("1 images whose mask is neither grey nor of a palette") == 2, told
    assert names_of(tmp_path) == ["background", "class 1", "class 2"]
    assert all((mask_of(tmp_path, name) == mask).all() for name, mask in masks.items())


def test_voc_with_the_names_that_labelme_writes(tmp_path):
    masks = voc(tmp_path / "voc")
    (tmp_path / "voc" / "class_names.txt").write_text("_background_\nsheep\ncow\n")
    converted(tmp_path, "voc", "voc")
    assert names_of(tmp_path) == ["background", "sheep", "cow"]
    assert all((mask_of(tmp_path, name) == mask).all() for name, mask in masks.items())
    (tmp_path / "names").write_text("background\nsheep\n")
    fails_in_one_line(convert(tmp_path, "voc", "voc", "--names", "names", "--out", "x"), "none of the 3", "holds 2 at")


@pytest.mark.parametrize("coloured, apart", [(True, False), (False, False), (True, True)])
def test_voc_as_cvat_exports_it(tmp_path, coloured, apart):
    """The colours decide, whatever a palette's order; the images may lie elsewhere."""
    masks = voc(tmp_path / "voc", coloured)
    if apart:
        (tmp_path / "voc" / "JPEGImages").rename(tmp_path / "photos")
        done = convert(tmp_path, "voc", "voc", "--out", "data")
        fails_in_one_line(done, "JPEGImages is no folder", "or the folder of the images after --images")
    labelmap = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncow:0,128,0::\nsheep:128,0,0::\n"
    (tmp_path / "voc" / "labelmap.txt").write_text(labelmap)
    converted(tmp_path, "voc", "voc", *(["--images", "photos"] if apart else []))
    assert names_of(tmp_path) == ["background", "cow", "sheep"]
    value_of = np.arange(256)
    value_of[[1, 2]] = 2, 1
    assert all((mask_of(tmp_path, name) == value_of[mask]).all() for name, mask in masks.items())


# ---------------------------------------------------------------------------------------------------
# YOLO


def as_yolo(polygon, number):
    scaled = np.reshape(polygon, (-1, 2)) / (WIDTH, HEIGHT)
    return f"{number} " + " ".join(f"{value:.10f}" for value in scaled.ravel())


@pytest.mark.parametrize(
    "image, label", [("images/{}/{}.jpg", "labels/{}/{}.txt"), ("{}/images/{}.jpg", "{}/labels/{}.txt")]
)
@pytest.mark.parametrize(
    "names",
    [
        "names: ['cat', \"dog\"]",
        "names:\n  0: cat  # purrs\n  1: dog\n",
        "nc: 2\nnames:\n- cat\n- dog\n",
        "names: {0: cat, 1: 'dog'}",
    ],
)
def test_yolo(tmp_path, image, label, names):
    lines = {
        ("train", "one"): [as_yolo(TRIANGLE, 1), as_yolo(SQUARE, 0)],
        ("valid", "two"): [as_yolo(SQUARE, 1)],
        ("train", "empty"): [],
        ("train", "box"): [as_yolo(SQUARE, 1), "0 0.5 0.5 0.2 0.2"],
        ("train", "wild"): ["0 10 10 40 10 40 40"],
        ("train", "third"): [as_yolo(SQUARE, 2)],
    }
    for (part, name), rows in lines.items():
        photo(tmp_path / "yolo" / image.format(part, name), len(name))
        (tmp_path / "yolo" / label.format(part, name)).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "yolo" / label.format(part, name)).write_text("\n".join(rows))
    photo(tmp_path / "yolo" / image.format("train", "alone"))
    (tmp_path / "yolo" / "data.yaml").write_text(names)
    told = converted(tmp_path, "yolo", "yolo")
    assert names_of(tmp_path) == ["background", "cat", "dog"]
    assert (mask_of(tmp_path, "train/one") == drawn((TRIANGLE, 2), (SQUARE, 1))).all()
    assert (mask_of(tmp_path, "valid/two") == drawn((SQUARE, 2))).all()
    assert not mask_of(tmp_path, "train/empty").any()
    for line in [
        "3 images with masks, 2 in train.txt, 1 in val.txt",
        "1 images with a box instead of an outline: box.jpg",
        "1 images with a line that is no outline from 0 to 1: wild.jpg",
        "1 images with a class 2 that has no name: third.jpg",
        "1 images without a file of labels",
    ]:
        assert line in told, told
    assert data.load(tmp_path / "data").held_out == ["valid/two"]


def test_the_names_of_yolo_s_classes_stand_in_the_only_yaml_file_or_in_classes_txt(tmp_path):
    assert find_yolo_names(tmp_path) == tmp_path / "data.yaml"  # whose absence is told
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert find_yolo_names(tmp_path) == tmp_path / "classes.txt"
    (tmp_path / "coco8-seg.yaml").write_text("names: [cat, dog]\n")
    assert find_yolo_names(tmp_path) == tmp_path / "coco8-seg.yaml"
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    assert find_yolo_names(tmp_path) == tmp_path / "data.yaml"


@pytest.mark.parametrize(
    "line, expected",
    [
        ("names: ['truck, large', car]", ["truck, large", "car"]),
        ('names: [driver\'s cab, "a: b, c" , d]', ["driver's cab", "a: b, c", "d"]),
        ("names: {0: 'truck, large', 1: car}", ["truck, large", "car"]),
        ("names: {1: car, 0: truck}", ["truck", "car"]),
        ("names:\n  1: car\n  0: truck\n", ["truck", "car"]),
        ("names: {\n  0: a,\n  1: 'b, c',\n}", ["a", "b, c"]),
        ("names:  # of animals\n  0: a\n  # outdoors\n  1: b  # and more\n", ["a", "b"]),
    ],
)
def test_a_name_in_yolo_s_table_may_hold_a_comma(tmp_path, line, expected):
    (tmp_path / "data.yaml").write_text(f"nc: 2\n{line}\n")
    assert read_yolo_names(tmp_path / "data.yaml") == expected


# ---------------------------------------------------------------------------------------------------
# COCO, there and back


def test_coco(tmp_path):
    every = ("one", "two", "empty", "boxed", "thin")
    for name in every:
        photo(tmp_path / "photos" / f"{name}.jpg", len(name))
    sizes = {"height": HEIGHT, "width": WIDTH}
    table = {
        "images": [{"id": f"i{n}", "file_name": f"{n}.jpg", **sizes} for n in every],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": "ione", "category_id": 7, "segmentation": [TRIANGLE]},
            {"id": 1, "image_id": "ione", "category_id": 3, "segmentation": [SQUARE]},
            {"id": 1, "image_id": "itwo", "category_id": 3, "segmentation": SQUARE},
            {"id": 2, "image_id": "itwo", "category_id": 99, "segmentation": [TRIANGLE]},
            {"id": 1, "image_id": "iboxed", "category_id": 3, "bbox": [1, 1, 9, 9]},
            {"id": 3, "image_id": "ithin", "category_id": 3, "segmentation": [SQUARE, [1, 1, 2, 2]]},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(table))
    told = converted(tmp_path, "coco", "coco.json", "--images", "photos")
    assert "3 images with masks" in told and "1 images with a box but no outline: boxed.jpg" in told
    assert "1 images with a polygon of less than three corners: thin.jpg" in told
    assert (
        "1 annotations of a category that the file does not name: nobody knows what their pixels are, 255: 99" in told
    )
    assert names_of(tmp_path) == ["background", "dog", "cat"]
    assert (mask_of(tmp_path, "one") == drawn((TRIANGLE, 1), (SQUARE, 2))).all()
    assert (mask_of(tmp_path, "two") == drawn((SQUARE, 2), (TRIANGLE, 255))).all()
    assert not mask_of(tmp_path, "empty").any()

    table["images"].append({"id": "again", "file_name": "two.jpg", **sizes})  # each has a part of what is in it
    (tmp_path / "coco.json").write_text(json.dumps(table))
    shutil.rmtree(tmp_path / "data")
    told = converted(tmp_path, "coco", "coco.json", "--images", "photos")
    assert "2 images with masks" in told and "2 images whose name is there twice: two.jpg, two.jpg" in told
    table["categories"].append({"id": 7, "name": "wolf"})
    (tmp_path / "coco.json").write_text(json.dumps(table))
    done = convert(tmp_path, "coco", "coco.json", "--images", "photos", "--out", "other")
    fails_in_one_line(done, "coco.json: 2 categories have no id, or another's")


def test_several_coco_files_become_one_data_set(tmp_path):
    sizes = {"height": HEIGHT, "width": WIDTH}
    categories = [
        {"id": 0, "name": "things", "supercategory": "none"},  # as Roboflow writes it
        {"id": 1, "name": "dog", "supercategory": "things"},
        {"id": 2, "name": "cat", "supercategory": "things"},
    ]
    umlaut = unicodedata.normalize("NFC", "Straße_ä")
    for part, name, number in [("train", umlaut, 1), ("valid", "one", 1), ("test", "one", 2)]:
        photo(tmp_path / part / f"{unicodedata.normalize('NFD', name)}.jpg")  # as on a Mac
        table = {
            "images": [{"id": 0, "file_name": f"{name}.jpg", **sizes}],
            "categories": categories if part != "test" else categories[:0:-1],
            "annotations": [{"id": 0, "image_id": 0, "category_id": number, "segmentation": [SQUARE]}],
        }
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(table))
    files = [f"{part}/_annotations.coco.json" for part in ("train", "valid", "test")]
    told = converted(tmp_path, "coco", *files, "--images", "train", "valid", "test")
    assert "3 images with masks, 1 in train.txt, 1 in val.txt, 1 in test.txt" in told
    assert "the category things gathers others and has no annotation, so it is no class" in told
    assert names_of(tmp_path) == ["background", "dog", "cat"]
    for name, value in [(f"train/{umlaut}", 1), ("valid/one", 1), ("test/one", 2)]:
        assert (mask_of(tmp_path, name) == drawn((SQUARE, value))).all(), name
    assert len(data.find_pairs(tmp_path / "data")) == 3
    done = convert(tmp_path, "coco", *files, "--images", "train", "--out", "other")
    fails_in_one_line(done, "3 files, but --images names 1 folders; expected as many")


def test_coco_files_of_parts_whose_images_lie_in_one_folder(tmp_path):
    sizes = {"height": HEIGHT, "width": WIDTH}
    for part in "train", "val":
        photo(tmp_path / "photos" / f"{part}_one.jpg")
        table = {
            "images": [{"id": 0, "file_name": f"{part}_one.jpg", **sizes}],
            "categories": [{"id": 1, "name": "dog", "supercategory": ["odd"]}, {"id": 2, "supercategory": "none"}],
            "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "segmentation": [SQUARE]}],
        }
        (tmp_path / f"instances_{part}2017.json").write_text(json.dumps(table))
    files = ["instances_train2017.json", "instances_val2017.json"]
    told = converted(tmp_path, "coco", *files, "--images", "photos", "photos")
    assert "2 images with masks, 1 in train.txt, 1 in val.txt" in told
    done = convert(tmp_path, "coco", files[0], files[0], "--images", "photos", "photos", "--out", "other")
    fails_in_one_line(done, "would both become train_one")


@pytest.mark.parametrize(
    "turn, said, fits",
    [
        (6, (HEIGHT, WIDTH), True),
        (6, (WIDTH, HEIGHT), False),
        (3, (HEIGHT, WIDTH), False),
        (1, (HEIGHT, WIDTH), True),
        (0, (HEIGHT, WIDTH), True),  # as some cameras write: EXIF knows no such way to lie, so nobody turns it
    ],
)
def test_coco_s_photographs_of_a_phone_held_upright(tmp_path, turn, said, fits):
    """Its EXIF swaps the sides, so that the annotated size tells whether somebody saw it upright."""
    stored = (WIDTH, HEIGHT) if turn == 6 else (HEIGHT, WIDTH)
    photo(tmp_path / "photos" / "plain.jpg")
    exif = Image.Exif()
    exif[274] = turn
    Image.fromarray(np.zeros((*stored, 3), np.uint8)).save(tmp_path / "photos" / "phone.jpg", exif=exif)
    table = {
        "images": [
            {"id": 1, "file_name": "phone.jpg", "height": said[0], "width": said[1]},
            {"id": 2, "file_name": "plain.jpg", "height": HEIGHT, "width": WIDTH},
        ],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [SQUARE]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(table))
    told = converted(tmp_path, "coco", "coco.json", "--images", "photos")
    assert ("images that their EXIF turns, so that the annotations may not fit: phone.jpg" in told) != fits
    assert "1 images without any shape are background all over" in told
    if fits:
        assert (mask_of(tmp_path, "phone") == drawn((SQUARE, 1))).all()


@pytest.fixture
def masks(tmp_path):
    """Masks of three classes with regions in all sizes, with holes, and their images."""
    random, found = np.random.default_rng(3), {}
    for number in range(3):
        name = f"deep/n{number}" if number == 2 else f"n{number}"
        photo(tmp_path / "photos" / f"{name}.jpg", number)
        coarse = random.integers(0, 3, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1)
        noisy = random.integers(0, 3, (HEIGHT, WIDTH))
        found[name] = np.where(random.random((HEIGHT, WIDTH)) < 0.2, noisy, coarse).astype(np.uint8)
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(10 * found[name]).save(tmp_path / "masks" / f"{name}.png")
    classes = [{"name": name, "value": value} for name, value in [("background", 0), ("cat", 10), ("dog", 20)]]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": classes}))
    return found


def test_masks_become_coco_and_the_very_same_masks_again(masks, tmp_path):
    done = convert(tmp_path, "to-coco", "masks", "--images", "photos", "--out", "out.json")
    assert done.returncode == 0 and "in 3 images" in done.stdout, done.stderr
    truth = coco.COCO(tmp_path / "out.json")
    assert {number: one["name"] for number, one in truth.cats.items()} == {1: "cat", 2: "dog"}
    for image in truth.imgs.values():
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for one in truth.imgToAnns[image["id"]]:
            where = truth.annToMask(one) > 0
            assert not mask[where].any() and one["area"] == where.sum()
            assert one["bbox"] == codes.toBbox(codes.encode(np.asfortranarray(where, np.uint8))).tolist()
            mask[where] = one["category_id"]
        assert (mask == masks[image["file_name"].removesuffix(".jpg")]).all()
    converted(tmp_path, "coco", "out.json", "--images", "photos")
    assert names_of(tmp_path) == ["background", "cat", "dog"]
    assert all((mask_of(tmp_path, name) == mask).all() for name, mask in masks.items())


def test_masks_become_geojson_whose_rings_hold_the_centres_of_their_pixels(masks, tmp_path):
    done = convert(tmp_path, "to-geojson", "masks", "--out", "out")
    assert done.returncode == 0, done.stderr
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    for name, mask in masks.items():
        table = json.loads((tmp_path / "out" / f"{name}.geojson").read_text())
        found, times = np.zeros(mask.shape, int), np.zeros(mask.shape, int)
        for feature in table["features"]:
            outer, *holes = feature["geometry"]["coordinates"]
            assert all(ring[0] == ring[-1] and len(ring) > 3 for ring in (outer, *holes))
            inside_of = [Outline(ring).contains_points(centres).reshape(mask.shape) for ring in (outer, *holes)]
            where = inside_of[0] & ~np.any([np.zeros_like(found, bool), *inside_of[1:]], axis=0)
            found[where] = {"cat": 1, "dog": 2}[feature["properties"]["classification"]["name"]]
            times += where
        assert (found == mask).all() and times.max() == 1


@pytest.mark.parametrize("kind", ["area", "point", "degrees", "turned", "nowhere"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # of rasterio
def test_geojson_of_a_geotiff_lies_where_that_lies(tmp_path, kind):
    """So that QGIS shows it there: rasterio burns it into the very same mask."""
    mask = (np.random.default_rng(0).integers(0, 2, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1) * 255).astype(
        "u1"
    )
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_600_000)
    if kind == "degrees":
        place = rasterio.Affine(0.001, 0, 9.5, 0, -0.002, 50.5)
    elif kind == "turned":
        place = place * rasterio.Affine.rotation(20)
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 1, "dtype": "uint8"}
    if kind != "nowhere":
        profile |= {"transform": place, "crs": "EPSG:4326" if kind == "degrees" else "EPSG:32632"}
    (tmp_path / "masks").mkdir()
    with rasterio.open(tmp_path / "masks" / "a.tif", "w", **profile) as file:
        file.update_tags(AREA_OR_POINT="Point" if kind == "point" else "Area")
        file.write(mask, 1)
    done = convert(tmp_path, "to-geojson", "masks", "--out", "out")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "out" / "a.geojson").read_text())
    name = table.get("crs", {}).get("properties", {}).get("name")
    assert name == (None if kind in ("degrees", "nowhere") else "urn:ogc:def:crs:EPSG::32632")
    shapes = [(feature["geometry"], 255) for feature in table["features"]]
    transform = {} if kind == "nowhere" else {"transform": place}
    assert np.array_equal(rasterize(shapes, (HEIGHT, WIDTH), **transform), mask)


@pytest.mark.parametrize("orientation", [0, 1])  # 0 is none: the mask lies as it is stored
def test_a_place_on_the_earth_that_is_none_is_told_in_one_line(tmp_path, orientation):
    mask = np.repeat(np.array([[0, 255]], np.uint8), 30, axis=0)
    tags = [(33550, "d", 3, (float("nan"), 1.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 1.0, 2.0, 0.0), True)]
    tags.append((274, "H", 1, orientation, True))
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks" / "a.tif", mask, photometric="minisblack", extratags=tags)
    fails_in_one_line(convert(tmp_path, "to-geojson", "masks", "--out", "out"), "a.tif", "a place on the earth")


def test_outlines_with_fewer_corners_say_what_that_costs(tmp_path):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = 255 * ((np.hypot(y - 30, x - 30) < 20) & (np.hypot(y - 30, x - 30) > 8) | (np.hypot(y - 30, x - 65) < 9))
    photo(tmp_path / "photos" / "a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / "a.png")
    corners, fits = [], []
    for tolerance in (0, 1):
        words = ["to-coco", "masks", "--images", "photos", "--out", f"{tolerance}.json", "--tolerance", tolerance]
        told = convert(tmp_path, *words).stdout
        table = coco.COCO(tmp_path / f"{tolerance}.json")
        found = np.any([table.annToMask(one) for one in table.anns.values()], axis=0)
        fits.append(float((found & (mask > 0)).sum() / (found | (mask > 0)).sum()))
        corners.append(sum(len(one["segmentation"][0]) // 2 for one in table.anns.values()))
        assert ("tolerance" in told) == (tolerance > 0) and len(table.anns) == 2
    assert f"with a tolerance of 1 pixels, their IoU with the masks is {fits[1]:.4f}" in told
    assert fits[0] == 1 and 0.9 < fits[1] < 1 and corners[1] < corners[0] / 2
    done = convert(tmp_path, "to-geojson", "masks", "--out", "out", "--tolerance", "1")
    assert f"their IoU with the masks is {fits[1]:.4f}" in done.stdout


def test_the_jpegs_that_infer_writes_of_two_classes_are_exact(tmp_path):
    random, classes = np.random.default_rng(0), [{"name": "background", "value": 0}, {"name": "cat", "value": 255}]
    mask = (random.random((HEIGHT // 4, WIDTH // 4)) < 0.4).repeat(4, 0).repeat(4, 1)
    photo(tmp_path / "photos" / "a.jpg")
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / "masks" / "a.jpg", mask.astype(np.uint8), classes, tmp_path / "photos" / "a.jpg")
    done = convert(tmp_path, "to-coco", "masks", "--images", "photos", "--out", "out.json")
    assert done.returncode == 0, done.stderr
    truth = coco.COCO(tmp_path / "out.json")
    assert [one["name"] for one in truth.cats.values()] == ["foreground"]
    assert (np.any([truth.annToMask(one) for one in truth.anns.values()], axis=0) == mask).all()


def test_outlines_are_no_users_file_and_classes_may_be_found_by_value(masks, tmp_path):
    (tmp_path / "classes.json").unlink()
    (tmp_path / "out.json").write_text("{}")
    words = ["to-coco", "masks", "--images", "photos", "--out", "out.json"]
    fails_in_one_line(convert(tmp_path, *words), "out.json exists and was not written by this program")
    (tmp_path / "out.json").unlink()
    assert convert(tmp_path, *words).returncode == 0
    names = [one["name"] for one in coco.COCO(tmp_path / "out.json").cats.values()]
    assert names == ["class 0", "class 10", "class 20"]  # no class is called background
    assert convert(tmp_path, *words).returncode == 0  # its own file it may write again
    photo(tmp_path / "other" / "x.jpg")
    words[3] = "other"
    fails_in_one_line(convert(tmp_path, *words), "masks and other hold no pair")


# ---------------------------------------------------------------------------------------------------
# All


def test_the_same_command_goes_on_and_another_is_refused(tmp_path):
    for name in ("one", "two"):
        labelme(tmp_path / "source", name, [("cat", "polygon", points(SQUARE), {})])
    converted(tmp_path, "labelme", "source")
    before = contents(tmp_path / "data")
    (tmp_path / "data" / "masks" / "one.png").unlink()
    (tmp_path / "data" / "images" / "two.jpg").unlink()
    converted(tmp_path, "labelme", "source")
    assert contents(tmp_path / "data") == before
    kept = (tmp_path / "source" / "one.json").read_text()
    (tmp_path / "source" / "one.json").write_text(kept.replace("[10, 10]", "[11, 11]"))  # of the same size
    done = convert(tmp_path, "labelme", "source", "--out", "data")
    fails_in_one_line(done, "data was begun with another content of annotations")
    (tmp_path / "source" / "one.json").write_text(kept)
    labelme(tmp_path / "source", "three", [("cat", "polygon", points(SQUARE), {})])
    done = convert(tmp_path, "labelme", "source", "--out", "data")
    fails_in_one_line(done, "data was begun with another set of files")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "file").write_text("a user's")
    fails_in_one_line(convert(tmp_path, "labelme", "source", "--out", "own"), "own is there and holds other things")


def test_mistakes_are_told_in_one_line(tmp_path):
    photo(tmp_path / "photos" / "a.jpg")
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes").write_text("cat\n")
    for words, told in [
        ("labelme nowhere", "nowhere is no folder"),
        ("yolo photos --names nowhere", "nowhere cannot be read"),
        ("yolo photos --names classes", "photos holds no image with its labels"),
        ("coco nowhere --images photos", "nowhere cannot be read"),
        ("pairs --images empty --masks photos", "empty holds no image"),
        ("pairs --images photos", "--masks"),
        ("to-coco empty --images photos", "empty holds no image"),
    ]:
        fails_in_one_line(convert(tmp_path, *words.split(), "--out", "data"), told)
        assert not (tmp_path / "data").exists(), words
