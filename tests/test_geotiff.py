"""What a mask keeps of its image: place, projection, no data. What is right is what rasterio, that is GDAL, reads."""

import json
from unittest import mock

import numpy as np
import pytest
import rasterio
import tifffile
from conftest import fails_in_one_line, inside
from PIL import Image
from rasterio.transform import Affine, from_origin
from test_predict import checkpoint, oracle

from support.files import is_ours
from support.geotiff import read_world
from support.images import read_image
from support.masks import read_mask

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

NORTH_UP = from_origin(500_000, 5_400_000, 0.5, 0.25)
TURNED = Affine(0.4, 0.3, 500_000, 0.3, -0.4, 5_400_000)  # which GeoTIFF holds in another tag
THREE = [{"name": "a", "value": [0, 0, 0]}, {"name": "b", "value": [255, 0, 0]}, {"name": "c", "value": [9, 99, 254]}]


def write_geotiff(path, bands, transform=NORTH_UP, **options):
    """Write bands (count, H, W) as a GeoTIFF by rasterio."""
    count, height, width = bands.shape
    facts = {"count": count, "height": height, "width": width, "dtype": bands.dtype, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32632", **{**facts, **options}) as file:
        file.write(bands)


def picture(dtype=np.uint8, count=3, height=40, width=300, seed=0):
    most = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    values = np.random.default_rng(seed).uniform(0.1 * most, most, (count, height, width))
    return values.astype(dtype)


def same_place(mask, image):
    with rasterio.open(mask) as ours, rasterio.open(image) as theirs:
        assert ours.transform.almost_equals(theirs.transform) and ours.crs == theirs.crs
        assert theirs.transform != Affine.identity()


def known(path):
    """Where GDAL says that a file has data."""
    with rasterio.open(path) as file:
        return file.dataset_mask() > 0


KINDS = {
    "bytes": (np.uint8, {"nodata": 7, "photometric": "RGB"}),
    "16 bits": (np.uint16, {"nodata": 0, "photometric": "RGB"}),
    "floats": (np.float32, {"nodata": float("nan")}),
    "planar": (np.uint16, {"nodata": 65535, "interleave": "band"}),
    "tiled": (np.uint8, {"nodata": 255, "photometric": "RGB", "tiled": True, "blockxsize": 64, "blockysize": 16}),
    "grey": (np.uint16, {"nodata": 300, "count": 1}),
}


@pytest.mark.parametrize("script", ["predict.py", "infer.py"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:.*")
def test_a_mask_keeps_place_projection_and_what_is_no_data(tmp_path, kind, script):
    dtype, options = KINDS[kind]
    checkpoint(tmp_path / "model.pt")
    bands = picture(dtype, options.get("count", 3))
    gaps = np.zeros(bands.shape[1:], bool)
    gaps[3:9, 10:200] = True
    bands[:, gaps] = options["nodata"]
    if kind != "floats":
        bands[0, 20:30] = options["nodata"]  # in one band only: that is data, where there are others
    gaps |= len(bands) == 1 and (bands == options["nodata"])[0]
    (tmp_path / "in").mkdir()
    write_geotiff(tmp_path / "in" / "a.tif", bands, TURNED if kind == "floats" else NORTH_UP, **options)
    if script == "predict.py":
        words = ["in/a.tif", "--out", "out/a.tif"]
    else:
        words = ["in", "out", "--checkpoint", "model.pt"]
    done = inside(script, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "where it holds no data, its mask holds 254" in done.stdout
    mask = tmp_path / "out" / "a.tif"
    same_place(mask, tmp_path / "in" / "a.tif")
    assert np.array_equal(known(mask), ~gaps)
    with rasterio.open(mask) as file:
        values = file.read(1)
    classes = oracle(tmp_path / "model.pt", read_image(tmp_path / "in" / "a.tif"))
    assert np.array_equal(values, np.where(gaps, 254, 255 * classes)) and is_ours(mask)


def test_what_is_transparent_in_a_geotiff_is_no_data(tmp_path):
    checkpoint(tmp_path / "model.pt")
    bands = picture(count=4)
    bands[3] = 255
    bands[3, :, 100:150], bands[3, :, 200:210] = 0, 9
    write_geotiff(tmp_path / "a.tif", bands, photometric="RGB", alpha="yes")
    assert inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path).returncode == 0
    assert np.array_equal(known(tmp_path / "mask.tif"), bands[3] > 0) and not known(tmp_path / "mask.tif").all()
    Image.fromarray(bands.transpose(1, 2, 0)).save(tmp_path / "b.tif")  # a picture like any other
    assert inside("predict.py", "b.tif", "--out", "b_mask.tif", cwd=tmp_path).returncode == 0
    assert known(tmp_path / "b_mask.tif").all()


def test_colours_get_a_value_for_no_data_that_is_in_none_of_them(tmp_path):
    checkpoint(tmp_path / "model.pt", THREE)
    bands = picture()
    bands[:, :, :50] = 0
    write_geotiff(tmp_path / "a.tif", bands, nodata=0, photometric="RGB")
    done = inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path)
    assert "its mask holds 253" in done.stdout
    same_place(tmp_path / "mask.tif", tmp_path / "a.tif")
    with rasterio.open(tmp_path / "mask.tif") as file:
        values = file.read().transpose(1, 2, 0)
    assert np.array_equal(known(tmp_path / "mask.tif"), (bands > 0).all(axis=0))
    assert (values[:, :50] == 253).all() and values[:, 50:].max() == 255
    assert {tuple(colour) for colour in values[:, 50:].reshape(-1, 3).tolist()} <= {
        tuple(one["value"]) for one in THREE
    }


def test_a_mask_without_tiff_says_what_it_cannot_keep(tmp_path):
    checkpoint(tmp_path / "model.pt")
    write_geotiff(tmp_path / "a.tif", picture(), photometric="RGB")
    done = inside("predict.py", "a.tif", cwd=tmp_path)
    assert "a.tif: lies on the earth; only a mask that ends in .tif keeps that" in done.stdout
    tifffile.imwrite(tmp_path / "b.tif", np.where(np.arange(40) > 9, 0.5, np.nan) * np.ones((30, 1), np.float32))
    done = inside("predict.py", "b.tif", "--out", "b.png", cwd=tmp_path)
    assert "b.tif: holds pixels without data; only a mask" in done.stdout
    done = inside("predict.py", "b.tif", "--out", "b_mask.tif", cwd=tmp_path)
    assert np.array_equal(known(tmp_path / "b_mask.tif")[0], np.arange(40) > 9)


def test_a_turned_or_odd_place_is_not_kept_and_that_is_said(tmp_path):
    checkpoint(tmp_path / "model.pt")
    image = picture().transpose(1, 2, 0)
    place = [(33550, 12, 3, (1.0, 1.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5.0, 6.0, 0.0), True)]
    turn = [(274, 3, 1, 6, True)]
    odd = [(33550, 2, 3, "abc", True), (33922, 12, 6, (0.0,) * 6, True)]
    for tags, words in [(place + turn, "turned by its orientation"), (odd, "tag 33550 is not as GeoTIFF has it")]:
        tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extratags=tags, metadata=None)
        done = inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path)
        assert done.returncode == 0 and "its place is not kept" in done.stdout and words in done.stdout
        with tifffile.TiffFile(tmp_path / "mask.tif") as file:
            assert not {33550, 33922} & {tag.code for tag in file.pages[0].tags}


