"""train.py as a user runs it: files written, errors in one line, the same weights after a kill."""

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import ROOT, command, fails_in_one_line, history, inside
from forked import Forked
from PIL import Image

import patches
import train
from model import FCN, load_network
from patches import stitch
from segmenter import Segmenter, torch_forward
from support.arguments import as_settings_file, train_arguments
from support.files import BadInput
from support.images import read_image
from support.run_files import HISTORY
from support.script import Parser, as_typed, run_script, split_words

QUICK = ["--epochs", 3, "--steps", 6, "--batch", 4, "--patch", 32]
RESULTS = ["history.csv", "last.pt", "loss_vs_epochs.png", "model.pt", "settings.args"]


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def same_weights(*files):
    states = [torch.load(file, weights_only=True)["weights"] for file in files]
    return all(torch.equal(states[0][name], other[name]) for other in states[1:] for name in states[0])


@pytest.mark.slow
def test_from_nothing_it_writes_the_sample_trains_and_resumes(tmp_path):
    done = command("train.py", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "wrote the bundled sample" in done.stdout and "best of 3 epochs" in done.stdout.splitlines()[-1]
    assert "val_iou" in done.stderr  # the progress bar
    assert names(tmp_path) == sorted(["rgb.png", "gt.png", *RESULTS])
    assert [row["epoch"] for row in history(tmp_path)] == ["1", "2", "3"]
    assert read_image(tmp_path / "loss_vs_epochs.png").std() > 10
    again = inside("train.py", "--resume", "--epochs", 4, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "wrote the bundled sample" not in again.stdout
    assert [row["epoch"] for row in history(tmp_path)] == ["1", "2", "3", "4"]


def test_it_learns(pair, no_curves):
    folder, image, mask = pair
    done = inside("train.py", image, mask, "--epochs", 6, "--steps", 20, "--batch", 8, "--patch", 32, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = history(folder)
    assert float(rows[-1]["train_loss"]) < 0.3 * float(rows[0]["train_loss"])
    assert max(float(row["val_iou"]) for row in rows) > 0.9
    _, metadata = load_network(folder / "model.pt")
    quality = lambda row: (float(row["val_iou"]) + float(row["val_copies_iou"]), -float(row["val_loss"]))
    assert metadata["metrics"]["epoch"] == int(max(rows[4:], key=quality)["epoch"])  # of the last quarter
    assert metadata["classes"] == [{"name": "background", "value": 0}, {"name": "foreground", "value": 255}]
    assert metadata["settings"]["image"] == str(image) and metadata["versions"]["threads"] >= 1


@pytest.mark.slow
def test_same_seed_same_weights_another_seed_others(pair, no_curves):
    folder, image, mask = pair
    words = [image, mask, "--device", "cpu", *QUICK]
    assert start(folder, *words, "--out", "a", "--seed", 1).wait() == 0  # a process with other hashes
    for out, seed in ("b", 1), ("c", 2):
        assert inside("train.py", *words, "--out", out, "--seed", seed, cwd=folder).returncode == 0
    assert same_weights(folder / "a" / "model.pt", folder / "b" / "model.pt")
    assert same_weights(folder / "a" / "last.pt", folder / "b" / "last.pt")
    assert not same_weights(folder / "a" / "model.pt", folder / "c" / "model.pt")


# ---------------------------------------------------------------------------------------------------
# A folder


UNET = ["--model", "unet", "--width", 4, "--depth", 2, "--patch", 32, "--batch", 4, "--device", "cpu"]


@pytest.mark.slow
def test_a_zoomed_training_predicts_masks_of_the_images_own_size(pair, no_curves):
    folder, image, mask = pair
    words = [image, mask, "--zoom", 0.5, "--epochs", 6, "--steps", 20, "--batch", 4, "--out", folder / "run"]
    best = train.train(train_arguments([str(word) for word in words]))
    assert best["val_iou"] > 0.7  # discs of four to twelve pixels, at half the size
    model, metadata = load_network(folder / "run" / "model.pt")
    whole = read_image(image)
    predicted = Segmenter(model, metadata)(whole)
    assert predicted.shape == whole.shape[:2] and predicted.dtype == np.uint8
    small = np.asarray(Image.fromarray(whole).resize((150, 60), Image.BILINEAR))
    logits = stitch(torch_forward(model, metadata["mean"], metadata["std"]), small, 8, 2)
    coarse = (logits[1] > logits[0]).repeat(2, axis=0).repeat(2, axis=1)
    assert (predicted == coarse).mean() > 0.95


TRIED = ["--epochs", 6, "--steps", 5, "--batch", 4, "--patch", 32, "--device", "cpu", "--out"]


def train_tried(*words, last=None, **settings):
    return train.train(train_arguments([str(word) for word in words], **settings), last)


@pytest.mark.parametrize("clearly, zoom", [(-1, 0.5), (1, 1)])
def test_of_two_zooms_one_is_gone_on_with_as_if_it_were_the_only_one(
    pair, monkeypatch, capsys, no_curves, clearly, zoom
):
    monkeypatch.setattr(train, "CLEARLY", clearly)
    folder, *paths = pair
    first = train_tried(*paths, *TRIED, folder / "tried")
    told = capsys.readouterr().out
    alone = train_tried(*paths, "--zoom", zoom, *TRIED, folder / "alone")
    again = train_tried(f"@{folder / 'tried' / 'settings.args'}", "--out", folder / "again")
    for name in ("model.pt", "last.pt"):
        assert same_weights(*(folder / run / name for run in ("tried", "alone", "again")))
    assert all({**row, "seconds": 0} == {**first, "seconds": 0} for row in (alone, again))
    assert [row["epoch"] for row in history(folder / "tried")] == [str(number) for number in range(1, 7)]
    model, metadata = load_network(folder / "tried" / "model.pt")
    assert Segmenter(model, metadata).zoom == zoom
    [line] = [line for line in told.splitlines() if "goes on at zoom" in line]
    assert line == metadata["zoom_choice"] and f"# {line}\n" in (folder / "tried" / "settings.args").read_text()
    row = history(folder / "tried")[0]
    promised = (float(row["val_iou"]) + float(row["val_copies_iou"])) / 2
    assert f"zoom {zoom:g}: after 1 epochs" in line and f"{promised:.4f}" in line


def interrupted_at(call, function):
    """Return a function that is Ctrl-C when called for the so manyth time."""
    effects = [mock.DEFAULT] * (call - 1) + [KeyboardInterrupt]
    return mock.Mock(wraps=function, side_effect=effects)


@pytest.mark.slow
def test_interrupted_while_a_zoom_is_tried_it_ends_with_the_same_weights(pair, monkeypatch, no_curves):
    monkeypatch.setattr(train, "CLEARLY", -1)
    folder, *paths = pair
    best = train_tried(*paths, *TRIED, folder / "whole")
    # On trial, before the choice is on the disk, after it, and in the epoch that follows.
    moments = [("validate", 2, 1), ("save_last", 2, 1), ("write_settings", 2, 0.5), ("train_epoch", 3, 0.5)]
    for name, call, zoom in moments:
        run = folder / name
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(train, name, interrupted_at(call, getattr(train, name)))
            train_tried(*paths, *TRIED, run)
        _, last = load_network(run / "last.pt")
        assert len(last["resume"]["history"]) == 1 and last["settings"]["zoom"] == zoom
        again = train_tried("--out", run, last=last, **last["settings"])
        assert {**again, "seconds": 0} == {**best, "seconds": 0}
        for file in ("model.pt", "last.pt"):
            assert same_weights(folder / "whole" / file, run / file)
        choices = [(each / "settings.args").read_text().splitlines()[2] for each in (folder / "whole", run)]
        assert choices[0] == choices[1] and choices[0].startswith("# goes on at zoom 0.5")


def test_no_other_zoom_is_tried_where_one_is_given_or_time_is_short_or_weights_are(pair):
    parse = lambda *words: train_arguments([str(word) for word in words])
    assert parse(*pair[1:]).try_zoom == 0.5 and parse(*pair[1:]).zoom == 1
    for words in (["--zoom", 1], ["--time-limit", 5], ["--start-from", "a.pt"], ["--model", "unet"]):
        assert parse(*pair[1:], *words).try_zoom is None
        assert parse(*pair[1:], *words, "--try-zoom", 0.7).try_zoom == 0.7
    assert parse("--data", pair[0]).try_zoom is None


def test_zooms_whose_strips_differ_are_not_compared(pair, tmp_path, monkeypatch, capsys, no_curves):
    """No strip with a gap for half the size fits into 40 pixels: it would be validated where it learned."""
    monkeypatch.setattr(train, "CLEARLY", -1)
    for path in pair[1:]:
        Image.open(path).crop((0, 0, 40, 40)).save(tmp_path / path.name)
    train_tried(*(tmp_path / path.name for path in pair[1:]), *TRIED, tmp_path / "run")
    told = capsys.readouterr().out
    assert "a strip of it held out" in told and "goes on at zoom" not in told
    assert load_network(tmp_path / "run" / "model.pt")[1]["settings"]["zoom"] == 1


def test_a_unet_learns_a_folder(folder, tmp_path, no_curves):
    done = inside("train.py", "--data", folder, *UNET, "--epochs", 8, "--steps", 25, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "8 pairs" in done.stdout and "9 ignored" in done.stdout
    rows = history(tmp_path / "run")
    assert float(rows[-1]["val_iou"]) > 0.7 > float(rows[0]["val_iou"])
    model, metadata = load_network(tmp_path / "run" / "model.pt")
    assert model.name == "unet" and metadata["ignore"] == [9] and metadata["settings"]["data"] == str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bce", "focal", "dice", "ce+dice"])
def test_every_loss_learns(pair, no_curves, loss):
    folder, image, mask = pair
    words = ["--loss", loss, "--class-weights", 0.5, "--clip", 1, "--epochs", 4, "--steps", 20, "--patch", 32]
    assert inside("train.py", image, mask, *words, cwd=folder).returncode == 0
    rows = history(folder)
    assert float(rows[-1]["train_loss"]) < 0.7 * float(rows[0]["train_loss"]) and float(rows[-1]["val_iou"]) > 0.85


def test_noise_reaches_the_network_in_its_units(folder, tmp_path, monkeypatch, no_curves):
    seen = []
    monkeypatch.setattr(train, "within_budget", lambda images, budget: seen.append(images) or images)
    for noise in (0, 0.3):
        words = ["--data", folder, *UNET, "--steps", 2, "--epochs", 1, "--noise", noise, "--out", tmp_path / f"{noise}"]
        train.train(train_arguments([str(word) for word in words]))
    _, plain, _, _, noisy, _ = seen  # of each: that the budget allows it, and two steps
    std = load_network(tmp_path / "0.3" / "model.pt")[1]["std"]
    expected = patches.noise(0, 0, 0, range(4), 32, 0.3) / std
    np.testing.assert_allclose((noisy - plain).permute(0, 2, 3, 1), expected, atol=1e-5)


def test_bce_is_for_two_classes(folder, tmp_path):
    process = inside("train.py", "--data", folder, "--loss", "bce+dice", cwd=tmp_path)
    fails_in_one_line(process, "bce is for two classes, there are 3")


def test_pasting_needs_a_background(folder, tmp_path, no_curves):
    words = ["train.py", "--data", folder, "--patch", 32, "--batch", 2, "--steps", 2, "--epochs", 1, "--paste", 0.5]
    fails_in_one_line(inside(*words, cwd=tmp_path), "none of the classes ground, disc, bar is called background")
    (folder / "classes.json").write_text((folder / "classes.json").read_text().replace("ground", "background"))
    weights = []
    for paste in ([], ["--paste", 0.5]):
        assert inside(*words[:-2], *paste, cwd=tmp_path).returncode == 0
        weights.append(load_network(tmp_path / "model.pt")[0].state_dict()["layers.conv1.weight"])
    assert not torch.equal(*weights)


def test_a_batch_in_parts_makes_one_step(pair, no_curves):
    """Nothing here depends on the batch: parts of 6, 6 and 4 patches give the gradient of all 16."""
    folder, image, mask = pair
    for budget in (4, 1):
        words = [image, mask, "--batch", 16, "--patch", 96, "--epochs", 1, "--steps", 4, "--device", "cpu"]
        assert (
            inside("train.py", *words, "--loss", "ce", "--budget", budget, "--out", budget, cwd=folder).returncode == 0
        )
    first, second = (torch.load(folder / out / "model.pt", weights_only=True)["weights"] for out in ("1", "4"))
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], rtol=1e-3, atol=1e-5)


def test_knobs_that_are_gone_are_read_where_they_change_nothing(pair, no_curves):
    """Settings files of earlier versions hold them."""
    folder, image, mask = pair
    (folder / "old.args").write_text("--gamma 2.0 --workers 3 --accumulate 2\n")
    words = [image, mask, "--epochs", 1, "--steps", 1]
    done = inside("train.py", *words, "@old.args", cwd=folder)
    assert done.returncode == 0 and done.stdout.count("is no longer needed") == 3, done.stderr
    fails_in_one_line(inside("train.py", *words, "--gamma", 3, cwd=folder), "--gamma 3: this knob is gone")
    assert "gamma" not in (folder / "settings.args").read_text()


def test_an_interrupted_run_goes_on_only_where_the_knobs_that_are_gone_said_what_is_now_fixed(capsys):
    args = train_arguments(["--loss", "ce+focal"])
    with pytest.raises(BadInput, match="--gamma 3, a knob that is gone"):
        train.check_former_knobs(args, {"gamma": 3.0})
    train.check_former_knobs(args, {"gamma": 2.0, "accumulate": 1})
    assert not capsys.readouterr().out
    train.check_former_knobs(args, {"accumulate": 4})
    assert "parts of 16 patches instead of 4" in capsys.readouterr().out


@pytest.mark.slow
def test_a_settings_file_that_names_itself_is_refused(tmp_path):
    (tmp_path / "a.args").write_text("--epochs 2 @b.args")
    (tmp_path / "b.args").write_text("@a.args")
    fails_in_one_line(inside("train.py", "@a.args", cwd=tmp_path), "a.args names itself")


def test_a_settings_file_repeats_a_training(folder, tmp_path, no_curves):
    words = ["--data", folder, *UNET, "--epochs", 2, "--steps", 5, "--scale", 0.8, 1.3, "--dropout", 0.1]
    assert inside("train.py", *words, "--out", "first", cwd=tmp_path).returncode == 0
    text = (tmp_path / "first" / "settings.args").read_text()
    assert text.startswith("# segmentation-from-scratch") and "torch" in text and "--scale 0.8 1.3" in text
    again = start(tmp_path, "@first/settings.args", "--out", "second", "--device", "cpu")
    assert again.wait() == 0, again.communicate()
    assert same_weights(tmp_path / "first" / "last.pt", tmp_path / "second" / "last.pt")
    assert text.splitlines()[2:] == (tmp_path / "second" / "settings.args").read_text().splitlines()[2:]
    (tmp_path / "kö.args").write_text("--data 'nowhere at all'  # a remark\n--epochs 3\n", encoding="utf-8")
    fails_in_one_line(inside("train.py", "@kö.args", cwd=tmp_path), "nowhere at all is no folder")


@pytest.mark.parametrize("mark", "-@")
def test_a_settings_file_repeats_a_training_of_paths_that_look_like_options(folder, mark, no_curves):
    place, data, out = folder.parent, f"{mark}d", f"{mark}o"
    folder.rename(place / data)
    words = [f"--data={data}", f"--classes={data}/classes.json", *QUICK, "--epochs", 1]
    assert inside("train.py", *words, f"--out={out}", cwd=place).returncode == 0
    again = inside("train.py", f"@{out}/settings.args", "--out", "again", cwd=place)
    assert again.returncode == 0, again.stderr
    assert same_weights(place / out / "last.pt", place / "again" / "last.pt")
    with mock.patch("support.devices.pick_device", side_effect=KeyboardInterrupt):
        stopped = inside("train.py", *words, f"--out={out}", cwd=place)
    assert stopped.returncode == 130 and stopped.stderr.endswith(f"python train.py --resume --out ./{out}\n")


def test_commands_are_printed_and_settings_read_as_this_system_types_them(monkeypatch):
    words = ["--out", r"C:\my runs\one", "--data", r"D:\data", "it's"]
    assert split_words(as_typed(*words) + "  # a remark\n") == words
    with pytest.raises(ValueError):
        split_words("--data Bob's")
    settings = as_settings_file(train_arguments(words[:4]), [], ())
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        typed = as_typed(*words)
        read = split_words(r'--out "C:\my runs\one" --data D:\data # a remark'), split_words(settings)
    assert typed == r"""--out "C:\my runs\one" --data D:\data it's"""
    assert read[0] == words[:4] and words[1] in read[1] and words[3] in read[1]


@pytest.mark.skipif(sys.platform == "win32", reason="asks a Unix shell")
@pytest.mark.parametrize(
    "text",
    ["--out runs/a#1 b", "a # b\nc", "# b c\nd", "'a'#b c", "a#'b c' d", "a #'b\nc", "\\#a b", "''#a", "a\\ b#c", "a#"],
)
def test_a_remark_begins_where_a_word_begins_as_in_a_shell(text):
    lines = [f"printf '%s\\0' {line}" for line in text.split("\n") if not line.startswith("#")]
    shell = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert split_words(text) == shell.stdout.split("\0")[:-1]


def test_a_parser_takes_what_a_newer_python_gives_those_of_subcommands():
    assert Parser("a.py", "what it does", allow_abbrev=False).allow_abbrev is False


@pytest.mark.slow
def test_a_history_that_a_spreadsheet_has_open_does_not_end_the_training(pair, monkeypatch, capsys):
    """As on Windows, where it cannot be replaced then."""
    replace, held = os.replace, iter([True, True, False, False])

    def refuse(source, target):
        if str(target).endswith("history.csv") and next(held):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    train.train(train_arguments([*map(str, [*pair[1:], *QUICK]), "--out", str(pair[0] / "held")]))
    assert capsys.readouterr().out.count("close the program that has it open; the training goes on") == 2
    assert [row["epoch"] for row in history(pair[0] / "held")] == ["1", "2", "3"]
    assert (pair[0] / "held" / "model.pt").exists() and not next(held, False)


@pytest.mark.slow
def test_the_time_limit_anneals_and_ends(pair, monkeypatch, no_curves):
    """By a clock that moves on a little whenever somebody looks at it: so it tells the same on all machines."""
    folder, image, mask = pair
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: 0.02 * next(clock))
    words = [image, mask, "--patch", 32, "--batch", 4, "--epochs", 1000, "--steps", 10]
    words += ["--time-limit", 0.1, "--warmup", 10, "--light", "keep"]
    done = inside("train.py", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = history(folder)
    assert 10 < len(rows) < 40 and 5.5 < float(rows[-1]["seconds"]) < 6.1
    assert float(rows[-1]["learning_rate"]) < 0.05 * 0.02 < max(float(row["learning_rate"]) for row in rows)
    assert inside("train.py", "--resume", cwd=folder).returncode == 0  # nothing is left to do
    assert len(history(folder)) == len(rows)


def test_memory_does_not_change_the_weights(folder, tmp_path, no_curves):
    for out, words in [("held", []), ("decoded", ["--memory", 0])]:
        done = inside(
            "train.py", "--data", folder, *UNET, "--epochs", 1, "--steps", 6, *words, "--out", out, cwd=tmp_path
        )
        assert done.returncode == 0 and ("held in memory" in done.stdout) == (out == "held"), done.stderr
    assert same_weights(tmp_path / "held" / "last.pt", tmp_path / "decoded" / "last.pt")


def test_what_it_did_not_learn_from_can_be_scored(folder, tmp_path, no_curves):
    assert inside("train.py", "--data", folder, *UNET, "--epochs", 1, "--steps", 2, cwd=tmp_path).returncode == 0
    listed = ["--only", "val.txt"]
    assert inside("infer.py", folder / "images", "out", *listed, cwd=tmp_path).returncode == 0
    assert 0 < len(list((tmp_path / "out").iterdir())) < 8
    done = inside("evaluate.py", "out", folder / "masks", *listed, cwd=tmp_path)
    assert done.returncode == 0 and "disc" in done.stdout, done.stderr


def test_patience_ends_a_training_that_no_longer_improves(pair, no_curves):
    folder, image, mask = pair
    words = [image, mask, "--epochs", 60, "--steps", 2, "--patience", 3, "--lr", 1e-9, "--ema", 0]
    words += ["--batch", 1, "--patch", 16]
    done = inside("train.py", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    rows = history(folder)
    best = max(rows, key=lambda row: (float(row["val_iou"]), -float(row["val_loss"])))
    assert len(rows) == int(best["epoch"]) + 3 < 60


def test_sixteen_bits_learn_as_well(pair, no_curves):
    folder, image, mask = pair
    words = ["--amp", "on", "--epochs", 2, "--steps", 20, "--batch", 8, "--patch", 32, "--device", "cpu"]
    done = inside("train.py", image, mask, *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert max(float(row["val_iou"]) for row in history(folder)) > 0.85


@pytest.mark.slow
def test_auto_precision_is_told_and_kept_for_resuming(pair, no_curves):
    folder, image, mask = pair
    done = inside("train.py", image, mask, "--amp", "auto", *QUICK, "--device", "cpu", cwd=folder)
    assert "--amp auto: a step in 16 bits is" in done.stdout
    _, metadata = load_network(folder / "last.pt")
    assert metadata["settings"]["amp"] in ("on", "off")
    assert "--amp auto" not in inside("train.py", "--resume", "--epochs", 4, cwd=folder).stdout


@pytest.mark.slow
def test_tensorboard(folder, tmp_path, no_curves):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["--data", folder, *UNET, "--epochs", 2, "--steps", 2, "--tensorboard", "board"]
    assert inside("train.py", *words, cwd=tmp_path).returncode == 0
    events = event_accumulator.EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    rows = history(tmp_path)
    assert [event.value for event in events.Scalars("val/loss")] == pytest.approx(
        [float(row["val_loss"]) for row in rows]
    )
    assert {"train/loss", "val/iou", "iou/disc"} <= set(events.Tags()["scalars"]) and "validation/0" in events.Tags()[
        "images"
    ]


@pytest.mark.slow
def test_without_tensorboard_it_says_what_to_install(folder, tmp_path):
    words = ["--data", folder, *UNET, "--tensorboard", "board"]
    process = Forked("train.py", *words, cwd=tmp_path, without="tensorboard")
    _, errors = process.communicate()
    assert process.returncode != 0 and errors.strip().endswith("pip install tensorboard"), errors


@pytest.mark.slow
def test_resuming_on_other_classes_names_both(folder, tmp_path, no_curves):
    words = ["--data", folder, *UNET, "--epochs", 1, "--steps", 2]
    assert inside("train.py", *words, cwd=tmp_path).returncode == 0
    (folder / "classes.json").unlink()  # now 9 is a class
    process = inside("train.py", "--resume", "--epochs", 2, cwd=tmp_path)
    fails_in_one_line(process, "last.pt holds another network", "'classes': 3", "'classes': 4")


@pytest.mark.parametrize(
    "words", [["--patch", 4], ["--patch", 8, "--depth", 3], ["--upsample", "transposed"], ["--halo", 127]]
)
def test_settings_that_do_not_fit_the_network(folder, tmp_path, words):
    model = [] if "--upsample" in words else ["--model", "unet"]
    fails_in_one_line(inside("train.py", "--data", folder, *model, *words, cwd=tmp_path), words[0])


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_ends_with_the_same_weights(folder, tmp_path):
    """With loader workers, images decoded when needed, dropout, BatchNorm; while starting, training and writing."""
    settings = ["--data", folder, *UNET, "--dropout", 0.2, "--noise", 0.1, "--steps", 5, "--epochs", 30]
    settings += ["--memory", 0, "--val-images", 1]
    assert inside("train.py", *settings, "--out", "whole", cwd=tmp_path).returncode == 0
    seconds = float(history(tmp_path / "whole")[-1]["seconds"])
    random, last, kills, epochs = np.random.default_rng(0), tmp_path / "killed" / "last.pt", 0, []
    for number in range(20):
        before = last.stat().st_mtime_ns if last.exists() else 0
        words = ["--resume"] if last.exists() else settings
        process = start(tmp_path, *words, "--out", "killed", "--device", "cpu")
        try:
            if number % 4:  # most of them once it trains, the others while it starts
                for _ in range(2 if number % 4 == 1 else 1):  # of these, some after an epoch, however slow the machine
                    wait_until(lambda before=before: last.exists() and last.stat().st_mtime_ns != before, process)
                    before = last.stat().st_mtime_ns
                time.sleep(random.uniform(0, seconds / 10))
            else:
                time.sleep(random.uniform(0, 2))
        finally:
            process.kill()
            _, errors = process.communicate()
        kills += process.returncode != 0  # 0: it was done before it could be killed
        assert "Traceback" not in errors and "train.py:" not in errors, errors
        if last.exists():
            epochs.append(len(load_network(last)[1]["resume"]["history"]))
        if (tmp_path / "killed" / "model.pt").exists():
            load_network(tmp_path / "killed" / "model.pt")
            assert len(history(tmp_path / "killed")) >= epochs[-1]
    assert kills >= 12 and epochs == sorted(epochs) and len(set(epochs)) > 4
    for part in (tmp_path / "killed").glob(".*.part"):
        os.utime(part, (0, 0))  # an hour later, it can be nobody's any more
    process = start(tmp_path, "--resume", "--out", "killed", "--device", "cpu")
    assert process.wait() == 0, process.communicate()
    for name in ("model.pt", "last.pt"):
        assert same_weights(tmp_path / "whole" / name, tmp_path / "killed" / name)
    assert names(tmp_path / "whole") == names(tmp_path / "killed")  # nothing half-written is left


# ---------------------------------------------------------------------------------------------------
# Interruptions


def start(folder, *words):
    return Forked("train.py", *words, cwd=folder)


def wait_until(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_it_ends_with_the_same_weights(pair):
    folder, image, mask = pair
    settings = [image, mask, *QUICK, "--epochs", 6, "--steps", 40, "--dropout", 0.1, "--batchnorm"]
    assert inside("train.py", *settings, "--out", "whole", "--device", "cpu", cwd=folder).returncode == 0
    rows, last = [], folder / "killed" / "last.pt"
    for number in range(3):  # kill it in its first epoch and, twice, a little after another
        words = ["--resume"] if number else settings
        target = len(history(folder / "killed")) + bool(number)
        process = start(folder, *words, "--out", "killed", "--device", "cpu")
        try:
            wait_until(lambda target=target: last.exists() and len(history(folder / "killed")) >= target, process)
            time.sleep(0.1)
        finally:
            process.kill()
            process.communicate()
        assert process.returncode != 0
        rows.append(len(history(folder / "killed")))
    assert rows[0] < 6 and rows[2] < 6 and rows[2] >= 2  # it was never simply done
    assert start(folder, "--resume", "--out", "killed", "--device", "cpu").wait() == 0
    for name in ("model.pt", "last.pt"):
        assert same_weights(folder / "whole" / name, folder / "killed" / name)
    columns = [name for name in HISTORY if name != "seconds"]
    whole, resumed = ([[row[name] for name in columns] for row in history(folder / out)] for out in ("whole", "killed"))
    assert whole == resumed and len(whole) == 6
    seconds = [float(row["seconds"]) for row in history(folder / "killed")]
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_settings_given_on_resuming_hold_for_the_next_resume_too(pair, no_curves):
    folder, image, mask = pair
    assert inside("train.py", image, mask, *QUICK, cwd=folder).returncode == 0
    before = (folder / "last.pt").stat().st_mtime_ns
    process = start(folder, "--resume", "--epochs", 5, "--steps", 100000)
    try:
        wait_until(lambda: (folder / "last.pt").stat().st_mtime_ns != before, process)
    finally:
        process.kill()  # in its first epoch
        process.communicate()
    assert torch.load(folder / "last.pt", weights_only=True)["settings"]["epochs"] == 5
    assert len(history(folder)) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a single child")
def test_interrupted_by_hand_it_says_how_to_go_on(pair):
    folder, image, mask = pair
    process = start(folder, image, mask, *QUICK, "--epochs", 1000)
    try:
        wait_until(lambda: len(history(folder)) > 0, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0 and "Traceback" not in errors
    assert errors.split("\n")[-2].endswith("python train.py --resume --out .")


@pytest.mark.slow
def test_no_batch_is_over_the_budget(pair, monkeypatch, no_curves):
    folder, image, mask = pair
    shapes, forward = [], FCN.forward
    monkeypatch.setattr(FCN, "forward", lambda self, batch: shapes.append(tuple(batch.shape)) or forward(self, batch))
    train.train(train_arguments([str(image), str(mask), "--out", str(folder), "--epochs", "1", "--steps", "2"]))
    assert shapes[0] == (16, 3, 64, 64)  # exactly one 256x256 input
    assert all(max(shape[2:]) <= 256 and shape[0] * shape[2] * shape[3] <= 256 * 256 for shape in shapes)
    assert len(shapes) > 2  # validation ran, too
    shapes.clear()  # a larger batch goes through in parts
    train.train(
        train_arguments([str(image), str(mask), "--out", str(folder), "--epochs", "1", "--steps", "1", "--batch", "33"])
    )
    assert [shape[0] for shape in shapes[:3]] == [11, 11, 11]
    fails_in_one_line(inside("train.py", image, mask, "--patch", 257, cwd=folder), "budget", "256x256x3")
    for name, array in [("large.png", read_image(image)), ("large_mask.png", read_image(mask))]:
        Image.fromarray(np.tile(array, (5, 2, 1))).save(folder / name)
    words = ["large.png", "large_mask.png", "--batch", 1, "--budget", 9, "--patch"]
    fails_in_one_line(inside("train.py", *words, 257, cwd=folder), "257x257")
    assert inside("train.py", *words, 256, "--epochs", 1, "--steps", 1, cwd=folder).returncode == 0
    assert (
        inside(
            "train.py", image, mask, "--batch", 17, "--budget", 2, "--epochs", 1, "--steps", 1, cwd=folder
        ).returncode
        == 0
    )


def test_masks_of_several_classes_and_of_colours(tmp_path, pair):
    folder, image, _ = pair
    random = np.random.default_rng(0)
    stripes = np.repeat(random.integers(0, 3, 10), 30)[None].repeat(120, 0)
    for name, values in [
        ("three", np.array([0, 1, 7], np.uint8)),
        ("colours", np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)),
    ]:
        Image.fromarray(values[stripes]).save(folder / f"{name}.png")
        done = inside("train.py", image, folder / f"{name}.png", "--out", name, "--epochs", 1, "--steps", 2, cwd=folder)
        assert done.returncode == 0, done.stderr
        _, metadata = load_network(folder / name / "model.pt")
        assert [one["value"] for one in metadata["classes"]] == sorted(values.tolist())


def test_a_tiny_image_trains_and_says_what_it_cannot_do(tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (17, 19, 3), np.uint8)).save(tmp_path / "i.png")
    Image.fromarray(np.eye(17, 19, dtype=np.uint8) * 255).save(tmp_path / "m.png")
    done = inside("train.py", "i.png", "m.png", *QUICK, cwd=tmp_path)
    assert done.returncode == 0 and "no strip of it can be held out" in done.stdout


# ---------------------------------------------------------------------------------------------------
# Mistakes


def test_odd_images_are_told_in_one_line_and_leave_nothing(pair):
    """Those that are not in tests/test_bad_inputs.py."""
    folder, image, mask = pair
    greys = np.random.default_rng(0).integers(0, 256, (120, 300), np.uint8)
    Image.fromarray(greys).save(folder / "greys.png")
    Image.new("RGB", (10, 300)).save(folder / "thin.png")
    Image.fromarray(np.tile(np.array([[0, 255]], np.uint8), (300, 5))).save(folder / "thin_mask.png")
    Image.new("1", (1_000_000, 1)).save(folder / "row.png")
    before = names(folder)
    train = lambda *words: inside("train.py", *words, "--out", "results", *QUICK, cwd=folder)
    fails_in_one_line(train("row.png", "row.png"), "row.png", "1000000x1")
    fails_in_one_line(train(image, "greys.png"), "greys.png", "256 different values", "--threshold 128")
    fails_in_one_line(train("thin.png", "thin_mask.png"), "thin.png is 10x300", "at least 16")
    assert names(folder) == before
    assert train(image, "greys.png", "--threshold", 128).returncode == 0


def test_one_of_the_two_default_files_is_an_error(tmp_path):
    Image.new("RGB", (99, 99)).save(tmp_path / "rgb.png")
    fails_in_one_line(inside("train.py", cwd=tmp_path), "rgb.png is here, but not gt.png")
    assert names(tmp_path) == ["rgb.png"]


def test_files_of_the_user_are_never_overwritten(pair):
    folder, image, mask = pair
    for name in RESULTS:
        (folder / name).write_text("the user's own")
        fails_in_one_line(inside("train.py", image, mask, *QUICK, cwd=folder), name, "not written by this program")
        assert (folder / name).read_text() == "the user's own"
        (folder / name).unlink()


def test_weights_may_start_from_those_of_other_classes(folder, tmp_path, no_curves):
    """All layers are taken but the last, of which a class takes what one of the same name had."""
    small = ["--data", folder, "--model", "unet", "--width", 4, "--depth", 2, *QUICK, "--device", "cpu"]
    parse = lambda *words: train_arguments([str(word) for word in (*small, *words)])
    train.train(parse("--out", tmp_path / "first", "--seed", 5))
    first, metadata = load_network(tmp_path / "first" / "model.pt")
    entries = [{"name": name, "value": value} for name, value in (("water", 9), ("bar", 7), ("ground", 0))]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": entries, "ignore": [3]}))
    words = ["--classes", tmp_path / "classes.json", "--out", tmp_path / "second"]
    random = train.prepare(parse(*words)).network.state_dict()
    run = train.prepare(parse(*words, "--start-from", tmp_path / "first" / "model.pt"))
    names = [entry["name"] for entry in metadata["classes"]]
    for network in run.network, run.ema_model:
        for name, tensor in network.state_dict().items():
            if not name.startswith("classify."):
                assert torch.equal(tensor, first.state_dict()[name])
                continue
            assert torch.equal(tensor[0], random[name][0])  # of water, which is new
            for row, entry in enumerate(entries[1:], start=1):
                assert torch.equal(tensor[row], first.state_dict()[name][names.index(entry["name"])])
    file = str(tmp_path / "first" / "model.pt")
    assert run.metadata["start"] == {"file": file, "classes": ["bar", "ground"], "new_classes": ["water"]}


def test_resumed_it_needs_the_first_weights_no_more(folder, tmp_path, no_curves):
    words = ["--data", folder, *QUICK, "--out", tmp_path / "run", "--start-from", tmp_path / "start.pt"]
    train.train(train_arguments(["--data", str(folder), *map(str, QUICK), "--out", str(tmp_path)]))
    shutil.copy(tmp_path / "model.pt", tmp_path / "start.pt")
    done = inside("train.py", *words, cwd=tmp_path)
    assert done.returncode == 0 and "start.pt: all layers but the last; of that, the classes" in done.stdout
    (tmp_path / "start.pt").unlink()
    assert inside("train.py", "--resume", "--epochs", 4, "--out", tmp_path / "run", cwd=tmp_path).returncode == 0
    _, metadata = load_network(tmp_path / "run" / "last.pt")
    assert metadata["start"]["file"] == str(tmp_path / "start.pt") and len(metadata["resume"]["history"]) == 4
    again = "--resume", "--start-from", tmp_path / "model.pt", "--out", tmp_path / "run"
    fails_in_one_line(inside("train.py", *again, cwd=tmp_path), "has weights to go on with")
    own = inside("train.py", *words[:-1], tmp_path / "run" / "model.pt", cwd=tmp_path)
    fails_in_one_line(own, "model.pt is an input")
    fails_in_one_line(inside("train.py", *words, cwd=tmp_path), "start.pt does not exist")
    fails_in_one_line(
        inside("train.py", *words[:-1], tmp_path / "model.pt", "--batchnorm", "--out", tmp_path / "x", cwd=tmp_path),
        "expected layers as those of fcn",
    )


def test_resuming_needs_a_run_of_the_same_data(pair, no_curves):
    folder, image, mask = pair
    fails_in_one_line(inside("train.py", "--resume", cwd=folder), "last.pt does not exist")
    assert inside("train.py", image, mask, *QUICK, cwd=folder).returncode == 0
    fails_in_one_line(inside("train.py", "--resume", "--batchnorm", cwd=folder), "last.pt holds another network")
    (folder / "other").mkdir()
    shutil.copy(folder / "model.pt", folder / "other" / "last.pt")
    fails_in_one_line(inside("train.py", "--resume", "--out", "other", cwd=folder), "no training")
    changed = read_image(mask)[:, :, 0]
    Image.fromarray(changed[::-1].copy()).save(mask)  # the same values, elsewhere
    fails_in_one_line(inside("train.py", "--resume", "--epochs", 9, cwd=folder), "last.pt was trained on other")
    Image.fromarray(changed).save(mask)
    Image.fromarray(255 - read_image(image)).save(image)
    fails_in_one_line(inside("train.py", "--resume", "--epochs", 9, cwd=folder), "last.pt was trained on other")


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "0"],
        ["--epochs", "-3"],
        ["--epochs", "two"],
        ["--lr", "-1"],
        ["--ema", "1"],
        ["--dropout", "1"],
        ["--batch", "0"],
        ["--balance", "1.5"],
        ["--patch", "0"],
        ["--device", "tpu"],
        ["--loss", "ce+huber"],
        ["--lists", "somewhere"],
        ["--gamma", "two"],
        ["--flips", "up"],
        ["--time-limit", "0"],
        ["--depth", "7"],
        ["--data"],
        ["--nonsense"],
    ],
)
def test_bad_arguments(words, capsys):
    with pytest.raises(SystemExit) as caught:
        train_arguments(words)
    message = capsys.readouterr().err
    assert caught.value.code == 2 and len(message.splitlines()) == 1 and message.startswith("train.py: ")
    assert words[0] in message


def test_a_pair_and_a_folder_are_not_given_together(capsys):
    with pytest.raises(SystemExit):
        train_arguments(["a.png", "b.png", "--data", "folder"])
    assert "IMAGE and --data: give one or the other" in capsys.readouterr().err


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(pair):
    folder, image, mask = pair
    process = inside("train.py", image, mask, "--lr", "1e30", "--warmup", 1, *QUICK, cwd=folder)
    assert process.returncode != 0 and "Traceback" not in process.stderr
    assert process.stderr.split("\n")[-2].startswith("train.py: the loss became nan in epoch 1; expected a number")
    assert not (folder / "model.pt").exists() or all(
        torch.isfinite(weight).all()
        for weight in torch.load(folder / "model.pt", weights_only=True)["weights"].values()
    )


@pytest.mark.parametrize(
    "error, what",
    [
        (torch.OutOfMemoryError(), "GPU's memory"),
        (RuntimeError("CUDA error: out of memory\nCompile with"), "GPU's memory"),
        (MemoryError(), "memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you"),
            "memory",
        ),  # Windows
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
            "memory",
        ),
    ],
)
def test_full_memory_is_told_with_what_to_lower(error, what):
    def fill(_):
        raise error

    with pytest.raises(SystemExit, match=f"x.py: the {what} is full; .* lower --budget, --batch"):
        run_script(fill, None, "x.py")
    error = RuntimeError("another")
    with pytest.raises(RuntimeError, match="another"):
        run_script(fill, None, "x.py")


