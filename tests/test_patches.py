"""Geometry: windows, cores, stitching, sampling. The oracle of stitching is the whole image in one pass."""

import doctest
import math
import weakref

import numpy as np
import pytest
import torch
from scipy.ndimage import grey_opening

import patches
import segmenter
from data import Dataset
from model import FCN, UNet, normalize
from patches import (
    Sampling,
    assemble,
    at_own_size,
    choose_patch,
    class_rows,
    core_logits,
    cut_batches,
    cut_patch,
    decide,
    decide_rows,
    noise,
    photometric_jitter,
    resize,
    resize_indices,
    stage_side,
    stitch,
    tiles,
    within_budget,
    within_stage_budget,
    zoom_image,
    zoomed_size,
)
from segmenter import Segmenter, average_views, in_windows, torch_forward
from support.files import BadInput
from support.masks import IGNORE
from support.ood import MeanScores
from tools.paint import pictures

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
TWO = [{"name": "ground", "value": 0}, {"name": "disc", "value": 255}]
METADATA = {"classes": TWO, "ignore": [], "mean": MEAN, "std": STD, "settings": {}}


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def random_network(upsample="nearest"):
    torch.manual_seed(0)
    model = FCN(upsample=upsample).eval()
    with torch.no_grad():  # larger weights than PyTorch's, so that a wrong halo shows
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def whole_image(model, image):
    """The oracle: logits of the whole image at once, past the budget."""
    with torch.inference_mode():
        return model(normalize(image[None], MEAN, STD))[0].numpy()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("shape", [(40, 50, 3), (7, 1, 3), (1, 4, 3)])
