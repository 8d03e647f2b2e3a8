"""A trained network, .pt or .onnx, as a function: image uint8 (H, W, 3), of any size → classes uint8 (H, W).

    segment = Segmenter.load("model.pt")
    classes = segment(segment.read("photo.jpg"))

PyTorch is imported only where a network needs it: an .onnx file does without.
"""
import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from patches import (
    MAX_SIDE,
    Forward,
    Pieces,
    Tile,
    assemble,
    at_own_size,
    choose_halo,
    core_logits,
    decide,
    decide_rows,
    inexact_line,
    region_limits,
    resize,
    stage_side,
    tiles,
    within_budget,
    within_stage_budget,
    zoom_image,
    zoomed_size,
)
from support import ood
from support.arguments import SCORES, with_former_settings
from support.files import BadInput
from support.images import note_other_range, read_image
from support.light import GREY, NOTED, Light, count_values, lacks_colour, other_light, relight
from support.machine import keep_freed_memory
from support.masks import read_pair
from support.metadata import rendering_in
from support.notes import note
from support.onnx_file import OnnxNetwork, load_onnx, normalize_window

REGION = 1536                    # as many pixels as this squared are run stage by stage: more take more memory
ON_GPU = 4                       # windows at once there: one waits for its kernels to start, more take more memory
COMPARED = 512                   # pixels a side that are predicted in 16 and 32 bits, to say what changes
MOST_LIGHTS = 256                # of images seen before, which are remembered, as a training validates on them again