def test_a_gpu_that_is_not_there(pair):
    folder, image, mask = pair
    fails_in_one_line(inside("train.py", image, mask, "--device", "cuda", cwd=folder), "--device cuda", "--device cpu")


# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "device, folder, decode, start, ahead",
    [
        ("cpu", "data", None, "fork", False),
        ("cpu", "data", len, "spawn", True),
        ("cuda", "data", None, "fork", True),
        ("cuda", "data", None, "spawn", False),  # each process would get a copy of all images
        ("cuda", None, None, "fork", False),
    ],
)
def test_other_processes_cut_patches_where_that_pays(monkeypatch, device, folder, decode, start, ahead):
    found = []
    monkeypatch.setattr("data.training_batches", lambda *words: found.append(words[-1]))
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: start)
    args = train_arguments(["--data", folder] if folder else [])
    training = SimpleNamespace(training=SimpleNamespace(decode=decode))
    run = SimpleNamespace(args=args, data=training, sampling=None, history=[], device=torch.device(device))
    train.open_batches(run, run.args.epochs)
    assert (found[0] > 0) == ahead


def test_the_learning_rate_rises_and_falls():
    rates = [train.learning_rate(step, step / 1000, 0.01, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.0001) and max(rates) < 0.01 and 90 <= int(np.argmax(rates)) < 110
    assert rates[550] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * 0.55))) and rates[-1] < 1e-6


