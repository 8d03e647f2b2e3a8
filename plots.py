"""The pictures: loss curves, predictions, windows, training patches. Kind to colour-blind readers."""
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

import metrics
from data import IGNORE, class_colours
from files import write_image
from patches import Drawing, draw_batches, photometric_jitter, tiles

BLUE, ORANGE, SKY = "#0072b2", "#d55e00", "#56b4e9"    # from the palette of Okabe & Ito (2008)
LOSS_LABELS = {"ce": "cross-entropy (nats per pixel)", "bce": "cross-entropy (nats per pixel)", "focal": "focal loss",
               "dice": "1 - soft Dice"}


def save(figure, path):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    write_image(path, np.asarray(canvas.buffer_rgba())[:, :, :3].copy())


def draw_curves(history, best, loss, path, figures=False):
    """Training and validation loss, of the name `loss`, against epochs, from the rows of history.csv.

    With `figures`, beside them IoU and accuracy on the validation images.
    """
    figure = Figure(figsize=(11 if figures else 7, 4.2), dpi=120, layout="constrained")
    panels = [[("train_loss", ORANGE, "training (on augmented patches)"), ("val_loss", BLUE, "validation")],
              [("val_iou", BLUE, "IoU, validation"), ("val_accuracy", SKY, "accuracy, validation")]][:1 + figures]
    epochs = [row["epoch"] for row in history]
    for axes, curves in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for column, colour, label in curves:
            values = [np.nan if row[column] in (None, "") else float(row[column]) for row in history]
            axes.plot(epochs, values, color=colour, linewidth=2, label=label, marker="o" if len(epochs) == 1 else None)
        axes.axvline(best["epoch"], color="grey", linestyle=":",
                     label=f"kept: epoch {best['epoch']:.0f}, IoU {metrics.text(best['val_iou'])}")
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(edgecolor="none")
    axes = figure.axes[0]
    axes.set(ylabel=LOSS_LABELS.get(loss, f"loss ({loss})"), yscale="log", title="Loss against epochs")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    if figures:
        figure.axes[1].set(ylim=(0, 1), ylabel="share", title="Figures against epochs")
    save(figure, path)


def draw_prediction(image, truth, prediction, path):
    """Side by side: an image (H, W, 3), its mask, the prediction (class indices) and, coloured, the errors."""
    errors = np.repeat((truth * (180 / truth.max())).astype(np.uint8)[:, :, None], 3, axis=2)
    for wrong, colour in [(prediction > truth, ORANGE), (prediction < truth, BLUE)]:
        errors[wrong] = [round(255 * part) for part in to_rgb(colour)]
    figure = Figure(figsize=(12, 3 * image.shape[0] / image.shape[1] + 0.3), dpi=100, layout="constrained")
    shown = [(image, "image"), (truth, "mask"), (prediction, "prediction"), (errors, "missed: blue, invented: orange")]
    for axes, (array, title) in zip(figure.subplots(1, 4), shown):
        axes.imshow(array, cmap="gray")
        axes.set_title(title, fontsize=11)
        axes.set_axis_off()
    save(figure, path)


