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
import re
import statistics
import sys
import textwrap
from datetime import date
from pathlib import Path

import numpy as np
import torch

import metrics
import processes
import train
from checkpoint import load_checkpoint
from files import MARK, BadInput, claim, write_text, write_whole
from model import pick_device, summary
from patches import context, tiles, zoomed
from predict import segmenter
from scoring import Examples, find_examples, score

SPEED_IMAGES = 30                # images that the speed is measured on, at most
VIEWS = {"none": 1, "mirror": 2, "all": 8}              # that --tta averages, by the flips of the training
PICTURES = ["curves", "best", "median", "worst", "gallery"]


# ---------------------------------------------------------------------------------------------------
# What there is


def read_history(path):
    """The rows of history.csv as numbers; none if it is not there. Raises BadInput."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [{name: float(row[name]) if row[name] else None for name in train.HISTORY} for row in rows]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise BadInput(f"{path} is no history of a training ({error!r}); expected what train.py writes") from None


def own_examples(facts, model):
    """The images that the training validated on: (Examples, dataset.Data). Raises BadInput where they have changed."""
    args = train.parse_arguments([], **facts["settings"])
    if not args.data and not all(Path(path).exists() for path in (args.image, args.mask)):
        raise BadInput(f"{args.image} and {args.mask} are not here")
    data = train.load_data(args, model)
    known = [[(one["name"], one["value"]) for one in classes] for classes in (data.classes, facts["classes"])]
    if data.fingerprint != facts["data"] or known[0] != known[1]:
        raise BadInput(f"{args.data or args.image} has changed since the training")
    whole = not data.held_out and data.validation[0][0] is data.training[0][0]
    strip = f"{args.image}, the very pixels that it learned from, which flatters" if whole else (
        f"a strip held out of {args.image}")
    told = f"the {len(data.held_out)} images held out of {args.data}" if data.held_out else strip
    return Examples(data.held_out or [args.image], lambda place: data.validation[place][:2], told), data


# ---------------------------------------------------------------------------------------------------
# The report as a list of blocks: ("heading", text), ("text", text), ("table", text), ("picture", path, caption)


def about_data(facts, data):
    settings = facts["settings"]
    source = settings["data"] or f"{settings['image']} and {settings['mask']}"
    lines = [f"Trained on {source}" + (f", {len(data.training)} images" if data and data.held_out else "") + "."]
    if data:
        shares = data.training.ends[-1] / data.training.ends[-1][-1]
        lines.append("Pixels of each class in the training images: " + ", ".join(
            f"{one['name']} {share:.1%}" for one, share in zip(data.classes, shares)) + ".")
    if facts["ignore"]:
        lines.append(f"Mask values that are ignored: {', '.join(map(str, facts['ignore']))}.")
    return [("heading", "Data"), ("text", " ".join(lines))]


def about_network(model, rows, zoom):
    table = [f"{'layer':<12}{'output':>16}{'parameters':>12}{'MFLOPs':>10}"]
    table += [f"{name:<12}{'x'.join(map(str, shape)):>16}{parameters:>12,}{flops / 1e6:>10.1f}"
              for name, shape, parameters, flops, _ in rows]
    parameters, flops = sum(row[2] for row in rows), sum(row[3] for row in rows)
    table.append(f"{'together':<28}{parameters:>12,}{flops / 1e6:>10.1f}")
    at = "" if zoom == 1 else f" It sees images at {zoom:g} times their size."
    return [("heading", "Network"),
            ("text", f"{type(model).__name__}, {parameters:,} parameters, {flops / 1e9:.2f} GFLOPs for a window of "
                     "256x256x3, the largest that it may see (a multiply-add is 2). What it says of a pixel depends on "
                     f"a square of {rows[-1][4]} pixels at most.{at}"),
            ("table", "\n".join(table))]


def about_training(facts, history, rows):
    settings, blocks = facts["settings"], [("heading", "Training")]
    machine = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    if history:
        windows = len(history) * settings["steps"] * settings["batch"] * settings["patch"] ** 2 / 256**2
        flops = 3 * windows * sum(row[3] for row in rows)
        blocks.append(("text", f"{len(history)} epochs of {settings['steps']} steps, each of {settings['batch']} "
                               f"patches of {settings['patch']}x{settings['patch']} pixels, in "
                               f"{history[-1]['seconds'] / 60:.1f} minutes: at most {flops / 1e12:.3g} TFLOPs, where "
                               "the backward pass counts twice."))
    shown = " ".join(f"{name}={value}" for name, value in settings.items() if value is not None and value is not False)
    return [*blocks, ("text", f"The machine: {machine}."), ("text", "All settings:"),
            ("table", textwrap.fill(shown, 95, break_long_words=False, break_on_hyphens=False))]


def about_results(examples, scores, classes, tta):
    names = [one["name"] for one in classes]
    overall = metrics.overall(scores.confusion, scores.ious)
    front = metrics.front(classes)
    of_what = "mean IoU" if front is None else f"IoU of {names[front]}"
    existing = [iou for iou in scores.ious if iou is not None]
    spread = f" (standard deviation {statistics.stdev(existing):.4f})" if len(existing) > 1 else ""
    absent = [name for name, pixels in zip(names, scores.confusion.sum(axis=1)) if not pixels]
    lines = [f"Tested on {examples.told}" + (", averaged over flips and turns." if tta else "."),
             f"All pixels together: accuracy {metrics.text(overall['accuracy'])}, mean IoU "
             f"{metrics.text(overall['mean_iou'])}, mean Dice {metrics.text(overall['mean_f1'])}.",
             f"Mean over the images of their {of_what}: {metrics.text(overall['image_iou'])}{spread}."]
    if absent:
        lines.append(f"No true pixel is of {', '.join(absent)}.")
    return [("heading", "Results"), ("text", " ".join(lines)), ("table", metrics.table(scores.confusion, names))]


def about_speed(scores, model, rows, halo, zoom, views, device):
    window_height, window_width, cover = tiles(*zoomed(scores.size, zoom), halo, model.stride)
    flops = views * len(cover) * sum(row[3] for row in rows) * window_height * window_width / 256**2
    timed = [1000 * second for second in scores.seconds[1:SPEED_IMAGES + 1] or scores.seconds]      # the first warms up
    return [("heading", "Speed"),
            ("text", f"An image takes {statistics.median(timed):.0f} ms (median of {len(timed)}, from {min(timed):.0f} "
                     f"to {max(timed):.0f}) on {device.type} with {torch.get_num_threads()} threads, decoding apart. "
                     f"The first, of {scores.size[1]}x{scores.size[0]} pixels, is cut into {len(cover)} windows of "
                     f"{window_width}x{window_height} with a halo of {halo}" +
                     (f", in {views} views" if views > 1 else "") + f": about {flops / 1e9:.1f} GFLOPs.")]


# ---------------------------------------------------------------------------------------------------
# Blocks → files


def as_markdown(title, blocks):
    def plain(text):             # a file's name may hold what Markdown takes for its own
        return re.sub(r"([\\`*_<\[#])", r"\\\1", text)

    text = [f"# {plain(title)}", f"<!-- {MARK}: report.py -->"]
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


def write_pdf(path, title, blocks):
    """The blocks one below the other on A4 pages."""
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont
    from PIL import Image, ImageFont

    width, height, margin = 8.27, 11.69, 0.8                          # inches
    fonts = {"title": FontProperties(size=18, weight="bold"), "heading": FontProperties(size=13, weight="bold"),
             "text": FontProperties(size=9.5), "table": FontProperties(size=8, family="monospace")}
    y, pages = 0.0, []

    def room(needed):            # on this page, or else on a new one
        nonlocal y
        if not pages or y - needed < margin:
            pages.append(Figure(figsize=(width, height)))
            y = height - margin

    def broken(text, font):      # into lines that fit
        measure = ImageFont.truetype(findfont(font), 100)
        fits = lambda line: measure.getlength(line) * font.get_size() / 100 < 72 * (width - 2 * margin)
        for paragraph in text.splitlines():
            line = ""
            for word in paragraph.split(" "):
                longer = f"{line} {word}" if line else word
                if line and not fits(longer):
                    yield line
                    longer = word
                while not fits(longer) and len(longer) > 1:           # a single word that is too long
                    part = next(count for count in range(len(longer), 0, -1) if fits(longer[:count]) or count == 1)
                    yield longer[:part]
                    longer = longer[part:]
                line = longer
            yield line

    for kind, *content in [("title", title), *blocks]:
        if kind == "picture":
            picture = Image.open(content[0]).convert("RGB")
            scale = min((width - 2 * margin) / picture.width, (height - 2 * margin - 0.2) / picture.height)
            room(scale * picture.height + 0.2)
            y -= scale * picture.height + 0.1
            axes = pages[-1].add_axes([margin / width, y / height, scale * picture.width / width,
                                       scale * picture.height / height])
            axes.imshow(np.asarray(picture), interpolation="lanczos")
            axes.set_axis_off()
            y -= 0.1
            continue
        font = fonts[kind]
        line = 1.35 * font.get_size() / 72
        rows = content[0].splitlines() if kind == "table" else list(broken(content[0], font))
        longest = max(map(len, rows))
        size = font.get_size() * min(1, 100 / longest) if kind == "table" else font.get_size()       # 100 fit
        room(line * min(len(rows), 3) + (0.8 if kind == "heading" else 0))           # a heading stays with what follows
        for row in rows:
            room(line)
            y -= line
            pages[-1].text(margin / width, y / height, row, size=size, weight=font.get_weight(),
                           family=font.get_family(), parse_math=False)
        y -= 0.12
    with write_whole(path) as temporary:
        with PdfPages(temporary, metadata={"Title": title, "Creator": MARK}) as pdf:
            for place, page in enumerate(pages, start=1):
                page.text(0.5, 0.4 / height, f"{place} of {len(pages)}", size=8, ha="center")
                pdf.savefig(page, dpi=200)
        with temporary.open("ab") as file:   # readers stop before; so it can be told that the file is ours
            file.write(f"% {MARK}\n".encode())


def report(args):
    """Do what `args` ask for (see parse_arguments)."""
    if processes.WORLD > 1:
        raise BadInput("a report is made by one process; expected no torchrun")
    run, out = Path(args.run), Path(args.out or args.run)
    model, facts = load_checkpoint(run / "model.pt")
    facts["settings"] = vars(train.parse_arguments([], **facts["settings"]))         # with knobs newer than it
    history, classes = read_history(run / "history.csv"), facts["classes"]
    markdown, pdf = claim(out / "report.md"), claim(out / "report.pdf")
    pictures = {name: claim(out / f"report_{name}.png") for name in PICTURES}
    device, data = pick_device(args.device), None
    halo, zoom = context(model, args.halo), facts["settings"]["zoom"]
    examples = find_examples(args.images, args.masks, facts, only=args.only) if args.images else None
    try:
        own, data = own_examples(facts, model)
        examples = examples or own
    except BadInput as error:
        if not examples:
            raise BadInput(f"what the network was trained on cannot be read any more ({error}); expected it there, or "
                           "--images and --masks to test on") from None
    rows = summary(model)
    segment = segmenter(model, facts, device, halo, args.tta)
    scores = score(examples, segment, classes)
    from plots import draw_curves, draw_gallery, gallery_title  # only now: matplotlib takes half a second

    blocks = [("text", f"Made on {date.today()} by report.py."), *about_data(facts, data),
              *about_network(model, rows, zoom), *about_training(facts, history, rows)]
    if history:
        draw_curves(history, facts["metrics"], facts["settings"]["loss"], pictures["curves"], figures=True)
        blocks.append(("picture", pictures["curves"], "Loss, IoU and accuracy against epochs"))
    blocks += about_results(examples, scores, classes, args.tta)
    ranked = sorted((iou, place) for place, iou in enumerate(scores.ious) if iou is not None)
    chosen = metrics.best_median_worst(ranked, args.gallery)

    def shown(kind):             # one after the other, since images may be large
        for _, (iou, place) in (one for one in chosen if one[0] == kind):
            image, truth = examples.read(place)
            yield gallery_title(kind, examples.names[place], iou), image, truth, segment(image)

    for kind in dict.fromkeys(kind for kind, _ in chosen):
        picture = pictures[kind or "gallery"]
        draw_gallery(shown(kind), classes, picture)
        blocks.append(("picture", picture, f"{kind.capitalize() or 'All'}: image, truth, prediction, errors"))
    views = VIEWS[facts["settings"]["flips"]] if args.tta else 1
    blocks += about_speed(scores, model, rows, halo, zoom, views, device)
    title = args.title or run.resolve().name
    write_text(markdown, as_markdown(title, blocks))
    write_pdf(pdf, title, blocks)
    print(f"see {markdown} and {pdf}")


def main(args):
    try:
        report(args)
    except BadInput as error:
        sys.exit(f"report.py: {error}")
    except KeyboardInterrupt:
        sys.exit("report.py: interrupted")


if __name__ == "__main__":
    main(ARGS)