def test_a_short_training_warms_up_for_a_tenth_of_it():
    rates = [train.learning_rate(step, step / 50, 0.01, 100) for step in range(50)]
    assert rates[0] == pytest.approx(0.0001) and rates[1] < 0.003 and 0.0095 < max(rates) == rates[5]
    limited = train.learning_rate(7, 0.1, 0.01, 100)  # by the clock, a tenth of the time is over
    assert limited == pytest.approx(0.01 * 0.5 * (1 + math.cos(0.1 * math.pi)))


def test_the_moving_average_is_the_closed_form():
    torch.manual_seed(0)
    average, first, second = FCN(), FCN(), FCN()
    start = average.layers.conv1.weight.clone()
    for model in (first, second):
        train.update_average(train.averaged_tensors(average), train.averaged_tensors(model), 0.9)
    expected = 0.81 * start + 0.09 * first.layers.conv1.weight + 0.1 * second.layers.conv1.weight
    torch.testing.assert_close(average.layers.conv1.weight, expected)


def test_the_moving_average_does_not_begin_at_the_random_weights():
    """It follows closely at first; later its decay is the one that was asked for."""
    decays = [train.average_decay(step, 0.99) for step in range(2000)]
    assert decays[0] == 0.1 and decays[8] == 0.5 and decays[890] == decays[-1] == 0.99
    assert decays == sorted(decays) and set(train.average_decay(step, 0.0) for step in range(9)) == {0.0}


