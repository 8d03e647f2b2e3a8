"""--probabilities of predict.py and infer.py, against the softmax of one pass over the whole image."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from conftest import fails_in_one_line, inside
from PIL import Image

from model import FCN, UNet, load_network, normalize
from segmenter import Segmenter
from support import probabilities
from support.checkpoint import save_checkpoint
from support.images import read_image
from support.masks import read_mask

ROUNDED = 0.5 / 255 + 1e-4  # how far a probability may be from what is written for it


def save(path, model, names, zoom=1.0):
    """Make a network decisive, so that probabilities reach from 0 to 1, and save it with classes of these names."""
    with torch.no_grad():
        last = model.classify if isinstance(model, UNet) else model.layers.conv4
        last.weight.mul_(30 if isinstance(model, FCN) else 6)
        last.bias.zero_()
    classes = [{"name": name, "value": 10 * number} for number, name in enumerate(names)]
    settings = {"flips": "mirror", "zoom": zoom}
    save_checkpoint(path, model, classes=classes, mean=[0.5] * 3, std=[0.2] * 3, settings=settings, ignore=[])


def fcn(classes):
    torch.manual_seed(0)
    return FCN(classes)


def unet(classes):
    """With statistics of images like the photos, but of other light: so adapting changes something."""
    torch.manual_seed(0)
    model = UNet(classes, 4, 2)
    for _ in range(20):
        model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder in/ with two photos, and networks of two and three classes: two.pt, an FCN, and three.pt, a U-Net."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for number, name in enumerate(["a.png", "b.jpg"]):
        coarse = np.random.default_rng(number).integers(0, 256, (9, 30, 3), np.uint8)
        Image.fromarray(coarse).resize((304, 48)).save(Path("in") / name)
    save("two.pt", fcn(2), ["background", "plant"])
    save("three.pt", unet(3), ["sky", "wäld", "sea"])
    return tmp_path


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def oracle(network, path, tta=False):
    """The probabilities (C, H, W) by a pass over the whole image at once, resized as Pillow does it."""
    model, metadata = load_network(network)
    image, zoom = read_image(path), metadata["settings"]["zoom"]
    height, width = image.shape[:2]
    if zoom != 1:
        image = np.array(Image.fromarray(image).resize((round(zoom * width), round(zoom * height)), 2))
    views = [(image.copy(), 1)] + ([(image[:, ::-1].copy(), -1)] if tta else [])
    with torch.inference_mode():
        logits = [
            model.eval()(normalize(view[None], metadata["mean"], metadata["std"]))[0].numpy()[:, :, ::step]
            for view, step in views
        ]
    logits = np.mean(logits, axis=0)
    if zoom != 1:
        logits = np.stack([np.asarray(Image.fromarray(plane).resize((width, height), 2)) for plane in logits])
    return softmax(logits)


def predict(*words):
    done = inside("predict.py", *words, cwd=".")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("words", [[], ["--tta"]])
def test_a_png_of_two_classes_is_the_foregrounds_probability_and_thresholded_the_mask(photos, words):
    told = predict("in/a.png", "--checkpoint", "two.pt", "--probabilities", "p.png", "--out", "mask.png", *words)
    assert "p.png, p_uncertainty.png" in told
    written, expected = np.asarray(Image.open("p.png")), oracle("two.pt", "in/a.png", tta=bool(words))
    assert written.dtype == np.uint8 and np.ptp(written) > 200
    assert np.abs(written / 255 - expected[1]).max() < ROUNDED
    assert np.array_equal(written >= 128, read_mask("mask.png") == 10)
    uncertainty = np.asarray(Image.open("p_uncertainty.png"))
    assert np.abs(uncertainty / 255 - (1 - expected.max(axis=0))).max() < ROUNDED


@pytest.mark.parametrize("words", [[], ["--tta"], ["--adapt", "0.5"]])
@pytest.mark.parametrize("zoom", [1.0, 0.5])
def test_a_tiff_file_has_a_band_for_each_class(photos, words, zoom):
    save("three.pt", unet(3), ["sky", "wäld", "sea"], zoom)
    predict("in/a.png", "--checkpoint", "three.pt", "--probabilities", "p.tif", "--out", "mask.png", *words)
    expected = oracle("three.pt", "in/a.png", tta=words == ["--tta"])
    with tifffile.TiffFile("p.tif") as file:
        [page] = file.pages
        written = page.asarray()
        assert page.axes == "SYX" and json.loads(page.description)["bands"] == ["sky", "wäld", "sea"]
    if words[:1] == ["--adapt"]:
        assert np.abs(written / 255 - expected).max() > 0.1
        expected = softmax(Segmenter(*load_network("three.pt"), adapt=0.5).logits(read_image("in/a.png")))
    assert written.dtype == np.uint8 and np.abs(written / 255 - expected).max() < ROUNDED
    chosen = np.take_along_axis(written, read_mask("mask.png")[None] // np.uint8(10), axis=0)[0]
    assert np.array_equal(chosen, written.max(axis=0))  # others may share the highest value, none is above it
    assert np.array_equal(tifffile.imread("p_uncertainty.tif"), 255 - written.max(axis=0))


def test_two_classes_fill_two_bands_of_a_tiff_file(photos):
    predict("in/a.png", "--checkpoint", "two.pt", "--probabilities", "p.TIFF")
    assert np.abs(tifffile.imread("p.TIFF") / 255 - oracle("two.pt", "in/a.png")).max() < ROUNDED
    assert Path("p_uncertainty.TIFF").exists()


@pytest.mark.parametrize("names", [["background", "plant"], ["plant", "background"]])
def test_where_both_classes_are_alike_the_png_still_says_what_the_mask_says(photos, names):
    """Even where the logits differ by so little that both probabilities are exactly one half."""
    model = fcn(2)
    with torch.no_grad():
        model.layers.conv4.weight.zero_()
    for lower, higher in (0, 0), (0, 1), (1, 0):
        save("even.pt", model, names)
        model_, metadata = load_network("even.pt")
        with torch.no_grad():
            model_.layers.conv4.bias.copy_(torch.tensor([1e-9 * lower, 1e-9 * higher]))
        save_checkpoint(
            "even.pt", model_, **{key: metadata[key] for key in ("classes", "mean", "std", "settings", "ignore")}
        )
        predict("in/a.png", "--checkpoint", "even.pt", "--probabilities", "p.png", "--out", "mask.png")
        index = int(higher > lower)
        assert (read_mask("mask.png") == 10 * index).all()
        assert set(np.unique(Image.open("p.png"))) == {128 if names[index] == "plant" else 127}


def test_infer_writes_the_kind_that_fits_the_classes_beside_the_masks(photos):
    for network, ending in ("two.pt", "png"), ("three.pt", "tif"):
        done = inside("infer.py", "in", "out", "--checkpoint", network, "--probabilities", f"maps {ending}", cwd=photos)
        assert done.returncode == 0 and f"with probabilities in maps {ending}" in done.stdout, done.stderr
        found = {path.name for path in Path(f"maps {ending}").iterdir()}
        assert found == {f"{name}{part}.{ending}" for name in "ab" for part in ("", "_uncertainty")}
        for name in "a.png", "b.jpg":
            path = Path(f"maps {ending}", name).with_suffix(f".{ending}")
            expected = oracle(network, Path("in", name))
            written = np.asarray(Image.open(path)) if ending == "png" else tifffile.imread(path)
            assert np.abs(written / 255 - (expected[1] if ending == "png" else expected)).max() < ROUNDED
            predict(Path("in", name), "--checkpoint", network, "--probabilities", f"p.{ending}")
            assert path.read_bytes() == Path(f"p.{ending}").read_bytes()
            assert (
                path.with_stem(f"{path.stem}_uncertainty").read_bytes() == Path(f"p_uncertainty.{ending}").read_bytes()
            )


def test_resume_writes_the_probabilities_that_are_missing_and_nothing_else(photos):
    words = ["infer.py", "in", "out", "--checkpoint", "three.pt", "--probabilities", "maps"]
    assert inside(*words, cwd=photos).returncode == 0
    before = {path: path.read_bytes() for part in ("out", "maps") for path in Path(part).iterdir()}
    for path in "maps/a.tif", "maps/b_uncertainty.tif":
        Path(path).unlink()
    stamps = {path: path.stat().st_mtime_ns for path in before if path.exists()}
    done = inside(*words, "--resume", cwd=photos)
    assert done.returncode == 0 and "2 masks in out" in done.stdout, done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert "0 masks in out" in inside(*words, "--resume", cwd=photos).stdout


def test_probabilities_of_what_is_rejected_are_removed(photos):
    words = ["infer.py", "in", "out", "--checkpoint", "two.pt", "--probabilities", "maps", "--score", "softmax"]
    assert inside(*words, "--reject", "0", cwd=photos).returncode == 0 and len(list(Path("maps").iterdir())) == 4
    assert np.abs(np.asarray(Image.open("maps/a.png")) / 255 - oracle("two.pt", "in/a.png")[1]).max() < ROUNDED
    assert inside(*words, "--reject", "2", cwd=photos).returncode == 0 and not list(Path("maps").iterdir())


def test_scores_of_the_network_as_trained_go_with_probabilities_of_the_adapted_one(photos):
    segment, image = Segmenter(*load_network("three.pt"), adapt=0.5), read_image("in/a.png")
    filled = [np.zeros((3, *image.shape[:2]), np.uint8) for _ in range(2)]
    indices, scores = segment.with_scores(image, ["softmax"], filled[0])
    assert np.array_equal(segment(image, filled[1]), indices) and np.array_equal(*filled) and filled[0].any()
    assert scores["softmax"] == pytest.approx(oracle("three.pt", "in/a.png").max(axis=0).mean(), abs=1e-4)


def test_what_a_person_wrote_or_changed_is_kept(photos):
    Path("maps").mkdir()
    Path("maps/a_uncertainty.tif").write_bytes(b"mine")
    words = ["infer.py", "in", "out", "--checkpoint", "three.pt", "--probabilities", "maps"]
    fails_in_one_line(inside(*words, cwd=photos), "a_uncertainty.tif exists and was not written by this program")
    assert Path("maps/a_uncertainty.tif").read_bytes() == b"mine"
    with tifffile.TiffFile("maps/b.tif") as file:  # changed, with all that we wrote beside the pixels
        pixels, description = file.asarray(), file.pages[0].description
    tifffile.imwrite("maps/b.tif", 255 - pixels, photometric="minisblack", description=description, metadata=None)
    fails_in_one_line(
        inside("predict.py", "in/b.jpg", "--probabilities", "maps/b.tif", cwd=photos), "was changed since"
    )


def test_names_that_would_meet_are_refused(photos):
    shutil.copy("in/a.png", "in/a_uncertainty.png")
    words = ["infer.py", "in", "out", "--checkpoint", "two.pt", "--probabilities", "maps"]
    fails_in_one_line(inside(*words, cwd=photos), "a_uncertainty.png and a.png would both become a_uncertainty.png")
    shutil.copy("in/a.png", "in/b.png")
    Path("in/a_uncertainty.png").unlink()
    fails_in_one_line(inside(*words, cwd=photos), "b.jpg and b.png would both become b.png")
    assert not Path("out").exists() and not Path("maps").exists()


@pytest.mark.parametrize(
    "words, expect",
    [
        (
            "predict.py in/a.png --checkpoint three.pt --probabilities p.png",
            "3 classes; expected a name that ends in .tif",
        ),
        ("predict.py in/a.png --checkpoint two.pt --probabilities p.jpg", "p.jpg ends in .jpg; expected .png or .tif"),
        ("predict.py in/a.png --checkpoint two.pt --probabilities in/a.png", "in/a.png is an input"),
        (
            "predict.py in/a.png --checkpoint two.pt --probabilities predictions.png",
            "where the mask or the overlay goes",
        ),
        (
            "predict.py in/a.png --checkpoint two.pt --probabilities p.png --overlay p_uncertainty.png",
            "p_uncertainty.png is where the mask or the overlay goes",
        ),
        ("infer.py in out --checkpoint two.pt --probabilities out/maps", "out/maps is inside out"),
        ("infer.py in out --checkpoint two.pt --probabilities in/maps", "in/maps is inside in"),
        (
            "infer.py in out --checkpoint two.pt --probabilities two.pt",
            "two.pt is a file; expected a folder, for the prob",
        ),
    ],
)
def test_mistakes_are_told_in_one_line_and_leave_nothing(photos, words, expect):
    before = sorted(photos.rglob("*"))
    fails_in_one_line(inside(*words.split(), cwd=photos), expect)
    assert sorted(photos.rglob("*")) == before


def test_without_tifffile_a_line_says_what_to_install_and_a_png_needs_none(photos, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    words = ["predict.py", "in/a.png", "--checkpoint", "two.pt", "--probabilities"]
    fails_in_one_line(inside(*words, "p.tif", cwd=photos), "pip install tifffile")
    assert inside(*words, "p.png", cwd=photos).returncode == 0


def test_many_classes_wait_in_a_file_that_leaves_nothing(photos, monkeypatch):
    predict("in/a.png", "--checkpoint", "three.pt", "--probabilities", "small.tif")
    monkeypatch.setattr(probabilities, "MOST_HELD", 1000)
    kinds, write = [], probabilities.write_bands
    monkeypatch.setattr(
        probabilities, "write_bands", lambda path, bands, names: kinds.append(type(bands)) or write(path, bands, names)
    )
    before = set(photos.iterdir())
    predict("in/a.png", "--checkpoint", "three.pt", "--probabilities", "large.tif")
    assert kinds[0] is np.memmap
    assert Path("small.tif").read_bytes() == Path("large.tif").read_bytes()
    assert {path.name for path in set(photos.iterdir()) - before} == {"large.tif", "large_uncertainty.tif"}


def test_a_full_disk_is_told_in_one_line(photos, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def write(self, data):
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(probabilities, "MOST_HELD", 1000)
    monkeypatch.setattr(probabilities.tempfile, "TemporaryFile", lambda dir: Full())
    words = ["--checkpoint", "three.pt", "--probabilities", "p.tif"]
    fails_in_one_line(inside("predict.py", "in/a.png", *words, cwd=photos), "has no room for 0.0 GB of probabilities")
    assert not Path("p.tif").exists() and not Path("predictions.png").exists()
