"""Files as other programs write them: what is read of them is what NumPy and tifffile find there."""

import json

import numpy as np
import pytest
from conftest import inside, write_pair
from PIL import Image

from data import load
from support.images import read_pair, scan_classes

COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255), (9, 9, 9)], np.uint8)  # of four classes


def save_palette(path, classes, order, colours=COLOURS):
    """Write class indices (H, W) as a palette file in which class order[i] has the index i."""
    picture = Image.fromarray(np.argsort(order).astype(np.uint8)[classes])
    picture.putpalette(colours[list(order)].tobytes())
    assert picture.mode == "P"
    picture.save(path)


def palette_folder(folder, orders):
    """Give each mask of a new data set a palette in one of these orders; returns the true class indices."""
    truths = []
    for number, order in enumerate(orders):
        write_pair(folder, f"n{number}", number, values=(0, 1, 2, 3))
        path = folder / "masks" / f"n{number}.png"
        truths.append(np.array(Image.open(path)))
        save_palette(path, truths[-1], order)
    return truths


# ---------------------------------------------------------------------------------------------------
# Palettes


@pytest.mark.parametrize("in_table", [False, True])
def test_palettes_in_another_order_give_the_same_classes(tmp_path, capsys, in_table):
    truths = palette_folder(tmp_path, [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0), (0, 1, 2, 3)])
    if in_table:
        table = [{"name": f"class {number}", "value": colour} for number, colour in enumerate(COLOURS.tolist())]
        (tmp_path / "classes.json").write_text(json.dumps({"classes": table}))
    found = load(str(tmp_path))
    assert ("palettes differ" in capsys.readouterr().out) == (not in_table)
    values = [one["value"] for one in found.classes]
    assert sorted(values) == sorted(COLOURS.tolist())
    for number, truth in enumerate(truths):
        pair = tmp_path / "images" / f"n{number}.png", tmp_path / "masks" / f"n{number}.png"
        _, mask = read_pair(*pair, found.classes)
        assert np.array_equal(np.array(values)[mask], COLOURS[truth])
    assert sum(len(part) for part in (found.training, found.validation)) == 4


def test_palettes_that_agree_on_what_occurs_leave_the_indices_classes(tmp_path, capsys):
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    save_palette(paths[0], np.array([[0, 1], [1, 0]]), (0, 1, 2, 3))
    save_palette(paths[1], np.array([[0, 1], [1, 0]]), (0, 1, 3, 2))  # what it has in another order does not occur
    Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8)).save(paths[2])  # no palette
    assert [one["value"] for one in scan_classes(paths)] == [0, 1, 2]
    assert not capsys.readouterr().out


def test_a_colour_that_has_another_index_in_each_file_is_one_class(tmp_path, capsys):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    save_palette(paths[0], np.array([[0, 1]]), (0, 1, 2, 3))
    save_palette(paths[1], np.array([[0, 1]]), (0, 2, 1, 3))  # red is the index 2 here, and no index has two colours
    assert np.array(Image.open(paths[1])).tolist() == [[0, 2]]
    assert [one["value"] for one in scan_classes(paths)] == [[0, 0, 0], [255, 0, 0]]
    assert "a class is a colour, not an index" in capsys.readouterr().out


def test_palettes_of_greys_and_palettes_beside_coloured_masks_are_colours_too(tmp_path):
    paths, greys = (
        [tmp_path / f"{name}.png" for name in "ab"],
        np.repeat(np.array([[0], [80], [160], [255]]), 3, axis=1),
    )
    for path, order in zip(paths, [(0, 3, 1, 2), (3, 0, 1, 2)]):
        save_palette(path, np.array([[0, 3]]), order, greys.astype(np.uint8))
    classes = scan_classes(paths)
    assert [one["value"] for one in classes] == [[0, 0, 0], [255, 255, 255]]
    save_palette(paths[0], np.array([[0, 1]]), (0, 1, 2, 3))
    Image.fromarray(COLOURS[[[0, 2]]]).save(paths[1])
    assert [one["value"] for one in scan_classes(paths)] == [[0, 0, 0], [0, 0, 255], [255, 0, 0]]


def test_a_table_without_colours_makes_indices_classes_and_says_that_palettes_differ(tmp_path, capsys):
    palette_folder(tmp_path, [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0)])
    table = [{"name": f"class {number}", "value": number} for number in range(4)]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": table}))
    assert [one["value"] for one in load(str(tmp_path)).classes] == [0, 1, 2, 3]
    assert "lists no colours, a class is an index all the same" in capsys.readouterr().out


@pytest.mark.parametrize("count", [2, 4])
def test_evaluate_compares_palettes_by_colour(tmp_path, count):
    orders = [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0)]
    palette_folder(tmp_path / "true", orders)
    palette_folder(tmp_path / "predicted", orders[::-1])
    if count == 2:
        for part, number in ((part, number) for part in ("true", "predicted") for number in range(3)):
            path = tmp_path / part / "masks" / f"n{number}.png"
            colours = np.asarray(Image.open(path).convert("RGB"))
            save_palette(path, (colours != 0).any(axis=2).astype(int), (0, 1)[:: (-1) ** number], COLOURS[[0, 1]])
    done = inside("evaluate.py", tmp_path / "predicted/masks", tmp_path / "true/masks", cwd=tmp_path)
    assert done.returncode == 0 and "palettes differ" in done.stdout and "accuracy 1.0000" in done.stdout, done
