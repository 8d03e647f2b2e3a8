"""Out-of-distribution: how familiar an image looks to a network.

A network gives every pixel of any image a class, also where it has never seen the like. Each score here
is one number for an image, higher for what is more familiar: of the logits, averaged over all pixels, or
of the features on the way. `python -m tools.thresholds` finds from where on to reject an image.
"""
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from support.files import BadInput

# ---------------------------------------------------------------------------------------------------
# Scores: logits (C, y, x) → (y, x)


def energy(logits: np.ndarray) -> np.ndarray:
    """Return log Σ exp(logit), the negative free energy (Liu et al., 2020): all logits count, the highest most."""
    highest = logits.max(axis=0)             # taken out, as exp would overflow
    return highest + np.log(np.exp(logits - highest).sum(axis=0))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the highest of the class probabilities (Hendrycks & Gimpel, 2017): 1 where the network is sure."""
    return np.exp(logits.max(axis=0) - energy(logits))


def logit(logits: np.ndarray) -> np.ndarray:
    """Return the highest logit (Hendrycks et al., 2022): what softmax forgets is how large they all are."""
    return logits.max(axis=0)


def entropy(logits: np.ndarray) -> np.ndarray:
    """Return the negative entropy of the class probabilities, in nats: 0 where one class has them all, else below."""
    log_probabilities = logits - energy(logits)      # of the softmax
    return (np.exp(log_probabilities) * log_probabilities).sum(axis=0)


OF_LOGITS = {"softmax": softmax, "logit": logit, "energy": energy, "entropy": entropy}


# ---------------------------------------------------------------------------------------------------
# Scores of whole images


class MeanScores:
    """Scores of an image from its logits: their means over all pixels, piece by piece.

    Names that are no score of logits are left out.
    """

    def __init__(self, names: Iterable[str]):
        self.functions = {name: OF_LOGITS[name] for name in names if name in OF_LOGITS}
        self.pixels, self.sums = 0, dict.fromkeys(self.functions, 0.0)

    def add_up(self, piece: tuple) -> tuple:
        """Add up the scores of one piece of those that patches.core_logits yields, and return it."""
        _, _, logits = piece
        self.pixels += logits[0].size
        for name, function in self.functions.items():
            self.sums[name] += function(logits).sum(dtype=np.float64)
        return piece

    def scores(self) -> dict[str, float]:
        """Return {name: score} of the pieces so far."""
        return {name: float(total / self.pixels) for name, total in self.sums.items()}


class FeatureDistance:
    """How far the features of an image are from the training's; `with FeatureDistance(layers) as distance:`.

    BatchNorm keeps the mean and variance of each channel over the training: statistics of the training
    set's features that every checkpoint holds. The image has its own, over all of its pixels. Between normal
    distributions of these, the squared Wasserstein distance is (difference of means)² + (difference of
    deviations)², here in units of the training's variance and averaged over channels, then over layers
    (Schneider et al., 2020, measure with it how far corruptions move an image). Windows overlap, so pixels
    near their edges count more than once. Raises BadInput where there are no layers.
    """

    def __init__(self, batchnorms: list):
        if not batchnorms:
            raise BadInput("--score features: this network has no BatchNorm, whose statistics it compares; expected "
                           "one that has, as all U-Nets, or another score")
        self.layers = batchnorms
        self.sums: list = [0] * len(batchnorms)  # float64 (3, C): how many values, their sum, their squares

    def __enter__(self) -> "FeatureDistance":
        self.hooks = [layer.register_forward_pre_hook(
            lambda layer, inputs, place=place: self.add(place, inputs[0])) for place, layer in enumerate(self.layers)]
        return self

    def __exit__(self, *error: Any) -> None:
        for hook in self.hooks:
            hook.remove()

    def add(self, place: int, x: Any) -> None:
        """Add the inputs (N, C, h, w) of the layer at this place."""
        import torch

        x = x.double()
        count = torch.full_like(x[0, :, 0, 0], len(x) * x[0, 0].numel())
        self.sums[place] = self.sums[place] + torch.stack([count, x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))])

    def value(self) -> float:
        """Return the distance of all that was added."""
        gaps = []
        for layer, (count, total, squares) in zip(self.layers, self.sums):
            mean, deviation = total / count, (squares / count - (total / count)**2).clamp_min(0).sqrt()
            usual = (layer.running_var.double() + layer.eps).sqrt()
            gap = ((mean - layer.running_mean) / usual)**2 + (deviation / usual - 1)**2
            gaps.append(gap.mean().item())
        return sum(gaps) / len(gaps)


# ---------------------------------------------------------------------------------------------------
# Scores → decisions


def threshold(scores: list[float], keep: float) -> float:
    """Return a threshold that keeps at least this share of the images, and hardly more: what is below is rejected.

    Rounded down to five digits, so that it still does when it was printed and typed again.
    """
    least = sorted(scores)[math.floor((1 - keep) * len(scores) + 1e-9)]
    unit = 10.0 ** (math.floor(math.log10(abs(least))) - 4) if least else 1.0
    return float(f"{math.floor(least / unit) * unit:.5g}")


def auroc(familiar: np.ndarray, others: np.ndarray) -> float:
    """Return the chance that a familiar image scores higher than another one, a tie counting half."""
    others = np.sort(others)
    below, not_above = (np.searchsorted(others, familiar, side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(others))
