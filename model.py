"""The networks: the prescribed FCN and a U-Net; what each is, what one of its pixels sees, what it costs.

    python model.py               the FCN as a table
    python model.py --model unet --width 64 --depth 4
"""
from arguments import Parser, number

if __name__ == "__main__":       # before torch is imported, so that --help answers at once
    parser = Parser(__file__, __doc__)
    parser.add_argument("--model", choices=["fcn", "unet"], default="fcn", help="(fcn)")
    parser.add_argument("--size", type=number(int, 2, 256), default=256, help="side of the input, in pixels (256)")
    parser.add_argument("--classes", type=number(int, 1, 255), default=2, help="classes to tell apart (2)")
    parser.add_argument("--upsample", choices=["nearest", "bilinear", "transposed"],
        help="(fcn: nearest, unet: transposed)")
    parser.add_argument("--batchnorm", action="store_true", help="fcn: BatchNorm after the first three convolutions")
    parser.add_argument("--width", type=number(int, 1, 256), default=16, help="unet: channels at full resolution (16)")
    parser.add_argument("--depth", type=number(int, 1, 6), default=3, help="unet: how many poolings (3)")
    parser.add_argument("--separable", action="store_true", help="unet: depthwise-separable convolutions")
    parser.add_argument("--dropout", type=number(float, 0, 0.99), default=0.0, help="share of channels dropped (0)")
    ARGS = parser.parse_args()

import copy
import sys
import time
from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from distributed import told_by_first, total
from files import BadInput
from patches import within_budget
from processes import WORLD


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
        norm = BatchNorm if batchnorm else lambda channels: None
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
        logits = self.layers(pad_to_multiple(image, self.stride))     # (N, classes, H, W), each side even
        return logits[:, :, :height, :width]


class UNet(nn.Module):
    """The U-Net (Ronneberger, Fischer & Brox, 2015): (N, 3, H, W) → logits (N, classes, H, W), any H and W.

    On the way down, `depth` times: two convolutions, then half the resolution at twice the channels. On the way up,
    the reverse: twice the resolution, beside it what the way down had there (the skip), two convolutions. So it
    sees far and stays sharp. `width` 64 and `depth` 4 are the paper's, 31.0 million parameters; what differs
    from the paper: convolutions are padded, so that the output has the input's size, and followed by BatchNorm.
    `separable` makes them depthwise-separable: a sixth of the work at that size, see `convolution`.
    """

    name = "unet"

    def __init__(self, classes=2, width=16, depth=3, upsample="transposed", dropout=0.0, separable=False):
        super().__init__()
        self.arguments = {"classes": classes, "width": width, "depth": depth, "upsample": upsample, "dropout": dropout,
                          "separable": separable}
        self.stride = 2**depth
        # Cores end on the pooling grid. Two pixels beyond that edge matter to the last two convolutions; in pixels of
        # half the resolution that is one, and two more for the convolutions there, 3; then 2 + 2 = 4, and so on: at
        # the bottom 4 · 2^depth pixels. The convolutions on the way down add 2 + 4 + … = 2 · 2^depth - 2. Bilinear
        # upsampling needs one more at each level, 5 at the bottom.
        self.halo = (7 if upsample == "bilinear" else 6) * 2**depth
        channels = [width * 2**level for level in range(depth + 1)]           # at level 0, 1, …
        self.down = nn.ModuleList(two_convolutions(before, after, separable, of_colours=level == 0)
                                  for level, (before, after) in enumerate(zip([3] + channels, channels)))
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout2d(dropout)                                  # at the bottom, as in the paper
        self.up = nn.ModuleList(doubled(2 * after, after, upsample) for after in channels[:-1])
        self.merge = nn.ModuleList(two_convolutions(2 * after, after, separable) for after in channels[:-1])
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, image):
        height, width = image.shape[2:]
        x, skips = self.down[0](pad_to_multiple(image, self.stride)), []      # (N, width, H, W), H and W padded
        for two_convolutions in self.down[1:]:
            skips.append(x)
            x = two_convolutions(self.pool(x))                                 # half the sides, twice the channels
        x = self.dropout(x)
        for up, merge, skip in list(zip(self.up, self.merge, skips))[::-1]:
            x = merge(torch.cat([skip, up(x)], dim=1))                        # twice the sides, half the channels
        return self.classify(x)[:, :, :height, :width]


