"""Where and how to compute: the device, its precision, and several processes that train or predict together.

Alone, as with `python train.py`, a sum over all processes is the value itself. Which process this one
is, support/machine.py knows.
"""
import contextlib
import copy
import datetime
import os
import sys
import threading
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from support.files import BadInput
from support.machine import LOCAL_RANK, RANK, WORLD

TIMEOUT = datetime.timedelta(days=1)     # of waiting for the other processes: one of them may have the largest image
SILENT = 5.0                             # seconds of waiting without a word


def pick_device(name: str) -> torch.device:
    """Return the torch.device for "auto", "cpu" or "cuda". Raises BadInput for another, or a GPU that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise BadInput(f"there is no device {name}; expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("--device cuda: PyTorch finds no CUDA GPU here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pick_precision(amp: str, network: nn.Module, device: torch.device,
                   training: bool = True) -> tuple[torch.dtype, str]:
    """Return what to multiply in, a torch.dtype, and whether that is "on" or "off" (see --amp of train.py).

    "auto" tries on a CPU: one training step of two small patches in each, or the prediction of one window, the
    fastest of three. Without bfloat16 in hardware the CPU imitates it, many times slower. GPUs with tensor cores
    (since 2018) take 16 bits. Raises BadInput for another word.
    """
    if amp not in ("auto", "on", "off"):
        raise BadInput(f"amp is {amp!r}; expected auto, on or off")
    if device.type == "cuda":                    # pragma: no cover
        torch.backends.cudnn.allow_tf32 = False  # or convolutions of "float32" round to 10 bits, no faster at this size
        bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        half = torch.bfloat16 if bfloat16 else torch.float16
        on = amp == "on" or amp == "auto" and torch.cuda.get_device_capability(device) >= (7, 0)
    else:
        half, on = torch.bfloat16, amp == "on"
        if amp == "auto":
            seconds = {dtype: trial_seconds(copy.deepcopy(network), dtype, training) for dtype in (torch.float32, half)}
            # All processes of a distributed run go by the first one's clock.
            ratio = broadcast(seconds[torch.float32] / seconds[half])
            on = ratio > 1.1
            print(f"--amp auto: a {'step' if training else 'window'} in 16 bits is {ratio:.1f} times as fast on this "
                  f"CPU: {'on' if on else 'off'}")
    return half if on else torch.float32, "on" if on else "off"


def trial_seconds(network: nn.Module, dtype: torch.dtype, training: bool) -> float:
    """Return the seconds of a window's prediction on a CPU, the fastest of three.

    In training, it is the forward and backward pass of two small patches, which changes the network.
    """
    network = network.to(memory_format=torch.channels_last).train(training)
    images = torch.zeros(2, 3, 128, 128) if training else torch.zeros(1, 3, 256, 256)
    images, seconds = images.to(memory_format=torch.channels_last), []
    for _ in range(4):           # the first is a warm-up
        began = time.perf_counter()
        with torch.set_grad_enabled(training), multiplying_in(dtype, torch.device("cpu")):
            logits = network(images)
        if training:
            logits.float().square().mean().backward()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def multiplying_in(dtype: torch.dtype | None, device: torch.device) -> contextlib.AbstractContextManager:
    """Return a context in which networks multiply in these 16 bits; for float32 or None, one that changes nothing."""
    return contextlib.nullcontext() if dtype in (None, torch.float32) else torch.autocast(device.type, dtype)


# ---------------------------------------------------------------------------------------------------
# Several processes


def join_processes(device: torch.device) -> None:
    """Meet the other processes; only rank 0 prints from now on. Call it before whatever here needs the others."""
    if WORLD == 1:
        return
    # Imported after the group is made, its functions hold it as a default argument and leave_processes()
    # cannot end the group's threads: now and then, one outlives the interpreter and aborts the process.
    # Whatever imports PyTorch's compiler imports it, as torch.optim does.
    import torch.distributed.nn  # noqa: F401

    line = f"waiting for the other processes, as WORLD_SIZE is {WORLD}; unset it to run alone"
    waiting = threading.Timer(SILENT, print, [line], {"file": sys.stderr})
    waiting.daemon = True        # after a mistake, the process ends at once
    waiting.start()
    if device.type == "cuda":                    # pragma: no cover
        if LOCAL_RANK >= torch.cuda.device_count():
            raise BadInput(f"process {LOCAL_RANK + 1} on this machine has no GPU of its own, as there are "
                           f"{torch.cuda.device_count()}; start so many, or add --device cpu")
        torch.cuda.set_device(LOCAL_RANK)
        dist.init_process_group("nccl", timeout=TIMEOUT, device_id=torch.device("cuda", LOCAL_RANK))
    else:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    waiting.cancel()
    if RANK:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")         # open as long as the process lives


def leave_processes() -> None:
    """Part from the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


class AllReduceSum(torch.autograd.Function):
    """The sum over all processes, which each gets; as all of them use it, gradients are sums over all, too."""

    @staticmethod
    def forward(context: Any, local: Tensor) -> Tensor:
        total = local.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return AllReduceSum.apply(gradient)


def all_reduce_sum(local: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, differentiably; the tensor itself if there is only one."""
    return AllReduceSum.apply(local) if dist.is_initialized() else local


def average_gradients(network: nn.Module) -> None:
    """Replace each gradient by its mean over all processes, so that all take the same step."""
    if dist.is_initialized():
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])        # one message instead of many
        dist.all_reduce(flat)
        for gradient, mean in zip(gradients, (flat / WORLD).split([gradient.numel() for gradient in gradients])):
            gradient.copy_(mean.view_as(gradient))


def broadcast(value: float) -> float:
    """Return a number as rank 0 has it: what depends on a clock must be the same for all processes."""
    if not dist.is_initialized():
        return value
    where = "cuda" if dist.get_backend() == "nccl" else "cpu"
    shared = torch.tensor(value, dtype=torch.float64, device=where)
    dist.broadcast(shared, src=0)
    return shared.item()


def all_gather(items: list) -> list:
    """Return the lists of all processes as one list."""
    lists: list[list] = [[]] * WORLD             # the others' come in their places
    dist.all_gather_object(lists, items)
    return [item for part in lists for item in part]


def barrier() -> None:
    """Wait until all processes are here."""
    if dist.is_initialized():
        dist.barrier()
