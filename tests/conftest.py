"""What several test files share: the commands as a user runs them, in a directory of their own."""

import contextlib
import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings

import numpy as np
import pytest
from forked import ROOT, Forked, run_as_main
from PIL import Image

from support import notes

# The tests expect a CPU's numbers, to the last bit. Those in test_gpu.py show their processes the GPUs again. What was
# shown before is kept where the workers of pytest-xdist find it, which begin with the variables as they are then.
SHOWN_GPUS = os.environ.setdefault("SHOWN_GPUS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

# Several workers share the cores. If each had a thread for every core, these would mostly wait.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))

import torch  # noqa: E402  it reads that variable


def with_gpus():
    """The environment of a process that sees the GPUs."""
    shown = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return shown if SHOWN_GPUS == "all" else shown | {"CUDA_VISIBLE_DEVICES": SHOWN_GPUS}


if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as `pytest &` has it in a script: its processes would, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--mutations", type=int, default=200, help="damaged files that tests/test_properties.py reads")
    parser.addoption("--monkey", type=float, default=0.2, help="minutes that tests/test_paint.py paints at random")


def command(*words, cwd, **options):
    """Run `python SCRIPT …` or `python -m MODULE …` in cwd; returns the finished process with its output as text."""
    script, *rest = map(str, words)
    if script == "-m":  # found from any folder, as if one stood in the project's
        environment = options.pop("env", os.environ)
        search = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
        options["env"] = {**environment, "PYTHONPATH": search}
    line = [sys.executable, script if script == "-m" else ROOT / script, *rest]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=300, **options)


def torchrun(script, *words, cwd, **options):
    """As command, in two processes, as torchrun starts them; a script from elsewhere finds the project's modules."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    return command(*start, ROOT / script, *words, cwd=cwd, **options)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_ranks(script, *words, cwd):
    """Start two processes that work together, with the variables that torchrun gives them."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [Forked(script, *words, cwd=cwd, env={**common, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]


def together(script, *words, cwd):
    """As torchrun, with processes that are forked: twice as fast."""
    ranks = start_ranks(script, *words, cwd=cwd)
    while any(rank.poll() is None for rank in ranks) and not any(rank.poll() for rank in ranks):
        time.sleep(0.01)
    if any(rank.poll() for rank in ranks):  # torchrun ends the others, too, and leaves them time to say why
        time.sleep(1)
        for rank in ranks:
            rank.kill()
    outputs, errors = zip(*(rank.communicate() for rank in ranks))
    code = next((rank.returncode for rank in ranks if rank.returncode), 0)
    return subprocess.CompletedProcess(words, code, "".join(outputs), "".join(errors))


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    """Begin without the remarks on files that another test has read and never printed, and with as many threads.

    Ctrl-C, which a script that it has ended ignores from then on, ends the tests again.
    """
    notes.FOUND.clear()
    threads, at_ctrl_c = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, at_ctrl_c)
    torch.set_num_threads(threads)  # tools.speed takes all cores; all later tests of two workers would compete for them


def inside(*words, cwd):
    """As command, but in this process, where PyTorch is imported already: that saves seconds, hundreds of times."""
    notes.FOUND.clear()
    out, err, code, before = io.StringIO(), io.StringIO(), 0, os.getcwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                with warnings.catch_warnings():  # of a module that is imported already
                    warnings.simplefilter("ignore", RuntimeWarning)
                    run_as_main([*map(str, words)])
            except SystemExit as end:  # as Python itself ends then
                code = end.code if isinstance(end.code, int) else 1 if end.code else 0
                if isinstance(end.code, str):
                    print(end.code, file=err)
            except Exception:
                code = 1
                traceback.print_exc(file=err)
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def fails_in_one_line(process, *words):
    """The promise about errors: a non-zero exit and one line on stderr, without a traceback, that holds the words."""
    lines = process.stderr.strip().splitlines()
    assert process.returncode != 0 and len(lines) == 1 and "Traceback" not in process.stderr, process.stderr
    for word in words:
        assert word in lines[0], lines[0]


def visible(folder):
    """{name: path} of all files but hidden ones: a killed process may leave half of one."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path for path in files}


def contents(folder):
    """{name: bytes} of the visible files."""
    return {name: path.read_bytes() for name, path in visible(folder).items()}


def history(folder):
    """The rows of a training's history.csv, of texts; none before its first epoch."""
    if not (folder / "history.csv").exists():
        return []
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pair(tmp_path):
    """A small image of soft discs on a noisy ground, and its mask: (folder, image file, mask file)."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:120, :300]
    mask = np.zeros((120, 300), bool)
    for _ in range(30):
        mask |= (y - random.integers(120)) ** 2 + (x - random.integers(300)) ** 2 < random.integers(4, 12) ** 2
    image = np.where(mask[:, :, None], (70, 140, 60), (120, 100, 90)) + random.normal(0, 12, (120, 300, 3))
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(tmp_path / "a_mask.png")
    return tmp_path, tmp_path / "a.png", tmp_path / "a_mask.png"


@pytest.fixture
def no_curves(monkeypatch):
    """Leave out the picture of a training's curves, which takes as long as a short training: nobody looks at it."""
    monkeypatch.setattr("support.plots.draw_curves", lambda *words: None)


TABLE = {
    "classes": [{"name": "ground", "value": 0}, {"name": "disc", "value": 3}, {"name": "bar", "value": 7}],
    "ignore": [9],
}


def write_pair(folder, name, seed, height=70, width=90, values=(0, 3, 7, 9)):
    """A noisy picture of discs and bars, an unknown corner in its mask: two files in images/ and masks/."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    for _ in range(5):
        mask[(y - random.integers(height)) ** 2 + (x - random.integers(width)) ** 2 < random.integers(4, 10) ** 2] = 1
    top, left = random.integers(height - 8), random.integers(width - 30)
    mask[top : top + 6, left : left + 30] = 2
    colours = np.array([(120, 100, 90), (70, 140, 60), (60, 60, 160)])
    image = colours[mask] + random.normal(0, 12, (height, width, 3))
    mask[:5, :9] = 3
    for part, array in [("images", image.clip(0, 255).astype(np.uint8)), ("masks", np.array(values, np.uint8)[mask])]:
        (folder / part / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / part / f"{name}.png")


@pytest.fixture
def folder(tmp_path):
    """A data set of eight pairs of two sizes, with its class table."""
    for number in range(8):
        write_pair(tmp_path / "data", f"n{number}", number, width=90 + 10 * (number % 2))
    (tmp_path / "data" / "classes.json").write_text(json.dumps(TABLE))
    return tmp_path / "data"