@pytest.mark.parametrize("names", ["a.png a.pgw", "a.jpg a.jgw", "a.png a.wld", "A.PNG A.PGW"])
def test_a_world_file_is_copied_beside_the_mask(tmp_path, names):
    image, world = names.split()
    checkpoint(tmp_path / "model.pt")
    (tmp_path / "in").mkdir()
    Image.fromarray(picture().transpose(1, 2, 0)).save(tmp_path / "in" / image)
    numbers = ["0.5", "0.0", "0.0", "-0.25", "500000.25", "5399999.875"]
    (tmp_path / "in" / world).write_text("\r\n".join(numbers))
    assert inside("predict.py", f"in/{image}", "--out", "mask.jpg", cwd=tmp_path).returncode == 0
    assert inside("infer.py", "in", "out", "--checkpoint", "model.pt", cwd=tmp_path).returncode == 0
    for mask in tmp_path / "mask.jpg", tmp_path / "mask.png", tmp_path / "out" / image:
        with rasterio.open(mask) as file:
            assert file.transform.almost_equals(NORTH_UP), mask
    # The next image of this name has no place, so its mask must not inherit one.
    (tmp_path / "in" / world).unlink()
    assert inside("predict.py", f"in/{image}", "--out", "mask.jpg", cwd=tmp_path).returncode == 0
    assert not list(tmp_path.glob("mask.*w"))


def test_a_world_file_of_the_user_stays(tmp_path):
    checkpoint(tmp_path / "model.pt")
    (tmp_path / "in").mkdir()
    Image.fromarray(picture().transpose(1, 2, 0)).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.pgw").write_text("1\n0\n0\n-1\n5\n6\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.pgw").write_text("mine")
    fails_in_one_line(inside("predict.py", "in/a.png", "--out", "out/a.png", cwd=tmp_path), "a.pgw exists and was not")
    process = inside("infer.py", "in", "out", "--checkpoint", "model.pt", cwd=tmp_path)
    assert process.returncode == 1 and "a.pgw exists and was not" in process.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.pgw"]
    (tmp_path / "in" / "a.pgw").write_text("1\n0\nnan\n-1\n5\n6\n")  # no world file: told, and no reason to stop
    done = inside("predict.py", "in/a.png", "--out", "out/a.png", cwd=tmp_path)
    assert done.returncode == 0 and "a.pgw: is no world file" in done.stdout
    assert (tmp_path / "out" / "a.pgw").read_text() == "mine"


def test_a_world_file_that_may_not_be_read_is_no_reason_to_stop(tmp_path, monkeypatch):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("1\n0\n0\n-1\n5\n6\n")
    assert read_world(tmp_path / "a.png") is not None
    monkeypatch.setattr("builtins.open", mock.Mock(side_effect=PermissionError))  # chmod keeps nothing from root
    assert read_world(tmp_path / "a.png") is None


def test_pixels_without_data_are_not_scored(tmp_path):
    """The truth has a class there, of which the image shows nothing: neither right nor wrong."""
    checkpoint(tmp_path / "model.pt")
    bands = picture()
    bands[:, :, :120] = 0
    for name in "in", "true":
        (tmp_path / name).mkdir()
    write_geotiff(tmp_path / "in" / "a.tif", bands, nodata=0, photometric="RGB")
    assert inside("infer.py", "in", "out", "--checkpoint", "model.pt", cwd=tmp_path).returncode == 0
    truth = 255 * np.random.default_rng(1).integers(0, 2, bands.shape[1:]).astype(np.uint8)
    Image.fromarray(truth).save(tmp_path / "true" / "a.png")
    done = inside("evaluate.py", "out", "true", "--json", "scores.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    predicted = read_mask(tmp_path / "out" / "a.tif")[:, 120:]
    accuracy = json.loads((tmp_path / "scores.json").read_text())["overall"]["accuracy"]
    assert accuracy == pytest.approx((predicted == truth[:, 120:]).mean())
