"""Compare a network trained on one image with a random forest, on pixels that neither has seen.

    python -m benchmarks.one_image
    python -m benchmarks.one_image --pairs DIR
    python -m benchmarks.one_image -- --batchnorm

The first command learns from the left part of the bundled sample and tests on its right part. With
--pairs, it also takes NNN_rgb.png and NNN_gt.png in DIR: the first pair is learnt, the rest tested.
After -- come other settings of train.py.

Every figure is the foreground IoU on pixels that neither training nor validation saw, as mean ±
standard deviation over seeds. "Relit" is the mean over four changed copies of the test images: 15 %
brighter, 15 % darker, redder, and veiled. The forest (Breiman, 2001) has scikit-image's multi-scale
features. It learns from the same pixels as the network: those left when the validation strip is cut
out.
"""
import argparse

if __name__ == "__main__":       # before the imports that take seconds
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", metavar="DIR", help="a folder of NNN_rgb.png and NNN_gt.png")
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--no-forest", action="store_true", help="only the network")
    parser.add_argument("flags", nargs="*", help="after --: flags of train.py")
    ARGS = parser.parse_args()

import contextlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np

import metrics
import train
from benchmarks.machine import machine
from model import FCN, load_network
from segmenter import Segmenter
from support.arguments import train_arguments
from support.files import write_image
from support.images import find_classes, read_mask, read_pair
from support.sample import sample

RELIT = {                        # uint8 (H, W, 3) → float (H, W, 3)
    "brighter": lambda image: image * 1.15,
    "darker": lambda image: image * 0.85,
    "redder": lambda image: image * np.array([1.1, 1.0, 0.9]),
    "veiled": lambda image: image + 20.0,
}


def relight(image, change):
    return np.rint(RELIT[change](image)).clip(0, 255).astype(np.uint8)


def foreground_iou(classify, pairs, classes):
    """Return the IoU on each pair (image, mask of class indices), as a list.

    `classify` maps an image to class indices.
    """
    confusions = [metrics.confusion_matrix(mask, classify(image), len(classes)) for image, mask in pairs]
    return [metrics.foreground_or_mean(metrics.iou(confusion), classes) for confusion in confusions]


def score(classify, pairs, classes):
    """Return (mean IoU on the images as they are, mean IoU on the relit images)."""
    relit = [(relight(image, change), mask) for image, mask in pairs for change in RELIT]
    return np.mean(foreground_iou(classify, pairs, classes)), np.mean(foreground_iou(classify, relit, classes))


def network(image_path, mask_path, seed, flags):
    """Train with train.py's own function.

    Returns a function from an image to class indices, and the seconds.
    """
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        pair = [str(image_path), str(mask_path)]
        train.train(train_arguments([*pair, "--out", out, "--seed", str(seed), *flags]))
        seconds = time.perf_counter() - began
        model, metadata = load_network(Path(out) / "model.pt")
    return Segmenter(model, metadata), seconds


def forest(image_path, mask_path, seed):
    """Train scikit-learn's random forest and return the same as `network`.

    Its settings are the best of the three that were tried. The others were scales up to 16; and
    that with 50 trees, 10 deep, from 5 % of the pixels each, as in scikit-image's example of
    trainable segmentation.
    """
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    def features(image):         # (H, W, 3) → (H·W, 48): intensity, edges and texture at four scales
        return multiscale_basic_features(image, sigma_min=1, sigma_max=8, channel_axis=-1).reshape(-1, 48)

    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        data = train.load_data(train_arguments([str(image_path), str(mask_path)]), FCN.halo, FCN.stride)
    pixels = np.concatenate([features(image) for image, _, _ in data.training.items])
    truth = np.concatenate([mask.ravel() for _, mask, _ in data.training.items])
    trees = RandomForestClassifier(n_estimators=100, min_samples_leaf=5, max_samples=0.2, n_jobs=-1, random_state=seed)
    trees.fit(pixels, truth)
    seconds = time.perf_counter() - began
    return lambda image: trees.predict(features(image)).reshape(image.shape[:2]), seconds


def tissue(folder):
    """Return the sample as (image path, mask path, [pair to test on]).

    The files, written to `folder`, hold its left 320 columns. The pair is what lies right of them,
    a halo apart.
    """
    image, mask = sample()
    for name, array in [("rgb.png", image), ("gt.png", mask)]:
        write_image(folder / name, np.ascontiguousarray(array[:, :320]))
    start = 320 + FCN.halo
    return folder / "rgb.png", folder / "gt.png", [(image[:, start:], (mask[:, start:] > 0).astype(np.uint8))]


def folder_of_pairs(folder):
    """Return (image path, mask path, [pair to test on, …]) of a folder.

    The paths are the first pair's files; all other pairs are tested on. Raises SystemExit where
    there are fewer than two pairs.
    """
    images = sorted(Path(folder).glob("*_rgb.png"))
    files = [(path, path.with_name(path.name.replace("_rgb", "_gt"))) for path in images]
    if len(files) < 2:
        raise SystemExit(f"{folder}: found {len(files)} files *_rgb.png; expected at least two")
    classes = classes_of(files[0][1])
    return *files[0], [read_pair(*pair, classes) for pair in files[1:]]


def classes_of(mask_path):
    return find_classes([(read_mask(mask_path), mask_path)])


def main(args):
    print(f"{machine()}; train.py {' '.join(args.flags) or 'as it is'}")
    print(f"{'tested on':<34}{'by':<10}{'IoU':>18}{'relit':>18}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        tasks = {"the sample's unseen part": tissue(Path(temporary))}
        if args.pairs:
            tasks[f"{Path(args.pairs).name}, unseen images"] = folder_of_pairs(args.pairs)
        for name, (image_path, mask_path, pairs) in tasks.items():
            classes = classes_of(mask_path)
            for kind in ["network"] + ["forest"] * (not args.no_forest):
                rows = []
                for seed in range(args.seeds):
                    classify, seconds = (network(image_path, mask_path, seed, args.flags) if kind == "network" else
                                         forest(image_path, mask_path, seed))
                    rows.append([*score(classify, pairs, classes), seconds])
                mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
                print(f"{name:<34}{kind:<10}" + "".join(f"{mean[i]:>9.4f} ± {spread[i]:.4f}" for i in (0, 1)) +
                      f"{mean[2]:>9.0f}", flush=True)


if __name__ == "__main__":
    main(ARGS)
