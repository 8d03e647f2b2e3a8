"""The pictures: loss curves, predictions, galleries. Kind to colour-blind readers."""
import math
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

from support.files import write_image
from support.masks import IGNORE, class_colours, foreground_index

BLUE, ORANGE, SKY = "#0072b2", "#d55e00", "#56b4e9"    # from the palette of Okabe & Ito (2008)
LOSS_LABELS = {"ce": "cross-entropy (nats per pixel)", "bce": "cross-entropy (nats per pixel)", "focal": "focal loss",
               "dice": "1 − soft Dice", "ce+dice": "cross-entropy (nats per pixel) + 1 − soft Dice",
               "bce+dice": "cross-entropy (nats per pixel) + 1 − soft Dice", "focal+dice": "focal loss + 1 − soft Dice"}

if "matplotlib.pyplot" not in sys.modules:       # else this is a program of the user's, which has its own style
    matplotlib.rcdefaults()      # a matplotlibrc may ask for LaTeX, say, which is not there
warnings.filterwarnings("ignore", "Glyph .* missing from")       # a file's name may hold what no font here can draw


def save(figure: Figure, path: Path | str, **changed: Any) -> None:
    """Write a matplotlib Figure as an image file; `changed` are as write_image takes them."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    write_image(path, np.asarray(canvas.buffer_rgba())[:, :, :3].copy(), **changed)


def draw_curves(history: list[dict], best: dict, loss: str, path: Path | str, with_metrics: bool = False) -> str:
    """Draw training and validation loss, of the name `loss`, against epochs, from the rows of history.csv.

    `best` is the row of the epoch that was kept. Beside the losses stand, `with_metrics`, IoU and accuracy on
    the validation images; of a single image, in any case, the IoU of its strip and of the strip's changed copies.
    Returns a caption.
    """
    kept_iou = "n/a" if best["val_iou"] is None else f"{best['val_iou']:.4f}"
    name, caption = "", "Loss"
    panels = [[("train_loss", ORANGE, "training (on augmented patches)"), ("val_loss", BLUE, "validation")]]
    if best.get("val_copies_iou") is not None:
        panels.append([("val_iou", BLUE, "IoU, strip held out"),
                       ("val_copies_iou", ORANGE, "IoU, the strip in another light, focus, size")])
        name, caption = "IoU", "Loss and IoU"
    elif with_metrics:
        panels.append([("val_iou", BLUE, "IoU, validation"), ("val_accuracy", SKY, "accuracy, validation")])
        name, caption = "IoU, accuracy", "Loss, IoU and accuracy"
    figure = Figure(figsize=(7 if len(panels) == 1 else 11, 4.2), dpi=120, layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, curves in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for column, colour, label in curves:
            values = np.array([row.get(column) for row in history], float)           # None becomes NaN
            axes.plot(epochs, values, color=colour, linewidth=2, label=label, marker="o" if len(epochs) == 1 else None)
        axes.axvline(best["epoch"], color="grey", linestyle=":",
                     label=f"kept: epoch {best['epoch']:.0f}, IoU {kept_iou}")
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(edgecolor="none")
    axes = figure.axes[0]
    axes.set(ylabel=LOSS_LABELS.get(loss, f"loss ({loss})"), yscale="log", title="Loss against epochs")
    least, most = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if most > 3 * least else MaxNLocator(5))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    if len(panels) == 2:
        figures = [row[column] for column, *_ in panels[1] for row in history if row.get(column) is not None]
        least = np.floor(20 * min(figures, default=0.0)) / 20         # most IoUs lie close together
        figure.axes[1].set(ylim=(min(least, 0.95), 1), ylabel=name, title=f"{name} against epochs")
    save(figure, path)
    return f"{caption} against epochs"


def best_median_worst(ranked: list, count: int) -> list[tuple]:
    """Return [(kind, thing), …] of things ranked from worst to best: so many of each kind, none of them twice."""
    count = min(count, max(1, len(ranked) // 3))
    middle = (len(ranked) - count) // 2
    parts = {"best": ranked[::-1][:count], "median": ranked[middle:middle + count], "worst": ranked[:count]}
    chosen = [(kind, thing) for kind, part in parts.items() for thing in part]
    return chosen if len(ranked) > 2 else [("", thing) for thing in ranked[::-1]]


def gallery_title(kind: str, name: str, iou: float) -> str:
    """Return the title of a row: "best" or so, if there are kinds, the image's name, its score."""
    return f"{kind + ': ' if kind else ''}{name}: IoU {iou:.4f}"


