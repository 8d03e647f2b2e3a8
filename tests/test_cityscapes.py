"""The street scenes: Cityscapes' and CamVid's folders become data sets, without moving a label."""

import json

import numpy as np
import pytest
from conftest import ROOT, fails_in_one_line, inside
from PIL import Image

import data
from challenges.cityscapes import prepare
from support.classes import read_classes
from support.names import read_names
from support.script import run_script

KNOWN = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


def scene(image, mask=None, labels=(7, 8, 0), size=(24, 36), seed=0):
    """A noisy street of stripes, and perhaps its mask."""
    image.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(image)
    if mask:
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.resize(np.array(labels, np.uint8), size)).save(mask)


def street(root, split, city, number, labels=(7, 8, 0), masked=True):
    name = f"{city}_{number:06d}_000019"
    mask = root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png" if masked else None
    scene(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", mask, labels, seed=number)
    return name


@pytest.fixture
def cityscapes(tmp_path):
    """Twenty scenes of two cities to train on, three to report, one without labels and one with none to learn from."""
    root = tmp_path / "cityscapes"
    for number in range(20):
        street(root, "train", "ulm" if number % 2 else "bonn", number)
    for number in range(3):
        street(root, "val", "munster", number)
    street(root, "test", "berlin", 0, masked=False)
    street(root, "test", "berlin", 1, labels=(0, 3, 255))  # as Cityscapes' own labels for test
    return root


def prepared(source, out, layout, *words):
    args = prepare.parse_arguments([str(source), "--layout", layout, "--out", str(out), *words])
    run_script(prepare.prepare, args, "prepare.py")


def test_cityscapes(cityscapes, tmp_path, capsys):
    out = tmp_path / "data"
    prepared(cityscapes, out, "cityscapes", "--choose", "0.2")
    assert "16 in train.txt, 4 in val.txt, 3 in test.txt; 2 without labels, to infer" in capsys.readouterr().out
    masks = {path.stem for path in (out / "masks").iterdir()}
    names = {part: set(read_names(out / f"{part}.txt", masks)) for part in ("train", "val", "test")}
    assert names["val"] == {f"{'ulm' if n % 2 else 'bonn'}_{n:06d}_000019" for n in (16, 17, 18, 19)}
    assert all(name.startswith("munster") for name in names["test"])
    assert {path.name for path in (out / "inference").iterdir()} == {f"berlin_00000{n}_000019.png" for n in (0, 1)}
    for name in ("bonn_000000_000019", "munster_000002_000019"):
        split, city = ("val" if "munster" in name else "train"), name.split("_")[0]
        image = cityscapes / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
        mask = cityscapes / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"
        assert (out / "images" / f"{name}.png").read_bytes() == image.read_bytes()
        assert (out / "masks" / f"{name}.png").read_bytes() == mask.read_bytes()
    found = data.load(out, least=16)
    assert len(found.training) == 16 and len(found.validation) == 4 and len(found.classes) == 19


def test_the_same_command_goes_on_and_another_is_refused(cityscapes, tmp_path):
    out = tmp_path / "data"
    prepared(cityscapes, out, "cityscapes")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "images" / "bonn_000000_000019.png").unlink()
    (out / "train.txt").unlink()
    prepared(cityscapes, out, "cityscapes")
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match="begun with another choose"):
        prepared(cityscapes, out, "cityscapes", "--choose", "0.3")


@pytest.mark.parametrize("folders", [("{}/images", "{}/masks"), ("{}", "{}annot")])
def test_camvid_in_both_shapes(tmp_path, capsys, folders):
    root = tmp_path / "camvid"
    images, masks = (lambda split, form=form: root / form.format(split) for form in folders)
    for split, count in [("train", 10), ("val", 4), ("test", 3)]:
        for number in range(count):
            name = f"{split}01TP_{number:04d}.png"
            scene(images(split) / name, masks(split) / name, (0, 3, 11), seed=number)
    prepared(root, tmp_path / "three", "camvid")  # labels for three splits: each is what it is called
    assert "10 in train.txt, 4 in val.txt, 3 in test.txt" in capsys.readouterr().out
    for path in masks("test").iterdir():
        path.unlink()
    prepared(root, tmp_path / "two", "camvid")
    assert "9 in train.txt, 1 in val.txt, 4 in test.txt; 3 without labels" in capsys.readouterr().out
    assert (tmp_path / "two" / "val.txt").read_text().split()[-1] == "train01TP_0009"


