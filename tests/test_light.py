"""Another light is found and undone; in the same light, whatever an image shows, nothing is changed."""

import functools

import numpy as np
import pytest
import tifffile
import torch
from conftest import fails_in_one_line, inside, together, write_pair
from PIL import Image
from scipy import ndimage, optimize
from sklearn.metrics import jaccard_score

import data
import train
from data import Dataset, usual_light
from model import FCN, UNet, load_network, normalize
from segmenter import Segmenter
from support import large_tiff, light
from support.arguments import train_arguments
from support.checkpoint import save_checkpoint
from support.files import BadInput
from support.images import read_image
from support.large_tiff import LargeTiff
from support.light import count_colours, count_values, find_light, fit_shares, likelihood, relight, search
from support.masks import IGNORE, read_mask
from support.sample import sample

QUICK = ["--patch", 16, "--batch", 4, "--steps", 2, "--epochs", 1, "--device", "cpu"]
CHANGES = {  # gain and offset of each channel
    "darker": (0.7, 0),
    "brighter": (1.2, 0),
    "shifted": (1, 20),
    "flatter": (0.6, 50),
    "warmer": (np.array([1.15, 1, 0.85]), 0),
}


def changed(image, gain, offset=0):
    return np.rint(image * gain + offset).clip(0, 255).astype(np.uint8)


def picture(size=(150, 260), classes=3, seed=0, only=None, deviation=9):
    """Noisy spots of so many colours, far from black and white, or of one of them `only`: (image, class indices)."""
    random = np.random.default_rng(seed)
    mask = np.argmax([ndimage.gaussian_filter(random.normal(size=size), 6) for _ in range(classes)], axis=0)
    mask = np.full_like(mask, only) if only is not None else mask
    colours = np.random.default_rng(classes).uniform(60, 170, (classes, 3))
    image = colours[mask] + random.normal(0, deviation, (*size, 3))
    return np.rint(image).clip(0, 255).astype(np.uint8), mask.astype(np.uint8)


def learned(*pairs, classes=3):
    return usual_light(Dataset.in_memory(list(pairs), classes))


def segmenter(usual, kind=FCN, classes=3, **arguments):
    """A Segmenter of random weights, every class of which occurs, that knows this light."""
    torch.manual_seed(0)
    network = kind(classes).eval()
    last = network.classify if isinstance(network, UNet) else network.layers.conv4
    with torch.no_grad():
        logits = network(normalize(picture()[0][None], [0.4] * 3, [0.1] * 3))
        last.weight.div_(logits.std()), last.bias.sub_(logits.mean(dim=(0, 2, 3))).div_(logits.std())
    names = [{"name": f"class{number}", "value": number} for number in range(classes)]
    metadata = {"classes": names, "ignore": [], "mean": [0.4] * 3, "std": [0.1] * 3, "settings": {}, "light": usual}
    return Segmenter(network, metadata, **arguments)


