"""The prescribed network: what it is, what one of its pixels sees, what it costs.

    python model.py               the network as a table
"""
import argparse

if __name__ == "__main__":       # before torch is imported, so that --help answers at once
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.error = lambda message: parser.exit(2, f"model.py: {message}\n")
    parser.add_argument("--size", type=int, default=256, help="side of the input, in pixels (256)")
    parser.add_argument("--classes", type=int, default=2, help="classes to tell apart (2)")
    parser.add_argument("--upsample", choices=["nearest", "bilinear"], default="nearest", help="(nearest)")
    parser.add_argument("--batchnorm", action="store_true", help="with BatchNorm after the first three convolutions")
    parser.add_argument("--dropout", type=float, default=0.0, help="share of channels dropped before Conv4 (0)")
    ARGS = parser.parse_args()

import sys
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from files import BadInput
from patches import within_budget


class FCN(nn.Module):
    """The fully convolutional network of the exercise: (N, 3, H, W) → logits (N, classes, H, W), any H and W.

    Conv1 3×3,16 → ReLU → Conv2 3×3,32 → ReLU → MaxPool 2×2 → Conv3 3×3,16 → ReLU → UpSample ×2 → Conv4 5×5,classes.
    10,514 parameters with two classes. `batchnorm` and `dropout` add the layers of that name; both are off by
    default, see the measurement in the README.
    """

    name = "fcn"                 # as the checkpoint says it
    stride = 2                   # one 2×2 pooling: windows must start on even pixels
    halo = 8                     # an output pixel sees 7 pixels around it (8 if bilinear), rounded up to the stride

    def __init__(self, classes=2, upsample="nearest", batchnorm=False, dropout=0.0):
        super().__init__()
        self.arguments = {"classes": classes, "upsample": upsample, "batchnorm": batchnorm, "dropout": dropout}
        norm = nn.BatchNorm2d if batchnorm else lambda channels: None
        layers = dict(
            conv1=nn.Conv2d(3, 16, 3, padding=1), norm1=norm(16), relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, padding=1), norm2=norm(32), relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            conv3=nn.Conv2d(32, 16, 3, padding=1), norm3=norm(16), relu3=nn.ReLU(),
            upsample=nn.Upsample(scale_factor=2, mode=upsample),
            dropout=nn.Dropout2d(dropout) if dropout else None,
            conv4=nn.Conv2d(16, classes, 5, padding=2),
        )
        self.layers = nn.Sequential(OrderedDict((key, layer) for key, layer in layers.items() if layer))

    def forward(self, image):
        height, width = image.shape[2:]
        if height % 2 or width % 2:  # repeat the last row or column, so that pooling drops nothing
            image = F.pad(image, (0, width % 2, 0, height % 2), mode="replicate")
        logits = self.layers(image)                     # (N, classes, H, W), each side even
        return logits[:, :, :height, :width]


NETWORKS = {FCN.name: FCN}