def two_convolutions(before, after, separable=False, of_colours=False):
    """(N, before, H, W) → (N, after, H, W). Colours are mixed in the usual way even where `separable`."""
    return nn.Sequential(
        convolution(before, after, separable and not of_colours), BatchNorm(after), nn.ReLU(inplace=True),
        convolution(after, after, separable), BatchNorm(after), nn.ReLU(inplace=True))


def convolution(before, after, separable):
    """A 3×3 convolution; or a separable one: 3×3 in each channel by itself, then 1×1 between the channels.

    That takes 9 + after instead of 9 · after multiplications for each value; nothing nonlinear stands between the two
    (Chollet, "Xception", 2017).
    """
    if not separable:
        return nn.Conv2d(before, after, 3, padding=1, bias=False)
    return nn.Sequential(nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
                         nn.Conv2d(before, after, 1, bias=False))


def doubled(before, after, upsample):
    """(N, before, H, W) → (N, after, 2H, 2W)."""
    if upsample == "transposed":
        return nn.ConvTranspose2d(before, after, 2, stride=2)
    # The convolution first: on a quarter of the pixels, and with the same result, as neither mixes with the other.
    return nn.Sequential(nn.Conv2d(before, after, 1), nn.Upsample(scale_factor=2, mode=upsample))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization (Ioffe & Szegedy, 2015), over the patches of all processes of a distributed run.

    PyTorch's own SyncBatchNorm does the same, on GPUs only.
    """

    def forward(self, x):
        # Without a momentum, predict.adapted measures one image, in this process alone.
        if not self.training or WORLD == 1 or self.momentum is None:
            return super().forward(x)
        values, count = x.float(), WORLD * x[:, 0].numel()            # all processes have equal shares
        mean = total(values.sum((0, 2, 3))) / count                           # (channels,)
        centred = values - mean[:, None, None]
        variance = total((centred * centred).sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def batchnorms(network):
    """All of a network's BatchNorm layers; an FCN has none, unless it was asked for."""
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


def pad_to_multiple(image, stride):
    """Repeat the last row and column up to a multiple of the stride, so that pooling drops nothing."""
    height, width = image.shape[2:]
    if height % stride or width % stride:
        image = F.pad(image, (0, -width % stride, 0, -height % stride), mode="replicate")
    return image


NETWORKS = {FCN.name: FCN, UNet.name: UNet}


def build(name, classes, upsample=None, batchnorm=False, width=16, depth=3, dropout=0.0, separable=False):
    """A network by its name and the settings that belong to it; those of the other one must be left alone."""
    if name == "unet":
        return UNet(classes, width, depth, upsample or "transposed", dropout, separable)
    if separable:
        raise BadInput("--separable belongs to --model unet; the FCN's convolutions are prescribed")
    if upsample == "transposed":
        raise BadInput("--upsample transposed belongs to --model unet; expected nearest or bilinear for the FCN")
    return FCN(classes, upsample or "nearest", batchnorm, dropout)


