"""The networks: the prescribed FCN and a U-Net. `python -m tools.show network` prints each as a table."""
import inspect
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support.checkpoint import load_checkpoint
from support.devices import all_reduce_sum
from support.files import BadInput
from support.machine import WORLD

# ---------------------------------------------------------------------------------------------------
# The FCN


class FCN(nn.Module):
    """The fully convolutional network of the exercise: (N, 3, H, W) → logits (N, classes, H, W), any H and W.

    10,514 parameters with two classes. `batchnorm` and `dropout` add the layers of that name; both are
    off by default, see the measurement in docs/RESULTS.md.
    """

    name = "fcn"                 # as the checkpoint names it
    stage_halo = None            # it is small enough to be run as a whole
    stride = 2                   # one 2×2 pooling: windows must start on even pixels
    halo = 8                     # an output pixel sees 7 pixels around it (8 if bilinear), rounded up to the stride

    def __init__(self, classes: int = 2, upsample: str = "nearest", batchnorm: bool = False, dropout: float = 0.0):
        super().__init__()
        if upsample not in ("nearest", "bilinear"):
            raise BadInput(f"--upsample {upsample} belongs to --model unet; expected nearest or bilinear for the FCN")
        self.arguments = {"classes": classes, "upsample": upsample, "batchnorm": batchnorm, "dropout": dropout}
        self.layers = nn.Sequential(OrderedDict(               # for an image (N, 3, H, W):
            conv1=nn.Conv2d(3, 16, kernel_size=3, padding=1),        # (N, 16, H, W)
            relu1=nn.ReLU(inplace=True),
            conv2=nn.Conv2d(16, 32, kernel_size=3, padding=1),       # (N, 32, H, W)
            relu2=nn.ReLU(inplace=True),
            pool=MaxPool(2),                                         # (N, 32, H/2, W/2)
            conv3=nn.Conv2d(32, 16, kernel_size=3, padding=1),       # (N, 16, H/2, W/2)
            relu3=nn.ReLU(inplace=True),
            upsample=nn.Upsample(scale_factor=2, mode=upsample),     # (N, 16, H, W)
            conv4=nn.Conv2d(16, classes, kernel_size=5, padding=2),  # (N, classes, H, W)
        ))
        if batchnorm or dropout:
            self.layers = with_extra_layers(self.layers, batchnorm, dropout)

    def as_prescribed(self, image: Tensor) -> Tensor:
        """Return the logits layer by layer, as the exercise has it."""
        height, width = image.shape[2:]
        return self.layers(pad_to_multiple(image, self.stride))[:, :, :height, :width]

    def forward(self, image: Tensor) -> Tensor:
        """Return the same, up to rounding, in less time: the ReLU after the pooling, conv4 on the small map."""
        height, width = image.shape[2:]
        learning_on_gpu = image.is_cuda and torch.is_grad_enabled()   # there, starting fewer kernels is faster
        if learning_on_gpu or self.layers.upsample.mode != "nearest":
            return self.as_prescribed(image)
        x = pad_to_multiple(image, self.stride)                       # each side even
        for name, layer in self.layers.named_children():
            if name == "pool":                                        # before the ReLU: the same, on fewer values
                x = F.relu_(layer(x))                                 # (N, 32, H/2, W/2)
            elif name == "conv4":                                     # the same, for a third of the work
                x = convolve_doubled(x, layer)                        # (N, classes, H, W)
            elif name not in ("relu2", "upsample"):
                x = layer(x)
        return x[:, :, :height, :width]


def with_extra_layers(layers: nn.Sequential, batchnorm: bool, dropout: float) -> nn.Sequential:
    """Return an FCN's layers with BatchNorm after the first three convolutions, with Dropout before the last."""
    extended: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in layers.named_children():
        if dropout and name == "conv4":
            extended["dropout"] = nn.Dropout2d(dropout)
        extended[name] = layer
        if batchnorm and isinstance(layer, nn.Conv2d) and name != "conv4":
            extended[name.replace("conv", "norm")] = BatchNorm(layer.out_channels)
    return nn.Sequential(extended)


