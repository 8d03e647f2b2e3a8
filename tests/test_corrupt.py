"""Corrupted photographs: each kind does what its name and its table say, and more of it at a higher severity."""

import io
import json

import numpy as np
import pytest
from conftest import ROOT, command
from PIL import Image
from scipy import ndimage

from challenges.cityscapes import corrupt
from support.files import BadInput
from support.script import run_script

RANDOM = ["fog", "rain", "snow", "night", "gaussian_noise", "shot_noise", "motion_blur"]


def street(height=90, width=120, seed=0):
    """A bright sky, a dark house with lit windows, a grey road with a white line, and a fine texture on all of it."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), (190, 215, 240), float)
    image[height // 4 :] = 70, 60, 55
    rows, columns = np.arange(height // 4, height // 2), np.arange(width)
    image[np.ix_(rows[rows % 9 < 4], columns[columns % 13 < 6])] = 150, 130, 100
    image[height // 2 :] = 85, 85, 90
    image[height // 2 :, width // 2 : width // 2 + 3] = 230
    return (image + random.normal(0, 5, image.shape)).clip(0, 255).astype(np.uint8)


def made(*words):
    corrupt.corrupt_folder(corrupt.parse_arguments([str(word) for word in words]))


def pixels_below(folder):
    return {
        path.relative_to(folder).as_posix(): np.asarray(Image.open(path)).tobytes() for path in folder.rglob("*.png")
    }


def float_image(image):
    return (image / 255).astype(np.float32)


@pytest.fixture
def streets(tmp_path):
    """Five images in a folder and its sub-folder, of several sizes and formats."""
    for number, name in enumerate(["a.png", "b.jpg", "c.d.png", "sub/a.png", "sub/e.bmp"]):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(street(40 + number, 50, number)).save(path)
    return tmp_path / "images"


# ---------------------------------------------------------------------------------------------------
# The kinds


def test_the_kinds_in_their_order():
    assert list(corrupt.KINDS) == (
        "fog rain snow night gaussian_noise shot_noise defocus_blur motion_blur contrast jpeg".split()
    )


@pytest.mark.parametrize("kind", corrupt.KINDS)
def test_a_higher_severity_does_more_damage(kind):
    image = street()
    before = image.copy()
    results = [corrupt.corrupt(image, kind, severity, "0 name") for severity in corrupt.SEVERITIES]
    np.testing.assert_array_equal(image, before)
    assert all(result.shape == image.shape and result.dtype == np.uint8 for result in results)
    damage = [np.abs(result.astype(float) - image).mean() for result in results]
    assert damage[0] > 1 and (np.diff(damage) > 0.02 * np.array(damage[:-1])).all(), damage


@pytest.mark.parametrize("kind", corrupt.KINDS)
def test_the_pixels_depend_on_the_seed_alone(kind):
    image = street()
    first, again, other = (corrupt.corrupt(image, kind, 3, seed) for seed in ("0 a", "0 a", "0 b"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() == (kind in RANDOM)


@pytest.mark.parametrize("kind", corrupt.KINDS)
@pytest.mark.parametrize("size", [(8, 8), (37, 53), (1, 1), (3, 200), (200, 3)])
def test_any_size(kind, size):
    image = street(*size)
    for severity in 1, 5:
        result = corrupt.corrupt(image, kind, severity)
        assert result.shape == (*size, 3) and result.dtype == np.uint8
        if size == (37, 53):
            assert (result != image).any()


@pytest.mark.parametrize("kind", corrupt.KINDS)
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images(kind, value):
    result = corrupt.corrupt(np.full((40, 40, 3), value, np.uint8), kind, 5)
    if kind in ("shot_noise", "defocus_blur", "motion_blur", "contrast", "jpeg") and not (value and "noise" in kind):
        assert (result == value).all()


def test_no_such_corruption():
    for kind, severity in ("sand", 1), ("fog", 0), ("fog", 6):
        with pytest.raises(ValueError, match=f"{kind} {severity} is no corruption; expected one of fog, "):
            corrupt.corrupt(street(), kind, severity)


def test_fog_hides_what_is_far():
    checks = np.indices((120, 160)).sum(axis=0) // 4 % 2 * 200 + 20
    image = np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8)
    before = image.std()
    for severity in corrupt.SEVERITIES:
        result = corrupt.corrupt(image, "fog", severity)
        left = [part.std() / before for part in (result[:60], result[-30:])]
        assert left[0] < 0.8 * left[1] < 0.8 and result.std() < before
        assert abs(result[:20].mean() - 255 * corrupt.HAZE.mean()) < abs(image[:20].mean() - 255 * corrupt.HAZE.mean())
    distances = corrupt.distance(120).ravel()
    assert (np.diff(distances) < 0).all() and 0.7 < distances[-1] < 1 and distances[0] < corrupt.FARTHEST


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (100, 250)])
def test_plasma_is_a_fractal(size):
    """Neighbours are alike, more so along the rows; halves of it differ as much as the whole does."""
    noise = corrupt.plasma(*size, np.random.default_rng(0))
    assert noise.shape == size and noise.dtype == np.float32
    assert abs(noise.mean()) < 0.01 and noise.std() == pytest.approx(1, abs=0.01)
    down, right = (np.diff(noise, axis=axis).std() for axis in (0, 1))
    assert right < down < 0.5
    spectrum = np.abs(np.fft.rfft2(noise)).mean(axis=0)
    assert spectrum[2] > 3 * spectrum[8] > 9 * spectrum[24]


def test_rain_falls_and_snow_covers_and_more_of_them_are_the_same_and_more():
    image = np.full((120, 160, 3), 0.2, np.float32)
    upright = [(1.0, 0.5, corrupt.stroke(20, 1, 90))]
    few, many = (corrupt.particles(image, upright, count, np.random.default_rng(0)) for count in (40, 400))
    assert few.shape == (120, 160, 1) and few.min() >= 0 and few.max() <= 1
    assert (many > few - 1e-4).all() and many.mean() > 5 * few.mean()
    assert np.abs(np.diff(few[:, :, 0], axis=0)).mean() < 0.3 * np.abs(np.diff(few[:, :, 0], axis=1)).mean()

    for kind in "rain", "snow":
        mild, heavy = (corrupt.corrupt((image * 255).astype(np.uint8), kind, severity)[60:] for severity in (2, 5))
        bright = mild[:, :, 0] > np.percentile(mild[:, :, 0], 98)
        assert heavy[bright].mean() > heavy[~bright].mean() + 10
    assert max(count for count, *_ in corrupt.RAIN + corrupt.SNOW) <= corrupt.MOST
    assert sum(share for share, *_ in corrupt.DROPS) == pytest.approx(1)
    assert sum(share for share, *_ in corrupt.FLAKES) == pytest.approx(1)


def test_at_night_the_sky_is_dark_and_lamps_shine():
    image = np.full((360, 200, 3), 60, np.uint8)
    image[:150] = 250, 252, 255  # the sky
    image[250:256, 100:106] = 255, 240, 220  # a lamp, 6 pixels wide
    for severity in corrupt.SEVERITIES:
        result = corrupt.corrupt(image, "night", severity).astype(float)
        assert result[251:255, 101:105].mean() > 235
        assert result[:140].mean() < 0.75 * image[:140].mean() and result[150:240].mean() < 0.75 * 60
        assert result[140:149].mean() == pytest.approx(result[:140].mean(), rel=0.05)  # no rim where it ends
        red, _, blue = result[:140].mean(axis=(0, 1))
        assert blue > 1.2 * red
        assert result[257:262, 100:106].mean() > 1.5 * result[257:262, :40].mean()  # its glow
    assert result[-20:].mean() > 1.5 * result[190:210].mean()  # the headlights


def test_gaussian_noise_has_the_standard_deviation_of_its_table():
    grey = np.full((200, 200, 3), 0.5, np.float32)
    noises = [corrupt.gaussian_noise(grey, severity, np.random.default_rng(0)) - 0.5 for severity in corrupt.SEVERITIES]
    for noise, wanted in zip(noises, corrupt.GAUSSIAN_NOISE):
        assert noise.std() == pytest.approx(wanted, rel=0.02) and abs(noise.mean()) < 0.01 * wanted + 0.001
    np.testing.assert_allclose(noises[4] * 0.08 / 0.38, noises[0], atol=1e-5)  # the same grain
    written = corrupt.corrupt(np.full((200, 200, 3), 128, np.uint8), "gaussian_noise", 1)
    assert written.std() / 255 == pytest.approx(0.08, rel=0.02)
    assert np.corrcoef(written[:, :, 0].ravel(), written[:, :, 1].ravel())[0, 1] == pytest.approx(0, abs=0.02)


def test_shot_noise_has_a_variance_in_proportion_to_the_brightness():
    for severity, photons in zip(corrupt.SEVERITIES, corrupt.SHOT_NOISE):
        for brightness in 0.1, 0.3, 0.9:
            grey = np.full((150, 150, 3), brightness, np.float32)
            noisy = corrupt.shot_noise(grey, severity, np.random.default_rng(1))
            assert noisy.mean() == pytest.approx(brightness, rel=0.02)
            assert noisy.var() == pytest.approx(brightness / photons, rel=0.04)


@pytest.mark.parametrize("kind", ["defocus_blur", "motion_blur"])
def test_blur_keeps_the_brightness_and_grows_with_the_image(kind):
    image = street(180, 240)
    for severity in corrupt.SEVERITIES:
        result = corrupt.corrupt(image, kind, severity)
        assert result.mean() == pytest.approx(image.mean(), rel=0.01)
        assert np.abs(np.diff(result.astype(float), axis=1)).mean() < 0.7 * np.abs(np.diff(image, axis=1)).mean()
    extents = []
    for height in 180, 360, 720:
        point = np.zeros((height, height, 3), np.float32)
        point[height // 2, height // 2] = 1
        blurred = corrupt.KINDS[kind](point, 5, np.random.default_rng(2))[:, :, 0]
        assert blurred.sum() == pytest.approx(1, abs=1e-3)
        y, x = np.nonzero(blurred > 0.3 * blurred.max())
        extents.append(np.hypot(np.ptp(y), np.ptp(x)) if kind == "motion_blur" else np.ptp(y))
    wanted = 32 if kind == "motion_blur" else 16
    np.testing.assert_allclose(extents, [wanted / 2, wanted, wanted * 2], atol=2)


def test_strokes():
    disc = corrupt.stroke(0, 20)
    assert disc.sum() == pytest.approx(np.pi * 100, rel=0.01) and disc.shape == (21, 21)
    np.testing.assert_allclose(disc, disc.T, atol=1e-6)
    line = corrupt.stroke(10, 1, 90)
    assert line.sum() == pytest.approx(11, abs=0.3) and (line[:, len(line) // 2] > 0.49).sum() == 11
    rising = corrupt.stroke(30, 1, 45)  # counter-clockwise from the horizontal: from lower left to upper right
    assert np.trace(np.fliplr(rising)) > 5 * np.trace(rising)
    assert corrupt.stroke(0, 1).sum() == pytest.approx(1)


@pytest.mark.parametrize("size", [(40, 61), (5, 7), (1, 1)])
def test_the_fast_convolution_is_the_slow_one(size):
    random = np.random.default_rng(0)
    image, kernel = random.random((*size, 3), np.float32), random.random((9, 9), np.float32)
    expected = np.stack([ndimage.convolve(image[:, :, channel], kernel, mode="reflect") for channel in range(3)], 2)
    np.testing.assert_allclose(corrupt.convolve(image, kernel), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(corrupt.convolve(image[:, :, 1], kernel), expected[:, :, 1], rtol=1e-4, atol=1e-4)


def test_contrast_is_that_of_its_table():
    image = street()
    for severity, left in zip(corrupt.SEVERITIES, corrupt.CONTRAST):
        result = corrupt.corrupt(image, "contrast", severity)
        np.testing.assert_allclose(result.std(axis=(0, 1)), left * image.std(axis=(0, 1)), rtol=0.02)
        np.testing.assert_allclose(result.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=0.5)


def test_jpeg_is_pillows():
    image = street(50, 67)
    for severity, quality in zip(corrupt.SEVERITIES, corrupt.JPEG):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        np.testing.assert_array_equal(corrupt.corrupt(image, "jpeg", severity), np.asarray(Image.open(file)))


# ---------------------------------------------------------------------------------------------------
# Files


def test_a_folder_whatever_the_threads_and_the_order(streets, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("support.machine.cores", lambda: 1)
    made(streets, tmp_path / "one", "--kind", "rain", "--severity", 4)
    assert "5 images, rain of severity 4" in capsys.readouterr().out
    monkeypatch.setattr("support.machine.cores", lambda: 3)
    made(streets, tmp_path / "three", "--kind", "rain", "--severity", 4)
    ours = pixels_below(tmp_path / "one")
    assert sorted(ours) == ["a.png", "b.png", "c.d.png", "sub/a.png", "sub/e.png"]
    assert ours == pixels_below(tmp_path / "three")
    expected = corrupt.corrupt(np.asarray(Image.open(streets / "sub" / "a.png")), "rain", 4, "0 sub/a")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one" / "sub" / "a.png")), expected)

    (streets / "b.jpg").unlink()  # what else there is changes nothing
    made(streets, tmp_path / "fewer", "--kind", "rain", "--severity", 4)
    assert pixels_below(tmp_path / "fewer").items() < ours.items()
    made(streets, tmp_path / "seed", "--kind", "rain", "--severity", 4, "--seed", 1)
    assert not pixels_below(tmp_path / "seed").items() & ours.items()


def test_the_same_image_under_another_name_has_other_noise(tmp_path):
    for name in "a", "b":
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(street()).save(tmp_path / "images" / f"{name}.png")
    made(tmp_path / "images", tmp_path / "out", "--kind", "fog", "--severity", 1)
    written = pixels_below(tmp_path / "out")
    assert written["a.png"] != written["b.png"]


def test_going_on_and_not_mixing(streets, tmp_path):
    out = tmp_path / "out"
    made(streets, out, "--kind", "contrast", "--severity", 2)
    (out / "a.png").unlink()
    (out / "b.png").write_text("kept, as it is there")
    made(streets, out, "--kind", "contrast", "--severity", 2)
    assert (out / "b.png").read_text() == "kept, as it is there" and Image.open(out / "a.png").size == (50, 40)
    for change, told in [
        (["--kind", "fog", "--severity", 2], "another kind, contrast, not fog"),
        (["--kind", "contrast", "--severity", 3], "another severity, 2, not 3"),
        (["--kind", "contrast", "--severity", 2, "--seed", 5], "another seed"),
    ]:
        with pytest.raises(BadInput, match=told):
            made(streets, out, *change)
    Image.fromarray(street(20, 20)).save(streets / "a.png")
    with pytest.raises(BadInput, match="another set of images"):
        made(streets, out, "--kind", "contrast", "--severity", 2)
    assert json.loads((out / "made_of.json").read_text())["severity"] == 2


def test_broken_images_are_named(streets, tmp_path, capsys):
    (streets / "c.d.png").write_bytes((streets / "c.d.png").read_bytes()[:500])
    made(streets, tmp_path / "out", "--kind", "jpeg", "--severity", 5)
    told = capsys.readouterr().out
    assert "4 images, jpeg" in told and "left out: 1 images that cannot be read: " in told and "c.d.png" in told
    assert sorted(pixels_below(tmp_path / "out")) == ["a.png", "b.png", "sub/a.png", "sub/e.png"]
    for path in streets.rglob("*.*"):
        path.write_text("no image")
    with pytest.raises(BadInput, match="none of the 5 images in .* can be read: .*a.png is no readable image"):
        made(streets, tmp_path / "none", "--kind", "jpeg", "--severity", 5)


def run(*words):
    return command("-m", "challenges.cityscapes.corrupt", *words, cwd=ROOT)


def test_the_command(streets, tmp_path):
    (streets / "broken.png").write_text("no image")
    process = run(streets, tmp_path / "out", "--kind", "snow", "--severity", 1)
    assert process.returncode == 0 and "left out: 1 images" in process.stdout
    assert len(pixels_below(tmp_path / "out")) == 5


@pytest.mark.parametrize(
    "words, told",
    [
        (["IMAGES", "OUT", "--kind", "sand", "--severity", "1"], ["invalid choice", "fog"]),
        (["IMAGES"], ["or IMAGE --sheet FILE"]),
        (["IMAGES", "OUT", "--sheet", "x.png"], ["expected no OUT_DIR"]),
    ],
)
def test_arguments_that_do_not_fit(words, told, capsys):
    with pytest.raises(SystemExit) as stopped:
        corrupt.parse_arguments(words)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and len(lines) == 1
    assert lines[0].startswith("corrupt.py: ") and all(word in lines[0] for word in told)


def test_mistakes_are_told_in_one_line(streets, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "own.txt").write_text("mine")
    Image.fromarray(street()).save(tmp_path / "own.png")
    fog = ["--kind", "fog", "--severity", "3"]
    for words, told in [
        ([tmp_path / "empty", tmp_path / "out", *fog], "holds no image"),
        ([streets, streets / "out", *fog], "is inside"),
        ([streets, tmp_path / "full", *fog], "holds other things"),
        ([streets / "a.png", "--sheet", tmp_path / "own.png"], "was not written by this program"),
        ([streets / "a.png", "--sheet", tmp_path / "sheet.gif"], "expected .png or .jpg or .jpeg"),
        ([streets, "--sheet", tmp_path / "sheet.png"], "; expected an? "),
    ]:
        with pytest.raises(SystemExit, match=told) as stopped:
            run_script(corrupt.main, corrupt.parse_arguments([str(word) for word in words]), "corrupt.py")
        assert str(stopped.value).startswith("corrupt.py: ") and "\n" not in str(stopped.value)
    assert not (tmp_path / "out").exists() and not (tmp_path / "sheet.png").exists()


def test_the_sheet_shows_every_kind_at_every_severity(tmp_path):
    Image.fromarray(np.full((90, 120, 3), (200, 40, 60), np.uint8)).save(tmp_path / "red.png")
    corrupt.main(corrupt.parse_arguments([str(tmp_path / "red.png"), "--sheet", str(tmp_path / "sheet.png")]))
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert sheet.shape[1] == 900 and 1000 < sheet.shape[0] < 1200
    panels, count = ndimage.label((sheet < 230).any(axis=2))
    boxes = [box for box in ndimage.find_objects(panels) if min(axis.stop - axis.start for axis in box) > 80]
    assert len(boxes) >= 6 * 7  # the noisy ones, and those full of snow, may fall apart
    clean = np.abs(sheet - (200, 40, 60)).max(axis=2) <= 2
    assert sum(clean[box].all() for box in boxes) >= len(corrupt.KINDS)
    tops = sorted({box[0].start for box in boxes})
    assert len(tops) <= len(corrupt.KINDS) and tops[-1] - tops[0] > 900