def test_bright_lines_less_wide_than_asked_are_taken_away(width, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    opened = segmenter.open_across(image, width)
    if width % 2:  # of others, SciPy shifts the result by half a pixel
        assert np.array_equal(opened, grey_opening(image, (1, width, 1), mode="nearest"))
    assert (opened <= image).all() and np.array_equal(segmenter.open_across(opened, width), opened)


def test_a_streak_goes_and_what_is_wider_or_dark_stays():
    image = np.full((20, 40, 3), 90, np.uint8)
    image[:, 5:9], image[:, 20:25], image[:, 33:34] = 255, 200, 10
    expected = image.copy()
    expected[:, 5:9] = 90
    assert np.array_equal(segmenter.open_across(image, 5), expected)


@pytest.mark.parametrize("module, examples", [(patches, 8), (pictures, 1)])
def test_worked_examples(module, examples):
    assert doctest.testmod(module) == (0, examples)


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
    """But for a multiple of four: half of another even number may be a prime, see patches.spans."""
    for length in range(257, 3000, 7):
        side, spans = patches.spans(length, halo=8, stride=2)
        assert side % 4 == 0
        assert len(spans) == len(patches.spans(length, halo=8, stride=2, window=256)[1])
        assert side == 4 or len(patches.spans(length, halo=8, stride=2, window=side - 4)[1]) > len(spans)
    assert patches.spans(181, halo=2, stride=2, limit=90)[0] == 64
    assert patches.spans(260, halo=2, stride=2, limit=90)[0] == 90  # never above the limit


def test_impossible_windows_are_refused():
    with pytest.raises(BadInput, match="halo"):
        tiles(1000, 1000, halo=64, stride=2, window=128)
    for halo, stride, window in [(8, 16, 250), (16, 16, 250), (8, 16, 256), (7, 2, None)]:
        with pytest.raises(BadInput, match="stride"):
            tiles(1000, 1000, halo, stride, window)
    assert patches.spans(260, halo=126, stride=2) == (256, [(0, 0, 130), (4, 130, 260)])  # would keep 4 of an inner one


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
    stitched = stitch(torch_forward(model, MEAN, STD), image, model.halo, model.stride)
    whole = whole_image(model, image)
    assert stitched.shape == whole.shape == (2, height, width)
    np.testing.assert_allclose(stitched, whole, atol=1e-5, rtol=0)
    margin = np.abs(whole[0] - whole[1])  # where logits differ by less than rounding, either class is right
    assert ((stitched.argmax(0) == whole.argmax(0)) | (margin < 1e-6)).all()


def random_unet(upsample="transposed", width=8, depth=3):
    torch.manual_seed(0)
    model = UNet(2, width, depth, upsample).eval()
    for layer in model.modules():  # BatchNorm that lets the signal through, so that a wrong halo shows
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_var.fill_(0.05)
    return model


@pytest.mark.parametrize("upsample", ["transposed", "bilinear"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("height, width", [(1, 1), (40, 500), (257, 263), (300, 517), (600, 441)])
def test_stitched_is_the_whole_image_pass_of_a_unet(height, width, depth, upsample):
    model, image = random_unet(upsample, depth=depth), random_image(height, width)
    stitched = stitch(torch_forward(model, MEAN, STD), image, model.halo, model.stride)
    whole = whole_image(model, image)
    np.testing.assert_allclose(stitched, whole, atol=2e-5 * np.abs(whole).max(), rtol=0)


def test_stitched_is_the_whole_image_pass_of_the_textbook_depth():
    model, image = random_unet(width=4, depth=4), random_image(400, 350)
    stitched = stitch(torch_forward(model, MEAN, STD), image, model.halo, model.stride)
    whole = whole_image(model, image)
    np.testing.assert_allclose(stitched, whole, atol=2e-5 * np.abs(whole).max(), rtol=0)


@pytest.mark.parametrize("upsample", ["transposed", "bilinear", "nearest"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("height, width", [(64, 448), (576, 384)])
def test_stage_by_stage_is_the_whole_image_pass(height, width, depth, upsample):
    """In double precision, where rounding cannot hide a pixel that a stage did not see."""
    model = random_unet(upsample, width=2, depth=depth).double()
    image = torch.rand(1, 3, height, width, dtype=torch.double)
    with torch.inference_mode():
        whole = model(image)
        for together in 1, 3:  # three, as on a GPU, where the last are fewer
            stitched = model(image, run=in_windows(model.stage_halo, together=together))
            torch.testing.assert_close(stitched, whole, rtol=1e-9, atol=1e-9)
        narrow = model(image, run=in_windows(model.stage_halo - 2))
    assert (narrow - whole).abs().max() > 1e-6 * whole.abs().max()  # so that the test can fail


def test_no_stage_holds_more_than_an_input_gives_the_first_one():
    model, sizes = random_unet(width=4, depth=5), {}
    for stage in [*model.down, *model.merge]:
        for layer in stage:
            layer.register_forward_hook(
                lambda layer, inputs, output: sizes.setdefault(output.shape[1], []).append(output[0].numel())
            )
    segment = Segmenter(model, METADATA)
    segment(random_image(700, 900))
    assert sorted(sizes) == [4 * 2**level for level in range(6)]
    assert max(max(values) for values in sizes.values()) <= 4 * 256**2
    assert [stage_side(level) for level in range(7)] == [256, 180, 128, 90, 64, 44, 32]
    for level, side in enumerate([256, 180, 128, 90, 64, 44, 32]):
        within_stage_budget(level, side, side)
        with pytest.raises(BadInput, match="over the budget"):
            within_stage_budget(level, side + 2, side + 2)


@pytest.mark.parametrize("tta", [False, True])
def test_large_images_are_run_stage_by_stage_in_regions(tta, monkeypatch):
    """The maps of a region are held, not of the image; the result is the same."""
    monkeypatch.setattr(segmenter, "REGION", 128)
    model, image = random_unet(), random_image(411, 300)
    segment = Segmenter(model, METADATA, tta=tta)
    seen = []
    monkeypatch.setattr(segment, "forward_views", record(segment.forward_views, seen))
    logits = segment.logits(image)
    assert len(seen) > 1 and max(map(math.prod, seen)) <= (4 * model.halo) ** 2
    if not tta:
        whole = whole_image(model, image)
        np.testing.assert_allclose(logits, whole, atol=2e-5 * np.abs(whole).max(), rtol=0)
    assert np.array_equal(segment(image), logits.argmax(axis=0))


def record(forward, seen):
    def recording(window):
        seen.append(window.shape[:2])
        return forward(window)

    return recording


@pytest.mark.parametrize("depth, halo", [(2, 16), (3, 40)])
def test_a_smaller_halo_would_be_wrong_for_a_unet(depth, halo):
    """One step of the pooling grid less than model.halo."""
    model, image = random_unet(depth=depth), random_image(600, 600)
    assert halo == model.halo - 2 * model.stride or halo == model.halo - model.stride
    stitched, whole = stitch(torch_forward(model, MEAN, STD), image, halo, model.stride), whole_image(model, image)
    assert np.abs(stitched - whole).max() > 1e-4 * np.abs(whole).max()


@pytest.mark.slow
def test_stitched_is_the_whole_image_pass_on_a_large_photograph_sized_image():
    model, image = random_network(), random_image(2050, 3011)
    stitched = stitch(torch_forward(model, MEAN, STD), image, model.halo, model.stride)
    np.testing.assert_allclose(stitched, whole_image(model, image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("upsample, halo", [("nearest", 4), ("bilinear", 6)])
def test_a_smaller_halo_would_be_wrong(upsample, halo):
    """The tests above can fail. (With nearest, 6 would do: where an even pixel sees 7 to one side, it sees 6 to the
    other, and cores begin with even pixels. The halo does not count on that.)"""
    model, image = random_network(upsample), random_image(600, 600)
    stitched = stitch(torch_forward(model, MEAN, STD), image, halo, model.stride)
    assert np.abs(stitched - whole_image(model, image)).max() > 1e-4


def test_layouts_of_one_window_shape_agree_to_the_last_bit():
    model, image = random_network(), random_image(500, 700)
    forward = torch_forward(model, MEAN, STD)
    first, *others = (stitch(forward, image, halo, model.stride, window=128) for halo in (8, 16, 30, 48))
    for other in others:
        assert np.array_equal(first, other)


@pytest.mark.parametrize("stride, window", [(4, 64), (8, 48), (4, None)])
def test_windows_are_as_large_as_asked_for_and_repeat_the_last_pixels(stride, window):
    image, seen = random_image(101, 203), []
    stitched = stitch(lambda part: seen.append(part) or part.transpose(2, 0, 1), image, 8, stride, window)
    assert np.array_equal(stitched, image.transpose(2, 0, 1))
    padded = image[np.arange(104).clip(max=100)][:, np.arange(208).clip(max=202)]
    height, width, cover = tiles(101, 203, 8, stride, window)
    assert (height, width) == ((window, window) if window else (104, 204)) and len(seen) == len(cover)
    for tile, part in zip(cover, seen):
        assert np.array_equal(part, padded[tile.y : tile.y + height, tile.x : tile.x + width])


def test_stitch_returns_whatever_the_function_does():
    image = random_image(300, 700)
    flipped = stitch(lambda window: 255 - window.transpose(2, 0, 1), image, halo=8, stride=2)
    assert flipped.dtype == np.uint8 and np.array_equal(flipped, 255 - image.transpose(2, 0, 1))


def test_averaging_over_turns_is_exact_too():
    """The oracle: eight passes over the turned whole image. Both sides are even, so that padding adds nothing."""
    model, image = random_network(), random_image(400, 300)
    stitched = stitch(average_views(torch_forward(model, MEAN, STD), "all"), image, model.halo, model.stride)
    expected = 0
    for turns in range(4):
        for flip in (1, -1):
            logits = whole_image(model, np.rot90(image, turns)[:, ::flip].copy())
            expected = expected + np.rot90(logits[:, :, ::flip], -turns, axes=(1, 2)) / 8
    np.testing.assert_allclose(stitched, expected, atol=1e-5, rtol=0)


def at_zoom(zoom, forward, image):
    """Return what `forward` says to an image at this zoom, enlarged plane by plane by Pillow."""
    stitched = stitch(forward, zoom_image(image, zoom), 8, 2)
    return np.stack([resize(plane, image.shape[:2]) for plane in stitched])


@pytest.mark.parametrize("height, width", [(97, 131), (300, 520), (1, 1), (3, 200)])
@pytest.mark.parametrize("zoom", [1, 0.5, 0.3, 2.0])
def test_a_zoomed_image_is_stitched_at_its_own_size(height, width, zoom):
    y, x = np.mgrid[:height, :width]
    image = np.stack([y % 256, x % 256, (y + x) // 8 % 256], axis=2).astype(np.uint8)
    seen = []

    def forward(window):
        seen.append(window.shape[:2])
        return window.astype(np.float32).transpose(2, 0, 1)

    stitched = at_zoom(zoom, forward, image)
    assert stitched.shape == (3, height, width) and stitched.dtype == np.float32
    assert max(max(shape) for shape in seen) <= 256
    window_height, window_width, _ = tiles(*zoomed_size((height, width), zoom), 8, 2)
    assert set(seen) == {(window_height, window_width)}
    smooth = (slice(None), slice(8, min(height, 240)), slice(8, min(width, 240)))  # away from where the ramps jump
    assert np.abs(stitched - image.transpose(2, 0, 1))[smooth].max(initial=0) < (1e-6 if zoom == 1 else 4)
    pieces = core_logits(forward, zoom_image(image, zoom), 8, 2)
    decided = decide(pieces, (height, width), *([] if zoom == 1 else [zoom]))
    assert decided.dtype == np.uint8 and (decided == stitched.argmax(axis=0)).all()


@pytest.mark.parametrize(
    "consume",
    [
        lambda pieces: np.concatenate([found for _, found in decide_rows(pieces, 300)]),
        lambda pieces: decide(pieces, (1300, 300)),
        lambda pieces: decide(map(MeanScores(["softmax"]).add_up, pieces), (1300, 300)),
        lambda pieces: assemble(pieces, (1300, 300)).argmax(axis=0),
    ],
    ids=["decide_rows", "decide", "with scores", "assemble"],
)
def test_the_logits_of_a_region_are_gone_before_the_next_ones_are_made(consume):
    earlier = []

    def forward(window):
        assert all(logits() is None for logits in earlier)
        logits = np.ascontiguousarray(window.transpose(2, 0, 1), np.float32)  # what owns the memory, no view
        earlier.append(weakref.ref(logits))
        return logits

    image = np.random.default_rng(0).integers(0, 256, (1300, 300, 3), np.uint8)
    assert np.array_equal(consume(core_logits(forward, image, 8, 2)), image.argmax(axis=2))
    assert len(earlier) == 12


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
    with pytest.raises(BadInput, match="at most 65536 pixels together"):
        within_budget(torch.empty(2, 3, 256, 256, device="meta"))
    advice = "at most 131072 pixels together; take fewer or smaller patches, or raise --budget if the memory is there$"
    with pytest.raises(BadInput, match=advice):
        within_budget(torch.empty(3, 3, 256, 256, device="meta"), budget=2)


def test_the_halo_is_the_networks_where_it_fits_or_the_one_wanted():
    for halo in (0, 8, 96, 126):
        assert patches.choose_halo(halo, stride=2) == halo
    for halo in (128, 192, 448):  # a window would have no core left
        assert patches.choose_halo(halo, stride=64) == 64 and type(patches.choose_halo(halo, stride=64)) is int
    assert [patches.choose_halo(8, 2, wanted) for wanted in (0, 1, 2, 3, 126)] == [0, 2, 2, 4, 126]
    assert [patches.choose_halo(48, 8, wanted) for wanted in (0, 1, 8, 100, 120)] == [0, 8, 8, 104, 120]
    for stride, most in [(1, 127), (2, 126), (8, 120), (64, 64)]:
        assert patches.choose_halo(6 * stride, stride, most) == most
        with pytest.raises(BadInput, match=f"^--halo {most + 1}: expected 0 to {most}$"):
            patches.choose_halo(6 * stride, stride, most + 1)


def test_a_smaller_halo_is_told():
    assert patches.inexact_line(8, 8) == patches.inexact_line(8, 10) == ""
    assert patches.inexact_line(224, 64) == (
        "this network sees 224 pixels around each one, its windows show 64: "
        "the result is close to that of the whole image at once, but not equal"
    )


# ---------------------------------------------------------------------------------------------------


def labelled_pair(height=90, width=130):
    """An image that says of each pixel where it is, and a mask with one rare class."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[40:43, 60:63] = 1
    return np.stack([y, x, mask], axis=2), mask


def draw(pairs, classes, count, size, seed=0, epoch=0, step=0, **settings):
    """`count` patches as one batch: uint8 (count, size, size, 3) and (count, size, size)."""
    drawing = Sampling(seed, size, count, **settings)
    [batch] = cut_batches(Dataset.in_memory(pairs, classes), drawing, epoch, step, 1, range(count))
    return batch


def test_patches_are_a_pure_function_of_seed_epoch_step_and_slot():
    pair = labelled_pair()
    batch, truth = draw([pair], 2, 8, 32, seed=7, epoch=3, step=5, balance=0.5)
    for slot in (6, 1, 0, 7):  # in any order, alone or together
        [(patch, mask)] = cut_batches(Dataset.in_memory([pair], 2), Sampling(7, 32, 8, 0.5), 3, 5, 1, [slot])
        assert np.array_equal(patch[0], batch[slot]) and np.array_equal(mask[0], truth[slot])
    for key in [(8, 3, 5), (7, 4, 5), (7, 3, 6)]:
        seed, epoch, step = key
        assert not np.array_equal(batch, draw([pair], 2, 8, 32, seed, epoch, step, balance=0.5)[0])


def test_patches_are_turned_and_flipped_crops_with_their_own_mask():
    batch, truth = draw([labelled_pair()], 2, 400, 24, balance=0.5)
    assert batch.shape == (400, 24, 24, 3) and batch.dtype == truth.dtype == np.uint8
    assert np.array_equal(batch[..., 2], truth)
    ways = set()
    for patch in batch[..., :2].astype(int):
        assert {patch[0, 0, 0], patch[-1, -1, 0], patch[0, -1, 0]} <= {patch[..., 0].min(), patch[..., 0].max()}
        assert np.ptp(patch[..., 0]) == np.ptp(patch[..., 1]) == 23
        ways.add((tuple(patch[0, 1] - patch[0, 0]), tuple(patch[1, 0] - patch[0, 0])))
    assert len(ways) == 8  # the whole symmetry group of the square


@pytest.mark.parametrize("flips, count", [("mirror", 2), ("none", 1)])
def test_photographs_with_a_sky_are_not_turned_over(flips, count):
    batch, _ = draw([labelled_pair()], 2, 50, 24, balance=0.5, flips=flips)
    ways = {(int(patch[1, 0, 0]) - int(patch[0, 0, 0]), int(patch[0, 1, 1]) - int(patch[0, 0, 1])) for patch in batch}
    assert ways == {(1, 1), (1, -1)} if count == 2 else ways == {(1, 1)}


def test_rare_classes_are_sampled_on_purpose():
    pair = labelled_pair(400, 400)
    shares = [draw([pair], 2, 400, 16, balance=balance)[1].any(axis=(1, 2)).mean() for balance in (0.0, 0.5, 1.0)]
    assert shares[0] < 0.05  # 9 of 160,000 pixels
    assert 0.18 < shares[1] < 0.35  # half of the patches, half of those
    assert 0.42 < shares[2] < 0.6


def test_a_patch_of_the_images_own_size_is_the_image():
    image, mask = labelled_pair(64, 64)
    batch, truth = draw([(image, mask)], 2, 30, 64, balance=0.5, flips="none")
    assert all(np.array_equal(patch, image) for patch in batch) and all(np.array_equal(part, mask) for part in truth)


def test_patches_come_from_all_images_by_area_and_every_pixel_can_come():
    pairs = [(np.full((32, width, 3), width, np.uint8), np.zeros((32, width), np.uint8)) for width in (32, 96)]
    batch, _ = draw(pairs, 1, 800, 16, balance=0)
    assert 0.7 < (batch[:, 0, 0, 0] == 96).mean() < 0.8
    batch, _ = draw([labelled_pair(40, 50)], 2, 1000, 16, balance=0)
    assert len({(y, x) for y, x, _ in batch.reshape(-1, 3).tolist()}) == 40 * 50


def test_a_balanced_patch_holds_its_pixel_wherever_the_class_is():
    """All places of all classes in three images, against NumPy's own order of them."""
    random = np.random.default_rng(0)
    masks = [random.choice([0, 1, 2, IGNORE], (20, 17), p=[0.7, 0.2, 0.05, 0.05]).astype(np.uint8) for _ in range(3)]
    masks[1][masks[1] == 2] = 0  # one image without the rare class
    y, x = np.mgrid[:20, :17].astype(np.uint8)
    samples = Dataset.in_memory([(np.stack([y, x, mask], axis=2), mask) for mask in masks], 3)
    drawing = Sampling(seed=0, size=1, batch=1, balance=1.0, flips="none")
    found = {0: [], 1: [], 2: []}
    for label in found:
        for number, (image, mask, rows) in enumerate(samples.items):
            for place in range(rows[label, -1]):
                [[pixel]], [[value]] = cut_patch(image, mask, rows, label, place, [0, 0, 1, 1, 1, 0, 0, 0], drawing)
                assert value == label == pixel[2]
                found[label].append((number, *pixel[:2].tolist()))
    for label, places in found.items():
        assert places == [(n, *place) for n, mask in enumerate(masks) for place in np.argwhere(mask == label).tolist()]
    drawn = [choose_patch(samples.cumulative_counts, drawing, 0, step, 0)[:2] for step in range(3000)]
    assert 0.3 < np.mean([label == 2 for _, label in drawn]) < 0.37  # drawn evenly, however rare
    assert not any(number == 1 and label == 2 for number, label in drawn)


@pytest.mark.parametrize("balance", [0.0, 1.0])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_every_pixel_of_every_image_is_as_likely_in_every_step(balance, step):
    """Pixels of one class, 1, 3 and 2 in three images, with `reuse`, of which a later step draws other places."""
    counts = np.array([[1, 1], [4, 4], [6, 6]])
    drawing, found = Sampling(seed=0, size=8, batch=6000, balance=balance, reuse=3), []
    for slot in range(6000):
        first, here = (choose_patch(counts, drawing, 0, now, slot) for now in (0, step))
        assert first[:2] == here[:2]
        found.append((here[0], here[2]))
    places, often = np.unique(found, axis=0, return_counts=True)
    assert places.tolist() == [[0, 0], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1]]
    assert np.abs(often - 1000).max() < 130  # four deviations
    same = np.mean([choose_patch(counts, drawing, 0, 0, slot)[2] == found[slot][1] for slot in range(6000)])
    assert same == 1 if step == 0 else same == pytest.approx(1 / 6 + 3 / 6 / 3 + 2 / 6 / 2, abs=0.03)


def test_class_rows_count_what_is_above():
    mask = np.array([[0, 2, 2], [IGNORE, 2, 0]], np.uint8)
    assert class_rows(mask, 3).tolist() == [[1, 2], [0, 0], [2, 3]]


@pytest.mark.parametrize("scale, side", [(2.0, 16), (0.5, 64), (1.0, 32)])
def test_scaled_patches_show_more_or_less_of_the_image(scale, side):
    image, mask = labelled_pair(200, 220)
    batch, truth = draw([(image, mask)], 2, 100, 32, balance=1.0, scale=(scale, scale), flips="none")
    assert batch.shape == (100, 32, 32, 3) and set(np.unique(truth)) == {0, 1}
    for channel in (0, 1):
        extent = np.ptp(batch[..., channel].astype(int), axis=(1, 2))
        assert np.abs(extent - (side - 1)).max() <= max(1 / scale, 1)  # half a coarse pixel is lost at either end


def test_scales_are_drawn_between_the_two():
    batch, _ = draw([labelled_pair(250, 250)], 2, 500, 32, balance=0, scale=(0.5, 2.0), flips="none")
    scales = 31 / np.ptp(batch[..., 0].astype(int), axis=(1, 2)).clip(1)
    assert 0.45 < scales.min() < 0.55 and 1.8 < scales.max() < 2.4 and 0.9 < np.median(scales) < 1.15


def centre(weights):
    """The centre of mass (y, x) of arrays (..., H, W), in pixels."""
    y, x = np.mgrid[: weights.shape[-2], : weights.shape[-1]]
    return np.stack([(weights * y).sum((-2, -1)), (weights * x).sum((-2, -1))]) / weights.sum((-2, -1))


@pytest.mark.parametrize("flips", ["none", "mirror"])
@pytest.mark.parametrize("scale", [0.25, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0])
def test_a_mask_lies_on_its_image_at_every_scale(scale, flips):
    """Halved, an image is averaged and its mask is not: on average over the patches neither is shifted."""
    y, x = np.mgrid[:400, :400]
    mask = ((y - 200.0) ** 2 + (x - 199.0) ** 2 < min(12, 12 / scale) ** 2).astype(np.uint8)
    image = np.repeat(255 * mask[:, :, None], 3, axis=2)
    images, truth = draw([(image, mask)], 2, 400, 64, balance=1.0, scale=(scale, scale), flips=flips)
    inside = (truth[:, [0, -1]] == 0).all((1, 2)) & (truth[:, :, [0, -1]] == 0).all((1, 2))  # the whole disc
    inside &= truth.any((1, 2))  # and not a pixel of it that falls between those that are kept
    assert inside.sum() > 40
    shift = centre(images[inside, :, :, 0] / 255) - centre(truth[inside] / 1.0)
    assert np.abs(shift.mean(axis=1)).max() < 0.06, shift.mean(axis=1)


def test_a_zoomed_image_has_a_pixel_at_least():
    assert zoomed_size((1, 100), 0.3) == (1, 30) and zoomed_size((3, 5), 0.1) == (1, 1) == zoomed_size((1, 1), 1)


def test_indices_of_any_shape_are_resized():
    indices = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert resize_indices(indices, (2, 3)).tolist() == indices[1::2, 1::2].tolist()
    assert resize_indices(indices, (8, 6)).tolist() == indices.repeat(2, axis=0).tolist()


def test_indices_halve_to_any_of_the_four_that_a_pixel_is_made_of():
    indices = np.arange(16, dtype=np.uint8).reshape(4, 4)
    for down, first in (1, 1), (-1, 0):
        for across, second in (1, 1), (-1, 0):
            expected = indices[first::2, second::2]
            assert resize_indices(indices, (2, 2), down, across).tolist() == expected.tolist()
            assert (
                resize_indices(expected, (4, 4), down, across).tolist() == np.kron(expected, np.ones((2, 2))).tolist()
            )


@pytest.mark.parametrize("zoom", [0.25, 0.5, 0.75, 1, 2.0])
def test_what_is_decided_at_a_zoom_lies_where_the_image_has_it(zoom):
    y, x = np.mgrid[:400, :400]
    disc = (y - 200.0) ** 2 + (x - 199.0) ** 2 < 60**2
    image = np.where(disc[:, :, None], (0, 255, 0), (255, 0, 0)).astype(np.uint8)
    forward = lambda window: window.transpose(2, 0, 1).astype(np.float32)  # the brightest channel is the class
    found = decide(core_logits(forward, zoom_image(image, zoom), 8, 2), (400, 400), zoom)
    assert np.abs(centre(found == 1) - centre(disc)).max() < 0.06


def test_an_image_smaller_than_a_patch_is_continued_without_a_truth():
    batch, truth = draw([labelled_pair(20, 90)], 2, 50, 32, balance=0, flips="none")
    assert (truth[:, 20:] == IGNORE).all() and (truth[:, :20] != IGNORE).all()
    assert (batch[:, 20:] == batch[:, 19:20]).all()


def test_reuse_takes_several_steps_from_the_same_images():
    """Nothing but that changes: patches still differ, and it does not matter how many are drawn at once."""
    random = np.random.default_rng(0)
    pairs = [(np.full((40, 40, 3), n, np.uint8), random.integers(0, 2, (40, 40), np.uint8)) for n in range(50)]
    samples, drawing = Dataset.in_memory(pairs, 2), Sampling(seed=0, size=16, batch=4, balance=0.5, reuse=3)
    batches = cut_batches(samples, drawing, epoch=1, first=3, steps=3, slots=range(4))
    assert len(batches) == 3
    sources = [batch[:, 0, 0, 0].tolist() for batch, _ in batches]
    assert sources[0] == sources[1] == sources[2] and len(set(sources[0])) > 1
    assert not np.array_equal(batches[0][1], batches[1][1])
    [(first, _), (second, _)] = cut_batches(samples, drawing, epoch=1, first=3, steps=2, slots=range(4))
    assert np.array_equal(first, batches[0][0]) and np.array_equal(second, batches[1][0])
    following = cut_batches(samples, drawing, epoch=1, first=6, steps=1, slots=range(4))
    assert following[0][0][:, 0, 0, 0].tolist() != sources[0]


@pytest.mark.parametrize("reuse", [1, 3])
def test_any_number_of_steps_may_be_cut_at_once(reuse):
    samples = Dataset.in_memory(coloured_pairs(), 3)
    drawing = Sampling(seed=0, size=16, batch=8, balance=0.5, reuse=reuse, paste=0.5, background=0)
    together = cut_batches(samples, drawing, epoch=1, first=0, steps=3 * reuse, slots=range(8))
    apart = [cut_batches(samples, drawing, 1, first, reuse, range(8)) for first in range(0, 3 * reuse, reuse)]
    for (images, masks), (expected, truths) in zip(together, sum(apart, [])):
        assert np.array_equal(images, expected) and np.array_equal(masks, truths)


def coloured_pairs():
    """Each picture has a grey of its own and in it, of a lighter grey, an object, or none; some has no truth."""
    pairs = []
    for number in range(12):
        image, mask = np.full((40, 40, 3), 10 + number, np.uint8), np.zeros((40, 40), np.uint8)
        if number < 5:
            image[8:20, 10:30], mask[8:20, 10:30] = 100 + number, 1 + number % 2
            image[20:24, 10:30], mask[20:24, 10:30] = 200, IGNORE
        pairs.append((image, mask))
    return pairs


@pytest.mark.parametrize("reuse", [1, 3])
def test_pasted_objects_come_whole_with_their_class_and_nothing_else_changes(reuse):
    samples = Dataset.in_memory(coloured_pairs(), 3)
    plain = Sampling(seed=0, size=16, batch=60, balance=0.0, reuse=reuse)
    before = cut_batches(samples, plain, epoch=1, first=3, steps=reuse, slots=range(60))
    after = cut_batches(samples, plain._replace(paste=0.5, background=0), 1, 3, reuse, range(60))
    changed = []
    for (images, masks), (with_objects, truths) in zip(before, after):
        pasted = (images != with_objects).any(axis=3)
        assert np.array_equal(masks[~pasted], truths[~pasted])
        assert not (with_objects[pasted] == 200).any()  # what has no truth is not pasted
        objects = with_objects[pasted][:, 0]
        assert (objects >= 100).all() and np.array_equal(1 + (objects - 100) % 2, truths[pasted])
        changed.append(pasted.any(axis=(1, 2)))
    assert 0.3 < np.mean(changed) < 0.6
    if reuse > 1:  # from the same images in all of these steps
        assert all(changed[0][n] or not changed[1][n] for n in range(60))
    alone = cut_batches(samples, plain._replace(paste=0.5, background=0), 1, 3, reuse, [7, 3])
    assert np.array_equal(alone[0][0], after[0][0][[7, 3]]) and np.array_equal(alone[0][1], after[0][1][[7, 3]])


@pytest.mark.parametrize("label", [1, 2])
def test_an_object_is_found_wherever_it_is_and_pasted_on_every_patch(label):
    """In the last of the images, few pixels of one of the classes."""
    pairs = coloured_pairs()[5:]
    pairs[-1][1][17, 23] = label
    pairs[-1][0][17, 23] = 150
    drawing = Sampling(seed=0, size=16, batch=50, balance=0.0, paste=1.0, background=0)
    [(images, masks)] = cut_batches(Dataset.in_memory(pairs, 3), drawing, 0, 0, 1, range(50))
    assert (masks == label).any(axis=(1, 2)).all() and np.array_equal(masks == label, images[..., 0] == 150)


def test_where_an_object_comes_from_says_nothing_about_where_it_goes():
    """Of 12 pictures and 5 with objects, most of the 60 couples occur."""
    samples = Dataset.in_memory(coloured_pairs(), 3)
    drawing = Sampling(seed=0, size=16, batch=300, balance=0.0)
    [(before, _)] = cut_batches(samples, drawing, 0, 0, 1, range(300))
    [(after, _)] = cut_batches(samples, drawing._replace(paste=1.0, background=0), 0, 0, 1, range(300))
    couples = {(int(old.min()), int(new.max())) for old, new in zip(before[..., 0], after[..., 0]) if new.max() < 110}
    assert len(couples) > 40


def test_without_any_object_nothing_is_pasted():
    samples = Dataset.in_memory(coloured_pairs()[5:], 3)
    drawing = Sampling(seed=0, size=16, batch=4, balance=0.5)
    [(images, masks)] = cut_batches(samples, drawing._replace(paste=1.0, background=0), 0, 0, 1, range(4))
    [(same, _)] = cut_batches(samples, drawing, 0, 0, 1, range(4))
    assert np.array_equal(images, same) and not masks.any()


def test_photometric_jitter_stays_within_its_strength():
    gain, offset = photometric_jitter(0, 0, 0, 5000, strength=0.1)
    middle = 0.5 * gain + offset  # what becomes of mid-grey: light and tint only
    assert gain.shape == offset.shape == (5000, 3)
    assert 0.5 * 0.9 * 0.96 < middle.min() < 0.46 and 0.54 < middle.max() < 0.5 * 1.1 * 1.04
    assert np.abs(gain.mean() - 1) < 0.01 and np.abs(offset.mean()) < 0.01
    assert np.array_equal(gain, photometric_jitter(0, 0, 0, 5000, strength=0.1)[0])
    assert not np.array_equal(gain, photometric_jitter(0, 0, 1, 5000, strength=0.1)[0])
    gain, offset = photometric_jitter(0, 0, 0, 20000, strength=0.9)
    light, contrast = gain + 2 * offset, gain / (gain + 2 * offset)
    assert 1.9 * 1.2 < light.max() <= 1.9 * 1.3 and 0.1 * 0.7 <= light.min() < 0.1 * 0.8  # the tint: a third of 0.9
    assert 1.3 / 0.7 - 0.05 < (light.max(axis=1) / light.min(axis=1)).max() <= 1.3 / 0.7 + 1e-9
    assert 0.1 - 1e-9 <= contrast.min() < 0.11 and 1.89 < contrast.max() <= 1.9 + 1e-9
    still = photometric_jitter(0, 0, 0, 4, strength=0)
    assert (still[0] == 1).all() and (still[1] == 0).all()


def test_noise_is_as_strong_and_as_coarse_as_it_says():
    fields = noise(0, 0, 0, range(400), 32, strength=0.2)
    assert fields.shape == (400, 32, 32, 3) and fields.dtype == np.float32
    deviations = fields.std(axis=(1, 2))
    fine = np.array([np.abs(np.diff(field, axis=0)).mean() / field.std() for field in fields])
    assert deviations[fine > 1].mean() == pytest.approx(0.1, abs=0.02) and deviations[fine > 1].max() < 0.21
    assert deviations[fine < 0.8].mean() == pytest.approx(0.1 * 2 / 3, abs=0.01)  # enlarged, and so smoothed
    grains = [((low < fine) & (fine <= high)).sum() for low, high in [(0, 0.2), (0.2, 0.4), (0.4, 0.8), (0.8, 2)]]
    assert min(grains) > 50  # grains of 8, 4, 2 and 1 pixels, about as many of each
    channels = np.array([np.corrcoef(field[:, :, 0].ravel(), field[:, :, 1].ravel())[0, 1] for field in fields])
    assert np.abs(channels[fine > 1]).mean() < 0.05 and np.abs(fields.mean()) < 0.005
    assert np.array_equal(fields[7:9], noise(0, 0, 0, [7, 8], 32, strength=0.2))  # whoever computes it
    assert not np.array_equal(fields[7], noise(0, 0, 1, [7], 32, strength=0.2)[0])
    assert not noise(0, 0, 0, range(4), 32, strength=0).any()


@pytest.mark.parametrize("zoom, most", [(1, 999), (1, 10**6), (0.5, 999), (0.3, 10), (2, 999), (1.7, 10**6)])
def test_logits_in_pieces_are_those_of_the_whole_at_its_own_size(zoom, most):
    image = random_image(301, 97)
    forward = lambda window: window.transpose(2, 0, 1).astype(np.float32)
    whole = at_zoom(zoom, forward, image)
    seen, found = np.zeros((301, 97), int), np.empty_like(whole)
    pieces = core_logits(forward, zoom_image(image, zoom), 8, 2)
    for rows, columns, logits in at_own_size(pieces, (301, 97), zoom, most):
        seen[rows, columns] += 1
        found[:, rows, columns] = logits
        assert logits[0].size <= max(most, 97)
    assert (seen == 1).all()
    np.testing.assert_allclose(found, whole, atol=1e-4 if zoom != 1 else 0)  # of 255
