"""Data sets: what is found in a folder, how it is split, and that it does not matter where patches are cut."""

import json
import multiprocessing
import os
import pickle
import select
import shutil
import signal
import sys
import time
import unicodedata

import numpy as np
import pytest
import torch
from conftest import TABLE, write_pair
from PIL import Image, ImageFile

import data
from data import hold_out, load, split, training_batches
from patches import Sampling
from support import scan
from support.classes import print_classes, read_classes
from support.files import BadInput
from support.images import image_size, read_image
from support.masks import IGNORE, class_colours, to_picture
from support.names import hash_to_unit

DRAWING = Sampling(seed=3, size=32, batch=6, balance=0.5, scale=(0.7, 1.5))


def test_a_folder_is_read_and_told(folder, capsys):
    data = load(str(folder), memory=1)
    told = capsys.readouterr().out
    assert "8 pairs of 90x70 to 100x70 pixels, held in memory" in told and "by a hash of the names" in told
    assert "7 is bar" in told and "9 ignored" in told
    assert [one["value"] for one in data.classes] == [0, 3, 7] and data.ignore == [9]
    assert len(data.training) + len(data.validation) == 8 and len(data.validation) >= 1
    image, mask, rows = data.training[0]
    assert set(np.unique(mask)) == {0, 1, 2, IGNORE} and (mask[:5, :9] == IGNORE).all()
    assert image.shape == (*mask.shape, 3) and rows.shape == (3, 70)


def test_what_was_found_is_told_in_one_line(folder, capsys):
    (folder / "val.txt").write_text("n2\nn7\n")
    said = "8 pairs of 90x70 to 100x70 pixels, {}; 6 to train on, 2 to validate on, by val.txt"
    for memory, where in [(4e-9 * 53200, "held in memory"), (3.9e-9 * 53200, "decoded when needed")]:
        load(str(folder), memory=memory)
        assert capsys.readouterr().out.splitlines()[0] == f"{folder}: {said.format(where)}"
    write_pair(folder, "n0", 0, height=40, width=200)  # by area, not by height
    load(str(folder))
    assert "8 pairs of 90x70 to 200x40 pixels, held" in capsys.readouterr().out
    for name in range(8):
        write_pair(folder, f"n{name}", name)
    load(str(folder))
    assert "8 pairs of 90x70 pixels, held" in capsys.readouterr().out


def test_folders_that_look_like_lists_are_told(tmp_path, capsys):
    for name in "train/a", "train/b", "valid/c", "test/d":
        write_pair(tmp_path, name, len(name))
    load(str(tmp_path))
    told = capsys.readouterr().out
    assert "its folders for test, train, val are not heeded" in told
    assert f"python -m tools.convert pairs --images {tmp_path / 'images'} --masks" in told
    (tmp_path / "val.txt").write_text("valid/c\n")
    load(str(tmp_path))
    assert "heeded" not in capsys.readouterr().out


@pytest.mark.parametrize("memory", [0, 1])
def test_a_threshold_is_one_for_all_masks(folder, memory):
    (folder / "classes.json").unlink()
    found = load(str(folder), threshold=5, memory=memory)
    assert [entry["value"] for entry in found.classes] == [0, 255] and len(found.training) == 6
    names = [name for name in (f"n{number}" for number in range(8)) if name not in found.held_out]
    for name, (image, mask, _) in zip(names, found.training):
        assert np.array_equal(image, read_image(folder / "images" / f"{name}.png"))
        assert np.array_equal(mask, np.array(Image.open(folder / "masks" / f"{name}.png")) >= 5)


@pytest.mark.parametrize("memory", [0, 2])
def test_each_image_is_decoded_once_before_the_training(folder, monkeypatch, memory):
    """To find damaged ones in time; held or not."""
    monkeypatch.setattr(data, "read_image", None)  # which would decode it again
    decoded, facts = [], scan.image_facts
    monkeypatch.setattr(scan, "image_facts", lambda path, said: decoded.append(path) or facts(path, said))
    assert len(load(str(folder), memory=memory).training) == 6
    assert sorted(decoded) == sorted((folder / "images").iterdir())


def test_a_pair_is_cut_as_hold_out_does_it(tmp_path):
    """By default a fifth, 8 pixels away, parts of 64 at least."""
    write_pair(tmp_path, "only", 0, height=300, width=200, values=(0, 3, 7, 7))
    files = tmp_path / "images" / "only.png", tmp_path / "masks" / "only.png"
    image, mask = read_image(files[0]), np.searchsorted([0, 3, 7], np.array(Image.open(files[1]))).astype(np.uint8)
    for options, numbers in [({"memory": 0}, (64, 8, 0.2)), ({"least": 20, "gap": 30, "share": 0.1}, (20, 30, 0.1))]:
        found = load(files, **options)
        for part, expected in zip((found.training, found.validation), hold_out(image, mask, *numbers)):
            assert len(part) == len(expected) and found.held_out == []
            for (one, truth, _), (other, there) in zip(part, expected):
                assert np.array_equal(one, other) and np.array_equal(truth, there)


