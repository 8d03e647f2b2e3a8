"""The server, the session and the learner of tools.paint, without a browser."""

import contextlib
import errno
import http.client
import io
import json
import multiprocessing
import os
import queue
import random
import re
import shutil
import signal
import socket
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, command, fails_in_one_line, inside
from forked import CONTEXT
from PIL import Image
from scipy import ndimage

import data
from benchmarks import strokes
from benchmarks.paint_page import painting
from benchmarks.strokes import strokes_inside
from model import build
from segmenter import Segmenter
from support.checkpoint import save_checkpoint
from support.files import BadInput, write_image
from support.images import Rendering, read_image
from support.masks import IGNORE, read_mask
from support.sample import BLACK_AND_WHITE, sample
from tools.arguments import paint_arguments
from tools.paint import server as serving
from tools.paint.pictures import CORRECTION, LEARNT, PUT_ASIDE, covered, sees
from tools.paint.process import no_interrupt, setup_of
from tools.paint.session import Session, read_journal

CLASSES = [
    {"name": "ground", "value": 0, "colour": [86, 180, 233]},
    {"name": "disc", "value": 1, "colour": [230, 159, 0]},
]
SIZES = {"a": (90, 120), "b": (40, 33), "tiny": (1, 1)}  # height and width


@pytest.fixture
def out(tmp_path):
    """A folder with images of several sizes, as python -m tools.paint begins one."""
    random = np.random.default_rng(0)
    for name, size in SIZES.items():
        (tmp_path / "out" / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / "out" / "images" / f"{name}.png")
    return tmp_path / "out"


@pytest.fixture
def opened(out):
    """A function that opens the session in that folder; it is closed at the end."""
    sessions = []

    def opened():
        while sessions:
            sessions.pop().end()
        paths = {name: out / "images" / f"{name}.png" for name in SIZES}
        sessions.append(Session(out, paths, Rendering(), CLASSES, 255))
        return sessions[-1]

    yield opened
    for session in sessions:
        session.end()


def stroke(image=0, tool="brush", label=1, width=7, points=((20, 20), (60, 40))):
    return {"image": image, "tool": tool, "class": label, "width": width, "points": [list(point) for point in points]}


def random_stroke(random):
    tool = random.choice(["brush", "brush", "brush", "erase", "fill"])
    points = [[random.uniform(-10, 130), random.uniform(-10, 100)] for _ in range(random.randint(1, 6))]
    return stroke(random.randrange(2), tool, random.randrange(2), random.uniform(0.1, 30), points)


def maps(session):
    return [np.array(picture.map(kind)) for picture in session.pictures for kind in ("strokes", "roles")]


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(*both) for both in zip(first, second))


# ---------------------------------------------------------------------------------------------------
# Strokes


def distance_to_line(points, y, x):
    """From the centre of each pixel to the nearest piece of a line."""
    nearest = np.full(y.shape, np.inf)
    for (ax, ay), (bx, by) in zip(points, points[1:] or points):
        length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-30)
        t = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length).clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)))
    return nearest


@pytest.mark.parametrize("seed", range(30))
def test_a_brush_covers_the_pixels_within_half_its_width_of_the_line_and_those_of_its_points(seed):
    random = np.random.default_rng(seed)
    height, length, width = random.integers(1, 80), random.integers(1, 80), random.uniform(0.1, 40)
    points = random.uniform(-20, 100, (random.integers(1, 8), 2))
    if seed % 3 == 0:  # horizontal, vertical and standing still
        points = np.repeat(points.round(), 2, axis=0)
        points[1::2, seed % 2] += 9
    y, x = np.mgrid[:height, :length] + 0.5
    expected = distance_to_line(points.tolist(), y, x) <= width / 2
    for px, py in np.floor(points).astype(int):
        if 0 <= px < length and 0 <= py < height:
            expected[py, px] = True
    top, left, area = covered(points, width, height, length)
    found = np.zeros((height, length), bool)
    found[top : top + area.shape[0], left : left + area.shape[1]] = area
    assert np.array_equal(found, expected)


def test_a_fill_covers_the_region_that_strokes_and_the_border_bound(opened):
    session = opened()
    session.post("stroke", stroke(points=[(0, 0), (119, 89)], width=1.5))  # pixels that touch at corners close it
    before = np.array(session.pictures[0].map("strokes"))
    regions, _ = ndimage.label(before == IGNORE)
    session.post("stroke", stroke(tool="fill", label=0, points=[(100, 5)]))
    after = np.array(session.pictures[0].map("strokes"))
    assert np.array_equal(after == 0, regions == regions[5, 100]) and (after == 0).sum() > 3000
    assert np.array_equal(after == 1, before == 1)


def test_undo_and_redo_go_over_all_images_in_order_of_time(opened):
    session, chance = opened(), random.Random(1)
    states = [maps(session)]
    while len(states) <= 110:
        versions = [picture.strokes_version for picture in session.pictures]
        session.post("stroke", random_stroke(chance))
        if versions != [picture.strokes_version for picture in session.pictures]:  # else it met no pixel
            states.append(maps(session))
    for state in reversed(states[:-1]):
        assert session.post("undo", {})["redo"] and same(maps(session), state)
    assert not session.post("undo", {})["undo"]
    for state in states[1:]:
        session.post("redo", {})
        assert same(maps(session), state)
    assert not session.state()["redo"]
    session.post("undo", {})
    assert not session.post("stroke", stroke())["redo"]  # what was undone is gone once something else is painted


def test_what_is_painted_is_counted(opened):
    session, chance = opened(), random.Random(2)
    for number in range(60):
        session.post("stroke", random_stroke(chance))
        if number % 4 == 3:
            session.post(chance.choice(["undo", "redo"]), {})
    painted = np.concatenate([picture.map("strokes").ravel() for picture in session.pictures[:2]])
    assert session.state()["painted"] == np.bincount(painted, minlength=256)[:2].tolist()


def test_the_journal_tells_all_again(opened, out):
    session, chance = opened(), random.Random(3)
    for _ in range(80):
        name = chance.choice(["stroke"] * 4 + ["undo", "undo", "redo"])
        session.post(name, random_stroke(chance) if name == "stroke" else {})
    session.post("classes", {"classes": [*CLASSES, {"name": "new", "colour": [1, 2, 3]}]})
    before, state = maps(session), session.state()
    again = opened()
    assert same(maps(again), before)
    for key in ("classes", "painted", "undo", "redo"):
        assert again.state()[key] == state[key]
    assert again.post("undo", {})["redo"]  # and what was done before can be taken back


def test_a_request_that_comes_twice_is_done_once_also_after_a_restart(opened, out):
    session = opened()
    for _ in range(2):
        session.post("stroke", {**stroke(), "request": "one"})
        session.post("stroke", {**stroke(points=[(5, 5)]), "request": "two"})
    assert len(read_journal(out / "strokes.jsonl")) == 3
    session.post("undo", {"request": "back"})
    before = maps(session)
    again = opened()
    again.post("undo", {"request": "back"})
    assert same(maps(again), before) and (before[0] == 1).any() and again.state()["undo"]


def test_a_journal_cut_anywhere_loses_the_line_that_was_being_written_and_no_other(opened, out):
    session = opened()
    for number in range(3):
        session.post("stroke", stroke(points=[(10 * number, 20), (50, 60)]))
    session.end()
    content = (out / "strokes.jsonl").read_bytes()
    for length in range(content.index(b"\n") + 1, len(content) + 1, 7):
        (out / "strokes.jsonl").write_bytes(content[:length])
        assert len(read_journal(out / "strokes.jsonl")) == content[:length].count(b"\n")
        assert (out / "strokes.jsonl").read_bytes().endswith(b"\n")
    (out / "strokes.jsonl").write_bytes(content.replace(b'"tool"', b"'tool'", 1))
    with pytest.raises(BadInput, match="line 2 is damaged"):
        read_journal(out / "strokes.jsonl")


def test_on_a_full_disk_nothing_is_painted_and_what_was_is_whole(opened, out):
    session = opened()
    session.post("stroke", stroke())
    before, content = maps(session), (out / "strokes.jsonl").read_bytes()

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, line):
            return self.file.write(line[:10])

        def __getattr__(self, name):
            return getattr(self.file, name)

    session.journal.file, usual = Full(session.journal.file), session.journal.file
    with pytest.raises(BadInput, match="no space left"):
        session.post("stroke", stroke(points=[(70, 70)]))
    assert same(maps(session), before) and (out / "strokes.jsonl").read_bytes() == content
    session.journal.file = usual
    session.post("stroke", stroke(points=[(70, 70)]))
    assert len(read_journal(out / "strokes.jsonl")) == 3


def test_where_the_disk_has_no_room_for_a_picture_s_maps_no_stroke_of_it_is_in_the_journal(opened, out, monkeypatch):
    session = opened()
    session.post("stroke", stroke(1))
    before, usual = (out / "strokes.jsonl").read_bytes(), Path.open

    def refuse(path, *words, **more):
        if path.name == "0.roles":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return usual(path, *words, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadInput, match="0.roles cannot be written .*; make room"):
        session.post("stroke", stroke())
    assert (out / "strokes.jsonl").read_bytes() == before
    monkeypatch.undo()
    session.post("stroke", stroke())
    assert [picture.strokes_version for picture in session.pictures] == [1, 1, 0]


