"""Predictions, for benchmarks.peers: this project, MONAI, ONNX Runtime, OpenVINO, a whole image at once."""
import io
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stages import MEAN, METADATA, STD
from model import FCN, UNet, batchnorm_layers, normalize
from patches import core_logits, decide
from segmenter import Segmenter
from support.machine import keep_freed_memory
from tools.speed import peak_memory

CASES = {"FCN, one window": (FCN, 256), "FCN": (FCN, 4096), "U-Net, width 16, depth 3": (lambda: UNet(2, 16, 3), 2048),
         "U-Net, width 12, depth 4": (lambda: UNet(2, 12, 4), 1024)}
CALLS = 3                        # in a process, for an image; the first warms up


# ---------------------------------------------------------------------------------------------------
# Ways: network → function of an image uint8 (H, W, 3) to classes uint8 (H, W)


def classes_of(logits):
    """Return the classes uint8 (H, W) of logits (1, 2, H, W); PyTorch's argmax takes longer than the FCN for it."""
    return (logits[0, 1] > logits[0, 0]).to(torch.uint8).cpu().numpy()


def ours(network):
    keep_freed_memory()
    return Segmenter(network, METADATA)


def whole(network, device="cpu"):
    keep_freed_memory()

    @torch.inference_mode()
    def predict(image):
        return classes_of(network(normalize(image[None], MEAN, STD, device)))

    return predict


def monai(network, device="cpu", together=1, **settings):
    """Return a function that predicts in MONAI's windows, so many of them together."""
    from monai.inferers import sliding_window_inference

    @torch.inference_mode()
    def predict(image):
        images = normalize(image[None], MEAN, STD, device)
        return classes_of(sliding_window_inference(images, (256, 256), together, network, **settings))

    return predict


def monai_best(network):
    """One window at a time without overlap: the fastest that it can be; memory is kept, as we do."""
    keep_freed_memory()
    return monai(network, overlap=0.0)


def monai_closest(network):
    """Windows that overlap by half, their edges weighted least: what comes closest to the whole image, of all tried."""
    keep_freed_memory()
    return monai(network, overlap=0.5, mode="gaussian")


def in_our_windows(network, run):
    """Predict by `run`, which maps a window float32 (1, 3, h, w) to logits (1, classes, h, w)."""
    def forward(window):
        return run(((window / np.float32(255) - np.float32(0.5)) / np.float32(0.25)).transpose(2, 0, 1)[None])[0]

    return lambda image: decide(core_logits(forward, image, network.halo, network.stride), image.shape[:2])


def as_onnx(network):
    from tools.export import to_onnx

    return to_onnx(network, {}).SerializeToString()


def onnx_runtime(network):
    import onnxruntime

    session = onnxruntime.InferenceSession(as_onnx(network), providers=["CPUExecutionProvider"])
    return in_our_windows(network, lambda images: session.run(None, {"image": np.ascontiguousarray(images)})[0])


def openvino(network):
    from openvino import Core

    precise = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    core = Core()
    compiled = core.compile_model(core.read_model(io.BytesIO(as_onnx(network))), "CPU", precise)
    return in_our_windows(network, lambda images: compiled(np.ascontiguousarray(images))[0])


WAYS = {"this project": ours, "whole image at once": whole, "MONAI, its defaults": monai,
        "MONAI, no overlap": monai_best, "MONAI, closest": monai_closest, "ONNX Runtime": onnx_runtime,
        "OpenVINO": openvino}


# ---------------------------------------------------------------------------------------------------
# What they take


@torch.no_grad()
def undecided(make):
    """Return a network of random weights for which each of its two classes is as likely on noise."""
    torch.manual_seed(0)
    network = make().to(memory_format=torch.channels_last).eval()
    for layer in batchnorm_layers(network):
        layer.running_var.fill_(0.05)        # so that the image, not the biases, decides
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    last.bias.sub_(network(torch.randn(1, 3, 256, 256)).mean(dim=(0, 2, 3)))
    return network


def side_of(case, quick):
    """Return the side of a case's image in pixels."""
    side = CASES[case][1]
    return side // 2 if quick and side > 256 else side


def measure(case, way, file, quick):
    """Return the seconds of the fastest call and the memory of one way, and write its classes to a file."""
    network, side = undecided(CASES[case][0]), side_of(case, quick)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    predict = WAYS[way](network)
    predict(image[:256, :256])
    before, seconds = peak_memory(), []
    for _ in range(CALLS if side > 256 else 100 * CALLS):
        began = time.perf_counter()
        classes = predict(image)
        seconds.append(time.perf_counter() - began)
    np.save(file, classes)
    return min(seconds), peak_memory() - before


def operations(case, side):
    """Return how many floating point operations the network of a case needs for an image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        CASES[case][0]().eval()(torch.zeros(1, 3, 256, 256))
    return counter.get_total_flops() * (side / 256) ** 2