def test_classes_are_found_where_there_is_no_table(folder):
    (folder / "classes.json").unlink()
    data = load(str(folder))
    assert [one["value"] for one in data.classes] == [0, 3, 7, 9] and data.ignore == []
    other = folder.parent / "table.json"
    other.write_text(json.dumps(TABLE))
    assert load(str(folder), table=other).ignore == [9]


def test_one_coloured_mask_makes_greys_colours(tmp_path):
    for name, colour in [("a", (0, 0, 0)), ("b", (9, 9, 9)), ("c", (255, 0, 0))]:
        write_pair(tmp_path, name, 0)
        Image.fromarray(np.tile(np.array([(0, 0, 0), colour], np.uint8), (70, 45, 1))).save(
            tmp_path / "masks" / f"{name}.png"
        )
    data = load(str(tmp_path))
    assert [one["value"] for one in data.classes] == [[0, 0, 0], [9, 9, 9], [255, 0, 0]]


def test_unpaired_files_are_named_and_left_out(folder, capsys):
    write_pair(folder, "alone", 9)
    (folder / "masks" / "alone.png").rename(folder / "masks" / "lonely.png")
    (folder / "images" / "notes.txt").write_text("not an image")
    load(str(folder))
    told = capsys.readouterr().out
    assert "1 images without a mask: alone.png" in told and "1 masks without an image: lonely.png" in told


def test_names_may_lie_in_sub_folders(folder):
    write_pair(folder, "city/street", 9)
    (folder / "val.txt").write_text("city/street\n")
    assert len(load(str(folder)).validation) == 1


def test_hidden_and_unreadable_folders(folder, capsys):
    write_pair(folder, ".ipynb_checkpoints/n1-checkpoint", 1)
    write_pair(folder, "__MACOSX/._n1", 1)
    load(str(folder))
    assert "8 pairs" in capsys.readouterr().out
    write_pair(folder, "closed/door", 1)
    (folder / "images" / "closed").chmod(0)
    try:
        if not os.access(folder / "images" / "closed", os.R_OK):  # root may read everything
            refused(folder, "closed cannot be read")
    finally:
        (folder / "images" / "closed").chmod(0o755)


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system normalizes names itself")
def test_names_are_the_same_in_any_unicode_form(folder, capsys):
    write_pair(folder, "käfer", 1)
    mask = folder / "masks" / "käfer.png"
    mask.rename(mask.with_name(unicodedata.normalize("NFD", mask.name)))
    load(str(folder))
    assert "9 pairs" in capsys.readouterr().out and len(mask.name) == 9


# ---------------------------------------------------------------------------------------------------
# The split


def test_the_split_by_hash_stays_when_files_are_added(tmp_path):
    names = [f"image {number}" for number in range(200)]
    training, validation, _ = split(names, tmp_path, 0.2)
    assert sorted(training + validation) == sorted(names) and 25 < len(validation) < 55
    more = sorted([*names, *(f"new {number}" for number in range(100))])
    assert set(split(more, tmp_path, 0.2)[1]) & set(names) == set(validation)
    assert set(split(names, tmp_path, 0.1)[1]) < set(validation)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_images_are_split_too(tmp_path, count):
    for share in (0.001, 0.2, 0.9):
        training, validation, _ = split([f"n{number}" for number in range(count)], tmp_path, share)
        assert training and validation and len(training + validation) == count


def test_at_least_one_image_is_left_to_train_on(tmp_path):
    low = [name for name in map(str, range(50)) if hash_to_unit(name) < 0.8][:6]
    training, validation, _ = split(low, tmp_path, 0.8)
    assert training == [max(low, key=hash_to_unit)] and validation == [name for name in low if name != training[0]]
    (tmp_path / "test.txt").write_text(f"{low[0]}\n")
    assert sorted(sum(split(low, tmp_path, 0.8)[:2], [])) == sorted(low[1:])


