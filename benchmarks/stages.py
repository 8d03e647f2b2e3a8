"""Compare ways to predict a large image: the whole at once, windows of the whole network, stage by stage.

    python -m benchmarks.stages
    python -m benchmarks.stages --regions 512 768 1024 1536 2048

Times networks with random weights on noise, all ways in turns in one process, and prints how far the
logits are from those of the whole image, relative to the largest. The FCN is timed in its
prescribed form, too, layer by layer.
"""
from support.script import Parser, run_script

if __name__ == "__main__":       # before the imports that take seconds
    parser = Parser(__file__, __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often all ways take turns (3)")
    parser.add_argument("--regions", type=int, nargs="+", metavar="PIXELS", help="sides of the regions to compare")
    ARGS = parser.parse_args()

import time

import numpy as np
import torch

import segmenter
from benchmarks.machine import machine
from model import FCN, UNet, normalize
from patches import choose_halo, stitch
from segmenter import Segmenter, torch_forward
from support.machine import keep_freed_memory

MEAN, STD = [0.5] * 3, [0.25] * 3
TWO = [{"name": "ground", "value": 0}, {"name": "object", "value": 255}]
METADATA = {"classes": TWO, "ignore": [], "mean": MEAN, "std": STD, "settings": {}}
CASES = [("FCN", FCN(), 2048), ("U-Net, width 16, depth 3", UNet(2, 16, 3), 1024),
         ("U-Net, width 16, depth 3", UNet(2, 16, 3), 2048), ("U-Net, width 12, depth 4", UNet(2, 12, 4), 1024),
         ("U-Net, width 16, depth 4", UNet(2, 16, 4), 2048), ("U-Net, width 8, depth 5", UNet(2, 8, 5), 1024)]


def ways(network, regions):
    """Return {name: function of an image (H, W, 3) to logits (classes, H, W)}."""
    def whole(image, forward=network):
        with torch.inference_mode():
            return forward(normalize(image[None], MEAN, STD))[0].numpy()

    halo = choose_halo(network.halo, network.stride)
    found = {"whole image at once": whole}
    if network.stage_halo is None:
        found["whole, layer by layer"] = lambda image: whole(image, network.as_prescribed)
    found["windows of the network"] = lambda image: stitch(
        torch_forward(network, MEAN, STD), image, halo, network.stride)
    for region in regions if network.stage_halo else ():
        def staged(image, region=region):
            segmenter.REGION = region
            return Segmenter(network, METADATA).logits(image)

        def squares(image, region=region):
            segment = Segmenter(network, METADATA)
            segment.limits = lambda height, width: (region, region)
            return segment.logits(image)

        found[f"by stages, regions of {region}"] = staged
        found[f"by stages, square ones of {region}"] = squares
    return found


def main(args):
    keep_freed_memory()
    print(f"{machine()}; the best of {args.rounds}")
    for name, network, side in CASES:
        network = network.to(memory_format=torch.channels_last).eval()
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        seconds, results = {}, {}
        for _ in range(args.rounds):
            for way, predict in ways(network, args.regions or [segmenter.REGION]).items():
                began = time.perf_counter()
                results[way] = predict(image)
                seconds.setdefault(way, []).append(time.perf_counter() - began)
        expected = results["whole image at once"]
        print(f"{name}, {side}x{side}")
        for way, result in results.items():
            difference = np.abs(result - expected).max() / np.abs(expected).max()
            ratio = min(seconds[way]) / min(seconds["whole image at once"])
            print(f"  {way:<30}{min(seconds[way]):>8.2f} s, {ratio:>5.2f} times the whole's; "
                  f"largest difference {difference:.0e}", flush=True)


if __name__ == "__main__":
    run_script(main, ARGS, __file__)
