"""Commands that fill a folder: killed at many moments while another process watches, called again, two at once."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import fails_in_one_line, inside, visible, write_pair
from forked import Forked

from model import FCN
from support.checkpoint import save_checkpoint
from support.files import one_writer

pytestmark = pytest.mark.slow
PAIRS = 24

WATCHER = """
import csv, io, json, sys, time, zipfile
from pathlib import Path
from PIL import Image

def whole(path, content):
    if path.name == "placements.csv":  # it grows row by row; of a row across two pages, Linux may show the first part
        assert (reference / path.name).read_bytes().startswith(content)
    elif path.suffix == ".json":
        json.loads(content)
    elif path.suffix == ".pt":
        assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    elif path.suffix in (".png", ".jpg", ".bmp"):
        Image.open(io.BytesIO(content)).load()
    else:
        assert content.endswith(b"\\n") and content.decode()

out, reference, looks = Path(sys.argv[1]), Path(sys.argv[2]), 0
while not (out.parent / "enough").exists():
    for path in out.rglob("*"):
        if path.name.startswith(".") or not path.suffix or path.is_dir():
            continue
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        try:
            whole(path, content)
        except Exception as error:
            print(f"{path} is not whole: {len(content)} bytes, {error!r}")
        same = reference / path.relative_to(out)
        if path.suffix in (".png", ".jpg", ".bmp") and content != same.read_bytes():
            print(f"{path} is not as it should be")
        looks += 1
    time.sleep(0.002)
print(f"looked {looks} times")
"""


@pytest.fixture
def source(tmp_path):
    """Pairs in every form that a command of the table reads, and a network."""
    for number in range(PAIRS):
        write_pair(tmp_path / "data", f"n{number:02d}", number, values=(0, 3, 7, 9))
    for part in "images", "masks":
        shutil.copytree(tmp_path / "data" / part, tmp_path / "camvid" / "train" / part)
    outlines = [
        {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [5, 5, 30, 30], "area": 900, "iscrowd": 0}
        | {"segmentation": [[5, 5, 35, 5, 35, 35 + n % 9, 5, 35]]}
        for n in range(PAIRS)
    ]
    images = [{"id": n, "file_name": f"n{n:02d}.png", "height": 70, "width": 90} for n in range(PAIRS)]
    table = {"images": images, "annotations": outlines, "categories": [{"id": 1, "name": "disc"}]}
    (tmp_path / "coco.json").write_text(json.dumps(table))
    torch.manual_seed(0)
    classes = [{"name": "ground", "value": 0}, {"name": "disc", "value": 255}]
    settings = {"flips": "all", "zoom": 1, "threshold": None}
    save_checkpoint(
        tmp_path / "model.pt", FCN(), classes=classes, ignore=[], mean=[0.5] * 3, std=[0.2] * 3, settings=settings
    )
    return tmp_path


COMMANDS = {
    "infer": "infer.py data/images OUT --checkpoint model.pt --resume",
    "eyeglasses": "-m challenges.eyeglasses.prepare data --out OUT --size 64",
    "cityscapes": "-m challenges.cityscapes.prepare camvid --layout camvid --out OUT",
    "coco": "-m challenges.coco.prepare --annotations coco.json --images data/images --classes disc --out OUT",
    "convert": "-m tools.convert coco coco.json --images data/images --out OUT",
    "logo": f"-m challenges.logo.prepare --images data/images --count {PAIRS} --size 128 128 --out OUT",
    "corrupt": "-m challenges.cityscapes.corrupt data/images OUT --kind fog --severity 2",
}


def start(line, folder):
    """Start the command of a line, in a folder, as a process."""
    return Forked(*line.split(), cwd=folder)


def run(name, folder, out):
    """Run a command of the table in this process."""
    return inside(*COMMANDS[name].replace("OUT", out).split(), cwd=folder)


def progress(out):
    """How far a command is: its files and, of a training, its epochs."""
    return sum(len(path.read_bytes().splitlines()) if path.suffix == ".csv" else 1 for path in visible(out).values())


def kill_again_and_again(line, folder, out, total, times):
    """Start a command so many times and kill it at moments that are spread over its work; returns how often."""
    chance, kills = random.Random(0), 0
    for number in range(times):
        enough = progress(out) + (total - progress(out)) // (times - number) if out.exists() else 1
        process = start(line, folder)
        while process.poll() is None and not (out.exists() and progress(out) >= enough):
            time.sleep(0.002)
        time.sleep(chance.choice([0, 0.001, 0.003, 0.01]))
        process.send_signal(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        kills += process.wait() != 0
    return kills


def killed_and_watched(line, folder, times):
    """Run a command once to "reference", and to "out" with so many kills; returns the files of both.

    Nobody may ever see a file in "out" that is not whole.
    """
    reference, out = folder / "reference", folder / "out"
    assert inside(*line.replace("OUT", "reference").split(), cwd=folder).returncode == 0
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCHER, out, reference], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    line = line.replace("OUT", "out")
    kills = kill_again_and_again(line, folder, out, progress(reference), times)
    assert start(line, folder).wait() == 0
    (folder / "enough").touch()
    *complaints, looks = watcher.communicate()[0].splitlines()
    assert not complaints and int(looks.split()[1]) > 100 and kills >= times // 2
    return visible(reference), visible(out)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "infer"])
def test_what_a_person_changed_is_kept(source, name):
    """Masks corrected, colours added to the class table, a list made by hand: the same command leaves them."""
    assert run(name, source, "out").returncode == 0
    files = visible(source / "out")
    tables = [file for file in files if file.endswith(("classes.json", ".txt"))]
    images = [file for file in files if file.endswith((".png", ".jpg", ".bmp"))]
    for file in [*tables, min(images), max(images)]:
        content = files[file].read_bytes() + b" "
        files[file].unlink()  # as editors do; it may be linked to the source
        files[file].write_bytes(content)
    before = {file: path.read_bytes() for file, path in files.items()}
    done = run(name, source, "out")
    assert done.returncode == 0, done.stderr
    assert {file: path.read_bytes() for file, path in visible(source / "out").items()} == before
    assert done.stdout.count("kept as it is") == len(tables) and (tables or name == "corrupt")


@pytest.mark.parametrize("name", COMMANDS)
def test_two_do_not_fill_one_folder(source, name):
    with one_writer(source / "out"):
        fails_in_one_line(run(name, source, "out"), "out is being written to by another process")
    assert not visible(source / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_ten_moments_the_files_are_the_same(source, name):
    expected, there = killed_and_watched(COMMANDS[name], source, times=10)
    assert len(expected) >= PAIRS
    assert {file: path.read_bytes() for file, path in there.items()} == {
        file: path.read_bytes() for file, path in expected.items()
    }


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_killed_cross_validation_ends_with_the_same_figures(source):
    small = "--epochs 4 --steps 3 --batch 4 --patch 32 --device cpu"
    line = f"-m tools.crossvalidate --folds 2 --out OUT --data data {small}"
    expected, there = killed_and_watched(line, source, times=5)  # each time, PyTorch has to be imported
    assert set(there) == set(expected)
    for file in expected:
        if file.endswith((".json", "test.txt")) or file.startswith("predictions/"):
            assert there[file].read_bytes() == expected[file].read_bytes(), file
        elif file.endswith("model.pt"):
            ours, theirs = (torch.load(files[file], weights_only=True)["weights"] for files in (there, expected))
            assert all(torch.equal(ours[layer], theirs[layer]) for layer in theirs)