# ---------------------------------------------------------------------------------------------------
# What is counted and computed, against plain formulas


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (64, 64), (601, 977)])
def test_values_are_counted_in_evenly_spaced_squares(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    starts = [[int(place * max(0, side - 64) / 7) for place in range(8)] for side in size]
    parts = [image[y : y + 64, x : x + 64] for y in starts[0] for x in starts[1]]
    for channel, counts in enumerate(count_values(image)):
        every = np.concatenate([part[:, :, channel].ravel() for part in parts])
        assert counts.tolist() == [(every == value).sum() for value in range(256)]


def test_colours_are_counted_by_class_and_without_truth():
    image, mask = picture((20, 30))
    mask[:4, :9] = IGNORE
    counts = count_colours(image, mask, 3)
    assert counts.shape == (4, 3, 256) and counts.sum() == 3 * mask.size
    for place, index in enumerate([0, 1, 2, IGNORE]):
        for channel in range(3):
            expected = np.histogram(image[mask == index, channel], np.arange(257))[0]
            assert np.array_equal(counts[place, channel], expected)


def test_likelihoods_sum_to_one():
    density = np.random.default_rng(0).uniform(0, 1, (2, 256))
    density[:, :30] = density[:, 200:] = 0
    density /= density.sum(axis=1, keepdims=True)
    sums = likelihood(density, np.array([1, 0.9, 1.5]), np.array([0, 25, -40.0])).sum(axis=-1)  # (2, 3)
    assert sums[:, 0] == pytest.approx(np.ones(2)) and sums == pytest.approx(np.ones((2, 3)), abs=0.04)


def test_shares_are_those_of_expectation_maximization():
    random = np.random.default_rng(0)
    likely, seen = random.uniform(0.001, 0.01, (4, 3, 256)), random.dirichlet(np.ones(256), 3)
    shares = start = np.array([0.1, 0.2, 0.3, 0.4])
    for _ in range(15):
        new = np.zeros(4)
        for channel in range(3):
            for value in range(256):
                whose = shares * likely[:, channel, value]
                new += whose / whose.sum() * seen[channel, value] / 3
        shares = new
    found, nats = fit_shares(likely, seen, start)
    assert found == pytest.approx(shares) and found.sum() == pytest.approx(1)
    mean = lambda shares: np.mean(np.sum(np.log(np.einsum("n,ncv->cv", shares, likely)) * seen, axis=1))
    assert nats == pytest.approx(mean(shares)) and nats > mean(start)


def test_shares_of_colours_that_differ_are_the_likeliest():
    colours = count_colours(*picture(), 3).astype(float)[:3]
    likely = colours / colours.sum(axis=2, keepdims=True) + 1e-6
    seen = np.einsum("n,ncv->cv", [0.1, 0.2, 0.7], likely / likely.sum(axis=2, keepdims=True))
    minus = lambda free: -np.sum(np.log(np.einsum("n,ncv->cv", np.exp(free) / np.exp(free).sum(), likely)) * seen) / 3
    best = optimize.minimize(minus, np.zeros(3))
    found, nats = fit_shares(likely, seen, np.full(3, 1 / 3))
    assert found == pytest.approx([0.1, 0.2, 0.7], abs=0.02) and nats == pytest.approx(-best.fun, abs=1e-3)


def test_the_search_finds_the_likeliest_of_all():
    random = np.random.default_rng(0)
    density, seen = (ndimage.gaussian_filter(random.uniform(0, 1, 256) ** 8, 3) for _ in range(2))
    density, seen = density / density.sum(), seen / seen.sum()
    gains, shifts, gain, offset = np.array([0.8, 1, 1.3]), np.array([-20, -3, 0, 9]), 1.1, 5.0
    mean, nats = sum(value * seen[value] for value in range(256)), {}
    for factor in gains:
        for shift in shifts:
            target = gain * mean + offset + shift
            summand = target - factor * mean
            total = -0.1 * (np.log(factor) ** 2 + ((target - mean) / 64) ** 2)
            for value in range(256):
                place = round(value * factor + summand)
                there = density[place] * factor if 0 <= place < 256 else 0
                total += seen[value] * np.log(0.98 * there + 0.02 / 256)
            nats[factor, summand] = total
    assert search(density, seen, gains, offset, gain, shifts) == pytest.approx(max(nats, key=nats.get))


def test_an_image_is_relit_as_a_whole_and_by_parts():
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    found = light.Light(np.array([1.3, 0.8, 1]), np.array([-20, 9.4, 0]), 1.0)
    expected = changed(image, found.gain, found.offset)
    assert np.array_equal(relight(image, found), expected)

    class Parts:
        shape = image.shape
        __getitem__ = staticmethod(lambda part: image[part])

    parts = relight(Parts(), found)
    assert parts.shape == image.shape and np.array_equal(parts[3:50, 60:90], expected[3:50, 60:90])


# ---------------------------------------------------------------------------------------------------
# Another light is found, the same is left alone


@pytest.mark.parametrize(
    "classes, change",
    [(classes, change) for classes in (2, 3) for change in CHANGES]
    + [(19, "darker"), (19, "brighter"), (19, "flatter")],
)
def test_a_known_change_is_undone(classes, change):
    """The shares of the classes are others, too. A tint is not plain where 19 classes have all colours."""
    gain, offset = CHANGES[change]
    image, _ = picture(classes=classes, seed=1)
    segment = segmenter(learned(picture(classes=classes), classes=classes), classes=classes)
    assert segment.relit(image) is image
    back = segment.relit(changed(image, gain, offset))
    assert np.abs(back.mean(axis=(0, 1)) - image.mean(axis=(0, 1))).max() < 4
    assert back.std(axis=(0, 1)) == pytest.approx(image.std(axis=(0, 1)), rel=0.08)


def test_a_trained_network_predicts_as_well_in_another_light(tmp_path):
    image, mask = sample()
    paths = [tmp_path / "right.png", tmp_path / "right_mask.png"]
    for path, array in zip(paths, (image, mask)):
        Image.fromarray(array[:, 256:]).save(path)
    words = [*paths, "--out", tmp_path / "run", "--epochs", 1, "--steps", 80, "--device", "cpu"]
    train.train(train_arguments([str(word) for word in words]))
    network, metadata = load_network(tmp_path / "run" / "model.pt")
    assert 0.1 < metadata["light"]["evidence"] < 0.3
    matching, keeping = Segmenter(network, metadata), Segmenter(network, metadata | {"light": None})
    left, truth = image[:, :256], (mask[:, :256] > 0).ravel()
    ious = lambda image: [jaccard_score(truth, one(image).ravel()) for one in (matching, keeping)]
    as_it_is, same = ious(left)
    assert as_it_is == same > 0.9
    found = np.array([ious(changed(left, *change)) for change in CHANGES.values()])  # (changes, 2)
    assert found[:, 0].min() > as_it_is - 0.05 and found[:, 1].min() < as_it_is - 0.2, found


@pytest.mark.parametrize("only", [0, 1, 2])
def test_a_class_alone_in_the_same_light_is_taken_as_it_is(only):
    image, _ = picture(only=only, seed=1)
    segment = segmenter(learned(picture()))
    assert segment.relit(image) is image


def test_other_shares_in_the_same_light_are_taken_as_they_are():
    image, mask = sample()
    usual = learned((image[:, :256], np.uint8(mask[:, :256] > 0)), classes=2)
    segment = segmenter(usual, classes=2)
    for part in image[:, 256:], image[:150, 256:400], image[300:, 380:]:
        assert segment.relit(part) is part


def test_what_is_not_known_counts_as_a_colour_of_its_own():
    image, mask = picture()
    unknown = np.where(mask == 2, IGNORE, mask)
    segment = segmenter(learned((image, unknown)))
    assert np.array(segment.usual_light["colours"])[3, 0].sum() == (unknown == IGNORE).sum() > 0
    other, _ = picture(seed=1)
    assert segment.relit(other) is other and segment.relit(changed(other, 0.7)) is not None
    assert segment.light(changed(other, 0.7)).gain == pytest.approx(np.full(3, 1 / 0.7), rel=0.08)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (2, 90), (40, 50), (63, 65)])