def convolve_doubled(x: Tensor, conv: Any) -> Tensor:
    """Return conv(x enlarged to twice its size by nearest upsampling): (N, C, h, w) → (N, out, 2h, 2w).

    The enlarged map holds each value four times. Where two taps of the 5×5 kernel fall on copies of the same
    value, they can be added up before: each pixel of a 2×2 cell then sees 3×3 values of the small map, an even
    one and an odd one in other sums. So four 3×3 kernels do on the small map what one 5×5 does on the large
    one, with 36 multiplications for a cell instead of 100, and pixel_shuffle lays the cells out. Parameters,
    result and gradients are the same, but for the rounding. `conv` has no stride and no dilation.
    """
    def sums(kernel, dim):       # of 5 taps to 3 for an even pixel, then 3 for an odd one
        a, b, c, d, e = kernel.unbind(dim)
        return torch.stack([a + b, c + d, e, a, b + c, d + e], dim)

    out, channels = conv.weight.shape[:2]
    kernels = sums(sums(conv.weight, 3), 2).view(out, channels, 2, 3, 2, 3)           # y even or odd, 3, x, 3
    kernels = kernels.permute(0, 2, 4, 1, 3, 5).reshape(4 * out, channels, 3, 3)
    bias = conv.bias[:, None].expand(out, 4).flatten()
    cells = F.conv2d(x, kernels, bias, padding=1)                                     # (N, 4 · out, h, w)
    return F.pixel_shuffle(cells.contiguous(), 2)        # plane by plane, not channels last: a third faster


# ---------------------------------------------------------------------------------------------------
# The U-Net


def at_once(stage: Callable, level: int, *maps: Tensor) -> Tensor:
    """Run a stage of a network, at 1/2^level of the resolution, on whole maps."""
    return stage(level, *maps)


class UNet(nn.Module):
    """The U-Net (Ronneberger, Fischer & Brox, 2015): (N, 3, H, W) → logits (N, classes, H, W), any H and W.

        image ─ down[0] ──────────────── skip ──────────────── merge[0] ─ classify ─ logits
                   pool ─ down[1] ────── skip ────── merge[1] ─ up[0]
                             pool ─ down[2] ─ skip ─ merge[2] ─ up[1]
                                       pool ─ down[3] ─ up[2]

    In the first row maps have the image's size and `width` channels, in each further one half the sides and twice the
    channels. On the way down, `depth` times: two convolutions, then half the resolution at twice the channels. On
    the way up, the reverse: twice the resolution, beside it what the way down had there (the skip), two
    convolutions. So it sees far and stays sharp. `width` 64 and `depth` 4 are the paper's, 31.0 million
    parameters. What differs from the paper: convolutions are padded, so that the output has the input's
    size, and followed by BatchNorm. `separable` makes them depthwise-separable: a sixth of the work at
    that size, see `convolution`.
    """

    name = "unet"

    def __init__(self, classes: int = 2, width: int = 16, depth: int = 3, upsample: str = "transposed",
                 dropout: float = 0.0, separable: bool = False):
        super().__init__()
        self.arguments = {"classes": classes, "width": width, "depth": depth, "upsample": upsample, "dropout": dropout,
                          "separable": separable}
        self.depth = depth
        self.halo, self.stride = self.reach(depth, upsample)
        self.stage_halo = 4 if upsample == "bilinear" else 2    # a stage sees 2 pixels of its level, or 3: even
        channels = [width * 2**level for level in range(depth + 1)]           # at level 0, 1, …
        self.down = nn.ModuleList(two_convolutions(before, after, separable, of_colours=level == 0)
                                  for level, (before, after) in enumerate(zip([3] + channels, channels)))
        self.pool = MaxPool(2)
        self.dropout = nn.Dropout2d(dropout)                                  # at the bottom, as in the paper
        self.up = nn.ModuleList(doubling(2 * after, after, upsample) for after in channels[:-1])
        self.merge = nn.ModuleList(two_convolutions(2 * after, after, separable) for after in channels[:-1])
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    @staticmethod
    def reach(depth: int, upsample: str) -> tuple[int, int]:
        """Return (halo, stride): how many pixels beyond the edge of a core its pixels see, and the pooling grid.

        Cores end on that grid. Two pixels beyond their edge matter to the last two convolutions; in
        pixels of half the resolution that is one, and two more for the convolutions there, 3; then
        2 + 2 = 4, and so on: at the bottom 4 · 2^depth pixels. The convolutions on the way down add
        2 + 4 + … = 2 · 2^depth − 2. Bilinear upsampling needs one more at each level, 5 at the bottom.
        """
        stride = 2**depth
        return (7 if upsample == "bilinear" else 6) * stride, stride

    def forward(self, image: Tensor, run: Callable = at_once) -> Tensor:
        """Return the logits (N, classes, H, W). `run` runs its stages: at once, or see segmenter.in_windows."""
        height, width = image.shape[2:]
        x, skips = pad_to_multiple(image, self.stride), []                    # (N, 3, H, W), H and W padded
        for level in range(self.depth):
            x = run(self.descend, level, x)
            skips.append(x)
        x = run(self.descend, self.depth, x)                                  # the bottom
        for level in reversed(range(self.depth)):
            x = run(self.ascend, level, x, skips.pop())
        return x[:, :, :height, :width]

    def descend(self, level: int, x: Tensor) -> Tensor:
        """Return the map of a level on the way down from that of the one above, at twice the sides."""
        x = self.down[level](self.pool(x) if level else x)                    # half the sides, twice the channels
        return self.dropout(x) if level == self.depth else x

    def ascend(self, level: int, x: Tensor, skip: Tensor) -> Tensor:
        """Return the map of a level on the way up from that of the one below, at half the sides, and the skip."""
        x = torch.cat([skip, self.up[level](x)], dim=1)                       # twice the sides
        x = self.merge[level](x)                                              # half the channels
        return x if level else self.classify(x)


