"""One confusion matrix → accuracy, IoU, Dice, precision and recall of each class; counts along boundaries → F-score.

A ratio of nothing to nothing is None and prints as "n/a": the IoU and Dice of a class that occurs neither in the truth
nor in the prediction, the precision of one that is never predicted, the recall of one that never occurs. Means leave it
out, as a 0 or a NaN would spoil them.
"""
import statistics
from collections.abc import Iterable

import numpy as np

from support.masks import IGNORE, foreground_index

PART = 2**20                     # pixels counted at once: bytes become numbers of eight bytes for it
NEAR = 2                         # pixels that a boundary may be off


def confusion_matrix(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Return pixel counts, int64 (classes, classes): row = true class, column = predicted class.

    Both are arrays of class indices of one shape; pixels whose truth is IGNORE (255) are not counted. Add the
    matrices of several images to score them together. Raises ValueError for other shapes or indices, and TypeError for
    fractions.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"the truth is {truth.shape}, the prediction {prediction.shape}; expected one shape")
    counts, truth, prediction = np.zeros(classes**2, np.int64), truth.ravel(), prediction.ravel()
    for start in range(0, truth.size, PART):
        known = truth[start:start + PART] != IGNORE
        true, predicted = truth[start:start + PART][known], prediction[start:start + PART][known]
        lowest = min(true.min(initial=0), predicted.min(initial=0))
        highest = max(true.max(initial=0), predicted.max(initial=0))
        for index in lowest, highest:
            if not 0 <= index < classes:
                raise ValueError(f"class {index} is none of {classes}; expected 0 to {classes - 1}")
        counts += np.bincount(np.multiply(true, classes, dtype=np.int64) + predicted, minlength=classes**2)
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
    """Return the share of the pixels predicted as each class that belong to it."""
    return ratios(np.diag(confusion), confusion.sum(axis=0))


def recall(confusion: np.ndarray) -> list[float | None]:
    """Return the share of the pixels of each class that were predicted as it."""
    return ratios(np.diag(confusion), confusion.sum(axis=1))


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Return counts of boundary pixels, int64 (4, classes): predicted and right, predicted, true and found, true.

    Both are arrays (H, W) of class indices. A boundary pixel of a class touches another class with one of its
    four sides: the image's border is no boundary, nor is that of pixels whose truth is IGNORE (255). It is
    right, or found, where the other mask has a boundary pixel of the same class within a Euclidean distance of
    NEAR. One within NEAR of an ignored pixel is not counted, as its counterpart may lie there. Add the counts of
    several images to score them together.
    """
    counts, rows, margin = np.zeros((4, classes), np.int64), max(1, PART // truth.shape[1]), NEAR + 1
    for top in range(0, len(truth), rows):               # so many rows at once, with what these depend on
        above = min(top, margin)
        part = np.s_[top - above:top + rows + margin]
        ignored = truth[part] == IGNORE
        masks = np.where(ignored, IGNORE, prediction[part]), truth[part]
        edges = [boundary(mask, IGNORE) for mask in masks]
        counted = ~near(ignored, NEAR)
        counted[:above] = counted[above + rows:] = False
        for label in np.unique(np.concatenate([mask[edge] for mask, edge in zip(masks, edges)])):
            predicted, true = (edge & (mask == label) for mask, edge in zip(masks, edges))
            shown = [predicted & near(true, NEAR), predicted, true & near(predicted, NEAR), true]
            counts[:, label] += [np.count_nonzero(pixels & counted) for pixels in shown]
    return counts


def boundary(labels: np.ndarray, ignore: int = -1) -> np.ndarray:
    """Return which pixels, bool (H, W), touch another class with a side; neither of the two may be `ignore`."""
    found, known = np.zeros(labels.shape, bool), labels != ignore
    across = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
    down = (labels[1:] != labels[:-1]) & known[1:] & known[:-1]
    found[:, 1:] |= across
    found[:, :-1] |= across
    found[1:] |= down
    found[:-1] |= down
    return found


def near(pixels: np.ndarray, distance: int) -> np.ndarray:
    """Return which pixels, bool (H, W), have one of `pixels`, bool (H, W), within a Euclidean distance."""
    height, width = pixels.shape
    padded, found = np.pad(pixels, distance), np.zeros(pixels.shape, bool)
    for y, x in np.ndindex(2 * distance + 1, 2 * distance + 1):
        if (y - distance) ** 2 + (x - distance) ** 2 <= distance ** 2:
            found |= padded[y:y + height, x:x + width]
    return found


def boundary_f(counts: np.ndarray) -> list[float | None]:
    """Return the F-score of each class's boundary, from boundary_counts (after Csurka et al., BMVC 2013).

    It is the harmonic mean of the shares that are right and that are found: 0 where only one of the masks has
    such a boundary, None where none has. The paper scores each image by itself, and forgives a share of its diagonal.
    """
    scores: list[float | None] = []
    for right, predicted, found, true in counts.T.tolist():
        shares = right / predicted if predicted else 1.0, found / true if true else 1.0
        scores.append(2 * shares[0] * shares[1] / (sum(shares) or 1.0) if predicted or true else None)
    return scores


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that exist, or None."""
    existing = [value for value in values if value is not None]
    return sum(existing) / len(existing) if existing else None


def spread(values: Iterable[float | None]) -> float | None:
    """Return the standard deviation of the values that exist, with n − 1, or None of fewer than two."""
    existing = [value for value in values if value is not None]
    return statistics.stdev(existing) if len(existing) > 1 else None


def foreground_or_mean(values: list[float | None], classes: list[dict]) -> float | None:
    """Return the value of the class that matters (see foreground_index), or the mean where none stands out."""
    index = foreground_index(classes)
    return mean(values) if index is None else values[index]


def format_metric(value: float | None) -> str:
    """Return a metric with four decimals, or n/a."""
    return "n/a" if value is None else f"{value:.4f}"


def of_each_class(confusion: np.ndarray) -> dict[str, list[float | None]]:
    """Return {"iou": …, "dice": …, "precision": …, "recall": …}, lists with an entry for each class."""
    return {metric.__name__: metric(confusion) for metric in (iou, dice, precision, recall)}


def table(confusion: np.ndarray, names: list[str], boundaries: list[float | None] | None = None) -> str:
    """Return the metrics of all classes as lines of text; `boundaries` are their boundary_f, if known."""
    columns = of_each_class(confusion) | ({"boundary": boundaries} if boundaries else {})
    width = max(map(len, names))
    lines = [" " * width + "".join(f" {column:>10}" for column in columns)]
    for name, row in zip(names, zip(*columns.values())):
        lines.append(f"{name:<{width}}" + "".join(f"{format_metric(value):>11}" for value in row))
    return "\n".join(lines)


def by_class(confusion: np.ndarray, classes: list[dict]) -> list[dict]:
    """Return each class with its metrics: [{"name", "value", "pixels", "iou", "dice", "precision", "recall"}, …]."""
    columns = of_each_class(confusion)
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
