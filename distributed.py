"""Several processes that train or predict together: sums over all of them. Which this one is, processes.py knows.

Alone, as with `python train.py`, a sum over all processes is the value itself.
"""
import os
import sys

import torch
import torch.distributed as dist

from files import BadInput
from processes import LOCAL_RANK, RANK, WORLD


def join(device):
    """Meet the other processes; only rank 0 prints from now on. Call it before whatever here needs the others."""
    if WORLD == 1:
        return
    # Imported after the group is made, its functions hold it as a default argument and leave() cannot end the group's
    # threads: now and then, one outlives the interpreter and aborts the process. torch.optim imports it.
    import torch.distributed.nn  # noqa: F401

    if device.type == "cuda":
        if LOCAL_RANK >= torch.cuda.device_count():
            raise BadInput(f"process {LOCAL_RANK + 1} on this machine has no GPU of its own, as there are "
                           f"{torch.cuda.device_count()}; start so many, or add --device cpu")
        torch.cuda.set_device(LOCAL_RANK)
        dist.init_process_group("nccl", device_id=torch.device("cuda", LOCAL_RANK))
    else:
        dist.init_process_group("gloo")
    if RANK:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")         # open as long as the process lives


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


def average_gradients(model):
    """Replace each gradient by its mean over all processes, so that all take the same step."""
    if dist.is_initialized():
        gradients = [parameter.grad for parameter in model.parameters()]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])        # one message instead of many
        dist.all_reduce(flat)
        for gradient, mean in zip(gradients, (flat / WORLD).split([gradient.numel() for gradient in gradients])):
            gradient.copy_(mean.view_as(gradient))


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
