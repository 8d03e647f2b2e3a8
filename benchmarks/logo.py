"""Compare the logo generator's composed warp with the literal steps of its recipe.

    python -m benchmarks.logo
    python -m benchmarks.logo --save thin.png     writes the logo it uses, for prepare.py --logo

The literal way mirrors, rotates, swirls and scales one picture after another with scikit-image, all
but the last of them large. challenges/logo/recipe.py samples the logo once, only where a pixel of
the image needs it. The benchmark measures how alike the results are and how fast each way is. Both
take turns in one process, for a logo of 797x400 pixels of thin strokes and for scikit-image's. Then
whole data sets are made, by one thread and by one for each core.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--placements", type=int, default=60, help="logos to transform (60)")
    parser.add_argument("--count", type=int, default=200, help="images to make, from scikit-image's photographs (200)")
    parser.add_argument("--save", metavar="FILE", help="write the logo to this file, and do nothing else")
    ARGS = parser.parse_args()

import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from skimage import filters, transform

from challenges.logo import prepare, recipe
from support.files import check_writable, write_image


def thin_logo():
    """Return a logo unlike scikit-image's: uint8 RGBA (400, 797, 4).

    It is light, of thin strokes, on a transparent ground.
    """
    picture = Image.new("RGBA", (797, 400), (255, 255, 255, 0))
    draw = ImageDraw.Draw(picture)
    draw.polygon([(90, 350), (230, 50), (370, 350)], outline=(225, 240, 255, 255), width=11)
    draw.ellipse((300, 90, 560, 350), outline=(255, 240, 200, 255), width=11)
    for offset in range(0, 150, 50):
        draw.arc((520 + offset, 60, 660 + offset, 360), 250, 110, fill=(235, 255, 235, 255), width=11)
    draw.line((70, 375, 730, 375), fill=(255, 255, 255, 255), width=11)
    return np.asarray(picture)


def literal(pixels, placement, extent):
    """Apply the recipe step by step to uint8 RGBA (H, W, 4): (rows, columns, 4).

    The result is in the form of recipe.transform's. Before it is rotated, the picture is padded, so
    that no corner is lost, whatever the angle. The last step is that of skimage.transform.rescale
    with anti-aliasing, a Gaussian and a linear interpolation. It uses the grid that recipe.extent
    chose, so that both can be compared pixel by pixel.
    """
    premultiplied = pixels * (pixels[:, :, 3:] / 255)
    premultiplied[:, :, 3] = pixels[:, :, 3]
    height, width = pixels.shape[:2]
    margins = [int(np.ceil((np.hypot(height, width) - side) / 2)) + 1 for side in (height, width)]
    picture = premultiplied[:, ::-1 if placement.mirrored else 1]
    picture = np.pad(picture, [(margin, margin) for margin in margins] + [(0, 0)])
    centre = (picture.shape[1] - 1) / 2, (picture.shape[0] - 1) / 2
    if placement.angle:
        picture = transform.rotate(picture, np.degrees(placement.angle), preserve_range=True)
    if placement.swirl:
        picture = transform.swirl(picture, centre, placement.swirl, 500, mode="constant", preserve_range=True)
    scale = placement.scale
    picture = filters.gaussian(picture, (1 / scale - 1) / 2, mode="constant", channel_axis=2, preserve_range=True)
    top, left, rows, columns = extent
    corner = left + 0.5 / scale + centre[0], top + 0.5 / scale + centre[1]     # of the first pixel's centre
    grid = transform.AffineTransform(scale=1 / scale, translation=corner)
    return transform.warp(picture, grid, output_shape=(rows, columns), preserve_range=True)


def compare(pixels, count):
    """Transform a logo both ways and measure them.

    Returns (seconds literally, seconds composed, mean differences, IoUs of the masks).
    """
    logo, random, found = recipe.prepare_logo(pixels, (340, 512)), np.random.default_rng(0), []
    for placement in [recipe.draw_placements(random)[0] for _ in range(count)]:
        began = time.perf_counter()
        composed = recipe.transform(logo, placement)
        between = time.perf_counter()
        stepwise = literal(pixels, placement, recipe.extent(logo, placement))
        ended = time.perf_counter()
        ours, theirs = composed[:, :, 3] >= 127.5, stepwise[:, :, 3] >= 127.5
        found.append((ended - between, between - began, np.abs(composed - stepwise).mean(),
                      (ours & theirs).sum() / (ours | theirs).sum()))
    return list(zip(*found))


def main(args):
    from benchmarks.machine import machine

    if args.save:
        write_image(check_writable(args.save, endings=[".png"]), thin_logo())
        return
    print(machine())
    for name, pixels in [("thin strokes, 797x400", thin_logo()),
                         ("scikit-image's logo, 500x500", np.asarray(Image.open(prepare.LOGO)))]:
        literally, composed, differences, ious = compare(pixels, args.placements)
        print(f"{name}: {1000 * statistics.mean(literally):.0f} ms a logo step by step, "
              f"{1000 * statistics.mean(composed):.1f} composed, {sum(literally) / sum(composed):.0f} times as fast; "
              f"differences of 255: {statistics.mean(differences):.1f} on average, {max(differences):.1f} for the "
              f"worst logo; IoU of the masks {statistics.mean(ious):.3f}, {min(ious):.3f} for the worst")
    for workers in sorted({1, os.cpu_count()}):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
            began = time.perf_counter()
            prepare.prepare(prepare.parse_arguments(
                ["--out", str(Path(folder, "data")), "--count", str(args.count), "--workers", str(workers)]))
            seconds = time.perf_counter() - began
        print(f"prepare.py --workers {workers}: {args.count / seconds:.0f} images a second")


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
