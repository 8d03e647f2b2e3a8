"""TIFF files that are read by parts: the same bits as small ones, whatever happens on the way, in little memory."""

import contextlib
import errno
import itertools
import json
import os
import signal
import sys
import time
import zlib

import numpy as np
import pytest
import tifffile
import torch
from conftest import ROOT, fails_in_one_line, inside
from forked import Forked
from PIL import Image
from rasterio.transform import from_origin
from test_geotiff import write_geotiff
from test_predict import checkpoint, oracle

import predict
from benchmarks.gigapixel import make_image
from model import UNet, normalize
from patches import cut_windows, tiles
from segmenter import Segmenter
from support import large_tiff, segments
from support.arguments import infer_arguments
from support.checkpoint import save_checkpoint
from support.files import BadInput, is_ours
from support.images import Rendering, read_image
from support.large_tiff import LargeTiff, open_large
from support.sample import BLACK_AND_WHITE

pytestmark = pytest.mark.filterwarnings("ignore:.*:rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(autouse=True)
def by_parts(monkeypatch):
    """Let images of a few pixels count as large, and let blocks be small and soon forgotten."""
    monkeypatch.setattr(large_tiff, "LARGE", 300 * 300)
    monkeypatch.setattr(large_tiff, "BLOCK", 30_000)
    monkeypatch.setattr(large_tiff, "MOST_HELD", 200_000)


def picture(dtype=np.uint8, count=3, height=470, width=610, seed=0):
    """Noise over large spots, (H, W, count), of a full range."""
    random = np.random.default_rng(seed)
    spots = np.kron(random.uniform(0, 1, (height // 10 + 1, width // 10 + 1, count)), np.ones((10, 10, 1)))
    values = (0.9 * spots[:height, :width] + random.uniform(0, 0.1, (height, width, count))).clip(0, 1)
    return (values * (1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max)).astype(dtype)


def with_gap(image, value):
    image[100:380, 40:500] = value  # whole tiles, too
    return image


def geotiff(path, image, **options):
    write_geotiff(path, image.transpose(2, 0, 1), from_origin(5, 6, 1, 1), **options)


def palette(path):
    grey = Image.fromarray(picture(count=1)[:, :, 0]).convert("P")
    grey.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    grey.save(path, compression="packbits")


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 48, "compress": "deflate"}
WRITERS = {
    "tiles": lambda path: geotiff(path, picture(), photometric="RGB", **TILED),
    "LZW in strips": lambda path: geotiff(path, picture(), photometric="RGB", compress="lzw", predictor=2),
    "one bare strip": lambda path: tifffile.imwrite(path, picture(), photometric="rgb"),
    "bare planes": lambda path: tifffile.imwrite(
        path, picture(np.uint16).transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    ),
    "planes": lambda path: geotiff(path, picture(), photometric="RGB", interleave="band", **TILED),
    "JPEG": lambda path: geotiff(
        path, picture(), photometric="YCBCR", **{**TILED, "compress": "jpeg", "blockxsize": 48}
    ),
    "16 bits, grey": lambda path: geotiff(path, picture(np.uint16, 1), nodata=0, **TILED),
    "16 bits, colours": lambda path: geotiff(path, with_gap(picture(np.uint16), 9), nodata=9, **TILED),
    "floats": lambda path: geotiff(path, with_gap(picture(np.float32), np.nan), **TILED),
    "floats with a number": lambda path: geotiff(path, with_gap(picture(np.float32), -9999), nodata=-9999, **TILED),
    "floats in LZW": lambda path: geotiff(
        path, with_gap(picture(np.float32, 1), np.nan), **{**TILED, "compress": "lzw", "predictor": 1}
    ),
    "five bands": lambda path: geotiff(path, picture(count=5), **TILED),
    "opacity": lambda path: geotiff(
        path,
        np.dstack([picture(), with_gap(2 * picture(count=1).clip(64, 127) + 1, 0)]),
        photometric="RGB",
        alpha="yes",
        **TILED,
    ),
    "near-infrared, called opacity": lambda path: geotiff(
        path, picture(count=4), photometric="RGB", alpha="yes", **TILED
    ),
    "transparent everywhere": lambda path: geotiff(
        path, np.dstack([picture(), np.zeros((470, 610), np.uint8)]), photometric="RGB", alpha="yes", **TILED
    ),
    "black where unknown": lambda path: geotiff(path, with_gap(picture(), 0), nodata=0, photometric="RGB", **TILED),
    "palette": palette,
    "big-endian": lambda path: tifffile.imwrite(
        path, picture(), photometric="rgb", byteorder=">", tile=(64, 48), compression="zlib", predictor=True
    ),
    "BigTIFF": lambda path: tifffile.imwrite(path, picture(np.uint16), photometric="rgb", bigtiff=True, rowsperstrip=7),
    "12 bits in 16": lambda path: tifffile.imwrite(path, picture(np.uint16) // 16, photometric="rgb", tile=(64, 64)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_parts_are_those_of_the_whole_image(tmp_path, kind):
    WRITERS[kind](tmp_path / "a.tif")
    as_trained = Rendering(4095 if kind == "12 bits in 16" else 65535)
    large, whole = LargeTiff(tmp_path / "a.tif", as_trained), read_image(tmp_path / "a.tif", as_trained)
    assert large.shape == whole.shape and whole.std() > 20
    random = np.random.default_rng(0)
    for _ in range(10):
        y, x = random.integers(0, 460), random.integers(0, 600)
        part = np.s_[y : y + random.integers(1, 300), x : x + random.integers(1, 400)]
        assert np.array_equal(large[part], whole[part])
    assert np.array_equal(large[:, :], whole)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_mask_is_the_same_to_the_bit_whether_its_image_is_read_by_parts_or_not(tmp_path, monkeypatch, kind):
    checkpoint(tmp_path / "model.pt")
    WRITERS[kind](tmp_path / "a.tif")
    masks = []
    for least, name in [(1, "parts.tif"), (2**40, "whole.tif")]:
        monkeypatch.setattr(large_tiff, "LARGE", least)
        done = inside("predict.py", "a.tif", "--out", name, cwd=tmp_path)
        assert done.returncode == 0 and ("by parts" in done.stdout) == (name == "parts.tif"), done.stderr
        assert [path.name for path in tmp_path.glob("*.part")] == []
        with tifffile.TiffFile(tmp_path / name) as file:
            masks.append(file.asarray())
            tags = {tag.code: tag.value for tag in file.pages[0].tags if tag.code > 33000}
        masks[-1] = masks[-1], tags
        assert is_ours(tmp_path / name)
    assert np.array_equal(masks[0][0], masks[1][0]) and masks[0][1] == masks[1][1]
    if tags:
        assert (tmp_path / "parts.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()
    else:
        assert np.array_equal(masks[0][0], 255 * oracle(tmp_path / "model.pt", read_image(tmp_path / "a.tif")))


@pytest.mark.parametrize("reject, needs", [(None, ""), (0.0, "--reject"), (-1.5, "--reject"), (2.0, "--reject")])
def test_an_image_that_may_be_rejected_is_never_read_by_parts(tmp_path, reject, needs):
    checkpoint(tmp_path / "model.pt")
    args = infer_arguments(["images", "out", "--score", "energy"])
    args.reject = reject
    assert predict.needs_whole(args, Segmenter.load(tmp_path / "model.pt"), tmp_path / "a.tif") == needs


def unet(path, classes=BLACK_AND_WHITE):
    torch.manual_seed(0)
    model = UNet(len(classes), 2, 2).eval()
    with torch.no_grad():  # each class somewhere
        model.classify.bias -= model(normalize(picture()[None], [0.5] * 3, [0.2] * 3)).mean((0, 2, 3))
    save_checkpoint(path, model, classes=classes, mean=[0.5] * 3, std=[0.2] * 3, settings={}, ignore=[])


@pytest.mark.parametrize("words", [[], ["--tta"], ["--halo", 4]], ids=str)
def test_a_unet_with_its_options_by_parts(tmp_path, monkeypatch, words):
    monkeypatch.setattr("segmenter.REGION", 256)
    classes = [{"name": "a", "value": [0, 0, 0]}, {"name": "b", "value": [1, 2, 3]}, {"name": "c", "value": [9, 9, 9]}]
    unet(tmp_path / "model.pt", classes)
    WRITERS["tiles"](tmp_path / "a.tif")
    (tmp_path / "in").mkdir()
    (tmp_path / "a.tif").rename(tmp_path / "in" / "a.tif")
    Image.fromarray(picture(height=40)).save(tmp_path / "in" / "small.png")
    words = ["in", "out", "--checkpoint", "model.pt", *words]
    done = inside("infer.py", *words, cwd=tmp_path)
    assert done.returncode == 0 and "2 masks in out" in done.stdout, done.stderr
    parts = (tmp_path / "out" / "a.tif").read_bytes()
    monkeypatch.setattr(large_tiff, "LARGE", 2**40)
    assert inside("infer.py", *words, cwd=tmp_path).returncode == 0
    assert (tmp_path / "out" / "a.tif").read_bytes() == parts
    assert len(np.unique(tifffile.imread(tmp_path / "out" / "a.tif"))) > 2


# ---------------------------------------------------------------------------------------------------
# Interrupted


def test_a_full_disk_is_told_and_the_other_images_go_on(tmp_path, monkeypatch):
    real = large_tiff.open_part

    @contextlib.contextmanager
    def full(*words):
        with real(*words):
            raise OSError(errno.ENOSPC, "No space left on device")

    checkpoint(tmp_path / "model.pt")
    (tmp_path / "in").mkdir()
    WRITERS["tiles"](tmp_path / "in" / "a.tif")
    Image.fromarray(picture(height=40)).save(tmp_path / "in" / "small.png")
    monkeypatch.setattr(large_tiff, "open_part", full)
    done = inside("infer.py", "in", "out", "--checkpoint", "model.pt", cwd=tmp_path)
    fails_in_one_line(done, "a.tif.part cannot be written (No space left on device)")
    assert (tmp_path / "out" / "small.png").exists() and "1 masks in out" in done.stdout


class Killed(Exception):
    """The process ends here."""


def test_a_run_that_was_killed_anywhere_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    """In the middle of a tile or of a number: what is left is kept as far as it is whole."""
    checkpoint(tmp_path / "model.pt")
    WRITERS["tiles"](tmp_path / "a.tif")
    words = ["predict.py", "a.tif", "--out", "mask.tif"]
    assert inside(*words, cwd=tmp_path).returncode == 0
    expected, part = (tmp_path / "mask.tif").read_bytes(), tmp_path / "mask.tif.part"
    (tmp_path / "mask.tif").unlink()

    def kill(*others, **named):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(large_tiff, "write_tiles", kill)
        assert "Killed" in inside(*words, cwd=tmp_path).stderr
    content, counted = part.read_bytes(), []
    original = large_tiff.write_large

    def counting(out, image, by_rows, *others):
        counted.clear()
        rows = lambda *given: (counted.append(top) or (top, strip) for top, strip in by_rows(*given))
        return original(out, image, rows, *others)

    monkeypatch.setattr(large_tiff, "write_large", counting)
    strips = len(list(itertools.groupby(tile.top for tile in tiles(470, 610, 8, 2)[2])))
    first = content.index(b"\n") + 1
    for length in [first, first + 5, first + 99, len(content) // 2, len(content) - 1, len(content)]:
        part.write_bytes(content[:length])
        done = inside(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "mask.tif").read_bytes() == expected and not part.exists()
        goes_on = "goes on at row" in done.stdout
        assert goes_on == (length > 0.9 * len(content)) and (len(counted) < strips) == goes_on
    middle = len(content) // 2
    part.write_bytes(content[:middle] + bytes(9) + content[middle + 9 :])  # as after a power cut
    assert inside(*words, cwd=tmp_path).returncode == 0
    assert (tmp_path / "mask.tif").read_bytes() == expected


def test_an_image_that_is_replaced_while_it_is_read_gets_no_mask(tmp_path, monkeypatch):
    """It would be that of two images."""
    checkpoint(tmp_path / "model.pt")
    WRITERS["tiles"](tmp_path / "a.tif")
    (tmp_path / "other.tif").write_bytes((tmp_path / "a.tif").read_bytes())
    os.utime(tmp_path / "other.tif", ns=(0, 0))
    original = large_tiff.tile_rows

    def replacing(*words):
        for rows in original(*words):
            yield rows
            if (tmp_path / "other.tif").exists():
                os.replace(tmp_path / "other.tif", tmp_path / "a.tif")

    with monkeypatch.context() as patch:
        patch.setattr(large_tiff, "tile_rows", replacing)
        done = inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path)
    fails_in_one_line(done, "a.tif was changed while it was read; predict it again")
    assert not (tmp_path / "mask.tif").exists()
    done = inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path)
    assert done.returncode == 0 and "goes on at row" not in done.stdout, done.stderr


def test_what_is_half_done_is_gone_before_another_process_may_begin(tmp_path, monkeypatch):
    checkpoint(tmp_path / "model.pt")
    WRITERS["tiles"](tmp_path / "a.tif")
    one_writer, left = large_tiff.one_writer, []

    @contextlib.contextmanager
    def watched(*words):
        with one_writer(*words):
            yield
            left.extend(tmp_path.glob("*.part"))

    monkeypatch.setattr(large_tiff, "one_writer", watched)
    assert inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path).returncode == 0
    assert (tmp_path / "mask.tif").exists() and left == []


def test_another_network_begins_anew_and_a_file_of_the_user_stays(tmp_path, monkeypatch):
    WRITERS["tiles"](tmp_path / "a.tif")
    masks, part = [], tmp_path / "mask.tif.part"
    for seed in 0, 1:
        checkpoint(tmp_path / "model.pt", seed=seed)
        assert inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path).returncode == 0
        masks.append((tmp_path / "mask.tif").read_bytes())
    assert masks[0] != masks[1]
    for seed in 0, 1:
        checkpoint(tmp_path / "model.pt", seed=seed)
        with monkeypatch.context() as patch:
            patch.setattr(large_tiff, "write_tiles", lambda *others: 1 / 0)
            assert "goes on at" not in inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path).stdout
    assert inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path).returncode == 0
    assert (tmp_path / "mask.tif").read_bytes() == masks[1]
    part.write_text("my notes")
    fails_in_one_line(inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path), "mask.tif.part exists and was")
    assert part.read_text() == "my notes"


