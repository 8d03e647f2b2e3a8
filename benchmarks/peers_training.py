"""Trainings on the bundled photograph, for benchmarks.peers: this project's, and loops as one would write them.

All learn from the same part of the photograph, 65,536 pixels a step, and are validated on the same strip.
The plain loop takes one crop of 256×256 a step, flips it by chance and minimizes the cross-entropy by Adam
at a rate of 0.001, the better one of three that were tried. Its validations are not counted; train.py's
validations, files and beginning are.
"""
import contextlib
import csv
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import train
from metrics import confusion_matrix, iou
from model import UNet, pad_to_multiple
from support.arguments import train_arguments
from support.files import write_image
from support.sample import sample

TARGET = 0.97                    # IoU on the validation strip
STEPS = 300


def prepared(folder, *words):
    """Return train.py's settings for the bundled photograph, which is written to a folder."""
    pair = [str(Path(folder, name)) for name in ("rgb.png", "gt.png")]
    for path, array in zip(pair, sample()):
        write_image(path, array)
    plain = ["--loss", "ce", "--zoom", "1", "--out", str(folder), "--epochs", str(STEPS // 50)]
    return train_arguments([*pair, *plain, *words])


def this_project(*words):
    """Return (steps a second, seconds to the target, parameters) of train.py, validated every 50 steps."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        args = prepared(folder, *words)
        train.train(args)
        with Path(folder, "history.csv").open(newline="") as file:
            rows = [(float(row["seconds"]), float(row["val_iou"])) for row in csv.DictReader(file)]
    reached = [seconds for seconds, quality in rows if quality >= TARGET]
    network = train.build(args.model, 2, width=args.width, depth=args.depth)
    return args.steps * (len(rows) - 1) / (rows[-1][0] - rows[0][0]), min(reached, default=None), size_of(network)


def plain_loop(network):
    """Return (steps a second, seconds to the target, parameters) of a network in a loop as one writes it first."""
    with tempfile.TemporaryDirectory() as folder:
        data = train.prepare(prepared(folder)).data
    random, seconds, reached = np.random.default_rng(0), 0.0, None
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    for step in range(STEPS):
        began = time.perf_counter()
        images, truth = random_crop(data.training[random.integers(len(data.training))], random)
        loss = F.cross_entropy(network.train()(as_tensor(images)), torch.from_numpy(truth)[None].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds += time.perf_counter() - began
        if step % 50 == 49 and reached is None and quality(network, data.validation[0]) >= TARGET:
            reached = seconds
    return STEPS / seconds, reached, size_of(network)


def random_crop(pair, random, side=256):
    image, mask, _ = pair
    y, x = (random.integers(max(1, length - side + 1)) for length in mask.shape)
    across = random.choice([1, -1])
    cut = np.s_[y:y + side, x:x + side]
    return image[cut][:, ::across], mask[cut][:, ::across].copy()


def as_tensor(image):
    return torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None].contiguous()


@torch.inference_mode()
def quality(network, pair):
    """Return the IoU of the whole validation strip; sides that the network does not take are padded."""
    image, mask, _ = pair
    logits = network.eval()(pad_to_multiple(as_tensor(image), 32))[0, :, :mask.shape[0], :mask.shape[1]]
    return iou(confusion_matrix(mask, logits.argmax(0).numpy(), 2))[1]


def size_of(network):
    return sum(parameter.numel() for parameter in network.parameters())


def smp_unet():
    """Return the U-Net of segmentation-models-pytorch that has most nearly as many parameters as ours, untrained."""
    import segmentation_models_pytorch as smp

    return smp.Unet("tu-lcnet_050", encoder_weights=None, decoder_channels=(32, 32, 16, 16, 16), classes=2)


WAYS = {"train.py, FCN": this_project,
        "train.py, U-Net": lambda: this_project("--model", "unet"),
        "plain loop, the same U-Net": lambda: plain_loop(UNet(2, 16, 3)),
        "plain loop, U-Net of smp": lambda: plain_loop(smp_unet())}
