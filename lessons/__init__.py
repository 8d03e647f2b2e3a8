"""Eight lessons: what a chapter needs beside the project's own functions.

A chapter says each of its numbers by `fact` or `measured`, which compare it with what its text states; it trains
by `learn`, which is train.py, and it shows its picture by `show`.
"""
import contextlib
import csv
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from support.script import escape_what_cannot_be_shown

ROOT = Path(__file__).resolve().parent.parent
BLUE, ORANGE, SKY, GREY = "#0072b2", "#d55e00", "#56b4e9", "#7f7f7f"    # for all eyes: Okabe & Ito (2008)

escape_what_cannot_be_shown()                    # a ×, say

pictures = Path("lessons_out")   # where `show` writes; python -m lessons changes these three
quick = False                    # train for a moment only: then what is `measured` means nothing and is not compared
alone = True                     # a reader runs this chapter, and wants the exercises checked
wrong: list[str] = []            # what was not as stated


def fact(text, value, stated, within=0.0):
    """Print a value that needs no training, and whether it is as the text states: within so much of it."""
    right = abs(value - stated) <= within
    if not right:
        wrong.append(f"{text}: {value:.6g}, stated {stated:.6g} ± {within:g}")
    accuracy = f" ± {within:g}" if within else ""
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    print(f"{text}: {shown}" + ("" if right else f" — the text states {stated:.6g}{accuracy}"))


def measured(text, value, stated, within):
    """As fact, for a value of a trained network, which differs a little from machine to machine."""
    if quick:
        print(f"{text}: {value:.4g} (not compared: trained for a moment only)")
    else:
        fact(text, value, stated, within)


def learn(image, mask, options=""):
    """Train as `python train.py IMAGE MASK` with these options does; return (the Segmenter, its history).

    Unless they say otherwise, the loss is plain cross-entropy and images stay in the light that they are in, as each
    chapter is about one thing. `image` is uint8 (H, W, 3), `mask` uint8 (H, W), a value for each class. The history
    has a dictionary of numbers for each epoch, the columns of history.csv.
    """
    from segmenter import Segmenter
    from support.arguments import train_arguments
    from support.files import write_image
    from train import begin_files, prepare, take_epochs

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), \
            contextlib.redirect_stderr(io.StringIO()):
        paths = [Path(folder) / "image.png", Path(folder) / "mask.png"]
        for path, array in zip(paths, (image, mask)):
            write_image(path, array)
        shortened = ["--epochs", "1", "--steps", "4"] if quick else []
        plain = ["--loss", "ce", "--light", "keep", "--zoom", "1", "--device", "cpu"]
        run = prepare(train_arguments([*map(str, paths), "--out", folder, *plain, *options.split(), *shortened]))
        begin_files(run)
        take_epochs(run)         # as train.train, but for the curves, which would take most of a short training's time
        with open(Path(folder) / "history.csv", newline="") as file:
            history = [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]
        return Segmenter.load(Path(folder) / "model.pt"), history


def canvas(columns=1, height=4.5):
    """Return an empty figure, 800 pixels wide, and its axes: letters are large enough for a phone."""
    import matplotlib
    from matplotlib.figure import Figure

    import support.plots  # noqa: F401 - which puts a matplotlibrc aside

    matplotlib.rcParams.update({"font.size": 14, "axes.titlesize": 14, "lines.linewidth": 3})
    figure = Figure(figsize=(8, height), dpi=100, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)
    return figure, figure.subplots(1, columns)


def show(figure, name):
    """Write a figure to NAME.jpg in the folder of pictures, and show it where this is a notebook."""
    from support.files import PICTURES, check_writable
    from support.plots import save

    pictures.mkdir(parents=True, exist_ok=True)
    path = check_writable(pictures / f"{name}.jpg", endings=PICTURES)
    save(figure, path, quality=85)
    print(f"see {path}")
    if "ipykernel" in sys.modules:
        from IPython.display import Image, display
        display(Image(filename=str(path)))


def check(number):
    """Say whether an exercise is solved, by the project's files as they are now: in another process, thus anew."""
    if alone:
        done = subprocess.run([sys.executable, "-m", "lessons.exercises", number], cwd=ROOT, capture_output=True,
                              text=True)
        print(done.stdout + done.stderr)