@pytest.mark.parametrize(
    "lists, training, validation",
    [
        ({"train": "a b c", "val": "d"}, "abc", "d"),
        ({"train": "a b c", "val": "d e"}, "abc", "de"),
        ({"val": "b"}, "acdef", "b"),
        ({"train": "a f"}, "af", "bcde"),
        ({"train": "a b", "test": "c d"}, "ab", "ef"),
        ({"val": "a", "test": "b c"}, "def", "a"),
        ({"test": "a b c d x"}, None, None),
        ({"train": "a b c d", "test": "e f"}, None, None),
    ],
)
def test_lists_decide_the_split(tmp_path, capsys, lists, training, validation):
    for part, names in lists.items():
        (tmp_path / f"{part}.txt").write_text("\ufeff" + names.replace(" ", "\r\n") + "\n\n", encoding="utf-8")
    found = split(list("abcdef"), tmp_path, 0.2, images=list("abcdefx"))  # x has no mask
    if training is None:  # what is not for testing is split by a hash
        left = set("abcdef") - set(lists["test"])
        assert set(found[0]) | set(found[1]) == left and found[0] and found[1]
        assert found[2] == "by a hash of the names"
    else:
        assert ("".join(found[0]), "".join(found[1])) == (training, validation)
        assert found[2] == "by " + " and ".join(f"{part}.txt" for part in lists)
    left = [name for name in "abcdef" if "train" in lists and "val" in lists and name not in "".join(lists.values())]
    told = f"left out: {len(left)} pairs that neither train.txt nor val.txt names: {', '.join(left)}\n" if left else ""
    assert capsys.readouterr().out == told


def test_lists_that_leave_nothing_are_refused(tmp_path):
    (tmp_path / "test.txt").write_text("a\nb\n")
    with pytest.raises(BadInput, match="test.txt names all images; expected some to train on$"):
        split(list("ab"), tmp_path, 0.2)
    (tmp_path / "val.txt").write_text("c\n")
    said = "by val.txt and test.txt 0 images are to train on and 1 to validate on; expected some for each$"
    with pytest.raises(BadInput, match=said):
        split(list("abc"), tmp_path, 0.2)


def test_wrong_lists_are_refused(tmp_path):
    (tmp_path / "train.txt").write_text("a\nq\n")
    with pytest.raises(BadInput, match="train.txt names q; expected names"):
        split(list("abc"), tmp_path, 0.2)
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("b\n")
    with pytest.raises(BadInput, match="val.txt names b, which train.txt names, too"):
        split(list("abc"), tmp_path, 0.2)
    (tmp_path / "val.txt").write_text("\n")
    with pytest.raises(BadInput, match="val.txt names nothing"):
        split(list("abc"), tmp_path, 0.2)
    (tmp_path / "val.txt").write_text("x\n")  # an image without a mask, of which only a test list may hold some
    with pytest.raises(BadInput, match="val.txt names x; expected names"):
        split(list("abc"), tmp_path, 0.2, images=list("abcx"))
    (tmp_path / "val.txt").unlink()
    (tmp_path / "test.txt").write_text("x\n")
    with pytest.raises(BadInput, match="test.txt names x; expected names"):
        split(list("abc"), tmp_path, 0.2)
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="val.txt cannot be read"):
        split(list("abc"), tmp_path, 0.2)


# ---------------------------------------------------------------------------------------------------
# Held, decoded, and in other processes


def batches(data, workers=0, reuse=1, epochs=range(2), slots=range(6)):
    drawing = DRAWING._replace(reuse=reuse)
    return list(training_batches(data.training, drawing, 5, epochs, slots, workers))


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(one, other) for pair in zip(first, second) for one, other in zip(*pair)
    )


@pytest.mark.parametrize("reuse", [1, 2, 3])
def test_it_does_not_matter_where_patches_are_cut(folder, reuse):
    held, decoded = load(str(folder), memory=1), load(str(folder), memory=0)
    assert held.training.decode is None and decoded.training.decode is not None
    assert held.fingerprint == decoded.fingerprint
    counts = [[*np.bincount(mask.ravel(), minlength=256)[:3], mask.size] for _, mask, _ in held.training.items]
    for part in (held.training, decoded.training):
        assert part.cumulative_counts.tolist() == np.cumsum(counts, axis=0).tolist()
    for number in range(len(held.training)):
        assert all(map(np.array_equal, held.training[number], decoded.training[number]))
    expected = batches(held, reuse=reuse)
    assert len(expected) == 10 and expected[0][0].shape == (6, 32, 32, 3)
    assert same(expected, batches(decoded, reuse=reuse))
    assert same(expected, batches(decoded, workers=2, reuse=reuse))
    assert same(expected[5:], batches(decoded, workers=1, reuse=reuse, epochs=range(1, 2)))  # resumed
    halves = [batches(held, reuse=reuse, slots=range(rank, 6, 2)) for rank in range(2)]  # two ranks
    assert all(
        np.array_equal(whole[0][rank::2], half[0]) for rank in range(2) for whole, half in zip(expected, halves[rank])
    )


def test_a_loader_worker_can_be_spawned(folder):
    """Where processes are not forked, as on Windows and macOS, what a worker needs travels to it as bytes."""
    groups = data.BatchGroups(load(str(folder), memory=0).training, DRAWING, 5, range(6))
    arrived = pickle.loads(pickle.dumps(groups))
    assert all(same(groups[number], arrived[number]) for number in range(10))
    for function in (data.no_collate, data.begin_worker):
        assert pickle.loads(pickle.dumps(function)) is function


