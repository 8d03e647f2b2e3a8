"""Bad inputs of every command: one line that names the file and says what to do, nothing half-written, nothing changed.

CASES is the table: what is wrong, how the files are made, the command, words that its one line must hold. Each
case begins in a copy of the same good folder (`good_folder`), in which every command works.
"""

import contextlib
import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import ROOT, TABLE, command, fails_in_one_line, inside, write_pair
from forked import Forked
from PIL import Image

from model import UNet
from support.arguments import predict_arguments
from support.checkpoint import save_checkpoint
from support.files import MARK, write_json
from support.script import PACKAGES, run_script

# ---------------------------------------------------------------------------------------------------
# The good folder


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory):
    """A folder in which every command works; each case gets a copy.

    a.png, a_mask.png       an image and its mask, 0 and 255
    data/                   four pairs with a classes.json and the lists of its names; predicted/ holds masks of them
    model.pt, unet.pt       an FCN of two classes, a U-Net of the three of data/; model.onnx is the FCN, too
    run/                    a finished training, of one epoch
    photos/, coco.json      annotated photographs
    faces/, camvid/         what the other challenges are prepared from
    """
    folder = tmp_path_factory.mktemp("good")
    for number in range(4):
        write_pair(folder / "data", f"n{number}", number)
        write_pair(folder / "faces", f"n{number}", number, values=(0, 255, 255, 0))
    (folder / "data" / "classes.json").write_text(json.dumps(TABLE))
    (folder / "list.txt").write_text("n0\nn1\nn2\n")
    shutil.copytree(folder / "data" / "masks", folder / "predicted")
    shutil.copytree(folder / "data" / "images", folder / "photos")
    shutil.copyfile(folder / "faces" / "images" / "n0.png", folder / "a.png")
    shutil.copyfile(folder / "faces" / "masks" / "n0.png", folder / "a_mask.png")
    for part in ("images", "masks"):
        shutil.copytree(folder / "faces" / part, folder / "camvid" / "train" / part)
    for path in (folder / "camvid" / "train" / "masks").iterdir():
        Image.open(path).point(lambda value: value // 255).save(path)
    (folder / "coco.json").write_text(json.dumps(coco_table()))
    shutil.copyfile(ROOT / "checkpoints" / "fcn.pt", folder / "model.pt")
    metadata = {"classes": TABLE["classes"], "ignore": [9], "mean": [0.5] * 3, "std": [0.2] * 3, "settings": {}}
    save_checkpoint(folder / "unet.pt", UNet(3, 4, 2), **metadata)
    (folder / "quick.args").write_text("--epochs 1 --steps 1 --batch 1  # a moment\n")
    for words in (
        ["train.py", "a.png", "a_mask.png", "--out", "run", "@quick.args"],
        ["-m", "tools.export", "model.pt", "--out", "model.onnx"],
    ):
        done = inside(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def coco_table():
    square = [[10.0, 10.0, 40.0, 10.0, 40.0, 40.0, 10.0, 40.0]]
    return {
        "images": [{"id": n, "file_name": f"n{n}.png", "height": 70, "width": 90} for n in range(4)],
        "annotations": [{"id": 9 + n, "image_id": n, "category_id": 1, "segmentation": square} for n in range(4)],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}, {"id": 3, "name": "car"}],
    }


# ---------------------------------------------------------------------------------------------------
# What is done to it: each returns a function of the folder


def text(name, content=""):
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def two_classes(value, ignore="[9]"):
    """A class table in the file x."""
    return text(
        "x", f'{{"classes": [{{"name": "a", "value": {value}}}, {{"name": "b", "value": 3}}], "ignore": {ignore}}}'
    )


def noise(name):
    return lambda folder: (folder / name).write_bytes(np.random.default_rng(0).bytes(3000))


def cut(name, share=0.5):
    """Keep the first part of a file."""
    return lambda folder: os.truncate(folder / name, int(share * (folder / name).stat().st_size))


def gone(name):
    return lambda folder: (shutil.rmtree if (folder / name).is_dir() else os.remove)(folder / name)


def new_folder(name):
    return lambda folder: (folder / name).mkdir(parents=True)


def copy(name, to):
    return lambda folder: shutil.copyfile(folder / name, folder / to)


def picture(name, values, size=(90, 70)):
    """Write a picture, (width, height), that repeats these values, grey ones or colours."""

    def make(folder):
        width, height = size
        array = np.array(values, np.uint8)
        Image.fromarray(np.resize(array, (height, width, *array.shape[1:]))).save(folder / name)

    return make


def table_of_a_tool(folder):
    """Write the class table of data/ as tools.convert does: with our mark, so that only its use protects it."""
    write_json(folder / "data" / "classes.json", TABLE)


def changed(name, change):
    """Change what a JSON file holds."""

    def make(folder):
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return make


def says(**entries):
    """Let the class table of the data set say more."""
    return changed("data/classes.json", lambda table: table.update(entries))


def rename(table):
    table["classes"][0]["name"] = "a\nb"


def edited(name, change):
    """Change what a checkpoint holds; x.pt is a copy of model.pt."""

    def make(folder):
        content = torch.load(folder / name.replace("x.pt", "model.pt"), weights_only=True)
        change(content)
        torch.save(content, folder / name)

    return make


def optimizer_state(content):
    return content["resume"]["optimizer"]["state"]


def one_class_more(content):
    content["classes"].append({"name": "more", "value": 8})


def one_weight_less(content):
    content["weights"].popitem()


# ---------------------------------------------------------------------------------------------------
# The table


class Case(NamedTuple):
    line: str  # the command
    words: list  # that its one line must hold
    changes: list  # what is done to the good folder before


def case(name, line, *more):
    """A row of the table; `more` are words and changes, in any order."""
    changes = [one for one in more if callable(one)]
    return pytest.param(Case(line, [one for one in more if not callable(one)], changes), id=name)


TRAIN = "train.py @quick.args --out out"
PAIR = f"{TRAIN} a.png a_mask.png"
DATA = f"{TRAIN} --data data"
CLASSES = f"{DATA} --classes x"
RESUME = "train.py --resume --out run --epochs 2"
STRANGE = "predict.py a.png --checkpoint x.pt"
X = f"{TRAIN} a.png x.png"  # x is what a case makes
EVALUATE = "evaluate.py predicted data/masks"
ONNX = "infer.py photos out --onnx"
EXPORT = "-m tools.export model.pt --out x.onnx"
SPEED = "-m tools.speed model.pt photos"
REPORT = "-m tools.report"
SHOW = "-m tools.show windows a.png"
THRESHOLDS = "-m tools.thresholds photos"
COCO = "-m challenges.coco.prepare --annotations coco.json --images photos --out out --classes person"
CAMVID = "-m challenges.cityscapes.prepare camvid --layout camvid --out out"
LOGO = "-m challenges.logo.prepare --count 1 --out out"
CORRUPT = "-m challenges.cityscapes.corrupt photos out --kind contrast --severity 1"
FACES = "-m challenges.eyeglasses.prepare faces --out out"
FOLDS = "-m tools.crossvalidate --folds 2 --data data --out out @quick.args"


def made(name, content, first=None):
    """Write a file of an earlier run of the command `first`, into a folder that is made where it is not there."""

    def make(folder):
        if first:
            inside(*shlex.split(first), cwd=folder)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return make


PLACEMENTS = b"image,photograph,quality,logo,mirrored,angle,swirl,scale,alpha,top,left,height,width,area\n"
HISTORY = b"epoch,train_loss,val_loss,val_iou,val_accuracy,learning_rate,seconds\n"
ALL = range(4)