def two_convolutions(before: int, after: int, separable: bool, of_colours: bool = False) -> nn.Module:
    """Return layers (N, before, H, W) → (N, after, H, W). Colours are mixed as usual even where `separable`."""
    return nn.Sequential(
        convolution(before, after, separable and not of_colours), BatchNorm(after), nn.ReLU(inplace=True),
        convolution(after, after, separable), BatchNorm(after), nn.ReLU(inplace=True))


def convolution(before: int, after: int, separable: bool) -> nn.Module:
    """Return a 3×3 convolution; or a separable one: 3×3 in each channel by itself, then 1×1 between the channels.

    That takes 9 + after instead of 9 · after multiplications for each value; nothing nonlinear stands
    between the two (Chollet, "Xception", 2017).
    """
    if not separable:
        return nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
                         nn.Conv2d(before, after, 1, bias=False))


def doubling(before: int, after: int, upsample: str) -> nn.Module:
    """Return layers (N, before, H, W) → (N, after, 2H, 2W)."""
    if upsample == "transposed":
        return nn.ConvTranspose2d(before, after, 2, stride=2)
    # The convolution first: on a quarter of the pixels, and with the same result, as neither mixes with the other.
    return nn.Sequential(nn.Conv2d(before, after, 1), nn.Upsample(scale_factor=2, mode=upsample))


# ---------------------------------------------------------------------------------------------------
# Layers


class MaxPool(nn.MaxPool2d):
    """The largest of each 2×2 values. PyTorch also notes where it was, for the gradients; prediction goes without."""

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size != 2 or not torch.is_inference_mode_enabled():
            return super().forward(x)
        rows = torch.maximum(x[:, :, ::2], x[:, :, 1::2])             # (N, C, H/2, W)
        return torch.maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization (Ioffe & Szegedy, 2015), over the patches of all processes of a distributed run.

    PyTorch's own SyncBatchNorm does the same, on GPUs only.
    """

    running_mean: Tensor         # all three are there, as they are tracked
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        # Without a momentum, segmenter.adapted_batchnorm measures one image, in this process alone.
        if not self.training or WORLD == 1 or self.momentum is None:
            return super().forward(x)
        values, count = x.float(), WORLD * x[:, 0].numel()            # all processes have equal shares
        mean = all_reduce_sum(values.sum((0, 2, 3))) / count          # (channels,)
        centred = values - mean[:, None, None]
        variance = all_reduce_sum((centred * centred).sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def batchnorm_layers(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return all of a network's BatchNorm layers; an FCN has none, unless it was asked for."""
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