@pytest.mark.parametrize("network", [("--batch", 4), ("--model", "unet", "--depth", 2, "--width", 8)])
def test_after_sixty_steps_the_averaged_weights_are_about_as_good_as_the_last_ones(pair, no_curves, network):
    """An average over the random weights, too, finds foreground everywhere."""
    folder, image, mask = pair
    ious = {}
    for decay in 0.99, 0:
        words = ["--epochs", 3, "--steps", 20, "--patch", 32, "--warmup", 10, *network]
        done = inside("train.py", image, mask, *words, "--ema", decay, "--out", f"ema{decay}", cwd=folder)
        assert done.returncode == 0, done.stderr
        ious[decay] = float(history(folder / f"ema{decay}")[-1]["val_iou"])
    assert ious[0.99] > max(0.8, ious[0] - 0.03), ious


def test_a_training_that_ends_before_its_first_epoch_leaves_the_former_network_with_its_settings(
    folder, tmp_path, monkeypatch, no_curves
):
    monkeypatch.chdir(tmp_path)
    for name in "first", "second":
        (tmp_path / name).mkdir()
    (tmp_path / "first" / "val.txt").write_text("n0\nn1\n")
    (tmp_path / "second" / "val.txt").write_text("n4\nn5\n")
    words = ["--data", folder, *QUICK, "--device", "cpu", "--out", "run", "--lists"]
    assert inside("train.py", *words, "first", cwd=tmp_path).returncode == 0
    kept = {name: (tmp_path / "run" / name).read_bytes() for name in ("model.pt", "val.txt", "settings.args")}
    with mock.patch.object(train, "train_epoch", side_effect=KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            train.train(train_arguments([*map(str, words), "second"]))
    assert {name: (tmp_path / "run" / name).read_bytes() for name in kept} == kept
    assert inside("train.py", "--resume", "--out", "run", cwd=tmp_path).returncode == 0
    assert (tmp_path / "run" / "val.txt").read_text().splitlines()[1:] == ["n4", "n5"]
    assert "--lists second" in (tmp_path / "run" / "settings.args").read_text()


def test_going_on_without_an_epoch_left_says_so(pair, no_curves):
    folder, image, mask = pair
    done = inside("train.py", image, mask, *QUICK, "--device", "cpu", cwd=folder)
    assert done.returncode == 0 and "no epoch" not in done.stdout
    assert "no epoch is left after 3: expected more --epochs" in inside("train.py", "--resume", cwd=folder).stdout
    assert "no epoch" not in inside("train.py", "--resume", "--epochs", 4, cwd=folder).stdout
    assert len(history(folder)) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_name_that_is_no_utf8_can_be_learned_from_resumed_and_repeated(pair):
    folder, *paths = pair
    image, mask = (path.rename(os.fsdecode(bytes(folder) + b"/\xe9_" + path.name.encode())) for path in paths)
    words = [image, mask, *QUICK, "--epochs", 2, "--device", "cpu"]
    assert inside("train.py", *words, "--out", "once", cwd=folder).returncode == 0
    for words in ["--resume", "--epochs", 3, "--out", "once"], ["@once/settings.args", "--epochs", 3, "--out", "again"]:
        done = inside("train.py", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    assert len(history(folder / "once")) == len(history(folder / "again")) == 3


# ---------------------------------------------------------------------------------------------------
# What must not go wrong quietly


def test_a_validation_image_without_any_truth_has_no_say(folder, no_curves):
    """It has no loss; counted as 0, it would make every network look better."""
    (folder / "val.txt").write_text("n0\nn1\n")
    words = ["--data", folder, *QUICK, "--device", "cpu", "--epochs", 1]
    assert inside("train.py", *words, "--out", "both", cwd=folder.parent).returncode == 0
    (folder / "val.txt").write_text("n0\n")
    (folder / "test.txt").write_text("n1\n")
    assert inside("train.py", *words, "--out", "one", cwd=folder.parent).returncode == 0
    (folder / "test.txt").unlink()
    (folder / "val.txt").write_text("n0\nn1\n")
    void = np.full(np.asarray(Image.open(folder / "masks" / "n1.png")).shape, 9, np.uint8)
    Image.fromarray(void).save(folder / "masks" / "n1.png")
    assert inside("train.py", *words, "--out", "void", cwd=folder.parent).returncode == 0
    losses = [float(history(folder.parent / out)[0]["val_loss"]) for out in ("both", "one", "void")]
    assert losses[2] == losses[1] != losses[0]


@pytest.mark.parametrize("part, what", [("train", "train on"), ("val", "validate on")])
def test_where_all_is_ignored_there_is_nothing_to_learn_from(folder, part, what):
    (folder / "train.txt").write_text("n0\nn1\n")
    (folder / "val.txt").write_text("n2\nn3\n")
    for name in (folder / f"{part}.txt").read_text().split():
        path = folder / "masks" / f"{name}.png"
        Image.fromarray(np.full(np.asarray(Image.open(path)).shape, 9, np.uint8)).save(path)
    process = inside("train.py", "--data", folder, *QUICK, cwd=folder.parent)
    fails_in_one_line(process, f"no pixel to {what} has a truth")


@pytest.mark.slow
def test_an_interrupted_training_is_not_begun_anew_by_mistake(pair):
    folder, image, mask = pair
    words = [image, mask, *QUICK, "--epochs", 1000, "--device", "cpu", "--out", "run"]
    process = start(folder, *words)
    wait_until(lambda: len(history(folder / "run")) > 1, process)  # of which last.pt knows the first
    process.kill()
    process.communicate()
    before = (folder / "run" / "last.pt").read_bytes()
    fails_in_one_line(inside("train.py", *words, cwd=folder), "last.pt", "of 1000 epochs", "--resume")
    assert (folder / "run" / "last.pt").read_bytes() == before
    content = torch.load(folder / "run" / "last.pt", weights_only=True)
    torch.save(content | {"network": "one that is no longer there"}, folder / "run" / "last.pt")
    fails_in_one_line(inside("train.py", *words, cwd=folder), "last.pt", "of 1000 epochs", "--resume")
    (folder / "run" / "last.pt").write_bytes(before[: len(before) // 2])
    fails_in_one_line(inside("train.py", *words, cwd=folder), "last.pt", "it may hold an interrupted training", "--out")
    (folder / "run" / "last.pt").write_bytes(before)
    done = load_network(folder / "run" / "last.pt")[1]["resume"]["history"][-1]["epoch"]
    assert inside("train.py", "--resume", "--out", "run", "--epochs", done + 1, cwd=folder).returncode == 0
    (folder / "run" / "history.csv").unlink()
    assert (folder / "run" / "loss_vs_epochs.png").exists()
    process = start(folder, *words)  # that one was finished, so another may follow
    wait_until(lambda: len(history(folder / "run")) > 1, process)
    process.kill()
    told, _ = process.communicate()
    assert f"model.pt is of a former training, of {done + 1} epochs, and is replaced after the first epoch" in told
    assert not (folder / "run" / "loss_vs_epochs.png").exists()  # which would show that one beside the new model.pt


@pytest.mark.slow
def test_nothing_of_a_former_training_stays_beside_the_new_one_and_a_mistake_takes_nothing(folder, pair, no_curves):
    where, image, mask = pair
    assert inside("train.py", "--data", folder, *QUICK, "--out", "run", cwd=where).returncode == 0
    assert (where / "run" / "val.txt").exists()
    before = (where / "run" / "last.pt").read_bytes()
    process = inside("train.py", image, mask, *QUICK, "--out", "run", "--tensorboard", image, cwd=where)
    fails_in_one_line(process, "a.png")
    assert (where / "run" / "last.pt").read_bytes() == before
    assert inside("train.py", image, mask, *QUICK, "--out", "run", cwd=where).returncode == 0
    assert not (where / "run" / "val.txt").exists()  # of images that model.pt has not seen
    content = torch.load(where / "run" / "last.pt", weights_only=True)
    del content["versions"]
    torch.save(content, where / "run" / "last.pt")
    done = inside("train.py", "--resume", "--out", "run", "--epochs", 4, cwd=where)
    assert done.returncode == 0 and "resumed with other versions" in done.stdout, done.stderr
    fails_in_one_line(inside("train.py", "--data", "", cwd=where), '--data "": expected a folder')
    assert not (where / "rgb.png").exists()


@pytest.mark.slow
def test_the_best_weights_belong_to_a_row_of_the_history_whenever_it_is_killed(pair, monkeypatch, no_curves):
    """Killed between last.pt and model.pt, then resumed with another learning rate."""
    folder, image, mask = pair
    words = [str(image), str(mask), *map(str, QUICK), "--epochs", "8", "--ema", "0", "--out", str(folder / "run")]
    words += ["--zoom", "1"]  # or another might be gone on with
    save_best, saved = train.save_best, []

    def killed(run):
        saved.append(run.history[-1]["epoch"])
        if len(saved) == 2:
            raise KeyboardInterrupt
        save_best(run)

    monkeypatch.setattr(train, "save_best", killed)
    with pytest.raises(KeyboardInterrupt):
        train.train(train_arguments(words))
    monkeypatch.undo()
    _, last = load_network(folder / "run" / "last.pt")
    assert last["resume"]["best"]["epoch"] == saved[-1]
    train.train(train_arguments([*words, "--lr", "1e-9"]), last)
    model, metadata = load_network(folder / "run" / "model.pt")
    row = next(row for row in history(folder / "run") if int(row["epoch"]) == metadata["metrics"]["epoch"])
    assert float(row["val_iou"]) == metadata["metrics"]["val_iou"]
    if metadata["metrics"]["epoch"] == saved[-1]:
        best = last["weights"]
        assert all(torch.equal(best[name], value) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_variables_of_a_job_scheduler_do_not_silence_a_single_process(pair):
    folder, image, mask = pair
    environment = {"RANK": "1", "LOCAL_RANK": "1"}
    process = Forked("train.py", image, mask, *QUICK, "--epochs", 1, cwd=folder, env=environment)
    told, errors = process.communicate()
    assert process.returncode == 0 and "best of 1 epochs" in told and (folder / "model.pt").exists(), errors


def test_results_do_not_go_into_the_data_set_itself(folder):
    process = inside("train.py", "--data", folder, "--out", folder, *QUICK, cwd=folder.parent)
    fails_in_one_line(process, "is the data set itself")
    assert not (folder / "val.txt").exists()


@pytest.mark.slow
def test_where_stitching_is_not_exact_it_is_said(folder, no_curves):
    words = ["--data", folder, *QUICK, "--model", "unet", "--width", 2, "--patch", 64, "--epochs", 1, "--depth", 5]
    done = inside("train.py", *words, "--halo", 32, cwd=folder.parent)
    assert done.returncode == 0 and "but not equal" in done.stdout, done.stderr
    image = folder / "images" / "n0.png"
    assert "but not equal" not in inside("predict.py", image, cwd=folder.parent).stdout
    assert "but not equal" in inside("predict.py", image, "--halo", 64, cwd=folder.parent).stdout
    assert "but not equal" not in inside("train.py", *words, "--out", "exact", cwd=folder.parent).stdout


@pytest.mark.slow
def test_two_trainings_do_not_mix_in_one_folder(pair, no_curves):
    """The lock dies with its process."""
    folder, image, mask = pair
    words = [image, mask, *QUICK, "--epochs", 1000, "--device", "cpu", "--out", "run"]
    process = start(folder, *words)
    try:
        wait_until(lambda: len(history(folder / "run")) > 1, process)  # of which last.pt knows the first
        for more in ([], ["--resume"]):
            second = inside("train.py", *([] if more else words), *more, "--out", "run", cwd=folder)
            fails_in_one_line(second, "is being written to by another process")
        first = len(history(folder / "run"))
        wait_until(lambda: len(history(folder / "run")) > first, process)  # the first one goes on undisturbed
    finally:
        process.kill()
        process.communicate()
    done = len(load_network(folder / "run" / "last.pt")[1]["resume"]["history"])
    assert inside("train.py", "--resume", "--out", "run", "--epochs", done, cwd=folder).returncode == 0
    assert not (folder / "run" / ".lock").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_interrupted_it_ends_with_the_usual_status(pair):
    folder, image, mask = pair
    process = start(folder, image, mask, *QUICK, "--epochs", 1000)
    wait_until(lambda: (folder / "history.csv").exists(), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors


@pytest.mark.skipif(sys.platform == "win32", reason="uses a shell's pipe")
def test_when_nobody_reads_on_it_ends_without_a_word(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from support.script import run_script\n"
        "run_script(lambda args: [print(number, flush=True) for number in range(10**6)], None, 'x.py')"
    )
    line = f'"{sys.executable}" -c "$SCRIPT" "{ROOT}" | head -1'
    done = subprocess.run(line, shell=True, env={**os.environ, "SCRIPT": script}, capture_output=True, text=True)
    assert done.stdout == "0\n" and done.stderr == ""


VALIDATION = """
import sys
from types import SimpleNamespace
import numpy as np
import torch
import train
from data import Dataset
from losses import loss_function
from model import FCN

torch.set_num_threads(1)
torch.manual_seed(0)
random = np.random.default_rng(0)
image, mask = (random.integers(0, most, (1500, 2000, *more), np.uint8) for most, more in [(256, [3]), (10, [])])
classes = [{"name": str(value), "value": value} for value in range(10)]
metadata = {"classes": classes, "ignore": [], "mean": [0.5] * 3, "std": [0.25] * 3, "settings": {"zoom": 1.0}}
data = SimpleNamespace(classes=classes, validation=Dataset.in_memory([(image, mask)], 10))
args = SimpleNamespace(halo=None, val_images=8)
segment = train.Segmenter(FCN(10), metadata)
run = SimpleNamespace(segment=segment, device=torch.device("cpu"), args=args, data=data,
                      criterion=loss_function("ce+dice"), copies={})
peak = lambda: int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024
before = peak()
found = train.validate(run)
more = peak() - before
logits = segment.logits(image)                  # all of them, 120 MB
whole = run.criterion(torch.from_numpy(logits)[None].double(), torch.from_numpy(mask)[None]).item()
assert abs(found.loss / whole - 1) < 1e-6, (found.loss, whole)
assert (found.shown[0][2] == logits.argmax(axis=0)).all() and found.confusion.sum() == mask.size
print(more)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the memory stands in /proc")
def test_a_validation_never_holds_all_logits():
    """Of 3 megapixels and 10 classes they take 120 MB, and the loss several times that."""
    # Or the C library keeps what was freed for later: from 30 to 80 MB, differing from run to run.
    whole_blocks = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144"}
    done = subprocess.run(
        [sys.executable, "-c", VALIDATION], cwd=ROOT, env=whole_blocks, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100
