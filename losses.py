"""The loss: logits (N, classes, H, W) and class indices (N, H, W) → one number.

A pixel whose target is IGNORE (255) has no truth: it contributes neither loss nor gradient.
"""
import torch

from patches import IGNORE


def cross_entropy(logits, target, weight=None):
    """Mean of −log p(true class) over the pixels that have a truth; 0 if none has.

    `weight` (classes,) multiplies each pixel's loss by its class's weight, and the mean is weighted likewise.
    """
    known = target != IGNORE
    truth = target.masked_fill(~known, 0).long()
    log_p = torch.log_softmax(logits, dim=1)                          # (N, classes, H, W)
    loss = -log_p.gather(1, truth[:, None])[:, 0]                     # (N, H, W)
    share = known.to(loss.dtype) if weight is None else known * weight[truth]
    return (loss * share).sum() / share.sum().clamp_min(1e-12)
