"""From where on to reject an image as unfamiliar: thresholds of all scores, see support/ood.py.

    python -m tools.thresholds IMAGE_DIR --checkpoint model.pt --only val.txt       keep 95 % of these images
    python -m tools.thresholds IMAGE_DIR --checkpoint model.pt --against OTHER_DIR  and tell the others apart
    python infer.py IMAGE_DIR OUTPUT_DIR --score energy --reject 4.2   no masks for images below it
"""
from support.script import as_path, as_typed, run_script
from tools.arguments import thresholds_arguments

if __name__ == "__main__":
    ARGS = thresholds_arguments(description=__doc__)     # before the imports that take seconds


import numpy as np
from tqdm import tqdm

from segmenter import Segmenter
from support.files import BadInput
from support.machine import WORLD
from support.names import named_images
from support.ood import auroc, threshold


def score_images(paths, segment, names):
    """Return [{name: score}, …] of the images at these paths. Raises BadInput."""
    return [segment.with_scores(segment.read(path), names)[1]
            for path in tqdm(paths, unit="image", leave=False, disable=None)]


def measure(args):
    """Print a threshold for each score, and how well it tells the other images apart."""
    if WORLD > 1:
        raise BadInput("all images go through one process; expected no torchrun")
    segment = Segmenter.load(args.checkpoint, args.device, args.halo, args.tta, amp=args.amp)
    names = segment.score_names
    familiar = score_images(named_images(args.images, args.only).values(), segment, names)
    others = score_images(named_images(args.against).values(), segment, names) if args.against else []
    print(f"{len(familiar)} familiar images" + (f", {len(others)} of another kind" if others else ""))
    print(f"{'':<10}{'lowest':>11}{'median':>11}{f'keeps {100 * args.keep:g}%':>13}" +
          (f"{'AUROC':>9}{'others rejected':>17}" if others else ""))
    for name in names:
        usual = [scores[name] for scores in familiar]
        least = threshold(usual, args.keep)
        line = f"{name:<10}{min(usual):>11.5g}{np.median(usual):>11.5g}{least:>13.5g}"
        if others:
            other = [scores[name] for scores in others]
            line += f"{auroc(usual, other):>9.4f}{np.mean(np.array(other) < least):>17.1%}"
        print(line)
    looking = ([] if args.halo is None else ["--halo", str(args.halo)]) + ["--tta"] * args.tta
    looking += ["--amp", "on"] if segment.in_16_bits else []          # these change scores
    print("to reject what is below: python infer.py IMAGE_DIR OUTPUT_DIR " +
          as_typed("--checkpoint", as_path(args.checkpoint), *looking) + " --score NAME --reject=THRESHOLD")


if __name__ == "__main__":
    run_script(measure, ARGS, "tools.thresholds")
