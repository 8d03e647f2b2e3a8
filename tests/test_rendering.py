"""What classes.json says of how images are read: what is white in more than 8 bits, and which bands are taken."""

import io
import json

import numpy as np
import pytest
import tifffile
from conftest import TABLE, fails_in_one_line, inside, write_pair
from PIL import Image
from test_foreign_files import save_deep
from test_geotiff import known, write_geotiff
from test_predict import checkpoint, oracle

from benchmarks.paint_page import painting
from data import Dataset, load
from model import FCN, load_network
from segmenter import Segmenter
from support import memory, scan
from support.checkpoint import save_checkpoint
from support.classes import read_rendering
from support.files import BadInput, seal
from support.images import Rendering, find_rendering, image_facts, note_other_range, read_image
from support.large_tiff import LargeTiff, open_large
from support.masks import read_mask, to_values
from support.notes import FOUND
from support.sample import BLACK_AND_WHITE
from tools.paint.session import Session

SHORT = ["--epochs", 1, "--steps", 2, "--batch", 2, "--patch", 32]
pytestmark = pytest.mark.filterwarnings("ignore:.*:rasterio.errors.NotGeoreferencedWarning")


def write_table(folder, **entries):
    (folder / "classes.json").write_text(json.dumps({**TABLE, **entries}))


def noise(dtype, bands, height=40, width=52, most=None):
    """Noise (H, W, bands) from 0 to `most`, each band of another brightness; both ends occur."""
    most = most or (1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max)
    values = np.random.default_rng(0).uniform(0, most, (height, width, bands)) * np.linspace(1, 0.6, bands)
    values[0, 0], values[0, 1] = 0, most
    return values.astype(dtype)


def as_oracle(path, bands, full):
    """Three bands of a file, as tifffile reads it, scaled and cut off by NumPy: uint8 (H, W, 3)."""
    pixels = tifffile.imread(path)
    if pixels.ndim == 3 and pixels.shape[0] < pixels.shape[2]:
        pixels = pixels.transpose(1, 2, 0)  # planar
    pixels = pixels.reshape(*pixels.shape[:2], -1)[:, :, [number - 1 for number in bands]].astype(float)
    return np.rint(pixels.clip(0, full) * (255 / full)).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------
# Bands


@pytest.mark.parametrize("bands", [(4, 3, 2), (1, 2, 3), (5, 1, 4), (2, 2, 2)])
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "deflate", "tile": (16, 16)}, {"byteorder": ">", "predictor": True, "compression": "zlib"}],
    ids=["plain", "tiles", "big-endian"],
)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_bands_that_are_chosen_are_red_green_and_blue(tmp_path, dtype, planar, options, bands):
    pixels, path = noise(dtype, 5, most=4095 if dtype == np.uint16 else None), tmp_path / "a.tif"
    planes = {"planarconfig": "separate"} if planar else {"planarconfig": "contig"}
    pixels = pixels.transpose(2, 0, 1) if planar else pixels
    options = {name: value for name, value in options.items() if dtype != np.float32 or name != "predictor"}
    tifffile.imwrite(path, pixels, photometric="minisblack", **planes, **options)
    full = {np.uint8: 255, np.uint16: 4095, np.float32: 1}[dtype]
    said = find_rendering([path], Rendering(bands=bands), "classes.json")
    assert said == Rendering(4095 if dtype == np.uint16 else 65535, bands=bands)
    found = read_image(path, rendering=said)
    assert np.array_equal(found, as_oracle(path, bands, full)) and found.std() > 20
    if bands != (1, 2, 3):
        assert not np.array_equal(found, as_oracle(path, (1, 2, 3), full))
    assert not FOUND  # nothing is told of bands that are not read: the table leaves them out


def test_the_full_scale_that_is_found_is_of_the_bands_that_are_chosen(tmp_path):
    pixels = noise(np.uint16, 4, most=900)
    pixels[:, :, 0] = 60000
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    assert find_rendering([tmp_path / "a.tif"]).full == 65535
    chosen = Rendering(bands=(4, 3, 2))
    assert find_rendering([tmp_path / "a.tif"], chosen).full == 1023
    facts, found = image_facts(tmp_path / "a.tif", chosen)
    assert facts.highest == 900 and found is None  # until the full scale of all images is known
    facts, found = image_facts(tmp_path / "a.tif", Rendering(500, True, (4, 3, 2)))
    assert facts.highest == 900 and np.array_equal(found, as_oracle(tmp_path / "a.tif", (4, 3, 2), 500))


