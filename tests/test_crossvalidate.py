"""crossvalidate.py: every image is tested once, by a network that has not seen it."""

import json
import shutil

import numpy as np
import pytest
from conftest import fails_in_one_line, inside
from PIL import Image

import metrics
import train
from model import load_network
from segmenter import Segmenter
from support.arguments import train_arguments
from support.masks import read_mask, read_pair, to_indices
from tools import crossvalidate
from tools.arguments import crossvalidate_arguments

TINY = ["--batch", "4", "--patch", "32", "--steps", "4", "--epochs", "2"]


def validated(*words):
    crossvalidate.crossvalidate(*crossvalidate_arguments([str(word) for word in words]))


def test_every_image_is_tested_once_by_a_network_that_has_not_seen_it(folder, tmp_path, capsys):
    out = tmp_path / "cv"
    (folder / "train.txt").write_text("n0\nn1\n")  # lists in the folder do not matter
    validated("--folds", 4, "--out", out, "--data", folder, *TINY)
    tested, total = [], 0
    for fold in range(4):
        names = (out / f"fold{fold}" / "lists" / "test.txt").read_text().splitlines()[1:]
        held_out = (out / f"fold{fold}" / "val.txt").read_text().splitlines()[1:]
        assert len(names) == 2 and not set(names) & set(held_out)
        tested += names
        model, metadata = load_network(out / f"fold{fold}" / "model.pt")
        args = train_arguments([], **metadata["settings"])
        assert len(train.load_data(args, model.halo).training) == 6 - len(held_out)
        for name in names:
            paths = (folder / part / f"{name}.png" for part in ("images", "masks"))
            image, truth = read_pair(*paths, metadata["classes"], metadata["ignore"])
            prediction = Segmenter(model, metadata)(image)
            total = total + metrics.confusion_matrix(truth, prediction, 3)
            kept = read_mask(out / "predictions" / f"{name}.png")
            assert np.array_equal(to_indices(kept, metadata["classes"], name), prediction)
    assert sorted(tested) == [f"n{number}" for number in range(8)]
    summary = json.loads((out / "crossvalidation.json").read_text())
    assert summary["confusion"] == total.tolist() and len(summary["folds"]) == 4
    told = capsys.readouterr().out
    assert f"all of them as one: accuracy {metrics.accuracy(total):.4f}" in told
    each = [one["mean_iou"] for one in summary["folds"]]
    assert f"mean IoU{np.mean(each):>17.4f}{np.std(each, ddof=1):>9.4f}" in told


def test_interrupted_it_goes_on_and_does_not_mix_settings(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "cv"
    words = ["--folds", 3, "--first", 2, "--out", out, "--data", folder, *TINY]
    validated(*words)
    before = (out / "crossvalidation.json").read_bytes()
    weights = (out / "fold0" / "model.pt").stat().st_mtime_ns
    for name in ("scores.json", "last.pt", "model.pt"):
        (out / "fold1" / name).unlink()
    validate, calls = train.validate, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 2:  # in the second epoch
            raise KeyboardInterrupt
        return validate(*args)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train, "validate", interrupted)
        validated(*words)
    assert load_network(out / "fold1" / "last.pt")[1]["resume"]["history"][-1]["epoch"] == 1
    validated(*words)
    assert (out / "crossvalidation.json").read_bytes() == before  # the same seed, the same weights
    last = (out / "fold1" / "last.pt").stat().st_mtime_ns
    (out / "fold1" / "scores.json").unlink()  # interrupted while it was tested
    capsys.readouterr()
    validated(*words)
    assert (out / "crossvalidation.json").read_bytes() == before and "no epoch is left" not in capsys.readouterr().out
    assert (out / "fold1" / "last.pt").stat().st_mtime_ns == last
    assert (out / "fold0" / "model.pt").stat().st_mtime_ns == weights
    other = [str(word) for word in [*words, "--seed", 1]]
    fails_in_one_line(inside("-m", "tools.crossvalidate", *other, cwd=tmp_path), "another arguments")
    (folder / "masks" / "n0.png").write_bytes((folder / "masks" / "n1.png").read_bytes())
    same = [str(word) for word in words]
    fails_in_one_line(inside("-m", "tools.crossvalidate", *same, cwd=tmp_path), "another set of files")


def test_folds_of_another_class_table_are_not_mixed(folder, tmp_path):
    words = ["-m", "tools.crossvalidate", "--folds", 2, "--out", "cv", "--data", folder, *TINY]
    assert inside(*words, "--first", 1, cwd=tmp_path).returncode == 0
    table = json.loads((folder / "classes.json").read_text())
    table["classes"].append({"name": "another", "value": 200})
    (folder / "classes.json").write_text(json.dumps(table))
    fails_in_one_line(inside(*words, cwd=tmp_path), "cv was begun with another class table")


def test_classes_and_threshold_are_those_of_the_training(folder, tmp_path):
    (folder / "classes.json").rename(tmp_path / "table.json")
    validated("--folds", 2, "--out", tmp_path / "cv", "--data", folder, "--classes", tmp_path / "table.json", *TINY)
    summary = json.loads((tmp_path / "cv" / "crossvalidation.json").read_text())
    assert [one["name"] for one in summary["classes"]] == ["ground", "disc", "bar"]  # 9 is ignored, and no class
    validated("--folds", 2, "--out", tmp_path / "other", "--data", folder, "--threshold", 5, *TINY)
    summary = json.loads((tmp_path / "other" / "crossvalidation.json").read_text())
    assert [one["value"] for one in summary["classes"]] == [0, 255]


def test_masks_to_test_on_may_be_others(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tested")
    for path in (tmp_path / "tested" / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
    words = ["--folds", 2, "--first", 1, "--out", tmp_path / "cv", "--data", folder, "--test-data", tmp_path / "tested"]
    validated(*words, *TINY)
    summary = json.loads((tmp_path / "cv" / "crossvalidation.json").read_text())
    assert [one["pixels"] > 0 for one in summary["classes"]] == [True, False, False]


def test_mistakes_are_told_in_one_line(folder, tmp_path):
    for words, told in [
        (["--folds", 2, "--lr", "much"], "--lr"),
        (["--folds", 2, "--test-data", tmp_path], "images"),
        (["--folds", 2, "--patch", 300], "over the budget"),
    ]:
        run = inside("-m", "tools.crossvalidate", "--out", tmp_path / "cv", "--data", folder, *words, cwd=tmp_path)
        fails_in_one_line(run, told)
    validated(
        "--folds", 2, "--first", 1, "--out", tmp_path / "cv", "--data", folder, *TINY
    )  # none of them is in the way


def test_paths_may_look_like_options(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename("-d")
    validated("--folds", 2, "--first", 1, "--out=-o", "--data=-d", *TINY)
    assert (tmp_path / "-o" / "crossvalidation.json").exists()
