"""report.py: what it says is so, and it says something sensible of every run."""

import re

import numpy as np
import pytest
from conftest import command, fails_in_one_line
from PIL import Image

import evaluate
import infer
import metrics
import report
import train
from checkpoint import load_checkpoint
from predict import segmenter


def trained(*words):
    train.train(train.parse_arguments([str(word) for word in words]))


def reported(*words):
    report.report(report.parse_arguments([str(word) for word in words]))


def pages(path):
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


def test_of_one_pair_it_tests_on_the_strip_held_out(pair):
    folder, image, mask = pair
    out = folder / "run"
    trained(image, mask, "--epochs", 3, "--steps", 15, "--out", out)
    reported(out, "--title", "Discs")
    text = (out / "report.md").read_text(encoding="utf-8")
    model, facts = load_checkpoint(out / "model.pt")
    data = train.load_data(train.parse_arguments([], **facts["settings"]), model)
    [(strip, truth, _)] = data.validation.items
    confusion = metrics.confusion_matrix(truth, segmenter(model, facts)(strip), 2)
    assert text.startswith("# Discs\n") and metrics.table(confusion, ["background", "foreground"]) in text
    assert f"IoU of foreground: {metrics.iou(confusion)[1]:.4f}" in " ".join(text.split())
    for told in ("10,514 parameters", "0.92 GFLOPs", "steps=15", "3 epochs", "the strip held out of"):
        assert told in " ".join(text.split()), told
    for name in re.findall(r"\]\((.*)\)", text):
        assert np.asarray(Image.open(out / name)).std() > 10, name
    assert 2 <= pages(out / "report.pdf") <= 5
    reported(out)  # again: its own files may be replaced
    (out / "report.md").write_text("my own")
    fails_in_one_line(command("report.py", "run", cwd=folder), "report.md", "not written by this program")


def test_of_a_folder_its_figures_are_evaluates(folder, tmp_path):
    out = tmp_path / "run"
    trained("--data", folder, "--model", "unet", "--width", 4, "--depth", 1, "--patch", 32, "--batch", 4,
            "--steps", 10, "--epochs", 2, "--out", out)  # fmt: skip
    reported(out)
    own = (out / "report.md").read_text(encoding="utf-8")
    arguments = infer.parse_arguments(
        [str(folder / "images"), str(tmp_path / "masks"), "--checkpoint", str(out / "model.pt")]
    )
    infer.infer(arguments)
    words = [str(tmp_path / "masks"), str(folder / "masks"), "--only", str(out / "val.txt")]
    figures = evaluate.evaluate(evaluate.parse_arguments(words))
    names = [one["name"] for one in figures["classes"]]
    assert metrics.table(np.array(figures["confusion"]), names) in own
    assert f"their mean IoU: {figures['overall']['image_iou']:.4f}" in " ".join(own.split())
    words = [out, "--images", folder / "images", "--masks", folder / "masks", "--only", out / "val.txt"]
    reported(*words, "--out", tmp_path / "report")
    other = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert metrics.table(np.array(figures["confusion"]), names) in other and "val.txt names" in " ".join(other.split())


def test_of_a_run_without_history_on_one_image_without_one_class(folder, tmp_path):
    out = tmp_path / "run"
    trained("--data", folder, "--batch", 4, "--patch", 32, "--steps", 3, "--epochs", 1, "--out", out)
    (out / "history.csv").unlink()
    for part in ("images", "masks"):
        (tmp_path / "one" / part).mkdir(parents=True)
    Image.open(folder / "images" / "n0.png").save(tmp_path / "one" / "images" / "x.png")
    mask = np.asarray(Image.open(folder / "masks" / "n0.png")).copy()
    mask[mask == 7] = 0  # no bar
    Image.fromarray(mask).save(tmp_path / "one" / "masks" / "x.png")
    moved = folder.rename(tmp_path / "elsewhere")
    fails_in_one_line(command("report.py", "run", cwd=tmp_path), "cannot be read any more", "--images")
    assert not (out / "report.md").exists()
    reported(out, "--images", tmp_path / "one" / "images", "--masks", tmp_path / "one" / "masks")
    text = " ".join((out / "report.md").read_text(encoding="utf-8").split())
    assert "No true pixel is of bar." in text and "1 images of" in text and "report_curves" not in text
    assert moved.exists() and pages(out / "report.pdf") >= 2


@pytest.mark.parametrize(
    "words, told",
    [
        (["nowhere"], ["model.pt", "does not exist"]),
        (["run", "--images", "x"], ["--masks"]),
        (["run", "--only", "x"], ["--images"]),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, words, told):
    fails_in_one_line(command("report.py", *words, cwd=tmp_path), *told)
    assert not list(tmp_path.iterdir())
