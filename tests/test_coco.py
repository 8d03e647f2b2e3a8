"""COCO: from an annotation file to a folder data set, with whatever odd things such a file holds."""

import json

import numpy as np
import pytest
from conftest import ROOT, contents, fails_in_one_line, inside
from PIL import Image
from pycocotools import coco
from pycocotools import mask as codes

import data
import train
from challenges.coco import prepare
from support import coco as outlines
from support.arguments import train_arguments
from support.masks import read_mask

CATEGORIES = [
    {"id": 1, "name": "person"},
    {"id": 2, "name": "bicycle"},
    {"id": 3, "name": "car"},
    {"id": 18, "name": "dog"},
]
COLOURS = {1: (255, 0, 0, 255), 2: (0, 255, 0, 255), 3: (0, 0, 255, 255)}
BLACK, GRAY = (0, 0, 0, 255), (128, 128, 128, 255)
HEIGHT, WIDTH = 90, 120


def polygon(random, corners=7):
    """A star-shaped polygon somewhere, parts of it outside of the image, its corners between pixels."""
    angle = np.sort(random.uniform(0, 2 * np.pi, corners))
    radius = random.uniform(8, 35, corners)
    x, y = random.uniform(0, WIDTH) + radius * np.cos(angle), random.uniform(0, HEIGHT) + radius * np.sin(angle)
    return np.stack([x, y], axis=1).ravel().tolist()


def run_lengths(mask):
    """A mask as uncompressed run lengths, column by column, as COCO writes crowds."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *ends, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": [0, *lengths] if flat[0] else lengths}


def crowd(random):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (y - random.integers(HEIGHT)) ** 2 + (x - random.integers(WIDTH)) ** 2 < random.integers(5, 25) ** 2


def compressed(mask):
    code = codes.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode()}


def annotation(image, category, segmentation, **more):
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


def write(folder, images, annotations):
    """An annotation file and, for each image, a noisy photograph; ids in order."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    table = {"info": {"year": 2017}, "licenses": [], "categories": CATEGORIES, "images": [], "annotations": []}
    for number, name in images.items():
        pixels = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        (folder / "photos" / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "photos" / name)
        table["images"].append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    for number, one in enumerate(annotations, start=100):
        table["annotations"].append({"id": number, **one})
    (folder / "instances.json").write_text(json.dumps(table))
    return table


@pytest.fixture
def plain(tmp_path):
    """Twenty images, polygons, crowds and compressed codes of three classes and a fourth."""
    random = np.random.default_rng(1)
    annotations = []
    for image in range(1, 21):
        for _ in range(5):
            category = int(random.choice([1, 1, 2, 3, 18]))
            kind = random.integers(4)
            shape = (
                [polygon(random)] if kind == 0 else [polygon(random), polygon(random)] if kind == 1
                else run_lengths(crowd(random)) if kind == 2 else compressed(crowd(random))
            )  # fmt: skip
            annotations.append(annotation(image, category, shape, iscrowd=int(kind > 1)))
    write(tmp_path, {number: f"{number:012d}.jpg" for number in range(1, 21)}, annotations)
    return tmp_path


def made(folder, *words, out="data"):
    words = ["--annotations", folder / "instances.json", "--images", folder / "photos", "--out", folder / out, *words]
    prepare.prepare(prepare.parse_arguments([str(word) for word in words]))
    return folder / out


def expected_mask(truth, image, order):
    """What pycocotools itself makes of an image's annotations."""
    mask = np.full((HEIGHT, WIDTH, 4), BLACK, np.uint8)
    for category in order:
        for number in truth.getAnnIds(imgIds=image, catIds=[category]):
            mask[truth.annToMask(truth.loadAnns(number)[0]) == 1] = COLOURS[category]
    return mask


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_masks_are_pycocotools_own_pixel_by_pixel(plain, order):
    names = {category["id"]: category["name"] for category in CATEGORIES}
    out = made(plain, "--order", *[names[category] for category in order])
    truth = coco.COCO(plain / "instances.json")
    masks = sorted((out / "masks").iterdir())
    assert len(masks) == 20 and len(truth.anns) == 100
    for path in masks:
        drawn = Image.open(path)
        assert drawn.mode == "RGBA"
        assert (np.asarray(drawn) == expected_mask(truth, int(path.stem), order)).all(), path


