"""Correct what a trained network predicts, as one does in tools.paint, and measure what it learns and forgets.

    python -m benchmarks.corrections CHECKPOINT --pairs DIR --on 3

DIR holds NNN_rgb.png and NNN_gt.png. Of its images, from the second on, --on are corrected, each by the network as it
was: a stroke inside each of the three largest wrong regions and, where these are of one class, one where it is right.
Then the learner of tools.paint learns them until it has finished. Figures are the IoU of the foreground, or the mean of
more than two classes: on what is not painted of this image, and on the other ones but the first, which the network may
have learned from.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("--pairs", metavar="DIR", required=True, help="a folder of NNN_rgb.png and NNN_gt.png")
    parser.add_argument("--on", type=int, default=3, metavar="N", help="images to correct, evenly spaced (3)")
    parser.add_argument("--others", type=int, default=8, metavar="N", help="at most so many others to test on (8)")
    ARGS = parser.parse_args()

import time
from pathlib import Path

import numpy as np
from scipy import ndimage

import metrics
from benchmarks.machine import machine
from benchmarks.one_image import pairs_in
from benchmarks.strokes import learning, painted, post_strokes, room_in, walk
from segmenter import Segmenter
from support.files import BadInput
from support.masks import IGNORE
from support.names import evenly_spaced

REGIONS = 3                      # wrong ones that get a stroke
NEVER = 300                      # seconds after which the learner should have finished


def strokes_for(prediction, truth):
    """Return the strokes of a person who corrects a prediction (H, W): [(class, points, width), …]."""
    chance, regions = np.random.default_rng(0), []
    for label in np.unique(truth[truth != IGNORE]).tolist():
        numbered, count = ndimage.label((truth == label) & (prediction != label))
        sizes = np.bincount(numbered.ravel())
        regions += [(sizes[number], label, numbered == number) for number in range(1, count + 1)]
    regions = sorted(regions, key=lambda region: -region[0])[:REGIONS]
    strokes = [(label, *walk(room_in(region), chance)) for _, label, region in regions]
    if len({label for _, label, _ in regions}) == 1:
        right = [(truth == label) & (prediction == label) for label in np.unique(truth[truth != IGNORE]).tolist()
                 if label != regions[0][1]]
        best = max(right, key=np.count_nonzero, default=np.zeros(1, bool))
        if best.any():
            strokes.append((int(truth[best][0]), *walk(room_in(best), chance)))
    return strokes


def score(prediction, truth, classes):
    """Return the IoU of the foreground, or the mean of more than two classes."""
    return metrics.foreground_or_mean(metrics.iou(metrics.confusion_matrix(truth, prediction, len(classes))), classes)


def corrected(checkpoint, image, strokes):
    """Return (prediction of this image, the network as a Segmenter, seconds) once the strokes are learned."""
    segment = Segmenter.load(checkpoint, "cpu")
    classes = [{**entry, "colour": [0, 0, number]} for number, entry in enumerate(segment.classes)]
    with learning(image, classes, checkpoint) as (session, learner):
        learner.take_news(wait=False)
        while learner.turn():    # its prediction is what a person corrects
            pass
        post_strokes(session, strokes)
        session.post("learn", {"model": learner.model, "learning": True})
        learner.take_news(wait=False)
        began = time.perf_counter()
        while learner.turn():
            if time.perf_counter() - began > NEVER:
                raise BadInput(f"the learner has not finished after {NEVER} s; expected it to, on an idle machine")
        seconds = time.perf_counter() - began
        prediction = np.array(session.pictures[0].map("prediction"))
        run = learner.current.run
    return prediction, Segmenter(run.ema_model, run.metadata), seconds


def main(args):
    segment, files = Segmenter.load(args.checkpoint, "cpu"), pairs_in(args.pairs)[1:]
    if len(files) < 2:
        raise BadInput(f"{args.pairs} holds fewer than three NNN_rgb.png; expected more, each with its NNN_gt.png")
    pairs = [segment.read_pair(*pair) for pair in files]
    before = [segment(image) for image, _ in pairs]
    iou = lambda prediction, truth: score(prediction, truth, segment.classes)
    mean = lambda predictions, numbers: metrics.mean(map(iou, predictions, (pairs[n][1] for n in numbers)))
    print(machine())
    print(f"{'image':<12}{'strokes':>7}{'seconds':>9}{'right':>8}   {'this image':<18}others")
    for number in evenly_spaced(len(pairs), args.on):
        image, truth = pairs[number]
        strokes = strokes_for(before[number], truth)
        if len({label for label, _, _ in strokes}) < 2:
            print(f"{files[number][0].stem:<12} nothing to correct, or no second class")
            continue
        mask = painted(truth, strokes)
        prediction, network, seconds = corrected(Path(args.checkpoint), image, strokes)
        rest, others = np.where(mask == IGNORE, truth, IGNORE), [n for n in range(len(pairs)) if n != number]
        others = [others[place] for place in evenly_spaced(len(others), args.others)]
        was, now = mean([before[n] for n in others], others), mean([network(pairs[n][0]) for n in others], others)
        right = (prediction == mask)[mask != IGNORE].mean()
        figures = [metrics.format_metric(each) for each in (iou(before[number], rest), iou(prediction, rest), was, now)]
        print(f"{files[number][0].stem:<12}{len(strokes):>7}{seconds:>9.1f}{right:>8.0%}   "
              f"{figures[0]} → {figures[1]}   {figures[2]} → {figures[3]}", flush=True)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