def test_images_have_other_numbers_in_a_later_run_but_keep_their_names(opened, out):
    session = opened()
    assert [(one["id"], one["name"]) for one in session.state()["images"]][:2] == [(0, "a.png"), (1, "b.png")]
    session.post("stroke", stroke("b.png"))
    former = session.run
    session.end()
    Image.new("RGB", (120, 90)).save(out / "images" / "Z.png")  # before all others
    paths = {name: out / "images" / f"{name}.png" for name in ("Z", *SIZES)}
    session = Session(out, paths, Rendering(), CLASSES, 255)
    try:
        assert session.run != former  # which the page's addresses of tiles hold
        session.post("stroke", stroke("b.png", label=0, points=[(3, 3)]))  # as a page that was left open sends it
        assert [one["strokes"] for one in session.state()["images"]] == [0, 0, 2, 0]
        assert read_journal(out / "strokes.jsonl")[-1]["stroke"]["image"] == "b"
        for name in "b", "Z", "nowhere.png", None, True, 4, -1:
            with pytest.raises(BadInput, match="an image that is there"):
                session.post("stroke", stroke(name))
    finally:
        session.end()


def test_what_was_undone_while_an_image_was_away_stays_so(out):
    def session(*names):
        return Session(out, {name: out / "images" / f"{name}.png" for name in names}, Rendering(), CLASSES, 255)

    painted = lambda session: {one["name"]: bool(one["strokes"]) for one in session.state()["images"]}
    first = session("a", "b")
    first.post("stroke", stroke(0))
    first.post("stroke", stroke(1))
    first.end()
    alone = session("a")
    alone.post("undo", {})
    alone.end()
    both = session("a", "b")
    assert painted(both) == {"a.png": False, "b.png": True}
    both.post("undo", {})
    both.end()
    alone = session("a")
    alone.post("redo", {})  # of the one that is there; that of the other one is not offered
    assert painted(alone) == {"a.png": True} and not alone.state()["redo"]
    alone.end()
    both = session("a", "b")
    assert painted(both) == {"a.png": True, "b.png": False}
    both.end()


def test_a_journal_of_an_earlier_version_undoes_the_last_stroke(opened, out):
    session = opened()
    for x in 20, 60:
        session.post("stroke", stroke(points=[(x, 20)]))
    session.post("undo", {})
    expected = maps(session)
    session.end()
    text = (out / "strokes.jsonl").read_text()
    assert '{"undo":2}' in text
    (out / "strokes.jsonl").write_text(text.replace('{"undo":2}', '{"undo":true}'))
    assert same(maps(opened()), expected)


def test_every_fifth_stroke_of_a_class_is_put_aside_and_corrections_never_are(opened):
    session = opened()
    roles = lambda: [event["stroke"]["role"] for event in read_journal(session.out / "strokes.jsonl")[1:]]
    for number in range(10):
        session.post("stroke", stroke(points=[(10 * number, 8)]))
    assert roles() == 2 * [LEARNT, LEARNT, LEARNT, LEARNT, PUT_ASIDE]
    session.pictures[0].map("prediction")[:] = 0
    session.hear(("predicted", 0, True))
    for number in range(5):
        session.post("stroke", stroke(points=[(10 * number, 30)]))
    assert roles()[10:] == 5 * [CORRECTION]
    session.post("stroke", stroke(label=0, points=[(50, 50)]))  # as predicted
    assert roles()[-1] == LEARNT


# ---------------------------------------------------------------------------------------------------
# Tiles, and what is known of a pixel


