"""Several processes, as torchrun starts them: they follow the single one, and do not wait for the dead."""

import sys
import time

import pytest
import torch
from conftest import history, inside, start_ranks, together, torchrun
from forked import Forked

from support.machine import from_torchrun

PARTS = ["--patch", 128, "--batch", 8, "--budget", 1]  # two parts of four patches
SMALL = ["--patch", 32, "--batch", 4, "--steps", 4, "--epochs", 2, "--lr", 0.0002, "--device", "cpu"]


STARTED = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
STARTED |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29578"}


def ranks(monkeypatch, changes):
    """What a process takes from torchrun's variables with these changes; one that is None is not set."""
    for name, value in {**STARTED, **changes}.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    return from_torchrun()


@pytest.mark.parametrize("name", STARTED)
@pytest.mark.parametrize("value", ["", "abc", "-1", None])
def test_leftover_variables_of_a_job_scheduler_make_no_group(monkeypatch, name, value):
    assert ranks(monkeypatch, {}) == (2, 1, 1, 2)
    kept = name == "MASTER_ADDR" and value in ("abc", "-1") or name.startswith("LOCAL") and value is None
    assert (ranks(monkeypatch, {name: value}) == (1, 0, 0, 1)) != kept


@pytest.mark.parametrize("changes", [{"RANK": "2"}, {"WORLD_SIZE": "1", "RANK": "0"}, {"LOCAL_WORLD_SIZE": "0"}])
def test_numbers_that_do_not_fit_together_make_no_group(monkeypatch, changes):
    assert ranks(monkeypatch, changes) == (1, 0, 0, 1)


@pytest.mark.slow
def test_a_process_that_waits_for_others_says_so(folder, tmp_path):
    alone, never = start_ranks("train.py", "--data", folder, *SMALL, cwd=tmp_path)
    try:
        never.kill()
        deadline, said = time.monotonic() + 60, ""
        while not said and alone.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
            said = alone.printed[1].read_text() if alone.printed[1].exists() else ""
        assert said == "waiting for the other processes, as WORLD_SIZE is 2; unset it to run alone\n"
    finally:
        alone.kill()
        alone.communicate()


def losses(folder):
    return [[float(row[name]) for name in ("train_loss", "val_loss", "val_accuracy")] for row in history(folder)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["--model", "unet", "--width", 4, "--depth", 2, "--loss", "ce+dice", "--class-weights", 0.5, *PARTS],
        ["--loss", "focal", "--clip", 1, "--reuse", 2, "--memory", 0],
    ],
    ids=["unet", "fcn"],
)
def test_two_processes_follow_the_single_one(folder, tmp_path, settings):
    """Same patches, same losses and weights but for the rounding of sums: half the batch each, ignored pixels too."""
    settings = ["--data", folder, *SMALL, *settings]
    one = inside("train.py", *settings, "--out", "one", cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    two = together("train.py", *settings, "--out", "two", cwd=tmp_path)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("best of 2 epochs") == 1  # one speaks
    for first, second in zip(losses(tmp_path / "one"), losses(tmp_path / "two")):
        assert first == pytest.approx(second, rel=2e-4)
    files = [torch.load(tmp_path / out / "last.pt", weights_only=True) for out in ("one", "two")]
    assert files[0]["versions"]["processes"] == 1 and files[1]["versions"]["processes"] == 2
    for name, weight in files[0]["resume"]["weights"].items():
        torch.testing.assert_close(weight, files[1]["resume"]["weights"][name], rtol=2e-3, atol=2e-4)


@pytest.mark.slow
def test_two_processes_resume_what_one_began(folder, tmp_path):
    settings = ["--data", folder, *SMALL, "--steps", 40]
    assert inside("train.py", *settings, "--out", "one", cwd=tmp_path).returncode == 0
    process = Forked("train.py", *settings, "--out", "two", cwd=tmp_path)
    try:
        while not (tmp_path / "two" / "history.csv").exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    done = torchrun("train.py", "--resume", "--out", "two", cwd=tmp_path)
    assert done.returncode == 0 and "resumed with other versions, threads or processes" in done.stdout, done.stderr
    assert losses(tmp_path / "one")[-1] == pytest.approx(losses(tmp_path / "two")[-1], rel=5e-3)


@pytest.mark.slow
def test_what_depends_on_a_clock_is_the_same_for_both(folder, tmp_path):
    """The second process takes a second longer to validate, and would say that time is up a second earlier."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import sys
import train
from support.arguments import train_arguments
from support.machine import RANK

validate = train.validate

def validate_slowly(run):
    validation = validate(run)
    run.validation_seconds += RANK
    return validation

train.validate = validate_slowly
train.main(train_arguments(sys.argv[1:]))
"""
    )
    words = ["--data", folder, *SMALL, "--model", "unet", "--width", 4, "--amp", "auto", "--time-limit", 0.1]
    done = together(script, *words, "--epochs", 1000, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("--amp auto") == 1, done.stderr
    assert 0 < len(losses(tmp_path)) < 1000


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(folder, tmp_path):
    done = together("train.py", "--data", folder, *SMALL, "--batch", 5, cwd=tmp_path)
    assert done.returncode != 0 and "--batch 5: expected a multiple of 2" in done.stderr


@pytest.mark.slow
def test_when_one_process_is_killed_the_other_ends_with_an_error(folder, tmp_path):
    ranks = start_ranks("train.py", "--data", folder, *SMALL, "--steps", 100000, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "last.pt").exists():  # written when all is set up
            assert time.monotonic() < deadline and all(process.poll() is None for process in ranks)
            time.sleep(0.05)
        time.sleep(1)
        ranks[1].kill()
        _, errors = ranks[0].communicate(timeout=60)
        assert ranks[0].returncode not in (0, None) and errors
    finally:
        for process in ranks:
            process.kill()
            process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_no_thread_of_the_group_outlives_it(tmp_path):
    """Or it may abort the process when the interpreter ends: exit code -6 after a training that went well."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import sys
import time
from pathlib import Path
import torch
from support import devices

def gloo():
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return [name for name in names if "gloo" in name]

devices.join_processes(torch.device("cpu"))
layer = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.ones(2)).sum().backward()
devices.average_gradients(layer)
optimizer.step()
if not gloo():
    print("PyTorch gives its threads no names here")  # before 2.8 or so
devices.leave_processes()
deadline = time.monotonic() + 10  # Linux lists a thread for a moment after it was joined
while gloo() and time.monotonic() < deadline:
    time.sleep(0.01)
sys.exit(f"left: {gloo()}" if gloo() else 0)
"""
    )
    done = together(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if "no names here" in done.stdout:
        pytest.skip("without their names, threads cannot be told apart")