def gallery_panels(image: np.ndarray | None, truth: np.ndarray, prediction: np.ndarray, classes: list[dict],
                   colours: np.ndarray) -> dict[str, Image.Image]:
    """Return {title: picture uint8 (h, w, 3)} of one row of a gallery; `image` may be None."""
    errors = colours[truth]
    known = truth != IGNORE
    errors[known] = errors[known].mean(axis=1, keepdims=True) * 0.7       # greys: errors stand out
    wrong = (prediction != truth) & known
    errors[wrong] = np.array(to_rgb(ORANGE)) * 255
    title = "errors: orange"
    if len(classes) == 2:                    # one of the two can be missed
        index = foreground_index(classes)
        errors[wrong & (truth == (1 if index is None else index))] = np.array(to_rgb(BLUE)) * 255
        title = "missed: blue, invented: orange"
    panels = {"image": image, "truth": colours[truth], "prediction": colours[prediction], title: errors}
    return {name: Image.fromarray(array).reduce(max(1, max(array.shape) // 500))      # all rows are held
            for name, array in panels.items() if array is not None}


def draw_gallery(rows: Iterable[tuple], classes: list[dict], path: Path | str) -> None:
    """Draw a row for each of (title, image (H, W, 3) or None, truth, prediction): these and the errors.

    Truth and prediction are class indices uint8 (H, W).
    """
    names, colours = [entry["name"] for entry in classes], class_colours(classes)
    colours[IGNORE] = 143, 169, 196          # a grey blue, which no grey class and no error has
    shown, occur = [], set()
    for title, image, truth, prediction in rows:
        shown.append((title, truth.shape[0] / truth.shape[1],
                      gallery_panels(image, truth, prediction, classes, colours)))
        occur |= {*np.unique(truth).tolist(), *np.unique(prediction).tolist()}
    columns = max(len(panels) for _, _, panels in shown)
    heights = [8 / columns * min(aspect, 2) + 0.5 for _, aspect, _ in shown]
    in_a_row = max(1, 90 // (max(map(len, names)) + 6))
    legend_height = 0.3 + 0.2 * math.ceil(len(occur) / in_a_row)
    figure = Figure(figsize=(8, sum(heights) + legend_height), dpi=150, layout="constrained")
    parts = figure.subfigures(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (title, _, panels) in zip(parts, shown):
        title = title.encode(errors="backslashreplace").decode()          # a file's name need not be text
        part.suptitle(title, x=0.01, horizontalalignment="left", fontsize=10, fontweight="bold", parse_math=False)
        all_axes = part.subplots(1, columns, squeeze=False)[0]
        for axes in all_axes:
            axes.set_axis_off()
        for axes, (name, picture) in zip(all_axes[columns - len(panels):], panels.items()):
            axes.imshow(picture)
            axes.set_title(name, fontsize=8)
    add_class_legend(figure, names, colours, sorted(occur), in_a_row)
    save(figure, path)


def add_class_legend(figure: Figure, names: list[str], colours: np.ndarray, occurring: list[int],
                     in_a_row: int) -> None:
    """Add a legend of the class indices that occur, and of the ignored pixels, below a figure."""
    handles = [Rectangle((0, 0), 1, 1, facecolor=colours[index] / 255, edgecolor="grey",
                         label=(names + ["ignored"])[min(index, len(names))]) for index in occurring]
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=in_a_row, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)           # a name may hold $
