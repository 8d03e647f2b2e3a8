"""Draw the whole path of the data on one page, with its shapes: python -m lessons.cheat_sheet writes cheat_sheet.svg.

Shapes and numbers come from the project itself, for the bundled sample and the default settings.
"""
from html import escape

from lessons import BLUE, ORANGE, ROOT, SKY

WIDTH, HEIGHT = 1120, 792        # A4, lying
PAGE = ROOT / "lessons" / "cheat_sheet.svg"


def text(x, y, words, size=15, colour="black", weight="normal", anchor="middle"):
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{escape(words)}</text>')


def box(x, y, width, title, shape, lines, where, colour):
    """Draw a box: its title, the shape of the data, what happens to them, and in which file."""
    middle = x + width / 2
    return "\n".join([
        f'<rect x="{x}" y="{y}" width="{width}" height="150" rx="10" fill="white" stroke="{colour}" stroke-width="3"/>',
        text(middle, y + 28, title, 20, colour, "bold"),
        text(middle, y + 54, shape, 15, weight="bold"),
        *(text(middle, y + 80 + 20 * number, line, 13) for number, line in enumerate(lines)),
        text(middle, y + 140, where, 12, "#555555")])


def arrow(x, y, colour):
    return f'<path d="M{x} {y} h14 m-8 -7 l8 7 l-8 7" stroke="{colour}" stroke-width="3" fill="none"/>'


def row(y, colour, boxes):
    """Draw boxes from left to right, with arrows between them."""
    gap, width = 20, (WIDTH - 60 - 20 * (len(boxes) - 1)) / len(boxes)
    parts = []
    for number, (title, shape, lines, where) in enumerate(boxes):
        x = 30 + number * (width + gap)
        parts.append(box(x, y, width, title, shape, lines, where, colour))
        if number:
            parts.append(arrow(x - 17, y + 75, colour))
    return "\n".join(parts)


def layers(rows, y):
    """Draw the network as bars: as high as its maps, as wide as they have channels."""
    parts, middle = [], 80
    for name, (channels, side, _), _, _, sees in rows:
        if name.startswith("relu"):
            continue
        width, height = 14 + 1.6 * channels, side / 2.6
        parts += [f'<rect x="{middle - width / 2}" y="{y + 112 - height}" width="{width}" height="{height}" '
                  f'fill="{SKY}" stroke="black"/>',
                  text(middle, y + 130, name, 14, weight="bold"),
                  text(middle, y + 148, f"{channels}×{side}×{side}", 12),
                  text(middle, y + 165, f"sees {sees}×{sees}", 12, "#555555")]
        middle += 128
    return "\n".join(parts)


def page():
    """Return the cheat sheet as SVG."""
    from model import FCN
    from patches import MAX_SIDE, tiles
    from support.arguments import train_arguments
    from support.sample import sample
    from tools.show import summary

    (height, width), knobs, network = sample()[0].shape[:2], train_arguments([]), FCN(classes=2)
    rows_in, columns_in, cover = tiles(height, width, network.halo, network.stride)
    batch, side, image = knobs.batch, knobs.patch, f"({height}, {width}"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    learn = [
        ("image, mask", f"{image}, 3)", ["bytes; and a mask,", f"{image}): classes"], "data.py, support/"),
        ("patches", f"({batch}, {side}, {side}, 3)", ["cut at random places,", "flipped and turned"],
         "patches.py: cut_batches"),
        ("input", f"({batch}, 3, {side}, {side})",
         ["relit; (colour − mean)", "divided by std;", f"never over {MAX_SIDE}×{MAX_SIDE}"], "model.py: normalize"),
        ("logits", f"({batch}, 2, {side}, {side})", ["a score for each class", "and pixel"], "model.py: FCN, UNet"),
        ("loss", "one number", ["−log p(true class),", "and 1 − soft Dice"], "losses.py"),
        ("weights", f"{parameters:,}",
         ["a step against the", f"gradient, {knobs.epochs * knobs.steps:,} times"], "train.py: train_epoch")]
    use = [
        ("image", f"{image}, 3)", ["of any size,", "any kind of file"], "support/images.py"),
        ("windows", f"{len(cover)} of ({rows_in}, {columns_in}, 3)",
         ["overlap by two halos", f"of {network.halo} pixels each"],
         "patches.py: tiles"),
        ("logits", f"{len(cover)} of (2, {rows_in}, {columns_in})",
         ["one window at a time", "through the network"], "segmenter.py"),
        ("stitched", f"(2, {height}, {width})", ["cores side by side:", "exactly the whole's"], "patches.py: stitch"),
        ("classes", f"{image})", ["the class with the", "highest logit"], "patches.py: decide"),
        ("mask", f"{image})", ["the training mask's", "own values, in a file"], "predict.py, infer.py")]
    scores = ["accuracy = right / all", "IoU = TP / (TP + FP + FN)", "Dice = 2 TP / (2 TP + FP + FN)",
              "precision = TP / (TP + FP)", "recall = TP / (TP + FN)"]
    remarks = [
        "Shapes are NumPy's and PyTorch's: (rows, columns, colours) in arrays, (batch, channels, rows, columns) in the "
        "network.",
        "A patch depends on nothing but seed, epoch and its number; so a training that was killed goes on as if "
        "nothing had happened.",
        "Pixels whose class is not known have the index 255: they count neither in the loss nor in the scores."]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(30, 44, "Segmentation from scratch, on one page", 26, weight="bold", anchor="start"),
        text(30, 84, "python train.py — to learn", 18, ORANGE, "bold", "start"), row(96, ORANGE, learn),
        text(30, 296, "python predict.py — to segment the next image, with these weights", 18, BLUE, "bold", "start"),
        row(308, BLUE, use),
        text(30, 510, f"The network (FCN), for one input of 3×{MAX_SIDE}×{MAX_SIDE}; halo {network.halo}, stride "
             f"{network.stride}", 18, weight="bold", anchor="start"),
        layers(summary(network, MAX_SIDE), 520),
        text(840, 510, "The scores (metrics.py)", 18, weight="bold", anchor="start"),
        *(text(840, 545 + 28 * number, score, 16, anchor="start") for number, score in enumerate(scores)),
        text(840, 545 + 28 * len(scores), "TP found, FP invented, FN missed", 14, "#555555", anchor="start"),
        *(text(30, 730 + 22 * number, line, 14, anchor="start") for number, line in enumerate(remarks)),
        "</svg>\n"])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
