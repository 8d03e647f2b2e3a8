"""A finished training as a report to hand in: report.md with its pictures, and the same as report.pdf.

    python report.py runs/name                 tested on the images that it validated on
    python report.py runs/name --images DIR/images --masks DIR/masks --only DIR/test.txt --title "Plants on a field"

What it learned from, the network, its settings, the machine and the minutes, curves, figures of each class, the best,
median and worst predictions, the speed. All of it is read from RUN_DIR or measured now.
"""
from arguments import Parser, add_prediction_knobs, number


def parse_arguments(argv=None):
    parser = Parser(__file__, __doc__)
    add = parser.add_argument
    add("run", metavar="RUN_DIR", help="what train.py --out named: a folder with model.pt and history.csv")
    add("--images", metavar="DIR", help="images to test on (those that the training validated on)")
    add("--masks", metavar="DIR", help="their masks")
    add("--only", metavar="FILE", help="those that this text file names, one a line, without extension (all)")
    add("--gallery", type=number(int, 1, 5), default=2, metavar="N", help="show the N best, median and worst (2)")
    add("--title", help="of the report (the name of RUN_DIR)")
    add("--out", metavar="DIR", help="where the report goes (RUN_DIR)")
    add_prediction_knobs(add)
    args = parser.parse_args(argv)
    if bool(args.images) != bool(args.masks) or args.only and not args.images:
        parser.error("--images, --masks and --only: expected the first two together, --only with them")
    return args


if __name__ == "__main__":
    ARGS = parse_arguments()     # before the imports below, which take two seconds: --help and typos answer at once

import csv
import statistics
import sys
import textwrap
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

import metrics
import train
from checkpoint import load_checkpoint
from data import images_by_name, read_names, read_pair, some
from files import MARK, BadInput, claim, write_text, write_whole
from model import context, pick_device, summary
from patches import tiles
from predict import segmenter

SPEED_IMAGES = 30                # images that the speed is measured on, at most
NAMES = {"curves": "report_curves.png", "gallery": "report_gallery.png", "markdown": "report.md", "pdf": "report.pdf"}


class Test(NamedTuple):
    """What a network is tested on."""

    names: list
    read: object                 # place in the list → (image uint8 (H, W, 3), class indices uint8 (H, W))
    told: str                    # where they come from, for the reader


class Scores(NamedTuple):
    confusion: np.ndarray        # of all images together
    ious: list                   # of each image, None where there is nothing to score
    seconds: list                # of each prediction
    sizes: list                  # (height, width)


# ---------------------------------------------------------------------------------------------------
# What there is


