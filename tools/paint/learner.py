"""The learner: a process of its own, in which a network learns from strokes while they are painted, and predicts.

Session and learner share maps of each picture, files that both have open: the session paints into "strokes" and
"roles", the learner predicts into "prediction" and "uncertainty". Beside these they tell each other what has changed,
as tuples in two queues. The network learns by train.py's own step, from patches in which all but strokes is ignored;
its windows are stitched by patches.py. The learner does both by turns, in slices of a fraction of a second, and looks
for news between them.
"""
import math
import queue
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

import train
from data import Dataset, TrainingData
from model import batchnorm_layers, load_network
from patches import (
    MAX_SIDE,
    Forward,
    Sampling,
    Tile,
    class_rows,
    cut_batches,
    decide,
    strips,
    tiles,
    zoom_image,
    zoomed_size,
)
from segmenter import Segmenter, torch_forward
from support.arguments import NETWORK_KNOBS, train_arguments
from support.checkpoint import save_checkpoint
from support.devices import pick_device
from support.files import BadInput
from support.images import Rendering, read_image
from support.light import NOTED, count_values, other_light, relight
from support.masks import IGNORE
from tools.paint.pictures import CORRECTION, PUT_ASIDE, map_path, most_painted, scaled

SLICE = 0.3                      # seconds of learning, or of predicting, before looking for news
SAVED_EVERY = 2.0                # seconds, while it learns
SHOWN_EVERY = 1.0                # seconds from one look at what is in view to the next, while it learns
REGION = 512                     # pixels a side, where a network is run by regions: larger ones keep strokes waiting
STEPS = 5                        # of an "epoch", between two looks at the clock
NAMES = {"fcn": "the FCN", "unet": "the U-Net", "forest": "the random forest"}

# Where these settings differ from train.py's own: each patch lies on a stroke (balance 1), there is one picture in
# memory (reuse 1), and a schedule is as long as a person likes to wait. Strokes lie inside of regions, and whoever
# learns them by heart extends them wrongly: a lower rate and fewer steps than for a mask, see docs/PAINT.md.
COMMON = ["--balance", "1", "--reuse", "1", "--warmup", "20", "--steps", STEPS]
SETTINGS = {"fcn": [*COMMON, "--epochs", 32, "--lr", 0.005], "unet": [*COMMON, "--epochs", 120, "--model", "unet"]}
# A network that is corrected knows more than the strokes show, and is to keep it: a lower rate, for a U-Net patches as
# large as it is used to, and not a step more than it takes until it is right in a share KNOWN of what is painted.
# Half of each batch reminds it of what it said before, in so many pixels for each painted one, a MARGIN away from
# strokes: more of them for the FCN, which knows a pixel by so little that strokes change it everywhere.
CORRECTING = {"fcn": [*COMMON, "--epochs", 40, "--lr", 0.002],
              "unet": [*COMMON, "--epochs", 40, "--model", "unet", "--lr", 0.00005, "--patch", 128, "--batch", 4]}
KNOWN = 0.95
REMINDERS = {"fcn": 16, "unet": 4}
MARGIN = 16


# ---------------------------------------------------------------------------------------------------
# A picture, as the learner sees it