def pad_to_multiple(image: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column up to a multiple of the stride, so that pooling drops nothing."""
    height, width = image.shape[2:]
    if height % stride or width % stride:
        image = F.pad(image, (0, -width % stride, 0, -height % stride), mode="replicate")
    return image


def normalize(images: np.ndarray, mean: list[float], std: list[float], device: torch.device | str = "cpu",
              gain: np.ndarray | float = 1.0, offset: np.ndarray | float = 0.0) -> Tensor:
    """Return uint8 images (N, H, W, 3) as float32 (N, 3, H, W): (pixel·gain + offset − mean) / std, channels last.

    Mean, std (3,) and offset are in units of the full scale (1 = 255); gain and offset are (N, 3) or numbers.
    """
    scale = np.broadcast_to(gain / (255 * np.asarray(std)), (len(images), 3))
    shift = np.broadcast_to((offset - np.asarray(mean)) / std, (len(images), 3))
    factor, summand = (torch.from_numpy(array.astype(np.float32)).to(device)[:, :, None, None]
                       for array in (scale, shift))
    pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(device)       # PyTorch warns of read-only
    # A permuted (N, H, W, 3) array already is what PyTorch calls channels_last, the faster layout.
    return torch.addcmul(summand, pixels.permute(0, 3, 1, 2).float(), factor)


# ---------------------------------------------------------------------------------------------------
# A network by its name

NETWORKS: dict[str, Any] = {FCN.name: FCN, UNet.name: UNet}


def usual_settings(*names: str) -> dict[str, Any]:
    """Return {setting: default} of the networks of these names: the arguments of their classes."""
    parameters = [inspect.signature(NETWORKS[name]).parameters for name in names]
    return {knob: parameter.default for each in parameters for knob, parameter in each.items() if knob != "classes"}


def build(name: str, classes: int, **settings: Any) -> nn.Module:
    """Return an untrained network by its name and train.py's settings.

    Settings that are None have the default of its class; those of other networks are left out, see unused_settings.
    Raises BadInput for one that does not fit and TypeError for one that no network has.
    """
    if unknown := settings.keys() - usual_settings(*NETWORKS):
        raise TypeError(f"no network has the settings {sorted(unknown)}; expected some of {[*usual_settings(name)]}")
    own = {knob: settings[knob] for knob in usual_settings(name) if settings.get(knob) is not None}
    return NETWORKS[name](classes, **own)


def unused_settings(name: str, **settings: Any) -> str:
    """Return a line about those settings that build leaves out and the user has chosen, or "" where there are none."""
    own, usual = usual_settings(name), usual_settings(*NETWORKS)
    unused = [f"--{knob}" for knob, value in settings.items() if knob not in own and value not in (None, usual[knob])]
    return f"--model {name} has nothing to set by {' and '.join(unused)}: left out" if unused else ""


def reach(name: str, **settings: Any) -> tuple[int, int]:
    """Return (halo, stride) of the network that build would return for these settings."""
    with torch.device("meta"):                   # its weights take no memory
        network: Any = build(name, 1, **settings)
    return network.halo, network.stride


def load_network(path: Path | str) -> tuple[nn.Module, dict]:
    """Return (network in eval mode, its metadata) of a checkpoint. Raises BadInput, see load_checkpoint."""
    return load_checkpoint(path, NETWORKS)


def start_from(path: Path | str, network: nn.Module, classes: list[dict]) -> dict[str, Any]:
    """Put a checkpoint's weights into a new network of the same kind, whose classes may be others.

    All layers take them but the last, in which each class takes what a class of the same name had; other classes
    keep their random weights. Returns what was taken and what begins anew. Raises BadInput.
    """
    other, metadata = load_network(path)
    given, own = other.state_dict(), network.state_dict()             # own: not copies
    *inner, weight, bias = own                                        # the last layer's two must come last
    shapes = [{name: tensors[name].shape for name in tensors if name in inner} for tensors in (given, own)]
    if list(given) != list(own) or shapes[0] != shapes[1]:
        raise BadInput(f"--start-from {path}: it holds {other.name} {other.arguments}; expected layers as those of "
                       f"{network.name} {network.arguments}, only classes, dropout and nearest or bilinear may differ")
    for name in inner:
        own[name].copy_(given[name])
    former, names = ([entry["name"] for entry in entries] for entries in (metadata["classes"], classes))
    for index, name in enumerate(names):
        if name in former:
            for tensor in weight, bias:
                own[tensor][index] = given[tensor][former.index(name)]
    return {"file": str(path), "classes": [name for name in names if name in former],
            "new_classes": [name for name in names if name not in former]}
