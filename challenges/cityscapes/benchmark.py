"""Benchmark networks on street scenes: accuracy, robustness, efficiency, out-of-distribution.

    python -m challenges.cityscapes.benchmark DATA --baseline runs/baseline/model.pt
        --recipe runs/recipe/model.pt --networks runs/*/model.pt --adapt 1 --far PHOTOGRAPHS
        --out runs/benchmark

DATA is the data set that prepare.py wrote. Figures are computed on the images of test.txt, or of
--list; thresholds are chosen on those of val.txt. Writes benchmark.json, efficiency.png,
robustness.png and rejection.png, and prints four tables:

  1. Peak: mean Dice and mean IoU over the classes, with all images pooled into one.
  2. Robustness: the same on corrupted images (see corrupt.py), and the share that remains of the
     clean Dice as trained.
  3. Efficiency: Dice per GFLOP, which is 0 below 0.8 of the baseline's Dice.
  4. Out-of-distribution: the mean Dice of the images that a network keeps. A kept image of another
     kind counts 0, and so does a rejected image of this kind. Near: corrupted images of the highest
     severity, and --near. Far: --far.

Brackets hold the 2.5th and 97.5th percentile of 1,000 bootstraps over the images, drawn one by one.
Frames of one drive are alike, so these intervals are too narrow for other drives. Results are kept
in OUT: the same command, or one with more networks, continues from there.
"""
from challenges.cityscapes.arguments import benchmark_arguments
from support.script import run_script

if __name__ == "__main__":
    ARGS = benchmark_arguments(description=__doc__)     # before the imports that take seconds

import hashlib
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

import metrics
from challenges.cityscapes.corrupt import KINDS, SEVERITIES, corrupt
from model import load_network
from segmenter import Segmenter
from support import ood
from support.devices import pick_device
from support.files import BadInput, begin_folder, check_writable, set_of_files, write_json
from support.images import read_image
from support.machine import WORLD
from support.names import evenly_spaced, images_by_name, named_images
from support.plots import BLUE, ORANGE, SKY, save
from tools.scoring import find_examples

# The augmentations of train.py, and the kinds of corruption that resemble them.
LIKE = {"jitter": ("contrast", "night"), "noise": ("gaussian_noise", "shot_noise")}
FILLS = {1: ["none"], 2: ["none", "full"], 3: ["none", "left", "full"]}         # of the marks of a network's looks
LEAST = 0.8                      # share of the baseline's Dice below which efficiency counts 0


# ---------------------------------------------------------------------------------------------------
# Networks, images → confusion matrices and scores of each image, kept in files


class Network(NamedTuple):
    name: str
    trained: str                 # the name of the network as it was trained
    key: str                     # name, file digest and how it looks at images: the folder of its results
    segment: Segmenter
    bf16: bool

    def look(self, image):
        """Return (class indices (H, W), {name: score}) of an image uint8 (H, W, 3).

        There are no scores with adaptation or opening: such a network finds less unfamiliar.
        """
        with torch.autocast(self.segment.device.type, torch.bfloat16, enabled=self.bf16):
            if self.segment.adapt or self.segment.opening:
                return self.segment(image), {}
            return self.segment.with_scores(image, self.segment.score_names)

    @property
    def parameters(self):
        return sum(parameter.numel() for parameter in self.segment.network.parameters())

    @property
    def settings(self):
        return self.segment.metadata["settings"]


class Image(NamedTuple):
    """The result of one network for one image."""

    confusion: np.ndarray | None         # int64 (classes, classes); None without a mask
    scores: dict


def open_network(path, halo, bf16, adapt=0.0, opening=0):
    """Return the Network in a checkpoint, to look at images as predict.py does with --adapt and --opening.

    Its halo is at most the network's own, since a larger one would be wasted.
    """
    network, metadata = load_network(path)
    name = Path(path).resolve().parent.name if Path(path).name == "model.pt" else Path(path).stem
    key, trained = f"{name} {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]}", name
    if adapt:
        name, key = f"{name}, adapted {adapt:g}", f"{key} {adapt:g}"
    if opening:
        name, key = f"{name}, opened {opening}", f"{key} opened {opening}"
    segment = Segmenter(network, metadata, pick_device("auto"), min(halo, network.halo), adapt=adapt, opening=opening)
    return Network(name, trained, key, segment, bf16)


