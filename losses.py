"""The loss: logits (N, classes, H, W) and class indices (N, H, W) → one number.

A pixel whose target is IGNORE (255) has no truth: it contributes neither loss nor gradient.
"""
import torch

from patches import IGNORE


def cross_entropy(logits, target):
    """Mean of −log p(true class) over the pixels that have a truth; 0 if none has."""
    known = target != IGNORE
    truth = target.masked_fill(~known, 0).long()
    log_p = torch.log_softmax(logits, dim=1)                          # (N, classes, H, W)
    loss = -log_p.gather(1, truth[:, None])[:, 0]                     # (N, H, W)
    return (loss * known).sum() / known.sum().clamp_min(1)
