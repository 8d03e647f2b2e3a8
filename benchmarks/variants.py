"""Time what each step towards the speed of prediction and training gave, and what did not pay.

    python -m benchmarks.variants
    python -m benchmarks.variants --compile      and torch.compile, which needs a compiler and half a minute

In each table all variants take turns in one process. Printed are the tenth percentile of their times, which other work
on the machine disturbs less than the median, its ratio to the first variant's, and the largest difference of the
result from the first variant's, relative to the largest value.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how often all variants take turns (200)")
    parser.add_argument("--compile", action="store_true", help="and the FCN as torch.compile makes it")
    ARGS = parser.parse_args()

import copy
import functools
import time

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.machine import machine
from losses import cross_entropy
from model import FCN, UNet, convolve_doubled
from optimizer import AdamW
from patches import likeliest
from support.machine import keep_freed_memory
from train import averaged_tensors, update_average


def compare(title, variants, rounds):
    """Print a table of {name: function that takes nothing and returns a tensor}."""
    results = {name: run().clone() for name, run in variants.items()}                 # warms up, too
    seconds = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    first, *_ = variants
    print(f"\n{title}")
    for name, times in seconds.items():
        fast, reference = np.quantile(times, 0.1), np.quantile(seconds[first], 0.1)
        far = (results[name] - results[first]).abs().max() / results[first].abs().max()
        print(f"  {name:<56}{1e3 * fast:>8.3f} ms{fast / reference:>7.2f}{far:>9.0e}", flush=True)


# ---------------------------------------------------------------------------------------------------
# Prediction


def fcn(layers, x, small_map, relu_in_place, own_pool, relu_last):
    """Return the logits by those of the steps that FCN.forward takes which are True."""
    x = F.relu(layers.conv1(x), inplace=relu_in_place)                # (N, 16, H, W)
    x = layers.conv2(x)                                               # (N, 32, H, W)
    if not relu_last:
        x = F.relu(x, inplace=relu_in_place)
    x = layers.pool(x) if own_pool else F.max_pool2d(x, 2)            # (N, 32, H/2, W/2)
    if relu_last:
        x = F.relu(x, inplace=relu_in_place)
    x = F.relu(layers.conv3(x), inplace=relu_in_place)                # (N, 16, H/2, W/2)
    return convolve_doubled(x, layers.conv4) if small_map else layers.conv4(layers.upsample(x))


@torch.inference_mode()
def predictions(rounds, compiled):
    network = FCN().to(memory_format=torch.channels_last).eval()
    window = torch.randn(1, 3, 256, 256).to(memory_format=torch.channels_last)
    steps = ["layer by layer", "... four 3x3 convolutions of the small map", "... ReLU in place",
             "... pooling without noting places", "... ReLU after the pooling: FCN.forward"]
    variants = {name: functools.partial(fcn, network.layers, window, *(step <= taken for step in range(1, 5)))
                for taken, name in enumerate(steps)}
    planes = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    variants["FCN.forward, maps plane by plane"] = lambda: planes(window.contiguous())
    if compiled:
        variants["torch.compile"] = functools.partial(torch.compile(network), window)
    compare("FCN, one window of 256x256; ... and the steps above", variants, rounds)

    logits = network(window)[0].numpy()                               # (2, 256, 256)
    compare("logits of two classes, 256x256, to the higher one", {
        "patches.likeliest, a comparison": lambda: torch.from_numpy(likeliest(logits)).byte(),
        "NumPy's argmax": lambda: torch.from_numpy(logits.argmax(axis=0)).byte(),
        "PyTorch's argmax": lambda: torch.from_numpy(logits).argmax(dim=0).byte()}, rounds)

    double = torch.nn.ConvTranspose2d(16, 8, 2, stride=2).to(memory_format=torch.channels_last)
    odd = torch.randn(1, 16, 109, 109).to(memory_format=torch.channels_last)
    even = odd[:, :, :108, :108].contiguous(memory_format=torch.channels_last)
    compare("a map of 16 channels to twice its size, by a transposed convolution", {
        "108x108": lambda: double(even),
        "109x109, a prime number": lambda: double(odd)[:, :, :216, :216]}, rounds)


# ---------------------------------------------------------------------------------------------------
# A training step


def training(rounds):
    torch.manual_seed(0)
    network = FCN().to(memory_format=torch.channels_last)
    batch = torch.randn(16, 3, 64, 64).to(memory_format=torch.channels_last)
    truth = torch.randint(0, 2, (16, 64, 64))

    def gradient(forward, loss=cross_entropy):
        network.zero_grad()
        loss(forward(batch), truth).backward()
        return network.layers.conv1.weight.grad

    relu_first = functools.partial(fcn, network.layers, small_map=True, relu_in_place=True, own_pool=True,
                                   relu_last=False)
    compare("FCN, 16 patches of 64x64: gradients", {
        "FCN.forward": lambda: gradient(network),
        "ReLU before the pooling": lambda: gradient(relu_first),
        "layer by layer": lambda: gradient(network.as_prescribed),
        "FCN.forward, PyTorch's cross-entropy": lambda: gradient(network, F.cross_entropy)}, rounds)

    for name, network in [("FCN", FCN()), ("U-Net, width 16, depth 3", UNet()),
                          ("U-Net, width 32, depth 4", UNet(width=32, depth=4))]:
        compare(f"{name}: one step of the optimizer", {
            "optimizer.AdamW": one_step(network, AdamW),
            "PyTorch's, with its betas": one_step(network, torch.optim.AdamW, betas=(0.9, 0.99)),
            "PyTorch's, fused": one_step(network, torch.optim.AdamW, betas=(0.9, 0.99), fused=True)}, rounds)
        compare(f"{name}: one step of the moving average", {
            "train.update_average": one_average(network, update_average),
            "one tensor after the other": one_average(network, update_each)}, rounds)


def one_step(network, optimizer, **settings):
    """Return a function that takes a step with a copy of the network and returns some of its weights."""
    network = copy.deepcopy(network)
    torch.manual_seed(0)
    for weight in network.parameters():
        weight.grad = torch.randn_like(weight)
    step = optimizer(network.parameters(), lr=1e-3, **settings).step

    def run():
        step()
        return next(network.parameters()).detach()

    return run


def one_average(network, update):
    """Return a function that moves a random average towards the network's weights and returns some of it."""
    torch.manual_seed(0)
    latest = averaged_tensors(network)
    average = [torch.randn_like(tensor) for tensor in latest]

    def run():
        update(average, latest, decay=0.99)
        return average[0]

    return run


@torch.no_grad()
def update_each(average, latest, decay):
    for mean, tensor in zip(average, latest):
        mean.lerp_(tensor, 1 - decay)


def main(args):
    keep_freed_memory()
    print(f"{machine()}; tenth percentile of {args.rounds}, ratio to the first, largest difference from the first")
    predictions(args.rounds, args.compile)
    training(args.rounds)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