def examples_of(folder, segment, listed, count):
    """Return {name: function that reads (image, truth)} for at most `count` names of a list.

    The list is a file of the data set in `folder`.
    """
    folder = Path(folder)
    found = find_examples(folder / "images", folder / "masks", segment, only=folder / listed)
    places = evenly_spaced(len(found.names), count or len(found.names))
    return {found.names[place]: lambda place=place: found.read(place) for place in places}


def look_at_folder(network, folder, count, out):
    """Return [Image, …] of a network for at most `count` images in a folder, without truths."""
    paths = list(named_images(folder).values())
    chosen = [paths[place] for place in evenly_spaced(len(paths), count or len(paths))]
    examples = {path.name: lambda path=path: (read_image(path), None) for path in chosen}
    return look(network, examples, f"{Path(folder).resolve().name} {set_of_files(paths)}", out)


def look(network, examples, condition, out, damage=None):
    """Return [Image, …] of a network for examples, and keep them in a file.

    With `damage`, (kind, severity), each image is corrupted first.
    """
    path = check_writable(out / network.key / f"{condition}.json")
    rows = json.loads(path.read_text(encoding="utf-8"))["images"] if path.exists() else None
    if rows is None or [row["name"] for row in rows] != list(examples):
        rows = []
        for name, read in tqdm(examples.items(), desc=f"{network.name}, {condition}", leave=False, disable=None):
            image, truth = read()
            if damage:
                image = corrupt(image, *damage, seed=f"0 {name}")
            indices, scores = network.look(image)
            confusion = None
            if truth is not None:
                confusion = metrics.confusion_matrix(truth, indices, len(network.segment.classes)).tolist()
            rows.append({"name": name, "confusion": confusion, "scores": scores})
        write_json(path, {"images": rows}, indent=None)
    return [Image(row["confusion"] and np.array(row["confusion"]), row["scores"]) for row in rows]


def flops(network, image):
    """Return the GFLOPs for an image of 256×256 pixels and for this one, in windows.

    A multiply-add counts as two operations. The windows are those into which prediction cuts the
    image.
    """
    counts = []
    for picture in (np.zeros((256, 256, 3), np.uint8), image):
        with FlopCounterMode(display=False) as counter:
            network.look(picture)
        counts.append(counter.get_total_flops() / 1e9)
    return counts


# ---------------------------------------------------------------------------------------------------
# Figures


def mean_dice(confusions):
    """Return the mean Dice over the classes that occur, (...,).

    `confusions` are confusion matrices (..., classes, classes).
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1)
    occurring = confusions.sum(axis=-1) + confusions.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return np.nanmean(2 * hits / occurring, axis=-1)


def draws(count, repeats=1000):
    """Return how often each bootstrap draws each of `count` images, (repeats, count).

    The draws are the same for all networks.
    """
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=repeats)


def summed(images, times=None):
    """Return the sum of the confusion matrices of images: (classes, classes).

    With `times`, from draws, return that of each bootstrap: (repeats, classes, classes).
    """
    confusions = np.array([image.confusion for image in images])
    return confusions.sum(axis=0) if times is None else np.tensordot(times, confusions, 1)


def interval(values):
    return "[{:.3f} {:.3f}]".format(*np.percentile(values, [2.5, 97.5]))


def name_width(networks):
    """Return how wide the column with the networks' names is."""
    return max(24, *(len(network.name) + 1 for network in networks))