def test_images_are_copied_as_they_are_and_the_subset_is_coco_again(plain):
    out = made(plain, "--per-class", 4, "--seed", 3)
    subset, whole = coco.COCO(out / "annotations.json"), coco.COCO(plain / "instances.json")
    copied = {path.name: path.read_bytes() for path in (out / "images").iterdir()}
    assert copied == {name: (plain / "photos" / name).read_bytes() for name in copied}
    assert {image["file_name"] for image in subset.imgs.values()} == set(copied)
    assert sorted(subset.cats) == [1, 2, 3]
    for image in subset.imgs:
        own = set(subset.getAnnIds(imgIds=image))
        drawn = {n for n in whole.getAnnIds(imgIds=image) if whole.annToMask(whole.anns[n]).any()}
        assert own == {n for n in drawn if whole.anns[n]["category_id"] != 18}
        assert (
            np.asarray(Image.open(out / "masks" / f"{image:012d}.png")) == expected_mask(subset, image, (1, 2, 3))
        ).all()


def test_each_class_gets_its_number_of_images_and_an_image_is_taken_once(plain):
    whole = coco.COCO(plain / "instances.json")
    showing = {category: set(whole.getImgIds(catIds=[category])) for category in (1, 2, 3)}
    for wanted in (1, 3, 1000):
        out = made(plain, "--per-class", wanted, out=f"data{wanted}")
        taken = {int(path.stem) for path in (out / "images").iterdir()}
        for images in showing.values():
            assert len(taken & images) >= min(wanted, len(images))
        assert len(taken) <= 3 * wanted and taken <= set.union(*showing.values())
    first, again = (made(plain, "--per-class", 3, "--seed", 1, out=name) for name in ("a", "b"))
    assert contents(first) == contents(again)
    other = made(plain, "--per-class", 3, "--seed", 2, out="c")
    assert set(contents(first)) != set(contents(other))


