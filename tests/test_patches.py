"""Geometry: windows, cores, stitching, sampling. The oracle of stitching is the whole image in one pass."""

import doctest

import numpy as np
import pytest
import torch

import patches
from files import BadInput
from model import FCN, normalize, predictor
from patches import IGNORE, class_pixels, photometric_jitter, sample_batch, sample_patch, stitch, tiles, within_budget

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def random_network(upsample="nearest", seed=0):
    torch.manual_seed(seed)
    model = FCN(upsample=upsample).eval()
    with torch.no_grad():  # larger weights than PyTorch's, so that a wrong halo shows
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def whole_image(model, image):
    """The oracle: logits of the whole image at once, past the budget."""
    with torch.inference_mode():
        return model(normalize(image[None], MEAN, STD))[0].numpy()


def test_worked_examples():
    results = doctest.testmod(patches)
    assert results.attempted >= 5 and results.failed == 0


@pytest.mark.parametrize("halo, stride, window", [(8, 2, None), (8, 2, 64), (24, 4, 128), (48, 8, None), (0, 1, 7)])
def test_cores_cover_every_pixel_once_and_lie_a_halo_inside(halo, stride, window):
    sizes = [1, 2, 3, 17, 63, 64, 65, 127, 128, 255, 256, 257, 258, 500, 511, 513, 1000, 2049]
    for height, width in zip(sizes, np.random.default_rng(0).permutation(sizes).tolist()):
        window_height, window_width, cover = tiles(height, width, halo, stride, window)
        assert max(window_height, window_width) <= (window or 256)
        count = np.zeros((height, width), int)
        bottom, right = (-(-side // stride) * stride for side in (height, width))  # of the padded image
        for tile in cover:
            count[tile.top : tile.bottom, tile.left : tile.right] += 1
            assert tile.y % stride == tile.x % stride == 0
            assert 0 <= tile.y <= bottom - window_height and 0 <= tile.x <= right - window_width
            assert tile.y == 0 or tile.top - tile.y >= halo
            assert tile.x == 0 or tile.left - tile.x >= halo
            assert tile.y + window_height == bottom or tile.y + window_height - tile.bottom >= halo
            assert tile.x + window_width == right or tile.x + window_width - tile.right >= halo
        assert (count == 1).all(), (height, width)


def test_no_window_is_larger_than_its_number_needs():
    for length in range(257, 3000, 7):
        side, spans = patches.spans(length, halo=8, stride=2)
        assert len(spans) == len(patches.spans(length, halo=8, stride=2, window=256)[1])
        assert side == 2 or len(patches.spans(length, halo=8, stride=2, window=side - 2)[1]) > len(spans)


def test_impossible_windows_are_refused():
    with pytest.raises(BadInput, match="halo"):
        tiles(1000, 1000, halo=64, stride=2, window=128)
    with pytest.raises(BadInput, match="stride"):
        tiles(1000, 1000, halo=8, stride=16, window=250)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    "height, width",
    [
        (1, 1),
        (1, 2),
        (2, 1),
        (3, 5),
        (1, 300),
        (300, 1),
        (7, 999),
        (31, 33),
        (255, 255),
        (256, 256),
        (257, 256),
        (256, 259),
        (300, 517),
        (512, 512),
        (513, 771),
        (2, 4001),
    ],
)
def test_stitched_is_the_whole_image_pass(height, width, upsample):
    model, image = random_network(upsample), random_image(height, width)
    stitched = stitch(predictor(model, MEAN, STD), image, model.halo, model.stride)
    whole = whole_image(model, image)
    assert stitched.shape == whole.shape == (2, height, width)
    np.testing.assert_allclose(stitched, whole, atol=1e-5, rtol=0)
    margin = np.abs(whole[0] - whole[1])  # where logits differ by less than rounding, either class is right
    assert ((stitched.argmax(0) == whole.argmax(0)) | (margin < 1e-6)).all()


def test_stitched_is_the_whole_image_pass_on_a_large_photograph_sized_image():
    model, image = random_network(), random_image(2050, 3011)
    stitched = stitch(predictor(model, MEAN, STD), image, model.halo, model.stride)
    np.testing.assert_allclose(stitched, whole_image(model, image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("upsample, halo", [("nearest", 4), ("bilinear", 6)])
def test_a_smaller_halo_would_be_wrong(upsample, halo):
    """The tests above can fail. (With nearest, 6 would do: where an even pixel sees 7 to one side, it sees 6 to the
    other, and cores begin with even pixels. The halo does not count on that.)"""
    model, image = random_network(upsample), random_image(600, 600)
    stitched = stitch(predictor(model, MEAN, STD), image, halo, model.stride)
    assert np.abs(stitched - whole_image(model, image)).max() > 1e-4


def test_layouts_of_one_window_shape_agree_to_the_last_bit():
    model, image = random_network(), random_image(500, 700)
    forward = predictor(model, MEAN, STD)
    first, *others = (stitch(forward, image, halo, model.stride, window=128) for halo in (8, 16, 30, 48))
    for other in others:
        assert np.array_equal(first, other)


def test_stitch_returns_whatever_the_function_does():
    image = random_image(300, 700)
    flipped = stitch(lambda window: 255 - window.transpose(2, 0, 1), image, halo=8, stride=2)
    assert flipped.dtype == np.uint8 and np.array_equal(flipped, 255 - image.transpose(2, 0, 1))


def test_averaging_over_turns_is_exact_too():
    """The oracle: eight passes over the turned whole image. Both sides are even, so that padding adds nothing."""
    model, image = random_network(), random_image(400, 300)
    stitched = stitch(predictor(model, MEAN, STD, tta=True), image, model.halo, model.stride)
    expected = 0
    for turns in range(4):
        for flip in (1, -1):
            logits = whole_image(model, np.rot90(image, turns)[:, ::flip].copy())
            expected = expected + np.rot90(logits[:, :, ::flip], -turns, axes=(1, 2)) / 8
    np.testing.assert_allclose(stitched, expected, atol=1e-5, rtol=0)


def test_budget():
    for shape in [(1, 3, 256, 256), (16, 3, 64, 64), (1, 3, 1, 1), (256, 3, 1, 256)]:
        batch = torch.empty(shape)
        assert within_budget(batch) is batch
    assert within_budget(torch.empty(4, 3, 256, 256), budget=4) is not None
    for shape, budget in [
        ((2, 3, 256, 256), 1),
        ((17, 3, 64, 64), 1),
        ((1, 3, 257, 8), 1),
        ((1, 3, 8, 257), 9),
        ((1, 4, 8, 8), 1),
    ]:
        with pytest.raises(BadInput, match="over the budget"):
            within_budget(torch.empty(shape), budget)


# ---------------------------------------------------------------------------------------------------


def labelled_pair(height=90, width=130):
    """An image that says of each pixel where it is, and a mask with one rare class."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[40:43, 60:63] = 1
    return np.stack([y, x, mask], axis=2), mask


def test_patches_are_a_pure_function_of_seed_epoch_and_index():
    image, mask = labelled_pair()
    pixels = class_pixels([mask], 2)
    batch, truth = sample_batch([image], [mask], pixels, 7, 3, 5, count=8, size=32, balance=0.5)
    for number in range(8):  # in any order, alone or together
        patch = sample_patch([image], [mask], pixels, 7, 3, 40 + number, size=32, balance=0.5)
        assert np.array_equal(patch[0], batch[number]) and np.array_equal(patch[1], truth[number])
    others = [
        sample_batch([image], [mask], pixels, *key, count=8, size=32, balance=0.5)[0]
        for key in [(8, 3, 5), (7, 4, 5), (7, 3, 6)]
    ]
    assert not any(np.array_equal(batch, other) for other in others)


def test_patches_are_turned_and_flipped_crops_with_their_own_mask():
    image, mask = labelled_pair()
    batch, truth = sample_batch([image], [mask], class_pixels([mask], 2), 0, 0, 0, count=400, size=24, balance=0.5)
    assert batch.shape == (400, 24, 24, 3) and batch.dtype == truth.dtype == np.uint8
    assert np.array_equal(batch[..., 2], truth)
    ways = set()
    for patch in batch[..., :2].astype(int):
        assert {patch[0, 0, 0], patch[-1, -1, 0], patch[0, -1, 0]} <= {patch[..., 0].min(), patch[..., 0].max()}
        assert np.ptp(patch[..., 0]) == np.ptp(patch[..., 1]) == 23
        ways.add((tuple(patch[0, 1] - patch[0, 0]), tuple(patch[1, 0] - patch[0, 0])))
    assert len(ways) == 8  # the whole symmetry group of the square


def test_rare_classes_are_sampled_on_purpose():
    image, mask = labelled_pair(400, 400)
    pixels = class_pixels([mask], 2)
    shares = [
        np.mean([sample_patch([image], [mask], pixels, 0, 0, i, 16, balance)[1].any() for i in range(400)])
        for balance in (0.0, 0.5, 1.0)
    ]
    assert shares[0] < 0.05  # 9 of 160,000 pixels
    assert 0.18 < shares[1] < 0.35  # half of the patches, half of those
    assert 0.42 < shares[2] < 0.6


def test_patches_come_from_all_images_by_area_and_every_pixel_can_come():
    images = [np.full((32, 32, 3), 1, np.uint8), np.full((32, 96, 3), 2, np.uint8)]
    masks = [np.zeros((32, 32), np.uint8), np.zeros((32, 96), np.uint8)]
    batch, _ = sample_batch(images, masks, class_pixels(masks, 1), 0, 0, 0, count=800, size=16, balance=0)
    assert 0.7 < (batch[:, 0, 0, 0] == 2).mean() < 0.8
    image, mask = labelled_pair(40, 50)
    batch, _ = sample_batch([image], [mask], class_pixels([mask], 2), 0, 0, 0, count=1000, size=16, balance=0)
    assert len({(y, x) for y, x, _ in batch.reshape(-1, 3).tolist()}) == 40 * 50


def test_class_pixels_leaves_out_what_is_absent_or_ignored():
    mask = np.array([[0, 2], [IGNORE, 2]], np.uint8)
    found = class_pixels([mask, mask], 3)
    assert [places.tolist() for places in found] == [[0, 4], [1, 3, 5, 7]]


def test_photometric_jitter_stays_within_its_strength():
    gain, offset = photometric_jitter(0, 0, 0, 5000, strength=0.1)
    middle = 0.5 * gain + offset  # what becomes of mid-grey: light and tint only
    assert gain.shape == offset.shape == (5000, 3)
    assert 0.5 * 0.9 * 0.96 < middle.min() < 0.46 and 0.54 < middle.max() < 0.5 * 1.1 * 1.04
    assert np.abs(gain.mean() - 1) < 0.01 and np.abs(offset.mean()) < 0.01
    assert np.array_equal(gain, photometric_jitter(0, 0, 0, 5000, strength=0.1)[0])
    assert not np.array_equal(gain, photometric_jitter(0, 0, 1, 5000, strength=0.1)[0])
    still = photometric_jitter(0, 0, 0, 4, strength=0)
    assert (still[0] == 1).all() and (still[1] == 0).all()