def peak(networks, clean):
    """Print the first table and return {name: figures}."""
    print("\n1. Peak: all images as one, over the classes")
    found, wide = {}, name_width(networks)
    print(f"{'':<{wide}}{'parameters':>12}{'mean Dice':>11}{'':<16}{'mean IoU':>10}{'accuracy':>10}"
          f"{'Dice an image':>15}")
    for network in networks:
        images = clean[network.name]
        total, times = summed(images), draws(len(images))
        found[network.name] = {
            "dice": float(mean_dice(total)), "iou": metrics.mean(metrics.iou(total)),
            "accuracy": metrics.accuracy(total), "image_dice": float(np.mean([of_image(one) for one in images])),
            "interval": interval(mean_dice(summed(images, times)))}
        figures = found[network.name]
        print(f"{network.name:<{wide}}{network.parameters:>12,}{figures['dice']:>11.4f} {figures['interval']:<15}"
              f"{figures['iou']:>10.4f}{figures['accuracy']:>10.4f}{figures['image_dice']:>15.4f}")
    return found


def of_image(image):
    """Return the mean Dice over the classes that occur in one image or in its prediction."""
    return metrics.mean(metrics.dice(image.confusion)) or 0.0


def robustness(networks, clean, corrupted, kinds, severities):
    """Print the second table and return {name: {condition: figures}}.

    `corrupted` is {(network, kind, severity): images}.
    """
    print("\n2. Robustness: mean Dice, the share that is left of the clean Dice and what another look adds")
    groups = {kind: {kind} for kind in kinds}
    for label, group in {"fog and rain": {"fog", "rain"}, "all of these": set(kinds),
                         "without light and noise": set(kinds).difference(*LIKE.values())}.items():
        if group and group <= set(kinds) and group not in groups.values():
            groups[label] = group
    found, repeated = {}, {}                 # repeated: Dice by network, condition and bootstrap
    for network in networks:
        learned = " and ".join(f"--{name} {network.settings.get(name, 0):g}" for name in LIKE)
        print(f"{network.name}, which has learned with {learned}, without weather")
        times = draws(len(clean[network.name]))
        parts = {"clean": clean[network.name]}
        parts |= {(kind, severity): corrupted[network.name, kind, severity]
                  for severity in severities for kind in kinds}
        dices = {part: mean_dice(summed(images)) for part, images in parts.items()}
        bootstraps = {part: mean_dice(summed(images, times)) for part, images in parts.items()}
        conditions = {"clean": ["clean"]}
        conditions |= {f"{label}, {severity}": [(kind, severity) for kind in kinds if kind in group]
                       for severity in severities for label, group in groups.items()}
        found[network.name] = rows = {}
        for label, members in conditions.items():
            dice = float(np.mean([dices[part] for part in members]))
            again = np.mean([bootstraps[part] for part in members], axis=0)
            rows[label], repeated[network.name, label] = {"dice": dice}, again
            share = rows[label]["share"] = dice / found[network.trained]["clean"]["dice"]
            rows[label]["interval"] = interval(again / repeated[network.trained, "clean"])
            line = f"  {label:<27}{dice:>8.4f}{share:>9.1%} {rows[label]['interval']}"
            if network.trained != network.name:
                gain = rows[label]["gain"] = dice - found[network.trained][label]["dice"]
                rows[label]["gain_interval"] = interval(again - repeated[network.trained, label])
                line += f"   {gain:+.4f} {rows[label]['gain_interval']}"
            print(line)
    return found


def efficiency(networks, baseline, figures, image):
    """Print the third table and return {name: figures}."""
    print(f"\n3. Efficiency, for an image of {image.shape[1]}x{image.shape[0]} pixels in windows; a multiply-add is 2 "
          f"FLOPs; Dice per GFLOP is 0 below {LEAST} of the baseline's Dice")
    found, usual, wide = {}, None, name_width(networks)
    print(f"{'':<{wide}}{'GFLOPs, 256x256':>16}{'GFLOPs, image':>15}{'of baseline':>13}{'mean Dice':>11}"
          f"{'of baseline':>13}{'Dice/GFLOP':>12}")
    for network in sorted(networks, key=lambda network: network.name != baseline):       # the baseline first
        patch, whole = flops(network, image)
        usual = usual or (whole, figures[network.name]["dice"])
        dice = figures[network.name]["dice"]
        counted = dice / whole if dice >= LEAST * usual[1] else 0.0
        found[network.name] = {"patch_gflops": patch, "image_gflops": whole, "dice": dice, "dice_per_gflop": counted}
        print(f"{network.name:<{wide}}{patch:>16.3f}{whole:>15.3f}{f'1/{usual[0] / whole:.1f}':>13}{dice:>11.4f}"
              f"{dice / usual[1]:>13.1%}{counted:>12.4f}")
    return found