def test_tiles_are_the_image_and_the_maps_reduced(opened, out):
    session = opened()
    image = read_image(out / "images" / "a.png")
    session.post("stroke", stroke())
    session.post("stroke", stroke(label=0, width=1, points=[(3, 70), (110, 75)]))
    strokes = np.array(session.pictures[0].map("strokes"))
    decoded = lambda answer: np.asarray(Image.open(io.BytesIO(answer[0])))
    assert np.array_equal(decoded(session.tile(0, "image", 0, 0, 0)), image)
    assert np.array_equal(decoded(session.tile(0, "strokes", 0, 0, 0)), strokes)
    for level in range(1, 7):
        step, (height, width) = 2**level, strokes.shape
        size = -(-height // step), -(-width // step)
        reduced = decoded(session.tile(0, "strokes", level, 0, 0))
        squares = [[strokes[y : y + step, x : x + step] for x in range(0, width, step)] for y in range(0, height, step)]
        assert np.array_equal(reduced, [[square.min() for square in row] for row in squares])
        assert decoded(session.tile(0, "image", level, 0, 0)).shape == (*size, 3)
    means = image[:88, :120].reshape(44, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(session.pyramids.level(session.pictures[0], 1)[:44, :60] - means).max() <= 0.5
    for level, column, row in [(0, 1, 0), (0, 0, 1), (9, 0, 0), (40, 0, 0)]:
        with pytest.raises(KeyError):
            session.tile(0, "image", level, column, row)
    with pytest.raises(KeyError):
        session.tile(0, "prediction", 0, 0, 0)  # there is none yet


def test_a_tile_that_is_asked_for_while_the_first_stroke_is_painted_does_not_undo_it(opened, monkeypatch):
    session, memmap, making = opened(), np.memmap, threading.Event()

    def slow(*words, **options):
        if threading.current_thread() is asking:
            making.set()
            time.sleep(0.2)
        return memmap(*words, **options)

    monkeypatch.setattr(np, "memmap", slow)
    asking = threading.Thread(target=session.tile, args=(0, "strokes", 0, 0, 0))
    asking.start()
    making.wait()
    session.post("stroke", stroke())
    asking.join()
    assert (session.pictures[0].map("strokes") == 1).any()


def test_a_large_image_has_tiles_that_fit_together(out):
    image = np.random.default_rng(0).integers(0, 256, (700, 1100, 3), np.uint8)
    Image.fromarray(image).save(out / "images" / "large.png")
    session = Session(out, {"large": out / "images" / "large.png"}, Rendering(), CLASSES, 255)
    try:
        rows = [
            np.hstack([np.asarray(Image.open(io.BytesIO(session.tile(0, "image", 0, x, y)[0]))) for x in range(3)])
            for y in range(2)
        ]
        assert np.array_equal(np.vstack(rows), image)
    finally:
        session.end()


def linear(network):
    """The network with nothing in it that could hide a gradient."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(module, name, torch.nn.Identity())
            elif isinstance(child, torch.nn.MaxPool2d):
                setattr(module, name, torch.nn.AvgPool2d(2))
    return network.eval()


@pytest.mark.parametrize("words", [("fcn",), ("fcn", "bilinear"), ("unet",), ("unet", "bilinear")], ids="-".join)
def test_a_pixel_sees_what_its_gradient_reaches(words):
    from tools.paint.learner import NetworkLearner

    torch.manual_seed(0)
    knobs = {"depth": 2, "width": 2} if words[0] == "unet" else {}
    network = build(words[0], 2, upsample=words[1] if words[1:] else None, **knobs)
    arguments = {"zoom": 1, "threshold": None, "flips": "all"}
    metadata = {"classes": CLASSES, "ignore": [255], "mean": [0.5] * 3, "std": [0.2] * 3, "settings": arguments}
    steps = NetworkLearner(words[0], CLASSES, 255, Rendering(), (network, metadata)).reach["steps"]
    image = torch.rand(1, 3, 4, 96, requires_grad=True)
    logits = linear(network)(image)
    for x in range(40, 48):
        (gradient,) = torch.autograd.grad(logits[0, :, :, x].sum(), image, retain_graph=True)
        reached = np.flatnonzero(gradient[0].abs().sum(dim=(0, 1)).numpy())
        first, end = sees(x, 96, steps)
        assert first <= reached[0] and reached[-1] < end
        assert "bilinear" in words or (reached[0], reached[-1] + 1) == (first, end)


def test_the_window_of_a_pixel_is_the_one_whose_core_holds_it(out):
    Image.fromarray(np.zeros((400, 700, 3), np.uint8)).save(out / "images" / "wide.png")
    session = Session(out, {"wide": out / "images" / "wide.png"}, Rendering(), CLASSES, 255)
    try:
        every = session.windows(0)
        covered = np.zeros((400, 700), int)
        for left, top, right, bottom in every["cores"]:
            covered[top:bottom, left:right] += 1
        assert (covered == 1).all() and len(every["windows"]) == len(every["cores"]) > 4
        found = session.pixel(0, 333, 222)
        assert found["core"][0] <= 333 < found["core"][2] and found["core"][1] <= 222 < found["core"][3]
        assert found["window"][0] <= found["sees"][0] and found["window"][2] >= found["sees"][2]
        assert found["probabilities"] is None and found["stroke"] is None and found["prediction"] is None
    finally:
        session.end()


def test_the_worst_place_is_the_most_uncertain_one_away_from_strokes(opened):
    session = opened()
    assert session.worst(0) is None
    session.pictures[0].map("uncertainty")[10:58, 20:70] = 200
    session.pictures[0].map("uncertainty")[60:90, 80:120] = 150
    session.hear(("predicted", 0, True))
    assert 20 <= session.worst(0)["x"] < 70 and 10 <= session.worst(0)["y"] < 58
    session.post("stroke", stroke(width=20, points=[(40, 30), (50, 40)]))
    assert 80 <= session.worst(0)["x"] < 120 and 60 <= session.worst(0)["y"] < 90
    session.hear(("predicted", 2, True))
    assert session.worst(2) == {"x": 0, "y": 0, "uncertainty": 0}  # of an image of one pixel


# ---------------------------------------------------------------------------------------------------
# What is left in the folder


def test_the_folder_holds_masks_of_what_is_painted_and_data_load_reads_it(opened, out):
    session = opened()
    for label in 0, 1:
        session.post("stroke", stroke(label=label, points=[(10, 20 + 40 * label), (110, 25 + 40 * label)]))
        session.post("stroke", stroke(1, label=label, points=[(5, 5 + 20 * label), (30, 9 + 20 * label)]))
    session.post("stroke", stroke(2, points=[(0, 0)], width=1))
    session.end()
    for name in "ab":
        assert np.array_equal(read_mask(out / "masks" / f"{name}.png"), picture_strokes(session, name))
    assert not (out / "masks" / "tiny.png").exists()  # which nobody can train on
    found = data.load(out, least=16)
    assert found.classes == CLASSES and found.ignore == [255]
    assert len(found.training) + len(found.validation) == 2


def picture_strokes(session, name):
    """What a session's journal says is painted, drawn anew."""
    height, width = SIZES[name]
    strokes = np.full((height, width), 255, np.uint8)
    for event in read_journal(session.out / "strokes.jsonl")[1:]:
        told = event["stroke"]
        if told["image"] == name:
            top, left, area = covered(np.array(told["points"], float), told["width"], height, width)
            strokes[top : top + area.shape[0], left : left + area.shape[1]][area] = told["class"]
    return strokes


def test_an_accepted_prediction_becomes_the_mask_below_the_strokes_and_stays_so(opened, out):
    session = opened()
    with pytest.raises(BadInput, match="predicted before"):
        session.post("accept", {"image": 0, "accepted": True})
    prediction = np.random.default_rng(0).integers(0, 2, SIZES["a"], np.uint8)
    session.pictures[0].map("prediction")[:] = prediction
    session.hear(("predicted", 0, True))
    session.post("stroke", stroke())
    session.post("accept", {"image": 0, "accepted": True})
    session.pictures[0].map("prediction")[:] = 0  # the network goes on; what was accepted stays
    session.post("stroke", stroke(label=0, points=[(50, 70)]))
    strokes = np.array(session.pictures[0].map("strokes"))
    expected = np.where(strokes == IGNORE, prediction, strokes)
    for _ in range(2):
        session = opened()
        assert session.state()["images"][0]["accepted"] is not None
        session.post("stroke", stroke(tool="erase", points=[(5, 5)]))  # erases nothing
        session.end()
        assert np.array_equal(read_mask(out / "masks" / "a.png"), expected)
    session = opened()
    session.post("accept", {"image": 0, "accepted": False})
    session.end()
    assert np.array_equal(read_mask(out / "masks" / "a.png"), strokes)


def test_a_class_table_that_a_person_changed_is_kept(opened, out, capsys):
    opened().end()
    own = (out / "classes.json").read_text().replace("ground", "soil")
    (out / "classes.json").write_text(own)
    session = opened()
    session.post("classes", {"classes": [*CLASSES, {"name": "new", "colour": [1, 2, 3]}]})
    assert (out / "classes.json").read_text() == own and "kept" in capsys.readouterr().out


def test_a_mask_that_a_person_changed_is_kept_and_one_without_strokes_goes(opened, out, capsys):
    session = opened()
    session.post("stroke", stroke())
    session.end()
    own = np.full(SIZES["a"], 1, np.uint8)
    session = opened()
    session.post("undo", {})
    session.end()
    assert not (out / "masks" / "a.png").exists()
    Image.fromarray(own).save(out / "masks" / "a.png")
    session = opened()
    session.post("stroke", stroke())
    session.end()
    assert np.array_equal(read_mask(out / "masks" / "a.png"), own) and "kept" in capsys.readouterr().out


def test_a_mask_that_cannot_be_written_is_told_and_written_once_it_can_be(opened, out):
    session = opened()
    for part in "masks", "accepted":
        (out / part).write_text("a file where a folder should be")
    session.hear(("predicted", 0, True))
    with pytest.raises(BadInput, match="accepted"):
        session.post("accept", {"image": 0, "accepted": True})
    assert session.state()["images"][0]["accepted"] is None
    session.post("stroke", stroke())
    deadline = time.monotonic() + 60
    while "masks" not in session.state()["message"] and time.monotonic() < deadline:
        time.sleep(0.01)
    (out / "masks").unlink()
    session.end()
    assert (read_mask(out / "masks" / "a.png") == 1).any()


@pytest.mark.parametrize("ignore, expected", [(255, [2, 3]), (2, [3, 4]), ([255] * 3, None)])
def test_new_classes_get_values_that_nothing_else_has(out, ignore, expected):
    colours = [{**entry, "value": entry["colour"]} for entry in CLASSES] if expected is None else CLASSES
    session = Session(out, {"a": out / "images" / "a.png"}, Rendering(), colours, ignore)
    try:
        more = [{"name": name, "colour": [1, 1, number]} for number, name in enumerate("xy")]
        found = [entry["value"] for entry in session.post("classes", {"classes": [*CLASSES, *more]})["classes"]]
        assert found[2:] == expected if expected else len({str(value) for value in [*found, ignore]}) == 5
    finally:
        session.end()


# ---------------------------------------------------------------------------------------------------
# The server refuses


@pytest.fixture
def served(opened):
    """(A session, its server)."""
    session = opened()
    server = serving.open_server(session, None)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    yield session, server
    server.shutdown()
    server.server_close()


def ask(server, path="state", method="GET", body=None, token=None, **headers):
    """Send a request as the page does, but for what is given, and return (status, content)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    headers = {
        "Host": f"127.0.0.1:{server.server_port}",
        **{key.replace("_", "-"): value for key, value in headers.items()},
    }
    connection.request(method, f"/{server.token if token is None else token}/{path}", body, headers)
    response = connection.getresponse()
    answer = response.status, response.read(), dict(response.getheaders())
    connection.close()
    return answer


def post(server, path, body, **headers):
    content = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return ask(server, path, "POST", content, **{"Content_Type": "application/json", **headers})


def test_the_page_is_served_with_headers_that_load_nothing_from_elsewhere(served):
    status, content, headers = ask(served[1], "")
    assert status == 200 and b"<html" in content.lower() and headers["Content-Type"].startswith("text/html")
    for name in serving.PAGE.glob("*"):
        assert ask(served[1], name.name)[0] == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'self'; img-src 'self' blob: data:")
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert ask(served[1])[2]["Cache-Control"] == "no-store"


STROKE = json.dumps(stroke())
DEEP = "[" * 20_000 + "]" * 20_000


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", ""]
)
def test_another_host_is_refused(served, host):
    session, server = served
    assert ask(server, Host=host.format(port=server.server_port))[0] == 403
    assert post(server, "stroke", STROKE, Host=host.format(port=server.server_port))[0] == 403
    assert not session.state()["undo"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_another_origin_is_refused(served, origin):
    session, server = served
    assert post(server, "stroke", STROKE, Origin=origin.format(port=server.server_port))[0] == 403
    assert not session.state()["undo"]
    assert post(server, "stroke", STROKE, Origin=f"http://127.0.0.1:{server.server_port}")[0] == 200


@pytest.mark.parametrize("token", ["", "x", "{token}x", "{short}", "%00", "..", "%C3%BC"])
def test_without_the_token_nothing_is_there(served, token):
    _, server = served
    token = token.format(token=server.token, short=server.token[:-1])
    assert ask(server, token=token)[0] == 404 and post(server, "undo", {}, token=token)[0] == 404


@pytest.mark.parametrize(
    "path",
    ["../session.py", "..%2fsession.py", "%2e%2e/session.py", "page/index.html", "..\\session.py", "index.html/../x.js"]
    + ["/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "index.html%00", "index.html?x", "state?after=-1", "state?x"]
    + ["tile/0/image/0/0/0.png/", "tile/0/roles/0/0/0.png", "tile/99/image/0/0/0.png?v=../..", "pixel/0/1", "tile"]
    + ["tile/0/image/0/999999999/0.png", "tile/0/image/999999999/0/0.png", "__init__.py", ".address", "pixel/0/-1/0"],
)
def test_a_path_outside_of_the_given_files_is_refused(served, path):
    began = time.process_time()
    assert ask(served[1], path)[0] == 404
    assert post(served[1], path, {})[0] == 404
    assert time.process_time() - began < 0.5


def test_another_method_is_refused(served):
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"):
        assert ask(served[1], method=method)[0] == 405
    assert ask(served[1], method="HEAD")[0] == 405


@pytest.mark.parametrize(
    "status, body, headers",
    [
        (413, "x" * (2**20 + 1), {}),
        (415, STROKE, {"Content_Type": "text/plain"}),
        (415, STROKE, {"Content_Type": "application/x-www-form-urlencoded"}),
        (411, STROKE, {"Content_Length": "1e3"}),
        (411, STROKE, {"Content_Length": "-1"}),
        (411, STROKE, {"Transfer_Encoding": "chunked"}),
        (400, "", {}),
        (400, "{", {}),
        (400, "[]", {}),
        (400, DEEP, {}),
        (400, '{"a":' * 20_000 + "1" + "}" * 20_000, {}),
        (400, b"\xff\xfe{}", {}),
        (400, '{"image": ' + "9" * 5000 + "}", {}),
        (400, STROKE.replace("20", "NaN", 1), {}),
        (400, STROKE.replace("20", "1e999", 1), {}),
        (400, STROKE.replace("20", "-Infinity", 1), {}),
        (400, STROKE.replace("20", "1e30", 1), {}),
        (400, STROKE.replace("20", "null", 1), {}),
        (400, STROKE.replace("20", "true", 1), {}),
        (400, json.dumps(stroke(width=1e9)), {}),
        (400, json.dumps(stroke(width=-3)), {}),
        (400, json.dumps(stroke(width="7")), {}),
        (400, json.dumps(stroke(label=2)), {}),
        (400, json.dumps(stroke(label=-1)), {}),
        (400, json.dumps(stroke(label=0.0)), {}),
        (400, json.dumps(stroke(image=3)), {}),
        (400, json.dumps(stroke(image=True)), {}),
        (400, json.dumps(stroke(image="../a")), {}),
        (400, json.dumps(stroke(tool="spray")), {}),
        (400, json.dumps(stroke(points=[])), {}),
        (400, json.dumps(stroke(points=[[1, 2, 3]])), {}),
        (400, json.dumps(stroke(points=[(1, 1)] * 20_001)), {}),
        (400, json.dumps({**stroke(), "request": "x" * 101}), {}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_stroke_that_is_none_is_refused_in_one_line(served, status, body, headers):
    session, server = served
    found, content, _ = post(server, "stroke", body, **headers)
    assert found == status and list(json.loads(content)) == ["error"] and content.count(b"\n") == 0
    assert not session.state()["undo"]
    assert post(server, "stroke", STROKE)[0] == 200 and session.state()["undo"]  # and the next one is served


@pytest.mark.parametrize(
    "path, body",
    [("classes", {"classes": CLASSES[:1]}), ("classes", {"classes": [{"name": 1}, {"name": 2}]}), ("classes", {})]
    + [("classes", {"classes": [{"name": "x", "colour": [0, 0, 256]}, {"name": "y", "colour": [0, 0, 0]}]})]
    + [("classes", {"classes": [CLASSES[0], CLASSES[0]]}), ("classes", {"classes": [*CLASSES * 128]})]
    + [("classes", {"classes": [{**CLASSES[0], "name": "a\nb"}, CLASSES[1]]})]
    + [("view", {"image": 0, "box": [0, 0, 1]}), ("view", {"image": 0, "box": [0, 0, 1e300, 1]}), ("view", {})]
    + [("learn", {"learning": 1}), ("learn", {"model": "vit"}), ("learn", {"model": []})]
    + [("accept", {"image": 0, "accepted": True}), ("accept", {"image": 0})],
)
def test_other_nonsense_is_refused_in_one_line(served, path, body):
    before = served[0].state()
    status, content, _ = post(served[1], path, body)
    assert status == 400 and list(json.loads(content)) == ["error"]
    assert served[0].state() == before


def test_points_outside_of_the_image_are_cut_off(served):
    assert post(served[1], "stroke", stroke(points=[(-1000, 5), (-900, 7)]))[0] == 200
    assert not served[0].state()["undo"]  # it met no pixel
    assert post(served[1], "stroke", stroke(points=[(-1000, 20.25), (5000, 20.25)]))[0] == 200
    strokes = served[0].pictures[0].map("strokes")
    assert (strokes[17:24] == 1).all() and (strokes != IGNORE).sum() == 7 * 120


def test_a_slow_or_broken_off_body_holds_nobody_up(served, monkeypatch):
    session, server = served
    monkeypatch.setattr(serving, "PATIENCE", 0.5)
    monkeypatch.setattr(serving.Handler, "timeout", 0.5)
    head = f"POST /{server.token}/stroke HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(STROKE)}\r\n\r\n"
    for drip in (b"", b"{"):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=0.1) as line:
            line.sendall(head.encode() + drip)
            answer = None
            for _ in range(len(STROKE) - 2):  # a byte now and then would keep a timeout of each byte from ending
                with contextlib.suppress(TimeoutError):
                    try:
                        answer = line.recv(4096)
                    except ConnectionError:
                        answer = b""
                    break
                with contextlib.suppress(OSError):
                    line.sendall(b" " * bool(drip))
            assert answer == b"" or b" 408 " in answer
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        line.sendall(head.encode() + b"{")
        line.shutdown(socket.SHUT_WR)
        assert b" 400 " in line.recv(4096)
    assert post(server, "stroke", STROKE)[0] == 200


@pytest.mark.parametrize("status, kind, size", [(413, "application/json", 2**23), (415, "text/plain", 2**20)])
def test_what_is_refused_is_told_even_to_who_sends_on(served, status, kind, size):
    _, server = served
    head = f"POST /{server.token}/stroke HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
    head += f"Content-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        line.sendall(head.encode())
        time.sleep(0.3)  # by now it is refused
        for _ in range(8):
            line.sendall(b"x" * (size // 8))
            time.sleep(0.02)
        answer = b"".join(iter(lambda: line.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b'{"error": ' in answer


@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"G" * 70_000 + b"\r\n\r\n"]
    + [b"GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n"],
)
def test_what_is_no_request_is_refused(served, request_, capfd):
    with socket.create_connection(("127.0.0.1", served[1].server_port), timeout=10) as line:
        with contextlib.suppress(OSError):
            line.sendall(request_)
        answer = line.recv(65536)
    assert re.search(rb"^HTTP/1.1 4\d\d|^\{\"error|^$", answer) and b"evil" not in answer
    assert "Traceback" not in capfd.readouterr().err and ask(served[1])[0] == 200


def test_a_second_host_header_is_refused(served):
    _, server = served
    head = f"GET /{server.token}/state HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nHost: evil.example\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        line.sendall(head.encode())
        assert b" 403 " in line.recv(4096)


def test_too_many_connections_are_closed_and_the_next_is_served(served):
    _, server = served
    server.free = threading.BoundedSemaphore(3)
    lines = [socket.create_connection(("127.0.0.1", server.server_port), timeout=60) for _ in range(4)]
    assert lines[3].recv(1) == b""
    for line in lines:
        line.close()
    deadline = time.monotonic() + 60
    while not server.free.acquire(blocking=False):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.free.release()
    assert ask(server)[0] == 200


def test_a_loss_that_diverges_does_not_cut_the_page_off(served):
    session, server = served
    for step, loss in enumerate([0.5, float("nan"), float("inf"), 0.25]):
        session.hear(("steps", step, loss, None))
    status, answer = ask(server, "state")[:2]
    assert status == 200 and json.loads(answer)["loss"] == [[0, 0.5], [3, 0.25]]


def test_the_state_is_told_when_it_changes(served):
    session, server = served
    revision, answers = session.state()["revision"], queue.Queue()
    waiting = lambda: answers.put(json.loads(ask(server, f"state?after={revision}")[1]))
    threading.Thread(target=waiting, daemon=True).start()
    time.sleep(0.3)
    assert answers.empty()
    post(server, "stroke", STROKE)
    assert answers.get(timeout=60)["undo"]


def test_a_restart_has_the_same_address_where_it_is_free(opened):
    session = opened()
    first = serving.open_server(session, None)
    second = serving.open_server(session, None)
    assert second.server_port != first.server_port
    assert second.token != first.token  # an open page tells the first to whoever has its port then
    second.server_close()
    again = serving.open_server(session, None)
    assert (again.token, again.server_port) == (second.token, second.server_port)
    with pytest.raises(BadInput, match="is taken"):
        serving.open_server(session, first.server_port)
    if os.name == "posix":
        assert (session.out / ".address").stat().st_mode & 0o077 == 0
    for server in first, again:
        server.server_close()


# ---------------------------------------------------------------------------------------------------
# The learner, in this process


class Rig:
    """A session of one image and its learner, without processes between them."""

    def __init__(self, folder, image, model="fcn", network=None, classes=CLASSES):
        from tools.paint.learner import Learner

        write_image(folder / "images" / "one.png", image)
        self.session = Session(folder, {"one": folder / "images" / "one.png"}, Rendering(), classes, 255)
        self.inbox, self.told = queue.Queue(), []
        self.session.tell = self.inbox.put
        picture = self.session.pictures[0]
        self.learner = Learner(setup_of(self.session, network), self.inbox, self.tell)
        self.learner.announce()
        self.session.post("learn", {"model": model})
        self.session.post("view", {"image": 0, "box": [0, 0, picture.width, picture.height]})
        self.learner.take_news(wait=False)

    def tell(self, *message):
        self.told.append(message)
        self.session.hear(message)

    def map(self, kind):
        return np.array(self.session.pictures[0].map(kind))

    def paint(self, *strokes):
        for each in strokes:
            self.session.post("stroke", each)
        self.learner.take_news(wait=False)

    def work(self, turns, condition=lambda: False):
        for _ in range(turns):
            self.learner.take_news(wait=False)
            if condition() or not self.learner.turn():
                break


@pytest.fixture
def rig(out):
    rigs = []

    def rig(*words, **options):
        rigs.append(Rig(out, *words, **options))
        return rigs[-1]

    yield rig
    for each in rigs:
        each.session.end()


def blobs(height=150, width=260):
    """An image of dark discs on bright ground, with noise, and its mask."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for _ in range(14):
        mask[(y - random.integers(height)) ** 2 + (x - random.integers(width)) ** 2 < random.integers(8, 18) ** 2] = 1
    image = np.where(mask[:, :, None] == 1, (80, 120, 90), (150, 140, 160)) + random.normal(0, 15, (height, width, 3))
    return image.clip(0, 255).astype(np.uint8), mask


def true_strokes(mask, count=2, seed=0):
    strokes = strokes_inside(mask, count, seed)
    return [stroke(0, "brush", label, width, points.tolist()) for label, points, width in strokes]


def foreground_iou(found, mask):
    return ((found == 1) & (mask == 1)).sum() / ((found == 1) | (mask == 1)).sum()


@pytest.mark.parametrize("model", ["fcn", pytest.param("unet", marks=pytest.mark.slow), "forest"])
def test_it_learns_from_strokes_and_predicts_all_of_the_image(rig, model):
    image, mask = blobs()
    if model == "unet":  # which learns few strokes by heart where there is little else to see
        image, mask = (part[128:384, 128:384] for part in sample())
        image, mask = np.ascontiguousarray(image), (mask > 0).astype(np.uint8)
    rig = rig(image, model=model)
    rig.work(3)
    assert not rig.session.state()["images"][0]["prediction"]  # nothing is painted
    rig.paint(*(each for each in true_strokes(mask, 3) if each["class"] == 0))
    rig.work(3)
    assert not rig.session.state()["images"][0]["prediction"]  # one class
    rig.paint(*true_strokes(mask, 3))
    rig.work(40, lambda: foreground_iou(rig.map("prediction"), mask) > 0.85)
    assert foreground_iou(rig.map("prediction"), mask) > 0.85
    state = rig.session.state()
    assert state["images"][0]["whole"] and state["step"] > 0 and state["loss"]
    found = rig.session.ask  # answered by the learner between two turns
    answer = queue.Queue()
    threading.Thread(target=lambda: answer.put(found(rig.session.pictures[0], 33, 44))).start()
    while answer.empty():
        rig.learner.take_news(wait=False)
    probabilities, canvas = answer.get(), rig.learner.canvases[0]
    number = next(i for i, t in enumerate(canvas.cover) if t.top <= 44 < t.bottom and t.left <= 33 < t.right)
    logits = rig.learner.current.logits(canvas.pixels(number))
    powers = np.exp(logits[:, 44 - canvas.cover[number].y, 33 - canvas.cover[number].x].astype(float))
    assert np.allclose(probabilities, powers / powers.sum(), atol=1e-5)
    if model == "forest":
        from tools.paint.learner import features

        values = features(canvas.pixels(number))[44 - canvas.cover[number].y, 33 - canvas.cover[number].x]
        assert np.allclose(probabilities, rig.learner.current.forest.predict_proba([values])[0], atol=1e-5)


def test_what_it_predicts_is_what_the_saved_network_predicts(rig, out):
    image, mask = blobs(300, 301)
    rig = rig(image)
    rig.paint(*true_strokes(mask))
    rig.work(2)
    rig.session.post("learn", {"learning": False})
    rig.work(20)
    rig.learner.save(now=True)
    segment = Segmenter.load(out / "model.pt")
    logits = torch.from_numpy(segment.logits(image))
    assert np.array_equal(rig.map("prediction"), segment(image))
    entropy = torch.distributions.Categorical(logits=logits.permute(1, 2, 0)).entropy() / np.log(2)
    assert np.abs(rig.map("uncertainty") - 255 * entropy.numpy()).max() <= 1
    assert segment.classes == CLASSES and segment.ignore == [255]


def test_a_network_that_could_not_be_written_is_written_at_the_next_turn(rig, out, monkeypatch):
    image, mask = blobs(100, 120)
    rig = rig(image)
    rig.paint(*true_strokes(mask))
    rig.work(2)
    learner = rig.learner
    with monkeypatch.context() as full:
        full.setattr(learner.current, "save", lambda folder: (_ for _ in ()).throw(BadInput("no space left")))
        learner.save(now=True)
    (out / "model.pt").unlink(missing_ok=True)
    learner.save(now=True)
    assert (out / "model.pt").exists()


def test_strokes_put_aside_are_not_learned_and_corrections_are_drawn_twice_as_often(rig):
    image, mask = blobs()
    rig = rig(image)
    rig.paint(*true_strokes(mask, 5))
    canvas = rig.learner.canvases[0]
    strokes, roles = rig.map("strokes"), rig.map("roles")
    assert (roles == PUT_ASIDE).any()
    assert np.array_equal(canvas.truth, np.where(roles == PUT_ASIDE, 255, strokes))
    rig.session.pictures[0].map("prediction")[:] = 1
    rig.session.hear(("predicted", 0, True))
    rig.paint(*(each for each in true_strokes(mask, 2, 1) if each["class"] == 0))
    strokes, roles = rig.map("strokes"), rig.map("roles")
    dataset = rig.learner.strokes_so_far()
    assert [len(items) for items in dataset.items] == [3, 3]  # (image, mask, rows) of all, and of corrections
    for (_, found, rows), expected in zip(dataset.items, [roles != PUT_ASIDE, roles == CORRECTION]):
        assert np.array_equal(found, np.where(expected, strokes, 255))
        assert np.array_equal(rows[:, -1], [(found == label).sum() for label in (0, 1)])
    rig.session.post("undo", {})
    rig.learner.take_news(wait=False)
    assert np.array_equal(canvas.truth, np.where(rig.map("roles") == PUT_ASIDE, 255, rig.map("strokes")))
    said = canvas.agreement()
    aside = (rig.map("roles") == PUT_ASIDE) & (rig.map("strokes") != 255)
    assert said == ((rig.map("strokes")[aside] == 1).sum(), aside.sum())


@pytest.mark.parametrize("zoom", [1, 0.5])
def test_what_is_in_view_is_predicted_first_and_the_oldest_of_it(rig, checkpoint, zoom):
    rig = rig(np.zeros((700, 900, 3), np.uint8), network=checkpoint[1](zoom=zoom) if zoom < 1 else None)
    rig.paint(stroke(label=0), stroke(label=1, points=[(500, 500)]))
    rig.learner.learn()
    box = [600, 300, 720, 330]
    rig.session.post("view", {"image": 0, "box": box})
    rig.learner.take_news(wait=False)
    canvas = rig.learner.canvases[0]
    left, top, right, bottom = (zoom * edge for edge in box)
    meets = lambda tile: tile.left < right and tile.right > left and tile.top < bottom and tile.bottom > top
    order = [meets(canvas.cover[number]) for _, number in rig.learner.stale_windows()]
    assert order == sorted(order, reverse=True) and 0 < sum(order) < len(order) == len(canvas.cover)
    rig.session.post("learn", {"learning": False})  # or, on a slow machine, what is in view would never be up to date
    rig.work(30, lambda: (canvas.seen > 0).all())
    assert (canvas.seen > 0).all()


def test_more_classes_keep_what_was_learned(rig, out):
    image, mask = blobs()
    rig = rig(image)
    rig.paint(*true_strokes(mask))
    rig.work(3)
    rig.session.post("learn", {"learning": False})
    for names in ["one", "two"], ["one", "three"]:  # nothing is learned between
        rig.session.post("classes", {"classes": [each | {"name": name} for each, name in zip(CLASSES, names)]})
        rig.learner.take_news(wait=False)
        rig.learner.save(now=True)
        assert [entry["name"] for entry in Segmenter.load(out / "model.pt").classes] == names
    rig.session.post("learn", {"learning": True})
    before = {name: tensor.clone() for name, tensor in rig.learner.current.run.ema_model.state_dict().items()}
    rig.session.post("classes", {"classes": [*CLASSES, {"name": "new", "colour": [1, 2, 3]}]})
    rig.learner.take_news(wait=False)
    after = rig.learner.current.run.ema_model.state_dict()
    assert after["layers.conv4.weight"].shape[0] == 3
    assert all(torch.equal(after[name][: len(tensor)], tensor) for name, tensor in before.items())
    assert rig.learner.current.segment(image).max() == 1  # nobody has painted the new one yet
    rig.paint(stroke(label=2, points=[(5, 5), (60, 5)]))
    rig.work(2)
    assert len(rig.learner.probabilities_at(0, 5, 5)) == 3


def test_the_forest_sees_in_windows_what_it_sees_in_the_whole_image():
    from tools.paint.learner import ForestLearner, features
    from tools.paint.learner import tiles as cut

    image, _ = blobs(400, 300)
    whole = features(image)
    height, width, cover = cut(400, 300, ForestLearner.reach["halo"], 1, limit=ForestLearner.reach["limit"])
    assert len(cover) > 1
    for tile in cover:
        found = features(image[tile.y : tile.y + height, tile.x : tile.x + width])[tile.inside[1:]]
        assert np.allclose(found, whole[tile.top : tile.bottom, tile.left : tile.right], atol=1e-5)


def learn_as_a_forest():
    from tools.paint.learner import ForestLearner

    warnings.filterwarnings("error", ".*n_jobs")
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    forest = ForestLearner([{"name": "dark"}, {"name": "light"}])
    bright = (image[..., 0] > 127).astype(np.uint8)
    assert 0 <= forest.improve(data.Dataset.in_memory([(image, bright)], 2)) < 0.5
    assert forest.logits(image).shape == (2, 60, 80)


def test_the_forest_uses_all_cores_in_the_learners_process():
    """There, joblib would use a single core and warn of it, as the process may start no others."""
    process = CONTEXT.Process(target=learn_as_a_forest, daemon=True)
    process.start()
    process.join(120)
    assert process.exitcode == 0


@pytest.fixture
def checkpoint(tmp_path):
    """A network of two classes whose masks are black and white, of which it says white everywhere."""
    network = build("fcn", 2)
    with torch.no_grad():
        network.layers.conv4.bias[:] = torch.tensor([-9.0, 9.0])
    settings = {"zoom": 1, "threshold": None, "flips": "mirror"}

    def save(network=network, more=None, **changed):
        colours = {"mean": [0.1, 0.2, 0.3], "std": [0.2, 0.2, 0.2]}
        metadata = {"classes": BLACK_AND_WHITE, "ignore": [], **colours, "settings": {**settings, **changed}}
        save_checkpoint(tmp_path / "net.pt", network, **metadata | (more or {}))
        return tmp_path / "net.pt"

    return save(), save


def test_a_checkpoint_predicts_at_once(rig, checkpoint):
    image, mask = blobs()
    classes = [{**entry, "value": value} for entry, value in zip(CLASSES, (0, 255))]
    rig = rig(image, network=checkpoint[0], classes=classes)
    rig.work(5)
    assert (rig.map("prediction") == 1).all()
    run = rig.learner.current.run
    assert run.metadata["mean"] == [0.1, 0.2, 0.3] and run.sampling.flips == "mirror"
    rig.paint(*true_strokes(mask, 3))
    assert (rig.map("roles") == CORRECTION).any()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An FCN that has learned the discs from a few strokes."""
    image, mask = blobs()
    folder = tmp_path_factory.mktemp("first")
    (folder / "images").mkdir()
    first = Rig(folder, image)
    first.paint(*true_strokes(mask, 3))
    first.work(60, lambda: first.learner.current.version >= 100 and foreground_iou(first.map("prediction"), mask) > 0.9)
    first.learner.save(now=True)
    first.session.end()
    return folder / "model.pt"


def test_a_correction_counts_wherever_it_looks_alike(rig, trained):
    image, mask = blobs()
    one, another = np.s_[10:40, 215:245], np.s_[105:135, 20:50]
    for square in one, another:  # a blue that it has not seen, and takes for a disc
        image[square], mask[square] = image[square] // 4 + [40, 85, 90], 0
    rig = rig(image, network=trained)
    rig.work(5)
    wrong = rig.map("prediction")
    assert wrong[one].mean() > 0.8 and wrong[another].mean() > 0.8
    disc = np.argwhere(ndimage.binary_erosion(mask, iterations=6))[0, ::-1].tolist()
    rig.paint(stroke(label=0, points=[(220, 20), (240, 30)]), stroke(label=1, points=[disc, disc]))
    rig.work(200)
    right = rig.map("prediction")
    assert rig.learner.current.finished and right[one].mean() < 0.4 and right[another].mean() < 0.4


def test_corrections_that_contradict_what_was_learned_do_not_undo_it(rig, trained, monkeypatch):
    from tools.paint.learner import CORRECTING

    monkeypatch.setitem(CORRECTING, "fcn", [*CORRECTING["fcn"], "--batch", 4])  # a quarter of the work
    image, mask = blobs()
    ground = np.argwhere(~ndimage.binary_dilation(mask, iterations=12))[[0, -1], ::-1]
    rig = rig(image, network=trained)
    rig.work(5)
    before = foreground_iou(rig.map("prediction"), mask)
    assert before > 0.9
    for x, y in ground.tolist():  # ground like all other, called a disc
        rig.paint(stroke(label=1, points=[(x, y), (x + 20 - 40 * (x > 130), y)]))
    disc = np.argwhere(ndimage.binary_erosion(mask, iterations=6))[0, ::-1].tolist()
    rig.paint(stroke(label=0, points=[disc, disc]))
    rig.work(200)
    assert rig.learner.current.finished and foreground_iou(rig.map("prediction"), mask) > 0.9


# ---------------------------------------------------------------------------------------------------
# A network that sees the picture at another size


def predicted_as_saved(rig, out, image):
    """Whether, once the learner has finished, the maps are those of the model.pt that it saves; its Segmenter."""
    rig.session.post("learn", {"learning": False})
    rig.work(100)
    assert rig.session.state()["images"][0]["whole"] and not rig.learner.turn()
    rig.learner.save(now=True)
    segment = Segmenter.load(out / "model.pt")
    logits = torch.from_numpy(segment.logits(image)).permute(1, 2, 0)
    entropy = torch.distributions.Categorical(logits=logits).entropy() / np.log(logits.shape[2])
    assert np.array_equal(rig.map("prediction"), segment(image))
    assert np.abs(rig.map("uncertainty") - 255 * entropy.numpy()).max() <= 1
    for x, y in (0, 0), (image.shape[1] - 1, image.shape[0] - 1), (199, 77):
        probabilities = torch.softmax(logits[y, x], dim=0).numpy()
        assert np.allclose(rig.learner.probabilities_at(0, x, y), probabilities, atol=1e-3)
    return segment


@pytest.mark.parametrize("zoom, size", [(0.5, (301, 900)), (0.3, (200, 333)), (1.7, (90, 301))])
def test_at_a_zoom_it_predicts_what_the_saved_network_predicts(rig, out, checkpoint, zoom, size):
    torch.manual_seed(0)
    image, mask = blobs(*size)
    rig = rig(image, network=checkpoint[1](build("fcn", 2), zoom=zoom))
    assert len(rig.learner.canvases[0].cover) == {0.5: 2, 0.3: 1, 1.7: 3}[zoom]
    assert predicted_as_saved(rig, out, image).zoom == zoom
    at_once = rig.map("prediction")
    rig.session.post("learn", {"learning": True})
    rig.paint(*true_strokes(mask, 3))
    rig.work(4)
    assert predicted_as_saved(rig, out, image).zoom == zoom
    assert not np.array_equal(rig.map("prediction"), at_once)
    done, known = rig.learner.canvases[0].agreement()
    assert done == known == 0  # nothing is put aside
    rig.session.post("classes", {"classes": [*CLASSES, {"name": "new", "colour": [1, 2, 3]}]})
    assert predicted_as_saved(rig, out, image).zoom == zoom


@pytest.mark.parametrize("zoom", [0.5, 1.7])
def test_at_a_zoom_what_is_shown_of_single_windows_does_not_last(rig, checkpoint, monkeypatch, zoom):
    from tools.paint.learner import Canvas

    nothing = lambda canvas, number, logits, top, bottom: np.zeros((2, bottom - top, 1), np.float32)
    monkeypatch.setattr(Canvas, "probabilities", nothing)  # it differs in one pixel of a million, else
    torch.manual_seed(3)
    image, path = blobs(150, 700)[0], checkpoint[1](build("fcn", 2), zoom=zoom)
    rig, expected = rig(image, network=path), Segmenter.load(path)(image)
    rig.work(100)
    assert len(rig.learner.canvases[0].cover) > 1 and 0.01 < expected.mean() < 0.99
    assert np.array_equal(rig.map("prediction"), expected)


@pytest.mark.parametrize("others", [(), ("unet",), ("forest",)])
def test_in_another_light_it_sees_the_picture_as_the_saved_network_does(rig, out, checkpoint, others, monkeypatch):
    from tools.paint.learner import SETTINGS

    monkeypatch.setitem(SETTINGS, "unet", [*SETTINGS["unet"], "--width", 8, "--batch", 8])  # a quarter of the work
    torch.manual_seed(0)
    image, mask = blobs(150, 700)
    dataset = data.Dataset.in_memory([(image, mask)], classes=2)
    mean, std = data.colour_statistics(dataset)
    usual = {"mean": mean, "std": std, "light": data.usual_light(dataset)}
    dark = (image * 0.7 + 3).astype(np.uint8)
    rig = rig(dark, network=checkpoint[1](build("fcn", 2), usual))
    assert "another light" in rig.session.state()["message"]
    assert np.abs(rig.learner.canvases[0].image - image.astype(float)).mean() < 5 < np.abs(dark - image * 1.0).mean()
    predicted_as_saved(rig, out, dark)
    rig.session.post("learn", {"learning": True})
    rig.paint(*true_strokes(mask, 3))
    for model in ("fcn", *others):
        rig.session.post("learn", {"model": model, "learning": True})
        rig.work(4)
    if others:  # the FCN is corrected: it keeps what its random weights said
        rig.work(100, lambda: foreground_iou(rig.map("prediction"), mask) > 0.5)  # the U-Net takes longer
        assert foreground_iou(rig.map("prediction"), mask) > 0.5
    if others != ("forest",):  # which leaves no network
        rig.session.post("classes", {"classes": [*CLASSES, {"name": "new", "colour": [1, 2, 3]}]})
        segment = predicted_as_saved(rig, out, dark)
        assert len(segment.usual_light["colours"]) == 4 and segment.light(dark) and not segment.light(image)


@pytest.mark.parametrize("model", ["unet", "forest"])
def test_another_learner_learns_at_the_zoom_of_the_network_to_begin_with(rig, out, checkpoint, model):
    image, mask = blobs(120, 200)
    rig = rig(image, network=checkpoint[1](zoom=0.5))
    rig.paint(*true_strokes(mask, 3))
    rig.work(2)
    rig.session.post("learn", {"model": model})
    rig.work(1 if model == "unet" else 20)
    assert rig.learner.current.version and rig.session.network["zoom"] == 0.5
    assert model == "forest" or rig.learner.current.run.sampling.scale == (1, 1)  # pictures are zoomed already
    if model == "unet":
        assert predicted_as_saved(rig, out, image).zoom == 0.5
    else:
        assert foreground_iou(rig.map("prediction"), mask) > 0.7


def test_the_eyeglasses_are_predicted_and_corrected(rig, out):
    from skimage.data import astronaut

    path = ROOT / "challenges/eyeglasses/eyeglasses.pt"
    image, before = astronaut(), Segmenter.load(path)(astronaut())
    rig = rig(image, model="unet", network=path)
    rig.work(5)
    assert np.array_equal(rig.map("prediction"), before) and before[100:120, 190:260].mean() < 0.5
    for points in [(60, 60), (110, 140)], [(200, 170), (250, 190)], [(120, 400), (300, 420)], [(400, 60), (440, 300)]:
        rig.paint(stroke(label=0, width=12, points=points))
    rig.paint(stroke(label=1, width=12, points=[(195, 108), (250, 104)]))  # over her eyes
    painted, beside = rig.map("strokes") == 1, rig.map("strokes") == IGNORE
    assert (rig.map("roles")[painted] == CORRECTION).all()
    rig.work(100)
    current, former = rig.learner.current, Segmenter.load(path).network.state_dict()
    assert current.finished and current.version < 150  # no longer than it must
    assert (rig.map("prediction")[painted] == 1).mean() > 0.7  # none before
    assert (rig.map("prediction")[beside] == 1).mean() < 0.03  # it has not forgotten what it knew
    kept = [name for name in former if "running" in name]  # BatchNorm's statistics
    assert kept and all(torch.equal(current.run.ema_model.state_dict()[name], former[name]) for name in kept)
    assert predicted_as_saved(rig, out, image).zoom == 0.25
    again = type(rig.learner)(setup_of(rig.session, out / "model.pt"), rig.inbox, rig.tell)
    assert again.current.run.args.lr == current.run.args.lr < 0.001  # also when the same folder is opened again


def test_half_of_a_corrections_batch_reminds_of_what_the_network_said(rig, checkpoint):
    from tools.paint.learner import MARGIN, REMINDERS

    torch.manual_seed(0)
    image = np.zeros((250, 250, 3), np.uint8)
    image[:, :, 0], image[:, :, 1] = np.indices((250, 250))  # each pixel says where it is
    path = checkpoint[1](build("unet", 2, depth=2, width=4))
    given = Segmenter.load(path)
    rig = rig(image, model="unet", network=path)
    rig.paint(stroke(label=0, points=[(130, 140), (160, 140)]), stroke(label=1, points=[(130, 170), (160, 170)]))
    rig.learner.learn()  # it begins, and moves away from the network that was given
    learner, canvas, painted, reminded, near = rig.learner.current, rig.learner.canvases[0], 0, 0, 0
    for _ in range(6):
        for images, truth in learner.batches(rig.learner.dataset):
            assert truth.shape == (4, 128, 128)
            for pixels, known in zip(images[:2], truth[:2]):
                assert np.array_equal(known, canvas.truth[pixels[:, :, 0], pixels[:, :, 1]])
                painted += np.count_nonzero(known != IGNORE)
            for pixels, said in zip(images[2:], truth[2:]):
                known = said != IGNORE
                strokes = canvas.truth[pixels[:, :, 0], pixels[:, :, 1]] != IGNORE
                near += strokes.sum()
                if strokes.any():
                    assert ndimage.distance_transform_cdt(~strokes, "chessboard")[known].min() > MARGIN
                assert np.array_equal(given.in_one(pixels).argmax(axis=0)[known], said[known])
                reminded += known.sum()
    share = reminded / painted / REMINDERS["unet"]
    assert near and 0.5 < share < 1.1  # the margins are not reminded of


@pytest.mark.parametrize("zoom", [0.25, 0.3, 0.7, 1.7])
def test_a_zoomed_pixel_learns_the_class_of_most_painted_pixels_that_it_covers(rig, checkpoint, zoom):
    height, width, three = 190, 45, [*CLASSES, {"name": "new", "value": 2, "colour": [1, 2, 3]}]
    rig = rig(np.zeros((height, width, 3), np.uint8), network=checkpoint[1](zoom=zoom), classes=three)
    chance = random.Random(0)
    for number in range(45):
        tool = "erase" if number % 7 == 6 else "brush"
        points = [[chance.uniform(0, width), chance.uniform(0, height)] for _ in range(2)]
        rig.paint(stroke(0, tool, chance.randrange(3), chance.choice([1, 1, 2, 9]), points))
        if number % 5 == 4:
            rig.session.post("undo", {})
    rig.learner.take_news(wait=False)
    canvas, strokes, roles = rig.learner.canvases[0], rig.map("strokes"), rig.map("roles")
    shape = round(zoom * height), round(zoom * width)
    assert canvas.truth.shape == shape and (roles == PUT_ASIDE).any()
    for mask, rows, counted in (
        (canvas.truth, canvas.rows, roles != PUT_ASIDE),
        (canvas.corrected, canvas.corrected_rows, roles == CORRECTION),
    ):
        known = np.where(counted, strokes, IGNORE)
        for y, x in np.ndindex(shape):
            begin = y * height // shape[0], x * width // shape[1]
            end = (y + 1) * height // shape[0], (x + 1) * width // shape[1]
            below = known[begin[0] : max(end[0], begin[0] + 1), begin[1] : max(end[1], begin[1] + 1)]
            votes = np.bincount(below.ravel(), minlength=IGNORE)[:IGNORE]
            assert mask[y, x] == (votes.argmax() if votes.any() else IGNORE)
        assert np.array_equal(rows[:3], [(mask == label).sum(axis=1) for label in range(3)])
    dots = np.argwhere(np.where(roles != PUT_ASIDE, strokes, IGNORE) != IGNORE)
    last = -(-(dots + 1) * shape // (height, width)) - 1  # the zoomed pixel, or the last of those, that covers each
    assert (canvas.truth[tuple(last.T)] != IGNORE).all()  # none is lost
    rig.learner.canvases.clear()
    assert np.array_equal(rig.learner.canvas(0).truth, canvas.truth)  # taken over all at once


@pytest.mark.parametrize("zoom", [0.25, 0.7, 1.7])
def test_a_pixel_sees_what_changes_its_logits_at_a_zoom(rig, checkpoint, zoom):
    torch.manual_seed(0)
    image = np.random.default_rng(0).integers(0, 256, (6, 120, 3), np.uint8)
    path = checkpoint[1](linear(build("fcn", 2)), zoom=zoom)
    segment, rig = Segmenter.load(path), rig(image, network=path)
    network = segment.network
    linear(network)
    changes = []
    for x in range(120):  # where a column of the image changes the logits
        changed = image.copy()
        changed[:, x] += 128
        changes.append((segment.logits(changed) != segment.logits(image)).any(axis=(0, 1)))
    for x in range(50, 62):
        reached = np.flatnonzero(np.array(changes)[:, x])
        first, _, end, _ = rig.session.pixel(0, x, 3)["sees"]
        assert first <= reached[0] <= first + 1 and end - 1 <= reached[-1] + 1 <= end


@pytest.mark.parametrize("zoom", [0.4, 1.7])
def test_windows_are_drawn_in_the_pictures_own_pixels(rig, checkpoint, zoom):
    height, width = (400, 1501) if zoom < 1 else (200, 333)
    rig = rig(np.zeros((height, width, 3), np.uint8), network=checkpoint[1](zoom=zoom))
    every, covered = rig.session.windows(0), np.zeros((height, width), int)
    for (left, top, right, bottom), (x0, y0, x1, y1) in zip(every["cores"], every["windows"]):
        covered[top:bottom, left:right] += 1
        assert x0 <= left < right <= x1 and y0 <= top < bottom <= y1
        assert 128 / zoom < x1 - x0 <= 256 / zoom + 1
    assert (covered == 1).all() and len(every["cores"]) == len(rig.learner.canvases[0].cover) > 2
    found = rig.session.pixel(0, width - 2, 100)
    assert found["core"][0] <= width - 2 < found["core"][2] and found["core"][1] <= 100 < found["core"][3]


def test_the_benchmark_of_strokes_measures_the_learner(monkeypatch):
    image, mask = blobs()
    monkeypatch.setattr(strokes, "MOMENTS", (0.1, 0.2))
    found = strokes.network("fcn", [(image, mask)] * 2, 2, strokes_inside(mask, 2, 0), mask, time.perf_counter)
    assert [row["seconds"] for row in found] == [0.1, 0.2] and 0 < found[0]["steps"] <= found[1]["steps"]
    assert all(0 < row["iou"] <= 1 and 0 < row["next"] <= 1 for row in found)


def test_an_image_that_cannot_be_read_is_told_and_the_others_go_on(rig, out):
    rig = rig(blobs()[0])
    rig.learner.canvases.clear()
    (out / "images" / "one.png").write_bytes(b"\x89PNG broken")
    rig.session.post("view", {"image": 0, "box": [0, 0, 9, 9]})
    rig.learner.take_news(wait=False)
    rig.work(2)
    assert "one.png" in rig.session.state()["message"]


# ---------------------------------------------------------------------------------------------------
# The command


def paint_command(*words, cwd):
    return command("-m", "tools.paint", "--no-browser", *words, cwd=cwd)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such masks")
def test_ctrl_c_never_reaches_the_learner_not_even_while_it_is_starting():
    blocked = "signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])"
    line = f"import signal, sys; sys.exit(7 * ({blocked}))"
    context = multiprocessing.get_context("spawn")
    context.Queue()  # as the learner's: the first one starts Python's resource tracker, which lets Ctrl-C through again
    process = context.Process(target=exec, args=[line])
    with no_interrupt():
        process.start()
    process.join(60)
    assert process.exitcode == 7
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_an_image_that_is_refused_does_not_spoil_the_folder(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 65535, (300, 300), np.uint16)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:9000])
    shutil.copy(tmp_path / "whole.png", tmp_path / ".hidden.png")
    fails_in_one_line(inside("-m", "tools.paint", "cut.png", cwd=tmp_path), "cut.png is no readable image")
    fails_in_one_line(inside("-m", "tools.paint", ".hidden.png", cwd=tmp_path), ".hidden.png is hidden")
    (tmp_path / "painted").rmdir()  # nothing is in it


def test_a_folder_to_paint_may_have_any_name(tmp_path, monkeypatch):
    from tools.paint.__main__ import find_sources

    (tmp_path / ".hidden" / "deep").mkdir(parents=True)
    write_image(tmp_path / ".hidden" / "x.png", np.zeros((9, 9, 3), np.uint8))
    monkeypatch.chdir(tmp_path / ".hidden" / "deep")
    for word in "..", "../../.hidden":
        assert list(find_sources([word])) == ["x"]


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """A function that begins a session in tmp_path, as the command with these words does, and ends it at once."""
    from tools.paint import __main__ as main

    monkeypatch.setattr(main, "serve", lambda server, browser: server.server_close())
    monkeypatch.setattr(main, "Process", lambda session, checkpoint: SimpleNamespace(end=lambda: None))
    monkeypatch.chdir(tmp_path)
    return lambda *words: main.paint(paint_arguments(["--no-browser", *map(str, words)]))


def test_a_checkpoint_beside_a_network_of_the_folder_is_told(begin, checkpoint, capsys):
    begin("--checkpoint", checkpoint[0])
    assert "goes on with" not in capsys.readouterr().out
    shutil.copy(checkpoint[0], "painted/model.pt")
    begin("--checkpoint", checkpoint[0])
    assert "goes on with painted/model.pt; --checkpoint is for" in capsys.readouterr().out


def test_what_a_session_has_placed_is_no_new_image(begin, tmp_path):
    write_image(tmp_path / "a.png", np.zeros((9, 9, 3), np.uint8))
    for words in ["."], ["."], ["painted"], ["painted/images", "a.png"], ["painted/images/a.png"]:
        begin(*words)
        assert [path.name for path in (tmp_path / "painted" / "images").iterdir()] == ["a.png"], words


def test_an_image_that_no_page_could_show_is_refused_before_anything_is_written(begin, tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", np.zeros((9, 10, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89)
    with pytest.raises(BadInput, match="a.png is too large; expected at most 89 pixels"):
        begin("a.png")
    assert not (tmp_path / "painted").exists()


@pytest.mark.slow
def test_killed_after_any_answer_nothing_is_lost(tmp_path):
    chance = random.Random(5)
    with painting(tmp_path / "out") as paint:
        for _ in range(4):
            for _ in range(5):
                each = {**random_stroke(chance), "image": 0, "request": f"{chance.random()}"}
                state = paint.post("stroke", **each)
            before = paint.strokes()
            again = paint.post("stroke", **each)  # as a page that has not heard the answer sends it
            paint.kill()
            address = paint.address
            paint.start()
            assert np.array_equal(paint.strokes(), before) and paint.address == address
            assert paint.post("stroke", **each)["painted"] == again["painted"] == state["painted"]


@pytest.mark.slow
def test_strokes_on_the_sample_become_a_network_and_a_data_set(tmp_path):
    """From four strokes a class to an IoU above 0.9, model.pt for predict.py, and a folder for train.py."""
    image, mask = sample()
    truth = (mask > 0).astype(np.uint8)
    with painting(tmp_path / "out") as paint:
        paint.post("view", image=0, box=[0, 0, 512, 512])
        for label, points, width in strokes_inside(truth, 4, 0):
            each = stroke(0, "brush", label, width, points.tolist())
            paint.post("stroke", **each)
        deadline, found = time.monotonic() + 120, 0.0
        while found < 0.9 and time.monotonic() < deadline:
            time.sleep(0.5)
            if paint.state()["images"][0]["whole"]:
                tile = np.asarray(Image.open(io.BytesIO(paint.get("tile/0/prediction/0/0/0.png"))))
                found = foreground_iou(tile, truth)
        assert found > 0.9
        paint.post("accept", image=0, accepted=True)
        refused = paint_command("--out", tmp_path / "out", cwd=tmp_path)
        fails_in_one_line(refused, "is being written to by another process")
        paint.process.send_signal(signal.SIGINT)
        printed = paint.process.stdout.read()
        assert paint.process.wait(60) == 130
    assert "python predict.py" in printed and "python train.py --data" in printed
    accepted = read_mask(tmp_path / "out" / "masks" / "sample.png")
    assert foreground_iou(accepted, truth) > 0.85 and set(np.unique(accepted)) == {0, 1}
    write_image(tmp_path / "next.png", image)
    done = command(
        "predict.py", "next.png", "--checkpoint", tmp_path / "out" / "model.pt", "--out", "p.png", cwd=tmp_path
    )
    assert done.returncode == 0 and foreground_iou(read_mask(tmp_path / "p.png"), truth) > 0.85
    words = ["--data", tmp_path / "out", "--out", "run", "--epochs", 1, "--steps", 2]
    assert inside("train.py", *words, cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_images_of_any_kind_and_size_are_painted_on_and_learned_from(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    Image.fromarray(random.integers(0, 4096, (60, 50), np.uint16)).save(tmp_path / "in" / "deep.tif")
    Image.fromarray(random.integers(0, 256, (30, 700), np.uint8)).save(tmp_path / "in" / "grey.png")
    Image.fromarray(random.integers(0, 256, (1, 1, 3), np.uint8)).save(tmp_path / "in" / "dot.png")
    content = {path: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    with painting(tmp_path / "out", tmp_path / "in") as paint:
        images = paint.state()["images"]
        assert {(each["name"], each["width"], each["height"]) for each in images} == {
            ("deep.tif", 50, 60),
            ("grey.png", 700, 30),
            ("dot.png", 1, 1),
        }
        for each in images:
            for label in 0, 1:
                at = (each["width"] - 1) * label
                paint.post("stroke", **stroke(each["id"], label=label, width=1, points=[(at + 0.5, 0.5)]))
        deadline = time.monotonic() + 120
        while not all(each["whole"] for each in paint.state()["images"]) and time.monotonic() < deadline:
            time.sleep(0.3)
        assert all(each["whole"] for each in paint.state()["images"])
        for each in images:
            paint.get(f"tile/{each['id']}/image/0/0/0.png")
            found = None
            while not found and time.monotonic() < deadline:  # None where the learner is not quick enough
                found = json.loads(paint.get(f"pixel/{each['id']}/0/0"))["probabilities"]
            assert len(found) == 2
    assert content == {path: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    with painting(tmp_path / "out") as paint:  # without the images' names: those that are there
        assert len(paint.state()["images"]) == 3 and sum(paint.state()["painted"]) == 5


@pytest.mark.slow
def test_a_monkey_loses_no_stroke_takes_no_memory_and_sees_no_traceback(tmp_path, pytestconfig):
    silent = lambda *words, **options: None
    rows = strokes.monkey(pytestconfig.getoption("monkey"), tmp_path, every=3, tell=silent)
    assert rows[-1][1] > 30 and rows[-1][2] < rows[0][2] + 50  # MB of the server
    strokes.monkey(1 / 60, tmp_path, tell=silent)  # called again, it finds what it left
    (tmp_path / "painted" / "strokes.jsonl").unlink()
    with pytest.raises(AssertionError, match="an earlier call are lost"):
        strokes.monkey(1 / 60, tmp_path, tell=silent)


def test_classes_and_colours_are_the_checkpoints_and_what_is_ignored_is_none_of_them(checkpoint):
    from tools.paint.__main__ import begin_classes

    classes, ignore, _ = begin_classes(checkpoint[0])
    assert [(entry["name"], entry["value"]) for entry in classes] == [("background", 0), ("foreground", 255)]
    assert ignore == 254


def test_images_of_one_name_are_refused(tmp_path):
    from tools.paint.__main__ import find_sources, place_images

    for folder in "ab":
        write_image(
            tmp_path / folder / "x.png" if (tmp_path / folder).mkdir() is None else "", np.zeros((9, 9, 3), np.uint8)
        )
    with pytest.raises(BadInput, match="have the same name"):
        find_sources([str(tmp_path / "a"), str(tmp_path / "b" / "x.png")])
    write_image(tmp_path / "b" / "x.png", np.ones((9, 9, 3), np.uint8))
    place_images(find_sources([str(tmp_path / "a")]), tmp_path / "out" / "images")
    place_images(find_sources([str(tmp_path / "a")]), tmp_path / "out" / "images")  # the same again
    Image.new("RGB", (9, 9)).save(tmp_path / "x.jpg")
    with pytest.raises(BadInput, match="x.jpg differ in nothing but the extension"):
        place_images(find_sources([str(tmp_path / "x.jpg")]), tmp_path / "out" / "images")
    assert not (tmp_path / "out" / "images" / "x.jpg").exists()  # or the same command could not go on
    with pytest.raises(BadInput, match="is another image"):
        place_images(find_sources([str(tmp_path / "b")]), tmp_path / "out" / "images")


def test_of_a_folder_what_cannot_be_read_is_left_out_and_named(tmp_path, capsys):
    from tools.paint.__main__ import find_sources

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    with pytest.raises(BadInput, match="none of the images in .*a can be read"):
        find_sources([str(tmp_path / "a")])
    Image.new("RGB", (20, 20)).save(tmp_path / "a" / "whole.png")
    assert list(find_sources([str(tmp_path / "a")])) == ["whole"]
    assert "left out: " in (told := capsys.readouterr().out) and "torn.jpg is no readable image" in told
    with pytest.raises(BadInput, match="torn.jpg is no readable image"):
        find_sources([str(tmp_path / "a" / "torn.jpg")])
