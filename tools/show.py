"""The networks as a table, and pictures of training patches and of the windows over an image.

    python -m tools.show network                          the FCN: layers, parameters, FLOPs, what they see
    python -m tools.show network --model unet --width 64 --depth 4
    python -m tools.show patches                          a batch of training patches of the sample: patches.png
    python -m tools.show windows photo.jpg                windows, cores and halo over an image: windows.png
"""
from support.script import run_script
from tools.arguments import show_arguments

if __name__ == "__main__":
    ARGS = show_arguments(description=__doc__)     # before the imports that take seconds

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from data import Dataset
from model import FCN, build, unused_settings
from patches import Sampling, cut_batches, photometric_jitter, tiles, within_budget
from support.arguments import network_settings, train_arguments
from support.files import PICTURES, check_writable
from support.images import read_image
from support.plots import BLUE, ORANGE, SKY, save
from support.sample import photograph, sample

# ---------------------------------------------------------------------------------------------------
# A network as a table


def summary(network, size=256):
    """Return rows (stage, output shape, parameters, FLOPs, field of view) for one input of size×size×3, in order.

    A FLOP is an addition or a multiplication, so a multiply-add counts 2, as in PyTorch's own counter. Biases
    and layers other than convolutions are not counted, there neither. The field of view is the side of the
    square of input pixels that can change one output pixel; with poolings it depends on the pixel, the longest
    counts.
    """
    rows, field, jump = [], 1, 1                        # jump: input pixels from one output pixel to the next

    def measure(stage, layer, output):
        nonlocal field, jump
        flops = 0
        if isinstance(layer, nn.Conv2d):
            field += (layer.kernel_size[0] - 1) * jump
            flops = 2 * layer.weight[0].numel() * output.numel()
        elif isinstance(layer, nn.MaxPool2d):
            field, jump = field + jump, 2 * jump
        elif isinstance(layer, nn.ConvTranspose2d):     # 2×2 with stride 2: no two outputs overlap
            flops, jump = 2 * layer.in_channels * output.numel(), jump // 2
        elif isinstance(layer, nn.Upsample):            # bilinear mixes with the nearer neighbour
            field, jump = field + (layer.mode == "bilinear") * jump, jump // 2
        parameters = sum(parameter.numel() for parameter in layer.parameters())
        if rows and rows[-1][0] == stage:
            _, _, parameters_before, flops_before, _ = rows.pop()
            parameters, flops = parameters + parameters_before, flops + flops_before
        rows.append((stage, tuple(output.shape[1:]), parameters, flops, field))

    hooks = []
    for name, layer in network.named_modules():
        if not list(layer.children()):
            stage = ".".join(name.split(".")[:2]).removeprefix("layers.")
            hooks.append(layer.register_forward_hook(
                lambda layer, inputs, output, stage=stage: measure(stage, layer, output)))
    forward = network.as_prescribed if isinstance(network, FCN) else network
    with torch.inference_mode():
        forward(within_budget(torch.zeros(1, 3, size, size, device=next(network.parameters()).device)))
    for hook in hooks:
        hook.remove()
    return rows


def print_network(args):
    """Print the network that `args` describe as a table."""
    network = build(args.model, args.classes, **network_settings(args)).eval()
    if unused := unused_settings(args.model, **network_settings(args)):
        print(unused)
    rows = summary(network, args.size)
    print(f"{'layer':<10}{'output':>16}{'parameters':>12}{'MFLOPs':>10}{'sees':>9}")
    for name, shape, parameters, flops, field in rows:
        shape, field = "x".join(map(str, shape)), f"{field}x{field}"
        print(f"{name:<10}{shape:>16}{parameters:>12,}{flops / 1e6:>10.1f}{field:>9}")
    print(f"{'together':<26}{sum(row[2] for row in rows):>12,}{sum(row[3] for row in rows) / 1e6:>10.1f}")
    print(f"for one input of 3x{args.size}x{args.size}; halo {network.halo}, stride {network.stride}; "
          "a multiply-add is 2 FLOPs")


