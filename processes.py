"""Several processes that train or predict together, as torchrun starts them: who am I, and sums over all of them.

    torchrun --nproc-per-node 2 train.py …

Alone, as with `python train.py`, there is one process of rank 0, and a sum over all processes is the value itself.
"""
import ctypes
import os
import sys

import torch
import torch.distributed as dist

RANK = int(os.environ.get("RANK", 0))              # torchrun sets these two, the next as well
WORLD = int(os.environ.get("WORLD_SIZE", 1))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", 0))  # among those on this machine: which GPU is mine

M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1              # of glibc's malloc.h


def join(device):
    """Meet the other processes; only rank 0 speaks from now on. Call it once, before any other function here."""
    if WORLD > 1:
        if device.type == "cuda":
            torch.cuda.set_device(LOCAL_RANK)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        if RANK:
            sys.stdout = open(os.devnull, "w")     # open as long as the process lives


def leave():
    if dist.is_initialized():
        dist.destroy_process_group()


class Total(torch.autograd.Function):
    """The sum over all processes, which each gets. As all of them use it, gradients are sums over all of them, too."""

    @staticmethod
    def forward(context, local):
        total = local.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient):
        return Total.apply(gradient)


def total(local):
    """Sum of a tensor over all processes, differentiable; the tensor itself where there is only one process."""
    return Total.apply(local) if dist.is_initialized() else local


def told_by_first(number):
    """A number as the process of rank 0 has it: what depends on a clock must be the same for all."""
    if not dist.is_initialized():
        return number
    where = "cuda" if dist.get_backend() == "nccl" else "cpu"
    told = torch.tensor(number, dtype=torch.float64, device=where)
    dist.broadcast(told, src=0)
    return told.item()


def gathered(items):
    """The lists of all processes as one."""
    if not dist.is_initialized():
        return items
    lists = [None] * WORLD
    dist.all_gather_object(lists, items)
    return [item for one in lists for item in one]


def wait():
    """Go on when all processes are here."""
    if dist.is_initialized():
        dist.barrier()


def keep_freed_memory():
    """On Linux, let the C library keep freed memory for the next step (mallopt(3)); elsewhere, do nothing.

    By default it hands the large blocks of every step back to the system and gets them back page by page, all
    zeroed, which takes time in every step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_MAX, 0)               # no blocks of their own for large requests
        mallopt(M_TRIM_THRESHOLD, 2**30)     # and up to 1 GB kept at the heap's end
