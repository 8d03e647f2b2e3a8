"""Remarks on files, made while they are read, and printed once a run: a line for each remark, not for each file."""
import threading

from support.mistakes import printable

FOUND: dict[str, dict] = {}              # remark → the paths of the files that it is about
LOCK = threading.Lock()


def note(path: object, remark: str) -> None:
    """Remember a remark on a file; a file that is read again counts once. The remark goes on after "file: "."""
    with LOCK:
        FOUND.setdefault(remark, {})[str(path)] = None


def print_notes() -> None:
    """Print each remark, with a file and how many more there are like it, and forget it.

    The file is the first by name: threads read images in any order.
    """
    with LOCK:
        for remark, paths in FOUND.items():
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            print(f"{printable(min(paths))}{more}: {remark}")
        FOUND.clear()


def remarks_on(path: object) -> list[str]:
    """Return the remarks on a file that are not printed yet."""
    with LOCK:
        return [remark for remark, paths in FOUND.items() if str(path) in paths]