def test_an_image_is_decoded_once_for_several_steps(folder):
    data, decoded = load(str(folder), memory=0), []
    decode = data.training.decode
    data.training.decode = lambda *paths: decoded.append(paths) or decode(*paths)
    batches(data, reuse=5, epochs=range(1))
    assert len(decoded) == 6  # the slots of a batch
    decoded.clear()
    batches(data, reuse=1, epochs=range(1))
    assert len(decoded) == 30


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_damaged_after_the_start_is_named(folder, workers):
    data = load(str(folder), memory=0)
    for path in (folder / "images").iterdir():
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BadInput, match=r"n\d.png is no readable image") as caught:
        batches(data, workers)
    assert "\n" not in str(caught.value)


def test_workers_leave_pytorchs_chance_alone_and_send_arrays(folder):
    """Dropout uses it."""
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    found = batches(load(str(folder)), workers=1, epochs=range(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(type(array) is np.ndarray for pair in found for array in pair)


def tell_what_ctrl_c_does(*paths):
    raise BadInput(f"here it is {signal.getsignal(signal.SIGINT)!r}")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_is_not_for_workers(folder):
    data = load(str(folder), memory=0)
    data.training.decode = tell_what_ctrl_c_does
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(BadInput, match="SIG_IGN"):
            batches(data, workers=1)
        with pytest.raises(BadInput, match="int_handler"):
            batches(data)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="uses fork")
def test_a_worker_ends_by_itself_and_with_its_parent():
    """The parent tells the number of its worker, and is killed."""
    context = multiprocessing.get_context("fork")
    alone = context.Process(target=data.begin_worker, args=(0,))
    alone.start()
    alone.join(20)
    code = alone.exitcode
    alone.kill()  # or, failing, this process would wait for it
    assert code == 0
    numbers, (reader, writer) = context.SimpleQueue(), os.pipe()

    def work():
        data.begin_worker(0)
        numbers.put(os.getpid())
        time.sleep(60)

    def begin():
        context.Process(target=work).start()
        time.sleep(60)

    parent = context.Process(target=begin)
    parent.start()
    numbers.get()
    os.close(writer)  # now the two are the only ones that could write
    parent.kill()
    parent.join()
    assert select.select([reader], [], [], 20)[0] and os.read(reader, 1) == b""
    os.close(reader)


def test_pixels_are_counted_over_the_images():
    random = np.random.default_rng(0)
    masks = [random.choice([0, 1, 2, IGNORE], size).astype(np.uint8) for size in [(3, 5), (6, 2)]]
    found = data.Dataset.in_memory([(np.zeros((*mask.shape, 3), np.uint8), mask) for mask in masks], 3)
    counts = [[*np.bincount(mask.ravel(), minlength=256)[:3], mask.size] for mask in masks]
    assert found.cumulative_counts.tolist() == np.cumsum(counts, axis=0).tolist()
    assert [rows.shape for *_, rows in found.items] == [(3, 3), (3, 6)]


def test_images_in_which_a_pixel_has_a_truth_are_found():
    """The first has one such pixel, others none, or only the first class, or only the last."""
    masks = [np.full((4, 5), IGNORE, np.uint8) for _ in range(6)]
    masks[0][2, 3], masks[2][1], masks[3][:2], masks[5][3, 4] = 1, 0, 2, 2
    found = data.Dataset.in_memory([(np.zeros((4, 5, 3), np.uint8), mask) for mask in masks], 3)
    assert found.with_truth() == [0, 2, 3, 5]


def test_classes_are_told_with_their_shares(capsys):
    classes = [{"name": "sky", "value": 0}, {"name": "street", "value": 17}, {"name": "car", "value": 200}]
    training, validation = np.array([500, 0, 250, 1000]), np.array([20, 5, 0, 25])
    print_classes(classes, [254, 255], training, validation)
    assert capsys.readouterr().out.splitlines() == [
        "    0 is sky      50.0% of training pixels,  80.0% of validation pixels",
        "   17 is street  no pixel for training,  20.0% of validation pixels",
        "  200 is car      25.0% of training pixels, no pixel for validation",
        "  254, 255 ignored: 25.0% of training pixels",
    ]
    print_classes(classes[:1], [], training, validation)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_fingerprint_knows_the_data_again(folder):
    before = load(str(folder)).fingerprint
    assert load(str(folder)).fingerprint == before
    moved = shutil.copytree(folder, folder.parent / "moved")
    assert load(str(moved)).fingerprint == before
    (folder / "val.txt").write_text("n3\n")
    assert load(str(folder)).fingerprint != before
    (folder / "val.txt").unlink()
    for part in ("images", "masks"):
        path = moved / part / "n1.png"
        array = np.array(Image.open(path))
        Image.fromarray(array[::-1].copy()).save(path)
        assert load(str(moved)).fingerprint != before
        Image.fromarray(array).save(path)
        assert load(str(moved)).fingerprint == before


def test_colour_statistics_are_numpys(folder):
    found = load(str(folder), memory=0)
    colours = np.concatenate([found.training[n][0].reshape(-1, 3) for n in range(len(found.training))]) / 255
    mean, std = data.colour_statistics(found.training)
    np.testing.assert_allclose(mean, colours.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(std, colours.std(axis=0), rtol=1e-9)


def test_a_colour_that_never_changes_has_a_deviation_nevertheless():
    """Or normalizing would divide by zero."""
    image, mask = np.full((20, 30, 3), (0, 51, 255), np.uint8), np.zeros((20, 30), np.uint8)
    mean, std = data.colour_statistics(data.Dataset.in_memory([(image, mask)], 1))
    np.testing.assert_allclose(mean, [0, 0.2, 1], atol=1e-12)
    assert std == [0.01] * 3


def test_a_folder_of_one_pair_is_cut_like_a_pair(tmp_path, capsys):
    write_pair(tmp_path, "only", 0, height=200, width=300)
    data = load(str(tmp_path))
    assert "a strip of it held out" in capsys.readouterr().out
    assert len(data.training) == 2 or len(data.training) == 1
    pair = load((tmp_path / "images" / "only.png", tmp_path / "masks" / "only.png"))
    assert pair.fingerprint == data.fingerprint


def test_image_size_is_read_from_the_header(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (20, 50, 3), np.uint8)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(array).save(tmp_path / "a.jpg", exif=exif)
        assert image_size(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").shape[:2]
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    assert image_size(tmp_path / "a.jpg") == (50, 20)  # nothing is decoded


# ---------------------------------------------------------------------------------------------------
# Mistakes


def refused(folder, *words, **options):
    with pytest.raises(BadInput) as caught:
        load(str(folder), **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_mistakes_in_a_folder(folder, tmp_path):
    none, empty = tmp_path / "none", tmp_path / "empty"
    refused(none, f"none is no folder; expected a data set: {none / 'images'} and {none / 'masks'}")
    refused(tmp_path, "images is no folder")
    refused(folder, f"{tmp_path} holds no list; expected train.txt, val.txt or test.txt", lists=tmp_path)
    (tmp_path / "empty" / "images").mkdir(parents=True)
    (tmp_path / "empty" / "masks").mkdir()
    refused(tmp_path / "empty", "images holds no image")
    write_pair(tmp_path / "empty", "a", 0)
    (tmp_path / "empty" / "masks" / "a.png").rename(tmp_path / "empty" / "masks" / "b.png")
    advice = "images/NAME.jpg (or .png, .tif, ...) and masks/NAME.png, each with the same NAME"
    refused(empty, f"{empty} holds 1 images and 1 masks, but no pair: images/a.png, masks/b.png; expected {advice}")
    (tmp_path / "empty" / "masks" / "b.png").unlink()
    refused(tmp_path / "empty", "masks holds no image")
    (tmp_path / "empty" / "images" / "a.png").rename(tmp_path / "empty" / "masks" / "a.png")
    refused(tmp_path / "empty", "images holds no image")

    shutil.copy(folder / "masks" / "n1.png", folder / "masks" / "n1.tif")
    refused(folder, "n1.png", "n1.tif", "nothing but the extension")
    (folder / "masks" / "n1.tif").unlink()
    mask = np.array(Image.open(folder / "masks" / "n2.png"))
    Image.fromarray(mask[:-1]).save(folder / "masks" / "n2.png")
    refused(folder, "n2.png is 90x70", "n2.png is 90x69")
    mask[40, 30] = 5
    Image.fromarray(mask).save(folder / "masks" / "n2.png")
    refused(folder, "n2.png holds 5 at x=30, y=40", "expected one of 0, 3, 7, 9")
    Image.fromarray(np.dstack([mask * 0, mask * 0, mask])).save(folder / "masks" / "n2.png")  # blue, not grey
    refused(folder, "n2.png holds [0, 0,")
    (folder / "classes.json").unlink()
    Image.fromarray(np.where(mask > 0, 300, 0).astype(np.uint16)).save(folder / "masks" / "n6.png")
    refused(folder, "expected one kind")
    write_pair(folder, "n6", 6)
    write_pair(folder, "n2", 2)
    write_pair(folder, "thin", 2, height=15, width=90)
    refused(folder, "thin.png is 90x15 pixels; expected at least 16 a side to train on")
    write_pair(folder, "thin", 2, height=16, width=90)
    load(str(folder))
    write_pair(folder, "thin", 2, height=90, width=31)
    Image.new("RGB", (15, 90)).save(folder / "images" / "thin.png")
    Image.new("L", (15, 90)).save(folder / "masks" / "thin.png")
    refused(folder, "thin.png is 15x90 pixels; expected at least 16 a side to train on")


def test_lists_that_leave_nothing_to_train_or_to_validate_on_are_refused(folder, tmp_path):
    names = "".join(f"n{number}\n" for number in range(8))
    (folder / "test.txt").write_text(names)
    refused(folder, "test.txt names all images", "some to train on")
    (folder / "test.txt").unlink()
    (folder / "val.txt").write_text(names)
    refused(folder, "by val.txt 0 images are to train on and 8 to validate on")
    (tmp_path / "lists").mkdir()
    refused(folder, "lists holds no list", "val.txt", lists=str(tmp_path / "lists"))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", "cannot be read"),
        ("[]", 'no list "classes"'),
        ('{"classes": {"road": 1}}', 'no list "classes"'),
        ('{"classes": []}', "0 classes"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b"}]}', 'a "name" and a "value"'),
        ('{"classes": [{"name": "a", "value": 1}, {"name": 2, "value": 2}]}', 'a "name" and a "value"'),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": "2"}]}', "'2' is neither"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": 1.5}]}', "1.5 is neither"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": true}]}', "True is neither"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": 70000}]}', "70000 is neither"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": [0, 0, 256]}]}', "256] is neither"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": [1, 1]}]}', "[1, 1] is neither"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": [1, 1, 1]}]}', "mixes"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": 1}]}', "value 1 occurs twice"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "a", "value": 2}]}', "name a occurs twice"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": 2}], "ignore": [2]}', "value 2 occurs twice"),
        ('{"classes": [{"name": "a", "value": 1}, {"name": "b", "value": 2}], "ignore": [null]}', "None is neither"),
        ('{"classes": [{"name": "a", "value": 1, "colour": [1, 2, 3]}, {"name": "b", "value": 2}]}', "for each class"),
        ('{"classes": [{"name": "a", "value": 1, "colour": 5}, {"name": "b", "value": 2, "colour": 6}]}', "blue] for"),
    ],
)
def test_malformed_class_tables(tmp_path, text, reason):
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(BadInput) as caught:
        read_classes(tmp_path / "classes.json")
    message = str(caught.value)
    assert "classes.json" in message and reason in message and "expected" in message and "\n" not in message