@pytest.mark.parametrize("kind", ["colours", "grey", "one class", "flat", "black", "white"])
def test_small_and_plain_images_have_a_light(size, kind, capsys):
    image, mask = picture(size, only=1 if kind == "one class" else None)
    flat = {"flat": 128, "black": 0, "white": 255}
    if kind == "grey":
        image = np.repeat(image[:, :, :1], 3, axis=2)
    elif kind in flat:
        image = np.full_like(image, flat[kind])
    usual = learned((image, mask))
    capsys.readouterr()
    assert np.isfinite(usual["evidence"]) and np.array(usual["colours"]).sum() == image.size
    segment = segmenter(usual)
    if image.size > 3:  # a single pixel tells nothing of how its colour spreads
        assert segment.relit(image) is image
    other = picture((33, 9), seed=2)[0]
    found = find_light(count_values(other), np.array(usual["colours"]))
    assert np.isfinite([*found.gain, *found.offset, found.evidence]).all()
    assert segment(other).shape == (33, 9)


def test_of_many_images_the_largest_that_is_counted_is_compared(monkeypatch):
    monkeypatch.setattr(data, "STATISTICS", 2)
    pairs = [picture((40, 50), seed=0), picture((90, 200), seed=1, only=1), picture((50, 60), seed=2)]
    seen, find = [], light.find_light
    monkeypatch.setattr(data, "find_light", lambda values, colours: seen.append(colours) or find(values, colours))
    usual = learned(*pairs)
    assert np.array(usual["colours"]).sum() == pairs[0][0].size + pairs[2][0].size
    assert len(seen) == 9 and all(colours.min() >= 0 for colours in seen)


# ---------------------------------------------------------------------------------------------------
# All that predict do it, and a file of earlier versions does not