GROUPS = """
0 Sky 128 128 128; 1 Bridge 0 128 64; 1 Building 128 0 0; 1 Wall 64 192 0; 1 Tunnel 64 0 64; 1 Archway 192 0 128;
2 Column_Pole 192 192 128; 2 TrafficCone 0 0 64; 3 Road 128 64 128; 3 LaneMkgsDriv 128 0 192;
3 LaneMkgsNonDriv 192 0 64; 4 Sidewalk 0 0 192; 4 ParkingBlock 64 192 128; 4 RoadShoulder 128 128 192;
5 Tree 128 128 0; 5 VegetationMisc 192 192 0; 6 SignSymbol 192 128 128; 6 Misc_Text 128 128 64;
6 TrafficLight 0 64 64; 7 Fence 64 64 128; 8 Car 64 0 128; 8 SUVPickupTruck 64 128 192; 8 Truck_Bus 192 128 192;
8 Train 192 64 128; 8 OtherMoving 128 64 64; 9 Pedestrian 64 64 0; 9 Child 192 128 64; 9 CartLuggagePram 64 0 192;
9 Animal 64 128 64; 10 Bicyclist 0 128 192; 10 MotorcycleScooter 192 0 192; 11 Void 0 0 0
"""  # the 32 classes of CamVid's class_dict.csv, each behind its number among SegNet's 11


def test_camvid_in_its_own_colours(tmp_path, capsys):
    """The layout of Kaggle's and of CamVid itself: the 32 classes become the 11 of the table, pixel by pixel."""
    root, random = tmp_path / "camvid", np.random.default_rng(0)
    rows = [row.split() for row in GROUPS.split(";")]
    numbers, colours = np.array([int(row[0]) for row in rows]), np.array([row[2:] for row in rows], int)
    assert len(np.unique(colours, axis=0)) == 32
    (root / "train").mkdir(parents=True)
    dictionary = "".join(f"{name}, {', '.join(colour)}\n" for _, name, *colour in rows)
    (root / "class_dict.csv").write_text("name,r,g,b\n" + dictionary)
    truth = {}
    for split, count in [("train", 4), ("val", 2), ("test", 2)]:
        for number in range(count):
            name = f"{split}0006R0_f{number:05d}"
            scene(root / split / f"{name}.png", seed=number)
            drawn = random.integers(32, size=(24, 36)) if number else random.choice([0, 31], (24, 36))
            (root / f"{split}_labels").mkdir(exist_ok=True)
            Image.fromarray(colours[drawn].astype(np.uint8)).save(root / f"{split}_labels" / f"{name}_L.png")
            truth[name] = numbers[drawn]
    prepared(root, tmp_path / "data", "camvid")
    assert "4 in train.txt, 2 in val.txt, 2 in test.txt; 0 without labels" in capsys.readouterr().out
    for name, mask in truth.items():  # the first of each split is nothing but sky and void, a grey picture
        assert (np.asarray(Image.open(tmp_path / "data" / "masks" / f"{name}.png")) == mask).all()
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    (tmp_path / "data" / "masks" / f"{name}.png").unlink()
    prepared(root, tmp_path / "data", "camvid")
    assert before == {path: path.read_bytes() for path in before}
    found = data.load(tmp_path / "data", least=16)
    assert len(found.classes) == 11 and found.ignore == [11]
    odd = Image.open(root / "train_labels" / "train0006R0_f00001_L.png")
    odd.putpixel((5, 7), (1, 2, 3))
    odd.save(root / "train_labels" / "train0006R0_f00001_L.png")
    prepared(root, tmp_path / "other", "camvid")
    assert "1 scenes that cannot be used" in (told := capsys.readouterr().out) and "[1, 2, 3] at x=5, y=7" in told


