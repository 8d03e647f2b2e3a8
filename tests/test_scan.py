"""What is found out about a data set before a training: damaged files are left out, and what is known is remembered."""

import os
import shutil

import numpy as np
import pytest
from conftest import fails_in_one_line, inside
from PIL import Image

from data import load
from support.files import BadInput
from support.images import image_size

NAMES = [f"n{number}" for number in range(8)]


def as_jpeg(folder, name):
    """Make a JPEG of an image."""
    path = folder / "images" / f"{name}.png"
    Image.open(path).save(path.with_suffix(".jpg"), quality=90)
    path.unlink()
    return path.with_suffix(".jpg")


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def damage(folder):
    """Damage three images and two masks of eight pairs, each in another way; returns the names of the sound pairs."""
    jpeg = as_jpeg(folder, "n1")
    halve(jpeg)
    assert image_size(jpeg) == (70, 100)  # its header is whole
    (folder / "images" / "n2.png").write_bytes(np.random.default_rng(0).bytes(2000))
    halve(folder / "masks" / "n3.png")
    (folder / "images" / "n5.png").unlink()
    (folder / "images" / "n5.png").symlink_to("nowhere.png")
    (folder / "masks" / "n5.png").write_bytes(b"")
    return [name for name in NAMES if name not in ("n1", "n2", "n3", "n5")]


@pytest.mark.parametrize("memory", [2, 0])
def test_damaged_files_are_left_out_and_named_and_all_others_stay_where_they_were(folder, tmp_path, capsys, memory):
    whole = load(folder, memory=memory)
    sound = damage(folder)
    capsys.readouterr()
    found = load(folder, memory=memory)
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("left out: 3 images that cannot be read: n1.jpg, n2.png, n5.png (")
    assert f"{folder / 'images' / 'n1.jpg'} is no readable image (image file is truncated" in told[0]
    assert told[1].startswith("left out: 2 masks that cannot be read: n3.png, n5.png (")
    assert found.held_out == [name for name in whole.held_out if name in sound]

    shutil.copytree(folder, tmp_path / "sound", symlinks=True)  # as if the damaged ones had never been there
    for path in (tmp_path / "sound").glob("*s/*"):
        if path.stem not in sound:
            path.unlink()
    expected = load(tmp_path / "sound", memory=memory)
    assert (found.fingerprint, found.held_out) == (expected.fingerprint, expected.held_out)
    for part in ("training", "validation"):
        for (image, mask, _), (other, truth, _) in zip(getattr(found, part), getattr(expected, part)):
            assert np.array_equal(image, other) and np.array_equal(mask, truth)


def test_lists_may_name_damaged_files(folder):
    sound = damage(folder)
    for part, names in [("train", NAMES[4:]), ("val", NAMES[:3]), ("test", NAMES[3:4])]:
        (folder / f"{part}.txt").write_text("\n".join(names))
    found = load(folder)
    assert found.held_out == ["n0"] and len(found.training) == len(set(sound) & set(NAMES[4:]))
    (folder / "val.txt").write_text("n1\nn2\n")
    with pytest.raises(BadInput, match="by train.txt and val.txt and test.txt 3 images are to train on and 0 to val"):
        load(folder)


def test_without_a_sound_pair_there_is_nothing_to_learn_from(folder):
    for name in NAMES[1:]:
        halve(folder / "images" / f"{name}.png")
    assert len(load(folder).training) > 0  # the single one that is left is cut
    halve(folder / "masks" / "n0.png")
    with pytest.raises(BadInput, match=r"none of 8 pairs can be read: .*masks.n0.png is no readable image"):
        load(folder)


def test_what_is_no_damage_stays_an_error(folder):
    """Values out of their range may be in all files of a kind, and a larger mask belongs to another image."""
    image = folder / "images" / "n4.png"
    Image.fromarray(np.full((70, 90), 7.5, np.float32)).save(image.with_suffix(".tif"))
    image.unlink()
    with pytest.raises(BadInput, match=r"n4.tif holds values from 7.5 to 7.5; expected 0 to 1"):
        load(folder, memory=0)


def test_a_cross_validation_and_its_tests_leave_damaged_files_out(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tested")
    halve(folder / "images" / "n1.png")
    halve(tmp_path / "tested" / "masks" / "n2.png")
    words = ["--folds", 3, "--out", "cv", "--data", folder, "--test-data", tmp_path / "tested"]
    tiny = ["--batch", 1, "--patch", 32, "--steps", 1, "--epochs", 1]
    done = inside("-m", "tools.crossvalidate", *map(str, words + tiny), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out: 1 images that cannot be read: n1.png" in done.stdout
    assert "left out: 1 masks that cannot be read: n2.png" in done.stdout
    predicted = sorted(path.stem for path in (tmp_path / "cv" / "predictions").iterdir())
    assert predicted == [name for name in NAMES if name not in ("n1", "n2")]
    more = inside("-m", "tools.crossvalidate", *map(str, words), "--folds", "4", "--out", "more", cwd=tmp_path)
    fails_in_one_line(more, "holds 6 pairs; expected at least 8")
