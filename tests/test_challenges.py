"""What ships with the challenges fits together: weights, settings, class tables."""

import numpy as np
import pytest
import skimage
from conftest import ROOT, inside
from PIL import Image, ImageDraw

import metrics
from challenges.eyeglasses import prepare as glasses
from challenges.logo import prepare
from model import load_network
from segmenter import Segmenter
from support.arguments import train_arguments
from support.classes import read_classes
from support.devices import pick_device
from support.images import read_image
from support.masks import read_mask

STREETS = ROOT / "challenges" / "cityscapes"
LOGO = ROOT / "challenges" / "logo"
GLASSES = ROOT / "challenges" / "eyeglasses"
COCO = ROOT / "challenges" / "coco"
GIVEN_BY_HAND = ("data", "out", "resume", "device", "amp", "time_limit", "reuse", "tensorboard")
GIVEN_BY_HAND += ("halo",)  # they were validated in windows of the whole network


def check_settings(args, metadata):
    """A network was trained with these settings, those left out that are given by hand."""
    trained_with = train_arguments([], **metadata["settings"])  # which knows the default of newer knobs
    for name, value in vars(args).items():
        assert name in GIVEN_BY_HAND or getattr(trained_with, name) == value, name


@pytest.mark.parametrize("name, parameters", [("camvid", 1_093_511), ("half_size", 1_942_747)])
def test_the_weights_for_street_scenes_fit_their_settings_and_classes(monkeypatch, name, parameters):
    monkeypatch.chdir(ROOT)
    args = train_arguments([f"@{STREETS / f'{name}.args'}", "--data", "camvid/train"])
    model, metadata = load_network(STREETS / f"{name}.pt")
    classes, ignore = read_classes(args.classes)
    assert metadata["ignore"] == ignore
    assert [(one["name"], one["value"]) for one in metadata["classes"]] == [
        (one["name"], value) for value, one in enumerate(classes)
    ]
    assert (model.name, model.arguments["width"], model.arguments["depth"]) == (args.model, args.width, args.depth)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    check_settings(args, metadata)


def test_the_weights_for_cityscapes_fit_the_settings_of_the_third_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    args = train_arguments([f"@{STREETS / 'cityscapes_third.args'}", "--data", "made"])
    model, metadata = load_network(STREETS / "cityscapes.pt")
    names = [entry["name"] for entry in read_classes(STREETS / "cityscapes.json")[0]]
    assert [(one["name"], one["value"]) for one in metadata["classes"]] == list(zip(names, range(19)))  # train ids
    assert metadata["ignore"] == [255] and metadata["start"]["classes"] == names
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000
    check_settings(args, metadata)


def test_a_settings_file_of_a_unet_serves_the_fcn_and_says_what_changes_nothing(folder, tmp_path):
    quick = "--classes", folder / "classes.json", "--epochs", 1, "--steps", 2, "--patch", 32, "--amp", "off"
    words = (
        f"@{STREETS / 'small.args'}",
        "--data",
        folder,
        *quick,
        "--out",
        tmp_path / "run",
        "--model",
        "fcn",
        "--batchnorm",
    )
    done = inside("train.py", *words, cwd=ROOT)
    assert done.returncode == 0 and "nothing to set by --width and --depth" in done.stdout, done.stderr
    again = inside("train.py", "--resume", "--epochs", 2, "--out", tmp_path / "run", cwd=ROOT)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("name", ["baseline", "full_size", "small"])
def test_the_settings_of_the_other_street_networks_can_be_used(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    args = train_arguments([f"@{STREETS / f'{name}.args'}", "--data", "camvid"])
    assert len(read_classes(args.classes)[0]) == 11 and args.time_limit and args.model == "unet"


def test_the_weights_for_the_logo_fit_their_settings_and_find_it(tmp_path):
    args = train_arguments([f"@{LOGO / 'train.args'}", "--data", "made"])
    model, metadata = load_network(LOGO / "logo.pt")
    assert (LOGO / "logo.pt").stat().st_size < 8e6
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_942_594
    assert metadata["classes"] == prepare.CLASSES["classes"]
    check_settings(args, metadata)

    # On photographs that no other test and no training used: scikit-image's own.
    prepare.prepare(prepare.parse_arguments(["--out", str(tmp_path / "data"), "--count", "6", "--seed", "4"]))
    segment = Segmenter(model, metadata, pick_device("cpu"), 32)
    ious = []
    for path in sorted((tmp_path / "data" / "images").iterdir()):
        found = segment(read_image(path))
        truth = read_mask(tmp_path / "data" / "masks" / f"{path.stem}.bmp") == 255
        ious.append((truth & (found == 1)).sum() / (truth | (found == 1)).sum())
    assert np.mean(ious) > 0.7


def test_the_weights_for_coco_fit_their_settings_and_see_a_person():
    args = train_arguments(
        [f"@{COCO / 'train.args'}", "--start-from", "challenges/cityscapes/cityscapes.pt", "--data", "made"]
    )
    model, metadata = load_network(COCO / "coco.pt")
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_942_628
    assert [one["name"] for one in metadata["classes"]] == ["background", "person", "bicycle", "car"]
    assert [tuple(one["value"]) for one in metadata["classes"]] == [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    check_settings(args, metadata)

    segment = Segmenter(model, metadata, pick_device("cpu"))
    person = segment(skimage.data.astronaut()) == 1
    assert person[200:, 100:400].mean() > 0.8  # where the suit is
    assert (segment(skimage.data.rocket()) == 0).mean() > 0.95


def test_the_weights_for_eyeglasses_fit_their_settings_and_see_painted_ones():
    args = train_arguments([f"@{GLASSES / 'train.args'}", "--data", "made"])
    model, metadata = load_network(GLASSES / "eyeglasses.pt")
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_942_594
    assert metadata["classes"] == glasses.CLASSES["classes"]
    check_settings(args, metadata)

    # A face that was not in the data, cut as its faces are; and a pair of sunglasses painted on it.
    face = skimage.data.astronaut()[20:220, 130:330]
    face = Image.fromarray(face).resize((512, 512), Image.Resampling.BICUBIC)
    segment = Segmenter(model, metadata, pick_device("cpu"))
    assert not segment(np.asarray(face)).any()
    mask = Image.new("L", face.size)
    for picture, colour in [(face, (15, 15, 20)), (mask, 255)]:
        draw = ImageDraw.Draw(picture)
        for lens in [(138, 178, 232, 250), (256, 182, 346, 254)]:
            draw.ellipse(lens, fill=colour)
        for rod, width in [((225, 200, 265, 202), 10), ((120, 196, 145, 202), 8), ((340, 206, 362, 200), 8)]:
            draw.line(rod, fill=colour, width=width)
    truth = np.asarray(mask) // 255
    assert metrics.dice(metrics.confusion_matrix(truth, segment(np.asarray(face)), 2))[1] > 0.9


def test_no_file_that_ships_names_a_place_on_the_machine_it_was_made_on():
    shipped = [
        ROOT / "checkpoints" / "fcn.pt",
        *(ROOT / "challenges").glob("*/*.pt"),
        *ROOT.glob("challenges/*/*.args"),
    ]
    assert len(shipped) >= 6
    for path in shipped:
        content = path.read_bytes()
        assert not any(place in content for place in (b"/work/", b"/tmp/", b"/home/", b"/root/")), path
