"""The learner's process, seen from the session: started at once, fed, listened to, and started again if it dies."""
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

from support.machine import keep_freed_memory
from tools.paint.session import Session

RESTARTS = 3                     # of a process that ends by itself; beyond, something is wrong with it
LAST_WORDS = 20                  # seconds that it has to end and to write the network


def setup_of(session: Session, network: Path | None) -> dict:
    """Return what a Learner begins with: the session's pictures and classes, and a network's checkpoint or None."""
    pictures = [(picture.path, (picture.height, picture.width)) for picture in session.pictures]
    return {"classes": session.classes, "ignore": session.ignore, "rendering": session.rendering, "maps": session.maps,
            "pictures": pictures, "out": session.out / "model.pt", "network": network}


def begin(setup: dict, inbox: Any, outbox: Any) -> None:
    """Be the process: learn until the session ends."""
    from data import begin_worker  # here, as it imports PyTorch, which nobody else needs
    from tools.paint.learner import Learner

    begin_worker(0)                              # Ctrl-C is for the session, which no learner outlives
    keep_freed_memory()
    Learner(setup, inbox, lambda *message: outbox.put(message)).work()


@contextlib.contextmanager
def no_interrupt() -> Iterator[None]:
    """Inside `with no_interrupt():` no Ctrl-C comes, and a process begun there never sees one, this one later."""
    if not hasattr(signal, "pthread_sigmask"):           # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Process:
    """The process that learns for a session, from a checkpoint if there is one and no network in the folder yet."""

    def __init__(self, session: Session, checkpoint: str | None):
        self.session, self.checkpoint = session, checkpoint
        self.context = multiprocessing.get_context("spawn")
        self.ending, self.started = False, 0
        self.start()
        session.tell = self.tell
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def start(self) -> None:
        """Start the process and tell it how things are."""
        session, model = self.session, self.session.out / "model.pt"
        network = model if model.exists() else self.checkpoint and Path(self.checkpoint)
        with session.lock:
            setup = setup_of(session, network)
            # Before no_interrupt: the first queue starts Python's resource tracker, which lets Ctrl-C through again.
            self.inbox, self.outbox = self.context.Queue(), self.context.Queue()
            self.inbox.cancel_join_thread()      # or what a dead process has not read would keep this one from ending
            self.process = self.context.Process(target=begin, args=(setup, self.inbox, self.outbox), daemon=True)
            with no_interrupt():
                self.process.start()
            self.started += 1
            for picture in session.pictures:
                if picture.strokes_version:
                    self.tell(("strokes", picture.number, [0, 0, picture.width, picture.height]))
            if session.chosen:
                self.tell(("learn", session.learner["learning"], session.learner["model"]))
            if session.shown:
                self.tell(("view", *session.shown))

    def tell(self, message: tuple) -> None:
        self.inbox.put(message)

    def listen(self) -> None:
        """Hand on what the process tells; start it again where it has died."""
        while not self.ending:
            try:
                self.session.hear(self.outbox.get(timeout=1))
            except Empty:
                if self.process.is_alive() or self.ending:
                    continue
                if self.started > RESTARTS:
                    self.session.say("learning has ended by itself, several times; what is painted is saved")
                    return
                self.start()

    def end(self) -> None:
        """Let the process write the network and end."""
        self.ending = True
        self.tell(("end",))
        self.process.join(LAST_WORDS)
        if self.process.is_alive():
            self.process.kill()
        self.thread.join()