BY_PARTS = """
import sys
from support import large_tiff
from support.arguments import predict_arguments

large_tiff.LARGE = 300 * 300
import predict
predict.predict(predict_arguments(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_process_leaves_what_the_next_one_goes_on_with(tmp_path):
    checkpoint(tmp_path / "model.pt")
    make_image(tmp_path / "a.tif", 2304)
    (tmp_path / "by_parts.py").write_text(BY_PARTS)
    words = ["a.tif", "--out"]
    assert Forked(tmp_path / "by_parts.py", *words, "whole.tif", cwd=tmp_path).wait() == 0
    process = Forked(tmp_path / "by_parts.py", *words, "mask.tif", cwd=tmp_path)
    part, half = tmp_path / "mask.tif.part", (tmp_path / "whole.tif").stat().st_size / 2
    while process.poll() is None and not (part.exists() and part.stat().st_size > half):
        time.sleep(0.01)
    process.kill()
    assert process.wait() in (-signal.SIGKILL, 1) and not (tmp_path / "mask.tif").exists()
    assert "goes on at row" in inside("predict.py", *words, "mask.tif", cwd=tmp_path).stdout
    assert (tmp_path / "mask.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell what a process has needed")
def test_memory_stays_flat(tmp_path):
    """As a whole, 6144² would take 300 MB: the pixels as Pillow has them, as we have them, the mask."""
    extra = []
    for side in 4096, 6144:
        make_image(tmp_path / "big.tif", side)
        words = ["-m", "benchmarks.gigapixel", "--measure", tmp_path, "--checkpoint", ROOT / "checkpoints" / "fcn.pt"]
        told, errors = Forked(*words, cwd=ROOT).communicate()
        assert told, errors
        extra.append(json.loads(told)[1] / 1e6)
    assert max(extra) < 200 and extra[1] - extra[0] < 50


# ---------------------------------------------------------------------------------------------------
# Refused


def test_what_needs_the_whole_image_is_done_below_the_limit_and_refused_above(tmp_path, monkeypatch):
    unet(tmp_path / "model.pt")
    WRITERS["tiles"](tmp_path / "a.tif")
    Image.new("L", (610, 470)).save(tmp_path / "truth.png")
    Image.fromarray(picture()).save(tmp_path / "a.png")
    cases = [
        (["--out", "mask.png"], "a mask that ends in .png, not .tif, needs"),
        (["--out", "mask.tif", "--mask", "truth.png"], "--mask needs"),
        (["--out", "mask.tif", "--overlay", "line.png"], "--overlay needs"),
        (["--out", "mask.tif", "--adapt", "0.5"], "--adapt needs"),
    ]
    for words, _ in cases:
        done = inside("predict.py", "a.tif", *words, cwd=tmp_path)
        assert done.returncode == 0 and "by parts" not in done.stdout, done.stderr
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400 * 400)
    before = sorted(tmp_path.iterdir())
    for words, expect in cases:
        fails_in_one_line(inside("predict.py", "a.tif", *words, cwd=tmp_path), "a.tif has 0 megapixels", expect)
    fails_in_one_line(inside("predict.py", "a.png", "--out", "b.tif", cwd=tmp_path), "a.png is too large", "TIFF files")
    assert sorted(tmp_path.iterdir()) == before
    assert inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path).returncode == 0


def test_a_network_with_a_zoom_needs_the_whole_image(tmp_path, monkeypatch):
    model = checkpoint(tmp_path / "model.pt")
    facts = {"classes": BLACK_AND_WHITE, "mean": [0.5] * 3, "std": [0.2] * 3, "ignore": []}
    save_checkpoint(tmp_path / "model.pt", model, settings={"zoom": 0.5}, **facts)
    WRITERS["tiles"](tmp_path / "a.tif")
    words = ["predict.py", "a.tif", "--out", "mask.tif"]
    assert "by parts" not in inside(*words, cwd=tmp_path).stdout
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400 * 400)
    fails_in_one_line(inside(*words, cwd=tmp_path), "the network's --zoom of 0.5, not 1, needs")


def test_a_folder_of_large_images_names_those_that_cannot_be(tmp_path, monkeypatch):
    checkpoint(tmp_path / "model.pt")
    (tmp_path / "in").mkdir()
    WRITERS["tiles"](tmp_path / "in" / "a.tif")
    Image.fromarray(picture()).save(tmp_path / "in" / "b.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400 * 400)
    process = inside("infer.py", "in", "out", "--checkpoint", "model.pt", cwd=tmp_path)
    fails_in_one_line(process, "b.png is too large", "TIFF files")
    assert [path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")] == ["a.tif"]
    process = inside("infer.py", "in", "out2", "--checkpoint", "model.pt", "--format", "png", cwd=tmp_path)
    assert process.returncode == 1 and "a mask that ends in .png" in process.stderr


def refused(path, *words):
    """The promise about a file above the limit that cannot be read by parts: a BadInput of these words."""
    with pytest.raises(BadInput) as error:
        open_large(path)[:, :]
    for word in words:
        assert word in str(error.value)


def test_files_that_cannot_be_read_by_parts_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400 * 400)
    path = tmp_path / "a.tif"
    turned = [(274, 3, 1, 6, True)]
    tifffile.imwrite(path, picture(), photometric="rgb", extratags=turned)
    refused(path, "a.tif is turned by its orientation")
    tifffile.imwrite(path, picture(np.float32, 1)[:, :, 0], compression="lzma", tile=(64, 64))
    refused(path, "a.tif", "LZMA")
    geotiff(path, picture(), photometric="RGB", sparse_ok=True, tiled=True, blockxsize=64, blockysize=64)
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = file.pages[0].tags[325]
        counts.overwrite([0, *counts.value[1:]])
    refused(path, "leaves out tiles")
    monkeypatch.setattr(segments, "MOST_BYTES", 2**16)
    tifffile.imwrite(path, picture(), photometric="rgb", compression="zlib", rowsperstrip=470)
    refused(path, "in pieces of 610x470 pixels", "gdal_translate")
    monkeypatch.setattr(segments, "LONGEST", 600)
    refused(path, "610x470 pixels; expected at most 600 a side")


def test_a_strangers_file_does_not_exhaust_memory(tmp_path, monkeypatch):
    """A header that promises more than there is, tiles that unpack to more than a tile, tiles beyond the file."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400 * 400)
    path = tmp_path / "a.tif"
    bomb = zlib.compress(bytes(2**26))
    tiles_of = lambda tile: itertools.repeat(tile, 20)
    for dtype in np.float32, np.uint8:  # read by tifffile, by Pillow
        with tifffile.TiffWriter(path) as file:
            options = {"compression": "adobe_deflate", "photometric": "minisblack", "tile": (128, 128)}
            file.write(tiles_of(bomb), shape=(470, 610), dtype=dtype, **options)
        before = peak_memory()
        if dtype == np.float32:
            refused(path, "is damaged")
        else:
            assert not open_large(path)[:, :].any()  # Pillow unpacks a tile, and no more
            with pytest.raises(BadInput, match="is damaged"):  # by tifffile, as bands are chosen
                open_large(path, Rendering(bands=(1, 1, 1)))[:, :]
        assert peak_memory() - before < 50e6
    for number, value, expect in [
        (324, 2**31, "ends before its pixels do"),
        (325, 2**31, "ends before its pixels do"),
        (256, 2**30, "pixels; expected at most 131072 a side"),
        (257, 2**16, "it has 20 tiles"),
        (322, 65520, "it has 20 tiles"),
    ]:
        with tifffile.TiffWriter(path) as file:
            whole = zlib.compress(bytes(128 * 128 * 4))
            file.write(tiles_of(whole), shape=(470, 610), dtype=np.float32, **options)
        with tifffile.TiffFile(path, mode="r+") as file:
            found = file.pages[0].tags[number]
            found.overwrite([value, *found.value[1:]] if found.count > 1 else value)
        refused(path, expect)
        assert peak_memory() - before < 50e6
    path.write_bytes(path.read_bytes()[:1000])
    fails_in_one_line(inside("predict.py", "a.tif", "--out", "mask.tif", cwd=tmp_path), "a.tif")


def peak_memory():
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_windows_of_anything_that_gives_its_parts(tmp_path):
    """What lies above a row is neither asked for nor computed."""
    asked = []

    class Image:
        shape = (700, 300, 3)

        def __getitem__(self, part):
            asked.append(part[0].start)
            return np.zeros((700, 300, 3), np.uint8)[part]

    cut = [tile for tile, _ in cut_windows(Image(), 8, 2, begin=400)]
    assert [tile for tile in tiles(700, 300, 8, 2)[2] if tile.bottom > 400] == cut
    assert min(asked) > 0 and len(asked) == len(cut)