def test_opacity_counts_unless_it_is_one_of_the_bands(tmp_path):
    pixels = noise(np.uint8, 4)
    pixels[:, :, 3] = np.where(np.arange(52) < 30, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    turned = read_image(tmp_path / "a.tif", rendering=Rendering(bands=(3, 2, 1)))
    assert (turned[:, 30:] == 255).all() and np.array_equal(turned[:, :30], pixels[:, :30, 2::-1])
    taken = read_image(tmp_path / "a.tif", rendering=Rendering(bands=(4, 1, 2)))
    assert np.array_equal(taken, pixels[:, :, [3, 0, 1]])


def test_a_band_that_is_called_opacity_and_read_as_a_colour_is_no_gap_in_the_mask(tmp_path):
    pixels = np.random.default_rng(0).integers(1, 256, (4, 40, 300), np.uint8)
    pixels[3] = 255
    pixels[3, :, 100:150] = 0
    (tmp_path / "in").mkdir()
    write_geotiff(tmp_path / "in" / "a.tif", pixels, photometric="RGB", alpha="yes")
    for bands, all_known in [(None, False), ([3, 2, 1], False), ([4, 2, 1], True)]:
        checkpoint(tmp_path / "model.pt", **({"reading": {"bands": bands}} if bands else {}))
        for words in [("predict.py", "in/a.tif", "--out", "out/a.tif"), ("infer.py", "in", "out")]:
            done = inside(*words, "--checkpoint", "model.pt", cwd=tmp_path)
            assert done.returncode == 0, done
            assert np.array_equal(known(tmp_path / "out" / "a.tif"), (pixels[3] > 0) | all_known)
            (tmp_path / "out" / "a.tif").unlink()


@pytest.mark.parametrize("count", [1, 3, 4])
def test_an_image_that_lacks_a_band_is_refused(tmp_path, count):
    write_pair(tmp_path, "n0", 0)
    write_pair(tmp_path, "n1", 1)
    (tmp_path / "images" / "n0.png").unlink()
    options = {"photometric": "minisblack", "planarconfig": "contig"} if count > 1 else {}
    tifffile.imwrite(tmp_path / "images" / "n0.tif", noise(np.uint8, count, 70, 90).squeeze(), **options)
    write_table(tmp_path, bands=[5, 3, 2])
    with pytest.raises(
        BadInput,
        match=f"n0.tif has {count} bands?; expected bands 5, 3 and 2, which the training's classes.json names$",
    ):
        load(str(tmp_path))
    with pytest.raises(BadInput, match="n1.png is no TIFF file; expected one with bands 5, 3 and 2, which"):
        read_image(tmp_path / "images" / "n1.png", rendering=Rendering(bands=(5, 3, 2)))
    with pytest.raises(BadInput, match="none.tif does not exist"):
        read_image(tmp_path / "none.tif", rendering=Rendering(bands=(5, 3, 2)))


# ---------------------------------------------------------------------------------------------------
# Full scale


@pytest.mark.parametrize("full", [1000, 4095, 65535, 0.25])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_what_is_white_holds_for_16_bits_and_what_lies_beyond_is_white(tmp_path, ending, bands, full):
    pixels, path = noise(np.uint16, bands, most=5000).squeeze(), tmp_path / f"a.{ending}"
    save_deep(path, pixels)
    found = read_image(path, rendering=Rendering(full, written=True))
    expected = np.rint(pixels.clip(0, full) * (255 / full))
    if bands == 3 and full == 65535:  # Pillow's high bytes, as ever
        expected = pixels // 256
    assert np.array_equal(found, np.broadcast_to(expected.reshape(40, 52, -1), found.shape))
    if full == 4095:  # found or written: where nothing lies beyond, the same bits
        tifffile.imwrite(tmp_path / "b.tif", pixels.clip(0, 4095))
        same = [read_image(tmp_path / "b.tif", rendering=Rendering(4095, written)) for written in (False, True)]
        assert np.array_equal(*same)


@pytest.mark.parametrize("shape", [(40, 52), (40, 52, 3), (40, 52, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_floats_and_negative_numbers_are_read_where_white_is_written(tmp_path, dtype, shape):
    pixels, path = np.random.default_rng(0).normal(300, 400, shape).astype(dtype), tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", **({"planarconfig": "contig"} if len(shape) > 2 else {}))
    with pytest.raises(BadInput, match=r"a.tif holds values from -\S+ to \S+; expected 0 to "):
        read_image(path)
    found = read_image(path, rendering=Rendering(500, written=True))
    expected = as_oracle(path, (1, 1, 1) if len(shape) == 2 else (1, 2, 3), 500)
    assert np.array_equal(found, expected) and {0, 255} <= {*found.ravel()}


def test_what_is_no_number_stays_refused_and_no_data_stays_black(tmp_path):
    pixels, white = noise(np.float32, 3, most=800), Rendering(500, written=True)
    pixels[5:9, 5:9] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    found = read_image(tmp_path / "a.tif", rendering=white)
    expected = np.rint(np.nan_to_num(pixels).clip(0, 500).astype(float) * (255 / 500))
    assert not found[5:9, 5:9].any() and np.array_equal(found, expected)
    more = np.dstack([np.ones((40, 52), np.float32), pixels])  # in all bands that are read
    tifffile.imwrite(tmp_path / "b.tif", more, photometric="minisblack", planarconfig="contig")
    assert np.array_equal(read_image(tmp_path / "b.tif", rendering=white._replace(bands=(2, 3, 4))), expected)
    pixels[20, 20, 1] = np.nan  # in one band of three
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    with pytest.raises(BadInput, match="a.tif holds values from nan to nan; expected 0 to 500$"):
        read_image(tmp_path / "a.tif", rendering=white)


def test_files_of_8_bits_and_those_whose_header_says_what_is_white_stay_as_they_are(tmp_path):
    white = Rendering(100, written=True)
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([grey] * 5), photometric="minisblack", planarconfig="contig")
    for name in ("a.png", "a.tif"):
        assert np.array_equal(read_image(tmp_path / name, rendering=white)[:, :, 0], grey)
    deep = np.random.default_rng(0).integers(0, 1000, (16, 16)).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 999\n" + deep.tobytes())
    found = read_image(tmp_path / "a.pgm", rendering=white)
    assert np.array_equal(found, read_image(tmp_path / "a.pgm"))
    assert np.abs(found[:, :, 0] - deep * (255 / 999)).max() <= 0.51


# ---------------------------------------------------------------------------------------------------
# The table


@pytest.mark.parametrize("full", [0, -1, None, "4095", True, [4095], float("nan"), float("inf"), 1e31, 1e-31, 10**400])
def test_a_full_scale_that_is_none_is_refused(tmp_path, full):
    write_table(tmp_path, full_scale=full)
    with pytest.raises(BadInput) as caught:
        read_rendering(tmp_path / "classes.json")
    told = str(caught.value)
    assert told.startswith(f'{tmp_path / "classes.json"}: "full_scale" is {full!r:.40}; expected a number above 0')
    assert "\n" not in told


@pytest.mark.parametrize(
    "bands", [[4, 3], [4, 3, 2, 1], [0, 1, 2], [1, 2, -3], [1, 2, 3.0], [1, 2, True], 4, None, {}, "432"]
)
def test_bands_that_are_no_three_numbers_are_refused(tmp_path, bands):
    write_table(tmp_path, bands=bands)
    with pytest.raises(BadInput) as caught:
        read_rendering(tmp_path / "classes.json")
    told = str(caught.value)
    assert told.startswith(
        f'{tmp_path / "classes.json"}: "bands" is {bands!r}; expected the numbers of three, counted from'
    )
    assert "\n" not in told


def test_what_a_table_says_of_images_is_read_and_a_table_that_says_nothing_leaves_all_as_it_was(tmp_path):
    assert read_rendering(None) == Rendering()
    write_table(tmp_path)
    assert read_rendering(tmp_path / "classes.json") == Rendering()
    write_table(tmp_path, full_scale=2.5, bands=[7, 7, 1])
    assert read_rendering(tmp_path / "classes.json") == Rendering(2.5, True, (7, 7, 1))


# ---------------------------------------------------------------------------------------------------
# From training to prediction


def satellite_folder(folder, dtype=np.uint16, **entries):
    """A data set of images of five bands, the last three of which are those of write_pair, of values up to 3000."""
    for number in range(5):
        write_pair(folder, f"n{number}", number)
        path = folder / "images" / f"n{number}.png"
        colours = np.asarray(Image.open(path)) / 255 * 3000
        path.unlink()
        pixels = np.dstack([noise(float, 2, *colours.shape[:2], most=3000), colours]).astype(dtype)
        tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="minisblack", planarconfig="contig")
    write_table(folder, **entries)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("memory", [2, 0])
def test_a_data_set_is_read_as_its_table_says(tmp_path, capsys, dtype, memory):
    satellite_folder(tmp_path, dtype, full_scale=2000, bands=[5, 4, 3])
    found = load(str(tmp_path), memory=memory)
    told = capsys.readouterr().out
    assert f"bands 5, 4 and 3 are red, green and blue, as {tmp_path / 'classes.json'} says\n" in told
    highest = max(tifffile.imread(path)[:, :, 2:].max() for path in (tmp_path / "images").iterdir())
    hold = "" if dtype == np.float32 else f" hold values up to {highest}"
    assert f"images of more than 8 bits{hold}: 2000 is white, as {tmp_path / 'classes.json'} says\n" in told
    assert "are read" not in told  # no band is missed
    expected = {as_oracle(path, (5, 4, 3), 2000).tobytes() for path in (tmp_path / "images").iterdir()}
    parts = [part[number][0] for part in (found.training, found.validation) for number in range(len(part))]
    assert {image.tobytes() for image in parts} == expected and len(expected) == 5
    assert found.rendering == Rendering(2000, True, (5, 4, 3))


def test_a_table_that_is_given_holds_for_a_single_image(tmp_path):
    satellite_folder(tmp_path, full_scale=2000, bands=[5, 4, 3])
    pair = tmp_path / "images" / "n0.tif", tmp_path / "masks" / "n0.png"
    found = load(pair, table=tmp_path / "classes.json")
    height = found.validation[0][0].shape[0]
    assert found.rendering == Rendering(2000, True, (5, 4, 3))
    strip = as_oracle(pair[0], (5, 4, 3), 2000)
    width = found.validation[0][0].shape[1]
    assert any(np.array_equal(strip[:height, x : x + width], found.validation[0][0]) for x in range(90 - width + 1))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_what_is_written_holds_from_training_to_every_prediction(tmp_path, dtype):
    satellite_folder(tmp_path / "data", dtype, full_scale=2000, bands=[5, 4, 3])
    done = inside("train.py", "--data", "data", "--out", "runs", *SHORT, cwd=tmp_path)
    assert done.returncode == 0 and "2000 is white" in done.stdout, done
    metadata = load_network(tmp_path / "runs/model.pt")[1]
    assert (metadata["full_scale"], metadata["reading"]) == (65535, {"full_scale": 2000, "bands": [5, 4, 3]})
    (tmp_path / "data/classes.json").rename(tmp_path / "table.json")  # the checkpoint knows
    segment, path = Segmenter.load(tmp_path / "runs/model.pt"), tmp_path / "data/images/n0.tif"
    expected = as_oracle(path, (5, 4, 3), 2000)
    assert np.array_equal(segment.read(path), expected)
    assert np.array_equal(segment.read_pair(path, tmp_path / "data/masks/n0.png")[0], expected)
    mask = to_values(segment(expected), segment.classes)
    words = ["--checkpoint", "runs/model.pt"]
    for line in [
        ("predict.py", path, "--out", "n0.png", *words),
        ("infer.py", "data/images", "out", *words),
        ("-m", "tools.export", "runs/model.pt", "--out", "model.onnx"),
        ("infer.py", "data/images", "onnx", "--onnx", "model.onnx"),
        ("-m", "tools.report", "runs", "--images", "data/images", "--masks", "data/masks"),
        ("evaluate.py", "out", "data/masks", "--images", "data/images", "--classes", "table.json", "--worst", 1),
    ]:
        done = inside(*line, cwd=tmp_path)
        assert done.returncode == 0, done
    assert "bands 5, 4 and 3 are red, green and blue, as table.json says" in done.stdout  # in evaluate.py's pictures
    for name in ("n0.png", "out/n0.tif", "onnx/n0.tif"):
        assert np.array_equal(read_mask(tmp_path / name), mask)
    assert np.array_equal(Segmenter.load(tmp_path / "model.onnx").read(path), expected)
    write_pair(tmp_path / "other", "a", 0)
    done = inside("predict.py", "other/images/a.png", *words, cwd=tmp_path)
    fails_in_one_line(done, "a.png is no TIFF file; expected one with bands 5, 4 and 3, which")


@pytest.mark.slow
def test_a_training_that_goes_on_notices_another_table(tmp_path):
    satellite_folder(tmp_path / "data", full_scale=3000, bands=[5, 4, 3])
    words = ["--data", "data", "--out", "runs", *SHORT]
    assert inside("train.py", *words, cwd=tmp_path).returncode == 0
    for entries in ({"full_scale": 3000, "bands": [5, 4, 2]}, {"full_scale": 2999, "bands": [5, 4, 3]}, {}):
        write_table(tmp_path / "data", **entries)
        done = inside("train.py", *words, "--resume", "--epochs", 2, cwd=tmp_path)
        fails_in_one_line(done, "read as another full_scale or bands in classes.json say")
    write_table(tmp_path / "data", full_scale=3000, bands=[5, 4, 3])
    done = inside("train.py", *words, "--resume", "--epochs", 2, cwd=tmp_path)
    assert done.returncode == 0, done


def test_the_fingerprint_depends_on_what_is_written(tmp_path):
    found = {}
    for entries in ({}, {"full_scale": 4095}, {"full_scale": 3000}, {"bands": [1, 2, 3]}, {"bands": [1, 2, 4]}):
        satellite_folder(tmp_path, **entries)
        found[json.dumps(entries)] = load(str(tmp_path), memory=0).fingerprint
    assert len({*found.values()}) == len(found)


def test_another_table_has_all_images_looked_into_again(tmp_path, monkeypatch):
    looked, facts = [], scan.image_facts
    monkeypatch.setattr(scan, "image_facts", lambda path, said: looked.append(path.stem) or facts(path, said))
    monkeypatch.setattr(scan, "WORTH", 1)
    monkeypatch.setattr(memory, "JUST_NOW", -(10**18))
    satellite_folder(tmp_path)
    for entries in ({}, {"full_scale": 3000}, {"full_scale": 3000, "bands": [5, 4, 3]}, {"bands": [5, 4, 3]}, {}):
        write_table(tmp_path, **entries)
        for expected in (5, 0):
            looked.clear()
            rendering = load(str(tmp_path), memory=0).rendering
            assert len(looked) == expected and rendering.bands == (tuple(entries.get("bands", [])) or None)
    path = tmp_path / memory.NAME  # as it was before there were such entries
    older = path.read_text().replace('"images": null, ', "")
    assert older != path.read_text()
    path.write_text(older)
    seal(path)
    load(str(tmp_path), memory=0)
    assert not looked


def test_large_files_are_read_by_parts_as_they_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("support.large_tiff.LARGE", 1)
    monkeypatch.setattr("support.large_tiff.BLOCK", 30_000)
    for dtype, most in [(np.uint16, 3000), (np.float32, 3000), (np.uint8, 255)]:
        pixels = noise(dtype, 4, 110, 140, most=most)
        for options in ({}, {"tile": (48, 64), "compression": "deflate", "extrasamples": ["unassalpha"]}):
            photometric = "rgb" if options else "minisblack"
            tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, planarconfig="contig", **options)
            rendering = Rendering(2000, True, (4, 3, 1))
            expected = as_oracle(tmp_path / "a.tif", (4, 3, 1), 255 if dtype == np.uint8 else 2000)
            large = open_large(tmp_path / "a.tif", rendering)
            assert isinstance(large, LargeTiff) and np.array_equal(large[:, :], expected)
            assert np.array_equal(large[31:99, 7:119], expected[31:99, 7:119])
            assert not FOUND  # the band that is called opacity is not left out
            with pytest.raises(BadInput, match="a.tif has 4 bands; expected bands 5, 1 and 2, which"):
                LargeTiff(tmp_path / "a.tif", Rendering(bands=(5, 1, 2)))


def test_predictions_by_parts_see_what_the_training_saw(tmp_path, monkeypatch):
    monkeypatch.setattr("support.large_tiff.LARGE", 1)
    (tmp_path / "in").mkdir()
    pixels = noise(np.float32, 4, 110, 140, most=3000)
    tifffile.imwrite(tmp_path / "in/a.tif", pixels, photometric="minisblack", planarconfig="contig")
    checkpoint(tmp_path / "model.pt", reading={"full_scale": 2000, "bands": [4, 3, 1]})
    expected = 255 * oracle(tmp_path / "model.pt", as_oracle(tmp_path / "in/a.tif", (4, 3, 1), 2000))
    for words in [("predict.py", "in/a.tif", "--out", "out/a.tif"), ("infer.py", "in", "out")]:
        done = inside(*words, "--checkpoint", "model.pt", cwd=tmp_path)
        assert done.returncode == 0 and np.array_equal(tifffile.imread(tmp_path / "out/a.tif"), expected), done
        (tmp_path / "out/a.tif").unlink()


def test_an_image_that_is_dark_in_the_bands_that_are_read_is_told(tmp_path):
    pixels = noise(np.uint16, 4, most=100)
    pixels[:, :, 0] = 60000
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    rendering = Rendering(4095, True, (4, 3, 2))
    note_other_range(tmp_path / "a.tif", read_image(tmp_path / "a.tif", rendering=rendering), rendering)
    (told,) = FOUND
    assert "holds values up to 100, less than an eighth of 4095" in told


METADATA = {"classes": BLACK_AND_WHITE, "ignore": [], "mean": [0.5] * 3, "std": [0.2] * 3, "settings": {}}


def test_checkpoints_of_before_are_read_as_ever_and_wrong_ones_are_refused(tmp_path):
    for metadata, expected in [
        ({}, Rendering()),
        ({"full_scale": 4095}, Rendering(4095)),
        ({"full_scale": 4095, "reading": {"bands": [3, 2, 1]}}, Rendering(4095, False, (3, 2, 1))),
        ({"full_scale": 65535, "reading": {"full_scale": 0.5}}, Rendering(0.5, True)),
    ]:
        save_checkpoint(tmp_path / "a.pt", FCN(classes=2), **METADATA, **metadata)
        assert Segmenter.load(tmp_path / "a.pt").rendering == expected
    for wrong, told in [
        ([], "is no table"),
        (None, "is no table"),
        ({"full_scale": 0}, '"full_scale" is 0'),
        ({"full_scale": float("nan")}, '"full_scale" is nan'),
        ({"bands": [0, 1, 2]}, '"bands" is '),
    ]:
        save_checkpoint(tmp_path / "a.pt", FCN(classes=2), **METADATA, reading=wrong)
        with pytest.raises(BadInput, match=f"a.pt is no checkpoint of ours .*{told}"):
            load_network(tmp_path / "a.pt")


@pytest.mark.slow
def test_folds_are_read_as_the_table_says(tmp_path):
    satellite_folder(tmp_path / "data", np.float32, full_scale=2000, bands=[5, 4, 3])
    words = ["--folds", 2, "--first", 1, "--out", "folds", "--data", "data", *SHORT]
    done = inside("-m", "tools.crossvalidate", *words, cwd=tmp_path)
    assert done.returncode == 0 and "2000 is white, as data/classes.json says" in done.stdout, done


@pytest.mark.slow
def test_paint_reads_images_as_the_checkpoint_then_as_its_own_table_says(tmp_path):
    satellite_folder(tmp_path / "data", np.float32)
    (tmp_path / "one").mkdir()
    image = (tmp_path / "data/images/n0.tif").rename(tmp_path / "one/n0.tif")
    checkpoint(tmp_path / "net.pt", reading={"full_scale": 2000, "bands": [5, 4, 3]})
    out = tmp_path / "painted"
    for bands in ((5, 4, 3), (1, 2, 2)):
        with painting(out, tmp_path / "one", "--checkpoint", tmp_path / "net.pt") as paint:
            tile = np.asarray(Image.open(io.BytesIO(paint.get("tile/0/image/0/0/0.png"))))
        assert np.array_equal(tile, as_oracle(image, bands, 2000))
        assert read_rendering(out / "classes.json") == Rendering(2000, True, bands)
        table = json.loads((out / "classes.json").read_text())
        (out / "classes.json").write_text(json.dumps({**table, "bands": [1, 2, 2]}))  # that holds from now on
        seal(out / "classes.json")  # else it is a person's, of which a line tells first that it is kept


def test_a_network_that_learned_from_strokes_knows_how_its_images_are_read(tmp_path):
    from tools.paint.learner import Canvas, NetworkLearner

    satellite_folder(tmp_path)
    said, path = Rendering(2000, True, (5, 4, 3)), tmp_path / "images/n0.tif"
    picture = Session(tmp_path, {"n0": path}, said, BLACK_AND_WHITE, 9).pictures[0]
    picture.open_maps()
    canvas = Canvas(0, path, (70, 90), tmp_path / ".maps", said)
    assert np.array_equal(canvas.image, as_oracle(path, (5, 4, 3), 2000))
    learner = NetworkLearner("fcn", BLACK_AND_WHITE, 9, said)
    learner.begin(Dataset.in_memory([(canvas.image, np.zeros((70, 90), np.uint8))], 2))
    learner.save(tmp_path / "net.pt")
    assert Segmenter.load(tmp_path / "net.pt").rendering == said