def test_a_class_table_may_say_what_colours_to_show(tmp_path):
    rows = [
        {"name": name, "value": value, "colour": [10 * value, 0, 255]} for name, value in [("a", 4), ("b", 2), ("c", 9)]
    ]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": rows}))
    classes, _ = read_classes(tmp_path / "classes.json")
    assert classes == rows
    indices = np.array([[0, 1], [2, 0]], np.uint8)
    assert to_picture(indices, classes).tolist() == [[[40, 0, 255], [20, 0, 255]], [[90, 0, 255], [40, 0, 255]]]
    assert class_colours(classes)[3].tolist() == class_colours(classes)[255].tolist()  # what has no truth
    assert set(np.unique(to_picture(indices % 2, classes[:2]))) == {0, 255}  # two: black and white, as always


@pytest.mark.parametrize("values", [(0, 255), (255, 0), (1, 0)])
def test_of_two_classes_the_brighter_is_white_in_every_picture(values):
    classes = [{"name": "a", "value": values[0]}, {"name": "b", "value": values[1]}]
    white = 255 if values[1] > values[0] else 0  # of the second
    assert class_colours(classes)[:2].tolist() == [[255 - white] * 3, [white] * 3]
    assert to_picture(np.uint8([[0, 1]]), classes).tolist() == [[255 - white, white]]


