"""The losses: logits (N, classes, H, W) and class indices (N, H, W) → one number.

A pixel whose target is IGNORE (255) has no truth: it contributes neither loss nor gradient. `weights`, (classes,),
makes some classes count more than others. `total` sums over the processes of a distributed run, so that each gets
the loss of the whole batch (see distributed.py); alone, nothing has to be summed.
"""
import functools

import torch
import torch.nn.functional as F

from data import IGNORE


def alone(value):
    return value


def known_pixels(target):
    """(where a target has a truth, as numbers 0 and 1; the target with class 0 elsewhere), both (N, H, W)."""
    known = target != IGNORE
    return known.float(), target.masked_fill(~known, 0).long()


def weighted_mean(loss, known, truth, weights, total):
    """Mean of a loss (N, H, W) over the pixels that have a truth, each weighted as its class; 0 if none has."""
    weight = known if weights is None else known * weights[truth]
    return total((loss * weight).sum()) / total(weight.sum()).clamp_min(1e-12)


def cross_entropy(logits, target, weights=None, total=alone):
    """−log p(true class)."""
    known, truth = known_pixels(target)
    log_p = torch.log_softmax(logits, dim=1)                          # (N, classes, H, W)
    loss = -log_p.gather(1, truth[:, None])[:, 0]                     # (N, H, W)
    return weighted_mean(loss, known, truth, weights, total)


def binary_cross_entropy(logits, target, weights=None, total=alone):
    """−log σ(z) where the second of two classes is true and −log σ(−z) elsewhere; z is how much its logit is higher.

    For two classes softmax is this sigmoid, so it is cross_entropy again, in the form in which it is often given.
    """
    known, truth = known_pixels(target)
    z = logits[:, 1] - logits[:, 0]                                   # (N, H, W)
    loss = F.softplus(torch.where(truth == 1, -z, z))                 # log(1 + exp(−z)) = −log σ(z), never overflowing
    return weighted_mean(loss, known, truth, weights, total)


def focal(logits, target, weights=None, total=alone, gamma=2.0):
    """−(1 − p)^gamma · log p(true class): pixels that are already right count less (Lin et al., 2017, equation 5)."""
    known, truth = known_pixels(target)
    log_p = torch.log_softmax(logits, dim=1).gather(1, truth[:, None])[:, 0]          # (N, H, W)
    loss = -(1 - log_p.exp()).clamp_min(1e-7) ** gamma * log_p        # at 0 a power below 1 has no finite slope
    return weighted_mean(loss, known, truth, weights, total)


def soft_dice(logits, target, weights=None, total=alone):
    """1 − Dice of each class, with probabilities for the prediction, over the whole batch (Milletari et al., 2016).

    2·Σ p·g / (Σ p² + Σ g²), g being 1 where the class is true and 0 elsewhere. Classes that occur nowhere in the
    batch are left out of the mean: their Dice would be 0 for the faintest probability.
    """
    known, truth = known_pixels(target)
    p = torch.softmax(logits, dim=1) * known[:, None]                 # (N, classes, H, W)
    g = torch.zeros_like(p).scatter(1, truth[:, None], known[:, None])                # 1 where a class is true
    intersection, squares, pixels = total(torch.stack(                # each (classes,)
        [(p * g).sum((0, 2, 3)), (p * p).sum((0, 2, 3)), g.sum((0, 2, 3))]))
    weight = (pixels > 0) * (1 if weights is None else weights)
    dice = 2 * intersection / (squares + pixels).clamp_min(1e-12)
    return ((1 - dice) * weight).sum() / weight.sum().clamp_min(1e-12)


LOSSES = {"ce": cross_entropy, "bce": binary_cross_entropy, "focal": focal, "dice": soft_dice}


def sum_of(names, weights=None, gamma=2.0):
    """The sum of losses named as in "ce+dice": a function of (logits, target, total)."""
    functions = {**LOSSES, "focal": functools.partial(focal, gamma=gamma)}

    def loss(logits, target, total=alone):
        return sum(functions[name](logits, target, weights, total) for name in names.split("+"))
    return loss


def class_weights(pixels, power):
    """Pixels of each class → weights (classes,): the share of a class, to the power of −`power`.

    0 weights no class; 1 makes all classes count the same, however rare; 0.5 lies between. Scaled to a mean of 1
    over the pixels. A class without pixels counts as if it had one.
    """
    pixels = torch.as_tensor(pixels, dtype=torch.float64).clamp_min(1)
    share = pixels / pixels.sum()
    weights = share ** -power
    return (weights / (share * weights).sum()).float()
