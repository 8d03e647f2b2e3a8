"""The losses: logits (N, classes, H, W) and class indices (N, H, W) → one number.

A pixel whose target is IGNORE (255) has no truth: it contributes neither loss nor gradient. `weights`,
(classes,), makes some classes count more than others. `all_reduce` adds a tensor up over the processes of
a distributed run, so that each gets the loss of the whole batch (support/devices.py), or over the pieces of
an image (loss_of_pieces); by default, it returns the tensor as it is.
"""
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from support.masks import IGNORE


def this_process_only(value: Tensor) -> Tensor:
    """Stand in for all_reduce where there is a single process."""
    return value


def known_pixels(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return where a target has a truth, as numbers 0 and 1, and the target with 0 elsewhere: both (N, H, W).

    Raises ValueError where it has not the shape of the logits: PyTorch would spread or cut one of them.
    """
    if logits[:, 0].shape != target.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)}; expected (N, classes, H, W) "
                         "and (N, H, W)")
    known = target != IGNORE
    return known.float(), target.masked_fill(~known, 0).long()


def weighted_mean(loss: Tensor, known: Tensor, truth: Tensor, weights: Tensor | None, all_reduce: Callable) -> Tensor:
    """Return the mean of a loss (N, H, W) over the known pixels, each weighted as its class; 0 if none is known."""
    weight = known if weights is None else known * weights[truth]
    return all_reduce((loss * weight).sum()) / all_reduce(weight.sum()).clamp_min(1e-12)


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None = None,
                  all_reduce: Callable = this_process_only) -> Tensor:
    """Return the mean of −log p(true class) over the pixels with a truth."""
    known, truth = known_pixels(logits, target)
    log_p = torch.log_softmax(logits, dim=1).gather(1, truth[:, None])[:, 0]          # (N, H, W)
    return weighted_mean(-log_p, known, truth, weights, all_reduce)


def binary_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None = None,
                         all_reduce: Callable = this_process_only) -> Tensor:
    """Return the mean of −log σ(z) where the second of two classes is true, and of −log σ(−z) elsewhere.

    z is how much higher the second logit is. For two classes softmax is this sigmoid, so it is cross_entropy again,
    in the form in which it is often given.
    """
    known, truth = known_pixels(logits, target)
    z = logits[:, 1] - logits[:, 0]                                   # (N, H, W)
    loss = F.softplus(torch.where(truth == 1, -z, z))                 # log(1 + exp(−z)) = −log σ(z), never overflowing
    return weighted_mean(loss, known, truth, weights, all_reduce)


def focal(logits: Tensor, target: Tensor, weights: Tensor | None = None,
          all_reduce: Callable = this_process_only) -> Tensor:
    """Return the mean of −(1 − p)² · log p, p being that of the true class (Lin et al., 2017, equations 4 and 5).

    So pixels that are already right count less.
    """
    known, truth = known_pixels(logits, target)
    log_p = torch.log_softmax(logits, dim=1).gather(1, truth[:, None])[:, 0]          # (N, H, W)
    loss = -(1 - log_p.exp()) ** 2 * log_p
    return weighted_mean(loss, known, truth, weights, all_reduce)


def soft_dice(logits: Tensor, target: Tensor, weights: Tensor | None = None,
              all_reduce: Callable = this_process_only) -> Tensor:
    """Return 1 − Dice, the mean over the classes, with probabilities for the prediction (Milletari et al., 2016).

    A class's Dice over the whole batch is 2·Σ p·g / (Σ p² + Σ g²), g being 1 where the class is true and 0 elsewhere.
    Classes that occur nowhere in the batch are left out: their Dice would be 0 for the faintest probability.
    """
    known, truth = known_pixels(logits, target)
    p = torch.softmax(logits, dim=1) * known[:, None]                 # (N, classes, H, W)
    g = torch.zeros_like(p).scatter(1, truth[:, None], 1) * known[:, None]            # 1 where a class is true
    intersection, squares, pixels = all_reduce(torch.stack(           # each (classes,)
        [(p * g).sum((0, 2, 3)), (p * p).sum((0, 2, 3)), g.sum((0, 2, 3))]))
    weight = (pixels > 0) * (1 if weights is None else weights)
    dice = 2 * intersection / (squares + pixels).clamp_min(1e-12)
    return ((1 - dice) * weight).sum() / weight.sum().clamp_min(1e-12)


LOSSES = {"ce": cross_entropy, "bce": binary_cross_entropy, "focal": focal, "dice": soft_dice}


def loss_function(names: str, weights: Tensor | None = None) -> Callable:
    """Return the sum of the losses that `names` joins, as in "ce+dice": a function of (logits, target, all_reduce)."""
    def loss(logits, target, all_reduce=this_process_only):
        return sum(LOSSES[name](logits, target, weights, all_reduce) for name in names.split("+"))
    return loss


def loss_of_pieces(loss: Callable, pieces: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the loss, a function of (logits, target, all_reduce), of pixels that come in pieces, (logits, target).

    All that a loss knows of its pixels are sums, which it hands to `all_reduce` to get those of all processes. So
    the sums of the pieces are noted down there and, in the end, their totals handed back. Raises ValueError for a loss
    that hands over none.
    """
    sums: list[list[Tensor]] = []                # those of each piece

    def note_down(value):
        sums[-1].append(value)
        return value

    for logits, target in pieces:
        sums.append([])
        loss(logits, target, note_down)          # this piece's own loss is unused
        if not sums[-1]:
            raise ValueError("the loss hands no sum to all_reduce, so it would be that of the last pixel")
    totals = iter([sum(value.double() for value in same) for same in zip(*sums)])
    return loss(logits[:, :, :1, :1], target[:, :1, :1], lambda value: next(totals))      # of any one pixel


def class_weights(pixels: Iterable, power: float) -> Tensor:
    """Return weights (classes,) for the pixel counts of each class: the share of a class to the power of −`power`.

    0 weights no class; 1 makes all classes count the same, however rare; 0.5 lies between. Scaled to a mean of 1
    over the pixels. A class without pixels counts as if it had one.
    """
    counts = torch.as_tensor(pixels, dtype=torch.float64).clamp_min(1)
    share = counts / counts.sum()
    weights = share ** -power
    return (weights / (share * weights).sum()).float()
