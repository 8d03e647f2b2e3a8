"""Compare predictions in 16 bits with those in 32: how much faster, how many pixels change, what that does to the IoU.

    python -m benchmarks.amp                                     the shipped FCN on the bundled sample
    python -m benchmarks.amp CHECKPOINT IMAGE_DIR MASK_DIR       any network on images with masks

Each image is predicted in both, in turns, in one process; times are those of a median image.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", default="checkpoints/fcn.pt")
    parser.add_argument("images", metavar="IMAGE_DIR", nargs="?")
    parser.add_argument("masks", metavar="MASK_DIR", nargs="?")
    parser.add_argument("--only", metavar="FILE", help="those that this text file names, as test.txt (all)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each image is timed (3)")
    ARGS = parser.parse_args()
    if bool(ARGS.images) != bool(ARGS.masks):
        parser.error("IMAGE_DIR and MASK_DIR go together: give both or neither")

import statistics
import time

import numpy as np

import metrics
from benchmarks.machine import machine
from segmenter import Segmenter
from support.sample import sample
from tools.scoring import find_examples


def examples_of(args, segment):
    """Return functions that read (image, truth); of the bundled sample, or of the folders that `args` name."""
    if args.images is None:
        image, mask = sample()
        return [lambda: (image, mask // 255)]
    examples = find_examples(args.images, args.masks, segment, only=args.only)
    return [lambda place=place: examples.read(place) for place in range(len(examples.names))]


def main(args):
    ways = {amp: Segmenter.load(args.checkpoint, "cpu", amp=amp) for amp in ("off", "on")}
    classes = ways["off"].classes
    seconds, confusion, changed, pixels = {"off": [], "on": []}, {"off": 0, "on": 0}, 0, 0
    readers = examples_of(args, ways["off"])
    for segment in ways.values():
        segment(readers[0]()[0])             # a warm-up
    for read in readers:
        image, truth = read()
        found = {}
        for amp in list(ways) * args.rounds:
            began = time.perf_counter()
            found[amp] = ways[amp](image)
            seconds[amp].append(time.perf_counter() - began)
        changed, pixels = changed + np.count_nonzero(found["off"] != found["on"]), pixels + truth.size
        for amp, indices in found.items():
            confusion[amp] = confusion[amp] + metrics.confusion_matrix(truth, indices, len(classes))
    iou = {amp: metrics.foreground_or_mean(metrics.iou(matrix), classes) for amp, matrix in confusion.items()}
    times = {amp: 1000 * statistics.median(each) for amp, each in seconds.items()}
    ratios = sorted(full / half for full, half in zip(seconds["off"], seconds["on"]))
    tenth = len(ratios) // 10
    print(f"{machine()}; {args.checkpoint}, {len(readers)} images\n"
          f"  32 bits {times['off']:.1f} ms, 16 bits {times['on']:.1f} ms: {statistics.median(ratios):.2f} times as "
          f"fast (eight of ten pairs between {ratios[tenth]:.2f} and {ratios[-1 - tenth]:.2f})\n"
          f"  {changed / pixels:.3%} of {pixels} pixels change their class; IoU {iou['off']:.4f} in 32 bits, "
          f"{iou['on']:.4f} in 16")


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
