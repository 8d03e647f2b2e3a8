"""report.py: what it says is so, and it says something sensible of every run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, fails_in_one_line, inside
from PIL import Image

import evaluate
import infer
import metrics
import train
from model import load_network
from segmenter import Segmenter
from support.arguments import evaluate_arguments, infer_arguments, train_arguments
from tools import report
from tools.arguments import report_arguments
from tools.scoring import Scores
from tools.show import summary


def trained(*words):
    train.train(train_arguments([str(word) for word in words]))


def reported(*words):
    report.report(report_arguments([str(word) for word in words]))


def pages(path):
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


@pytest.mark.slow
def test_of_one_pair_it_tests_on_the_strip_held_out(pair):
    folder, image, mask = pair
    out = folder / "run"
    trained(image, mask, "--epochs", 3, "--steps", 15, "--batch", 4, "--patch", 32, "--out", out)
    reported(out, "--title", "Discs")
    text = (out / "report.md").read_text(encoding="utf-8")
    model, metadata = load_network(out / "model.pt")
    data = train.load_data(train_arguments([], **metadata["settings"]), model.halo)
    [(strip, truth, _)] = data.validation.items
    confusion = metrics.confusion_matrix(truth, Segmenter(model, metadata)(strip), 2)
    assert text.startswith("# Discs\n") and metrics.table(confusion, ["background", "foreground"]) in text
    assert f"IoU of foreground: {metrics.iou(confusion)[1]:.4f}" in " ".join(text.split())
    for told in ("10,514 parameters", "0.92 GFLOPs", "steps=15", "3 epochs", "a strip held out of"):
        assert told in " ".join(text.split()), told
    pixels = 0.9165e9 / 256**2  # FLOPs of a pixel, by the table in README.md
    assert f"at most {3 * 3 * 15 * 4 * 32**2 * pixels / 1e12:.3g} TFLOPs" in " ".join(text.split())
    pictures = re.findall(r"\]\((.*)\)", text)
    assert pictures == ["report_curves.png", "report_gallery.png"]
    assert "![Loss and IoU against epochs](report_curves.png)" in text  # of one image, no accuracy is drawn
    for name in pictures:
        assert np.asarray(Image.open(out / name)).std() > 10, name
    assert 2 <= pages(out / "report.pdf") <= 5
    reported(out)  # again: its own files may be replaced
    (out / "report.md").write_text("my own")
    fails_in_one_line(inside("-m", "tools.report", "run", cwd=folder), "report.md", "not written by this program")


def test_the_speed_is_that_of_all_images_but_the_first():
    segment = Segmenter.load(ROOT / "checkpoints" / "fcn.pt", "cpu")
    scores = Scores(None, [], [9.0, 0.1, 0.3, 0.2], (240, 250))
    [_, (_, text)] = report.about_speed(scores, segment, summary(segment.network), views=8)
    assert "200 ms (median of 3, from 100 to 300)" in text
    assert "windows of 250x240 with a halo of 8, 1 in all, in 8 views" in text
    assert f"about {8 * 240 * 250 * 0.9165e9 / 256**2 / 1e9:.1f} GFLOPs." in text  # by the table in README.md


@pytest.mark.slow
def test_of_a_folder_its_figures_are_evaluates(folder, tmp_path):
    out = tmp_path / "run"
    trained("--data", folder, "--model", "unet", "--width", 4, "--depth", 1, "--patch", 32, "--batch", 4,
            "--steps", 10, "--epochs", 2, "--out", out)  # fmt: skip
    reported(out)
    own = (out / "report.md").read_text(encoding="utf-8")
    arguments = infer_arguments(
        [str(folder / "images"), str(tmp_path / "masks"), "--checkpoint", str(out / "model.pt")]
    )
    infer.infer(arguments)
    words = [str(tmp_path / "masks"), str(folder / "masks"), "--only", str(out / "val.txt")]
    figures = evaluate.evaluate(evaluate_arguments(words))
    names = [one["name"] for one in figures["classes"]]
    assert metrics.table(np.array(figures["confusion"]), names) in own
    assert f"their mean IoU: {figures['overall']['image_iou']:.4f}" in " ".join(own.split())
    assert "![Loss, IoU and accuracy against epochs](report_curves.png)" in own
    words = [out, "--images", folder / "images", "--masks", folder / "masks", "--only", out / "val.txt"]
    reported(*words, "--out", tmp_path / "report")
    other = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert metrics.table(np.array(figures["confusion"]), names) in other and "val.txt names" in " ".join(other.split())


def test_images_without_the_foreground_are_counted(pair, capsys):
    folder, image, mask = pair
    trained(image, mask, "--epochs", 1, "--steps", 20, "--batch", 8, "--patch", 32, "--out", folder / "run")
    for number, (pixels, truth) in enumerate([(image, mask), (Image.new("RGB", (60, 60), (120, 100, 90)), None)]):
        for part, what in ("images", pixels), ("masks", truth):
            (folder / "set" / part).mkdir(parents=True, exist_ok=True)
            picture = Image.open(what) if isinstance(what, Path) else what or Image.new("L", (60, 60))
            picture.save(folder / "set" / part / f"{number}.png")
    image.unlink()
    reported(folder / "run", "--images", folder / "set" / "images", "--masks", folder / "set" / "masks")
    text = " ".join((folder / "run" / "report.md").read_text(encoding="utf-8").split())
    assert "without 1 that have no foreground, neither true nor predicted: 1." in text, text
    assert "without the figures of what it was trained on" in capsys.readouterr().out


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
    folder.rename(tmp_path / "elsewhere")
    fails_in_one_line(inside("-m", "tools.report", "run", cwd=tmp_path), "cannot be read any more", "--images")
    assert not (out / "report.md").exists()
    reported(out, "--images", tmp_path / "one" / "images", "--masks", tmp_path / "one" / "masks")
    text = " ".join((out / "report.md").read_text(encoding="utf-8").split())
    assert "No true pixel is of bar." in text and "1 images of" in text and "report_curves" not in text
    assert " out=" not in text  # the folder of the run is no setting
    assert pages(out / "report.pdf") >= 2


@pytest.mark.slow
def test_of_whatever_names_and_settings(folder, tmp_path):
    """Names that Markdown and TeX would take for their own, a title with every letter, zoom, turns."""
    table = json.loads((folder / "classes.json").read_text())
    table["classes"][1]["name"] = "$a_b*<c> " + "long " * 20
    (folder / "classes.json").write_text(json.dumps(table))
    out = tmp_path / "run_1 $x$"
    trained("--data", folder, "--zoom", 0.5, "--patch", 16, "--batch", 4, "--steps", 3, "--epochs", 1, "--out", out)
    title = "The quick brown fox jumps over the lazy dog, THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG 0123456789 _*#"
    for _ in range(2):  # the second time, it must know its own PDF again
        reported(out, "--tta", "--gallery", 1, "--title", title)
    text = (out / "report.md").read_text(encoding="utf-8")
    assert r"0123456789 \_\*\#" in text and "sees images at 0.5 times their size" in " ".join(text.split())
    assert "in 8 views" in text and "averaged over flips and turns" in " ".join(text.split())
    assert pages(out / "report.pdf") <= 5


def test_a_training_image_too_small_for_a_strip_is_not_called_held_out(tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (20, 20, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.where(random.random((20, 20)) < 0.5, 255, 0).astype(np.uint8)).save(tmp_path / "m.png")
    words = [tmp_path / "a.png", tmp_path / "m.png", "--patch", 16, "--batch", 2, "--steps", 2, "--epochs", 1]
    trained(*words, "--out", tmp_path / "run")
    reported(tmp_path / "run")
    assert "flatters" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    Image.fromarray(np.full((20, 20, 3), 9, np.uint8)).save(tmp_path / "a.png")
    fails_in_one_line(inside("-m", "tools.report", "run", cwd=tmp_path), "has changed since the training")