def test_a_class_table_of_colours(tmp_path):
    table = {"classes": [{"name": "a", "value": [0, 0, 0]}, {"name": "b", "value": [128, 64, 128]}]}
    (tmp_path / "classes.json").write_text(json.dumps(table))
    assert read_classes(tmp_path / "classes.json") == (table["classes"], [])
    with pytest.raises(BadInput, match="missing.json does not exist"):
        read_classes(tmp_path / "missing.json")


def test_a_strip_is_chosen_by_what_has_a_truth():
    """Ignored pixels are no class: a strip of nothing else would validate nothing."""
    random = np.random.default_rng(0)
    for _ in range(40):
        mask = np.full((64, 320), 255, np.uint8)
        for start in random.choice(20, 6, replace=False):
            mask[:, 16 * start : 16 * start + 16] = random.integers(0, 2)
        mask[:, :16], mask[:, -16:] = 0, 1
        mask[:, 16 * 9 : 16 * 11] = random.integers(0, 2, (64, 32))
        image = np.zeros((64, 320, 3), np.uint8)
        training, [(_, held_out)] = hold_out(image, mask, 16, 8, 0.2)
        counts = [
            np.bincount(part.ravel(), minlength=256)[:2] for part in (held_out, np.hstack([m for _, m in training]))
        ]
        assert min(counts[0]) > 0 and min(counts[1]) > 0


