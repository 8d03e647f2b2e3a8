"""Remake everything in results/ and checkpoints/: the default run on the bundled sample, and the README's pictures.

    python -m benchmarks.results
"""
import argparse

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

import os
import shutil
import tempfile
from pathlib import Path

import predict
import train
from data import read_pair
from model import FCN
from plots import draw_patches, draw_prediction, draw_windows
from sample import BLACK_AND_WHITE, SAMPLE

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"


def main():
    RESULTS.mkdir(exist_ok=True)
    (ROOT / "checkpoints").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        args = train.parse_arguments([])                # python train.py
        train.train(args)
        prediction = predict.predict(predict.parse_arguments(["rgb.png", "--mask", "gt.png"]))
        image, truth = read_pair(*SAMPLE, BLACK_AND_WHITE)
        draw_prediction(image, truth, prediction, RESULTS / "overview.png")
        draw_windows(image, FCN.halo, FCN.stride, None, RESULTS / "windows.png")
        draw_patches(image, truth, args.seed, args.jitter, RESULTS / "patches.png")
        for name in ("loss_vs_epochs.png", "predictions.jpg", "history.csv"):
            shutil.copy(name, RESULTS)
        shutil.copy("model.pt", ROOT / "checkpoints" / "fcn.pt")
        os.chdir(ROOT)           # Windows removes no folder that a program is in


if __name__ == "__main__":
    main()
