"""One confusion matrix → accuracy, IoU, Dice, precision and recall of each class.

A figure that does not exist, because the class occurs neither in the truth nor in the prediction, is None
and prints as "n/a"; it is left out of means, where a 0 or a NaN would spoil them.
"""
import numpy as np

from data import IGNORE


def confusion_matrix(truth, prediction, classes):
    """Pixel counts, int64 (classes, classes): row = true class, column = predicted class.

    Both are arrays of class indices of one shape; pixels whose truth is IGNORE (255) are not counted. Add the
    matrices of several images to score them together.
    """
    known = truth != IGNORE
    pairs = truth[known].astype(np.int64) * classes + prediction[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def ratios(numerators, denominators):
    return [float(n / d) if d else None for n, d in zip(numerators, denominators)]


def accuracy(confusion):
    """Share of all pixels that are right, or None if there are none."""
    return ratios([np.trace(confusion)], [confusion.sum()])[0]


def iou(confusion):
    """Intersection over union of each class: TP / (TP + FP + FN) (Jaccard index)."""
    hits = np.diag(confusion)
    return ratios(hits, confusion.sum(axis=0) + confusion.sum(axis=1) - hits)


def dice(confusion):
    """2·TP / (2·TP + FP + FN) of each class, also called F1."""
    return ratios(2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def precision(confusion):
    """Of the pixels predicted as a class, the share that is."""
    return ratios(np.diag(confusion), confusion.sum(axis=0))


def recall(confusion):
    """Of the pixels of a class, the share that was found."""
    return ratios(np.diag(confusion), confusion.sum(axis=1))


def mean(figures):
    """Mean of the figures that exist, or None."""
    existing = [figure for figure in figures if figure is not None]
    return sum(existing) / len(existing) if existing else None


def front(classes):
    """The index of the class that matters of two: the one named foreground, or not named background; else None."""
    names = [one["name"] for one in classes]
    if "foreground" in names:
        return names.index("foreground")
    return 1 - names.index("background") if len(names) == 2 and "background" in names else None


def foreground(figures, classes):
    """The figure of the class that matters (see front), or the mean over all classes where none stands out."""
    return mean(figures) if front(classes) is None else figures[front(classes)]


def text(figure):
    """A figure with four decimals, or n/a."""
    return "n/a" if figure is None else f"{figure:.4f}"


def table(confusion, names):
    """The figures of all classes as lines of text."""
    columns = [iou, dice, precision, recall]
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{column.__name__:>11}" for column in columns)]
    for name, row in zip(names, zip(*(column(confusion) for column in columns))):
        lines.append(f"{name:<{width}}" + "".join(f"{text(figure):>11}" for figure in row))
    return "\n".join(lines)


def by_class(confusion, classes):
    """Each class with its figures: [{"name", "value", "pixels", "iou", "dice", "precision", "recall"}, …]."""
    columns = {column.__name__: column(confusion) for column in (iou, dice, precision, recall)}
    return [{**one, "pixels": int(confusion[index].sum()), **{name: column[index] for name, column in columns.items()}}
            for index, one in enumerate(classes)]


def best_median_worst(ranked, count):
    """Of things ranked from the worst to the best, [(kind, thing), …]: so many of each kind, none of them twice."""
    count = min(count, max(1, len(ranked) // 3))
    middle = (len(ranked) - count) // 2
    parts = {"best": ranked[::-1][:count], "median": ranked[middle:middle + count], "worst": ranked[:count]}
    chosen = [(kind, one) for kind, part in parts.items() for one in part]
    return chosen if len(ranked) > 2 else [("", one) for one in ranked[::-1]]


def overall(confusion, image_ious):
    """What a whole data set scores: by its summed confusion matrix, and by the mean of one IoU an image.

    Scorers disagree about images whose IoU does not exist: some leave them out, others count them as 1.
    """
    return {"accuracy": accuracy(confusion), "mean_iou": mean(iou(confusion)), "mean_f1": mean(dice(confusion)),
            "image_iou": mean(image_ious),
            "image_iou_empty_as_1": mean([1.0 if figure is None else figure for figure in image_ious])}