def test_every_odd_case_is_counted_named_and_leaves_no_wrong_file(tmp_path, capsys):
    square = [[20, 20, 60, 20, 60, 60, 20, 60]]
    names = {n: f"n{n}.jpg" for n in range(1, 16)}
    wild = "5" * 20  # run lengths of 5, which end early
    table = write(
        tmp_path,
        names,
        [
            *[annotation(n, 1, square) for n in range(1, 16) if n not in (5, 6, 9)],
            {"image_id": 1, "category_id": 1},  # no outline at all
            *[annotation(2, 2, []), annotation(2, 2, [[]]), annotation(2, 2, [[5, 5, 9, 9]])],  # empty, empty, a line
            annotation(3, 3, {"size": [HEIGHT, WIDTH], "counts": [10, 20]}),  # a code that ends too early
            annotation(3, 3, {"size": [50, 50], "counts": [0, 2500]}),  # of another size
            annotation(3, 3, {"size": [HEIGHT, WIDTH], "counts": wild}),
            annotation(3, 3, {"size": [HEIGHT, WIDTH], "counts": "PPPPP"}),  # ends within a number
            annotation(3, 3, {"size": [HEIGHT, WIDTH], "counts": [0.5] * 2 * HEIGHT * WIDTH}),
            annotation(3, 3, [[0, 0, 1e300, 0, 5, 5]]),  # would kill the process
            annotation(3, 3, [[0, 0, float("nan"), 0, 5, 5]]),
            annotation(4, 77, [[50, 50, 100, 50, 100, 80, 50, 80]]),  # a category without a name, over a person
            annotation(5, 18, square),  # only a dog
            annotation(9, 1, [[500, 500, 600, 500, 600, 600]]),  # outside of the image
            annotation(99, 1, square),  # of an image that the file does not name
            annotation("no number", 1, square),
        ],
    )
    table["annotations"].append("nonsense")
    table["images"].append({"id": 50, "file_name": "n1.jpg", "height": None, "width": 7})
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "photos" / "n14.jpg", exif=exif)
    half = (tmp_path / "photos" / "n15.jpg").read_bytes()
    (tmp_path / "photos" / "n15.jpg").write_bytes(half[: len(half) // 2])
    (tmp_path / "photos" / "n7.jpg").unlink()
    (tmp_path / "photos" / "n8.jpg").write_bytes(b"\xff\xd8\xff torn")
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(tmp_path / "photos" / "n10.jpg")
    table["images"][10]["file_name"] = "../n11.jpg"
    table["images"][11]["file_name"] = str(tmp_path / "photos" / "n12.jpg")
    (tmp_path / "photos" / "n13.jpg").rename(tmp_path / "photos" / "N1.jpg")
    table["images"][12]["file_name"] = "N1.jpg"
    thumbnail = tmp_path / "photos" / "@eaDir" / "n1.jpg"  # as some network drives keep them
    thumbnail.parent.mkdir()
    thumbnail.write_bytes((tmp_path / "photos" / "n1.jpg").read_bytes())
    table["images"].append({"id": 51, "file_name": "@eaDir/n1.jpg", "height": HEIGHT, "width": WIDTH})
    (tmp_path / "n11.jpg").write_bytes((tmp_path / "photos" / "n11.jpg").read_bytes())
    (tmp_path / "instances.json").write_text(json.dumps(table))
    out = made(tmp_path)
    told = capsys.readouterr().out
    for line in [
        "1 images that are not there: n7.jpg",
        "3 images whose name no data set can have: ../n11.jpg, ",
        "1 images whose name is there twice: N1.jpg",
        "1 images that their EXIF turns, so that the annotations may not fit: n14.jpg",
        "2 images that cannot be read: n15.jpg, n8.jpg",
        "1 images of another size than the annotations say: n10.jpg",
        "1 images in which no pixel is of the classes: n9.jpg",
        "4 annotations without an outline: 112, 113, 114, 115",
        "7 annotations with a damaged outline: 116, 117, 118, 119, 120 and 2 more",
        "1 annotations that cover no pixel: 125",
        "2 annotations of images that the file does not name",
        "1 annotations without image or category",
        "1 images without id, height or width",
        "person: in 4 images",
        "bicycle: in 0 images",
        "2 show none of the classes",
    ]:
        assert line in told, (line, told)
    assert {path.name for path in (out / "images").iterdir()} == {"n1.jpg", "n2.jpg", "n3.jpg", "n4.jpg"}
    assert {path.name for path in (out / "masks").iterdir()} == {"n1.png", "n2.png", "n3.png", "n4.png"}
    mask = np.asarray(Image.open(out / "masks" / "n4.png"))
    assert tuple(mask[30, 30]) == COLOURS[1] and tuple(mask[55, 55]) == COLOURS[1]  # the person lies on top
    assert tuple(mask[70, 90]) == GRAY and tuple(mask[5, 5]) == BLACK
    found = data.load(out)
    assert [one["name"] for one in found.classes] == ["background", "person", "bicycle", "car"]
    assert found.ignore == [[128, 128, 128]]
    subset = coco.COCO(out / "annotations.json")
    assert len(subset.imgs) == len(subset.anns) == 4 and all(
        subset.annToMask(one).any() for one in subset.anns.values()
    )


def test_whole_numbers_may_be_written_as_others_write_them(plain):
    before = contents(made(plain, out="before"))
    table = json.loads((plain / "instances.json").read_text())
    for image in table["images"]:
        image.update(id=str(image["id"]), height=float(image["height"]))
    for one in table["annotations"]:
        one.update(image_id=float(one["image_id"]), category_id=str(one["category_id"]))
    (plain / "instances.json").write_text(json.dumps(table))
    after = contents(made(plain, out="after"))
    assert {name for name in before if before[name] != after.get(name)} <= {"made_of.json", "annotations.json"}


def rewritten(folder, change):
    """Let `change` change the annotation file's table."""
    table = json.loads((folder / "instances.json").read_text())
    change(table)
    (folder / "instances.json").write_text(json.dumps(table))


def test_annotation_ids_that_begin_anew_in_every_image_lose_none(plain, capsys):
    """As CVAT and TACO write them; pycocotools itself would keep the last annotation of each id."""
    before, truth = contents(made(plain, out="before")), coco.COCO(plain / "instances.json")

    def restart(table):
        for number, one in enumerate(table["annotations"]):
            one["id"] = number % 5

    rewritten(plain, restart)
    after = contents(made(plain, out="after"))
    assert "not every annotation has an id of its own" in capsys.readouterr().out
    assert {name for name in before if before[name] != after[name]} == {"made_of.json", "annotations.json"}
    subset = coco.COCO(plain / "after" / "annotations.json")
    wanted = [n for n, one in truth.anns.items() if one["category_id"] != 18 and truth.annToMask(one).any()]
    assert len(subset.anns) == len(wanted) > 15
    area = lambda table: sorted(int(table.annToMask(table.anns[n]).sum()) for n in table.anns)
    assert area(subset) == sorted(int(truth.annToMask(truth.anns[n]).sum()) for n in wanted)


def test_annotations_need_no_id(plain):
    before = contents(made(plain, out="before"))
    rewritten(plain, lambda table: [one.pop("id") for one in table["annotations"]])
    after = contents(made(plain, out="after"))
    assert {name for name in before if before[name] != after[name]} == {"made_of.json", "annotations.json"}


def test_ids_may_be_texts(plain):
    before = contents(made(plain, "--per-class", 1000, out="before"))

    def as_texts(table):
        for image in table["images"]:
            image["id"] = f"0{image['id']}"
        for category in table["categories"]:
            category["id"] = f"class {category['id']}"
        for one in table["annotations"]:
            one.update(id=f"a{one['id']}", image_id=f"0{one['image_id']}", category_id=f"class {one['category_id']}")

    rewritten(plain, as_texts)
    after = contents(made(plain, "--per-class", 1000, out="after"))
    assert {name for name in before if before[name] != after[name]} == {"made_of.json", "annotations.json"}


def test_texts_that_look_like_numbers_are_other_ids():
    known = ["7", "007", "1_2", "7.0", "\u0667", "x", " 7", 12, 12.0, -3.0]
    assert [outlines.identity(value) for value in known] == [7, *known[1:7], 12, 12, -3]
    assert [outlines.identity(value) for value in (None, "", True, 1.5, float("nan"), [], {})] == [None] * 7


def test_a_polygon_that_is_in_no_list_is_a_polygon(plain):
    random = np.random.default_rng(4)
    shapes = [polygon(random) for _ in range(20)]
    write(plain, {n: f"{n}.jpg" for n in range(1, 21)}, [annotation(n, 1, s) for n, s in enumerate(shapes, start=1)])
    out = made(plain)
    subset = coco.COCO(out / "annotations.json")
    for number, shape in enumerate(shapes, start=1):
        truth = codes.decode(codes.frPyObjects([shape], HEIGHT, WIDTH))[:, :, 0] > 0
        drawn = np.asarray(Image.open(out / "masks" / f"{number}.png"))
        assert truth.any() and ((drawn == COLOURS[1]).all(axis=2) == truth).all()
        [again] = subset.imgToAnns[number]
        assert (subset.annToMask(again) == truth).all()


def test_paths_as_windows_writes_them_are_found(tmp_path):
    square = [[20, 20, 60, 20, 60, 60, 20, 60]]
    write(tmp_path, {1: "one.jpg", 2: "train/two.jpg"}, [annotation(1, 1, square), annotation(2, 1, square)])

    def with_backslashes(table):
        for image in table["images"]:
            image["file_name"] = image["file_name"].replace("/", "\\")
        table["images"].append({"id": 3, "file_name": "..\\three.jpg", "height": HEIGHT, "width": WIDTH})

    rewritten(tmp_path, with_backslashes)
    out = made(tmp_path, "--split", 0.5, 0.5, 0)
    assert {name for name in contents(out) if name.startswith("masks")} == {"masks/one.png", "masks/train/two.png"}
    names = {image["file_name"] for image in coco.COCO(out / "annotations.json").imgs.values()}
    assert names == {"one.jpg", "train/two.jpg"} and len(data.find_pairs(out)) == 2


def test_where_nothing_can_be_taken_the_reason_is_told(plain):
    def wrong(change):
        kept = (plain / "instances.json").read_text()
        rewritten(plain, change)
        with pytest.raises(prepare.BadInput, match="outlines no person, bicycle, car in an image") as error:
            made(plain, out="new")
        (plain / "instances.json").write_text(kept)
        assert not (plain / "new").exists()
        return str(error.value)

    def change_each(part, **values):
        return lambda table: [one.update(values) for one in table[part]]

    persons = sum(one["category_id"] != 18 for one in json.loads((plain / "instances.json").read_text())["annotations"])
    told = wrong(change_each("annotations", segmentation=[], bbox=[10, 10, 20, 20]))
    assert f"it has {persons} annotations with a box but no outline" in told
    assert f"it has {persons} annotations without an outline" in wrong(change_each("annotations", segmentation=None))
    told = wrong(lambda table: [one.update(image_id=f"{one['image_id']:012d}.jpg") for one in table["annotations"]])
    assert "image_id such as '0000000000" in told and "an id such as 1;" in told
    assert "none of its 100 sound annotations has their" in wrong(change_each("annotations", category_id=18))
    told = wrong(change_each("images", file_name="other.jpg"))
    assert "no image can be used of the 20" in told and "other.jpg is one of the images that are not there" in told


def test_a_box_among_outlines_is_counted(tmp_path, capsys):
    square = [[20, 20, 60, 20, 60, 60, 20, 60]]
    write(
        tmp_path,
        {1: "one.jpg", 2: "two.jpg"},
        [annotation(1, 1, square), annotation(1, 1, [], bbox=[1, 1, 9, 9]), annotation(2, 1, [], bbox=[1, 1, 9, 9])],
    )
    made(tmp_path)
    assert "2 annotations with a box but no outline: " in capsys.readouterr().out


def test_compressed_run_lengths_are_pycocotools_own():
    random = np.random.default_rng(2)
    for _ in range(50):
        mask = random.random((HEIGHT, WIDTH)) < random.choice([0.01, 0.5, 0.999])
        mask[: random.integers(HEIGHT)] = random.integers(2)
        shape = compressed(mask)
        assert outlines.decompress(shape["counts"]) == run_lengths(mask.astype(np.uint8))["counts"]
        assert (outlines.draw(shape, HEIGHT, WIDTH) == mask).all()


def test_up_to_99_classes_have_colours_of_their_own():
    colours = prepare.palette(99)
    assert colours[1:4].tolist() == [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]]
    assert len(np.unique(colours[:101], axis=0)) == 101  # black, 99 classes and, at the end, gray


def test_outside_the_boxes_is_ignored_in_training_masks_only(plain):
    table = json.loads((plain / "instances.json").read_text())
    truth = coco.COCO(plain / "instances.json")
    for one in table["annotations"]:
        one["bbox"] = codes.toBbox(truth.annToRLE(one)).tolist()
    for one, bad in zip(
        table["annotations"], [None, "box", [1, 2], ["a"] * 4, [0, 0, -5, 9], [float("nan")] * 4, [1e400, 0, 5, 5]]
    ):
        one["bbox"] = bad  # then what was drawn is the box
    (plain / "instances.json").write_text(json.dumps(table))
    whole, boxed = made(plain, out="whole"), made(plain, "--boxes", 5, out="boxed")
    training = (boxed / "train.txt").read_text().splitlines()[1:]
    assert len(training) == 14
    for path in sorted((whole / "masks").iterdir()):
        before, after = (np.asarray(Image.open(folder / "masks" / path.name)) for folder in (whole, boxed))
        if path.stem not in training:
            assert (before == after).all()
            continue
        inside = np.zeros((HEIGHT, WIDTH), bool)
        for one in table["annotations"]:
            if one["image_id"] == int(path.stem) and one["category_id"] != 18 and truth.annToMask(one).any():
                left, top, width, height = codes.toBbox(truth.annToRLE(one)).tolist()
                inside[max(0, int(top) - 5) : int(top + height) + 5, max(0, int(left) - 5) : int(left + width) + 5] = (
                    True
                )
        assert (after[inside] == before[inside]).all() and (after[~inside] == GRAY).all()
        assert not (before[~inside] != BLACK).any(axis=-1).any()  # nothing that was drawn is lost


def test_the_split_has_its_shares_and_leaves_some_to_train_on(plain):
    out = made(plain, "--split", 0.6, 0.25, 0.15)
    parts = {part: (out / f"{part}.txt").read_text().splitlines()[1:] for part in ("train", "val", "test")}
    assert [len(parts[part]) for part in ("train", "val", "test")] == [12, 5, 3]
    assert len(set(sum(parts.values(), []))) == 20
    found = data.load(out)
    assert len(found.training) == 12 and sorted(found.held_out) == sorted(parts["val"])
    for count, shares in [(3, (0.01, 0.5, 0.49)), (1, (0.7, 0.2, 0.1)), (2, (0.1, 0, 0.9))]:
        names = [f"n{number}" for number in range(count)]
        split = prepare.split_by_hash(names, shares, 0)
        assert split["train"] and sorted(sum(split.values(), [])) == names


def test_gone_on_by_more_threads_it_writes_the_same_bytes(plain, monkeypatch):
    """Killed in earnest it is in tests/test_interrupted.py."""
    monkeypatch.setattr("support.machine.cores", lambda: 1)
    before = contents(made(plain))
    assert len(before) > 40
    for name in [name for name in before if name.startswith("masks")][::2]:
        (plain / "data" / name).unlink()
    monkeypatch.setattr("support.machine.cores", lambda: 3)
    assert contents(made(plain)) == before


def test_mistakes_are_told_in_one_line(plain):
    def wrong(*words, **files):
        for name, text in files.items():
            (plain / f"{name}.json").write_text(text)
        with pytest.raises(prepare.BadInput) as error:
            made(plain, *words, out="new")
        assert not (plain / "new").exists() and "\n" not in str(error.value)
        return str(error.value)

    for text in ("not JSON", "[]", '{"images": []}', '{"images": [], "annotations": {}, "categories": []}'):
        assert "expected a COCO file" in wrong("--annotations", plain / "bad.json", bad=text)
    empty = json.dumps({"images": [], "annotations": [], "categories": CATEGORIES})
    assert "outlines no person, bicycle, car" in wrong("--annotations", plain / "bad.json", bad=empty)
    assert "is inside" in wrong("--images", plain)
    made(plain, out="data")
    with pytest.raises(prepare.BadInput, match="another seed"):
        made(plain, "--seed", 1, out="data")
    (plain / "photos" / "000000000001.jpg").unlink()
    with pytest.raises(prepare.BadInput, match="another set of annotations and images"):
        made(plain, out="data")
    run = lambda *words: inside("-m", "challenges.coco.prepare", *words, cwd=ROOT)
    given = ["--annotations", "a.json", "--images", "b", "--out", "c"]
    fails_in_one_line(run(*given, "--order", "person", "car"), "--order")
    fails_in_one_line(run(*given, "--split", "0.5", "0.2", "0.2"), "add up to 1")
    fails_in_one_line(run(*given, "--per-class", "0"), "--per-class")


def test_masks_read_back_as_the_classes_and_train(plain):
    out = made(plain)
    values = np.unique(read_mask(out / "masks" / "000000000001.png").reshape(-1, 3), axis=0).tolist()
    assert all(value in [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]] for value in values)
    words = ["--data", out, "--out", plain / "run", "--model", "unet", "--width", 4, "--depth", 1, "--steps", 3]
    words += ["--epochs", 1, "--loss", "focal", "--class-weights", 0.5, "--patch", 32, "--batch", 4]
    best = train.train(train_arguments([str(word) for word in words]))
    assert best["epoch"] == 1
