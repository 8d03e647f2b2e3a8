"""Processes that are forked from one that has PyTorch imported already: else that takes each of them two seconds.

They are processes like others, that can be killed. What they share is the seed of Python's hashes, so what is compared
with them comes from elsewhere: the process of the tests has another. (Windows forks none: there, each imports what it
needs.)
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parent.parent
CONTEXT = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
if os.name != "nt":
    preloaded = ["torch", "torch.distributed", "skimage.transform", "scipy.ndimage", "onnxruntime"]
    CONTEXT.set_forkserver_preload([*preloaded, "matplotlib.figure", "matplotlib.backends.backend_agg"])


def run_as_main(words):
    """Be `python WORDS`, the first of which is a script of the project, or -m and a module, in this process."""
    as_module = words[0] == "-m"
    script, *rest = words[1:] if as_module else (str(ROOT / words[0]), *words[1:])
    with mock.patch("sys.argv", [script, *rest]):
        (runpy.run_module if as_module else runpy.run_path)(script, run_name="__main__")


def become(words, folder, environment, without, output, errors, start_method):
    """Make the new process that of `python WORDS`, see run_as_main, where the package `without` is not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == without]:
        del sys.modules[name]
    if without:
        sys.modules[without] = None  # importing it fails
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(start_method, force=True)  # as in a process of its own
    os.chdir(folder)
    os.environ.update(environment)
    for number, path in (1, output), (2, errors):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.path.insert(0, str(ROOT))
    run_as_main(words)


class Forked:
    """A process as subprocess.Popen starts it, as far as the tests need that: of text, all that is printed is kept."""

    def __init__(self, *words, cwd, env=None, without=None):
        self.folder = tempfile.TemporaryDirectory()  # of what it prints; it goes with this object
        self.printed = [Path(self.folder.name, name) for name in ("output", "errors")]
        given = [*map(str, words)], str(cwd), env or {}, without, *self.printed, multiprocessing.get_start_method()
        self.process = CONTEXT.Process(target=become, args=given)
        self.process.start()
        self.pid = self.process.pid

    def poll(self):
        return self.process.exitcode

    @property
    def returncode(self):
        return self.process.exitcode

    def wait(self, timeout=300):
        self.process.join(timeout)
        assert self.process.exitcode is not None, "it has not ended"
        return self.process.exitcode

    def kill(self):
        self.process.kill()

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def communicate(self, timeout=300):
        """Wait for its end; return what it has printed and its errors."""
        self.wait(timeout)
        return tuple(path.read_text(encoding="utf-8") if path.exists() else "" for path in self.printed)
