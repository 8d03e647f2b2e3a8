"""Remake everything in results/ and checkpoints/.

    python -m benchmarks.results

This is the default run on the bundled sample, and the README's pictures.
"""
from support.arguments import predict_arguments, train_arguments
from support.script import Parser, run_script

if __name__ == "__main__":
    ARGS = Parser(__file__, __doc__).parse_args()    # before the imports that take seconds

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import predict
import train
from model import FCN
from support.masks import read_pair
from support.plots import BLUE, ORANGE, save
from support.sample import BLACK_AND_WHITE, SAMPLE
from tools.show import draw_patches, draw_windows

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"


def draw_prediction(image, truth, prediction, path):
    """Draw side by side an image (H, W, 3), its mask, the prediction (class indices) and, coloured, the errors."""
    errors = np.repeat((truth * (180 / truth.max())).astype(np.uint8)[:, :, None], 3, axis=2)
    for wrong, colour in [(prediction > truth, ORANGE), (prediction < truth, BLUE)]:
        errors[wrong] = [round(255 * part) for part in to_rgb(colour)]
    figure = Figure(figsize=(12, 3 * image.shape[0] / image.shape[1] + 0.3), dpi=100, layout="constrained")
    shown = [(image, "image"), (truth, "mask"), (prediction, "prediction"), (errors, "missed: blue, invented: orange")]
    for axes, (array, title) in zip(figure.subplots(1, 4), shown):
        axes.imshow(array, cmap="gray")
        axes.set_title(title, fontsize=11)
        axes.set_axis_off()
    save(figure, path)


def main(_):
    RESULTS.mkdir(exist_ok=True)
    (ROOT / "checkpoints").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        args = train_arguments([])                # python train.py
        train.train(args)
        prediction = predict.predict(predict_arguments(["rgb.png", "--mask", "gt.png"]))
        image, truth = read_pair(*SAMPLE, BLACK_AND_WHITE)
        draw_prediction(image, truth, prediction, RESULTS / "overview.png")
        draw_windows(image, FCN.halo, FCN.stride, None, RESULTS / "windows.png")
        draw_patches(image, truth, args.seed, args.jitter, RESULTS / "patches.png")
        for name in ("loss_vs_epochs.png", "predictions.jpg", "history.csv"):
            shutil.copy(name, RESULTS)
        shutil.copy("model.pt", ROOT / "checkpoints" / "fcn.pt")
        os.chdir(ROOT)           # Windows cannot remove a process's current folder


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
