"""The checks of the exercises, as the chapters call them: is the project changed as it was asked?

    python -m lessons.exercises 1.1

Each fails before the right change and passes after it; tests/test_lessons.py tries both, with lessons/solutions.md.
"""
from support.script import Parser


def expect(condition, otherwise):
    if not condition:
        raise AssertionError(otherwise)


def columns_seen(network, x, size=32):
    """Return the columns that change output pixel (size / 2, x), as distances from x, by changing one at a time."""
    import torch

    torch.manual_seed(0)
    network, seen = network.double().eval(), set()
    for _ in range(2):
        images = torch.randn(1, 3, size, size).double().repeat(size + 1, 1, 1, 1)
        for column in range(size):                       # image number c has another column c; the last has none
            images[column, :, :, column] += 5 * torch.randn(3, size)
        with torch.no_grad():
            logits = network(images)[:, :, size // 2, x]
        seen |= set(((logits[:-1] - logits[-1]).abs().amax(dim=1) > 1e-9).nonzero()[:, 0].tolist())
    return sorted(column - x for column in seen)


def exercise_1_1():
    import torch

    from model import FCN

    network = FCN(classes=2)
    size = network(torch.zeros(1, 3, 20, 30)).shape[2:]
    expect(size == (20, 30), f"an image of 20×30 pixels gives a mask of {size[0]}×{size[1]}: look at the padding")
    columns = [columns_seen(network, x) for x in (16, 17)]
    expect(max(map(len, columns)) == 18, f"a pixel sees {max(map(len, columns))} columns, not 18")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    expect(parameters == 10_514, f"the network has {parameters} weights instead of 10514")
    farthest = max(abs(column) for one in columns for column in one)
    expect(network.halo == farthest + farthest % 2, f"a pixel sees {farthest} to a side, the halo is {network.halo}")


def exercise_1_2():
    from model import FCN
    from tools.show import summary

    network = FCN(classes=2)
    for name, dilation in ("conv1", 1), ("conv2", 1), ("conv3", 2):       # whichever of them 1.1 has changed
        conv = getattr(network.layers, name)
        conv.dilation = conv.padding = dilation, dilation
    found = summary(network)[-1][-1]
    expect(found == 18, f"with a dilation of 2 in conv3 a pixel sees 18 pixels, the table says {found}")


def small_network():
    """Return an FCN whose sums are exact, as a function: uint8 (h, w, 3) → logits float64 (2, h, w)."""
    import torch

    from model import FCN

    torch.manual_seed(0)
    network = FCN(classes=2).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_((16 * weight).round() / 16)

    def forward(window):
        with torch.no_grad():
            return network(torch.from_numpy(window.copy()).permute(2, 0, 1)[None].double())[0].numpy()

    return forward


def noise_image(height, width):
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def exercise_2_1():
    import patches

    image, forward = noise_image(512, 512), small_network()
    height, width, cover = patches.tiles(512, 512, halo=8, stride=2)
    expect(max(height, width) <= 128, f"a window still has {width}×{height} pixels")
    expect(len(cover) == 25, f"there are {len(cover)} windows; expected 25")
    same = (patches.stitch(forward, image, 8, 2) == forward(image)).all()
    expect(same, "the stitched result is no longer that of the whole image")


def exercise_2_2():
    import torch

    from model import pad_to_multiple
    from patches import stitch

    image, forward = noise_image(301, 299), small_network()
    padded = pad_to_multiple(torch.arange(15.0).reshape(1, 1, 3, 5), 2)
    mirrored = padded[0, 0, 0, 5] == 3 and padded[0, 0, 3, 0] == 5
    same = (stitch(forward, image, 8, 2) == forward(image)).all()
    expect(mirrored or same, "the windows are mirrored, the whole image is not: their results differ")
    expect(mirrored, "model.pad_to_multiple still repeats the last row and column")
    expect(same, "the whole image is mirrored, the windows are not: their results differ")


def exercise_3_1():
    import torch
    from torch import nn

    from model import convolve_doubled

    torch.manual_seed(0)
    x = torch.randint(-9, 10, (1, 4, 7, 9)).double()
    for side in (5, 3):
        conv = nn.Conv2d(4, 2, side, padding=side // 2).double()
        with torch.no_grad():
            for weight in conv.parameters():
                weight.copy_(torch.randint(-9, 10, weight.shape))
            wanted = conv(nn.Upsample(scale_factor=2)(x))
            try:
                found = convolve_doubled(x, conv)
            except (ValueError, RuntimeError) as error:
                raise AssertionError(f"{side}×{side}: {error}") from error
        expect(found.shape == wanted.shape and bool((found == wanted).all()), f"{side}×{side} gives another result")


def exercise_3_2():
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from model import doubling

    torch.manual_seed(0)
    layers, x = doubling(8, 4, "nearest"), torch.randn(1, 8, 16, 16)
    weight, bias = layers.parameters()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = layers(x)
    small = torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias[:, None, None]
    wanted = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expect(found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-5), "the result is another one")
    flops, before = counter.get_total_flops(), 2 * 8 * 4 * 16 * 16
    expect(flops == 4 * before, f"it takes {flops} FLOPs; expected {4 * before}, four times as many as before")


def exercise_4_1():
    import numpy as np

    from patches import photometric_jitter

    gain, offset = photometric_jitter(0, 0, 0, 200, 0.3)
    expect(np.allclose(offset, 0), "the contrast still changes: pixel · gain + offset has an offset")
    light = gain.mean(axis=1)
    expect(gain.shape == (200, 3) and 0.65 < light.min() < 0.8 and 1.2 < light.max() < 1.35, "the light changes by "
           f"factors of {light.min():.2f} to {light.max():.2f}; expected 0.7 to 1.3: does contrast still stand in it?")
    expect((np.ptp(gain, axis=1) > 0.01).any(), "the tint no longer changes")


def exercise_4_2():
    from train import quality

    surer, righter = {"val_iou": 0.90, "val_loss": 0.10}, {"val_iou": 0.91, "val_loss": 0.30}
    expect(quality(surer) > quality(righter), "an IoU of 0.91 with a loss of 0.3 still beats 0.90 with a loss of 0.1")
    nothing = {"val_iou": None, "val_loss": 0.2}
    expect(quality(surer) > quality(nothing) > quality(righter), "the lower loss does not win")


def exercise_5_1():
    import numpy as np

    from patches import decide

    p = np.array([[0.1, 0.29, 0.31, 0.9]])
    logits = np.stack([np.zeros_like(p), np.log(p / (1 - p))])
    found = decide([(slice(0, 1), slice(0, 4), logits)], (1, 4))[0].tolist()
    expect(found == [0, 0, 1, 1], f"probabilities of 0.1, 0.29, 0.31 and 0.9 give the classes {found}")
    three = np.stack([np.zeros((1, 1)), np.full((1, 1), -0.5), np.full((1, 1), -1.0)])
    expect(decide([(slice(0, 1), slice(0, 1), three)], (1, 1))[0, 0] == 0, "of three classes, the highest has to win")


def exercise_5_2():
    import numpy as np

    import metrics

    expect(hasattr(metrics, "balanced_accuracy"), "metrics.py has no balanced_accuracy")
    for confusion, wanted in ([[93, 0], [7, 0]], 0.5), ([[90, 10], [5, 15]], 0.825), ([[8, 2], [0, 0]], 0.8):
        found = metrics.balanced_accuracy(np.array(confusion))
        expect(found is not None and abs(found - wanted) < 1e-9, f"{confusion} gives {found}; expected {wanted}")


def exercise_6_1():
    import torch

    from train import average_decay, update_average

    average, values = torch.tensor([100.0]), [3.0, 5.0, 10.0, 2.0]
    for step, value in enumerate(values):
        update_average([average], [torch.tensor([value])], average_decay(step, 0.99))
    mean = sum(values) / len(values)
    expect(abs(average.item() - mean) < 1e-4, f"after 3, 5, 10 and 2 the average is {average.item():.3f}, not {mean:g}")
    expect(average_decay(10_000, 0.99) == 0.99, "later on, the decay is no longer the one that was asked for")


def exercise_6_2():
    import torch

    from model import UNet

    torch.manual_seed(0)
    network = UNet(classes=2, width=4, depth=2).eval()
    image = torch.randn(1, 3, 20, 28)
    skips = []

    def run(stage, level, *maps):
        skips.extend(maps[1:])
        return stage(level, *maps)

    try:
        with torch.no_grad():
            logits = network(image, run=run)
    except RuntimeError as error:
        raise AssertionError(f"a stage does not fit the next: {error}") from error
    expect(logits.shape == (1, 2, 20, 28), f"the logits of an image of 20×28 are {tuple(logits.shape)}")
    inside = [merge[0].in_channels for merge in network.merge]
    expect(inside == [4, 8], f"the convolutions after the skips take {inside} channels; expected [4, 8]")
    with torch.no_grad():
        nothing = lambda stage, level, x, *skip: stage(level, x, *(0 * each for each in skip))
        without = network(image, run=nothing)
    expect(len(skips) == 2 and not torch.equal(logits, without), "the skips no longer change the result")


def exercise_7_1():
    import numpy as np

    from challenges.cityscapes.corrupt import KINDS, corrupt

    expect("dusk" in KINDS, "corrupt.py knows no kind called dusk")
    image = noise_image(40, 60)
    means = [corrupt(image, "dusk", severity).mean(axis=(0, 1)) for severity in range(1, 6)]
    expect(np.all(np.diff(means, axis=0) < 0), "a higher severity is not darker, in each of red, green and blue")
    left = np.array(means) / image.mean(axis=(0, 1))
    expect(np.all(left[:, 0] < left[:, 2]), "blue does not keep more of its light than red")


def exercise_7_2():
    import numpy as np

    from support import ood
    from support.arguments import SCORES

    expect("margin" in ood.OF_LOGITS, "OF_LOGITS in support/ood.py has no margin")
    logits = np.array([3.0, -1.0, 2.5, 7.0]).reshape(2, 2, 1)            # two classes, two pixels
    found = ood.OF_LOGITS["margin"](logits)
    expect(np.allclose(found, [[0.5], [8.0]]), f"logits of 3, 2.5 and of -1, 7 give {found.ravel().tolist()}")
    three = np.array([1.0, 5.0, 2.0]).reshape(3, 1, 1)
    expect(np.allclose(ood.OF_LOGITS["margin"](three), 3), "of the logits 1, 5 and 2 the margin is 3")
    expect("margin" in SCORES, "SCORES in support/arguments.py, from which --score chooses, has no margin")


def exercise_8_1():
    from data import split_off

    names = [f"drive{drive:02}_{frame:03}" for drive in range(30) for frame in range(20)]
    training, validation = split_off(names, 0.3)
    drives = [{name.split("_")[0] for name in part} for part in (training, validation)]
    expect(sorted(training + validation) == names and training and validation, "a frame is lost or in both parts")
    expect(not drives[0] & drives[1], f"{len(drives[0] & drives[1])} of 30 drives are in both parts")


def exercise_8_2():
    import numpy as np

    from metrics import overall

    found = overall(np.array([[90, 3], [6, 1]]), [0.1])
    expect("of_commonest" in found, "overall in metrics.py returns no of_commonest")
    value = found["of_commonest"]
    expect(abs(value - 0.93) < 1e-9, f"it is {value}; expected 0.93, as 93 of 100 pixels are of the commonest class")
    expect(overall(np.zeros((2, 2), int), [])["of_commonest"] is None, "without any pixel it should be None")


EXERCISES = {name.removeprefix("exercise_").replace("_", "."): function
             for name, function in list(globals().items()) if name.startswith("exercise_")}


def main():
    parser = Parser("lessons.exercises", __doc__, prog="lessons.exercises")
    parser.add_argument("number", choices=EXERCISES, metavar="NUMBER", help="of the exercise: " + ", ".join(EXERCISES))
    number = parser.parse_args().number
    try:
        EXERCISES[number]()
    except AssertionError as error:
        raise SystemExit(f"exercise {number}, not yet: {error}") from None
    print(f"exercise {number}: right")


if __name__ == "__main__":
    main()
