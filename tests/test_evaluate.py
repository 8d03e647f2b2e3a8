"""evaluate.py against scikit-learn, on real files."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import sklearn.metrics
import tifffile
from conftest import ROOT, command, fails_in_one_line, inside
from PIL import Image

from benchmarks.results import draw_prediction
from evaluate import evaluate, in_threads
from support import masks, plots
from support.arguments import evaluate_arguments
from support.files import MARK, BadInput
from support.images import read_image

TABLE = {"classes": [{"name": name, "value": value} for value, name in enumerate("abcd")], "ignore": [255]}


def save(array, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)


def score(folder, *words):
    return evaluate(evaluate_arguments([str(folder / "pred"), str(folder / "data" / "masks"), *map(str, words)]))


def write_table(folder, table=TABLE, name="classes.json"):
    path = folder / "data" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def blob(seed=0, shape=(40, 60)):
    """A boolean mask of a few rectangles, which a JPEG can hold well."""
    random, mask = np.random.default_rng(seed), np.zeros(shape, bool)
    for _ in range(3):
        y, x = random.integers(shape[0] - 16), random.integers(shape[1] - 16)
        mask[y : y + 16, x : x + 16] = True
    return mask


def test_void_among_the_classes_is_pointed_out(tmp_path, capsys):
    truth = np.where(blob(), 1, 0) + np.where(blob(1), 2, 0)
    truth[:3] = 255
    save(truth.astype(np.uint8), tmp_path / "data" / "masks" / "a.png")
    save(truth.astype(np.uint8), tmp_path / "pred" / "a.png")
    score(tmp_path)
    assert "255 beside such small values is void, most likely: list it under ignore" in capsys.readouterr().out
    write_table(tmp_path)
    score(tmp_path)
    assert "void, most likely" not in capsys.readouterr().out


def iou(truth, prediction):
    return (truth & prediction).sum() / (truth | prediction).sum()


# ---------------------------------------------------------------------------------------------------
# Figures


@pytest.mark.parametrize("seed", range(3))
def test_all_figures_agree_with_scikit_learn(tmp_path, seed):
    random = np.random.default_rng(seed)
    truths, predictions = [], []
    for name, shape, most in [("a", (13, 17), 4), ("b", (30, 8), 3), ("sub/c", (1, 5), 2), ("d.e", (21, 21), 4)]:
        truth, prediction = (random.integers(0, most, shape).astype(np.uint8) for _ in range(2))
        truth[random.random(shape) < 0.2] = 255
        truth[0, 0] = 0
        save(truth, tmp_path / f"data/masks/{name}.png")
        save(prediction, tmp_path / f"pred/{name}.tif")
        truths.append(truth[truth != 255])
        predictions.append(prediction[truth != 255])
    write_table(tmp_path)
    figures = score(tmp_path)
    truth, prediction = np.concatenate(truths), np.concatenate(predictions)
    for name, theirs in [
        ("iou", sklearn.metrics.jaccard_score),
        ("dice", sklearn.metrics.f1_score),
        ("precision", sklearn.metrics.precision_score),
        ("recall", sklearn.metrics.recall_score),
    ]:
        expected = theirs(truth, prediction, average=None, labels=range(4))
        assert [one[name] for one in figures["classes"]] == pytest.approx(expected), name
        assert all(0 <= one[name] <= 1 for one in figures["classes"])
    overall = figures["overall"]
    assert overall["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, prediction))
    assert overall["mean_iou"] == pytest.approx(sklearn.metrics.jaccard_score(truth, prediction, average="macro"))
    assert overall["mean_f1"] == pytest.approx(sklearn.metrics.f1_score(truth, prediction, average="macro"))
    assert figures["confusion"] == sklearn.metrics.confusion_matrix(truth, prediction).tolist()
    assert [one["pixels"] for one in figures["classes"]] == np.bincount(truth).tolist()
    # scikit-learn's own labels are the classes that occur in an image, and so its macro average leaves out the others
    one_by_one = [sklearn.metrics.jaccard_score(*both, average="macro") for both in zip(truths, predictions)]
    by_name = dict(zip(["a", "b", "sub/c", "d.e"], one_by_one))
    assert {row["name"]: row["iou"] for row in figures["images"]} == pytest.approx(by_name)
    assert overall["image_iou"] == pytest.approx(np.mean(one_by_one))


def test_a_perfect_prediction_scores_exactly_one_and_an_inverted_one_zero(tmp_path):
    mask = blob()
    save(np.uint8(mask) * 255, tmp_path / "data/masks/a.png")
    for prediction, expected in [(mask, 1.0), (~mask, 0.0)]:
        save(np.uint8(prediction) * 255, tmp_path / "pred/a.png")
        figures = score(tmp_path)
        assert set(figures["overall"].values()) == {expected}
        assert all(one[name] == expected for one in figures["classes"] for name in ("iou", "dice", "recall"))
        assert figures["images"][0]["boundary_f"] == 1.0  # the boundaries of what is swapped lie side by side


def test_boundaries_of_all_masks_together_and_of_each(tmp_path):
    strokes = np.zeros((3, 40, 60), bool)
    for stroke, column in zip(strokes, (20, 22, 40)):
        stroke[:, column] = True  # two of them two pixels apart: a boundary is right, and no pixel
    for name, truth, prediction in [("a", 0, 1), ("b", 0, 2)]:
        save(np.uint8(strokes[truth]) * 255, tmp_path / f"data/masks/{name}.png")
        save(np.uint8(strokes[prediction]) * 255, tmp_path / f"pred/{name}.png")
    done = inside("evaluate.py", "pred", "data/masks", "--json", "s.json", cwd=tmp_path)
    figures = json.loads((tmp_path / "s.json").read_text())
    assert [row["boundary_f"] for row in figures["images"]] == [1.0, 0.0]
    assert [row["iou"] for row in figures["images"]] == [0.0, 0.0]
    assert figures["classes"][1]["boundary_f"] == 0.5
    columns, _, foreground = [line.split() for line in done.stdout.splitlines()[1:4]]
    assert foreground[1 + columns.index("boundary")] == "0.5000", done.stdout


def test_a_copy_of_the_masks_is_perfect_though_they_hold_values_to_ignore(tmp_path):
    mask = np.random.default_rng(0).choice([0, 1, 3, 255], (20, 30)).astype(np.uint8)
    for folder in ("data/masks", "pred"):
        save(mask, tmp_path / folder / "a.png")
    write_table(tmp_path)
    figures = score(tmp_path)
    assert set(figures["overall"].values()) == {1.0}
    assert [one["iou"] for one in figures["classes"]] == [1.0, 1.0, None, 1.0]


def test_images_without_foreground_are_left_out_of_one_mean_and_count_as_one_in_the_other(tmp_path):
    truth, prediction, empty = blob(0), blob(1), np.zeros((40, 60), bool)
    for name, true, predicted in [
        ("a", truth, prediction),
        ("e1", empty, empty),
        ("e2", empty, empty),
        ("f", empty, truth),
    ]:
        save(np.uint8(true) * 255, tmp_path / f"data/masks/{name}.png")
        save(np.uint8(predicted) * 255, tmp_path / f"pred/{name}.png")
    done = inside("evaluate.py", "pred", "data/masks", "--json", "s.json", cwd=tmp_path)
    figures = json.loads((tmp_path / "s.json").read_text())
    expected = iou(truth, prediction)
    assert figures["empty"] == ["e1", "e2"]
    assert [row["iou"] for row in figures["images"]] == [pytest.approx(expected), None, None, 0.0]
    assert figures["overall"]["image_iou"] == pytest.approx(expected / 2)
    assert figures["overall"]["image_iou_empty_as_1"] == pytest.approx((expected + 2) / 4)
    assert "2 that have no foreground, neither true nor predicted: e1, e2" in done.stdout
    assert f"counted as 1: {(expected + 2) / 4:.4f}" in done.stdout
    save(np.uint8(empty), tmp_path / "pred/a.png")
    save(np.uint8(empty), tmp_path / "data/masks/a.png")
    (tmp_path / "e.txt").write_text("a\ne1\n")
    done = inside("evaluate.py", "pred", "data/masks", "--only", "e.txt", "--worst", 2, cwd=tmp_path)
    assert done.returncode == 0 and "IoU of foreground: n/a" in done.stdout and "nan" not in done.stdout.lower()
    assert not (tmp_path / "worst.png").exists()


# ---------------------------------------------------------------------------------------------------
# Encodings and classes

WRITERS = {
    "0 and 1": lambda mask, path: save(np.uint8(mask), path.with_suffix(".png")),
    "0 and 255": lambda mask, path: save(np.uint8(mask) * 255, path.with_suffix(".png")),
    "0 and 255 as colour": lambda mask, path: save(
        np.uint8(mask)[:, :, None].repeat(3, 2) * 255, path.with_suffix(".png")
    ),
    "1 bit": lambda mask, path: save(mask, path.with_suffix(".png")),
    "jpeg": lambda mask, path: save(np.uint8(mask) * 255, path.with_suffix(".jpg"), quality=60),
}


@pytest.mark.parametrize("true", WRITERS)
@pytest.mark.parametrize("predicted", [*WRITERS, "grey"])
def test_black_and_white_masks_may_differ_in_encoding(tmp_path, true, predicted):
    write_grey = lambda mask, path: save(  # where nothing is found, nothing is bright
        np.where(mask, 128, 127 * mask.any()).astype(np.uint8), path.with_suffix(".png")
    )
    every, none = np.ones((40, 60), bool), np.zeros((40, 60), bool)
    pairs = [(blob(0), blob(1)), (every, blob(2)), (blob(3), every), (none, blob(4)), (blob(5), none), (every, every)]
    for number, (truth, prediction) in enumerate(pairs):
        WRITERS[true](truth, tmp_path / f"data/masks/{number}.x")
        {**WRITERS, "grey": write_grey}[predicted](prediction, tmp_path / f"pred/{number}.x")
    figures = score(tmp_path)
    assert [row["iou"] for row in figures["images"]] == pytest.approx([iou(*pair) for pair in pairs])
    assert [one["name"] for one in figures["classes"]] == ["background", "foreground"]


@pytest.mark.parametrize("table, written", [(1, 255), (255, 255), (120, 120), (200, 255), (60000, 255), (5, 255)])
@pytest.mark.parametrize("order", [1, -1])
def test_a_jpeg_can_be_scored_by_a_table_of_black_and_another_grey(tmp_path, table, written, order):
    truth, prediction = blob(0), blob(1)
    write_table(tmp_path, {"classes": [{"name": "x", "value": 0}, {"name": "foreground", "value": table}][::order]})
    save(np.where(truth, table, 0).astype(np.uint16 if table > 255 else np.uint8), tmp_path / "data/masks/a.png")
    save(np.where(prediction, written, 0).astype(np.uint8), tmp_path / "pred/a.jpg", quality=60)
    assert score(tmp_path)["images"][0]["iou"] == pytest.approx(iou(truth, prediction))


def test_a_class_table_is_the_one_given_else_found_in_the_folder_else_beside_it(tmp_path):
    for folder in ("data/masks", "pred"):
        save(np.uint8([[0, 1, 2, 3]]), tmp_path / folder / "a.png")
    names = lambda *words: [one["name"] for one in score(tmp_path, *words)["classes"]]
    table = lambda prefix: {"classes": [{"name": f"{prefix} {value}", "value": value} for value in range(4)]}
    assert names() == ["class 0", "class 1", "class 2", "class 3"]
    write_table(tmp_path, table("beside"))
    assert names()[0] == "beside 0"
    write_table(tmp_path, table("inside"), "masks/classes.json")
    assert names()[0] == "inside 0"
    assert names("--classes", write_table(tmp_path, table("given"), "other.json"))[0] == "given 0"


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for rights to link")
def test_the_class_table_lies_beside_masks_that_are_a_link(tmp_path):
    """As train.py --data takes it; else that beside what the link leads to."""
    for folder in ("there/masks", "pred"):
        save(np.uint8([[0, 1, 2, 3]]), tmp_path / folder / "a.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "masks").symlink_to(tmp_path / "there" / "masks")
    table = lambda prefix: {"classes": [{"name": f"{prefix} {value}", "value": value} for value in range(4)]}
    names = lambda: [one["name"] for one in score(tmp_path)["classes"]]
    write_table(tmp_path, table("there"), "../there/classes.json")
    assert names()[0] == "there 0"
    write_table(tmp_path, table("here"))
    assert names()[0] == "here 0"


def test_coloured_masks_are_scored_by_their_colours(tmp_path):
    colours = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 255]], np.uint8)
    truth, prediction = np.random.default_rng(0).integers(0, 3, (2, 20, 30))
    save(colours[truth], tmp_path / "data/masks/a.png")
    save(colours[prediction], tmp_path / "pred/a.bmp")
    figures = score(tmp_path)
    expected = dict(
        zip(
            map(tuple, colours.tolist()),
            sklearn.metrics.jaccard_score(*map(np.ravel, (truth, prediction)), average=None),
        )
    )
    assert {tuple(one["value"]): one["iou"] for one in figures["classes"]} == pytest.approx(expected)


def test_two_colours_are_not_black_and_white(tmp_path):
    mask = np.zeros((20, 30, 3), np.uint8)
    mask[:10, :, 2] = 255  # as a number, this blue is 255, too
    save(mask, tmp_path / "data/masks/a.png")
    save(mask[:, ::-1], tmp_path / "pred/a.png")
    assert [one["value"] for one in score(tmp_path)["classes"]] == [[0, 0, 0], [0, 0, 255]]


def test_antialiased_true_masks_need_a_threshold(tmp_path):
    truth = np.arange(256, dtype=np.uint8)[None].repeat(4, 0)
    save(truth, tmp_path / "data/masks/a.png")
    save(np.uint8(truth >= 90), tmp_path / "pred/a.png")
    with pytest.raises(BadInput, match="256 different values.*--threshold"):
        score(tmp_path)
    assert score(tmp_path, "--threshold", 100)["images"][0]["iou"] == pytest.approx(156 / 166)


# ---------------------------------------------------------------------------------------------------
# Pairs


def three_masks_two_predictions(folder):
    for name in ("a", "b", "c"):
        save(np.uint8(blob()) * 255, folder / f"data/masks/{name}.png")
    for name in ("a", "b", "z"):
        save(np.uint8(blob()) * 255, folder / f"pred/{name}.jpg")
    (folder / "data/masks/notes.md").write_text("no mask")
    (folder / "data/masks/._a.png").write_text("what macOS leaves behind")


def test_a_mask_without_prediction_is_an_error_unless_asked_otherwise(tmp_path):
    three_masks_two_predictions(tmp_path)
    fails_in_one_line(
        inside("evaluate.py", "pred", "data/masks", cwd=tmp_path),
        "1 of 3 true masks have no prediction: c",
        "mask: z",
    )
    done = inside("evaluate.py", "pred", "data/masks", "--missing", "skip", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert "1 of 3 true masks have no prediction: c" in done.stdout
    assert "1 predictions have no true mask: z" in done.stdout
    assert "all 2 masks" in done.stdout


def test_only_those_that_are_named_are_scored(tmp_path):
    three_masks_two_predictions(tmp_path)
    only = tmp_path / "test.txt"
    only.write_text("\ufeffb\r\n\r\n  a \nb\n", encoding="utf-8")
    figures = score(tmp_path, "--only", only)
    assert [row["name"] for row in figures["images"]] == ["b", "a"] and figures["without_prediction"] == []
    only.write_text("a\nc\n")
    with pytest.raises(BadInput, match="1 of 2 true masks have no prediction: c"):
        score(tmp_path, "--only", only)
    assert score(tmp_path, "--only", only, "--missing", "skip")["without_prediction"] == ["c"]


def test_images_that_were_learned_from_are_not_scored_without_a_word(folder, tmp_path):
    words = ["--batch", 4, "--patch", 32, "--steps", 2, "--epochs", 1, "--out", "run"]
    assert inside("train.py", "--data", folder, *words, cwd=tmp_path).returncode == 0
    words = [folder / "images", "run/masks", "--checkpoint", "run/model.pt"]
    done = inside("infer.py", *words, cwd=tmp_path)
    assert done.returncode == 0 and "8 masks in run/masks; by run/model.pt, " in done.stdout
    scored = lambda *words: inside("evaluate.py", "run/masks", folder / "masks", *words, cwd=tmp_path).stdout
    told = f"learned from, most likely: --only {tmp_path / 'run' / 'val.txt'} scores those that were not"
    assert told in scored() and "learned from" not in scored("--only", "run/val.txt")
    (tmp_path / "run" / "val.txt").write_text("n0\n")  # a list of somebody's own
    assert "learned from" not in scored()


def test_many_names_are_counted_rather_than_listed(tmp_path):
    for number in range(12):
        save(np.uint8(blob()), tmp_path / f"data/masks/{number:02}.png")
    save(np.uint8(blob()), tmp_path / "pred/00.png")
    with pytest.raises(BadInput, match="11 of 12 .*: 01, 02, 03, 04, 05 and 6 more; expected"):
        score(tmp_path)


def test_bad_inputs_are_one_line_and_leave_nothing(tmp_path):
    for name, shape, value in [
        ("good", (40, 50), 0),
        ("other", (40, 50), 7),
        ("void", (40, 50), 255),
    ]:
        mask = np.zeros(shape, np.uint8)
        mask[30, 20] = value
        save(mask, tmp_path / name / "a.png")
    save(np.zeros((40, 50, 3), np.uint8) + np.uint8([255, 0, 0]), tmp_path / "red/a.png")
    save(np.zeros((40, 50), np.uint8), tmp_path / "lossy/a.jpg")
    save(np.zeros((40, 50), np.uint8), tmp_path / "strange/q.png")
    for name in ("a.png", "a.jpg", "sub/a.png"):
        save(np.zeros((40, 50), np.uint8), tmp_path / "twice" / name)
    save(np.uint8([0, 1, 2, 0, 0]).repeat(10)[None].repeat(40, 0), tmp_path / "greys/a.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nothing.txt").write_text("\n \n")
    (tmp_path / "unknown.txt").write_text("z.png\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "theirs.json").write_text("{}")
    table = write_table(tmp_path, {"classes": [{"name": "x", "value": 0}, {"name": "y", "value": 1}], "ignore": [255]})
    before = sorted(tmp_path.rglob("*"))
    for words, expect in [
        (["empty", "good"], ["empty holds no image", ".png"]),
        (["good", "empty"], ["empty holds no image"]),
        (["twice", "good"], ["a.jpg", "a.png", "but the extension"]),
        (["good", "twice"], ["a.jpg", "a.png", "but the extension"]),
        (["strange", "good"], ["strange holds q", "none of a"]),
        (["good", "broken"], ["a.png is no readable image"]),
        (["red", "good"], ["a.png is coloured"]),
        (["other", "greys"], ["a.png holds 7 at x=20, y=30", "0, 1, 2"]),
        (["other", "good", "--classes", table], ["a.png holds 7 at x=20, y=30"]),
        (["good", "other", "--classes", table], ["a.png holds 7 at x=20, y=30"]),
        (["void", "good", "--classes", table], ["a.png holds a value to ignore", "has a class"]),
        (["lossy", "greys"], ["a.jpg is a JPEG", "3 classes", "0, 1, 2", "expected a PNG"]),
        (["good", "good", "--only", "nothing.txt"], ["nothing.txt names nothing"]),
        (["good", "good", "--only", "unknown.txt"], ["unknown.txt names z.png", "such as a"]),
        (["good", "good", "--only", "latin.txt"], ["latin.txt cannot be read"]),
        (["good", "good", "--json", "theirs.json"], ["theirs.json exists and was not written"]),
        (["good", "good", "--worst", "1", "--out", "x.gif"], ["x.gif", ".png or .jpg"]),
        (["good", "good", "--worst", "1", "--out", "good/a.png"], ["good/a.png is inside"]),
        (["good", "good", "--missing", "maybe"], ["--missing"]),
        (["good"], ["MASK_DIR"]),
    ]:
        fails_in_one_line(inside("evaluate.py", *words, cwd=tmp_path), *expect)
        assert sorted(tmp_path.rglob("*")) == before, words


# ---------------------------------------------------------------------------------------------------
# Output


def test_json_holds_what_evaluate_returns_and_may_be_written_again(tmp_path):
    three_masks_two_predictions(tmp_path)
    save(np.zeros((9, 9), np.uint8), tmp_path / "data/masks/b.png")
    save(np.zeros((9, 9), np.uint8), tmp_path / "pred/b.jpg")
    for _ in range(2):
        figures = score(tmp_path, "--missing", "skip", "--json", tmp_path / "out" / "s.json")
        text = (tmp_path / "out" / "s.json").read_text(encoding="utf-8")
        written = json.loads(text)
        assert next(iter(written)) == "written by" and written.pop("written by").startswith(MARK)
        assert written == figures and "NaN" not in text
    assert figures["without_truth"] == ["z"] and figures["without_prediction"] == ["c"]
    assert [row["iou"] for row in figures["images"]] == [1.0, None]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["s.json"]


def test_the_worst_come_first_with_their_images(tmp_path, monkeypatch):
    for number, seed in enumerate([1, 0, 2, 3]):  # 1 is perfect
        save(np.uint8(blob(0)) * 255, tmp_path / f"data/masks/{number}.png")
        save(np.uint8(blob(seed)) * 255, tmp_path / f"pred/{number}.png")
    save(np.full((40, 60, 3), 77, np.uint8), tmp_path / "images/2.jpg")
    drawn = []
    monkeypatch.setattr(plots, "draw_gallery", lambda rows, classes, path: drawn.extend(rows))
    figures = score(tmp_path, "--worst", 3, "--images", tmp_path / "images", "--out", tmp_path / "w.png")
    ranked = sorted((row["iou"], row["name"]) for row in figures["images"])[:3]
    assert [title for title, *_ in drawn] == [f"{name}: IoU {worst:.4f}" for worst, name in ranked]
    for (_, image, truth, prediction), (worst, name) in zip(drawn, ranked):
        assert (image is not None) == (name == "2")
        assert iou(truth == 1, prediction == 1) == worst


def test_the_gallery_shows_the_best_the_median_and_the_worst(tmp_path, monkeypatch):
    for number in range(9):
        save(np.uint8(blob(0)) * 255, tmp_path / f"data/masks/{number}.png")
        save(np.roll(np.uint8(blob(0)) * 255, 8 - number, axis=1), tmp_path / f"pred/{number}.png")
    drawn = []
    monkeypatch.setattr(plots, "draw_gallery", lambda rows, classes, path: drawn.append([title for title, *_ in rows]))
    for wanted, expected in [(1, "8 4 0"), (2, "8 7 3 4 0 1"), (9, "8 7 6 3 4 5 0 1 2")]:  # never one twice
        score(tmp_path, "--gallery", wanted, "--out", tmp_path / "g.png")
        kinds = [kind for kind in ("best", "median", "worst") for _ in range(min(wanted, 3))]
        titles = [f"{kind}: {name}: IoU" for kind, name in zip(kinds, expected.split())]
        assert [title.rsplit(" ", 1)[0] for title in drawn.pop()] == titles
    fails_in_one_line(
        inside("evaluate.py", "pred", "data/masks", "--gallery", 1, "--worst", 1, cwd=tmp_path), "--gallery"
    )


def near(picture, colour):
    return np.abs(picture.astype(int) - colour).max(axis=2) < 12


def test_the_worst_picture_shows_missed_and_invented_pixels(tmp_path):
    truth, prediction = np.zeros((2, 60, 80), np.uint8)
    truth[:, :20], prediction[:, 40:80] = 255, 255
    save(truth, tmp_path / "data/masks/a.png")
    save(prediction, tmp_path / "pred/a.png")
    done = inside("evaluate.py", "pred", "data/masks", "--worst", 3, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    picture = read_image(tmp_path / "worst.png")
    missed, invented = near(picture, (0, 114, 178)).sum(), near(picture, (213, 94, 0)).sum()
    assert missed > 5000 and invented == pytest.approx(2 * missed, rel=0.03)
    assert picture.shape[1] == 1200
    assert inside("evaluate.py", "pred", "data/masks", "--worst", 3, cwd=tmp_path).returncode == 0  # over its own


@pytest.mark.parametrize("colours", [False, True])
def test_the_worst_picture_of_many_classes_has_their_colours_and_names_only_errors(tmp_path, colours):
    own = np.uint8([[70, 70, 70], [128, 64, 128], [220, 20, 60], [107, 142, 35]])
    truth = np.uint8([0, 1, 2, 3, 3]).repeat(20)[None].repeat(60, 0)
    prediction = np.where(truth == 2, 1, truth)
    values = [one.tolist() for one in own] if colours else list(range(4))
    ignored = np.uint8([0, 0, 0]) if colours else np.uint8(255)
    table = {"classes": [{"name": f"${name}$", "value": value} for name, value in zip("wxyz", values)]}
    write_table(tmp_path, {**table, "ignore": [ignored.tolist()]})
    save_as = lambda mask, path: save(own[mask] if colours else mask, path)
    save_as(prediction, tmp_path / "pred/$a$_b.png")
    stored = own[truth].copy() if colours else truth.copy()
    stored[:, 80:] = ignored
    save(stored, tmp_path / "data/masks/$a$_b.png")
    score(tmp_path, "--worst", 1, "--out", tmp_path / "w.png")
    picture = read_image(tmp_path / "w.png")
    expected = own if colours else masks.class_colours(table["classes"])[:4]
    area = near(picture, (213, 94, 0)).sum()
    assert area > 3000 and near(picture, (0, 114, 178)).sum() == 0
    for colour, times in zip(
        expected, [2, 3, 1, 3]
    ):  # in truth and prediction; class 3 is ignored in half of the truth
        assert near(picture, colour).sum() > 0.9 * times * area
    assert near(picture, (143, 169, 196)).sum() == pytest.approx(2 * area, rel=0.1)  # ignored, in truth and errors


def test_a_prediction_is_drawn_beside_its_image_and_its_errors(tmp_path):
    truth, prediction = np.zeros((2, 30, 40), np.uint8)
    truth[:15], prediction[:, :20] = 1, 1
    draw_prediction(np.zeros((30, 40, 3), np.uint8), truth, prediction, tmp_path / "a.png")
    colours = set(map(tuple, read_image(tmp_path / "a.png").reshape(-1, 3).tolist()))
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # missed: blue, invented: orange


def test_threads_keep_the_order_and_do_not_run_ahead():
    started, lock = [], threading.Lock()

    def work(number):
        with lock:
            started.append(number)
        return number * number

    for done, result in enumerate(in_threads(work, list(range(200)), workers=3)):
        assert result == done * done
        assert len(started) - done <= 2 * 3 + 1, "results wait in memory"


def test_names_that_a_console_cannot_show_do_not_stop_it(tmp_path):
    for folder in ("data/masks", "pred"):
        save(np.uint8([[0, 1]]), tmp_path / folder / "\u732b.png")
    save(np.uint8([[0, 1]]), tmp_path / "pred/\u72ac.png")
    write_table(tmp_path, {"classes": [{"name": "\u8349", "value": 0}, {"name": "y", "value": 1}]})
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = command("evaluate.py", "pred", "data/masks", cwd=tmp_path, env=environment)
    assert done.returncode == 0 and "\\u8349" in done.stdout and "\\u72ac" in done.stdout, done.stderr


def test_nothing_is_imported_that_is_not_needed(tmp_path):
    for folder in ("data/masks", "pred"):
        save(np.uint8([[0, 1]]), tmp_path / folder / "a.png")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import evaluate\n"
        "from support.arguments import evaluate_arguments\n"
        "evaluate.evaluate(evaluate_arguments(['pred', 'data/masks']))\n"
        "print([name for name in ('torch', 'matplotlib', 'skimage', 'scipy', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, ROOT], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


# ---------------------------------------------------------------------------------------------------
# What is the foreground, and what is no mask


def test_black_on_white_masks_have_a_black_foreground_as_in_training(tmp_path):
    plants, nothing = blob(1, (80, 120)), np.zeros((80, 120), bool)
    save(np.uint8(~plants) * 255, tmp_path / "data/masks/a.png")
    save(np.uint8(~nothing) * 255, tmp_path / "pred/a.png")
    assert (~plants).mean() > 0.75
    assert score(tmp_path)["overall"]["image_iou"] == 0.0
    save(np.uint8(~plants) * 255, tmp_path / "pred/a.png")
    assert score(tmp_path)["overall"]["image_iou"] == 1.0


def test_of_background_and_another_class_the_other_counts(tmp_path):
    table = {"classes": [{"name": "background", "value": 0}, {"name": "glasses", "value": 255}]}
    for name, truth in [("worn", blob(1)), ("none", np.zeros((40, 60), bool))]:
        save(np.uint8(truth) * 255, tmp_path / f"data/masks/{name}.png")
        save(np.uint8(truth) * 255, tmp_path / f"pred/{name}.png")
    plain = score(tmp_path)
    (tmp_path / "data" / "classes.json").write_text(json.dumps(table))
    named = score(tmp_path)
    assert plain["empty"] == named["empty"] == ["none"] and plain["overall"] == named["overall"]


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("value", [7, 100, 60000])
def test_a_prediction_that_is_neither_black_nor_white_is_no_empty_one(tmp_path, value, table):
    save(np.uint8(blob()) * 255, tmp_path / "data/masks/a.png")
    save((blob() * value).astype(np.uint16 if value > 255 else np.uint8), tmp_path / "pred/a.png")
    if table:
        table = {"classes": [{"name": "a", "value": 0}, {"name": "b", "value": 255}]}
        (tmp_path / "data" / "classes.json").write_text(json.dumps(table))
    with pytest.raises(BadInput, match=f"a.png holds {value} at x="):
        score(tmp_path)


@pytest.mark.parametrize("values, written", [((0, 1), 255), ((0, 255), 1)])
def test_zero_and_one_stand_for_zero_and_255_with_a_table_too(tmp_path, values, written):
    table = {"classes": [{"name": name, "value": value} for name, value in zip("ab", values)]}
    (tmp_path / "data" / "masks").mkdir(parents=True)
    (tmp_path / "data" / "classes.json").write_text(json.dumps(table))
    save((blob() * values[1]).astype(np.uint8), tmp_path / "data/masks/a.png")
    save((blob() * written).astype(np.uint8), tmp_path / "pred/a.png")
    assert score(tmp_path)["overall"]["mean_iou"] == 1.0


def test_a_dark_jpeg_is_no_black_and_white_mask(tmp_path):
    save(np.where(blob(), 255, 0).astype(np.uint8), tmp_path / "data" / "masks" / "a.png")
    save(np.where(blob(), 20, 0).astype(np.uint8), tmp_path / "pred" / "a.jpg")
    with pytest.raises(BadInput, match="a.jpg is a JPEG of values up to [12].; expected black and white"):
        score(tmp_path)


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--worst", "2", "--gallery", "2"], "draw the same picture"),
        (["--images", "images"], "--images is for the picture"),
        (["--classes", "classes.json", "--threshold", "9"], "--threshold makes two classes"),
    ],
)
def test_arguments_that_contradict_each_other(words, reason, capsys):
    with pytest.raises(SystemExit):
        evaluate_arguments(["pred", "masks", *words])
    message = capsys.readouterr().err
    assert reason in message and len(message.splitlines()) == 1


def test_a_jpeg_of_three_greys_is_no_black_and_white_mask(tmp_path):
    mask = (np.arange(60)[None].repeat(40, axis=0) // 20 * 120).astype(np.uint8)
    save(mask, tmp_path / "data/masks/a.jpg")
    save(mask, tmp_path / "pred/a.jpg")
    with pytest.raises(BadInput, match="a.jpg holds .* different values.*--threshold 128"):
        score(tmp_path)


def test_all_bad_masks_are_told_at_once(tmp_path):
    for number in range(4):
        save(np.uint8(blob()) * 255, tmp_path / f"data/masks/{number}.png")
        save(np.uint8(blob()) * 255, tmp_path / f"pred/{number}.png")
    for number in (1, 3):
        (tmp_path / f"pred/{number}.png").write_bytes(b"damaged")
    with pytest.raises(BadInput, match="2 of 4 pairs cannot be scored:\n.*1.png is no.*\n.*3.png is no"):
        score(tmp_path)


def test_a_class_name_may_hold_what_matplotlib_takes_for_a_formula(tmp_path):
    table = {"classes": [{"name": "$_$", "value": 0}, {"name": "b", "value": 1}, {"name": "c", "value": 2}]}
    for folder in ("data/masks", "pred"):
        save(blob(len(folder)).astype(np.uint8), tmp_path / folder / "a.png")
    (tmp_path / "data" / "classes.json").write_text(json.dumps(table))
    done = inside("evaluate.py", "pred", "data/masks", "--worst", 1, cwd=tmp_path)
    assert done.returncode == 0 and "see worst.png" in done.stdout, done.stderr


def test_a_true_mask_holds_the_values_of_its_table_as_in_training(tmp_path):
    """255 in a mask of the classes 0 and 3 is no class; a prediction may be black and white."""
    classes = {"classes": [{"name": "ground", "value": 0}, {"name": "disc", "value": 3}]}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    save(np.uint8([[0, 3], [3, 255]]), tmp_path / "masks" / "a.png")
    save(np.uint8([[0, 255], [255, 255]]), tmp_path / "pred" / "a.png")
    process = inside("evaluate.py", "pred", "masks", cwd=tmp_path)
    fails_in_one_line(process, "a.png holds 255 at x=1, y=1", "0, 3")
    save(np.uint8([[0, 3], [3, 3]]), tmp_path / "masks" / "a.png")
    done = inside("evaluate.py", "pred", "masks", cwd=tmp_path)
    assert done.returncode == 0 and "accuracy 1.0000" in done.stdout, done.stderr


def test_a_number_for_no_data_that_no_coloured_pixel_can_have(tmp_path):
    """GDAL's tag says 65535, the prediction is red, green and blue in bytes."""
    mask = np.zeros((40, 40, 3), np.uint8)
    mask[:20] = 255, 0, 0
    for part in "predicted", "true":
        (tmp_path / part).mkdir()
    Image.fromarray(mask).save(tmp_path / "true" / "a.png")
    tag = (42113, 2, 0, "65535", True)
    tifffile.imwrite(tmp_path / "predicted" / "a.tif", mask, photometric="rgb", extratags=[tag])
    done = inside("evaluate.py", "predicted", "true", cwd=tmp_path)
    assert done.returncode == 0 and "accuracy 1.0000" in done.stdout, done.stderr