WAYS = {
    "plain": {},
    "views": {"tta": True},
    "halo": {"halo": 4},
    "adapted": {"adapt": 0.7},
    "opened": {"opening": 3},
    "zoomed": {"zoom": 0.5},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_predict_sees_the_image_relit(way):
    arguments = dict(WAYS[way])
    zoom, kind = arguments.pop("zoom", 1), functools.partial(UNet, width=4, depth=2)
    pairs = [segmenter(usual, kind, **arguments) for usual in (learned(picture()), None)]
    for segment in pairs:
        segment.zoom = zoom
    image = changed(picture((130, 300), seed=1)[0], 0.7)
    matching, keeping = pairs
    back = matching.relit(image)
    assert back is not image and np.array_equal(matching(image), keeping(back))
    assert not np.array_equal(keeping(image), keeping(back))
    assert np.array_equal(matching.logits(image), keeping.logits(back))
    for one, other in zip(matching.pieces(image), keeping.pieces(back)):
        assert np.array_equal(one[2], other[2])
    assert matching.with_scores(image, ["energy"])[1] == keeping.with_scores(back, ["energy"])[1]
    if zoom == 1 and not matching.adapt:
        rows = np.concatenate([rows for _, rows in matching.by_rows(image)])
        assert np.array_equal(rows, keeping(back))


def test_a_network_without_a_light_predicts_as_ever():
    segment, image = segmenter(None), changed(picture()[0], 0.5)
    del segment.metadata["light"]
    former = Segmenter(segment.network, segment.metadata)
    with torch.inference_mode():
        expected = former.network(normalize(image[None], [0.4] * 3, [0.1] * 3))[0].argmax(0).numpy()
    assert former.light(image) is None and np.array_equal(former(image), expected)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two pictures in another light and one in that of a network, model.pt, beside them."""
    monkeypatch.setattr(large_tiff, "LARGE", 300 * 300)
    monkeypatch.setattr(large_tiff, "BLOCK", 30_000)
    monkeypatch.setattr(large_tiff, "MOST_HELD", 200_000)
    segment = segmenter(learned(picture()))
    save_checkpoint(tmp_path / "model.pt", segment.network, **segment.metadata)
    (tmp_path / "in").mkdir()
    for name, (gain, seed) in {"a": (0.7, 1), "b": (0.7, 2), "c": (1, 3)}.items():
        image = changed(picture((310, 330), seed=seed)[0], gain)
        Image.fromarray(image).save(tmp_path / "in" / f"{name}.png")
    tifffile.imwrite(tmp_path / "a.tif", read_image(tmp_path / "in" / "a.png"), photometric="rgb", tile=(64, 64))
    return tmp_path


def test_by_parts_it_is_the_same_and_noted_once(photos):
    whole = read_image(photos / "in" / "a.png")
    segment = Segmenter.load(photos / "model.pt")
    parts = LargeTiff(photos / "a.tif")
    assert np.array_equal(count_values(parts), count_values(whole)) and segment.light(whole)
    assert np.array_equal(np.concatenate([rows for _, rows in segment.by_rows(parts)]), segment(whole))
    for words in ["in/a.png"], ["a.tif", "--out", "out.tif"]:
        done = inside("predict.py", *words, "--checkpoint", "model.pt", cwd=photos)
        assert done.returncode == 0 and done.stdout.count(f"{words[0]}: {light.NOTED}") == 1, done.stderr
        assert done.stdout.count("another light") == 1
    assert np.array_equal(tifffile.imread(photos / "out.tif"), segment(whole))


def test_a_grey_picture_is_told_where_colours_were_learned_from(photos):
    image = read_image(photos / "in" / "c.png")
    grey = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    Image.fromarray(grey).save(photos / "grey.png")
    told = lambda name: inside("predict.py", name, "--checkpoint", "model.pt", cwd=photos).stdout
    assert f"grey.png: {light.GREY}" in told("grey.png") and light.GREY not in told("in/a.png")
    learned_from_grey = segmenter(learned((grey, picture((310, 330), seed=3)[1])))
    save_checkpoint(photos / "model.pt", learned_from_grey.network, **learned_from_grey.metadata)
    assert light.GREY not in told("grey.png")


def test_it_is_found_once_an_image(monkeypatch):
    searched, segment = [], segmenter({})
    monkeypatch.setattr("segmenter.other_light", lambda counts, usual: searched.append(counts[0].argmax()))
    for shade in 3, 9:
        image = np.full((20, 30, 3), shade, np.uint8)
        segment.note_light("a.png", image)
        segment(image)
    image[:] = 5  # as a camera's loop fills its array anew
    segment(image)
    segment(np.full((20, 30, 3), 9, np.uint8))  # seen before, as a training's images to validate on
    assert searched == [3, 9, 5]


def test_an_array_that_is_filled_anew_is_segmented_as_a_new_one():
    image, mask = picture((310, 330))
    segment = segmenter(learned((image, mask)))
    buffer = image.copy()
    assert segment.light(buffer) is None
    buffer[:] = image // 2
    assert segment.light(buffer) and np.array_equal(segment(buffer), segment(image // 2))


def test_infer_notes_it_once_for_all(photos):
    image = photos / "in" / "a.png"
    tifffile.imwrite(photos / "in" / "d.tif", read_image(image), photometric="rgb", tile=(64, 64))
    words = ["in", "out", "--checkpoint", "model.pt"]
    done = inside("infer.py", *words, cwd=photos)
    assert done.returncode == 0 and done.stdout.count("another light") == 1, done.stderr
    assert f" and 2 more: {light.NOTED}" in done.stdout
    assert np.array_equal(read_mask(photos / "out" / "a.png"), tifffile.imread(photos / "out" / "d.tif"))
    (photos / "only.txt").write_text("c\n")
    done = inside("infer.py", "in", "same", *words[2:], "--only", "only.txt", cwd=photos)
    assert done.returncode == 0 and "another light" not in done.stdout


@pytest.mark.slow
def test_an_exported_network_knows_its_light(photos):
    done = inside("-m", "tools.export", "model.pt", "--out", "model.onnx", cwd=photos)
    assert done.returncode == 0, done.stderr
    trained, exported = Segmenter.load(photos / "model.pt"), Segmenter.load(photos / "model.onnx")
    assert exported.usual_light == trained.usual_light is not None
    image = read_image(photos / "in" / "a.png")
    assert (exported(image) == trained(image)).mean() > 0.999 and exported.light(image)


# ---------------------------------------------------------------------------------------------------
# Strangers' files


def with_count(usual, count):
    return {
        **usual,
        "colours": [[[count, *usual["colours"][0][0][1:]], *usual["colours"][0][1:]], *usual["colours"][1:]],
    }


def nested(depth):
    """A list that takes a few bytes in a file, and 1000 ** depth numbers in an array."""
    values = 0
    for _ in range(depth):
        values = [values] * 1000
    return values


DAMAGE = {
    "no table": lambda usual: [1, 2],
    "no colours": lambda usual: {"evidence": 0.2},
    "no evidence": lambda usual: {"colours": usual["colours"]},
    "evidence of NaN": lambda usual: usual | {"evidence": float("nan")},
    "evidence below zero": lambda usual: usual | {"evidence": -0.1},
    "another number of classes": lambda usual: usual | {"colours": usual["colours"][1:]},
    "two channels": lambda usual: usual | {"colours": [rows[:2] for rows in usual["colours"]]},
    "255 values": lambda usual: usual | {"colours": [[row[1:] for row in rows] for rows in usual["colours"]]},
    "ragged": lambda usual: usual | {"colours": [*usual["colours"][:3], [[1], [2, 3], []]]},
    "a number": lambda usual: usual | {"colours": 7},
    "a text": lambda usual: usual | {"colours": ["abc"] * 4},
    "a negative count": lambda usual: with_count(usual, -1),
    "a huge count": lambda usual: with_count(usual, 2**70),
    "a broken count": lambda usual: with_count(usual, 0.5),
    "a count of True": lambda usual: with_count(usual, True),
    "a tensor": lambda usual: usual | {"colours": torch.tensor(usual["colours"])},
    "channels of other sums": lambda usual: with_count(usual, 10**6),
    "nothing counted": lambda usual: usual | {"colours": np.zeros((4, 3, 256), int).tolist()},
    "a list of one list": lambda usual: usual | {"colours": nested(4)},
    "a count of lists": lambda usual: with_count(usual, nested(3)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_light_is_refused_in_one_line(damage, tmp_path):
    segment = segmenter(learned(picture((60, 70))))
    metadata = {**segment.metadata, "light": DAMAGE[damage](segment.metadata["light"])}
    save_checkpoint(tmp_path / "model.pt", segment.network, **metadata)
    with pytest.raises(BadInput, match="no checkpoint of ours .what it says of the light that it learned from is dam"):
        load_network(tmp_path / "model.pt")


def test_predict_refuses_it_too(photos):
    _, metadata = load_network(photos / "model.pt")
    metadata["light"]["colours"][0][0][0] = -5
    save_checkpoint(photos / "bad.pt", FCN(3), **{name: metadata[name] for name in segmenter(None).metadata})
    fails_in_one_line(inside("predict.py", "in/a.png", "--checkpoint", "bad.pt", cwd=photos), "bad.pt", "light")


# ---------------------------------------------------------------------------------------------------
# The knob


def light_of(path):
    return torch.load(path, weights_only=True)["light"]


def test_the_light_is_matched_or_kept_as_asked(pair, folder, no_curves):
    """A pair shows one light, a folder several, unless the knob says otherwise; settings.args and --resume keep it."""
    place, image, mask = pair
    for what, words, matches in [
        ("pair", [image, mask], True),
        ("kept", [image, mask, "--light", "keep"], False),
        ("folder", ["--data", folder], False),
        ("matched", ["--data", folder, "--light", "match"], True),
    ]:
        done = inside("train.py", *words, *QUICK, "--out", what, cwd=place)
        assert done.returncode == 0 and done.stdout.count("light: a new image") == matches, done.stderr
        assert (light_of(place / what / "model.pt") is not None) == matches
        again = inside("train.py", f"@{what}/settings.args", *QUICK, "--out", f"{what} again", cwd=place)
        assert again.returncode == 0, again.stderr
        assert light_of(place / f"{what} again" / "model.pt") == light_of(place / what / "model.pt")
        resumed = inside("train.py", "--resume", "--epochs", 2, "--out", what, cwd=place)
        assert resumed.returncode == 0, resumed.stderr
        assert light_of(place / what / "last.pt") == light_of(place / f"{what} again" / "last.pt")
    image = changed(read_image(image), 0.6)
    assert Segmenter.load(place / "pair" / "model.pt").relit(image) is not image
    assert Segmenter.load(place / "kept" / "model.pt").relit(image) is image


def test_the_light_kept_is_that_of_the_part_learned_from(pair):
    _, image, mask = pair
    run = train.prepare(train_arguments([str(word) for word in (image, mask, *QUICK, "--out", image.parent / "run")]))
    assert run.metadata["light"] == usual_light(run.data.training)
    counts = sum(count_colours(pixels, indices, 2) for pixels, indices, _ in run.data.training.items)
    assert np.array_equal(run.metadata["light"]["colours"], counts)


def test_a_training_of_an_earlier_version_goes_on_as_it_began(pair):
    """Its epochs were chosen by the strip alone, and no image was relit."""
    folder, image, mask = pair
    assert inside("train.py", image, mask, *QUICK, "--loss", "ce", "--light", "keep", cwd=folder).returncode == 0
    network, last = load_network(folder / "last.pt")
    del last["light"], last["settings"]["light"]
    del last["resume"]["best"]["val_copies_iou"]  # the row of the history
    assert "val_copies_iou" not in last["resume"]["history"][0]
    last.pop("format"), last.pop("network"), last.pop("arguments"), last.pop("weights")
    save_checkpoint(folder / "last.pt", network, **last)
    for epochs in 2, 3:
        done = inside("train.py", "--resume", "--epochs", epochs, cwd=folder)
        assert done.returncode == 0 and "light" not in done.stdout, done.stderr
    _, last = load_network(folder / "last.pt")
    assert last["light"] is None and [row.get("val_copies_iou") for row in last["resume"]["history"]] == [None] * 3
    assert last["resume"]["best"] == last["resume"]["history"][2]  # of three epochs, only that is of the last quarter


@pytest.mark.slow
def test_two_processes_have_the_light_of_one(tmp_path):
    write_pair(tmp_path / "data", "a", 0, 120, 300)
    words = [tmp_path / "data" / part / "a.png" for part in ("images", "masks")] + QUICK
    assert inside("train.py", *words, "--out", "one", cwd=tmp_path).returncode == 0
    done = together("train.py", *words, "--out", "two", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("light: a new image") == 1, done.stderr
    assert light_of(tmp_path / "one" / "model.pt") == light_of(tmp_path / "two" / "model.pt") is not None
    rows = [torch.load(tmp_path / out / "last.pt", weights_only=True)["resume"]["best"] for out in ("one", "two")]
    assert rows[0]["val_copies_iou"] == pytest.approx(rows[1]["val_copies_iou"], abs=0.02)
