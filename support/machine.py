"""This machine: its cores, its memory, and which of several processes this one is, as torchrun starts them.

    torchrun --nproc-per-node 2 train.py …

Alone, as with `python train.py`, there is one process, of rank 0. Needs no PyTorch, as infer.py --onnx does not.
"""
import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def from_torchrun() -> tuple[int, int, int, int]:
    """Return WORLD_SIZE, RANK, LOCAL_RANK and LOCAL_WORLD_SIZE, which torchrun puts into the environment.

    Job schedulers leave some of these variables, too: where they are no numbers of several processes, or say not where
    these meet, this one is alone.
    """
    alone, given = (1, 0, 0, 1), os.environ
    try:
        world, rank, local, local_world = found = (
            int(given["WORLD_SIZE"]), int(given["RANK"]),
            int(given.get("LOCAL_RANK", 0)), int(given.get("LOCAL_WORLD_SIZE", 1)))
        meet = bool(given["MASTER_ADDR"]) and int(given["MASTER_PORT"]) > 0
    except (KeyError, ValueError):               # one is missing, or no whole number
        return alone
    return found if meet and world > 1 and 0 <= rank < world and local >= 0 and local_world > 0 else alone


WORLD, RANK, LOCAL_RANK, LOCAL_WORLD = from_torchrun()       # local: on this machine, which GPU is mine

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1              # of glibc's malloc.h


def cores() -> int:
    """Return the number of processor cores for this process: of those it may use, its share."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(usable // LOCAL_WORLD, 1)


def in_threads(function: Callable, items: Iterable, workers: int | None = None) -> Iterator:
    """Yield function(item) for each item, in order, computed by several threads; few results are held in memory."""
    workers, waiting = workers or min(cores(), 8), deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def keep_freed_memory() -> None:
    """On Linux, let the C library keep freed memory for the next step (mallopt(3)); elsewhere, do nothing.

    By default it hands the large blocks of every step back to the system and gets them back page by page, all
    zeroed, which takes time in every step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)               # no blocks of their own for large requests
        mallopt(M_TRIM_THRESHOLD, 2**30)     # and up to 1 GB kept at the heap's end
