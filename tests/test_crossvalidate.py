"""crossvalidate.py: every image is tested once, by a network that has not seen it."""

import json

import numpy as np
from conftest import command, fails_in_one_line

import crossvalidate
import metrics
import train
from checkpoint import load_checkpoint
from data import read_pair
from predict import segmenter

TINY = ["--batch", "4", "--patch", "32", "--steps", "4", "--epochs", "2"]


def validated(*words):
    crossvalidate.crossvalidate(*crossvalidate.parse_arguments([str(word) for word in words]))


def test_every_image_is_tested_once_by_a_network_that_has_not_seen_it(folder, tmp_path, capsys):
    out = tmp_path / "cv"
    (folder / "train.txt").write_text("n0\nn1\n")  # lists in the folder do not matter
    validated("--folds", 4, "--out", out, "--data", folder, *TINY)
    tested, total = [], 0
    for fold in range(4):
        names = (out / f"fold{fold}" / "test.txt").read_text().splitlines()[1:]
        held_out = (out / f"fold{fold}" / "val.txt").read_text().splitlines()[1:]
        assert len(names) == 2 and not set(names) & set(held_out)
        tested += names
        model, facts = load_checkpoint(out / f"fold{fold}" / "model.pt")
        args = train.parse_arguments([], **facts["settings"])
        assert len(train.load_data(args, model).training) == 6 - len(held_out)
        for name in names:
            paths = (folder / part / f"{name}.png" for part in ("images", "masks"))
            image, truth = read_pair(*paths, facts["classes"], facts["ignore"])
            total = total + metrics.confusion_matrix(truth, segmenter(model, facts)(image), 3)
    assert sorted(tested) == [f"n{number}" for number in range(8)]
    summary = json.loads((out / "crossvalidation.json").read_text())
    assert summary["confusion"] == total.tolist() and len(summary["folds"]) == 4
    told = capsys.readouterr().out
    assert f"all of them as one: accuracy {metrics.accuracy(total):.4f}" in told
    each = [one["mean_iou"] for one in summary["folds"]]
    assert f"mean IoU{np.mean(each):>17.4f}{np.std(each, ddof=1):>9.4f}" in told


def test_interrupted_it_goes_on_and_does_not_mix_settings(folder, tmp_path):
    out = tmp_path / "cv"
    words = ["--folds", 3, "--first", 2, "--out", out, "--data", folder, *TINY]
    validated(*words)
    before = (out / "crossvalidation.json").read_bytes()
    weights = (out / "fold0" / "model.pt").stat().st_mtime_ns
    (out / "fold1" / "scores.json").unlink()
    (out / "fold1" / "model.pt").unlink()
    (out / "fold1" / "last.pt").unlink()
    validated(*words)
    assert (out / "crossvalidation.json").read_bytes() == before  # the same seed, the same weights
    assert (out / "fold0" / "model.pt").stat().st_mtime_ns == weights
    other = [str(word) for word in [*words, "--seed", 1]]
    fails_in_one_line(command("crossvalidate.py", *other, cwd=tmp_path), "another arguments")


def test_mistakes_are_told_in_one_line(folder, tmp_path):
    for words, told in [
        (["--folds", 5], "expected at least 10"),
        (["--folds", 2, "--lr", "much"], "--lr"),
        (["--folds", 2, "--test-data", tmp_path], "images"),
        (["--folds", 1], "--folds"),
    ]:
        run = command("crossvalidate.py", "--out", tmp_path / "cv", "--data", folder, *words, cwd=tmp_path)
        fails_in_one_line(run, told)
        assert not (tmp_path / "cv").exists()