def pick_device(name):
    """"auto", "cpu" or "cuda" → torch.device. Raises BadInput for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("--device cuda: PyTorch finds no CUDA GPU here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def normalize(images, mean, std, device="cpu", gain=1.0, offset=0.0):
    """uint8 images (N, H, W, 3) → float32 (N, 3, H, W), channels last in memory, (pixel·gain + offset − mean) / std.

    All in units of the full scale (1 = 255); mean and std are (3,), gain and offset (N, 3) or numbers.
    """
    scale = np.broadcast_to(gain / (255 * np.asarray(std)), (len(images), 3))
    shift = np.broadcast_to((offset - np.asarray(mean)) / std, (len(images), 3))
    scale, shift = (torch.from_numpy(array.astype(np.float32)).to(device)[:, :, None, None] for array in (scale, shift))
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    # A permuted (N, H, W, 3) array already is what PyTorch calls channels_last, the faster layout.
    return torch.addcmul(shift, pixels.permute(0, 3, 1, 2).float(), scale)


def predictor(model, mean, std, device="cpu", tta=False):
    """The network as a plain function for `patches.stitch`: uint8 window (h, w, 3) → float32 logits (classes, h, w).

    With `tta` (test-time augmentation) the logits are the mean over the eight flips and quarter turns.
    """
    model = model.to(device, memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def forward(window):
        images = normalize(window[None], mean, std, device)           # (1, 3, h, w)
        return model(within_budget(images))[0].cpu().numpy()

    def forward_averaged(window):
        total = 0
        for turns in range(4):
            turned = np.rot90(window, turns)
            for view in (lambda array, axis: array), np.flip:
                logits = view(forward(view(turned, 1)), 2)            # undo the flip, then the turns
                total = total + np.rot90(logits, -turns, axes=(1, 2))
        return total / 8

    return forward_averaged if tta else forward


# ---------------------------------------------------------------------------------------------------
# The network as a table


def field_of_view(layers):
    """Side of the square of input pixels that can change one output pixel of a stack of layers.

    Followed backwards as an interval: what the last layer needs, then what the layer before needs for that, …
    With pooling the interval depends on where in its 2×2 cell the output pixel lies; the longest counts.
    """
    longest = 0
    for pixel in (0, 1):
        first, last = pixel, pixel
        for layer in reversed(layers):
            if isinstance(layer, nn.Conv2d):
                first, last = first - layer.padding[0], last + layer.padding[0]
            elif isinstance(layer, nn.MaxPool2d):
                first, last = 2 * first, 2 * last + 1
            elif isinstance(layer, nn.Upsample):
                # Nearest copies a pixel into two; bilinear mixes each with the neighbour that it is nearer to.
                spread = layer.mode == "bilinear"
                first, last = (first - spread) // 2, (last + spread) // 2
        longest = max(longest, last - first + 1)
    return longest


def summary(model, size=256):
    """Rows (layer, output shape, parameters, FLOPs, field of view) for one input of size×size×3.

    A FLOP is an addition or a multiplication, so a multiply-add counts 2, as in PyTorch's own counter. Biases
    and layers other than convolutions are not counted, there neither.
    """
    rows, layers, x = [], list(model.layers), within_budget(torch.zeros(1).expand(1, 3, size, size))
    with torch.inference_mode():
        for number, (name, layer) in enumerate(model.layers.named_children()):
            x = layer(x)                                              # (1, channels, height, width)
            parameters = sum(parameter.numel() for parameter in layer.parameters())
            flops = 2 * layer.weight[0].numel() * x.numel() if isinstance(layer, nn.Conv2d) else 0
            rows.append((name, tuple(x.shape[1:]), parameters, flops, field_of_view(layers[:number + 1])))
    return rows


def main(args):
    model = FCN(args.classes, args.upsample, args.batchnorm, args.dropout).eval()
    rows = summary(model, args.size)
    print(f"{'layer':<10}{'output':>16}{'parameters':>12}{'MFLOPs':>10}{'sees':>8}")
    for name, shape, parameters, flops, field in rows:
        shape, field = "x".join(map(str, shape)), f"{field}x{field}"
        print(f"{name:<10}{shape:>16}{parameters:>12,}{flops / 1e6:>10.1f}{field:>8}")
    print(f"{'together':<26}{sum(row[2] for row in rows):>12,}{sum(row[3] for row in rows) / 1e6:>10.1f}")
    print(f"for one input of 3x{args.size}x{args.size}; halo {model.halo}, stride {model.stride}; "
          "a multiply-add is 2 FLOPs")


if __name__ == "__main__":
    if ARGS.size < 2 or ARGS.size % 2 or not 0 < ARGS.classes < 256 or not 0 <= ARGS.dropout < 1:
        parser.error("expected an even --size, 1 to 255 --classes and --dropout below 1")
    try:
        main(ARGS)
    except BadInput as error:
        sys.exit(f"model.py: {error}")
