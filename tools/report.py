"""A finished training as a report to hand in: report.md with its pictures, and the same as report.pdf.

    python -m tools.report runs/name           tested on the images that it validated on
    python -m tools.report runs/name --images DIR/images --masks DIR/masks --only DIR/test.txt --title "Plants"

What it learned from, the network, its settings, the machine and the minutes, curves, figures of each class, the best,
median and worst predictions, the speed. All of it is read from RUN_DIR or measured now.
"""
from support.arguments import train_arguments
from support.script import run_script
from tools.arguments import report_arguments

if __name__ == "__main__":
    ARGS = report_arguments(description=__doc__)     # before the imports that take seconds

import csv
import math
import re
import statistics
import textwrap
from datetime import date
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageFont

import metrics
import train
from evaluate import without_iou
from patches import MAX_SIDE, tiles, zoomed_size
from segmenter import Segmenter
from support.files import MARK, STAMP, BadInput, check_writable, keep_apart, one_writer, seal, write_text, write_whole
from support.machine import WORLD
from support.masks import foreground_index
from support.plots import best_median_worst, draw_curves, draw_gallery, gallery_title
from support.run_files import FORMER_HISTORY, HISTORY, NOT_SETTINGS
from tools.scoring import Examples, find_examples, score
from tools.show import summary

SPEED_IMAGES = 30                # images that the speed is measured on, at most
VIEWS = {"none": 1, "mirror": 2, "all": 8}              # that --tta averages, by the flips of the training
PICTURES = ["curves", "best", "median", "worst", "gallery"]
WIDTH, HEIGHT, MARGIN = 8.27, 11.69, 0.8                # of a page, in inches: A4
FONTS = {"title": FontProperties(size=18, weight="bold"), "heading": FontProperties(size=13, weight="bold"),
         "text": FontProperties(size=9.5), "table": FontProperties(size=8, family="monospace")}


# ---------------------------------------------------------------------------------------------------
# What there is