def ten_columns(tenths):
    """A class index mask of ten columns, each 20 pixels wide, and so many tenths of each of class 1; and its image."""
    mask = np.repeat(np.arange(10)[:, None] < tenths, 20, axis=1).astype(np.uint8)
    return np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (10, 1, 3)), mask


def test_of_an_image_of_which_little_is_known_both_parts_have_a_truth():
    random, image = np.random.default_rng(0), np.zeros((512, 512, 3), np.uint8)
    for _ in range(100):
        mask = np.full((512, 512), IGNORE, np.uint8)
        height, width = random.integers(20, 120, 2)
        top, left = random.integers(512 - height), random.integers(512 - width)
        mask[top : top + height, left : left + width] = 0
        mask[top + height // 4 : top + height // 2, left + width // 4 : left + width // 2] = 1
        for part in hold_out(image, mask, 64, 8, 0.2):
            assert any((truth != IGNORE).any() for _, truth in part)


@pytest.mark.parametrize("damaged", [False, True])
def test_the_only_pair_is_not_learned_from_where_it_is_to_be_tested_on(tmp_path, damaged):
    write_pair(tmp_path, "b", 1)
    if damaged:
        write_pair(tmp_path, "a", 0)
        (tmp_path / "images" / "a.png").write_bytes(b"no image")
    (tmp_path / "test.txt").write_text("b\n")
    with pytest.raises(BadInput, match="test.txt names all images"):
        load(str(tmp_path))
    (tmp_path / "test.txt").write_text("c\n")
    with pytest.raises(BadInput, match="test.txt"):
        load(str(tmp_path))
    (tmp_path / "test.txt").unlink()
    with pytest.raises(BadInput, match="holds no list"):
        load(str(tmp_path), lists=tmp_path / "nowhere")
    assert len(load(str(tmp_path)).validation) == 1


def test_an_image_that_memory_is_too_small_for_is_not_left_out_as_damaged(folder, monkeypatch):
    real = ImageFile.ImageFile.load

    def decode(self):
        if str(self.filename).endswith("n3.png"):
            raise MemoryError
        return real(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(BadInput, match="n3.png does not fit into the memory that is left"):
        load(str(folder))


def test_an_image_too_small_to_be_cut_is_learned_from_whole(tmp_path, capsys):
    for name, array in [("i.png", np.zeros((17, 19, 3), np.uint8)), ("m.png", np.eye(17, 19, dtype=np.uint8))]:
        Image.fromarray(array).save(tmp_path / name)
    found = load((tmp_path / "i.png", tmp_path / "m.png"))
    assert [image.shape for image, *_ in found.training.items + found.validation.items] == [(17, 19, 3)] * 2
    said = "no strip of it can be held out: validating on the training pixels, which flatters"
    line = f"{tmp_path / 'i.png'}: 19x17 pixels; {tmp_path / 'm.png'}, {said}"
    assert capsys.readouterr().out.splitlines()[0] == line


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(
    "tenths, start",
    [
        ([1, 1, 1, 1, 1, 5, 5, 9, 9, 9], 100),  # 0.42 of class 1, in this strip of two columns 0.5
        ([4, 5, 9, 9, 9, 1, 1, 1, 1, 2], 0),
        ([2, 1, 1, 1, 1, 9, 9, 9, 5, 4], 160),
        ([0, 0, 10, 0, 0, 0, 0, 0, 10, 0], 20),  # most are nearer to 0.2 than it is, but lack class 1
    ],
)
def test_the_strip_is_as_the_image_is(tenths, start, upright):
    """All classes in both parts first, then shares like the whole image's."""
    image, mask = ten_columns(tenths)
    if upright:
        image, mask = image.transpose(1, 0, 2), mask.T
    training, [(strip, truth)] = hold_out(image, mask, least=5, gap=4, share=0.2)
    assert np.array_equal(np.unique(strip), np.arange(start, start + 40)) and strip.shape[:2] == truth.shape
    assert truth.mean() == np.mean(tenths[start // 20 : start // 20 + 2]) / 10
    parts = [np.arange(start - 4), np.arange(start + 44, 200)]
    assert [np.unique(part).tolist() for part, _ in training] == [part.tolist() for part in parts if len(part)]
    assert all(part.shape[:2] == mask.shape for part, mask in training)


def test_a_part_that_is_too_narrow_is_not_learned_from():
    image, mask = ten_columns([2, 2, 9, 9, 3, 3, 4, 6, 10, 2])
    widths = {}
    for least in (36, 37, 117):
        training, held_out = hold_out(image, mask, least, gap=4, share=0.2)
        widths[least] = [part.shape[1] for part, _ in training]
    assert widths[36] == [116, 36] and widths[37] == [116]
    assert 117 <= sum(widths[117]) <= 156 and len(widths[117]) == 1
    for least, share in [(201, 0.2), (5, 0.002)]:  # no part is wide enough; no strip
        training, held_out = hold_out(image, mask, least, gap=4, share=share)
        assert training is held_out and training[0][0] is image


@pytest.mark.parametrize("upright", [False, True])
def test_the_strip_leaves_each_class_half_of_its_pixels(upright):
    """As of a face: eyes in one band, the mouth in another. A strip along these would take one of them away."""
    image, mask = np.zeros((300, 200, 3), np.uint8), np.zeros((300, 200), np.uint8)
    mask[100:120, 30:80] = mask[100:120, 120:170] = 1
    mask[200:220, 50:150] = 2
    least, gap = 64, 8
    if upright:  # the strip would lie across the longer side, as always
        mask = np.ascontiguousarray(mask[:, :150].T)
        image, least = np.zeros((*mask.shape, 3), np.uint8), 40
    training, [(strip, held_out)] = hold_out(image, mask, least, gap, share=0.2)
    learnt = np.sum([np.bincount(part.ravel(), minlength=3) for _, part in training], axis=0)
    whole = np.bincount(mask.ravel(), minlength=3)
    assert (2 * learnt >= whole).all() and np.bincount(held_out.ravel(), minlength=3).all()
    axis = int(upright)
    assert strip.shape[axis] == mask.shape[axis] and strip.shape[1 - axis] == round(0.2 * mask.shape[1 - axis])


def test_the_strip_lies_across_the_longer_side_where_that_takes_no_class_away():
    random = np.random.default_rng(0)
    for height, width in (90, 120), (120, 90):
        mask = random.integers(0, 3, (height, width)).astype(np.uint8)  # all classes everywhere
        _, [(strip, _)] = hold_out(np.zeros((height, width, 3), np.uint8), mask, 16, 8, 0.2)
        assert strip.shape[:2] == ((90, 24) if width > height else (24, 90))


@pytest.mark.parametrize("gap, parts", [(10, [10, 130]), (12, [128])])
def test_of_a_narrow_image_parts_of_half_its_side_are_learned_from(tmp_path, capsys, gap, parts):
    image, mask = ten_columns([1, 4, 5, 9, 9, 9, 1, 1, 1, 2])
    for name, array in [("i.png", image), ("m.png", 9 * mask)]:
        Image.fromarray(np.concatenate([array, array, array[:1]])).save(tmp_path / name)  # 21 pixels high
    found = load((tmp_path / "i.png", tmp_path / "m.png"), gap=gap)
    assert [part.shape for part, *_ in found.training.items] == [(21, width, 3) for width in parts]
    assert [rows.shape for *_, rows in (*found.training.items, *found.validation.items)] == [(2, 21)] * (len(parts) + 1)
    line = f"{tmp_path / 'i.png'}: 200x21 pixels; {tmp_path / 'm.png'}, a strip of it held out to validate on"
    assert capsys.readouterr().out.splitlines()[0] == line


@pytest.mark.parametrize("line", ["n1.png", " n1", "n1 ", '"n1"', "n1\r"])
def test_what_names_a_file_finds_it(tmp_path, line):
    """A list with extensions that named nothing would let the test images be trained on."""
    for number in range(5):
        write_pair(tmp_path, f"n{number}", number)
    (tmp_path / "test.txt").write_bytes(f"{line}\n".encode())
    found = load(str(tmp_path))
    assert len(found.training) + len(found.validation) == 4 and "n1" not in found.held_out


def test_a_list_that_names_what_is_not_there_is_refused(tmp_path):
    for number in range(4):
        write_pair(tmp_path, f"n{number}", number)
    write_pair(tmp_path, "unlabelled", 9)
    (tmp_path / "masks" / "unlabelled.png").unlink()
    (tmp_path / "test.txt").write_text("unlabelled\n")
    assert len(load(str(tmp_path)).training) == 3  # an image to predict needs no mask
    (tmp_path / "test.txt").write_text("n1\nm2\n")
    with pytest.raises(BadInput, match="test.txt names m2; expected names"):
        load(str(tmp_path))


def test_arrays_that_do_not_fit_are_refused():
    image, mask = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), np.uint8)
    mask[0], mask[1] = 1, 255
    assert len(data.Dataset.in_memory([(image, mask)], classes=2)) == 1
    with pytest.raises(ValueError, match="the same height, width"):
        data.Dataset.in_memory([(image, mask), (image, mask[:, :20])], classes=2)
    for wrong in image / 255, image.astype(np.uint16), image[:, :, 0], image[:, :, :1], image[:, :, [0, 1, 2, 0]]:
        with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\)"):
            data.Dataset.in_memory([(wrong, mask)], classes=2)
    with pytest.raises(ValueError, match="a mask holds 7; expected class indices 0 to 1, or 255"):
        data.Dataset.in_memory([(image, 7 * (mask == 1))], classes=2)
