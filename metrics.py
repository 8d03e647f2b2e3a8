"""One confusion matrix → accuracy, IoU, Dice, precision and recall of each class.

A metric that does not exist, because the class occurs neither in the truth nor in the prediction, is None
and prints as "n/a"; it is left out of means, where a 0 or a NaN would spoil them.
"""
from collections.abc import Iterable

import numpy as np

from support.images import IGNORE, foreground_index

PART = 2**20                     # pixels counted at once: bytes become numbers of eight bytes for it


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Return pixel counts, int64 (classes, classes): row = true class, column = predicted class.

    Both are arrays of class indices of one shape; pixels whose truth is IGNORE (255) are not counted. Add the
    matrices of several images to score them together.
    """
    counts, truth, prediction = np.zeros(classes**2, np.int64), truth.ravel(), prediction.ravel()
    for start in range(0, truth.size, PART):
        known = truth[start:start + PART] != IGNORE
        pairs = truth[start:start + PART][known].astype(np.int64) * classes + prediction[start:start + PART][known]
        counts += np.bincount(pairs, minlength=classes**2)
    return counts.reshape(classes, classes)


def ratios(numerators: Iterable, denominators: Iterable) -> list[float | None]:
    """Return the quotients as a list, None where a denominator is 0."""
    return [float(n / d) if d else None for n, d in zip(numerators, denominators)]


def accuracy(confusion: np.ndarray) -> float | None:
    """Return the share of all pixels that are right, or None if there are none."""
    return ratios([np.trace(confusion)], [confusion.sum()])[0]


def iou(confusion: np.ndarray) -> list[float | None]:
    """Return the intersection over union of each class: TP / (TP + FP + FN) (Jaccard index)."""
    hits = np.diag(confusion)
    return ratios(hits, confusion.sum(axis=0) + confusion.sum(axis=1) - hits)


def dice(confusion: np.ndarray) -> list[float | None]:
    """Return 2·TP / (2·TP + FP + FN) of each class, also called F1."""
    return ratios(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def precision(confusion: np.ndarray) -> list[float | None]:
    """Return, of the pixels predicted as each class, the share that is."""
    return ratios(np.diag(confusion), confusion.sum(axis=0))


def recall(confusion: np.ndarray) -> list[float | None]:
    """Return, of the pixels of each class, the share that was found."""
    return ratios(np.diag(confusion), confusion.sum(axis=1))


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that exist, or None."""
    existing = [value for value in values if value is not None]
    return sum(existing) / len(existing) if existing else None


def foreground_or_mean(values: list[float | None], classes: list[dict]) -> float | None:
    """Return the value of the class that matters (see foreground_index), or the mean where none stands out."""
    index = foreground_index(classes)
    return mean(values) if index is None else values[index]


def format_metric(value: float | None) -> str:
    """Return a metric with four decimals, or n/a."""
    return "n/a" if value is None else f"{value:.4f}"


def table(confusion: np.ndarray, names: list[str]) -> str:
    """Return the metrics of all classes as lines of text."""
    columns = [iou, dice, precision, recall]
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{column.__name__:>11}" for column in columns)]
    for name, row in zip(names, zip(*(column(confusion) for column in columns))):
        lines.append(f"{name:<{width}}" + "".join(f"{format_metric(value):>11}" for value in row))
    return "\n".join(lines)


def by_class(confusion: np.ndarray, classes: list[dict]) -> list[dict]:
    """Return each class with its metrics: [{"name", "value", "pixels", "iou", "dice", "precision", "recall"}, …]."""
    columns = {column.__name__: column(confusion) for column in (iou, dice, precision, recall)}
    return [{**entry, "pixels": int(confusion[index].sum()),
             **{name: column[index] for name, column in columns.items()}}
            for index, entry in enumerate(classes)]


def overall(confusion: np.ndarray, image_ious: list[float | None]) -> dict[str, float | None]:
    """Return what a whole data set scores, by its summed confusion matrix and by the mean of one IoU an image.

    Scorers disagree about images whose IoU does not exist: some leave them out, others count them as 1.
    """
    return {"accuracy": accuracy(confusion), "mean_iou": mean(iou(confusion)), "mean_f1": mean(dice(confusion)),
            "image_iou": mean(image_ious),
            "image_iou_empty_as_1": mean([1.0 if value is None else value for value in image_ious])}