def rejection(network, clean, chosen_by, near, far, keep):
    """Print the fourth table, a row for each score, and return {name: figures}.

    The threshold of a score keeps the share `keep` of the images `chosen_by`.
    """
    print(f"\n4. Out-of-distribution: {network.name}, {len(clean)} images, {len(near)} near, {len(far)} far; "
          f"thresholds keep {100 * keep:g}% of {len(chosen_by)} others")
    print(f"{'score':<10}{'threshold':>11}{'AUROC near':>12}{'AUROC far':>11}{'kept':>8}{'near out':>10}{'far out':>9}"
          f"{'rule':>9}")
    dices, found = np.array([of_image(image) for image in clean]), {}
    for name in clean[0].scores:
        own, close, distant = (np.array([image.scores[name] for image in images]) for images in (clean, near, far))
        least = ood.threshold([image.scores[name] for image in chosen_by], keep)
        let_in = (close >= least).sum() + (distant >= least).sum()
        found[name] = {
            "threshold": least, "near_auroc": ood.auroc(own, close) if len(close) else None,
            "far_auroc": ood.auroc(own, distant) if len(distant) else None, "kept": float((own >= least).mean()),
            "near_rejected": float((close < least).mean()) if len(close) else None,
            "far_rejected": float((distant < least).mean()) if len(distant) else None,
            "rule": float((dices * (own >= least)).sum() / (len(own) + let_in))}
        near_auroc, far_auroc, near_out, far_out = (metrics.format_metric(found[name][figure]) for figure in (
            "near_auroc", "far_auroc", "near_rejected", "far_rejected"))
        print(f"{name:<10}{least:>11.4g}{near_auroc:>12}{far_auroc:>11}{found[name]['kept']:>8.1%}{near_out:>10}"
              f"{far_out:>9}{found[name]['rule']:>9.4f}")
    nothing = float(dices.sum() / (len(clean) + len(near) + len(far)))
    print(f"{'to reject nothing':<72}{nothing:>8.4f}\n{'to know':<72}{dices.mean():>8.4f}")
    return {**found, "nothing": {"rule": nothing}, "perfect": {"rule": float(dices.mean())}}


# ---------------------------------------------------------------------------------------------------
# Pictures


def draw_efficiency(figures, baseline, path):
    """Draw Dice against the GFLOPs of an image.

    A line connects the Pareto front: the networks that no other beats in both.
    """
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    axes, points = figure.subplots(), {name: (one["image_gflops"], one["dice"]) for name, one in figures.items()}
    best = [point for point in sorted(points.values())
            if not any(other[0] <= point[0] and other[1] > point[1] for other in points.values())]
    axes.plot(*zip(*best), color=BLUE, linewidth=1, marker="o", label="none is both cheaper and better")
    others = [point for point in points.values() if point not in best]
    if others:
        axes.scatter(*zip(*others), color=ORANGE, zorder=3, label="another one is both")
    axes.axhline(LEAST * points[baseline][1], color="0.5", linestyle="--", linewidth=1,
                 label=f"{LEAST} of the baseline's Dice")
    axes.set(xscale="log", xlabel="GFLOPs for one image, a multiply-add is 2", ylabel="mean Dice")
    axes.margins(x=0.12, y=0.15)
    left, right = axes.get_xlim()
    axes.set_xlim(left / 1.1, 1.6 * right)               # room for the last one's name
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, edgecolor="none")
    label_points(figure, axes, points)
    save(figure, path)


def label_points(figure, axes, points):
    """Write the names of points, {name: (x, y)}, beside them, from the top down, each below what it would meet."""
    figure.draw_without_rendering()      # from here on, it is known where points lie
    taken = []
    for name, point in sorted(points.items(), key=lambda item: -item[1][1]):
        x, y = axes.transData.transform(point) * 72 / figure.dpi      # in points of 1/72 inch, as the size of letters
        line = y
        while any(abs(x - other_x) < 150 and abs(line - other) < 11 for other_x, other in taken):
            line -= 1
        taken.append((x, line))
        axes.annotate(name, point, xytext=(6, line - y - 3), textcoords="offset points", fontsize=9)


