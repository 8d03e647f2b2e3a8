"""What is found out about a data set before a training: damaged files are left out, and what is known is remembered."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from conftest import TABLE, fails_in_one_line, inside
from PIL import Image

import data
from data import load
from support import memory, notes, scan
from support.files import BadInput, is_ours, seal
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


def test_all_pairs_that_do_not_fit_are_named_at_once(folder):
    for number in (1, 3, 4):
        path = folder / "masks" / f"n{number}.png"
        mask = Image.open(path)
        mask.crop((0, 0, mask.width, mask.height - 1)).save(path)
    with pytest.raises(BadInput, match=r"n1.png is 100x70 pixels, but .*n1.png is 100x69.*; 2 more pairs .*: n3, n4"):
        load(folder)


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


# ---------------------------------------------------------------------------------------------------
# The memory beside the data


@pytest.fixture
def remembering(folder, monkeypatch):
    """The data set of conftest.py, its files of 2020, worth a file however few they are."""
    monkeypatch.setattr(scan, "WORTH", 0)
    clear = np.dstack([np.asarray(Image.open(folder / "images" / "n4.png")), np.zeros((70, 90), np.uint8)])
    Image.fromarray(clear).save(folder / "images" / "n4.png")  # there is a remark to make on this one
    age(folder)
    return folder


def age(folder):
    """Let what was written now be of 2020, as what is as new as that is not remembered."""
    for path in folder.glob("*s/*"):
        if path.stat().st_mtime > 1.6e9:
            os.utime(path, (1.6e9, 1.6e9))


@pytest.fixture
def looked(monkeypatch):
    """The names of the images that a scan looks into, as it goes on."""
    names, facts = [], scan.image_facts
    monkeypatch.setattr(scan, "image_facts", lambda path, said: names.append(path.stem) or facts(path, said))
    return names


def outcome(folder, capsys, **options):
    """All that load returns of a folder, and what it prints but for the line about the memory."""
    capsys.readouterr()
    notes.FOUND.clear()  # those that reading the pixels has made, the time before
    found = load(folder, memory=options.pop("memory", 0), **options)
    printed = [line for line in capsys.readouterr().out.splitlines() if memory.NAME not in line]
    counts = [part.cumulative_counts.tolist() for part in (found.training, found.validation)]
    pixels = [
        [array.tobytes() for array in part[number]]
        for part in (found.training, found.validation)
        for number in range(len(part))
    ]
    return found.fingerprint, found.held_out, found.classes, found.ignore, found.rendering, counts, pixels, printed


@pytest.mark.parametrize("gigabytes, again", [(0, []), (2, []), (0, None)])
def test_what_is_remembered_gives_the_same_bits_and_lines(remembering, capsys, looked, monkeypatch, gigabytes, again):
    if again is None:  # without a class table
        (remembering / "classes.json").unlink()
    first = outcome(remembering, capsys, memory=gigabytes)
    assert any("is transparent everywhere" in line for line in first[-1])
    assert sorted(looked) == NAMES and is_ours(remembering / memory.NAME)
    looked.clear()
    monkeypatch.setattr(scan, "mask_facts", None)
    if not gigabytes:
        monkeypatch.setattr(data, "inspect_pair", None)
    written = (remembering / memory.NAME).stat().st_mtime_ns
    assert outcome(remembering, capsys, memory=gigabytes) == first and looked == []
    assert (remembering / memory.NAME).stat().st_mtime_ns == written  # nothing to add


def test_it_says_what_was_saved(remembering, capsys, monkeypatch):
    path = remembering / memory.NAME
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)  # or a slow machine says 1 s, and 799
    load(remembering, memory=0)
    assert f"scanned in 0 s, remembered in {path}" in capsys.readouterr().out
    head, *lines = path.read_text().splitlines()
    rewritten(path, "\n".join([json.dumps({**json.loads(head), "seconds": 100.0}), *lines, ""]))
    load(remembering, memory=0)
    assert f"8 of 8 pairs are as {path} remembers them, which saved 800 s" in capsys.readouterr().out


def rewritten(path, text):
    """Write a text in the place of a memory, sealed as if it was ours: whoever reads the code can do that."""
    path.write_text(text)
    seal(path)
    assert is_ours(path)


@pytest.mark.parametrize("part", ["images", "masks"])
@pytest.mark.parametrize("how", ["changed", "touched", "added", "gone"])
def test_a_file_that_changes_is_noticed(remembering, tmp_path, capsys, looked, part, how):
    outcome(remembering, capsys)
    looked.clear()
    path, expected = remembering / part / "n3.png", ["n3"]
    if how == "changed":  # at the same size, as bytes in a row
        content = path.read_bytes()
        Image.fromarray(np.flipud(np.asarray(Image.open(path))).copy()).save(path)
        with path.open("ab") as file:
            file.write(bytes(max(0, len(content) - path.stat().st_size)))
        os.utime(path, ns=(1_600_000_000_000_000_001,) * 2)
    elif how == "touched":
        os.utime(path, ns=(1_600_000_000_000_000_001,) * 2)
    elif how == "added":
        for each in ("images", "masks"):
            shutil.copy(remembering / each / "n3.png", remembering / each / "new.png")
        age(remembering)
        expected = ["new"]
    else:
        path.unlink()
        expected = []
    found = outcome(remembering, capsys)
    assert looked == expected
    shutil.copytree(remembering, tmp_path / "anew", ignore=shutil.ignore_patterns(memory.NAME))
    anew = outcome(tmp_path / "anew", capsys)
    assert found[:-1] == anew[:-1]
    looked.clear()
    assert outcome(remembering, capsys) == found and looked == []  # and that is remembered, too


def test_damaged_and_very_new_files_are_not_remembered(remembering, capsys, looked):
    path = remembering / "images" / "n2.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 255]) + whole[5001:])
    age(remembering)
    os.utime(remembering / "masks" / "n6.png", (time.time() + 60,) * 2)  # the future of a slow machine, too
    assert any("cannot be read: n2.png" in line for line in outcome(remembering, capsys)[-1])
    looked.clear()
    path.write_bytes(whole)  # mended, by a package installed later, say: nothing of the file has changed
    os.utime(path, (1.6e9, 1.6e9))
    outcome(remembering, capsys)
    assert sorted(looked) == ["n2", "n6"]


def test_other_classes_and_another_threshold_are_noticed(remembering, capsys):
    more = {"classes": [*TABLE["classes"], {"name": "unknown", "value": 9}]}
    for table, threshold in [(TABLE, None), (more, None), (None, 5), (None, None)]:
        if table:
            (remembering / "classes.json").write_text(json.dumps(table))
        else:
            (remembering / "classes.json").unlink(missing_ok=True)
        found = outcome(remembering, capsys, threshold=threshold)  # beside what was remembered of those before
        (remembering / memory.NAME).unlink(missing_ok=True)
        assert outcome(remembering, capsys, threshold=threshold) == found


def line_of(lines, number, place, value):
    """Lines of a memory with something else at one place of one of them."""
    record = json.loads(lines[number])
    record[place] = value
    return [*lines[:number], json.dumps(record), *lines[number + 1 :]]


SPOILT = {
    "no head": lambda lines: [json.dumps(memory.STAMP), *lines[1:]],
    "noise": lambda lines: [lines[0], "\u0000" * 90],
    "cut": lambda lines: [*lines[:3], lines[3][:40]],
    "a long line": lambda lines: [*lines, json.dumps(["x" * 5000])],
    "nested deeply": lambda lines: [*lines, "[" * 4000],
    "another version": lambda lines: [lines[0].replace('"version": 2', '"version": 1'), *lines[1:]],
    "no size": lambda lines: line_of(lines, 2, 2, [0, 90]),
    "a size of 10^9 pixels": lambda lines: line_of(lines, 2, 2, [40000, 40000]),
    "a size of text": lambda lines: line_of(lines, 2, 2, ["70", "90"]),
    "true as a turn": lambda lines: line_of(lines, 2, 3, True),
    "a value of 400 digits": lambda lines: line_of(lines, 2, 9, [[10**400, 10**400]]),
    "too many pixels": lambda lines: line_of(lines, 2, 9, [[0, 6301]]),
    "a remark with a line end": lambda lines: line_of(lines, 2, 12, [["a\nb"], []]),
    "negative counts": lambda lines: line_of(lines, 2, 13, [[-1, 0, 0], "0" * 64]),
    "a digest of text": lambda lines: line_of(lines, 2, 13, [[1, 0, 0], "g" * 64]),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_memory_is_ignored_and_made_anew(remembering, capsys, looked, spoil):
    first, path = outcome(remembering, capsys), remembering / memory.NAME
    lines = path.read_text().splitlines()
    text = "".join(f"{line}\n" for line in spoil(lines))
    rewritten(path, text)
    looked.clear()
    assert outcome(remembering, capsys) == first and sorted(looked) == NAMES
    looked.clear()
    assert outcome(remembering, capsys) == first and looked == []


@pytest.mark.parametrize("gigabytes, place, value", [(0, 13, [[6000, 0, 0], "0" * 64]), (2, 2, [20, 20])])
def test_what_a_stranger_remembers_wrongly_ends_in_one_line(remembering, capsys, gigabytes, place, value):
    outcome(remembering, capsys)
    path = remembering / memory.NAME
    lines = path.read_text().splitlines()
    for number in range(1, 9):
        lines = line_of(lines, number, place, value)
        lines = line_of(lines, number, 8, 0)
        lines = line_of(lines, number, 9, [])
        lines = line_of(lines, number, 13, value) if place == 13 else line_of(lines, number, 13, None)
    rewritten(path, "".join(f"{line}\n" for line in lines))
    with pytest.raises(BadInput, match=f"has changed since they were scanned; .* without {memory.NAME}"):
        load(remembering, memory=gigabytes).training[0]


def test_a_file_of_the_users_stays_and_a_folder_that_is_read_only_does(remembering, capsys, monkeypatch):
    path = remembering / memory.NAME
    path.write_text("mine")
    first = outcome(remembering, capsys)
    assert path.read_text() == "mine"
    path.unlink()

    def refuse(*_):
        raise BadInput("no space")

    monkeypatch.setattr(memory, "write_text", refuse)
    assert outcome(remembering, capsys) == first and not path.exists()


def test_a_small_data_set_gets_no_file(folder):
    age(folder)
    load(folder, memory=0)
    assert sorted(path.name for path in folder.iterdir()) == ["classes.json", "images", "masks"]
