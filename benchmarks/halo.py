"""Measure class disagreement and time against the halo: what a smaller one costs and saves.

    python -m benchmarks.halo CHECKPOINT IMAGE_DIR

Predicts images with the network's own halo, with which stitching is exact, then with smaller ones,
and counts the pixels whose class changes. Pixels "near seams" are those within 8 pixels of the
border of a core, where context is missing. Draws results/halo.png.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("images", metavar="IMAGE_DIR")
    parser.add_argument("--count", type=int, default=20, help="images, spread evenly (20)")
    parser.add_argument("--out", default="results/halo.png", help="the picture (results/halo.png)")
    ARGS = parser.parse_args()

import statistics
import time

import numpy as np
from matplotlib.figure import Figure

from benchmarks.machine import machine
from model import load_network
from patches import tiles
from segmenter import Segmenter
from support.files import PICTURES, check_writable
from support.images import read_image
from support.names import evenly_spaced, find_images
from support.plots import BLUE, ORANGE, save

NEAR = 8                         # pixels


def near_seams(height, width, halo, stride):
    """Return where a border between two cores is at most NEAR pixels away: bool (height, width)."""
    near = np.zeros((height, width), bool)
    for tile in tiles(height, width, halo, stride)[2]:
        for edge in {tile.top, tile.bottom} - {0, height}:
            near[max(edge - NEAR, 0):edge + NEAR, tile.left:tile.right] = True
        for edge in {tile.left, tile.right} - {0, width}:
            near[tile.top:tile.bottom, max(edge - NEAR, 0):edge + NEAR] = True
    return near


def measure(model, metadata, images, halo, exact):
    """Return (share of pixels of another class, the same near seams, work, ms an image).

    The work is the pixels of all windows divided by those of the image.
    """
    segment, wrong, wrong_near, near, work, seconds = Segmenter(model, metadata, halo=halo), 0, 0, 0, [], []
    for image, truth in zip(images, exact):
        began = time.perf_counter()
        different = segment(image) != truth
        seconds.append(time.perf_counter() - began)
        seam = near_seams(*truth.shape, halo, model.stride)
        window_height, window_width, cover = tiles(*truth.shape, halo, model.stride)
        work.append(len(cover) * window_height * window_width / truth.size)
        wrong, wrong_near, near = wrong + different.sum(), wrong_near + different[seam].sum(), near + seam.sum()
    pixels = sum(truth.size for truth in exact)
    return wrong / pixels, wrong_near / max(near, 1), statistics.mean(work), 1e3 * statistics.median(seconds)


def main(args):
    out = check_writable(args.out, args.checkpoint, endings=PICTURES)
    model, metadata = load_network(args.checkpoint)
    paths = find_images(args.images)
    images = [read_image(paths[number]) for number in evenly_spaced(len(paths), args.count)]
    exact = [Segmenter(model, metadata)(image) for image in images]
    halos = sorted({0, *(model.stride * round(model.halo * part / 8 / model.stride) for part in range(1, 9))})
    print(f"{machine()}; {args.checkpoint} ({model.name}, halo {model.halo}), {len(images)} images like "
          f"{images[0].shape[1]}x{images[0].shape[0]}")
    print(f"{'halo':>6}{'another class':>16}{'near seams':>13}{'work':>9}{'ms an image':>14}")
    rows = []
    for halo in halos:
        rows.append(measure(model, metadata, images, halo, exact))
        wrong, near, work, milliseconds = rows[-1]
        print(f"{halo:>6}{wrong:>16.4%}{near:>13.4%}{work:>8.2f}x{milliseconds:>14.0f}", flush=True)

    figure = Figure(figsize=(7, 3.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(halos, [100 * row[0] for row in rows], "o-", color=BLUE, linewidth=2, label="all pixels")
    axes.plot(halos, [100 * row[1] for row in rows], "s--", color=ORANGE, linewidth=2,
              label=f"within {NEAR} pixels of a seam")
    axes.set(xlabel="halo (pixels around what is kept)", ylabel="pixels of another class (%)", xticks=halos,
             title="What less context than the network can see costs", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(edgecolor="none")
    above = axes.secondary_xaxis("top")
    above.set(xticks=halos, xticklabels=[f"{row[2]:.1f}x" for row in rows], xlabel="work, in pixels of the image")
    save(figure, out)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
