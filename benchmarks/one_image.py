"""Compare networks and a random forest that learn from one image, on other images of its kind.

    python -m benchmarks.one_image                             on the bundled sample
    python -m benchmarks.one_image --pairs DIR DIR --out RUN   and on kinds of images; --out keeps what is finished
    python -m benchmarks.one_image --pairs DIR --methods network --learn-from 3 -- --batchnorm
    python -m benchmarks.one_image --pairs DIR --methods network --tta -- --zoom 0.5

A kind is a folder of NNN_rgb.png and NNN_gt.png. Each of its images in turn, or N of them, is learned from; all
others are tested on. Of the sample, the left part is learned from and the right part, a halo apart, tested on.
The methods are train.py as it is (network), with --model unet (unet), and a random forest (Breiman, 2001) on
scikit-image's multi-scale features, which learns from the same pixels: those left when the validation strip is
cut out. With --tta, networks predict as predict.py does with it. After -- come other settings of train.py, for both
networks.

IoU and boundary F (see metrics.py) are those of the foreground, or the mean of more than two classes, as means over
the test images; "relit" is the IoU on four changed copies of them: 15 % brighter, 15 % darker, redder, and veiled.
A row of the table has the mean over the images learned from, each over all seeds, ± the standard deviation over
these images (over seeds, where there is one image), and the worst of them. The same command with the same --out
goes on after an interruption: RUN/results.jsonl has a line for each training. Lines of other images, other settings
or other code of the training stay there and are not mixed in. RUN/one_image.png shows each image learned from.
"""
from support.arguments import train_arguments
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--pairs", metavar="DIR", nargs="+", default=[], help="folders of NNN_rgb.png and NNN_gt.png")
    parser.add_argument("--learn-from", type=int, metavar="N", help="so many images of a kind, evenly spaced (all)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    every = ["network", "unet", "forest"]
    parser.add_argument("--methods", nargs="+", choices=every, default=every, help="some of these (all)")
    parser.add_argument("--tta", action="store_true", help="networks average over flips and turns")
    parser.add_argument("--out", metavar="DIR", help="where results.jsonl and one_image.png go (nowhere)")
    parser.add_argument("--quick", action="store_true", help="a few steps and trees: does it run?")
    parser.add_argument("flags", nargs="*", help="after --: flags of train.py")
    ARGS = parser.parse_args()

import ast
import contextlib
import hashlib
import io
import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import metrics
import train
from benchmarks.machine import machine
from model import FCN, load_network
from segmenter import Segmenter
from support.classes import scan_classes
from support.files import BadInput, check_writable, set_of_files, write_image
from support.masks import mask_values, read_mask, read_pair
from support.names import evenly_spaced
from support.run_files import NOT_SETTINGS
from support.sample import sample

ROOT = Path(__file__).resolve().parent.parent
CODE = ("train.py", "data.py", "patches.py", "model.py", "losses.py", "optimizer.py",     # what a network depends on
        "segmenter.py", "support/light.py", "support/copies.py")
RELIT = {                        # uint8 (H, W, 3) → float (H, W, 3)
    "brighter": lambda image: image * 1.15,
    "darker": lambda image: image * 0.85,
    "redder": lambda image: image * np.array([1.1, 1.0, 0.9]),
    "veiled": lambda image: image + 20.0,
}
SCALES = {"sigma_min": 1, "sigma_max": 8}
TREES = {"n_estimators": 100, "min_samples_leaf": 5, "max_samples": 0.2}
QUICK = ["--epochs", "1", "--steps", "2"], {"n_estimators": 3}
BLOCK = 2**18                    # pixels whose features are computed at once: two million would take 0.8 GB
MARGIN = 36                      # rows around these that the features look at: four deviations of 8, and derivatives
CASE = "kind", "method", "image", "seed", "data", "settings"          # what tells lines of results.jsonl apart
FIGURES = "iou", "relit", "boundary", "seconds"


class Kind(NamedTuple):
    """Images of one kind."""

    name: str
    files: list                  # [(image path, mask path), …]
    classes: list                # of all masks together
    learned: list                # places in `files` of those to learn from


# ---------------------------------------------------------------------------------------------------
# What is learned from and tested on


def pairs_in(folder):
    """Return [(image path, mask path), …] of the NNN_rgb.png and NNN_gt.png in a folder, in order."""
    return [(path, path.with_name(path.name.removesuffix("_rgb.png") + "_gt.png"))
            for path in sorted(Path(folder).glob("*_rgb.png"))]


def folder_kind(folder, most=None):
    """Return the Kind in a folder, of which up to `most` images are learned from (all). Raises BadInput.

    Images whose mask has a single class are only tested on.
    """
    files = pairs_in(folder)
    able = [place for place, (_, mask) in enumerate(files) if mask_values(read_mask(mask), mask).distinct > 1]
    if len(able) < 2:            # or there might be nothing to find in those that are tested on
        raise BadInput(f"{folder}: found {len(able)} NNN_rgb.png whose NNN_gt.png holds several values; expected at "
                       "least two")
    learned = [able[number] for number in evenly_spaced(len(able), most or len(able))]
    return Kind(Path(folder).resolve().name, files, classes_of(*(mask for _, mask in files)), learned)


def classes_of(*mask_paths):
    return scan_classes(mask_paths)[0]


def sample_kind(folder):
    """Return the sample as a Kind of two images, of which the left one is learned from; they go into `folder`."""
    for name, array in zip(("rgb", "gt"), sample()):
        for part, cut in (("left", array[:, :320]), ("right", array[:, 320 + FCN.halo:])):
            write_image(folder / f"{part}_{name}.png", np.ascontiguousarray(cut))
    return folder_kind(folder, 1)._replace(name="sample")


def relight(image, change):
    return np.rint(RELIT[change](image)).clip(0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------
# Methods: they return {"classify": function from an image to class indices, "classes": whose indices, "seconds": …}


def network(image_path, mask_path, seed, flags, tta):
    """Train with train.py's own function; "best" is the row of history.csv of the epoch that was kept."""
    silent = io.StringIO()
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        began = time.perf_counter()
        words = [str(image_path), str(mask_path), "--out", out, "--seed", str(seed), *flags]
        best = train.train(train_arguments(words))
        seconds = time.perf_counter() - began
        segment = Segmenter(*load_network(Path(out) / "model.pt"), tta=tta)
    return {"classify": segment, "classes": segment.classes, "seconds": seconds, "best": best}


def forest(image_path, mask_path, seed, trees):
    """Train scikit-learn's random forest of these settings.

    TREES and SCALES are the best of the three that were tried. The others were scales up to 16; and
    that with 50 trees, 10 deep, from 5 % of the pixels each, as in scikit-image's example of
    trainable segmentation.
    """
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    def features(image):         # (H, W, 3) → (pixels, 48) of some rows at a time: intensity, edges, texture
        rows = max(1, BLOCK // image.shape[1])
        for top in range(0, len(image), rows):
            above = min(top, MARGIN)
            part = image[top - above:top + rows + MARGIN]
            yield multiscale_basic_features(part, **SCALES, channel_axis=-1)[above:above + rows].reshape(-1, 48)

    def classify(image):
        return np.concatenate([model.predict(part) for part in features(image)]).reshape(image.shape[:2])

    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        data = train.load_data(train_arguments([str(image_path), str(mask_path)]), FCN.halo)
    pixels = np.concatenate([part for image, _, _ in data.training.items for part in features(image)])
    truth = np.concatenate([mask.ravel() for _, mask, _ in data.training.items])
    model = RandomForestClassifier(**trees, n_jobs=-1, random_state=seed).fit(pixels, truth)
    return {"classify": classify, "classes": data.classes, "seconds": time.perf_counter() - began}


def score(learned, kind, place):
    """Return {"tested", "iou", "relit", "boundary"} of what was `learned` from the image at this place of a Kind."""
    values = [entry["value"] for entry in kind.classes]
    to_kind = np.array([values.index(entry["value"]) for entry in learned["classes"]], np.uint8)     # class → class

    def figures(image, truth):   # → (IoU, boundary F)
        found = to_kind[learned["classify"](image)]
        return [metrics.foreground_or_mean(values, kind.classes) for values in (
            metrics.iou(metrics.confusion_matrix(truth, found, len(kind.classes))),
            metrics.boundary_f(metrics.boundary_counts(truth, found, len(kind.classes))))]

    plain, relit = [], []
    for paths in kind.files[:place] + kind.files[place + 1:]:
        image, truth = read_pair(*paths, kind.classes)
        plain.append(figures(image, truth))
        relit += [figures(relight(image, change), truth) for change in RELIT]
    (ious, boundaries), (relit_ious, _) = zip(*plain), zip(*relit)
    return {"tested": len(plain), "iou": metrics.mean(ious), "relit": metrics.mean(relit_ious),
            "boundary": metrics.mean(boundaries)}


# ---------------------------------------------------------------------------------------------------
# Results that outlive an interruption


def digest(thing):
    return hashlib.sha256(json.dumps(thing, sort_keys=True, default=str).encode()).hexdigest()[:12]


def without_remarks(path):
    """Return what a Python file does, as text, so that comments and docstrings may change."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


def settings_of(method, args):
    """Return (what a method is given beside image and seed, a digest of all that decides its figures)."""
    if method == "forest":
        trees, shares = {**TREES, **QUICK[1]} if args.quick else TREES, vars(train_arguments([]))
        used = [shares[name] for name in ("threshold", "val_share", "patch", "zoom")]
        return {"trees": trees}, digest([trees, SCALES, used])
    flags = [*["--model", "unet"] * (method == "unet"), *args.flags, *QUICK[0] * args.quick]
    settings = vars(train_arguments(flags))
    apart = *NOT_SETTINGS, "image", "mask", "seed"
    return {"flags": flags, "tta": args.tta}, digest(
        [{name: settings[name] for name in settings if name not in apart},
         [without_remarks(ROOT / name) for name in CODE], *["tta"] * args.tta])


def key(row):
    return tuple(row.get(name) for name in CASE)


def read_rows(path):
    """Return {key: row} of results.jsonl; a line that was interrupted is none."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            rows[key(row)] = row
    return rows


def add_row(path, row):
    half = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * half + json.dumps(row) + "\n")


def find_cases(args, kinds):
    """Return [(row without figures, kind, place, what the method is given), …], kinds and methods by turns."""
    settings = {method: settings_of(method, args) for method in args.methods}
    cases = []
    for kind in kinds:
        data = set_of_files([path for pair in kind.files for path in pair])
        for turn, place in enumerate(kind.learned):
            image = kind.files[place][0].name.removesuffix("_rgb.png")
            for method, (given, code) in settings.items():
                for seed in range(args.seeds):
                    row = dict(zip(CASE, (kind.name, method, image, seed, data, code)))
                    cases.append((seed, turn, (row, kind, place, given)))
    return [case for _, _, case in sorted(cases, key=lambda case: case[:2])]


def measure(row, kind, place, given):
    """Return the row of a case, with its figures."""
    learned = (forest if row["method"] == "forest" else network)(*kind.files[place], row["seed"], **given)
    return {**row, **score(learned, kind, place), "seconds": round(learned["seconds"], 2),
            "best": learned.get("best"), "given": given, "machine": machine()}


# ---------------------------------------------------------------------------------------------------
# The table and the picture


def summarize(rows):
    """Return {"images": {name: IoU}, "spread", "worst": (IoU, name), figure: mean over images, …} of rows."""
    by_image = {}
    for row in rows:
        by_image.setdefault(row["image"], []).append([row[figure] for figure in FIGURES])
    means = {name: np.mean(same, axis=0) for name, same in sorted(by_image.items())}
    ious = {name: each[0] for name, each in means.items()}
    same = list(ious.values()) if len(ious) > 1 else [row["iou"] for row in rows]
    return {"images": ious, "worst": min((iou, name) for name, iou in ious.items()),
            "spread": metrics.spread(same) or 0.0,
            **dict(zip(FIGURES, np.mean(list(means.values()), axis=0)))}


def table(found):
    """Return {(kind, method): summary} as lines of text."""
    lines = [f"{'kind':<16}{'by':<9}{'images':>6}{'IoU':>9}{'':9}{'worst':>8} {'of':<8}{'relit':>8}{'boundary F':>12}"
             f"{'seconds':>9}"]
    for (kind, method), one in found.items():
        iou, relit, boundary, seconds = (one[figure] for figure in FIGURES)
        worst, name = one["worst"]
        lines.append(f"{kind[:15]:<16}{method:<9}{len(one['images']):>6}{iou:>9.4f} ± {one['spread']:.4f}{worst:>8.4f} "
                     f"{name[:8]:<8}{relit:>8.4f}{boundary:>12.4f}{seconds:>9.1f}")
    for method in dict.fromkeys(method for _, method in found):
        same = [one for (_, by), one in found.items() if by == method]
        iou, relit, boundary, seconds, worst = np.mean([[*(one[figure] for figure in FIGURES), one["worst"][0]]
                                                        for one in same], axis=0)
        lines.append(f"{f'mean, {len(same)} kinds':<16}{method:<9}{'':6}{iou:>9.4f}{'':9}{worst:>8.4f} {'':8}"
                     f"{relit:>8.4f}{boundary:>12.4f}{seconds:>9.1f}")
    return "\n".join(lines)


def draw(found, path):
    """Draw {(kind, method): summary}: a dot for each image learned from, a line for their mean."""
    from matplotlib.figure import Figure

    from support.plots import BLUE, ORANGE, save

    looks = {"network": (BLUE, "o"), "unet": ("#009e73", "s"), "forest": (ORANGE, "^")}     # of Okabe & Ito, too
    kinds, methods = (list(dict.fromkeys(names)) for names in zip(*found))
    height, legend = 1.1 + 0.28 * len(kinds) * (len(methods) + 1), {}
    figure = Figure(figsize=(8, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    for (kind, method), one in found.items():
        y = kinds.index(kind) + (methods.index(method) - (len(methods) - 1) / 2) / (len(methods) + 1)
        colour, marker = looks[method]
        legend[method] = axes.scatter(one["images"].values(), [y] * len(one["images"]), s=50, color=colour,
                                      marker=marker, alpha=0.55, linewidths=0, clip_on=False)
        [mean] = axes.plot([one["iou"]] * 2, [y - 0.09, y + 0.09], color="black", linewidth=3)
        axes.text(1.01, y, f"{one['iou']:.2f}", color=colour, fontsize=11, verticalalignment="center")
    for border in range(1, len(kinds)):
        axes.axhline(border - 0.5, color="lightgrey", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(len(kinds) - 0.5, -0.5), yticks=range(len(kinds)))
    axes.set_xlabel("IoU on the other images of the kind; a dot for each image learned from", fontsize=11)
    axes.set_yticklabels([kind.replace("_", " ") for kind in kinds], fontsize=12)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    legend["mean"] = mean
    figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=4, frameon=False, fontsize=11)
    save(figure, path)


def show(rows, picture):
    """Print the table of rows, and draw them."""
    groups = dict.fromkeys((row["kind"], row["method"]) for row in rows)
    found = {group: summarize([row for row in rows if (row["kind"], row["method"]) == group]) for group in groups}
    if found:
        print(table(found))
    if found and picture:
        draw(found, picture)
        print(f"see {picture}")


def main(args):
    print(f"{machine()}; train.py {' '.join(args.flags) or 'as it is'}{', --tta' * args.tta}; "
          f"seeds 0 to {args.seeds - 1}")
    lines = Path(args.out) / "results.jsonl" if args.out else None
    picture = check_writable(lines.with_name("one_image.png")) if lines else None
    with tempfile.TemporaryDirectory() as temporary:
        kinds = [sample_kind(Path(temporary)), *(folder_kind(folder, args.learn_from) for folder in args.pairs)]
        if len({kind.name for kind in kinds}) < len(kinds):
            raise BadInput(f"--pairs {' '.join(args.pairs)}: two kinds have one name; expected different ones")
        cases, rows = find_cases(args, kinds), {}
        try:
            for case in cases:
                rows |= read_rows(lines) if lines else {}                   # another process may add some, too
                if key(case[0]) in rows:
                    continue
                row = rows[key(case[0])] = measure(*case)
                if lines:
                    add_row(lines, row)
                print(f"  {row['kind']}, {row['image']}, {row['method']}, seed {row['seed']}: IoU {row['iou']:.4f}, "
                      f"{row['seconds']:.0f} s", flush=True)
        finally:                 # also of what there is when Ctrl-C comes
            show([rows[key(case[0])] for case in cases if key(case[0]) in rows], picture)


if __name__ == "__main__":
    run_script(main, ARGS, __file__, interrupted="interrupted; with --out, the same command goes on")