class Canvas:
    """A picture of this size (H, W) with its strokes, as a network that learned at this zoom sees it.

    `image` (h, w, 3) and `truth` (h, w) are at the zoom, the image in the network's `usual_light`, see data.py. Truth
    holds the class indices to learn, IGNORE elsewhere. `rows`, (classes, h), counts the pixels of each class in each
    row of it. `corrected` and its rows are the same for corrections alone. The maps are in the picture's own pixels.
    """

    def __init__(self, number: int, path: Path, size: tuple[int, int], maps: Path, rendering: Rendering,
                 zoom: float = 1, usual_light: dict | None = None):
        self.number, self.size, self.zoom, self.zoomed = number, size, zoom, zoomed_size(size, zoom)
        image = read_image(path, rendering=rendering)
        if image.shape[:2] != size:
            raise BadInput(f"{path} has changed; expected {size[1]}x{size[0]} pixels")
        light = other_light(count_values(image), usual_light) if usual_light else None
        self.note = f"{path.name} {NOTED}" if light else ""
        image = relight(image, light) if light else image
        self.image = np.require(zoom_image(image, zoom), requirements="W")       # (h, w, 3), for PyTorch
        self.strokes, self.roles, self.prediction, self.uncertainty = (
            np.memmap(map_path(maps, number, kind), np.uint8, mode, shape=size)
            for kind, mode in [("strokes", "r"), ("roles", "r"), ("prediction", "r+"), ("uncertainty", "r+")])
        self.truth, self.corrected = (np.full(self.zoomed, IGNORE, np.uint8) for _ in range(2))
        self.rows, self.corrected_rows = (np.zeros((IGNORE, self.zoomed[0]), np.int32) for _ in range(2))
        self.take_strokes([0, 0, size[1], size[0]])
        self.cover: list[Tile] = []                      # the windows of the network that predicts
        self.window = 0, 0                               # their height and width
        self.seen = np.zeros(0, int)                     # which version of the weights predicted each, 0 for none

    def take_strokes(self, box: list[int]) -> None:
        """Take over the strokes in a box [left, top, right, bottom] of the picture that have changed."""
        left, top, _, _ = scaled(box, self.size, self.zoomed)
        right, bottom = (-(-edge * new // old) for edge, new, old in zip(box[2:], self.zoomed[::-1], self.size[::-1]))
        for first in range(top, bottom, 256):            # some rows at a time: it takes 16 bytes for each pixel
            part, columns = slice(first, min(first + 256, bottom)), slice(left, right)
            (below, rows), (beside, across) = (covers(*axis) for axis in zip((part, columns), self.zoomed, self.size))
            strokes, roles = (np.array(each[below, beside]) for each in (self.strokes, self.roles))
            for mask, counts, counted in ((self.truth, self.rows, roles != PUT_ASIDE),
                                          (self.corrected, self.corrected_rows, roles == CORRECTION)):
                mask[part, columns] = most_painted(np.where(counted, strokes, IGNORE), rows, across)
                counts[:, part] = np.diff(class_rows(mask[part], IGNORE), prepend=0)
        self.aside = np.nonzero((self.roles == PUT_ASIDE) & (self.strokes != IGNORE))

    def items(self, classes: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield (image, mask, its class_rows) for data.Dataset: what is painted, corrections once more."""
        for mask, rows in (self.truth, self.rows), (self.corrected, self.corrected_rows):
            if rows.any():
                yield self.image, mask, rows[:classes].cumsum(axis=1)

    def cut(self, halo: int, stride: int, limit: int) -> None:
        """Cut the picture into windows of a network, none of which is predicted yet."""
        *self.window, self.cover = tiles(*self.zoomed, halo, stride, limit=limit)
        self.boxes = [scaled([tile.left, tile.top, tile.right, tile.bottom], self.zoomed, self.size)
                      for tile in self.cover]            # where their cores lie in the picture
        missing = [(0, -side % stride) for side in self.zoomed]
        self.padded = np.pad(self.image, [*missing, (0, 0)], mode="edge") if any(map(max, missing)) else self.image
        self.seen = np.zeros(len(self.cover), int)
        self.pieces: dict[int, tuple] = {}               # of a zoomed picture: the windows' rows, columns and logits

    def pixels(self, number: int) -> np.ndarray:
        """Return what a window shows, (h, w, 3)."""
        tile = self.cover[number]
        return self.padded[tile.y:tile.y + self.window[0], tile.x:tile.x + self.window[1]]

    def in_view(self, box: list[int]) -> np.ndarray:
        """Return the numbers of the windows whose core meets a box [left, top, right, bottom] of the picture."""
        return np.array([number for number, (left, top, right, bottom) in enumerate(self.boxes)
                         if left < box[2] and right > box[0] and top < box[3] and bottom > box[1]], int)

    def probabilities(self, number: int, logits: np.ndarray, top: int, bottom: int) -> np.ndarray:
        """Return the probability of each class, (C, bottom - top, w), in rows of the picture where a core lies.

        `logits` (C, y, x) are those of the window, at the zoom.
        """
        tile, (left, _, right, _) = self.cover[number], self.boxes[number]
        if self.zoom == 1:
            part = logits[:, top - tile.y:bottom - tile.y, left - tile.x:right - tile.x]
        else:
            (height, width), (h, w), size = self.size, self.zoomed, (right - left, bottom - top)
            x0, x1 = (edge * w / width - tile.x for edge in (left, right))
            y0, y1 = (edge * h / height - tile.y for edge in (top, bottom))
            part = np.stack([Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR, (x0, y0, x1, y1))
                             for plane in logits[:, :h - tile.y, :w - tile.x]])
        return torch.softmax(torch.from_numpy(part), dim=0).numpy()

    def take_prediction(self, number: int, logits: np.ndarray, version: int) -> None:
        """Put what weights of this version say to a window, logits (C, y, x), into the maps, where its core lies.

        At a zoom, how a core is enlarged depends on the place it is cut at, by the last bits: the whole picture is
        decided on once more, as predict.py does, when these weights have predicted its last window.
        """
        tile, (left, above, right, below) = self.cover[number], self.boxes[number]
        for top, bottom in strips(above, below, 2**18 // (right - left)):
            probabilities = self.probabilities(number, logits, top, bottom)
            self.prediction[top:bottom, left:right] = probabilities.argmax(axis=0)
            self.uncertainty[top:bottom, left:right] = doubt(probabilities)
        self.seen[number] = version
        if self.zoom != 1:
            self.pieces[number] = *tile.core, logits[tile.inside].copy()
            if (self.seen == version).all():
                pieces = (self.pieces.pop(number) for number in range(len(self.cover)))
                self.prediction[:] = decide(pieces, self.size, self.zoom)

    def agreement(self) -> tuple[int, int]:
        """Return (how many of the pixels that were put aside are predicted as painted, how many are predicted)."""
        said, painted = self.prediction[self.aside], self.strokes[self.aside]
        return int((said == painted).sum()), int((said != IGNORE).sum())


def covers(part: slice, zoomed: int, length: int) -> tuple[slice, np.ndarray]:
    """Return (which of the `length` pixels of an axis some of its `zoomed` ones cover, where each of these begins)."""
    begin = np.arange(part.start, part.stop) * length // zoomed
    end = max(part.stop * length // zoomed, int(begin[-1]) + 1)       # enlarged, several cover the same
    return slice(int(begin[0]), end), begin - begin[0]


# ---------------------------------------------------------------------------------------------------
# Who learns: each has `version`, which rises as it learns, `begun` and `reach`, what the page shows of its windows


class NetworkLearner:
    """An FCN or a U-Net that learns by train.py's step and is kept as the moving average of its weights.

    It goes on from a `former` one, (network, metadata), and learns from pictures that are at the `zoom` and in the
    `usual_light` already, see data.py. Where its metadata say that it is "corrected", it learns no more than
    it must, so as not to forget.
    """

    def __init__(self, name: str, classes: list[dict], ignore: Any, rendering: Rendering,
                 former: tuple | None = None, zoom: float = 1, usual_light: dict | None = None):
        self.name, self.classes, self.ignore, self.rendering = name, classes, ignore, rendering
        self.former, self.zoom, self.usual_light = former, zoom, usual_light
        self.run: train.Run | None = None
        self.version, self.epoch, self.batches_cut = 0, 0, 0
        self.right: deque[float] = deque(maxlen=STEPS)   # of a corrected one: the share of each batch's painted pixels
        if former:
            self.begin(Dataset([], [np.zeros(len(classes), int)], [0]))
            self.version = 1

    def begin(self, dataset: Dataset) -> None:
        """Make the network, with the weights and colours of a former one where there is one."""
        network, metadata = self.former or (None, {})
        words = [str(word) for word in (CORRECTING if "corrected" in metadata else SETTINGS)[self.name]]
        known = {name: value for name, value in (network.arguments if network else {}).items() if name in NETWORK_KNOBS}
        if network:
            known["flips"] = metadata["settings"]["flips"]
        args = train_arguments(words, **known, zoom=self.zoom, loss="ce", light="keep")
        colours = (metadata["mean"], metadata["std"]) if network else None
        found = TrainingData(dataset, dataset, self.classes, [self.ignore], "painted", [], self.rendering)
        self.run = train.build_run(args, pick_device("auto"), found, colours=colours)
        self.run.sampling = self.run.sampling._replace(scale=tuple(args.scale))             # not once more zoomed
        self.run.metadata["light"] = self.usual_light and for_classes(self.usual_light, len(self.classes))
        self.run.bar = tqdm(disable=True)
        if "corrected" in metadata:
            self.run.metadata["corrected"] = True        # also when this session, or a later one, goes on with it
            self.given = torch_forward(network, *colours, self.run.device)       # a patch → logits, as it was given
            for layer in batchnorm_layers(self.run.network):
                layer.register_forward_pre_hook(keep_statistics)
        for target in (self.run.network, self.run.ema_model) if network else ():
            take_weights(target, network.state_dict())
        self.segment = Segmenter(self.run.ema_model, self.run.metadata, self.run.device)

    @property
    def begun(self) -> bool:
        """Whether there is a network, and so windows: a new one is made when there is something to learn."""
        return self.run is not None

    @property
    def reach(self) -> dict:
        """The geometry of its windows; `steps` are those of pictures.sees."""
        network = self.run.network
        steps = [2, "/", 1, "*", 2]
        if self.name == "unet":
            steps = [2, "/"] * network.depth + [2] + ["*", 2] * network.depth
        if network.arguments["upsample"] == "bilinear":
            steps = [part for step in steps for part in ([step, 1] if step == "/" else [step])]
        return {"halo": self.segment.halo, "stride": network.stride, "steps": steps,
                "limit": min(self.segment.limit, max(REGION, 4 * network.halo))}

    def news(self) -> None:
        """Go back to the middle of the schedule at most, where the rate is high, as there is more to learn."""
        if self.begun:
            self.epoch = min(self.epoch, self.run.args.epochs // 2)

    @property
    def finished(self) -> bool:
        return self.begun and self.epoch >= self.run.args.epochs

    def improve(self, dataset: Dataset) -> float:
        """Learn for a slice of time and return the loss."""
        if not self.begun:
            self.begin(dataset)
        run, losses, until = self.run, [], time.perf_counter() + SLICE
        while not losses or time.perf_counter() < until and not self.finished:
            losses.append(train.train_epoch(run, self.epoch, self.batches(dataset)))
            self.epoch += 1
            self.version += STEPS
            if "corrected" in run.metadata and np.mean(self.right) > KNOWN:
                self.epoch = run.args.epochs
        return float(np.mean(losses))

    def batches(self, dataset: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the batches of an epoch; no two are the same, also where the schedule went back."""
        for _ in range(STEPS):
            if "corrected" in self.run.metadata:
                yield self.correction(dataset)
            else:
                yield self.cut(dataset, self.run.sampling, range(self.run.args.batch))
            self.batches_cut += 1

    def cut(self, dataset: Dataset, sampling: Sampling, slots: range) -> tuple[np.ndarray, np.ndarray]:
        """Return patches of the next batch, (N, size, size, 3), and their class indices."""
        return cut_batches(dataset, sampling, 0, self.batches_cut, 1, slots)[0]

    def correction(self, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch of which half lies on strokes, and half anywhere, to remind the network of what it said.

        There, the truth is what the network said that was given (Li & Hoiem, "Learning without forgetting", 2016), in
        some of the pixels that are not near a stroke: what made a person paint may be wrong around it, too.
        """
        from scipy.ndimage import maximum_filter  # here, as it takes longer than the first prediction may

        sampling, half = self.run.sampling, self.run.args.batch // 2
        images, truth = self.cut(dataset, sampling, range(half))
        others, strokes = self.cut(dataset, sampling._replace(balance=0.0), range(half, 2 * half))
        painted = truth != IGNORE
        self.right.append(np.mean(classify(self.segment.in_one, images)[painted] == truth[painted]))
        near = maximum_filter(strokes != IGNORE, (1, 2 * MARGIN + 1, 2 * MARGIN + 1))
        share = REMINDERS[self.name] * painted.sum() / near.size
        drawn = np.random.default_rng(self.batches_cut).random(near.shape) < share
        reminders = np.where(drawn & ~near, classify(self.given, others), IGNORE)
        return np.concatenate([images, others]), np.concatenate([truth, reminders])

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Return the logits of each class in a window (h, w, 3): float32 (C, h, w)."""
        return self.segment.forward(pixels)

    def save(self, path: Path) -> None:
        """Write the network as train.py does."""
        save_checkpoint(path, self.run.ema_model, **self.run.metadata, metrics={"step": self.version})


def classify(forward: Forward, patches: np.ndarray) -> np.ndarray:
    """Return the class indices, uint8 (N, size, size), that a network gives to patches (N, size, size, 3)."""
    return np.stack([forward(patch).argmax(axis=0) for patch in patches]).astype(np.uint8)


def keep_statistics(layer: torch.nn.Module, _: tuple) -> None:
    """Let a BatchNorm layer go by the statistics it has, as those of a few patches of one picture mislead it."""
    layer.eval()


@torch.no_grad()
def take_weights(network: torch.nn.Module, weights: dict) -> None:
    """Put weights into a network that may have more classes.

    Each of the additional ones begins as the mean of the others: so it is the likeliest nowhere before it learns.
    """
    for name, tensor in network.state_dict().items():
        former = weights[name]
        if tensor.dim():
            tensor[:len(former)] = former
            tensor[len(former):] = former.mean(dim=0)
        else:
            tensor.copy_(former)


def for_classes(usual: dict, classes: int) -> dict:
    """Return the usual light of a network, see data.usual_light, as that of one with as many classes or more."""
    *colours, unknown = usual["colours"]                 # (former classes, 3, 256); (3, 256), where no truth was known
    new = np.zeros((classes - len(colours), 3, 256), int).tolist()
    return usual | {"colours": [*colours, *new, unknown]}


class ForestLearner:
    """A random forest on scikit-image's multi-scale features (Breiman, 2001), the peer to compare with.

    It learns anew whenever there are new strokes; what it knows of windows without new ones is kept.
    """

    begun = True                 # its windows are the same for all strokes
    reach = {"halo": 36, "stride": 1, "limit": MAX_SIDE, "steps": [35]}      # 4 · sigma_max, and 3 for derivatives

    def __init__(self, classes: list[dict]):
        self.classes, self.version, self.finished, self.forest = classes, 0, False, None

    def news(self) -> None:
        self.finished = False

    def improve(self, dataset: Dataset) -> float:
        """Learn from all strokes and return the share of their pixels that it does not know."""
        from joblib import parallel_config
        from sklearn.ensemble import RandomForestClassifier

        found = [(features(pixels)[known], truth[known]) for pixels, truth, known in painted_windows(dataset)]
        values, truth = (np.concatenate(parts) for parts in zip(*found))
        forest = RandomForestClassifier(n_estimators=100, min_samples_leaf=5, n_jobs=-1, random_state=0)
        with parallel_config("threading"):       # this process may start no others, and would use one core
            self.forest = forest.fit(values, truth)
            unknown = np.mean(forest.predict(values) != truth)
        self.version, self.finished = self.version + 1, True
        return float(unknown)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Return the logarithms of the probability of each class in a window (h, w, 3): float32 (C, h, w)."""
        from joblib import parallel_config

        with parallel_config("threading"):
            found = self.forest.predict_proba(features(pixels).reshape(-1, 48))
        every = np.zeros((len(self.classes), *pixels.shape[:2]), np.float32)
        every[self.forest.classes_] = found.T.reshape(-1, *pixels.shape[:2])
        return np.log(every.clip(1e-6))


def features(pixels: np.ndarray) -> np.ndarray:
    """Return intensity, edges and texture at four scales: (h, w, 48)."""
    from skimage.feature import multiscale_basic_features

    return multiscale_basic_features(pixels, sigma_min=1, sigma_max=8, channel_axis=-1)


def painted_windows(dataset: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (pixels, truth, where that counts) of the windows of all pictures in which something is painted."""
    halo, limit = ForestLearner.reach["halo"], ForestLearner.reach["limit"]
    for image, mask, _ in dataset.items:
        height, width, cover = tiles(*mask.shape, halo, 1, limit=limit)
        for tile in cover:
            place = np.s_[tile.y:tile.y + height, tile.x:tile.x + width]
            known = np.zeros((height, width), bool)
            known[tile.inside] = mask[place][tile.inside] != IGNORE
            if known.any():
                yield image[place], mask[place], known


# ---------------------------------------------------------------------------------------------------
# The process


class Learner:
    """The process's own work: `inbox` brings news from the session, `tell` sends some back."""

    def __init__(self, setup: dict, inbox: Any, tell: Any):
        self.setup, self.inbox, self.tell = setup, inbox, tell
        self.classes = setup["classes"]
        self.canvases: dict[int, Canvas] = {}
        self.broken: set[int] = set()                    # pictures that cannot be read
        self.view: tuple[int, list[int]] | None = None   # (picture, box)
        self.learning, self.model = True, "fcn"
        self.zoom, self.usual_light = 1.0, None          # of the network to begin with, and so of whoever learns
        self.kinds: dict[str, Any] = {}                  # who has learned so far, by name
        self.dataset: Dataset | None = None              # the strokes, where they are of two classes
        self.repainted = True                            # since that was made
        self.saved: tuple = ()                           # (name, version) of who was saved last
        self.saved_at = self.shown_at = -math.inf        # by time.perf_counter()
        self.ended = False
        if setup["network"]:
            network, metadata = load_network(setup["network"])
            self.model, self.zoom = network.name, metadata["settings"]["zoom"]
            self.usual_light = metadata.get("light")
            if setup["network"] != setup["out"]:         # it comes from elsewhere
                metadata["corrected"] = True
            self.kinds[self.model] = self.network_learner(self.model, (network, metadata))

    def network_learner(self, name: str, former: tuple | None = None) -> NetworkLearner:
        """Return a network that is to learn; it begins as the `former` one, where there is one."""
        return NetworkLearner(name, self.classes, self.setup["ignore"], self.setup["rendering"], former, self.zoom,
                              self.usual_light)

    @property
    def current(self) -> Any:
        """Who learns and predicts now."""
        if self.model not in self.kinds:
            self.kinds[self.model] = (ForestLearner(self.classes) if self.model == "forest"
                                      else self.network_learner(self.model))
        return self.kinds[self.model]

    def work(self) -> None:
        """Learn and predict, by turns, until the session ends; wait where there is nothing to do."""
        self.announce()
        busy = True
        while not self.ended:
            self.take_news(wait=not busy)
            busy = self.turn()
            self.save(now=not busy)
        self.save(now=True)

    def turn(self) -> bool:
        """Learn, then predict, for a slice of time each; return whether there was anything to do."""
        learned = self.learn()
        if learned and time.perf_counter() - self.shown_at < SHOWN_EVERY:
            return True
        return self.predict() or learned

    def take_news(self, wait: bool) -> None:
        """Take what the session has told, and where nothing is to be done, wait for it."""
        try:
            if wait:
                self.take(*self.inbox.get())
            while True:
                self.take(*self.inbox.get_nowait())
        except queue.Empty:
            pass

    def take(self, kind: str, *rest: Any) -> None:
        """Take one message of the session."""
        if kind == "strokes":
            number, box = rest
            there = number in self.canvases
            canvas = self.canvas(number)
            if canvas and there:
                canvas.take_strokes(box)
            self.repainted = True
            for learner in self.kinds.values():
                learner.news()
        elif kind == "view":
            self.view = tuple(rest)
            self.canvas(self.view[0])
            self.forget_pictures()
        elif kind == "learn":
            self.learning, model = rest
            if model != self.model:
                self.model = model
                self.announce()
            self.tell("message", self.status())
        elif kind == "classes":
            self.take_classes(*rest)
        elif kind == "pixel":
            ticket, number, x, y = rest
            self.tell("answer", ticket, self.probabilities_at(number, x, y))
        elif kind == "end":
            self.ended = True

    def take_classes(self, classes: list[dict]) -> None:
        """Go on with other names, or with more classes: what was learned stays."""
        more, self.classes = len(classes) > len(self.classes), classes
        for name, learner in list(self.kinds.items()):
            learner.classes = classes
            if name == "forest" or learner.run is None:
                continue
            learner.run.metadata["classes"] = classes
            if more:
                self.kinds[name] = self.network_learner(name, (learner.run.ema_model, learner.run.metadata))
        self.repainted, self.saved = True, ()
        if more:
            self.announce()

    def canvas(self, number: int) -> Canvas | None:
        """Return a picture as the learner sees it; None where it cannot be read, which is told once."""
        if number not in self.canvases and number not in self.broken:
            path, size = self.setup["pictures"][number]
            try:
                self.canvases[number] = Canvas(number, path, size, self.setup["maps"], self.setup["rendering"],
                                               self.zoom, self.usual_light)
            except BadInput as error:
                self.broken.add(number)
                self.tell("message", str(error))
                return None
            self.cut(self.canvases[number])
            if self.canvases[number].note:
                self.tell("message", self.canvases[number].note)
        return self.canvases.get(number)

    def forget_pictures(self) -> None:
        """Let go of pictures that are neither painted nor in view."""
        for number, canvas in list(self.canvases.items()):
            if number != self.view[0] and not canvas.rows.any():
                del self.canvases[number]

    def announce(self) -> None:
        """Tell the page about the windows of who learns now, and begin to predict anew."""
        if self.current.begun:
            self.tell("network", self.model, {**self.current.reach, "zoom": self.zoom})
            for canvas in self.canvases.values():
                self.cut(canvas)

    def cut(self, canvas: Canvas) -> None:
        if self.current.begun:
            reach = self.current.reach
            canvas.cut(reach["halo"], reach["stride"], reach["limit"])

    # Learning

    def learn(self) -> bool:
        """Learn for a slice of time; return whether there was anything to learn."""
        if self.repainted:
            self.dataset, self.repainted = self.strokes_so_far(), False
        if not self.learning or self.dataset is None or self.current.finished:
            return False
        begun = self.current.begun
        loss = self.current.improve(self.dataset)
        if not begun:
            self.announce()
        right, known = np.sum([canvas.agreement() for canvas in self.canvases.values()], axis=0)
        self.tell("steps", self.current.version, loss, float(right / known) if known else None)
        self.tell("message", self.status())
        return True

    def status(self) -> str:
        """Return how things are, as a line for the page."""
        name = NAMES[self.model]
        if not self.learning:
            return f"{name} waits: learning is switched off"
        if self.dataset is None:
            return "paint strokes of two classes"
        finished = f"{name} has learned these strokes; paint where it is wrong or unsure"
        return finished if self.current.finished else f"{name} is learning"

    def strokes_so_far(self) -> Dataset | None:
        """Return what is painted as a data set; None where that is less than two classes."""
        items = [item for canvas in self.canvases.values() for item in canvas.items(len(self.classes))]
        if np.count_nonzero(sum(rows[:, -1] for _, _, rows in items)) < 2:
            return None
        return Dataset(items, [rows[:, -1] for _, _, rows in items], [mask.size for _, mask, _ in items])

    def save(self, now: bool) -> None:
        """Write the network, every few seconds, or now."""
        learner = self.current
        late = time.perf_counter() - self.saved_at > SAVED_EVERY
        if self.model == "forest" or self.saved == (self.model, learner.version) or not (now or late):
            return
        if learner.version:
            self.saved_at = time.perf_counter()
            try:
                learner.save(self.setup["out"])
                self.saved = self.model, learner.version
            except BadInput as error:
                self.tell("message", str(error))

    # Predicting

    def predict(self) -> bool:
        """Predict for a slice of time; return whether there was anything to predict."""
        if not self.current.version:
            return False
        until, version, done = time.perf_counter() + SLICE, self.current.version, set()
        for canvas, number in self.stale_windows():
            if time.perf_counter() > until and done:
                break                                    # the rest goes on at the next turn
            canvas.take_prediction(number, self.current.logits(canvas.pixels(number)), version)
            done.add(canvas.number)
        else:
            self.shown_at = time.perf_counter()
        for number in done:
            self.tell("predicted", number, bool((self.canvases[number].seen > 0).all()))
        return bool(done)

    def stale_windows(self) -> Iterator[tuple[Canvas, int]]:
        """Yield (picture, number) of the windows that older weights predicted: in view first, the oldest first."""
        version = self.current.version
        shown = self.view[0] if self.view else None
        canvases = sorted(self.canvases.values(), key=lambda canvas: canvas.number != shown)
        for canvas in canvases:
            first = canvas.in_view(self.view[1]) if canvas.number == shown else np.zeros(0, int)
            rest = np.setdiff1d(np.arange(len(canvas.cover)), first)
            for numbers in first, rest:
                for number in numbers[np.argsort(canvas.seen[numbers], kind="stable")]:
                    if canvas.seen[number] < version:
                        yield canvas, int(number)

    def probabilities_at(self, number: int, x: int, y: int) -> list[float] | None:
        """Return the probability of each class at a pixel, None before there is any."""
        canvas = self.canvas(number)
        if canvas is None or not self.current.version:
            return None
        window = int(canvas.in_view([x, y, x + 1, y + 1])[0])
        row = canvas.probabilities(window, self.current.logits(canvas.pixels(window)), y, y + 1)
        return row[:, 0, x - canvas.boxes[window][0]].tolist()


def doubt(probabilities: np.ndarray) -> np.ndarray:
    """Return how unsure probabilities (C, h, w) are: their entropy, 0 to 255, which is that of equal ones."""
    entropy = torch.special.entr(torch.from_numpy(probabilities)).sum(dim=0) / math.log(len(probabilities))
    return (255 * entropy).round().clamp(0, 255).byte().numpy()