def read_history(path):
    """Return the rows of history.csv as numbers; none if it is not there. Raises BadInput."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        history = [{name: float(row[name]) if row.get(name) else None for name in HISTORY} for row in rows]
        if not all(math.isfinite(row[name]) for row in history for name in FORMER_HISTORY if name != "val_iou"):
            raise ValueError("a number is missing")
        return history
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)[:100]
        raise BadInput(f"{path} is no history of a training ({reason}); expected what train.py writes") from None


def own_examples(metadata, network):
    """Return the images that the training validated on: (Examples, TrainingData). Raises BadInput if they changed."""
    args = train_arguments([], **metadata["settings"])
    if not args.data and not all(Path(path).exists() for path in (args.image, args.mask)):
        raise BadInput(f"{args.image} and {args.mask} are not here")
    data = train.load_data(args, network.halo)
    known = [[(entry["name"], entry["value"]) for entry in classes] for classes in (data.classes, metadata["classes"])]
    if data.fingerprint != metadata["data"] or known[0] != known[1]:
        raise BadInput(f"{args.data or args.image} has changed since the training, or was read otherwise by another "
                       "version")
    whole = not data.held_out and data.validation[0][0] is data.training[0][0]
    strip = f"{args.image}, the very pixels that it learned from, which flatters" if whole else (
        f"a strip held out of {args.image}")
    source = f"the {len(set(data.held_out))} images held out of {args.data}" if data.held_out else strip
    names = data.held_out or [args.image] * len(data.validation)
    return Examples(names, lambda place: data.validation[place][:2], source), data


# ---------------------------------------------------------------------------------------------------
# The report as a list of blocks: ("heading", text), ("text", text), ("table", text), ("picture", path, caption)


def about_data(metadata, data):
    settings = metadata["settings"]
    source = settings["data"] or f"{settings['image']} and {settings['mask']}"
    lines = [f"Trained on {source}" + (f", {len(data.training)} images" if data and data.held_out else "") + "."]
    if data:
        shares = data.training.cumulative_counts[-1] / data.training.cumulative_counts[-1][-1]
        lines.append("Pixels of each class in the training images: " + ", ".join(
            f"{entry['name']} {share:.1%}" for entry, share in zip(data.classes, shares)) + ".")
    if metadata["ignore"]:
        lines.append(f"Mask values that are ignored: {', '.join(map(str, metadata['ignore']))}.")
    return [("heading", "Data"), ("text", " ".join(lines))]


def about_network(segment, rows):
    table = [f"{'layer':<12}{'output':>16}{'parameters':>12}{'MFLOPs':>10}"]
    table += [f"{name:<12}{'x'.join(map(str, shape)):>16}{parameters:>12,}{flops / 1e6:>10.1f}"
              for name, shape, parameters, flops, _ in rows]
    parameters, flops = sum(row[2] for row in rows), sum(row[3] for row in rows)
    table.append(f"{'together':<28}{parameters:>12,}{flops / 1e6:>10.1f}")
    at = "" if segment.zoom == 1 else f" It sees images at {segment.zoom:g} times their size."
    kind = type(segment.network).__name__
    return [("heading", "Network"),
            ("text", f"{kind}, {parameters:,} parameters, {flops / 1e9:.2f} GFLOPs for a window of 256x256x3, the "
                     "largest that it may see (a multiply-add is 2). What it says of a pixel depends on a square of "
                     f"{rows[-1][4]} pixels at most.{at}"),
            ("table", "\n".join(table))]


def about_training(metadata, history, rows):
    settings, blocks = metadata["settings"], [("heading", "Training")]
    machine = ", ".join(f"{name} {value}" for name, value in metadata["versions"].items())
    if history:
        windows = len(history) * settings["steps"] * settings["batch"] * settings["patch"] ** 2 / 256**2
        flops = 3 * windows * sum(row[3] for row in rows)
        blocks.append(("text", f"{len(history)} epochs of {settings['steps']} steps, each of {settings['batch']} "
                               f"patches of {settings['patch']}x{settings['patch']} pixels, in "
                               f"{history[-1]['seconds'] / 60:.1f} minutes: at most {flops / 1e12:.3g} TFLOPs, where "
                               "the backward pass counts twice."))
    shown = " ".join(f"{name}={value}" for name, value in settings.items()
                     if value is not None and value is not False and name not in NOT_SETTINGS)
    return [*blocks, ("text", f"The machine: {machine}."), ("text", "All settings:"),
            ("table", textwrap.fill(shown, 95, break_long_words=False, break_on_hyphens=False))]


def about_results(examples, scores, classes, tta):
    names = [entry["name"] for entry in classes]
    overall = metrics.overall(scores.confusion, scores.ious)
    index = foreground_index(classes)
    of_what = "mean IoU" if index is None else f"IoU of {names[index]}"
    spread = metrics.spread(scores.ious)
    absent = [name for name, pixels in zip(names, scores.confusion.sum(axis=1)) if not pixels]
    lines = [f"Tested on {examples.source}" + (", averaged over flips and turns." if tta else "."),
             f"All pixels together: accuracy {metrics.format_metric(overall['accuracy'])}, mean IoU "
             f"{metrics.format_metric(overall['mean_iou'])}, mean Dice {metrics.format_metric(overall['mean_f1'])}.",
             f"Mean over the images of their {of_what}: {metrics.format_metric(overall['image_iou'])}" +
             (f" (standard deviation {spread:.4f})." if spread is not None else ".")]
    empty = [name for name, iou in zip(examples.names, scores.ious) if iou is None]
    if empty:
        lines.append(f"This mean is without {without_iou(empty, classes)}.")
    if absent:
        lines.append(f"No true pixel is of {', '.join(absent)}.")
    return [("heading", "Results"), ("text", " ".join(lines)), ("table", metrics.table(scores.confusion, names))]


def about_speed(scores, segment, rows, views):
    size = zoomed_size(scores.size, segment.zoom)
    window_height, window_width, cover = tiles(*size, segment.halo, segment.network.stride, limit=segment.limits(*size))
    what = "windows" if segment.limit == MAX_SIDE else "regions, each run in windows,"
    flops = views * len(cover) * sum(row[3] for row in rows) * window_height * window_width / 256**2
    timed = [1000 * second for second in scores.seconds[1:SPEED_IMAGES + 1] or scores.seconds]      # the first warms up
    return [("heading", "Speed"),
            ("text", f"An image takes {statistics.median(timed):.0f} ms (median of {len(timed)}, from {min(timed):.0f} "
                     f"to {max(timed):.0f}) on {segment.device.type} with {torch.get_num_threads()} threads, decoding "
                     f"apart. The first, of {scores.size[1]}x{scores.size[0]} pixels, is cut into {what} "
                     f"of {window_width}x{window_height} with a halo of {segment.halo}, {len(cover)} in all" +
                     (f", in {views} views" if views > 1 else "") + (", in 16 bits" if segment.in_16_bits else "") +
                     f": about {flops / 1e9:.1f} GFLOPs.")]


# ---------------------------------------------------------------------------------------------------
# Blocks → files


def as_markdown(title, blocks):
    def plain(text):             # a file's name may hold what Markdown takes for its own
        return re.sub(r"([\\`*_<\[#])", r"\\\1", text)

    text = [f"# {plain(title)}", f"<!-- {STAMP}: tools.report -->"]
    for kind, *content in blocks:
        if kind == "heading":
            text.append(f"## {content[0]}")
        elif kind == "text":
            text.append(textwrap.fill(plain(content[0]), 118, break_long_words=False, break_on_hyphens=False))
        elif kind == "table":
            text.append(f"```\n{content[0]}\n```")
        else:
            text.append(f"![{content[1]}]({content[0].name})")
    return "\n\n".join(text) + "\n"


def lines_of(text, font):
    """Yield the lines of a text, broken so that they fit on a page."""
    measure = ImageFont.truetype(findfont(font), 100)
    fits = lambda line: measure.getlength(line) * font.get_size() / 100 < 72 * (WIDTH - 2 * MARGIN)
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and not fits(longer):
                yield line
                longer = word
            while not fits(longer) and len(longer) > 1:               # a single word that is too long
                part = next(count for count in range(len(longer), 0, -1) if fits(longer[:count]) or count == 1)
                yield longer[:part]
                longer = longer[part:]
            line = longer
        yield line


class Pages:
    """A4 pages that are filled from the top: `y` is how far above its lower edge the last one is still empty."""

    def __init__(self):
        self.pages, self.y = [], 0.0

    def make_room(self, needed):
        """Begin a new page unless so many inches are left on this one."""
        if not self.pages or self.y - needed < MARGIN:
            self.pages.append(Figure(figsize=(WIDTH, HEIGHT)))
            self.y = HEIGHT - MARGIN

    def add_picture(self, path):
        picture = Image.open(path).convert("RGB")
        scale = min((WIDTH - 2 * MARGIN) / picture.width, (HEIGHT - 2 * MARGIN - 0.2) / picture.height)
        width, height = scale * picture.width, scale * picture.height
        self.make_room(height + 0.2)
        self.y -= height + 0.1
        axes = self.pages[-1].add_axes([MARGIN / WIDTH, self.y / HEIGHT, width / WIDTH, height / HEIGHT])
        axes.imshow(np.asarray(picture), interpolation="lanczos")
        axes.set_axis_off()
        self.y -= 0.1

    def add_text(self, kind, text):
        font = FONTS[kind]
        line = 1.35 * font.get_size() / 72
        rows = text.splitlines() if kind == "table" else list(lines_of(text, font))
        size = font.get_size() * min(1, 100 / max(map(len, rows))) if kind == "table" else font.get_size()   # 100 fit
        self.make_room(line * min(len(rows), 3) + (0.8 if kind == "heading" else 0))       # it stays with what follows
        for row in rows:
            self.make_room(line)
            self.y -= line
            self.pages[-1].text(MARGIN / WIDTH, self.y / HEIGHT, row, size=size, weight=font.get_weight(),
                                family=font.get_family(), parse_math=False)
        self.y -= 0.12


def write_pdf(path, title, blocks):
    """Write the blocks one below the other on A4 pages."""
    filled = Pages()
    for kind, content, *_ in [("title", title), *blocks]:
        if kind == "picture":
            filled.add_picture(content)
        else:
            filled.add_text(kind, content)
    with write_whole(path) as temporary:
        with PdfPages(temporary, metadata={"Title": title, "Creator": MARK}) as pdf:
            for place, page in enumerate(filled.pages, start=1):
                page.text(0.5, 0.4 / HEIGHT, f"{place} of {len(filled.pages)}", size=8, ha="center")
                pdf.savefig(page, dpi=200)
        with temporary.open("ab") as file:   # readers stop before; so it can be told that the file is ours
            file.write(f"% {STAMP}\n".encode())
        seal(temporary)


def report(args):
    """Make the report that `args` ask for. Raises BadInput."""
    if WORLD > 1:
        raise BadInput("a report is made by one process; expected no torchrun")
    keep_apart(args.out or args.run, args.images, args.masks)
    segment = Segmenter.load(Path(args.run) / "model.pt", args.device, args.halo, args.tta, amp=args.amp)
    with one_writer(args.out or args.run, "report"):            # the training itself may still go on
        make_report(args, segment)


def make_report(args, segment):
    """Test the network of the run, write the pictures, and write report.md and report.pdf."""
    run, out = Path(args.run), Path(args.out or args.run)
    metadata = segment.metadata
    if not isinstance(metadata.get("metrics"), dict):
        raise BadInput(f"{run / 'model.pt'} does not say how right it is; expected what train.py writes")
    metadata["settings"] = vars(train_arguments([], **metadata["settings"]))     # with knobs newer than it
    history, classes = read_history(run / "history.csv"), metadata["classes"]
    markdown, pdf = check_writable(out / "report.md"), check_writable(out / "report.pdf")
    pictures = {name: check_writable(out / f"report_{name}.png") for name in PICTURES}
    data = None
    examples = find_examples(args.images, args.masks, segment, only=args.only) if args.images else None
    try:
        own, data = own_examples(metadata, segment.network)
        examples = examples or own
    except BadInput as error:
        if not examples:
            raise BadInput(f"what the network was trained on cannot be read any more ({error}); expected it there, or "
                           "--images and --masks to test on") from None
        print(f"without the figures of what it was trained on: {error}")
    rows = summary(segment.network)
    scores = score(examples, segment, classes)
    blocks = [("text", f"Made on {date.today()} by tools.report."), *about_data(metadata, data),
              *about_network(segment, rows), *about_training(metadata, history, rows)]
    if history:
        best, loss = metadata["metrics"], metadata["settings"]["loss"]
        caption = draw_curves(history, best, loss, pictures["curves"], with_metrics=True)
        blocks.append(("picture", pictures["curves"], caption))
    blocks += about_results(examples, scores, classes, args.tta)
    ranked = sorted((iou, place) for place, iou in enumerate(scores.ious) if iou is not None)
    chosen = best_median_worst(ranked, args.gallery)

    def shown(kind):             # one after the other, since images may be large
        for _, (iou, place) in (item for item in chosen if item[0] == kind):
            image, truth = examples.read(place)
            yield gallery_title(kind, examples.names[place], iou), image, truth, segment(image)

    for kind in dict.fromkeys(kind for kind, _ in chosen):
        picture = pictures[kind or "gallery"]
        draw_gallery(shown(kind), classes, picture)
        blocks.append(("picture", picture, f"{kind.capitalize() or 'All'}: image, truth, prediction, errors"))
    views = VIEWS[metadata["settings"]["flips"]] if args.tta else 1
    blocks += about_speed(scores, segment, rows, views)
    title = args.title or run.resolve().name
    write_text(markdown, as_markdown(title, blocks))
    write_pdf(pdf, title, blocks)
    print(f"see {markdown} and {pdf}")


if __name__ == "__main__":
    run_script(report, ARGS, "tools.report")