class Segmenter:
    """A trained network that can be called with images.

    `network` is an nn.Module with `halo`, `stride` and `stage_halo` (None: run as a whole), or an OnnxNetwork;
    `metadata` are those of its checkpoint. A U-Net, and on a GPU any network, is run region by region (see
    staged_forward), unless there is a `halo`, which replaces the network's own (see patches.choose_halo). Where the
    metadata hold the light that it learned from, an image in another one is brought into it first (see
    support/light.py). `tta` averages over the flips and turns that the training used, `adapt` moves BatchNorm's
    statistics to each image (see adapted_batchnorm), `opening` takes away bright lines less wide than so many pixels
    (see open_across), and `amp` multiplies in 16 bits: "on", "off", or "auto" where that is faster. Raises BadInput for
    a halo that does not fit, where there is no BatchNorm to adapt, and for `adapt` or `amp` with an OnnxNetwork.

    The network is moved to the device and set to eval mode. Several threads may call one Segmenter, but not with
    `adapt` or for the score "features": these change its BatchNorm layers for as long as an image takes. Then each
    thread takes a copy.deepcopy of it.
    """

    def __init__(self, network: Any, metadata: dict, device: Any = "cpu", halo: int | None = None, tta: bool = False,
                 adapt: float = 0.0, amp: str = "off", opening: int = 0):
        settings = with_former_settings(metadata["settings"])
        self.network, self.metadata, self.device, self.adapt, self.opening = network, metadata, device, adapt, opening
        self.classes, self.ignore = metadata["classes"], metadata["ignore"]
        self.zoom, self.threshold = settings["zoom"], settings["threshold"]
        self.rendering = rendering_in(metadata)                       # of images: what is white, and which bands
        self.usual_light = metadata.get("light")                      # see data.usual_light; older files have none
        self.found_lights: dict[bytes, Light | None] = {}             # by the counts of values that tell it
        scaling = metadata["mean"], metadata["std"]
        self.in_16_bits = self.uncompared = False
        self.options: dict[str, Any] = {"halo": halo, "tta": tta, "adapt": adapt, "opening": opening}
        if isinstance(network, OnnxNetwork):
            if adapt:
                raise BadInput("--adapt: only PyTorch can change BatchNorm's statistics; expected a .pt file")
            if amp != "off":
                raise BadInput("--amp: only PyTorch chooses what it multiplies in; expected a .pt file")
            self.batchnorms, self.in_one, staged = [], onnx_forward(network, *scaling), False
        else:
            import torch

            from model import batchnorm_layers
            from support.devices import pick_precision

            precision, found = pick_precision(amp, network, torch.device(device), training=False)
            self.in_16_bits, self.uncompared = found == "on", found == "on" and amp == "auto"
            self.batchnorms = batchnorm_layers(network)
            if adapt and not self.batchnorms:
                raise BadInput("--adapt: this network has no BatchNorm, which it changes; expected one that has, as "
                               "all U-Nets")
            self.in_one = torch_forward(network, *scaling, device, precision)
            on_gpu = torch.device(device).type == "cuda"
            staged = halo is None and (on_gpu or network.stage_halo is not None)
        self.window_halo = choose_halo(network.halo, network.stride, halo)       # of windows of the whole network
        self.halo, self.limit, self.forward = self.window_halo, MAX_SIDE, self.in_one
        if staged:
            self.halo, self.limit = network.halo, max(REGION, 4 * network.halo)
            self.forward = staged_forward(network, *scaling, device, precision)
        self.inexact = inexact_line(network.halo, self.halo)          # a line for the user, or ""
        self.forward_views = average_views(self.forward, settings["flips"] if tta else "none")

    @classmethod
    def load(cls, path: Path | str, device: Any = "cpu", halo: int | None = None, tta: bool = False,
             adapt: float = 0.0, amp: str = "off", opening: int = 0, threads: int | None = None) -> "Segmenter":
        """Open a .pt file of train.py or an .onnx file of tools.export. Raises BadInput.

        `device` is "cpu", "cuda", "auto" (a GPU if there is one) or a torch.device. `threads` are those of an .onnx
        file; None stands for all cores.
        """
        if Path(path).suffix.lower() == ".onnx":
            return cls(*load_onnx(path, threads), "cpu", halo, tta, adapt, amp, opening)
        from model import load_network
        from support.devices import pick_device

        keep_freed_memory()      # or each window takes its memory from the system anew: 1.5 times slower
        device = pick_device(device) if isinstance(device, str) else device
        return cls(*load_network(path), device, halo, tta, adapt, amp, opening)

    def __reduce__(self) -> tuple:
        """Let copies, and what another process gets, be made as this one was.

        Copied as they are, their `forward` would call this one's network.
        """
        amp = "on" if self.in_16_bits else "off"
        return functools.partial(type(self), amp=amp, **self.options), (self.network, self.metadata, self.device)

    def __call__(self, image: np.ndarray, probabilities: np.ndarray | None = None) -> np.ndarray:
        """Return the class indices, uint8 (H, W), of an image uint8 (H, W, 3).

        How probable each class is goes into `probabilities`, uint8 (classes, H, W), if given, see patches.decide.
        """
        self.compare(image)
        with self.adapted(image):
            return decide(self.core_logits(image), image.shape[:2], self.zoom, probabilities)

    def read(self, path: Path | str) -> np.ndarray:
        """Return an image file as uint8 (H, W, 3), read as the training's. Raises BadInput."""
        image = read_image(path, rendering=self.rendering)
        note_other_range(path, image, self.rendering)
        self.note_light(path, image)
        return image

    def read_pair(self, image_path: Path | str, mask_path: Path | str) -> tuple[np.ndarray, np.ndarray]:
        """Return an image file and its mask's class indices, uint8 (H, W), read as the training's. Raises BadInput."""
        image, truth = read_pair(image_path, mask_path, self.classes, self.ignore, self.threshold, self.rendering)
        note_other_range(image_path, image, self.rendering)
        self.note_light(image_path, image)
        return image, truth

    def logits(self, image: np.ndarray) -> np.ndarray:
        """Return the logits float32 (classes, H, W) of an image uint8 (H, W, 3), which takes their memory."""
        with self.adapted(image):
            pieces, size = self.core_logits(image), image.shape[:2]
            planes = assemble(pieces, zoomed_size(size, self.zoom))   # (classes, zoom·H, zoom·W)
        return planes if self.zoom == 1 else np.stack([resize(plane, size) for plane in planes])

    def with_scores(self, image: np.ndarray, names: list[str],
                    probabilities: np.ndarray | None = None) -> tuple[np.ndarray, dict[str, float]]:
        """Return class indices (H, W), as if called, and {name: score}: how familiar the image looks, see ood.py.

        The scores are those of the network as it was trained: adapted to an image, it finds less unfamiliar.
        """
        self.compare(image)
        means = ood.MeanScores(names)
        with self.feature_distance() if "features" in names else contextlib.nullcontext() as distance:
            pieces = map(means.add_up, self.core_logits(image))           # a generator would hold a region's logits
            classes = decide(pieces, image.shape[:2], self.zoom, None if self.adapt else probabilities)
            scores = means.scores()
            if distance:
                scores["features"] = -distance.value()
        return self(image, probabilities) if self.adapt else classes, scores

    def light(self, image: Any) -> Light | None:
        """Return the Light of an image; None where it is the one learned from, or where the network takes any light."""
        if self.usual_light is None:
            return None
        counts, found = count_values(image), self.found_lights
        key = counts.tobytes()
        if key not in found:         # an image is asked for where it is read, to note it, and here; in each validation
            if len(found) == MOST_LIGHTS:
                self.found_lights = found = {}
            found[key] = other_light(counts, self.usual_light)
        return found[key]

    def relit(self, image: Any) -> Any:
        """Return an image, or LargeTiff, as it would be in the light that the network learned from."""
        light = self.light(image)
        return image if light is None else relight(image, light)

    def seen(self, image: Any) -> Any:
        """Return an image, or LargeTiff, as the network sees it: relit, without bright lines if asked for, zoomed."""
        image = self.relit(image)
        return zoom_image(open_across(image, self.opening) if self.opening else image, self.zoom)

    def note_light(self, path: Path | str, image: Any) -> None:
        """Note where an image, or LargeTiff, is in another light, or grey where colours were learned from."""
        if lacks_colour(image, self.usual_light):
            note(path, GREY)
        elif self.light(image):
            note(path, NOTED)

    def core_logits(self, image: Any, begin: int = 0) -> Pieces:
        """Return the generator patches.core_logits for an image, at the scale at which the network sees it.

        Raises BadInput for anything but uint8 (H, W, 3).
        """
        shape: tuple[int, ...] = getattr(image, "shape", ())
        dtype = getattr(image, "dtype", np.uint8)        # a LargeTiff has none
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise BadInput(f"expected an image uint8 (H, W, 3), found a {type(image).__name__}" +
                           (f" {dtype} {tuple(shape)}" if shape else ""))
        seen, stride = self.seen(image), self.network.stride
        limits = self.limits(*seen.shape[:2])
        return core_logits(self.forward_views, seen, self.halo, stride, limit=limits, begin=begin)

    def limits(self, height: int, width: int) -> tuple[int, int]:
        """Return how high and wide the windows, or regions, may be of an image that has this size as it is seen."""
        if self.limit == MAX_SIDE:
            return MAX_SIDE, MAX_SIDE
        return region_limits(height, width, self.halo, self.network.stride, self.limit)

    def by_rows(self, image: Any, begin: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (top, class indices uint8 (rows, W)) from the row `begin`, or a little above, on: never all at once.

        They are those of calling it, without `adapt`, for a network of zoom 1. The image may be a LargeTiff.
        """
        self.compare(image)
        return decide_rows(self.core_logits(image, begin), image.shape[1])

    def pieces(self, image: np.ndarray) -> Pieces:
        """Yield (rows, columns, logits (C, y, x)) that cover an image (H, W, 3): as `logits`, but some at a time."""
        with self.adapted(image):
            yield from at_own_size(self.core_logits(image), image.shape[:2], self.zoom)

    def compare(self, image: np.ndarray) -> None:
        """Print how many pixels 16 bits change in the middle of the first image, if --amp auto chose them."""
        if not self.uncompared:
            return
        self.uncompared = False
        top, left = (max(0, (side - COMPARED) // 2) for side in image.shape[:2])
        middle = image[top:top + COMPARED, left:left + COMPARED]
        different = self(middle) != Segmenter(self.network, self.metadata, self.device, **self.options)(middle)
        print(f"--amp auto: 16 bits change the class of {different.mean():.2%} of the pixels, in the middle of the "
              "first image")

    @property
    def score_names(self) -> list[str]:
        """The names of the scores that this network has."""
        return [name for name in SCORES if name != "features" or self.batchnorms]

    def feature_distance(self) -> ood.FeatureDistance:
        """Return a context in which features are compared with the training's. Raises BadInput without BatchNorm."""
        return ood.FeatureDistance(self.batchnorms)

    @contextlib.contextmanager
    def adapted(self, image: np.ndarray) -> Iterator[None]:
        """Inside `with`, BatchNorm's statistics are moved to those of this image, if that was asked for."""
        # A single value at the bottom has no variance.
        if not self.adapt or max(zoomed_size(image.shape[:2], self.zoom)) <= self.network.stride:
            yield
            return
        windows = core_logits(self.in_one, self.seen(image), self.window_halo, self.network.stride)
        with adapted_batchnorm(self.batchnorms, windows, self.adapt):
            yield


def torch_forward(network: Any, mean: list[float], std: list[float], device: Any = "cpu",
                  precision: Any = None, run: Callable | None = None) -> Forward:
    """Return a PyTorch network as a function: uint8 window (h, w, 3) → float32 logits (classes, h, w).

    The network is moved to the device and set to eval mode: who goes on training calls network.train() again. The
    function raises ValueError for other windows, such as of values from 0 to 1. `precision` is the torch.dtype that it
    multiplies in (float32). `run` maps images (1, 3, h, w) to logits (1, classes, h, w): by default, it is the network,
    for windows within the budget.
    """
    import torch

    from model import normalize
    from support.devices import multiplying_in

    network = network.to(device, memory_format=torch.channels_last).eval()
    run = run or (lambda images: network(within_budget(images)))

    @torch.inference_mode()
    def forward(window):
        if window.dtype != np.uint8:
            raise ValueError(f"a window is a {type(window).__name__} of {window.dtype}; expected an array of uint8")
        images = normalize(window[None], mean, std, device)           # (1, 3, h, w)
        with multiplying_in(precision, images.device):
            return in_host_memory(run(images)[0].float())             # (classes, h, w)

    return forward


def staged_forward(network: Any, mean: list[float], std: list[float], device: Any = "cpu",
                   precision: Any = None) -> Forward:
    """As torch_forward, but for a region of any size, with the network run stage by stage, each in windows.

    A window of the whole network has a wide halo, and windows that overlap so much repeat most of the work. A
    single stage sees two pixels of its own resolution. So each stage goes over the whole map of the one before
    in windows of its own, and its result is put together before the next one begins: the result is the same,
    and hardly a pixel is computed twice. A network without stages is run as a single one: then a GPU is sent a
    region, not each of its windows.
    """
    import torch

    together = ON_GPU if torch.device(device).type == "cuda" else 1
    if network.stage_halo is None:
        windows = in_windows(network.halo, network.stride, together)
        run = lambda images: windows(lambda _, window: network(window), 0, images)
    else:
        run = functools.partial(network, run=in_windows(network.stage_halo, together=together))
    return torch_forward(network, mean, std, device, precision, run)


def in_host_memory(logits: Any) -> np.ndarray:
    """Return a tensor float32 as an array; from a GPU by page-locked memory, to which it copies faster."""
    import torch

    if logits.device.type == "cpu":
        return logits.numpy()
    return torch.empty(logits.shape, pin_memory=True).copy_(logits).numpy()      # pragma: no cover


def in_windows(halo: int, stride: int = 1, together: int = 1) -> Callable:
    """Return a function, (stage, level, *maps) → map (1, C, H, W), that runs a stage over whole maps, in windows.

    The stage is at 1/2^level of the image's resolution and sees `halo` pixels there. On the way down it takes a
    map of twice its resolution (at level 0, the image); on the way up, one of half of it, and the skip. No
    window holds more values than an input of 256×256×3 gives the first stage, see patches.stage_side. Windows begin
    on multiples of the stride, and so many enter a stage together.
    """
    import torch

    def run(stage, level, *maps):
        upwards = len(maps) == 2
        height, width = maps[-1].shape[2:]
        if level and not upwards:
            height, width = height // 2, width // 2
        grid = max(stride, 2 if upwards else 1)          # on the way up, whole pixels of the level below
        *window, cover = tiles(height, width, halo, grid, limit=stage_side(level))
        within_stage_budget(level, *window)
        result = None
        for first in range(0, len(cover), together):
            group = cover[first:first + together]
            cuts = ([cut_map(each, each.shape[2] / height, tile, *window) for tile in group] for each in maps)
            # One window is not copied.
            parts = stage(level, *(cut[0] if together == 1 else torch.cat(cut) for cut in cuts))      # (N, C, h, w)
            if result is None:
                result = parts.new_empty((1, height, width, parts.shape[1])).permute(0, 3, 1, 2)
            for tile, part in zip(group, parts):
                rows, columns = tile.core
                result[0, :, rows, columns] = part[tile.inside]
        return result            # in PyTorch's words, channels last

    return run


def cut_map(each: Any, scale: float, tile: Tile, height: int, width: int) -> Any:
    """Return what a window (height, width) shows of a map that has `scale` times the window's resolution."""
    y, x, below, right = (int(scale * edge) for edge in (tile.y, tile.x, tile.y + height, tile.x + width))
    return each[:, :, y:below, x:right]


def onnx_forward(network: OnnxNetwork, mean: list[float], std: list[float]) -> Forward:
    """Return an OnnxNetwork as a function: uint8 window (h, w, 3) → float32 logits (classes, h, w)."""
    def forward(window):
        images = within_budget(normalize_window(window, mean, std))   # (1, 3, h, w)
        return network.session.run(None, {"image": images})[0][0]

    return forward


def average_views(forward: Forward, views: str) -> Forward:
    """Return `forward` with its result averaged over `views` of each window (test-time augmentation).

    "none": the window as it is; "mirror": also left to right; "all": its eight flips and quarter turns.
    """
    quarter_turns = {"none": 0, "mirror": 1, "all": 4}[views]

    def over_views(window):
        results = []
        for turns in range(quarter_turns):
            turned = np.rot90(window, turns)
            for logits in forward(turned), np.flip(forward(np.flip(turned, 1)), 2):      # (classes, h, w) each
                results.append(np.rot90(logits, -turns, axes=(1, 2)))
        return sum(results) / len(results)

    return over_views if quarter_turns else forward


def open_across(image: np.ndarray, width: int) -> np.ndarray:
    """Return an image uint8 (H, W, 3) without what is brighter than its surroundings and less wide than `width` pixels.

    It is a morphological opening of each channel (Serra, 1982) by a line across: the least of the neighbours in a
    row, then of these the greatest. Streaks of rain go, and so do other bright, upright lines; dark ones stay.
    """
    before, after = (width - 1) // 2, width // 2
    for extreme, beside in (np.minimum, (before, after)), (np.maximum, (after, before)):
        padded = np.pad(image, ((0, 0), beside, (0, 0)), mode="edge")
        image = functools.reduce(extreme, (padded[:, start:start + image.shape[1]] for start in range(width)))
    return image


@contextlib.contextmanager
def adapted_batchnorm(layers: list, pieces: Pieces, share: float) -> Iterator[None]:
    """Inside `with`, the statistics of BatchNorm layers are moved by `share` from the training's to an image's.

    BatchNorm shifts and scales every channel by its mean and variance over the training. Haze, dusk or noise
    change these, and all that comes after works on values that it has not learned from. So the network looks
    at the image first, by going through `pieces`, a generator: each layer normalizes each window by itself,
    as in a training step, and averages the means and variances of the windows (which overlap, so pixels near
    their edges count more than once). No weight changes, and afterwards all is as it was (Schneider et al.,
    NeurIPS 2020, for batches of images).
    """
    usual = [(layer.momentum, copy.deepcopy(layer.state_dict())) for layer in layers]
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None                                     # a plain average over the windows
            layer.train()
        for _ in pieces:
            pass
        for layer, (_, state) in zip(layers, usual):
            layer.eval()
            layer.running_mean.lerp_(state["running_mean"], 1 - share)
            layer.running_var.lerp_(state["running_var"], 1 - share)
        yield
    finally:
        for layer, (momentum, state) in zip(layers, usual):
            layer.eval()
            layer.momentum = momentum
            layer.load_state_dict(state)