def read_history(path):
    """The rows of history.csv as numbers; none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [{name: float(value) if value else None for name, value in row.items()}
                    for row in csv.DictReader(file)]
        except (ValueError, TypeError) as error:
            raise BadInput(f"{path} is no history of a training ({error}); expected what train.py writes") from None


def own_test(facts, model):
    """The images that the training validated on, as its settings find them: (Test, dataset.Data). Raises BadInput."""
    args = train.parse_arguments([], **facts["settings"])
    data = train.load_data(args, model)
    names = data.held_out or [f"the strip held out of {args.image}"] * len(data.validation)
    changed = "" if data.fingerprint == facts["data"] else "; the data have changed since the training"
    told = f"the {len(names)} images held out of {args.data}" if data.held_out else names[0]
    return Test(names, lambda place: data.validation[place][:2], told + changed), data


def given_test(args, facts):
    """The images and masks that the command line names. Raises BadInput."""
    images, masks = images_by_name(args.images), images_by_name(args.masks)
    names = read_names(args.only, masks) if args.only else [name for name in masks if name in images]
    missing = [name for name in names if name not in images]
    if missing or not names:
        raise BadInput(f"{args.images} lacks {some(missing) or 'all images'} that {args.masks} has masks of; expected "
                       "images and masks of the same names")
    read = lambda place: read_pair(images[names[place]], masks[names[place]], facts["classes"], facts["ignore"])
    which = f" that {args.only} names" if args.only else ""
    return Test(names, read, f"{len(names)} images of {args.images}{which}")


def score(test, segment, classes):
    """Predict all images of a Test: Scores."""
    confusion, ious, seconds, sizes = np.zeros((len(classes),) * 2, np.int64), [], [], []
    for place in tqdm(range(len(test.names)), unit="image", leave=False, disable=None):
        image, truth = test.read(place)
        began = time.perf_counter()
        prediction = segment(image)
        seconds.append(time.perf_counter() - began)
        one = metrics.confusion_matrix(truth, prediction, len(classes))
        confusion += one
        ious.append(metrics.foreground(metrics.iou(one), classes))
        sizes.append(truth.shape)
    return Scores(confusion, ious, seconds, sizes)


# ---------------------------------------------------------------------------------------------------
# The report as a list of blocks: ("heading", text), ("text", text), ("table", text), ("picture", path, caption)


def about_data(facts, data):
    settings = facts["settings"]
    source = settings.get("data") or f"{settings.get('image')} and {settings.get('mask')}"
    lines = [f"Trained on {source}" + (f", {len(data.training)} images" if data and data.held_out else "") + "."]
    if data:
        shares = data.training.ends[-1] / data.training.ends[-1][-1]
        lines.append("Pixels of each class in the training images: " + ", ".join(
            f"{one['name']} {share:.1%}" for one, share in zip(data.classes, shares)) + ".")
    if facts["ignore"]:
        lines.append(f"Mask values {some([str(value) for value in facts['ignore']])} are ignored.")
    return [("heading", "Data"), ("text", " ".join(lines))]


def about_network(model):
    rows = summary(model)
    table = [f"{'layer':<12}{'output':>16}{'parameters':>12}{'MFLOPs':>10}"]
    table += [f"{name:<12}{'x'.join(map(str, shape)):>16}{parameters:>12,}{flops / 1e6:>10.1f}"
              for name, shape, parameters, flops, _ in rows]
    parameters, flops = sum(row[2] for row in rows), sum(row[3] for row in rows)
    table.append(f"{'together':<28}{parameters:>12,}{flops / 1e6:>10.1f}")
    return [("heading", "Network"),
            ("text", f"{type(model).__name__}, {parameters:,} parameters, {flops / 1e9:.2f} GFLOPs for an input of "
                     "256x256x3 (a multiply-add is 2), after which an image is cut into windows. A pixel of the output "
                     f"sees a square of {rows[-1][4]} pixels at most."),
            ("table", "\n".join(table))]


def about_training(facts, history, model):
    settings, versions = facts["settings"], facts["versions"]
    shown = [f"{name}={value}" for name, value in settings.items() if value is not None and value is not False]
    blocks = [("heading", "Training")]
    if history:
        steps = len(history) * settings["steps"]
        windows = steps * settings["batch"] * settings["patch"] ** 2 / 256**2
        flops = 3 * windows * sum(row[3] for row in summary(model))
        machine = ", ".join(f"{name} {value}" for name, value in versions.items())
        blocks.append(("text", f"{len(history)} epochs of at most {settings['steps']} steps, each of "
                               f"{settings['batch']} patches of {settings['patch']}x{settings['patch']} pixels, in "
                               f"{history[-1]['seconds'] / 60:.1f} minutes: about {flops / 1e15:.2g} PFLOPs, where the "
                               f"backward pass counts twice. The machine: {machine}."))
    return [*blocks, ("text", "Settings: " + ", ".join(shown) + ".")]


def about_results(test, scores, classes):
    names = [one["name"] for one in classes]
    overall = metrics.overall(scores.confusion, scores.ious)
    front = metrics.front(classes)
    of_what = "mean IoU" if front is None else f"IoU of {names[front]}"
    existing = [iou for iou in scores.ious if iou is not None]
    spread = f" (standard deviation {statistics.stdev(existing):.4f})" if len(existing) > 1 else ""
    absent = [name for name, pixels in zip(names, scores.confusion.sum(axis=1)) if not pixels]
    lines = [f"Tested on {test.told}.",
             f"All pixels together: accuracy {metrics.text(overall['accuracy'])}, mean IoU "
             f"{metrics.text(overall['mean_iou'])}, mean Dice {metrics.text(overall['mean_f1'])}.",
             f"Mean over the images of their {of_what}: {metrics.text(overall['image_iou'])}{spread}."]
    if absent:
        lines.append(f"No true pixel is of {some(absent)}.")
    return [("heading", "Results"), ("text", " ".join(lines)), ("table", metrics.table(scores.confusion, names))]


def about_speed(scores, model, halo, zoom, device):
    height, width = scores.sizes[0]
    window_height, window_width, cover = tiles(max(1, round(zoom * height)), max(1, round(zoom * width)), halo,
                                               model.stride)
    flops = len(cover) * sum(row[3] for row in summary(model)) * window_height * window_width / 256**2
    timed = [1000 * second for second in scores.seconds[1:SPEED_IMAGES + 1] or scores.seconds]      # the first warms up
    return [("heading", "Speed"),
            ("text", f"An image takes {statistics.median(timed):.0f} ms (median of {len(timed)}, from {min(timed):.0f} "
                     f"to {max(timed):.0f}) on {device.type} with {torch.get_num_threads()} threads, decoding apart. "
                     f"The first, of {width}x{height} pixels, takes {len(cover)} windows of "
                     f"{window_width}x{window_height} with a halo of {halo}: about {flops / 1e9:.1f} GFLOPs.")]


# ---------------------------------------------------------------------------------------------------
# Blocks → files


def as_markdown(title, blocks):
    text = [f"# {title}", f"<!-- {MARK}: report.py -->"]
    for kind, *content in blocks:
        if kind == "heading":
            text.append(f"## {content[0]}")
        elif kind == "text":
            text.append(textwrap.fill(content[0], 118, break_long_words=False, break_on_hyphens=False))
        elif kind == "table":
            text.append(f"```\n{content[0]}\n```")
        else:
            text.append(f"![{content[1]}]({content[0].name})")
    return "\n\n".join(text) + "\n"


def write_pdf(path, title, blocks):
    """The blocks one below the other on A4 pages."""
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure
    from PIL import Image

    width, height, margin = 8.27, 11.69, 0.8                          # inches
    fonts = {"title": (18, "bold", "sans-serif"), "heading": (13, "bold", "sans-serif"),
             "text": (9.5, "normal", "sans-serif"), "table": (8, "normal", "monospace")}
    figure, y, pages = None, 0.0, []

    def room(needed):            # on this page, or else on a new one
        nonlocal figure, y
        if figure is None or y - needed < margin:
            figure, y = Figure(figsize=(width, height)), height - margin
            pages.append(figure)

    for kind, *content in [("title", title), *blocks]:
        if kind == "picture":
            picture = Image.open(content[0]).convert("RGB")
            scale = min((width - 2 * margin) / picture.width, (height - 2 * margin - 0.2) / picture.height)
            room(scale * picture.height + 0.2)
            y -= scale * picture.height + 0.1
            axes = figure.add_axes([margin / width, y / height, scale * picture.width / width,
                                    scale * picture.height / height])
            axes.imshow(np.asarray(picture), interpolation="lanczos")
            axes.set_axis_off()
            y -= 0.1
            continue
        size, weight, family = fonts[kind]
        lines = content[0].splitlines() if kind == "table" else textwrap.wrap(content[0], 94 if kind == "text" else 52)
        line = 1.35 * size / 72
        room(line * min(len(lines), 3) + (0.8 if kind == "heading" else 0))          # a heading stays with what follows
        for row in lines:
            room(line)
            y -= line
            figure.text(margin / width, y / height, row, size=size, weight=weight, family=family, parse_math=False)
        y -= 0.12
    with write_whole(path) as temporary, PdfPages(temporary, metadata={"Title": title, "Creator": MARK}) as pdf:
        for place, page in enumerate(pages, start=1):
            page.text(0.5, 0.4 / height, f"{place} of {len(pages)}", size=8, ha="center")
            pdf.savefig(page)


def report(args):
    """Do what `args` ask for (see parse_arguments)."""
    run, out = Path(args.run), Path(args.out or args.run)
    model, facts = load_checkpoint(run / "model.pt")
    history, classes = read_history(run / "history.csv"), facts["classes"]
    out.mkdir(parents=True, exist_ok=True)
    paths = {kind: claim(out / name) for kind, name in NAMES.items()}
    device, data = pick_device(args.device), None
    halo, zoom = context(model, args.halo), facts["settings"].get("zoom", 1)
    try:
        test, data = own_test(facts, model)
    except BadInput as error:
        if not args.images:
            raise BadInput(f"what the network was trained on cannot be read any more ({error}); expected it there, or "
                           "--images and --masks to test on") from None
    if args.images:
        test = given_test(args, facts)

    scores = score(test, segmenter(model, facts, device, halo, args.tta), classes)
    blocks = [*about_data(facts, data), *about_network(model), *about_training(facts, history, model)]
    from plots import draw_curves, draw_gallery  # only now: matplotlib takes half a second

    if history:
        best = facts.get("metrics") or min(history, key=lambda row: row["val_loss"])
        draw_curves(history, best, facts["settings"].get("loss", "ce"), paths["curves"], figures=True)
        blocks.append(("picture", paths["curves"], "Loss, IoU and accuracy against epochs"))
    blocks += about_results(test, scores, classes)
    ranked = sorted((iou, place) for place, iou in enumerate(scores.ious) if iou is not None)
    if ranked:
        segment = segmenter(model, facts, device, halo, args.tta)
        rows = []
        for kind, (iou, place) in metrics.best_median_worst(ranked, args.gallery):
            image, truth = test.read(place)
            title = f"{kind + ': ' if kind else ''}{test.names[place]}: IoU {iou:.4f}"
            rows.append((title, image, truth, segment(image)))
        draw_gallery(rows, classes, paths["gallery"])
        blocks.append(("picture", paths["gallery"], "Best, median and worst: image, truth, prediction, errors"))
    blocks += about_speed(scores, model, halo, zoom, device)
    title = args.title or run.resolve().name
    blocks.insert(0, ("text", f"Made on {date.today()} by report.py."))
    write_text(paths["markdown"], as_markdown(title, blocks))
    write_pdf(paths["pdf"], title, blocks)
    print(f"see {paths['markdown']} and {paths['pdf']}")


def main(args):
    try:
        report(args)
    except BadInput as error:
        sys.exit(f"report.py: {error}")
    except KeyboardInterrupt:
        sys.exit("report.py: interrupted")


if __name__ == "__main__":
    main(ARGS)
