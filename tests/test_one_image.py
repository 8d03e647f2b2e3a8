"""The benchmark of kinds: what it measures against scikit-learn, and that it goes on where it was interrupted."""

import json

import numpy as np
import pytest
from conftest import fails_in_one_line, inside
from PIL import Image
from scipy import ndimage
from sklearn.metrics import jaccard_score

import metrics
import train
from benchmarks import one_image
from support.sample import sample


def write_kind(folder, values, count):
    """Noisy pictures of blobs of so many classes, of which the last one may lack a class."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        seen = len(values) - (number == count - 1 and len(values) > 2)
        blobs = [ndimage.gaussian_filter(random.normal(size=(72, 170)), 5) for _ in range(seen)]
        mask = np.argmax(blobs, axis=0)
        image = 60 + 60 * mask[:, :, None] + random.normal(0, 9, (72, 170, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}_rgb.png")
        Image.fromarray(np.array(values, np.uint8)[mask]).save(folder / f"{number:03}_gt.png")
    return folder


@pytest.fixture
def kinds(tmp_path):
    return write_kind(tmp_path / "cells", (0, 255), 2), write_kind(tmp_path / "parts", (0, 3, 7), 3)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_mixes_no_settings(kinds, tmp_path, monkeypatch, no_curves):
    trained, real = [], train.train

    def interrupted_once(args):
        trained.append(args.seed)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real(args)

    monkeypatch.setattr(train, "train", interrupted_once)
    part = [array[:140] for array in sample()]
    monkeypatch.setattr("support.sample.sample", lambda: part)
    words = ["-m", "benchmarks.one_image", "--quick", "--seeds", 1, "--methods", "network", "forest", "--out", "out"]
    several = [*words, "--learn-from", 2, "--pairs", *kinds]
    file = tmp_path / "out" / "results.jsonl"

    first = inside(*several, cwd=tmp_path)
    assert first.returncode == 130 and "the same command goes on" in first.stderr
    begun = file.read_text()
    assert [json.loads(line)["kind"] for line in begun.splitlines()] == ["sample", "sample", "cells", "cells"]
    assert first.stdout.count("mean, 2 kinds") == 2  # what there is, is shown

    file.write_text(begun + '{"kind": "parts", "met')  # as a kill leaves it
    second = inside(*several, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert file.read_text().startswith(begun) and len(trained) == 3 + 3
    rows = list(one_image.read_rows(file).values())
    learned = {"sample": ["left"], "cells": ["000", "001"], "parts": ["000", "002"]}  # the last one lacks a class
    assert sorted((row["kind"], row["image"], row["method"]) for row in rows) == sorted(
        (kind, image, method) for kind in learned for image in learned[kind] for method in ("network", "forest")
    )
    printed = {tuple(line.split()[:2]): line.split()[2:] for line in second.stdout.splitlines()}
    for kind in ("sample", "cells", "parts"):
        for method in ("network", "forest"):
            same = [row for row in rows if (row["kind"], row["method"]) == (kind, method)]
            iou, relit, boundary = ([row[name] for row in same] for name in ("iou", "relit", "boundary"))
            found = printed[kind, method]
            assert [found[0], found[5]] == [str(len(same)), same[int(np.argmin(iou))]["image"]]
            expected = [
                np.mean(iou),
                np.std(iou, ddof=1) if len(iou) > 1 else 0,
                np.min(iou),
                np.mean(relit),
                np.mean(boundary),
            ]
            assert [float(found[place]) for place in (1, 3, 4, 6, 7)] == pytest.approx(expected, abs=6e-5)
    assert np.asarray(Image.open(tmp_path / "out" / "one_image.png")).std() > 10

    every = ["--methods", "network", "unet", "forest"]
    other = inside(*words, *every, "--learn-from", 1, "--pairs", kinds[0], "--", "--lr", "0.007", cwd=tmp_path)
    assert other.returncode == 0 and len(trained) == 6 + 4  # the networks of both kinds, and no forest again
    assert len(file.read_text().splitlines()) == len(rows) + 1 + 4
    assert inside(*words, "--tta", cwd=tmp_path).returncode == 0 and len(trained) == 10 + 1
    plain, *_, views = one_image.read_rows(file).values()
    assert views["settings"] != plain["settings"] and (plain["given"]["tta"], views["given"]["tta"]) == (False, True)
    [pair, _] = one_image.pairs_in(kinds[0])
    assert one_image.network(*pair, seed=0, **views["given"])["classify"].options["tta"]


def test_figures_are_those_of_the_other_images_by_scikit_learn(kinds):
    """Where the image learned from lacks a class of the kind, that is never predicted."""
    kind = one_image.folder_kind(kinds[1])
    masks = [np.asarray(Image.open(mask)) for _, mask in kind.files]
    assert kind.learned == [0, 1, 2] and 7 not in masks[2]
    bright = {"classes": kind.classes[::2], "classify": lambda image: np.uint8(image[:, :, 0] > 110)}  # 0 and 7
    images = [one_image.read_pair(*pair, kind.classes)[0] for pair in kind.files]
    expected = lambda change: np.mean(
        [
            jaccard_score(mask.ravel(), np.where(change(image) > 110, 7, 0).ravel(), average="macro", labels=[0, 3, 7])
            for image, mask in [(images[0][:, :, 0], masks[0]), (images[2][:, :, 0], masks[2])]
        ]
    )
    found = one_image.score(bright, kind, 1)
    assert found["iou"] == pytest.approx(expected(lambda red: red)) and found["tested"] == 2
    changes = [(1.15, 0), (0.85, 0), (1.1, 0), (1, 20)]
    relit = [expected(lambda red: np.rint(red * gain + offset).clip(0, 255)) for gain, offset in changes]  # noqa: B023
    assert found["relit"] == pytest.approx(np.mean(relit)) and found["relit"] != found["iou"]
    counts = [
        metrics.boundary_counts(
            one_image.read_pair(*kind.files[place], kind.classes)[1], 2 * bright["classify"](images[place]), 3
        )
        for place in (0, 2)
    ]
    assert found["boundary"] == pytest.approx(np.mean([metrics.mean(metrics.boundary_f(each)) for each in counts]))


def test_the_forest_is_the_same_in_blocks(kinds, monkeypatch):
    image, mask = sorted(kinds[1].glob("000_*"))[::-1]
    pixels, found = np.asarray(Image.open(image)), []
    for block in (2**20, 10 * 170):
        monkeypatch.setattr(one_image, "BLOCK", block)
        found.append(one_image.forest(image, mask, 0, {"n_estimators": 5})["classify"](pixels))
    assert np.array_equal(*found) and (found[0] == np.asarray(Image.open(mask)) // 3).mean() > 0.9


def test_remarks_are_not_the_code(tmp_path):
    texts = (
        "def f(x):\n    return x + 1\n",
        'def f(x):\n    """Add."""\n    return x + 1      # one\n',
        "def f(x): return x",
    )
    read = []
    for text in texts:
        (tmp_path / "a.py").write_text(text)
        read.append(one_image.without_remarks(tmp_path / "a.py"))
    assert read[0] == read[1] != read[2]


def test_mistakes_are_one_line(kinds, tmp_path):
    words = ["-m", "benchmarks.one_image", "--pairs", kinds[0]]
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "cells").mkdir(parents=True)
    for pair in kinds[0].iterdir():
        (tmp_path / "other" / "cells" / pair.name).write_bytes(pair.read_bytes())
    fails_in_one_line(inside(*words, tmp_path / "empty", cwd=tmp_path), "empty: found 0", "at least two")
    fails_in_one_line(inside(*words, tmp_path / "other" / "cells", cwd=tmp_path), "two kinds have one name")