def draw_robustness(figures, networks, kinds, severity, path):
    """Draw the share of the clean Dice that remains under each kind of corruption.

    Each network has a mark, which is filled where the network is adapted or, of three, adapted and opened.
    """
    trained = list(dict.fromkeys(network.trained for network in networks))
    looks = dict(zip(trained, zip(itertools.cycle("osD^"), itertools.cycle([ORANGE, BLUE, "black", SKY]))))
    figure = Figure(figsize=(8, 1 + (0.14 + 0.12 * len(trained)) * len(kinds)), dpi=110, layout="constrained")
    axes, rows = figure.subplots(), np.arange(len(kinds))
    for name, (marker, colour) in looks.items():
        y = rows + 0.7 * (trained.index(name) / len(trained) - 0.5 + 0.5 / len(trained))
        shares = [[figures[network.name][f"{kind}, {severity}"]["share"] for kind in kinds]
                  for network in networks if network.trained == name]
        axes.hlines(y, np.min(shares, axis=0), np.max(shares, axis=0), color=colour, linewidth=1)
        for place, share in enumerate(shares):
            axes.plot(share, y, marker, color=colour, markersize=5, fillstyle=FILLS[len(shares)][place])
    most = 1.03 * max(1, *(figures[network.name][f"{kind}, {severity}"]["share"]
                           for network in networks for kind in kinds))
    axes.set(yticks=rows, yticklabels=[kind.replace("_", " ") for kind in kinds], xlim=(0, most),
             ylim=(len(kinds) - 0.5, -0.5),
             xlabel=f"share that is left of the clean Dice as trained, at severity {severity}")
    axes.hlines(rows[1:] - 0.5, 0, most, color="0.85", linewidth=0.8)
    axes.axvline(0.8, color="0.5", linestyle="--", linewidth=1)
    handles = [Line2D([], [], marker=marker, color=colour, linestyle="", fillstyle="none",
                      label=f"{name}, clean Dice {figures[name]['clean']['dice']:.3f}")
               for name, (marker, colour) in looks.items()]
    if len(networks) > len(trained):
        others = [network.name.split(", ", 1)[1] for network in networks if network.trained != network.name]
        for fill, label in zip(FILLS[1 + len(set(others))][1:], dict.fromkeys(others)):
            handles.append(Line2D([], [], marker="o", color="0.4", linestyle="", fillstyle=fill, label=label))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save(figure, path)


def draw_rejection(clean, near, far, figures, path):
    """Draw a histogram of each score for the three kinds of images, and its threshold."""
    names = list(clean[0].scores)
    figure = Figure(figsize=(9, 1.7 * len(names)), dpi=110, layout="constrained")
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names):
        groups = {label: [image.scores[name] for image in images]
                  for label, images in (("familiar", clean), ("near", near), ("far", far)) if images}
        values = np.concatenate(list(groups.values()))
        edges = np.linspace(np.percentile(values, 2), values.max(), 60)
        for (label, group), colour in zip(groups.items(), (BLUE, SKY, ORANGE)):
            axes.hist(np.clip(group, edges[0], None), edges, weights=np.full(len(group), 1 / len(group)), color=colour,
                      alpha=0.7, label=label)
        axes.axvline(figures[name]["threshold"], color="black", linewidth=1, linestyle="--", label="threshold")
        axes.set(ylabel="share", yticks=[])
        axes.set_title(name, fontsize=10)
    figure.axes[0].legend(edgecolor="none", ncols=4, fontsize=9)
    figure.axes[-1].set_xlabel("score of an image (the lowest 2 % at the left edge)")
    save(figure, path)


# ---------------------------------------------------------------------------------------------------