def draw_windows(image, halo, stride, window, path):
    """The windows that `patches.stitch` uses for an image (H, W, 3): all cores, one window with its halo."""
    def frame(x, y, width, height, **style):
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, **{"fill": False, **style}))

    window_height, window_width, cover = tiles(*image.shape[:2], halo, stride, window)
    figure = Figure(figsize=(6, 6 * min(image.shape[0] / image.shape[1], 4) + 0.7), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.imshow(image, alpha=0.6)
    for number, tile in enumerate(cover, start=1):
        frame(tile.left, tile.top, tile.right - tile.left, tile.bottom - tile.top, edgecolor="white", linewidth=1.5)
        if len(cover) <= 100:    # more numbers than that could not be read
            axes.text((tile.left + tile.right) / 2, (tile.top + tile.bottom) / 2, number, fontsize=13,
                      ha="center", va="center", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8})
    one = cover[len(cover) // 2]
    frame(one.x, one.y, window_width, window_height, fill=True, facecolor=BLUE, alpha=0.25)
    frame(one.x, one.y, window_width, window_height, edgecolor=BLUE, linewidth=3,
          label=f"window {len(cover) // 2 + 1}: {window_width}×{window_height} pixels in")
    frame(one.left, one.top, one.right - one.left, one.bottom - one.top, edgecolor=ORANGE, linewidth=3,
          label=f"its core: {one.right - one.left}×{one.bottom - one.top} pixels kept")
    axes.set(xlabel="x (pixels)", ylabel="y (pixels)",
             title=f"{len(cover)} windows overlap, their cores do not (halo {halo})")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def draw_patches(image, mask, seed, jitter, path):
    """Sixteen augmented training patches, one batch, the outline of the mask (class indices) drawn in."""
    from dataset import Samples  # only now: it needs PyTorch, the other pictures do not

    drawing = Drawing(seed, size=64, batch=16, balance=0.5)
    samples = Samples.held([(image, mask)], mask.max() + 1)
    [(patches, truths)] = draw_batches(samples, drawing, epoch=0, first=0, steps=1, slots=range(16))
    gain, offset = photometric_jitter(seed, epoch=0, step=0, count=16, strength=jitter)
    relit = (patches / 255 * gain[:, None, None] + offset[:, None, None]).clip(0, 1)
    figure = Figure(figsize=(9.6, 2.8), dpi=100, layout="constrained")
    for axes, patch, truth in zip(figure.subplots(2, 8).flat, relit, truths):
        axes.imshow(patch)
        if truth.min() < truth.max():
            axes.contour(truth, levels=np.arange(mask.max()) + 0.5, colors=SKY, linewidths=1.5)
        axes.set_axis_off()
    figure.suptitle("A batch of 16 training patches, 64×64: flipped, turned, relit; blue: the outline of the mask",
                    fontsize=10)
    save(figure, path)


def gallery_title(kind, name, iou):
    """The title of a row: "best" or so, if there are kinds, the image's name, its score."""
    return f"{kind + ': ' if kind else ''}{name}: IoU {iou:.4f}"


def draw_gallery(rows, classes, path):
    """A row for each of (title, image (H, W, 3) or None, truth, prediction (class indices)): these and the errors."""
    names, colours = [one["name"] for one in classes], class_colours(classes)
    colours[IGNORE] = 143, 169, 196                         # a grey blue, which no grey class and no error has
    front = 1 if metrics.front(classes) is None else metrics.front(classes)    # of two, the one that can be missed
    shown, occur = [], set()
    for title, image, truth, prediction in rows:
        errors = colours[truth]
        errors[truth != IGNORE] = errors[truth != IGNORE].mean(axis=1, keepdims=True) * 0.7    # greys: errors stand out
        wrong = (prediction != truth) & (truth != IGNORE)
        for where, colour in [(wrong, ORANGE), (wrong & (truth == front) & (len(classes) == 2), BLUE)]:
            errors[where] = np.array(to_rgb(colour)) * 255
        panels = {"image": image, "truth": colours[truth], "prediction": colours[prediction],
                  "missed: blue, invented: orange" if len(classes) == 2 else "errors: orange": errors}
        shown.append((title, truth.shape[0] / truth.shape[1],
                      {name: Image.fromarray(array).reduce(max(1, max(array.shape) // 500))      # all rows are held
                       for name, array in panels.items() if array is not None}))
        occur |= {*np.unique(truth).tolist(), *np.unique(prediction).tolist()}
    columns = max(len(panels) for _, _, panels in shown)
    heights = [8 / columns * min(aspect, 2) + 0.5 for _, aspect, _ in shown]
    in_a_row = max(1, 90 // (max(map(len, names)) + 6))
    legend_height = 0.3 + 0.2 * -(-len(occur) // in_a_row)
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
    legend = figure.legend(
        handles=[Rectangle((0, 0), 1, 1, facecolor=colours[index] / 255, edgecolor="grey",
                           label=(names + ["ignored"])[min(index, len(names))]) for index in sorted(occur)],
        loc="outside lower center", ncols=in_a_row, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)                          # a name may hold $
    save(figure, path)