# ---------------------------------------------------------------------------------------------------
# Pictures


def draw_windows(image, halo, stride, window, path):
    """Draw the windows that `patches.stitch` uses for an image (H, W, 3): all cores, one window with its halo."""
    def frame(x, y, width, height, **style):
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, **{"fill": False, **style}))

    window_height, window_width, cover = tiles(*image.shape[:2], halo, stride, window)
    figure = Figure(figsize=(6, 6 * min(image.shape[0] / image.shape[1], 4) + 0.7), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.imshow(image, alpha=0.6)
    for number, tile in enumerate(cover, start=1):
        frame(tile.left, tile.top, tile.right - tile.left, tile.bottom - tile.top, edgecolor="white", linewidth=1.5)
        if len(cover) <= 100:    # more numbers than that could not be read
            axes.text((tile.left + tile.right) / 2, (tile.top + tile.bottom) / 2, number, fontsize=13,
                      ha="center", va="center", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8})
    middle = cover[len(cover) // 2]
    frame(middle.x, middle.y, window_width, window_height, fill=True, facecolor=BLUE, alpha=0.25)
    frame(middle.x, middle.y, window_width, window_height, edgecolor=BLUE, linewidth=3,
          label=f"window {len(cover) // 2 + 1}: {window_width}×{window_height} pixels in")
    width, height = middle.right - middle.left, middle.bottom - middle.top
    frame(middle.left, middle.top, width, height, edgecolor=ORANGE, linewidth=3,
          label=f"its core: {width}×{height} pixels kept")
    axes.set(xlabel="x (pixels)", ylabel="y (pixels)",
             title=f"{len(cover)} windows overlap, their cores do not (halo {halo})")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    save(figure, path)


def draw_patches(image, mask, seed, jitter, path):
    """Draw sixteen augmented training patches, one batch, the outline of the mask (class indices) drawn in."""
    sampling = Sampling(seed, size=64, batch=16, balance=0.5)
    dataset = Dataset.in_memory([(image, mask)], mask.max() + 1)
    [(patches, truths)] = cut_batches(dataset, sampling, epoch=0, first=0, steps=1, slots=range(16))
    gain, offset = photometric_jitter(seed, epoch=0, step=0, count=16, strength=jitter)
    relit = (patches / 255 * gain[:, None, None] + offset[:, None, None]).clip(0, 1)
    figure = Figure(figsize=(9.6, 2.8), dpi=100, layout="constrained")
    for axes, patch, truth in zip(figure.subplots(2, 8).flat, relit, truths):
        axes.imshow(patch)
        if truth.min() < truth.max():
            axes.contour(truth, levels=np.arange(mask.max()) + 0.5, colors=SKY, linewidths=1.5)
        axes.set_axis_off()
    figure.suptitle("A batch of 16 training patches, 64×64: flipped, turned, relit; blue: the outline of the mask",
                    fontsize=10)
    save(figure, path)


def show_patches(args):
    """Draw a batch of training patches of the bundled sample."""
    out = check_writable(args.out, endings=PICTURES)
    image, mask = sample()
    draw_patches(image, mask // 255, seed=0, jitter=train_arguments([]).jitter, path=out)
    print(f"{out} shows training patches of the bundled sample")


def show_windows(args):
    """Draw the windows over an image, or over the bundled sample."""
    image = read_image(args.image) if args.image else photograph()
    out = check_writable(args.out, *filter(None, [args.image]), endings=PICTURES)
    draw_windows(image, args.halo, args.stride, args.window, out)
    print(f"{out} shows the windows over {image.shape[1]}x{image.shape[0]} pixels")


def show(args):
    {"network": print_network, "patches": show_patches, "windows": show_windows}[args.kind](args)


if __name__ == "__main__":
    run_script(show, ARGS, "tools.show")