def benchmark(args):
    """Compute, print and draw the four benchmarks that `args` ask for, and return all figures.

    Raises BadInput.
    """
    if WORLD > 1:
        raise BadInput("all images go through one process; expected no torchrun")
    out, kinds = Path(args.out), list(dict.fromkeys(args.kinds or KINDS))
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise BadInput(f"--kinds {' '.join(sorted(unknown))}: expected some of {', '.join(KINDS)}")
    paths = list(dict.fromkeys([args.baseline, *args.recipe, *args.networks]))
    networks = [open_network(path, args.halo, args.bf16) for path in paths]
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise BadInput(f"two networks are called {max(names, key=names.count)}; expected model.pt in folders of "
                       "different names")
    classes = [([entry["value"] for entry in network.segment.classes], network.segment.ignore) for network in networks]
    for path, known in zip(paths, classes):
        if known != classes[0]:
            raise BadInput(f"{path} knows other classes than {paths[0]}; expected networks of the same data")
    for folder in (*args.near, *args.far):   # fails now, not after an hour
        named_images(folder)
    folders = [Path(args.data) / part for part in ("images", "masks")]
    files = [path for folder in folders for path in images_by_name(folder).values()]
    by_path = dict(zip(paths, networks))
    baseline, recipe, compared = networks[0], by_path[args.recipe[0]], [networks[0]]
    for path in dict.fromkeys(args.recipe):
        if by_path[path] is not baseline:    # a recipe may be the baseline itself
            compared.append(by_path[path])
        if args.adapt:
            compared.append(open_network(path, args.halo, args.bf16, args.adapt))
        if args.opening:
            compared.append(open_network(path, args.halo, args.bf16, args.adapt, args.opening))
    networks = compared + [network for network in networks if network not in compared]
    test, val = (examples_of(args.data, recipe.segment, listed, args.images)
                 for listed in (args.list, "val.txt"))
    made_of = {name: getattr(args, name) for name in ("list", "halo", "bf16", "images")}
    with begin_folder(out, {"set of files": set_of_files(files), **made_of}):
        return write_figures(args, out, kinds, networks, compared, recipe, test, val)


def write_figures(args, out, kinds, networks, compared, recipe, test, val):
    """Look at all images with all networks, and write the figures and the pictures of the four tasks.

    The first of the `networks` is the baseline; those that are `compared` also see damaged images.
    """
    baseline, scores, worst = networks[0], out / "scores", SEVERITIES[-1]
    report, *pictures = [check_writable(out / name) for name in (
        "benchmark.json", "efficiency.png", "robustness.png", "rejection.png")]
    clean = {network.name: look(network, test, "clean", scores) for network in networks}
    damaged = {(network.name, kind, severity): look(network, test, f"{kind}-{severity}", scores, (kind, severity))
               for network in compared for severity in args.severities for kind in kinds}
    print(f"{len(test)} images of {args.data} ({args.list}), windows with a halo of {args.halo} pixels")
    figures = {"list": args.list, "peak": peak(networks, clean)}
    figures["robustness"] = robustness(compared, clean, damaged, kinds, args.severities)
    first, _ = next(iter(test.values()))()
    figures["efficiency"] = efficiency(networks, baseline.name, figures["peak"], first)
    draw_robustness(figures["robustness"], compared, kinds, max(args.severities), pictures[1])
    draw_efficiency(figures["efficiency"], baseline.name, pictures[0])

    if set(test) & set(val):
        pictures.pop()
        print(f"\n4. Out-of-distribution: left out, as thresholds would be chosen on images of {args.list} themselves")
    else:
        chosen_by = look(recipe, val, "val", scores)
        near = [image for kind in kinds for image in look(recipe, test, f"{kind}-{worst}", scores, (kind, worst))]
        near += [image for folder in args.near for image in look_at_folder(recipe, folder, args.images, scores)]
        far = [image for folder in args.far for image in look_at_folder(recipe, folder, args.images, scores)]
        figures["rejection"] = rejection(recipe, clean[recipe.name], chosen_by, near, far, args.keep)
        draw_rejection(clean[recipe.name], near, far, figures["rejection"], pictures[2])
    write_json(report, figures)
    print(f"\nsee {report}, {', '.join(str(picture) for picture in pictures)}")
    return figures


if __name__ == "__main__":
    run_script(benchmark, ARGS, __file__,
               interrupted="interrupted; the same command goes on")