def test_camvid_as_its_authors_give_it(tmp_path, capsys):
    """One folder of images and one of masks, in 32 colours; the last frames of each drive choose the epoch."""
    colours = np.array([row.split()[2:] for row in GROUPS.split(";")], int).astype(np.uint8)
    numbers = np.array([int(row.split()[0]) for row in GROUPS.split(";")])
    for number in range(6):
        name = f"{'0001TP' if number < 3 else '0016E5'}_{number:05d}"
        drawn = np.random.default_rng(number).integers(32, size=(24, 36))
        scene(tmp_path / "camvid" / "701_StillsRaw_full" / f"{name}.png", seed=number)
        (tmp_path / "camvid" / "LabeledApproved_full").mkdir(exist_ok=True)
        Image.fromarray(colours[drawn]).save(tmp_path / "camvid" / "LabeledApproved_full" / f"{name}_L.png")
    prepared(tmp_path / "camvid", tmp_path / "data", "camvid")
    assert "4 in train.txt, 2 in val.txt; 0 without labels" in capsys.readouterr().out
    assert (np.asarray(Image.open(tmp_path / "data" / "masks" / f"{name}.png")) == numbers[drawn]).all()
    assert data.load(tmp_path / "data", least=16).held_out == ["0001TP_00002", "0016E5_00005"]