CASES = [
    # train.py: an image and its mask
    case("no image", f"{TRAIN} nowhere.png a_mask.png", "nowhere.png does not exist; expected an image file"),
    case("no mask", f"{TRAIN} a.png nowhere.png", "nowhere.png does not exist; expected an image file"),
    case("a text as image", f"{TRAIN} x.png a_mask.png", "x.png is no readable image", text("x.png", "hello")),
    case("an empty image", f"{TRAIN} x.png a_mask.png", "x.png is no readable image", text("x.png")),
    case("a random image", f"{TRAIN} x.png a_mask.png", "x.png is no readable image", noise("x.png")),
    case(
        "a folder as image",
        f"{TRAIN} data a_mask.png",
        "data is a folder; expected an image file (infer.py segments a folder",
    ),
    case("an image below a file", f"{TRAIN} a.png/x.png a_mask.png", "a.png/x.png is no readable image"),
    case("another size", X, "a.png is 90x70 pixels, but x.png is 91x70", picture("x.png", [0, 255], (91, 70))),
    case("one pixel", f"{TRAIN} x.png x.png", "x.png is 1x1 pixels; expected at least", picture("x.png", [0], (1, 1))),
    case("one value", X, "x.png holds a single value, 7", "at least two", picture("x.png", [7])),
    case("17 values", X, "x.png holds 17 different values", "at most 16", picture("x.png", range(17))),
    case("one file too few", f"{TRAIN} a.png", "IMAGE and MASK go together"),
    case("out is a file", f"{PAIR} --out model.pt", "model.pt/model.pt cannot be written"),
    case("out is below a file", f"{PAIR} --out model.pt/x", "model.pt/x/model.pt cannot be written"),
    case("out is in /proc", f"{PAIR} --out /proc/x", "/proc/x/model.pt cannot be written"),
    case("out is the device of no space", f"{PAIR} --out /dev/full", "/dev/full/model.pt cannot be written"),
    case(
        "the user's own model.pt",
        f"{PAIR} --out run",
        "run/model.pt exists and was not written",
        text("run/model.pt", "mine"),
    ),
    case("a folder named model.pt", PAIR, "out/model.pt is a folder", new_folder("out/model.pt")),
    case("the data in a file", f"{TRAIN} --data a.png", "a.png is no folder"),
    case("no data", f"{TRAIN} --data nowhere", "nowhere is no folder"),
    case("data without masks", DATA, "data/masks is no folder", gone("data/masks")),
    case(
        "data without a readable image",
        DATA,
        "none of 4 pairs can be read: data/images/n0.png is no readable image",
        *(cut(f"data/images/n{number}.png") for number in ALL),
    ),
    case(
        "data without a readable mask",
        DATA,
        "none of 4 pairs can be read: data/masks/n0.png is no readable image",
        *(noise(f"data/masks/n{number}.png") for number in ALL),
    ),
    case("data with a value of no class", DATA, "n2.png holds 77 at x=0, y=0", picture("data/masks/n2.png", [77])),
    case("out is the data", f"{DATA} --out data", "--out data is the data set itself"),
    case("no classes", f"{DATA} --classes nowhere.json", "nowhere.json does not exist; expected a class table"),
    case("classes in a folder", f"{DATA} --classes data", "data: it cannot be read"),
    case("classes are no JSON", CLASSES, "x: it cannot be read", text("x", "road, car")),
    case("classes are no text", CLASSES, "x: it cannot be read", noise("x")),
    case("classes nested 100,000 deep", CLASSES, "x: it cannot be read", text("x", "[" * 100_000)),
    case("objects nested 100,000 deep", CLASSES, "x: it cannot be read", text("x", '{"a":' * 100_000)),
    case("a class is NaN", CLASSES, "x: nan is neither a grey value", two_classes("NaN")),
    case("a class is 1e400", CLASSES, "x: inf is neither a grey value", two_classes("1e400")),
    case("a class of 5000 digits", CLASSES, "x: it cannot be read", two_classes("9" * 5000)),
    case("a class of 400 digits", CLASSES, "x: 9999", "is neither a grey value", two_classes("9" * 400)),
    case("classes twice", CLASSES, "x: ", "'classes' stands there twice", text("x", '{"classes": [], "classes": []}')),
    case("a value twice in a class", CLASSES, "x: ", "'value' stands there twice", two_classes('0, "value": 3')),
    case("one class", CLASSES, "x: it has 1 classes", text("x", '{"classes": [{"name": "a", "value": 0}]}')),
    case("classes are a number", CLASSES, 'x: it has no list "classes"', text("x", "7")),
    case("ignored is a number", CLASSES, 'x: "ignore" is no list', two_classes("0", ignore="9")),
    case("a name with a line end", DATA, "the name 'a\\nb' holds", changed("data/classes.json", rename)),
    case("ignored, misspelt", DATA, "classes.json: 'ignore_index' means nothing", "'ignore'", says(ignore_index=[9])),
    case("a color", CLASSES, "x: 'color' means nothing there; expected 'colour'", two_classes('0, "color": []')),
    case("white is 0", DATA, 'classes.json: "full_scale" is 0; expected', says(full_scale=0)),
    case("white is NaN", DATA, 'classes.json: "full_scale" is nan; expected', says(full_scale=math.nan)),
    case("a band 0", DATA, 'classes.json: "bands" is [2, 1, 0]; expected', "counted from 1", says(bands=[2, 1, 0])),
    case("bands of a PNG", DATA, "n0.png is no TIFF file; expected one with bands 4, 3 and 2", says(bands=[4, 3, 2])),
    case("lists are a file", f"{DATA} --lists list.txt", "list.txt holds no list; expected train.txt"),
    case(
        "an unknown name in test.txt", DATA, "data/test.txt names typo; expected", text("data/test.txt", "n0\ntypo\n")
    ),
    case("an empty val.txt", DATA, "data/val.txt names nothing", text("data/val.txt")),
    case("val.txt is a folder", DATA, "data/val.txt cannot be read (Is a directory)", new_folder("data/val.txt")),
    case("val.txt is no text", DATA, "data/val.txt cannot be read (it is no text)", noise("data/val.txt")),
    case(
        "a name in two lists",
        DATA,
        "names n0, which val.txt names, too",
        *(text(f"data/{one}.txt", "n0") for one in ("val", "test")),
    ),
    case("no settings file", f"{PAIR} @nowhere", "nowhere cannot be read", "expected a file of arguments"),
    case("settings are a folder", f"{PAIR} @data", "data cannot be read (Is a directory)"),
    case("settings are no text", f"{PAIR} @x", "x cannot be read", noise("x")),
    case("settings with a null", f"{PAIR} @x", "x cannot be read (it is no text)", text("x", "--out a\0b")),
    case("half a quotation", f"{PAIR} @x", "x cannot be read (No closing quotation)", text("x", "--out 'a")),
    case("settings that name themselves", f"{TRAIN} @x", "x names itself", text("x", "@x")),
    *(
        case(f"an empty {name}", line, f'{name} "": expected a {kind}')
        for name, kind, line in [
            ("--out", "folder", f"{PAIR} --out ''"),
            ("--out", "folder", "train.py --resume --out="),
            ("image", "file", f"{TRAIN} '' a_mask.png"),
            ("mask", "file", f"{TRAIN} a.png ''"),
            ("--lists", "folder", f"{DATA} --lists ''"),
            ("--classes", "file", f"{DATA} --classes ''"),
            ("image", "file", "predict.py ''"),
            ("--out", "file", "predict.py a.png --out ''"),
            ("--checkpoint", "file", "predict.py a.png --checkpoint ''"),
            ("OUTPUT_DIR", "folder", "infer.py photos ''"),
            ("IMAGE_DIR", "folder", "infer.py '' out"),
            ("--overlay", "folder", "infer.py photos out --overlay ''"),
            ("PRED_DIR", "folder", "evaluate.py '' ''"),
            ("--json", "file", f"{EVALUATE} --json ''"),
        ]
    ),
    case("nothing to resume", f"{TRAIN} --resume", "out/last.pt does not exist; expected the --out of a training"),
    case("a cut last.pt", RESUME, "run/last.pt is no checkpoint of ours", cut("run/last.pt")),
    case("a model as last.pt", RESUME, "run/last.pt holds a network but no training", copy("model.pt", "run/last.pt")),
    case(
        "a damaged training",
        RESUME,
        "run/last.pt is no",
        edited("run/last.pt", lambda content: content.update(resume=7)),
    ),
    case("resumed without its image", RESUME, "a.png does not exist", gone("a.png")),
    case("resumed with another image", RESUME, "run/last.pt was trained on other images", picture("a.png", range(256))),
    case("resumed as another network", f"{RESUME} --batchnorm", "run/last.pt holds another network"),
    # Numbers
    *(
        case(f"--lr {value}", f"{PAIR} --lr={value}", "--lr", value)
        for value in ("nan", "inf", "1e400", "-0", "-inf", "1e", "0x1")
    ),
    *(
        case(f"--epochs {value}", f"{PAIR} --epochs={value}", "--epochs", value)
        for value in ("nan", "1e3", "-0", "1.0", "½", "9" * 40)
    ),
    *(
        case(f"--seed {value}", f"{PAIR} --seed={value}", "--seed", value[:20])
        for value in ("-1", "4294967296", "9" * 5000)
    ),
    case("--batch without end", f"{PAIR} --batch={'9' * 20}", "--batch: 9", "from 1 to 65536"),
    case("--patch without end", f"{PAIR} --patch={'9' * 20}", "--patch: 9", "from 8 to 65536"),
    case("--patch beyond the budget", f"{PAIR} --patch 512", "512", "256"),
    case("--memory nan", f"{DATA} --memory nan", "--memory: nan is not a number"),
    case("--scale 2 1", f"{PAIR} --scale 2 1", "--scale 2 1: expected the smaller one first"),
    case("--keep 0", f"{THRESHOLDS} --keep 0", "--keep: 0 is not a number from 0.01 to 1"),
    case("--reject nan", "infer.py photos out --reject nan", "--reject: nan is not a number"),
    case("--adapt inf", "predict.py a.png --adapt inf", "--adapt: inf is not a number"),
    case("--folds 1", f"{FOLDS} --folds 1", "--folds: 1 is not a whole number from 2 to 100"),
    case("--rounds 0", f"{EXPORT} --rounds 0", "--rounds: 0 is not a whole number from"),
    case("--threads 0", f"{SPEED} --threads 0", "--threads: 0 is not a whole number from"),
    case("--gallery 9", f"{REPORT} run --gallery 9", "--gallery: 9 is not a whole number from"),
    case("--worst 0", f"{EVALUATE} --worst 0", "--worst: 0 is not a whole number from"),
    case("--count 1e400", f"{LOGO} --count 1e400", "--count"),
    case("--size 1 1", f"{LOGO} --size 1 1", "--size: 1 is not a whole number from"),
    case("--choose nan", f"{CAMVID} --choose nan", "--choose: nan is not a number from"),
    case("--severity 6", f"{CORRUPT} --severity 6", "--severity: 6 is not a whole number from"),
    case("--split nan", f"{FACES} --split nan 0 0", "--split: nan is not a number from"),
    case("--boxes nan", f"{COCO} --boxes nan", "--boxes: nan is not a number of at least"),
    case("--halo -1", f"{SHOW} --halo=-1", "a halo of -1; expected"),
    case("--stride 0", f"{SHOW} --stride 0", "stride, 0"),
    case("--window 0", f"{SHOW} --window 0", "windows of 0 pixels"),
    case("--window 257", f"{SHOW} --window 257", "windows of 257 pixels"),
    case("--window 8 with halo 8", f"{SHOW} --window 8", "windows of 8 pixels with a halo of 8"),
    case("--halo 10**9", f"{SHOW} --halo 1000000000", "a halo of 1000000000"),
    # predict.py
    case("no checkpoint", "predict.py a.png --checkpoint nowhere.pt", "nowhere.pt does not exist; expected"),
    case(
        "a folder as checkpoint",
        "predict.py a.png --checkpoint data",
        "data is a folder; expected a checkpoint, such as",
    ),
    case("a text as checkpoint", STRANGE, "x.pt is no checkpoint of ours", text("x.pt", "hello")),
    case("an empty checkpoint", STRANGE, "x.pt is no checkpoint of ours", text("x.pt")),
    case("an image as checkpoint", "predict.py a.png --checkpoint a.png", "a.png is no checkpoint of ours"),
    case(
        "a strange checkpoint",
        STRANGE,
        "x.pt is no checkpoint of ours",
        edited("x.pt", lambda content: content.clear()),
    ),
    case(
        "more classes than the network",
        STRANGE,
        "x.pt is no",
        "names 3 classes, its network has 2",
        edited("x.pt", one_class_more),
    ),
    case(
        "weights of another network",
        STRANGE,
        "x.pt is no checkpoint",
        "weights are not those",
        edited("x.pt", one_weight_less),
    ),
    case("no image to predict", "predict.py nowhere.png", "nowhere.png does not exist; expected an image file"),
    case("a mask of other classes", "predict.py a.png --mask predicted/n0.png", "predicted/n0.png holds 9 at x=0, y=0"),
    case("out of another kind", "predict.py a.png --out x.gif", "x.gif ends in .gif; expected .png or .jpg"),
    case("out without a kind", "predict.py a.png --out x", "x ends in nothing; expected .png or .jpg"),
    case("out is a folder", "predict.py a.png --out data", "data is a folder"),
    case("out is the image", "predict.py a.png --out a.png", "a.png is an input and would be overwritten"),
    case("out is another's image", "predict.py a.png --out a_mask.png", "a_mask.png exists and was not written"),
    case("out is a device", "predict.py a.png --out /dev/full", "/dev/full"),
    case("a name of 300 bytes", f"predict.py a.png --out {'n' * 300}.png", "cannot be written (File name too long)"),
    case("a name of 256 bytes", f"predict.py a.png --out {'n' * 252}.png", "cannot be written (File name too long)"),
    case("overlay below a file", "predict.py a.png --out x.png --overlay a.png/x.png", "a.png/x.png cannot be written"),
    case("nothing to adapt", "predict.py a.png --adapt 1", "--adapt: this network has no BatchNorm"),
    case("a halo that does not fit", "predict.py a.png --halo 127", "--halo 127: expected 0 to 126"),
    case("an image and an argument too many", "predict.py a.png b.png", "b.png"),
    case("a name with a leading dash", "predict.py -x.png", "-x.png"),
    case("a name with a leading @", "predict.py @x.png", "x.png cannot be read"),
    case(
        "over the sample's mask",
        "predict.py a.png --out gt.png",
        "gt.png is an input and would be overwritten",
        picture("gt.png", [0, 255]),
    ),
    # infer.py
    case(
        "features of ONNX",
        "infer.py photos out --checkpoint model.onnx --score features --reject 1",
        "only PyTorch shows them",
    ),
    case("a data set", "infer.py data out", "data is a data set, with masks among its images; expected data"),
    case("no images", "infer.py nowhere out", "nowhere is no folder; expected one of images"),
    case("an image as folder", "infer.py a.png out", "a.png is a file; expected a folder of images (predict.py"),
    case("a folder without images", "infer.py x out", "x holds no image; expected files", new_folder("x")),
    case("masks among the images", "infer.py photos photos/masks", "photos/masks is inside photos"),
    case(
        "images that share a mask",
        "infer.py photos out --format png",
        "both become n0.png",
        copy("a.png", "photos/n0.bmp"),
    ),
    case("no network", "infer.py photos out --checkpoint nowhere.pt", "nowhere.pt does not exist; expected"),
    case("no list", "infer.py photos out --only nowhere.txt", "nowhere.txt cannot be read (No such file or directory)"),
    case("an unknown name", "infer.py photos out --only x", "x names typo; expected names", text("x", "n0\ntypo\n")),
    case("no ONNX file", f"{ONNX} nowhere.onnx", "nowhere.onnx does not exist; expected a network"),
    case("a checkpoint as ONNX", f"{ONNX} model.pt", "model.pt is no network of ours"),
    case("a folder as ONNX", f"{ONNX} data", "data is no network of ours"),
    case("a text as ONNX", f"{ONNX} x", "x is no network of ours", text("x", "hello")),
    case("features of an ONNX file", f"{ONNX} model.onnx --score features --reject 1", "--score features"),
    case("features without BatchNorm", "infer.py photos out --score features --reject 1", "--score features"),
    # evaluate.py
    case("no predictions", "evaluate.py nowhere data/masks", "nowhere is no folder"),
    case("a mask as folder", "evaluate.py predicted a_mask.png", "a_mask.png is no folder"),
    case("a prediction is missing", EVALUATE, "1 of 4 true masks have no prediction: n2", gone("predicted/n2.png")),
    case("a prediction is cut", EVALUATE, "predicted/n2.png is no readable image", cut("predicted/n2.png")),
    case(
        "a prediction of another size",
        EVALUATE,
        "predicted/n2.png is 9x9 pixels, but data",
        picture("predicted/n2.png", [0, 3], (9, 9)),
    ),
    case("a prediction of another class", EVALUATE, "n2.png holds 77 at x=0, y=0", picture("predicted/n2.png", [77])),
    case("scores below a file", f"{EVALUATE} --json a.png/x.json", "a.png/x.json cannot be written"),
    case("scores on a full disk", f"{EVALUATE} --json /dev/full", "/dev/full ends in nothing; expected .json"),
    case("scores of another kind", f"{EVALUATE} --json x.txt", "x.txt ends in .txt; expected .json"),
    case("scores over the table", f"{EVALUATE} --json data/classes.json", "classes.json is an input", table_of_a_tool),
    case("a picture among the masks", f"{EVALUATE} --worst 1 --out data/masks/x.png", "x.png is inside data/masks"),
    case("a picture among predictions", f"{EVALUATE} --worst 1 --out predicted/x.png", "x.png is inside predicted"),
    case(
        "a picture among the images",
        f"{EVALUATE} --worst 1 --images photos --out photos/x/y.png",
        "photos/x/y.png is inside photos",
    ),
    case("no list to score", f"{EVALUATE} --only nowhere.txt", "nowhere.txt cannot be read"),
    case("no table of classes", f"{EVALUATE} --classes nowhere.json", "nowhere.json does not exist"),
    case("a damaged table", EVALUATE, "data/classes.json: it cannot be read", cut("data/classes.json")),
    case("no images to show", f"{EVALUATE} --worst 1 --images nowhere", "nowhere is no folder"),
    case(
        "a damaged image to show", f"{EVALUATE} --worst 4 --images photos", "photos/n2.png is no", cut("photos/n2.png")
    ),
    # The tools
    case("show: no kind", "-m tools.show", "tools.show: "),
    case("show: another kind", "-m tools.show networks", "networks"),
    case("show: no image", "-m tools.show windows nowhere.png", "nowhere.png does not exist"),
    case("show: a cut image", SHOW, "a.png is no readable image", cut("a.png")),
    case("show: out is the image", f"{SHOW} --out a.png", "a.png is an input"),
    case("show: out of another kind", "-m tools.show patches --out x.gif", "x.gif ends in .gif"),
    case("export: no checkpoint", "-m tools.export nowhere.pt", "nowhere.pt does not exist"),
    case("export: a cut checkpoint", EXPORT, "model.pt is no checkpoint of ours", cut("model.pt")),
    case("export: out of another kind", f"{EXPORT} --out x.bin", "x.bin ends in .bin; expected .onnx or .pt"),
    case("export: out is a folder", EXPORT, "x.onnx is a folder", new_folder("x.onnx")),
    case("export: no images", f"{EXPORT} --int8 nowhere", "nowhere is no folder"),
    case(
        "export: a damaged image", f"{EXPORT} --int8 photos", "photos/n2.png is no readable image", cut("photos/n2.png")
    ),
    case("export: no masks", f"{EXPORT} --benchmark photos --masks nowhere", "nowhere is no folder"),
    case("speed: no network", "-m tools.speed nowhere.pt photos", "nowhere.pt does not exist"),
    case("speed: no ONNX file", "-m tools.speed nowhere.onnx photos", "nowhere.onnx does not exist"),
    case("speed: no images", "-m tools.speed model.pt nowhere", "nowhere is no folder"),
    case("speed: a damaged image", f"{SPEED} --json x.json", "photos/n2.png is no", cut("photos/n2.png")),
    case(
        "speed: 16 bits in ONNX",
        "-m tools.speed model.onnx photos --amp on",
        "--amp: only PyTorch chooses what it multiplies in",
    ),
    case("speed: indices over a folder", f"{SPEED} --indices data", "data is there already"),
    case("speed: indices below a file", f"{SPEED} --indices a.png/x", "a.png/x/n0.png cannot be written"),
    case("thresholds: no images", "-m tools.thresholds nowhere", "nowhere is no folder"),
    case("thresholds: no checkpoint", f"{THRESHOLDS} --checkpoint nowhere.pt", "nowhere.pt does not exist"),
    case("thresholds: a damaged image", THRESHOLDS, "photos/n2.png is no readable image", cut("photos/n2.png")),
    case("thresholds: a folder as list", f"{THRESHOLDS} --only data", "data cannot be read (Is a directory)"),
    case("thresholds: no others", f"{THRESHOLDS} --against nowhere", "nowhere is no folder"),
    case("crossvalidate: no data", "-m tools.crossvalidate --data nowhere --out out", "nowhere is no folder"),
    case("crossvalidate: too few", f"{FOLDS} --folds 5", "data holds 4 pairs; expected at least 10"),
    case("crossvalidate: another folder", f"{FOLDS} --out photos", "photos is there and holds other things"),
    case("crossvalidate: out among the images", f"{FOLDS} --out data/images/x", "data/images/x is inside data/images"),
    case(
        "crossvalidate: out among the test data",
        f"{FOLDS} --test-data faces --out faces/masks/x",
        "faces/masks/x is inside faces/masks",
    ),
    case("crossvalidate: an unknown knob", f"{FOLDS} --nonsense", "--nonsense"),
    case("crossvalidate: other test data", f"{FOLDS} --test-data faces", "faces lacks n2", gone("faces/masks/n2.png")),
    case(
        "convert: outlines over the table",
        "-m tools.convert to-coco data/masks --images photos --out data/classes.json",
        "data/classes.json is an input",
        table_of_a_tool,
    ),
    case("report: no run", f"{REPORT} nowhere", "nowhere/model.pt does not exist"),
    case("report: a file as run", f"{REPORT} a.png", "a.png/model.pt is no checkpoint of ours"),
    case("report: no image any more", f"{REPORT} run", "a.png and a_mask.png are not here", gone("a.png")),
    case("report: out below a file", f"{REPORT} run --out a.png/x", "a.png/x cannot be written to"),
    case(
        "report: out among the images",
        f"{REPORT} run --images photos --masks predicted --out photos",
        "photos is inside photos",
    ),
    case(
        "report: out among the masks",
        f"{REPORT} run --images photos --masks predicted --out predicted/x",
        "predicted/x is inside predicted",
    ),
    case("report: images without masks", f"{REPORT} run --images photos", "--images, --masks and --only"),
    case("report: masks of other classes", f"{REPORT} run --images photos --masks predicted", "n0.png holds 9"),
    # The challenges
    case("logo: no photographs", f"{LOGO} --images nowhere", "nowhere is no folder"),
    case(
        "logo: damaged photographs",
        f"{LOGO} --images x",
        "none of the 1 photographs can be read",
        new_folder("x"),
        text("x/a.png"),
    ),
    case("logo: no logo", f"{LOGO} --logo nowhere.png", "nowhere.png does not exist"),
    case("logo: an opaque logo", f"{LOGO} --logo a.png", "a.png has no transparency"),
    case(
        "logo: an invisible logo",
        f"{LOGO} --logo x.png",
        "expected a logo that can be seen",
        picture("x.png", [[0, 0, 0, 0]]),
    ),
    case("logo: out holds other things", f"{LOGO} --out data", "data is there and holds other things"),
    case("logo: out is a file", f"{LOGO} --out a.png", "a.png is there and holds other things"),
    case("logo: out below a file", f"{LOGO} --out a.png/x", "a.png/x"),
    case(
        "logo: a damaged note", LOGO, "out/made_of.json is damaged", new_folder("out"), text("out/made_of.json", MARK)
    ),
    case(
        "convert: no pair",
        "-m tools.convert pairs --images photos --masks camvid --out out",
        "photos and camvid hold no pair",
    ),
    case(
        "convert: no labelme",
        "-m tools.convert labelme photos --out out",
        "photos holds no labelme file with its image",
    ),
    case("convert: no VOC", "-m tools.convert voc photos --out out", "photos/JPEGImages is no folder"),
    case(
        "convert: no YOLO",
        "-m tools.convert yolo photos --out out",
        "photos/data.yaml does not exist; expected the names",
    ),
    case(
        "convert: a torn COCO file", "-m tools.convert coco x --images photos --out out", "x cannot be read", noise("x")
    ),
    case(
        "convert: out holds other things",
        "-m tools.convert coco coco.json --images photos --out data",
        "data is there and",
    ),
    case("convert: no kind", "-m tools.convert photos", "invalid choice: 'photos'"),
    case("convert: no masks", "-m tools.convert to-geojson nowhere --out out", "nowhere is no folder"),
    case("paint: no image", "-m tools.paint nowhere.png", "nowhere.png"),
    case("paint: no kind of image", "-m tools.paint list.txt", "list.txt is no image"),
    case("paint: a damaged image", "-m tools.paint x.png", "x.png is no readable image", noise("x.png")),
    case("paint: an empty folder", "-m tools.paint x", "x holds no image", new_folder("x")),
    case("paint: out holds other things", "-m tools.paint --out data", "data is there and holds other things"),
    case("paint: no network", "-m tools.paint --checkpoint x", "x is no checkpoint", noise("x")),
    case("paint: no port", "-m tools.paint --port 0", "0 is not a whole number from 1"),
    case("benchmarks: no checkpoint", "-m benchmarks.halo nowhere.pt photos", "nowhere.pt does not exist"),
    case("benchmarks: no picture", "-m benchmarks.gigapixel --out x.gif", "x.gif ends in .gif; expected .png or"),
    case("benchmarks: no pairs", "-m benchmarks.strokes --pairs photos", "photos holds no NNN_rgb.png"),
    case("benchmarks: no network", "-m benchmarks.corrections nowhere.pt --pairs photos", "nowhere.pt does not exist"),
    case("benchmarks: too few pairs", "-m benchmarks.corrections model.pt --pairs photos", "photos holds fewer than"),
    case("benchmarks: no GPU", "-m benchmarks.gpu", "--device cuda: PyTorch finds no CUDA GPU here"),
    case("benchmarks: no number", "-m benchmarks.amp --rounds few", "invalid int value: 'few'"),
    case("cityscapes: no folder", CAMVID.replace("prepare camvid", "prepare x"), "x is no folder; expected camvid"),
    case("cityscapes: nothing there", CAMVID.replace("prepare camvid", "prepare data"), "data holds no images where"),
    case("cityscapes: out inside", f"{CAMVID} --out camvid/out", "camvid/out is inside camvid"),
    case("corrupt: no folder", CORRUPT.replace("photos", "nowhere"), "nowhere is no folder"),
    case("corrupt: half a command", CORRUPT.replace(" --severity 1", ""), "expected IMAGE_DIR OUT_DIR --kind KIND"),
    case(
        "corrupt: a sheet of no image", "-m challenges.cityscapes.corrupt x.png --sheet y.png", "x.png does not exist"
    ),
    case("corrupt: the image as sheet", "-m challenges.cityscapes.corrupt a.png --sheet a.png", "a.png is an input"),
    case("eyeglasses: neither layout", FACES.replace("faces", "photos"), "photos holds neither images/ and masks/"),
    case(
        "eyeglasses: no face can be read",
        FACES,
        "holds 0 faces that can be read",
        *(cut(f"faces/masks/n{n}.png") for n in range(4)),
    ),
    case("eyeglasses: shares", f"{FACES} --split 0.5 0.2 0.2", "--split 0.5 0.2 0.2: expected shares that add up to 1"),
    case("eyeglasses: out in /proc", f"{FACES} --out /proc/x", "/proc/x"),
    case("coco: no file", f"{COCO} --annotations nowhere.json", "nowhere.json cannot be read"),
    case("coco: a folder", f"{COCO} --annotations data", "data cannot be read (Is a directory)"),
    case("coco: no text", f"{COCO} --annotations x", "x cannot be read", noise("x")),
    case("coco: nested 100,000 deep", f"{COCO} --annotations x", "x cannot be read", text("x", "[" * 100_000)),
    case("coco: no images", f"{COCO} --images nowhere", "nowhere is no folder"),
    case("coco: an unknown class", f"{COCO} --classes unicorn", "coco.json has no category unicorn; expected some of"),
    case("coco: none that fits", f"{COCO} --images camvid", "coco.json outlines no person in an image that is there"),
    # ------ what an earlier run, or its end, left
    case("a line end in a missing name", "predict.py 'no\nsuch.png'", "no\\nsuch.png does not exist"),
    case("a line end in a missing folder", "evaluate.py 'no\nsuch' data/masks", "no\\nsuch is no folder"),
    case("out is a link to itself", "infer.py photos x", "x", lambda folder: (folder / "x").symlink_to("x")),
    case(
        "a note that is a list",
        LOGO,
        "out/made_of.json is damaged",
        made("out/made_of.json", b'["%s"]' % MARK.encode()),
    ),
    case(
        "a note nested 100,000 deep",
        LOGO,
        "out/made_of.json is damaged",
        made("out/made_of.json", b"[" * 100_000 + MARK.encode()),
    ),
    case("cityscapes: nothing usable", CAMVID, "none of the 4", *(cut(f"camvid/train/masks/n{n}.png") for n in ALL)),
    case("corrupt: nothing readable", CORRUPT, "none of the 4 images", *(cut(f"photos/n{n}.png") for n in ALL)),
    case("eyeglasses: nothing readable", FACES, "faces/images/n0.png", *(cut(f"faces/images/n{n}.png") for n in ALL)),
    case("coco: nothing readable", COCO, "photos/n0.png", *(cut(f"photos/n{n}.png") for n in ALL)),
    case("logo: a random table", LOGO, "out/placements.csv", made("out/placements.csv", PLACEMENTS + b"\xff\n", LOGO)),
    case("logo: a short row", LOGO, "out/placements.csv", made("out/placements.csv", PLACEMENTS + b"a\n\n1,2\n", LOGO)),
    case("nothing in last.pt", RESUME, "run/last.pt", edited("run/last.pt", lambda content: content.update(resume={}))),
    case("no data in last.pt", RESUME, "run/last.pt", edited("run/last.pt", lambda content: content.pop("data"))),
    case(
        "no weights in last.pt",
        RESUME,
        "last.pt",
        edited("run/last.pt", lambda content: content["resume"].pop("weights")),
    ),
    case(
        "one weight too many in last.pt",
        RESUME,
        "run/last.pt is damaged (",
        edited("run/last.pt", lambda content: optimizer_state(content).update({99: optimizer_state(content)[0]})),
    ),
    case(
        "another shape in last.pt",
        RESUME,
        "run/last.pt is damaged (",
        edited("run/last.pt", lambda content: optimizer_state(content)[0].update(exp_avg=torch.zeros(2, 2))),
    ),
    case(
        "crossvalidate: cut scores", FOLDS, "out/fold0/scores.json", made("out/fold0/scores.json", MARK.encode(), FOLDS)
    ),
    case(
        "report: a random history",
        f"{REPORT} run",
        "run/history.csv is no history of a training",
        noise("run/history.csv"),
    ),
    case(
        "report: a short row",
        f"{REPORT} run",
        "run/history.csv is no history",
        made("run/history.csv", HISTORY + b"1,2\n"),
    ),
    case(
        "report: a folder as history",
        f"{REPORT} run",
        "history.csv",
        "expected",
        gone("run/history.csv"),
        new_folder("run/history.csv"),
    ),
    case(
        "report: no metrics",
        f"{REPORT} run",
        "run/model.pt",
        edited("run/model.pt", lambda content: content.pop("metrics")),
    ),
    case("out is a file", "infer.py photos a.png", "a.png is a file; expected a folder"),
]


# ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(good_folder, tmp_path):
    return shutil.copytree(good_folder, tmp_path / "folder")


def contents(folder):
    """{path: bytes} of all files in a folder, but not of an empty one."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def told(process):
    """The lines on stderr, but for progress bars."""
    return [line for line in process.stderr.splitlines() if line.strip() and not re.search(r"\d+%\|", line)]


@pytest.mark.parametrize("bad", CASES)
def test_a_bad_input_is_told_in_one_line_and_nothing_is_left(folder, bad):
    for change in bad.changes:
        change(folder)
    before = contents(folder)
    done = inside(*shlex.split(bad.line), cwd=folder)
    lines = told(done)
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (1, 2)
    for words in bad.words:
        assert words in lines[0]
    assert contents(folder) == before


# ---------------------------------------------------------------------------------------------------
# Files that end too early

CUT = [
    ("a.png", PAIR),
    ("a_mask.png", PAIR),
    ("a.jpg", "predict.py a.jpg"),
    ("a.tif", "predict.py a.tif"),
    ("a.bmp", "predict.py a.bmp"),
    ("a.webp", "predict.py a.webp"),
    ("model.pt", "predict.py a.png"),
    ("run/last.pt", "train.py --resume --out run"),
    ("model.onnx", "infer.py photos out --onnx model.onnx"),
    ("data/classes.json", DATA),
    ("coco.json", COCO),
]


@pytest.mark.parametrize("name, line", CUT, ids=[name for name, _ in CUT])
def test_a_file_cut_at_every_tenth_is_told_in_one_line(folder, name, line):
    if not (folder / name).exists():
        Image.open(folder / "a.png").save(folder / name)
    whole = (folder / name).read_bytes()
    for tenths in range(10):
        (folder / name).write_bytes(whole[: tenths * len(whole) // 10])
        before = contents(folder)
        done = inside(*shlex.split(line), cwd=folder)
        assert done.returncode == 1 and len(told(done)) == 1 and name in told(done)[0], (tenths, done.stderr)
        assert contents(folder) == before


@pytest.mark.parametrize("name", ["list.txt", "arguments"])
def test_a_list_or_settings_file_cut_at_every_tenth_works_or_is_told_in_one_line(folder, name):
    (folder / "arguments").write_text("--onnx 'model.onnx' --only \"list.txt\" --format png --halo 8 --tta\n")
    whole = (folder / name).read_bytes()
    for tenths in range(10):
        (folder / name).write_bytes(whole[: tenths * len(whole) // 10])
        done = inside("infer.py", "photos", f"out{tenths}", "@arguments", cwd=folder)
        assert done.returncode == 0 or len(told(done)) == 1, (tenths, done.stderr)


# ---------------------------------------------------------------------------------------------------
# One bad image among good ones


@pytest.mark.parametrize("bad", [text("photos/n1.png"), noise("photos/n1.png"), cut("photos/n1.png")])
def test_the_neighbours_of_a_bad_image_are_done(folder, bad):
    bad(folder)
    done = inside("infer.py", "photos", "out", cwd=folder)
    [line] = told(done)
    assert done.returncode == 1 and "photos/n1.png is no readable image" in line
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["n0.png", "n2.png", "n3.png"]
    done = inside(*shlex.split(CORRUPT.replace(" out ", " corrupted ")), cwd=folder)
    assert done.returncode == 0 and "left out: 1 images that cannot be read: photos/n1.png" in done.stdout
    assert {"n0.png", "n2.png", "n3.png"} <= {path.name for path in (folder / "corrupted").iterdir()}


def test_a_cross_validation_goes_on_with_a_mended_image(folder):
    whole = (folder / "data/images/n2.png").read_bytes()
    cut("data/images/n2.png")(folder)
    fails_in_one_line(inside(*shlex.split(FOLDS), cwd=folder), "data holds 3 pairs; expected at least 4")
    (folder / "data/images/n2.png").write_bytes(whole)
    assert inside(*shlex.split(FOLDS), cwd=folder).returncode == 0


DAMAGED = {  # outlines that are none, and boxes
    "a polygon with a number of 400 digits": {"segmentation": [[10**400, 1, 2, 3, 4, 5]]},
    "a polygon of texts": {"segmentation": [["a", 1, 2, 3, 4, 5]]},
    "a polygon in a polygon": {"segmentation": [[[1], 1, 2, 3, 4, 5]]},
    "a polygon of nothing": {"segmentation": [[None, 1, 2, 3, 4, 5]]},
    "run lengths that are a number": {"segmentation": {"size": [70, 90], "counts": 7}},
    "run lengths of 400 digits": {"segmentation": {"size": [70, 90], "counts": [10**400, 1]}},
    "an image id of 400 digits": {"image_id": 10**400},
    "a box with a number of 400 digits": {"bbox": [10**400, 1, 2, 3]},
    "a box that ends beyond all numbers": {"bbox": [1e308, 1, 1e308, 3]},
    "a box of texts": {"bbox": ["a", 1, 2, 3]},
}


@pytest.mark.parametrize("change", DAMAGED.values(), ids=DAMAGED)
def test_the_neighbours_of_a_damaged_outline_are_done(folder, change):
    changed("coco.json", lambda content: content["annotations"][0].update(change))(folder)
    done = inside(*shlex.split(COCO), "--boxes", 1, cwd=folder)
    assert done.returncode == 0 and not told(done), done.stderr
    assert {"n1.png", "n2.png", "n3.png"} <= {path.name for path in (folder / "out" / "masks").iterdir()}


# ---------------------------------------------------------------------------------------------------
# Names that a file may have

NAMES = ["it's", 'a "quote"', "a\nb", "\x1b[31mred", "-dash", "@at", " blanks ", "#hash", "$HOME", "*", "%s {}", "a\\b"]
NAMES += [
    "ä",
    "e\u0301",
    "\udcff",
    "n" * 251,
]  # not NFC; no UTF-8, as Python shows it; as long as a name may be


@pytest.mark.skipif(sys.platform != "linux", reason="other systems forbid some of these names")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph")  # which no font here can draw
def test_any_name_that_a_file_may_have_works(folder):
    for name in NAMES:
        shutil.copyfile(folder / "a.png", folder / "photos" / f"{name}.png")
        shutil.copyfile(folder / "data" / "images" / "n0.png", folder / "data" / "images" / f"{name}.png")
        shutil.copyfile(folder / "data" / "masks" / "n0.png", folder / "data" / "masks" / f"{name}.png")
        done = inside("predict.py", f"./photos/{name}.png", "--out", f"./out/{name}.png", cwd=folder)
        assert done.returncode == 0 and not told(done), done.stderr
    for line in ("infer.py photos masks --resume", DATA, "evaluate.py data/masks data/masks --worst 9"):
        done = inside(*shlex.split(line), cwd=folder)
        assert done.returncode == 0 and not told(done), done.stderr
    assert {path.name for path in (folder / "masks").iterdir()} >= {f"{name}.png" for name in NAMES}
    done = inside("infer.py", "data/images", "few", "--checkpoint", "out/model.pt", "--only", "out/val.txt", cwd=folder)
    assert done.returncode == 0 and not told(done), done.stderr


def test_after_two_dashes_a_word_is_a_name(folder):
    for name in "-x.png", "@x.png":
        shutil.copyfile(folder / "a.png", folder / name)
        assert inside("predict.py", "--out", "out.png", "--", name, cwd=folder).returncode == 0


@pytest.mark.parametrize("word", ["a\nb", "--nonsense=a\nb", "--halo=a\nb", "@a\nb", "--device=\x1b[2Jcpu"])
def test_an_argument_with_a_line_end_is_told_in_one_line(folder, word):
    done = inside("predict.py", "a.png", word, cwd=folder)
    assert done.returncode == 2 and len(told(done)) == 1 and told(done)[0].isprintable()


def test_numbers_without_end_do_no_harm_where_they_mean_all(folder):
    many = "9" * 20
    words = ["--val-images", many, "--budget", many, "--warmup", many, "--patience", many, "--clip", "1e30"]
    assert inside(*shlex.split(DATA), *words, cwd=folder).returncode == 0


# ---------------------------------------------------------------------------------------------------
# A full disk


@contextlib.contextmanager
def no_file_beyond(size):
    """Let no file of this process grow beyond so many bytes: writing more fails, as on a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = [  # bytes that still fit, the command, the file that does not
    (20_000, PAIR, "out/last.pt"),
    (0, "predict.py a.png --out x.png", "x.png"),
    (10, f"{EVALUATE} --json x.json", "x.json"),
    (10, f"{EVALUATE} --worst 1 --out x.png", "x.png"),
    (10, SHOW, "windows.png"),
    (10, "-m tools.show patches", "patches.png"),
    (10_000, EXPORT, ".onnx"),
    (10, f"{SPEED} --json x.json", "x.json"),
    (10, f"{SPEED} --indices x", "x/n0.png"),
    (10, FOLDS, "out/made_of.json"),
    (2_000, f"{REPORT} run --out out", "out/report_curves.png"),
    (10, LOGO, "out/made_of.json"),
    (10, CAMVID, "out/made_of.json"),
    (10, CORRUPT, "out/made_of.json"),
    (10, FACES, "out/made_of.json"),
    (10, COCO, "out/made_of.json"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("size, line, name", FULL, ids=[line for _, line, _ in FULL])
def test_a_full_disk_is_told_in_one_line(folder, size, line, name):
    before = contents(folder)
    with no_file_beyond(size):
        done = inside(*shlex.split(line), cwd=folder)
    lines = told(done)
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    assert f"{name} cannot be written (File too large); make room for it" in lines[0]
    assert contents(folder) == before


# ---------------------------------------------------------------------------------------------------
# The surroundings


def test_a_system_that_allows_no_more_threads_is_told_in_one_line(folder):
    refused = RuntimeError("can't start new thread")  # as Python says it
    with mock.patch("threading.Thread.start", side_effect=refused):
        done = inside(*shlex.split(EVALUATE), cwd=folder)
    fails_in_one_line(done, "evaluate.py: the system allows no more threads here", "ulimit -u")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_too_little_memory_for_pytorch_is_told_in_one_line(tmp_path):
    limited = ["bash", "-c", 'ulimit -v 800000; "$0" "$@"', sys.executable, ROOT / "predict.py", "x.png"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # whose threads have a memory of their own
    done = subprocess.run(limited, cwd=tmp_path, env=environment, capture_output=True, text=True)
    fails_in_one_line(done, "predict.py: the memory is too little to load", "ulimit -v")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no folder that is in use")
def test_a_folder_that_is_gone_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr("sys.argv", ["predict.py", "/x.png"])
    with pytest.raises(SystemExit):
        predict_arguments()
    assert capsys.readouterr().err.splitlines() == [
        "predict.py: the folder that this was started in is gone; expected one that is there: cd to it"
    ]


class Impatient(io.StringIO):
    """A stderr at which Ctrl-C is pressed once more whenever something is written."""

    def write(self, text):
        signal.raise_signal(signal.SIGINT)
        return super().write(text)


def test_a_second_ctrl_c_changes_nothing(monkeypatch):
    monkeypatch.setattr("sys.stderr", Impatient())
    with pytest.raises(SystemExit) as end:
        run_script(lambda args: signal.raise_signal(signal.SIGINT), None, "x.py")
    assert end.value.code == 130 and sys.stderr.getvalue() == "x.py: interrupted\n"


# ---------------------------------------------------------------------------------------------------
# The surroundings, in processes of their own

INFER = [ROOT / "infer.py", "photos", "out", "--onnx", "model.onnx"]  # without PyTorch, which takes seconds to import
WRONG = [ROOT / "evaluate.py", "predicted", "nöwhere"]
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
SURROUNDINGS = {
    "the C locale": ("", C_LOCALE),
    "without assertions and docstrings": ("", {"PYTHONOPTIMIZE": "2"}),
    "a terminal without a width": ("", {"COLUMNS": "0", "TERM": "dumb"}),
    "a width that is none": ("", {"COLUMNS": "x"}),
    "nothing but the path": ("env -i", {}),
    "stdin closed": ("<&-", {}),
    "stdout closed": (">&-", {}),
    "stderr closed": ("2>&-", {}),
    "all closed": ("<&- >&- 2>&-", {}),
}


def in_shell(words, cwd, redirected="", **environment):
    """Run python with these words in a shell, which can close what a process has open."""
    line = f"{'env -i ' if 'env -i' in redirected else ''}{shlex.join([sys.executable, *map(str, words)])}"
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **environment}
    line += " " + redirected.replace("env -i", "")
    return subprocess.run(line, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_pictures_are_drawn_whatever_matplotlib_is_told(tmp_path):
    """As by a matplotlibrc for papers, and by a .bashrc from the time of Qt 4."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nsavefig.dpi: 3\n")
    words = ["-m", "tools.show", "windows", "--out"]
    plain = Forked(*words, "plain.png", cwd=tmp_path)
    told = {**os.environ, "MPLBACKEND": "Qt4Agg", "MATPLOTLIBRC": str(tmp_path)}
    done = command(*words, "told.png", cwd=tmp_path, env=told)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert plain.wait() == 0 and not plain.communicate()[1], plain.communicate()
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "told.png").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="uses a Unix shell")
@pytest.mark.parametrize("redirected, environment", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_odd_surroundings_change_nothing(folder, redirected, environment):
    shutil.copyfile(folder / "a.png", folder / "photos" / "größe.png")
    done = in_shell(INFER, folder, redirected, **environment)
    assert done.returncode == 0 and not done.stderr
    assert len(list((folder / "out").iterdir())) == 5
    done = in_shell(WRONG, folder, redirected, **environment)
    assert done.returncode == 1
    if "2>&-" not in redirected:
        assert len(told(done)) == 1 and "where is no folder; expected one of images" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="uses a Unix shell")
@pytest.mark.parametrize("words", [INFER, [ROOT / "infer.py", "--help"]], ids=["infer.py", "--help"])
def test_nobody_reads_what_is_printed(folder, words):
    """A process ends without a word where the other end of a pipe is closed; a full disk is told."""
    ends, closed = os.pipe()
    os.close(ends)
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    line = [sys.executable, *words]
    done = subprocess.run(line, cwd=folder, stdout=closed, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(closed)
    assert done.returncode in (0, 1) and not done.stderr
    if sys.platform == "linux":
        done = in_shell(words, folder, "> /dev/full")
        assert "Exception" not in done.stderr and done.returncode in (0, 1)
        assert not done.stderr or "No space left on device" in told(done)[0] and len(told(done)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "line, package",
    [
        ("infer.py photos out", "torch"),
        ("train.py a.png a_mask.png --out out", "numpy"),
        ("predict.py a.png", "torch"),
        (f"{EVALUATE} --worst 1", "matplotlib"),
        ("-m tools.show network", "torch"),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(folder, tmp_path, line, package):
    absent = f"raise ModuleNotFoundError('No module named {package}', name='{package}')"
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / f"{package}.py").write_text(absent)
    before = contents(folder)
    done = command(*shlex.split(line), cwd=folder, env={**os.environ, "PYTHONPATH": str(tmp_path / "without")})
    assert done.returncode == 1 and len(told(done)) == 1 and f"pip install {package}" in told(done)[0], done.stderr
    assert contents(folder) == before


def test_every_package_that_is_needed_is_known_by_its_name_for_pip():
    needed = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert sorted(name.lower() for name in needed) == sorted(PACKAGES.values())


IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if IS_ROOT else []  # so that file modes bind


@pytest.mark.skipif(sys.platform != "linux", reason="file modes bind elsewhere, or are none")
@pytest.mark.parametrize("link", [True, False])
def test_a_read_only_file_is_taken(tmp_path, link):
    source, target = tmp_path / "photo.png", tmp_path / "out" / "photo.png"
    source.write_bytes(b"pixels")
    source.chmod(0o444)
    words = "from pathlib import Path; from support.files import take; "
    words += f"take(Path('photo.png'), Path('out/photo.png'), {link})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*BOUND, sys.executable, "-c", words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == b"pixels" and target.samefile(source) == link
    assert [path.name for path in target.parent.iterdir()] == ["photo.png"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="file modes bind elsewhere, or are none")
def test_files_that_may_not_be_read_or_written(folder):
    (folder / "photos" / "n1.png").chmod(0)
    if subprocess.run([*BOUND, "cat", "photos/n1.png"], cwd=folder, capture_output=True).returncode == 0:
        pytest.skip("nothing here makes file modes bind")
    run = lambda line: subprocess.run(
        [*BOUND, sys.executable, *line], cwd=folder, capture_output=True, text=True, timeout=100
    )
    for name in ("n2.png", "list.txt", "model.onnx", "predicted"):
        (folder / "predicted" / name if name == "n2.png" else folder / name).chmod(0o000 if name != "n2.png" else 0o400)
    (folder / "closed").mkdir(mode=0o500)
    infer, evaluate = ROOT / "infer.py", ROOT / "evaluate.py"
    for line, says in [
        ([infer, "photos", "out", "--onnx", "model.onnx"], "model.onnx"),
        ([evaluate, "predicted", "data/masks"], "predicted cannot be read (Permission denied)"),
        ([evaluate, "data/masks", "data/masks", "--only", "list.txt"], "list.txt cannot be read (Permission denied)"),
        (
            [evaluate, "data/masks", "data/masks", "--json", "closed/x.json"],
            "closed/x.json cannot be written (Permission",
        ),
        ([evaluate, "@list.txt"], "list.txt cannot be read (Permission denied)"),
    ]:
        done = run(line)
        assert done.returncode in (1, 2) and len(told(done)) == 1 and says in told(done)[0], done.stderr
    (folder / "model.onnx").chmod(0o600)
    done = run([infer, "photos", "out", "--onnx", "model.onnx"])
    assert done.returncode == 1 and "photos/n1.png cannot be read (Permission denied)" in told(done)[-1]
    assert len(list((folder / "out").iterdir())) == 3
    done = run([infer, "data/images", "closed", "--onnx", "model.onnx"])
    assert done.returncode == 1 and len(told(done)) == 1 and "closed cannot be written to (Permission" in done.stderr


# ---------------------------------------------------------------------------------------------------
# Signals


def interrupted(words, folder, begun, seconds, number):
    """Start python with these words, wait until `begun` exists and so many seconds, and send it a signal."""
    # A shell starts what runs in the background with SIGINT ignored, and children inherit that.
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while begun and not (folder / begun).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(number)
        _, process.stderr_text = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(words, process.returncode, "", process.stderr_text)


def check_whole(folder):
    """All that is visible in a folder can be read."""
    for path in folder.rglob("[!.]*"):
        if path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for one process")
@pytest.mark.parametrize(
    "begun, seconds, number",
    [
        (None, 0.3, signal.SIGINT),
        (None, 1.5, signal.SIGTERM),
        ("out/last.pt", 0.0, signal.SIGTERM),
        ("out/history.csv", 0.1, signal.SIGINT),
    ],
)
def test_a_training_ends_at_a_signal_with_whole_files(folder, begun, seconds, number):
    words = [ROOT / "train.py", "a.png", "a_mask.png", "--out", "out", "--steps", 2, "--batch", 1, "--epochs", 10**6]
    done = interrupted(words, folder, begun, seconds, number)
    check_whole(folder / "out")
    if begun:  # before, a package that is being imported may make another error of it
        ends_by(done, number)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("begun, seconds", [(None, 0.1), (None, 0.4), ("out/a00.png", 0.0), ("out/a01.png", 0.2)])
def test_infer_ends_at_a_signal_with_whole_masks(folder, begun, seconds, number):
    Image.open(folder / "a.png").resize((900, 700)).save(folder / "photos" / "a00.png")
    for copy_number in range(1, 60):
        shutil.copyfile(folder / "photos" / "a00.png", folder / "photos" / f"a{copy_number:02}.png")
    done = interrupted(INFER, folder, begun, seconds, number)
    check_whole(folder / "out")
    if begun:
        ends_by(done, number)


BAR = """
import multiprocessing, os, signal
from argparse import Namespace
from tqdm import tqdm
from support.script import run_script

multiprocessing.set_start_method("spawn")

def work(args):
    list(tqdm(range(3)))
    os.kill(os.getpid(), signal.SIGTERM)

run_script(work, Namespace(), "script.py")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for one process")
def test_a_bar_needs_no_process_that_complains_of_its_lock(tmp_path):
    """As tqdm's own lock does where processes are not forked: on macOS, and on Linux from Python 3.14 on."""
    (tmp_path / "script.py").write_text(BAR)
    done = command("-m", "script", cwd=tmp_path)
    assert done.returncode == -signal.SIGTERM and "3/3" in done.stderr and "resource_tracker" not in done.stderr


def ends_by(done, number):
    """Check that a process ended by a signal, with one line or, at SIGTERM, none."""
    lines = told(done)
    if number == signal.SIGTERM:
        assert done.returncode == -signal.SIGTERM and not lines, done.stderr
    else:
        assert done.returncode in (130, -signal.SIGINT) and len(lines) <= 1 and "Traceback" not in done.stderr, (
            done.stderr
        )