def pick_device(name):
    """"auto", "cpu" or "cuda" → torch.device. Raises BadInput for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("--device cuda: PyTorch finds no CUDA GPU here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pick_precision(amp, model, device):
    """What to multiply in, and whether that is "on" or "off" (see --amp of train.py): (torch.dtype, word).

    "auto" tries on a CPU: one training step of two small patches in each, the fastest of three. Without bfloat16 in
    hardware the CPU imitates it, many times slower. GPUs with tensor cores (since 2018) take 16 bits.
    """
    if device.type == "cuda":
        half = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        on = amp == "on" or amp == "auto" and torch.cuda.get_device_capability(device) >= (7, 0)
    else:
        half, on = torch.bfloat16, amp == "on"
        if amp == "auto":
            seconds = {dtype: step_seconds(copy.deepcopy(model), dtype) for dtype in (torch.float32, half)}
            # All processes of a distributed run go by the first one's clock.
            ratio = told_by_first(seconds[torch.float32] / seconds[half])
            on = ratio > 1.1
            print(f"--amp auto: a step in 16 bits is {ratio:.1f} times as fast on this CPU: {'on' if on else 'off'}")
    return half if on else torch.float32, "on" if on else "off"


def step_seconds(model, dtype):
    """Seconds of a forward and backward pass in this precision on a CPU, the fastest of three. Trains the model."""
    images, seconds = torch.zeros(2, 3, 128, 128).to(memory_format=torch.channels_last), []
    for _ in range(4):           # the first is a warm-up
        began = time.perf_counter()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = model.train()(images)
        logits.float().square().mean().backward()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


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


def predictor(model, mean, std, device="cpu"):
    """The network as a plain function for `patches.stitch`: uint8 window (h, w, 3) → float32 logits (classes, h, w)."""
    model = model.to(device, memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def forward(window):
        images = normalize(window[None], mean, std, device)           # (1, 3, h, w)
        return model(within_budget(images))[0].float().cpu().numpy()

    return forward


# ---------------------------------------------------------------------------------------------------
# The network as a table


def summary(model, size=256):
    """Rows (stage, output shape, parameters, FLOPs, field of view) for one input of size×size×3, in order.

    A FLOP is an addition or a multiplication, so a multiply-add counts 2, as in PyTorch's own counter. Biases
    and layers other than convolutions are not counted, there neither. The field of view is the side of the square
    of input pixels that can change one output pixel; with poolings it depends on the pixel, the longest counts.
    """
    rows, field, jump = [], 1, 1                        # jump: input pixels from one output pixel to the next

    def watch(stage, layer):
        def seen(layer, inputs, output):
            nonlocal field, jump
            flops = 0
            if isinstance(layer, nn.Conv2d):
                field += (layer.kernel_size[0] - 1) * jump
                flops = 2 * layer.weight[0].numel() * output.numel()
            elif isinstance(layer, nn.MaxPool2d):
                field, jump = field + jump, 2 * jump
            elif isinstance(layer, nn.ConvTranspose2d):              # 2×2 with stride 2: no two outputs overlap
                flops, jump = 2 * layer.in_channels * output.numel(), jump // 2
            elif isinstance(layer, nn.Upsample):                     # bilinear mixes with the nearer neighbour
                field, jump = field + (layer.mode == "bilinear") * jump, jump // 2
            parameters = sum(parameter.numel() for parameter in layer.parameters())
            if rows and rows[-1][0] == stage:
                _, _, parameters_before, flops_before, _ = rows.pop()
                parameters, flops = parameters + parameters_before, flops + flops_before
            rows.append((stage, tuple(output.shape[1:]), parameters, flops, field))
        return layer.register_forward_hook(seen)

    hooks = [watch(".".join(name.split(".")[:2]).removeprefix("layers."), layer)
             for name, layer in model.named_modules() if not list(layer.children())]
    with torch.inference_mode():
        model(within_budget(torch.zeros(1, 3, size, size, device=next(model.parameters()).device)))
    for hook in hooks:
        hook.remove()
    return rows


def main(args):
    model = build(args.model, args.classes, args.upsample, args.batchnorm, args.width, args.depth, args.dropout,
                  args.separable).eval()
    rows = summary(model, args.size)
    print(f"{'layer':<10}{'output':>16}{'parameters':>12}{'MFLOPs':>10}{'sees':>9}")
    for name, shape, parameters, flops, field in rows:
        shape, field = "x".join(map(str, shape)), f"{field}x{field}"
        print(f"{name:<10}{shape:>16}{parameters:>12,}{flops / 1e6:>10.1f}{field:>9}")
    print(f"{'together':<26}{sum(row[2] for row in rows):>12,}{sum(row[3] for row in rows) / 1e6:>10.1f}")
    print(f"for one input of 3x{args.size}x{args.size}; halo {model.halo}, stride {model.stride}; "
          "a multiply-add is 2 FLOPs")


if __name__ == "__main__":
    try:
        main(ARGS)
    except BadInput as error:
        sys.exit(f"model.py: {error}")