def test_cityscapes_with_train_ids_only(cityscapes, tmp_path, capsys):
    """The 19 classes keep their names, in the order of the train ids; what has none is ignored."""
    for path in list((cityscapes / "gtFine").rglob("*_labelIds.png")):
        ids = np.asarray(Image.open(path))
        train_ids = np.select([ids == known for known in KNOWN], range(19), 255).astype(np.uint8)
        Image.fromarray(train_ids).save(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
        path.unlink()
    prepared(cityscapes, tmp_path / "data", "cityscapes")
    told = capsys.readouterr().out
    assert "3 in test.txt; 2 without labels" in told and "cannot be submitted" in told
    classes, ignore = read_classes(tmp_path / "data" / "classes.json")
    own, _ = read_classes(ROOT / "challenges" / "cityscapes" / "cityscapes.json")
    assert ignore == [255] and [one["value"] for one in classes] == list(range(19))
    assert [one["name"] for one in classes] == [one["name"] for one in own]
    assert [one["name"] for one in classes][13] == "car"
    assert len(data.load(tmp_path / "data", least=16).classes) == 19


def test_images_without_any_mask_are_an_error_that_names_what_is_there(cityscapes, tmp_path):
    for path in list((cityscapes / "gtFine").rglob("*.png")):
        path.rename(path.with_name(path.name.replace("labelIds", "polygons")))
    run = lambda source, layout: inside("-m", "challenges.cityscapes.prepare", source, "--layout", layout, "--out",
                                        tmp_path / "o", cwd=ROOT)  # fmt: skip
    done = run(cityscapes, "cityscapes")
    fails_in_one_line(done, "holds 25 images, but no mask", "berlin_000000_000019_gtFine_labelIds.png is not there")
    fails_in_one_line(done, "berlin_000001_000019_gtFine_polygons.png")
    scene(tmp_path / "camvid" / "train" / "a_1.png", tmp_path / "camvid" / "labels" / "a_1_L.png")
    done = run(tmp_path / "camvid", "camvid")
    fails_in_one_line(done, "holds 1 images, but no mask", "trainannot", "a_1.png is not there", "holds labels, train")
    assert not (tmp_path / "o").exists()


def test_what_is_odd_is_named(cityscapes, tmp_path, capsys):
    train = cityscapes / "gtFine" / "train"
    Image.fromarray(np.full((24, 30), 7, np.uint8)).save(train / "bonn" / "bonn_000000_000019_gtFine_labelIds.png")
    Image.fromarray(np.full((24, 36), 99, np.uint8)).save(train / "bonn" / "bonn_000002_000019_gtFine_labelIds.png")
    (cityscapes / "leftImg8bit" / "train" / "ulm" / "ulm_000001_000019_leftImg8bit.png").write_bytes(b"no image")
    prepared(cityscapes, tmp_path / "data", "cityscapes")
    told = capsys.readouterr().out
    assert "left out: 3 scenes that cannot be used: " in told and "holds 99" in told and "30x24" in told
    assert not (tmp_path / "data" / "images" / "bonn_000000_000019.png").exists()


def test_the_class_tables():
    classes, ignore = read_classes(ROOT / "challenges" / "cityscapes" / "cityscapes.json")
    assert [one["value"] for one in classes] == KNOWN and not set(KNOWN) & set(ignore)
    assert set(KNOWN) | set(ignore) == {*range(35), 255}
    assert {one["name"]: one["colour"] for one in classes}["road"] == [128, 64, 128]
    classes, ignore = read_classes(ROOT / "challenges" / "cityscapes" / "camvid.json")
    assert [one["value"] for one in classes] == list(range(11)) and ignore == [11]


@pytest.mark.slow
def test_masks_keep_the_label_ids_all_the_way_to_a_submission(cityscapes, tmp_path):
    """Train a moment, infer what has no labels: values that the evaluation server knows, in the image's size."""
    out, words = tmp_path / "data", ["--patch", 16, "--batch", 2, "--steps", 2, "--epochs", 1]
    prepared(cityscapes, out, "cityscapes")
    assert inside("train.py", "--data", out, "--out", tmp_path / "run", *words, cwd=tmp_path).returncode == 0
    done = inside(
        "infer.py", out / "inference", tmp_path / "masks", "--checkpoint", tmp_path / "run" / "model.pt", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    masks = [np.asarray(Image.open(path)) for path in (tmp_path / "masks").iterdir()]
    assert len(masks) == 2 and all(mask.shape == (24, 36) and set(np.unique(mask)) <= set(KNOWN) for mask in masks)
    assert json.loads((out / "classes.json").read_text())["classes"][0]["name"] == "road"


@pytest.mark.parametrize("kind", ["train ids", "label ids", "colours", "side by side", "side by side, JPEG"])
def test_pairs_are_stretched_back_and_hold_train_ids(tmp_path, kind):
    """The right values come from what was drawn: stripes of 4 pixels of all 19 classes, and one of void."""
    table = json.loads((ROOT / "challenges" / "cityscapes" / "cityscapes.json").read_text(encoding="utf-8"))["classes"]
    ids = np.repeat(np.repeat(np.array([*range(19), 255], np.uint8), 4)[:, None], 80, axis=1)  # (80, 80)
    values = {number: entry["value"] for number, entry in enumerate(table)} | {255: 3}
    colours = np.array([entry["colour"] for entry in table] + [[111, 74, 0]], np.uint8)[np.minimum(ids, 19)]
    ramp = np.broadcast_to(np.arange(80, dtype=np.uint8)[:, None, None], (80, 80, 3))  # the same at any width
    for split, count in ("train", 5), ("val", 2):
        for part in ("images", "masks") if "side" not in kind else [""]:
            (tmp_path / "pairs" / split / part).mkdir(parents=True)
        for number in range(count):
            folder, name = tmp_path / "pairs" / split, f"{number:04d}"
            if "side" in kind:
                both = Image.fromarray(np.concatenate([ramp, colours], axis=1))
                both.save(folder / (f"{name}.jpg" if "JPEG" in kind else f"{name}.png"), **{"quality": 95})
                continue
            Image.fromarray(ramp).save(folder / "images" / f"{name}.png")
            labels = {"train ids": ids, "label ids": np.vectorize(values.get)(ids).astype(np.uint8)}.get(kind, colours)
            Image.fromarray(labels).save(folder / "masks" / f"{name}.png")
    out = tmp_path / "data"
    prepared(tmp_path / "pairs", out, "pairs", "--choose", "0.2")
    assert read_names(out / "train.txt") == [f"train_{number:04d}" for number in range(4)]
    assert (read_names(out / "val.txt"), read_names(out / "test.txt")) == (["train_0004"], ["val_0000", "val_0001"])
    found, mask = (np.asarray(Image.open(out / part / "val_0001.png")) for part in ("images", "masks"))
    assert found.shape == (80, 160, 3) and mask.shape == (80, 160)
    blurred = "JPEG" in kind  # and so without the columns where the two meet, and the rows between two stripes
    part = (np.arange(80) % 4 % 3 != 0 if blurred else slice(None)), slice(16, 144) if blurred else slice(None)
    assert np.abs(found.astype(int) - ramp[:, :1])[part].max() <= (4 if blurred else 0)
    assert (mask == ids[:, :1])[part].all()
    assert len(data.load(out, least=16).classes) == 19


def test_pairs_that_are_none_are_named(tmp_path, capsys):
    scene(tmp_path / "pairs" / "train" / "square.png", size=(40, 40))
    with pytest.raises(SystemExit, match="expected image and labels side by side"):
        prepared(tmp_path / "pairs", tmp_path / "data", "pairs")
