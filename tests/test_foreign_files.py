"""Files as other programs write them: what is read of them is what NumPy and tifffile find there."""

import hashlib
import itertools
import json
import os
import struct
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import rasterio
import tifffile
from conftest import fails_in_one_line, inside, write_pair
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from challenges.cityscapes import prepare as street_scenes
from data import load
from infer import mask_paths
from model import FCN, load_network
from segmenter import Segmenter
from support.checkpoint import save_checkpoint
from support.classes import scan_classes
from support.files import BadInput, check_writable
from support.images import Rendering, find_rendering, head_and_length, image_size, is_lossy, read_image
from support.masks import IGNORE, read_mask, read_pair, to_indices, to_values
from support.names import READABLE, find_images
from support.notes import FOUND, note, print_notes
from support.onnx_file import load_onnx

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # of Pillow, in a big-endian BigTIFF

COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255), (9, 9, 9)], np.uint8)  # of four classes


def save_palette(path, classes, order, colours=COLOURS):
    """Write class indices (H, W) as a palette file in which class order[i] has the index i."""
    picture = Image.fromarray(np.argsort(order).astype(np.uint8)[classes])
    picture.putpalette(colours[list(order)].tobytes())
    assert picture.mode == "P"
    picture.save(path)


def palette_folder(folder, orders):
    """Give each mask of a new data set a palette in one of these orders; returns the true class indices."""
    truths = []
    for number, order in enumerate(orders):
        write_pair(folder, f"n{number}", number, values=(0, 1, 2, 3))
        path = folder / "masks" / f"n{number}.png"
        truths.append(np.array(Image.open(path)))
        save_palette(path, truths[-1], order)
    return truths


# ---------------------------------------------------------------------------------------------------
# Palettes


@pytest.mark.parametrize("in_table", [False, True])
def test_palettes_in_another_order_give_the_same_classes(tmp_path, capsys, in_table):
    truths = palette_folder(tmp_path, [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0), (0, 1, 2, 3)])
    if in_table:
        table = [{"name": f"class {number}", "value": colour} for number, colour in enumerate(COLOURS.tolist())]
        (tmp_path / "classes.json").write_text(json.dumps({"classes": table}))
    found = load(str(tmp_path))
    assert ("palettes differ" in capsys.readouterr().out) == (not in_table)
    values = [one["value"] for one in found.classes]
    assert sorted(values) == sorted(COLOURS.tolist())
    for number, truth in enumerate(truths):
        pair = tmp_path / "images" / f"n{number}.png", tmp_path / "masks" / f"n{number}.png"
        _, mask = read_pair(*pair, found.classes)
        assert np.array_equal(np.array(values)[mask], COLOURS[truth])
    assert sum(len(part) for part in (found.training, found.validation)) == 4


def test_palettes_that_agree_on_what_occurs_leave_the_indices_classes(tmp_path, capsys):
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    save_palette(paths[0], np.array([[0, 1], [1, 0]]), (0, 1, 2, 3))
    save_palette(paths[1], np.array([[0, 1], [1, 0]]), (0, 1, 3, 2))  # what it has in another order does not occur
    Image.fromarray(np.array([[0, 1], [2, 2]], np.uint8)).save(paths[2])  # no palette
    assert [one["value"] for one in scan_classes(paths)[0]] == [0, 1, 2]
    assert not capsys.readouterr().out


def test_a_colour_that_has_another_index_in_each_file_is_one_class(tmp_path, capsys):
    paths = [tmp_path / f"{name}.png" for name in "ab"]
    save_palette(paths[0], np.array([[0, 1]]), (0, 1, 2, 3))
    save_palette(paths[1], np.array([[0, 1]]), (0, 2, 1, 3))  # red is the index 2 here, and no index has two colours
    assert np.array(Image.open(paths[1])).tolist() == [[0, 2]]
    assert [one["value"] for one in scan_classes(paths)[0]] == [[0, 0, 0], [255, 0, 0]]
    assert "a class is a colour, not an index" in capsys.readouterr().out


def test_palettes_of_greys_and_palettes_beside_coloured_masks_are_colours_too(tmp_path):
    paths, greys = (
        [tmp_path / f"{name}.png" for name in "ab"],
        np.repeat(np.array([[0], [80], [160], [255]]), 3, axis=1),
    )
    for path, order in zip(paths, [(0, 3, 1, 2), (3, 0, 1, 2)]):
        save_palette(path, np.array([[0, 3]]), order, greys.astype(np.uint8))
    classes, _ = scan_classes(paths)
    assert [one["value"] for one in classes] == [[0, 0, 0], [255, 255, 255]]
    save_palette(paths[0], np.array([[0, 1]]), (0, 1, 2, 3))
    Image.fromarray(COLOURS[[[0, 2]]]).save(paths[1])
    assert [one["value"] for one in scan_classes(paths)[0]] == [[0, 0, 0], [0, 0, 255], [255, 0, 0]]


def test_a_table_without_colours_makes_indices_classes_and_says_that_palettes_differ(tmp_path, capsys):
    palette_folder(tmp_path, [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0)])
    table = [{"name": f"class {number}", "value": number} for number in range(4)]
    (tmp_path / "classes.json").write_text(json.dumps({"classes": table}))
    assert [one["value"] for one in load(str(tmp_path)).classes] == [0, 1, 2, 3]
    assert "lists no colours, a class is an index all the same" in capsys.readouterr().out


def test_palettes_of_camvid_are_its_colours(tmp_path):
    colours = np.array([entry["value"] for entry in street_scenes.CAMVID_COLOURS], np.uint8)
    number = np.random.default_rng(0).integers(0, len(colours), (20, 37))
    expected = street_scenes.from_colours(colours[number], tmp_path / "a_L.png")
    for order in (range(len(colours)), np.random.default_rng(1).permutation(len(colours))):
        save_palette(tmp_path / "a_L.png", number, order, colours)
        mask = street_scenes.read_scene_mask("camvid", tmp_path / "a_L.png")
        assert np.array_equal(street_scenes.from_colours(mask, tmp_path / "a_L.png"), expected)


@pytest.mark.parametrize("count", [2, 4])
def test_evaluate_compares_palettes_by_colour(tmp_path, count):
    orders = [(0, 1, 2, 3), (2, 0, 3, 1), (3, 2, 1, 0)]
    palette_folder(tmp_path / "true", orders)
    palette_folder(tmp_path / "predicted", orders[::-1])
    if count == 2:
        for part, number in ((part, number) for part in ("true", "predicted") for number in range(3)):
            path = tmp_path / part / "masks" / f"n{number}.png"
            colours = np.asarray(Image.open(path).convert("RGB"))
            save_palette(path, (colours != 0).any(axis=2).astype(int), (0, 1)[:: (-1) ** number], COLOURS[[0, 1]])
    done = inside("evaluate.py", tmp_path / "predicted/masks", tmp_path / "true/masks", cwd=tmp_path)
    assert done.returncode == 0 and "palettes differ" in done.stdout and "accuracy 1.0000" in done.stdout, done


# ---------------------------------------------------------------------------------------------------
# TIFF

KINDS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"]


def layouts(bands):
    """The ways to store so many bands: options of tifffile.imwrite."""
    orders = [False, True] if bands > 1 else [False]
    colours = ["minisblack", "rgb"] if bands > 2 else ["minisblack"]
    ways = itertools.product(orders, colours, [None, "deflate"], [None, (16, 16)], "<>", [False, True])
    for planar, photometric, compression, tile, byteorder, bigtiff in ways:
        yield (
            planar,
            {
                "photometric": photometric,
                "planarconfig": ("separate" if planar else "contig") if bands > 1 else None,
                "compression": compression,
                "tile": tile,
                "byteorder": byteorder,
                "bigtiff": bigtiff,
            },
        )


@pytest.mark.parametrize("bands", [1, 3, 4, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tiff_is_read_as_numpy_computes_it(tmp_path, kind, bands):
    random, path = np.random.default_rng(0), tmp_path / "a.tif"
    most = {"uint8": 255, "int8": 127, "int16": 32767, "float16": 1, "float32": 1, "float64": 1}.get(kind, 65535)
    pixels = (random.random((20, 37, bands)) * most).astype(kind)
    classes = random.integers(0, 5, (20, 37)).astype(kind)
    if most == 1:
        expected = np.rint(pixels.astype(float) * 255)
    elif most <= 255:
        expected = pixels
    elif kind == "uint16" and bands > 1:
        expected = pixels // 256  # as Pillow does it where it can read such a file
    else:
        expected = np.rint(pixels.astype(float) * 255 / 65535)
    expected = np.broadcast_to(expected[:, :, : 1 if bands == 1 else 3], (20, 37, 3)).astype(np.uint8)
    for planar, options in layouts(bands):
        tifffile.imwrite(path, pixels.transpose(2, 0, 1) if planar else pixels.squeeze(), **options)
        assert image_size(path) == (20, 37), options
        if bands == 4 and options["photometric"] == "rgb" and kind in ("uint8", "uint16"):  # the fourth is opacity
            continue
        assert np.array_equal(read_image(path), expected), options
        if bands == 1:
            tifffile.imwrite(path, classes, **options)
            mask = read_mask(path)
            assert mask.dtype == np.int32 and np.array_equal(mask, classes), options


def bare_tiff(path, values, bits, photometric, byteorder):
    """Write whole numbers (H, W) as a TIFF file of 1, 2, 4, 8, 12 or 16 bits a pixel, as no writer here can."""
    height, width = values.shape
    pattern = values[:, :, None] >> np.arange(bits)[::-1] & 1  # the bits, highest first
    strip = np.packbits(pattern.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    if bits == 16:
        strip = values.astype(f"{byteorder}u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 122), (277, 1), (278, height)]
    tags.append((279, len(strip)))  # 122: where the strip begins, behind 8 bytes, 2, nine times 12, and 4
    entries = b"".join(struct.pack(f"{byteorder}HHII", tag, 4, 1, value) for tag, value in tags)
    head = (b"II*\0" if byteorder == "<" else b"MM\0*") + struct.pack(f"{byteorder}IH", 8, len(tags))
    path.write_bytes(head + entries + bytes(4) + strip)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_few_bits_are_read_as_numpy_packs_them(tmp_path, bits, photometric, byteorder):
    values, path = np.random.default_rng(0).integers(0, 2**bits, (20, 37)), tmp_path / "a.tif"
    bare_tiff(path, values, bits, photometric, byteorder)
    if (bits, photometric, byteorder) in [(12, 0, "<"), (12, 0, ">"), (12, 1, ">"), (16, 0, ">")]:  # nobody here can
        for read in (read_image, read_mask):
            with pytest.raises(BadInput, match="expected grey or RGB|imagecodecs"):
                read(path)
        return
    bright = values if photometric == 1 else 2**bits - 1 - values
    full = 2**bits - 1
    assert np.array_equal(read_image(path, rendering=Rendering(full))[:, :, 0], np.rint(bright * (255 / full)))
    assert np.array_equal(read_mask(path), 255 * bright if bits == 1 else bright if bits < 12 else values)
    with rasterio.open(path) as file:  # the test writes what it means
        assert np.array_equal(file.read(1), values)


@pytest.mark.parametrize("compression", [None, "raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F"])
def test_pillow_and_tifffile_agree_with_us(tmp_path, mode, compression):
    """On files of Pillow's own writer; where a predictor can be, with and without one."""
    random, path = np.random.default_rng(0), tmp_path / "a.tif"
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        picture = Image.fromarray(random.integers(0, 2 if mode == "F" else 60000, (20, 37)).astype(kind))
    else:
        pixels = random.integers(0, 256, (20, 37, 4), np.uint8)
        pixels[:, :, 3] = random.choice([0, 120, 255], (20, 37), p=[0.3, 0.2, 0.5])  # opacity
        picture = Image.fromarray(pixels).convert(mode)
    predicts = mode != "1" and compression in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate")
    for predictor in (1, 2) if predicts else (1,):
        picture.save(path, compression=compression, tiffinfo={317: predictor} if predictor > 1 else {})
        raw = np.asarray(picture)
        with tifffile.TiffFile(path) as file:
            if compression in (None, "raw", "tiff_adobe_deflate", "tiff_deflate") and mode != "LA":  # what it unpacks
                assert np.array_equal(file.asarray(), raw)
        if mode in ("RGBA", "LA"):
            white = Image.new("RGBA", picture.size, "white")
            expected = np.asarray(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))
        elif mode in ("I;16", "I", "F"):
            expected = np.rint(raw * (255 / (1 if mode == "F" else 65535)))
        else:
            expected = np.asarray(picture.convert("RGB"))
        expected = expected if expected.ndim == 3 else np.repeat(expected[:, :, None], 3, axis=2)
        assert np.array_equal(read_image(path), expected)
        if mode in ("1", "L", "P", "I;16", "I", "F"):
            assert np.array_equal(read_mask(path), raw * (255 if mode == "1" else 1))


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_opacity_hides_colours_in_any_layout(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max + 1, (20, 37, 4)).astype(kind)
    pixels[:, :, 3] = np.where(np.arange(37) < 20, 0, np.iinfo(kind).max)
    for planar, options in layouts(4):
        if options["photometric"] == "rgb":
            stored = pixels.transpose(2, 0, 1) if planar else pixels
            tifffile.imwrite(tmp_path / "a.tif", stored, extrasamples=["unassalpha"], **options)
            found = read_image(tmp_path / "a.tif")
            assert (found[:, :20] == 255).all()
            assert np.array_equal(found[:, 20:], pixels[:, 20:, :3] >> 8 * (pixels.itemsize - 1)), options


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_what_tifffile_alone_cannot_unpack_is_read_by_pillow_or_refused(tmp_path, compression, orientation):
    random, exif = np.random.default_rng(0), Image.Exif()
    exif[0x0112] = orientation
    for pixels in [
        random.integers(0, 5, (20, 37)).astype(np.int32),
        random.integers(0, 5, (20, 37)).astype(np.float32),
    ]:
        path = tmp_path / "a.tif"
        Image.fromarray(pixels).save(path, compression=compression, exif=exif)
        expected = TURNED[orientation](pixels)
        assert np.array_equal(read_mask(path), expected) and image_size(path) == expected.shape
        Image.fromarray(pixels / 4 if pixels.dtype.kind == "f" else pixels * 10_000).save(path, compression=compression)
        expected = pixels * 255 / 4 if pixels.dtype.kind == "f" else pixels * 10_000 * 255 / 65535
        assert np.array_equal(read_image(path)[:, :, 0], np.rint(expected))


TURNED = {  # by EXIF's numbers
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.float32])
def test_orientation_is_the_same_whoever_reads_the_file(tmp_path, orientation, kind):
    pixels, path = np.random.default_rng(0).integers(0, 256, (20, 37)).astype(kind), tmp_path / "a.tif"
    for options in [{}, {"compression": "deflate"}, {"tile": (16, 16)}, {"rowsperstrip": 5}]:
        tifffile.imwrite(path, pixels, extratags=[(274, "H", 1, orientation, True)], **options)
        assert np.array_equal(read_mask(path), TURNED[orientation](pixels)), options
        assert image_size(path) == TURNED[orientation](pixels).shape


def float_masks(folder, nodata, kind, values):
    """A data set of masks as QGIS writes them: floats, and a tag with the value that stands for no data."""
    for number in range(4):
        write_pair(folder, f"n{number}", number, values=(0, 1, 2, 3))
        path = folder / "masks" / f"n{number}.png"
        mask = np.array(values, kind)[np.array(Image.open(path))]
        tags = [(42113, "s", 0, nodata, True)] if nodata else []
        tifffile.imwrite(path.with_suffix(".tif"), mask, extratags=tags)
        path.unlink()


@pytest.mark.parametrize(
    "nodata, value, kind",
    [
        ("-9999", -9999, np.float32),
        ("nan", np.nan, np.float64),
        ("-3.4028234663852886e+38", -3.4028234663852886e38, np.float32),
        ("-32768", -32768, np.int16),
        ("255", 255, np.uint8),
        ("255", 255, np.float64),
        (None, np.nan, np.float32),
    ],
)
@pytest.mark.parametrize("table", [False, True])
def test_no_data_is_ignored(tmp_path, capsys, nodata, value, kind, table):
    float_masks(tmp_path, nodata, kind, (0, 1, 2, value))
    if table:
        rows = [{"name": name, "value": number} for number, name in enumerate("abc")]
        (tmp_path / "classes.json").write_text(json.dumps({"classes": rows}))
    found = load(str(tmp_path))
    assert [one["value"] for one in found.classes] == [0, 1, 2]
    assert found.ignore == ([255] if value == 255 else [])
    assert ("255: no data, the TIFF files say, and so ignored" in capsys.readouterr().out) == (value == 255)
    for number in range(4):
        path = tmp_path / "masks" / f"n{number}.tif"
        stored = tifffile.imread(path)
        unknown = np.isnan(stored) if np.isnan(value) else stored == kind(value)
        mask = to_indices(read_mask(path), found.classes, path, found.ignore)
        assert (mask[:5, :9] == IGNORE).all() and np.array_equal(mask == IGNORE, unknown)
        assert np.array_equal(mask[~unknown], stored[~unknown])


def test_what_is_no_data_but_one_of_two_values_stays_a_class(tmp_path, capsys):
    float_masks(tmp_path, "0", np.uint8, (0, 1, 1, 0))
    found = load(str(tmp_path))
    assert [one["value"] for one in found.classes] == [0, 1] and found.ignore == []
    assert "0: no data, the TIFF files say; but then one class is left" in capsys.readouterr().out


def test_no_data_in_an_image_is_black_and_said(tmp_path, capsys):
    float_masks(tmp_path, None, np.uint8, (0, 1, 2, 2))
    for path in (tmp_path / "images").iterdir():
        pixels = np.array(Image.open(path)).astype(np.float32) / 255
        pixels[3:9, 2:7] = -9999
        tifffile.imwrite(
            path.with_suffix(".tif"), pixels, photometric="rgb", extratags=[(42113, "s", 0, "-9999", True)]
        )
        path.unlink()
        found = read_image(path.with_suffix(".tif"))
        assert (found[3:9, 2:7] == 0).all() and np.array_equal(found[9:], np.rint(pixels[9:] * 255))
    load(str(tmp_path))
    assert ".tif and 3 more: what it marks as no data is read as black" in capsys.readouterr().out


def test_bands_that_are_left_out_are_said_once(tmp_path, capsys):
    float_masks(tmp_path, None, np.uint8, (0, 1, 2, 2))
    for number, path in enumerate((tmp_path / "images").iterdir()):
        colours = np.array(Image.open(path))
        plain = {"photometric": "rgb", "extrasamples": ["unspecified"] * (1 + number % 2)}
        path.unlink()
        tifffile.imwrite(path.with_suffix(".tif"), np.dstack([colours, colours])[:, :, : 4 + number % 2], **plain)
        assert np.array_equal(read_image(path.with_suffix(".tif")), colours)
    load(str(tmp_path))
    told = capsys.readouterr().out
    assert told.count("of its 5 bands the first three are read") == 1 and told.count("and 1 more: of its") == 2


def test_masks_that_are_no_classes_are_refused(tmp_path):
    for array, words in [
        (np.full((4, 4), 0.5), "holds 0.5; expected a whole number"),
        (np.full((4, 4), 2**40), "expected 0 to 65535"),
        (np.full((4, 4), -(2**40)), "expected 0 to 65535"),
        (np.random.default_rng(0).random((4, 4, 3)), "colours of float64"),
        (np.full((4, 4), 1j), "complex128"),
        (np.arange(400).reshape(20, 20), "if it numbers objects, --threshold 1 makes them one class"),
    ]:
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb" if array.ndim == 3 else "minisblack")
        with pytest.raises(BadInput) as caught:
            scan_classes([tmp_path / "a.tif"])
        assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32])
def test_a_threshold_of_1_makes_one_class_of_numbered_objects(tmp_path, dtype):
    """As the message says; on a scale of brightness, the first hundred objects of 16 bits would be background."""
    numbers = np.zeros((40, 30), dtype)
    numbers[5:25, 5:25] = np.arange(1, 401).reshape(20, 20) % 251 + (numbers.itemsize > 1) * 3 + 1
    tifffile.imwrite(tmp_path / "a.tif", numbers)
    assert np.array_equal(read_mask(tmp_path / "a.tif", threshold=1), np.where(numbers > 0, 255, 0))
    if dtype == np.uint16:
        Image.fromarray(numbers).save(tmp_path / "a.png")
        assert np.array_equal(read_mask(tmp_path / "a.png", threshold=1), np.where(numbers > 0, 255, 0))
        tifffile.imwrite(tmp_path / "b.tif", np.where(numbers > 100, 40000, 10000).astype(np.uint16))
        assert np.array_equal(read_mask(tmp_path / "b.tif", threshold=128), np.where(numbers > 100, 255, 0))


def test_of_a_photograph_that_something_was_cut_out_of_the_opacity_is_named(tmp_path):
    photograph = np.random.default_rng(0).integers(0, 256, (40, 30, 4), np.uint8)
    photograph[:, :, 3] = np.where(np.arange(30) < 10, 255, 0)
    Image.fromarray(photograph).save(tmp_path / "a.png")
    with pytest.raises(BadInput, match="its opacity is the mask: save that alone") as caught:
        scan_classes([tmp_path / "a.png"])
    assert "threshold" not in str(caught.value)


def test_damaged_files_for_tifffile_are_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60000, (3, 90, 80)).astype(np.uint16)
    for options in [{}, {"tile": (16, 16)}, {"compression": "deflate"}, {"compression": "deflate", "tile": (16, 16)}]:
        tifffile.imwrite(tmp_path / "a.tif", pixels.astype(np.int32), photometric="rgb", **options)
        whole = (tmp_path / "a.tif").read_bytes()
        for share in (0.02, 0.5, 0.95):
            (tmp_path / "cut.tif").write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(BadInput, match="cut.tif is no readable image"):
                read_image(tmp_path / "cut.tif")


# ---------------------------------------------------------------------------------------------------
# 16 bits that are not full


def deep_png(path, pixels, kind):
    """Write uint16 (H, W, bands) as a PNG of 16 bits, which Pillow writes of greys only; kind: the header's number."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    )


def save_deep(path, pixels):
    """Write uint16 (H, W) or (H, W, bands) to a file in the way that its name says."""
    if path.suffix == ".png":
        deep_png(path, pixels.reshape(*pixels.shape[:2], -1), {1: 0, 2: 4, 3: 2, 4: 6}[pixels[0, 0].size])
    else:
        colours = {"photometric": "rgb"} if pixels.ndim == 3 else {}
        compression = "deflate" if "deflate" in path.name else None
        planar = {"planarconfig": "separate"} if "planar" in path.name else {}
        pixels = pixels.transpose(2, 0, 1) if planar else pixels
        byteorder = ">" if "big" in path.name else "<"
        tifffile.imwrite(path, pixels, compression=compression, byteorder=byteorder, **colours, **planar)


DEEP = [("a.png", 2), ("planar.tif", 3)] + [
    (name, bands) for name in ("a.png", "a.tif", "big.tif", "deflate.tif", "bigdeflate.tif") for bands in (1, 3, 4)
]


@pytest.mark.parametrize("name, bands", DEEP)
@pytest.mark.parametrize("full", [255, 1023, 4095, 16383, 65535])
def test_the_full_scale_of_16_bits_is_the_least_that_holds_all_values(tmp_path, capsys, name, bands, full):
    pixels = np.random.default_rng(0).integers(full // 3, full + 1, (20, 37, bands)).astype(np.uint16)
    pixels[3, 3] = full
    pixels[:, :, bands if bands % 2 else bands - 1 :] = 65535  # opacity
    save_deep(tmp_path / name, pixels[:, :, 0] if bands == 1 else pixels)
    assert find_rendering([tmp_path / name]) == Rendering(full)
    assert (f"{full} is white" in capsys.readouterr().out) == (full != 65535)
    colours = np.broadcast_to(pixels[:, :, : 3 if bands > 2 else 1], (20, 37, 3))
    exact = bands == 1 or full != 65535  # else Pillow's high bytes, as ever
    expected = np.rint(colours * (255 / full)) if exact else colours // 256
    assert np.array_equal(read_image(tmp_path / name, rendering=Rendering(full)), expected)


@pytest.mark.parametrize("full", [4095, 65535])
def test_where_0_is_white_16_bits_are_turned_as_8_are(tmp_path, full):
    pixels = np.random.default_rng(0).integers(0, full + 1, (20, 37)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    assert np.array_equal(
        read_image(tmp_path / "a.tif", rendering=Rendering(full))[:, :, 1], 255 - np.rint(pixels * (255 / full))
    )
    tifffile.imwrite(tmp_path / "a.tif", (pixels >> 4).astype(np.uint8), photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "a.tif")[:, :, 1], 255 - (pixels >> 4).astype(np.uint8))


def camera_folder(folder, scale):
    """A data set of 16-bit images whose values are those of 8 bits times the scale."""
    for number in range(5):
        write_pair(folder, f"n{number}", number)
        path = folder / "images" / f"n{number}.png"
        pixels = np.array(Image.open(path)).astype(np.uint16) * scale
        save_deep(path, pixels)


@pytest.mark.slow
def test_a_network_sees_a_camera_of_12_bits_as_it_sees_8(tmp_path):
    """In training, of a folder and of one pair, in prediction, with ONNX and in evaluation; and it says so."""
    for number in range(5):
        write_pair(tmp_path / "eight", f"n{number}", number)
    camera_folder(tmp_path / "twelve", 16)
    camera_folder(tmp_path / "other", 257)
    words = ["--epochs", 1, "--steps", 2, "--batch", 2, "--patch", 32]
    for name in ("eight", "twelve"):
        done = inside("train.py", "--data", name, "--out", f"runs/{name}", *words, cwd=tmp_path)
        assert done.returncode == 0 and ("4095 is white, as of 12 bits" in done.stdout) == (name == "twelve"), done
    done = inside("train.py", "twelve/images/n0.png", "twelve/masks/n0.png", "--out", "runs/one", *words, cwd=tmp_path)
    assert done.returncode == 0 and "4095 is white" in done.stdout, done
    eight, twelve = (load_network(tmp_path / "runs" / name / "model.pt")[1] for name in ("eight", "twelve"))
    assert (eight["full_scale"], twelve["full_scale"]) == (65535, 4095)
    np.testing.assert_allclose(twelve["mean"], eight["mean"], atol=0.01)
    segment = Segmenter.load(tmp_path / "runs/twelve/model.pt")
    path = tmp_path / "twelve/images/n0.png"
    colours = np.array(Image.open(tmp_path / "eight/images/n0.png")).astype(float)
    assert np.array_equal(segment.read(path), np.rint(colours * 16 * 255 / 4095))
    for words in [
        ("predict.py", path, "--mask", tmp_path / "twelve/masks/n0.png"),
        ("infer.py", "twelve/images", "out"),
        ("-m", "tools.report", "runs/twelve", "--images", "twelve/images", "--masks", "twelve/masks"),
    ]:
        more = [] if "-m" in words else ["--checkpoint", "runs/twelve/model.pt"]
        done = inside(*words, *more, cwd=tmp_path)
        assert done.returncode == 0 and "eighth" not in done.stdout, done
    assert np.array_equal(read_mask(tmp_path / "out/n0.png"), to_values(segment(segment.read(path)), segment.classes))
    done = inside("predict.py", "other/images/n0.png", "--checkpoint", "runs/twelve/model.pt", cwd=tmp_path)
    fails_in_one_line(
        done, "n0.png holds values from", "expected 0 to 4095, the full scale of what the network learned"
    )
    done = inside("predict.py", path, "--checkpoint", "runs/eight/model.pt", cwd=tmp_path)
    assert done.returncode == 0 and "less than an eighth of 65535" in done.stdout, done


@pytest.mark.slow
def test_an_onnx_file_knows_the_full_scale(tmp_path, no_curves):
    camera_folder(tmp_path / "data", 16)
    words = ["--epochs", 1, "--steps", 2, "--batch", 2, "--patch", 32]
    assert inside("train.py", "--data", "data", "--out", "runs", *words, cwd=tmp_path).returncode == 0
    done = inside("-m", "tools.export", "runs/model.pt", "--out", "model.onnx", cwd=tmp_path)
    assert done.returncode == 0, done
    assert load_onnx(tmp_path / "model.onnx")[1]["full_scale"] == 4095
    whole, small = Segmenter.load(tmp_path / "runs/model.pt"), Segmenter.load(tmp_path / "model.onnx")
    path = tmp_path / "data/images/n1.png"
    assert np.array_equal(whole.read(path), small.read(path)) and whole.read(path).max() > 128


def test_a_full_scale_that_no_camera_has_is_refused(tmp_path):
    network = FCN(classes=2)
    metadata = {"classes": [{"name": "a", "value": 0}, {"name": "b", "value": 1}], "ignore": [], "mean": [0.5] * 3}
    metadata |= {"std": [0.2] * 3, "settings": {}}
    save_checkpoint(tmp_path / "old.pt", network, **metadata)
    assert Segmenter.load(tmp_path / "old.pt").rendering == Rendering()
    for wrong in (0, 1000, "4095", [255], None):
        save_checkpoint(tmp_path / "wrong.pt", network, **metadata, full_scale=wrong)
        with pytest.raises(BadInput, match="full_scale"):
            load_network(tmp_path / "wrong.pt")


def test_the_fingerprint_of_8_bits_does_not_depend_on_the_scale_of_others(tmp_path):
    camera_folder(tmp_path / "a", 16)
    camera_folder(tmp_path / "b", 257)
    for number in range(5):
        write_pair(tmp_path / "c", f"n{number}", number)
    found = {name: load(str(tmp_path / name)) for name in "abc"}
    assert [found[name].rendering.full for name in "abc"] == [4095, 65535, 65535]
    for image, mask, _ in (found["c"].training[place] for place in range(len(found["c"].training))):
        assert image.shape[:2] == mask.shape
    digest = hashlib.sha256(found["c"].training.cumulative_counts.tobytes())
    digest.update(found["c"].validation.cumulative_counts.tobytes())
    for number in range(5):  # as it was before there was a full scale
        image, mask = tmp_path / f"c/images/n{number}.png", tmp_path / f"c/masks/n{number}.png"
        indices = to_indices(read_mask(mask), found["c"].classes, mask)
        digest.update(hashlib.sha256(head_and_length(image) + indices.tobytes()).digest())
    assert found["c"].fingerprint == digest.hexdigest()


# ---------------------------------------------------------------------------------------------------
# Lossy files


def lossy_files(picture):
    """Yield (format, options of Pillow's writer, whether it changes values)."""
    yield from [("JPEG", {}, True), ("WEBP", {}, True), ("WEBP", {"lossless": True}, False), ("PNG", {}, False)]
    yield from [("TIFF", {"compression": name}, name == "jpeg") for name in ("jpeg", "tiff_deflate", "tiff_lzw", None)]
    exif = Image.Exif()
    exif[0x0112] = 1
    yield from [("WEBP", {"exif": exif}, True), ("WEBP", {"exif": exif, "lossless": True}, False)]
    yield from [("WEBP", {"save_all": True, "append_images": [picture.rotate(90)]}, True), ("BMP", {}, False)]


def test_lossy_is_what_the_file_says_not_its_ending(tmp_path):
    y, x = np.mgrid[:64, :64]
    mask = np.where((y - 30) ** 2 + (x - 33) ** 2 < 300, 255, np.where(x < 8, 128, 0)).astype(np.uint8)
    picture = Image.fromarray(np.repeat(mask[:, :, None], 3, axis=2))
    for (kind, options, lossy), ending in itertools.product(lossy_files(picture), ["png", "jpg", "tif", "webp"]):
        path = tmp_path / f"a.{ending}"
        picture.save(path, kind, **options)
        assert is_lossy(path) == lossy, (kind, options)
        if lossy:
            assert len(np.unique(read_mask(path))) > 3
            with pytest.raises(BadInput, match="as its compression changes them; .*--threshold 128"):
                scan_classes([path])
        else:
            assert np.array_equal(read_mask(path), mask)
            assert [one["value"] for one in scan_classes([path])[0]] == [0, 128, 255]
    assert is_lossy(tmp_path / "missing.jpg") and not is_lossy(tmp_path / "missing.png")


def test_black_and_white_masks_that_are_lossy_are_scored_as_jpegs_are(tmp_path):
    (tmp_path / "predicted").mkdir()
    for number in range(3):
        write_pair(tmp_path, f"n{number}", number, values=(0, 255, 255, 255))
        mask = Image.open(tmp_path / "masks" / f"n{number}.png")
        mask.save(tmp_path / "predicted" / f"n{number}.tif", compression="jpeg", quality=95)
    done = inside("evaluate.py", "predicted", "masks", cwd=tmp_path)
    assert done.returncode == 0 and "black and white masks" in done.stdout, done
    assert float(done.stdout.split("accuracy ")[1].split(",")[0]) > 0.995


# ---------------------------------------------------------------------------------------------------
# Orientation


def turn_images(folder, orientation, ending):
    """Store the images of a data set in such an orientation, so that they are upright as before."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in sorted((folder / "images").iterdir()):
        pixels = np.array(Image.open(path))
        back = {6: 8, 8: 6}.get(orientation, orientation)
        stored = np.dstack([TURNED[back](pixels[:, :, band]) for band in range(3)])
        path.unlink()
        options = {"quality": 100, "subsampling": 0} if ending == "jpg" else {}
        Image.fromarray(stored).save(path.with_suffix(f".{ending}"), exif=exif, **options)
        assert np.abs(read_image(path.with_suffix(f".{ending}")).astype(int) - pixels).max() < 30


@pytest.mark.parametrize("ending", ["jpg", "tif", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_turned_images(tmp_path, capsys, orientation, ending):
    """Where the sizes say how masks lie, they are right or refused; where they do not, it is said."""
    for number in range(3):
        write_pair(tmp_path, f"n{number}", number)
    turn_images(tmp_path, orientation, ending)
    load(str(tmp_path))
    told = capsys.readouterr().out
    assert ("EXIF turns or flips 3 images, but not their masks" in told) == (orientation in (2, 3, 4))
    if orientation > 4:
        for path in (tmp_path / "masks").iterdir():
            Image.fromarray(np.rot90(np.array(Image.open(path)))).save(path)
        with pytest.raises(BadInput, match="EXIF turns the image, .* turn the mask, too, or remove"):
            load(str(tmp_path))


def test_square_images_that_are_turned_are_counted(tmp_path, capsys):
    for number in range(3):
        write_pair(tmp_path, f"n{number}", number, height=70, width=70)
    turn_images(tmp_path, 6, "jpg")
    load(str(tmp_path))
    assert "EXIF turns or flips 3 images, but not their masks" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------
# Opacity


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_what_is_transparent_everywhere_keeps_its_colours(tmp_path, capsys, ending):
    for number in range(3):
        write_pair(tmp_path, f"n{number}", number)
        for part in ("images", "masks"):
            path = tmp_path / part / f"n{number}.png"
            picture = Image.open(path).convert("RGB")
            path.unlink()
            colours = np.array(picture)
            picture.putalpha(0)
            picture.save(
                path.with_suffix(f".{ending}"), **({"lossless": True, "exact": True} if ending == "webp" else {})
            )
            if part == "images":
                assert np.array_equal(read_image(path.with_suffix(f".{ending}")), colours)
            else:
                assert np.array_equal(read_mask(path.with_suffix(f".{ending}")), colours[:, :, 0])
    load(str(tmp_path))
    assert f"n0.{ending} and 5 more: is transparent everywhere: its opacity is ignored" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.tif", "planar.tif", "deep.tif", "a.png"])
def test_a_band_that_is_only_called_opacity_is_left_out(tmp_path, name):
    """Near-infrared, as the fourth of four bands: laid on white, the image would be washed out."""
    random, kind = np.random.default_rng(0), np.uint16 if "deep" in name else np.uint8
    pixels = random.integers(0, 256, (20, 37, 4)).astype(np.uint8)
    pixels[:, :, 3] = random.normal(120, 40, (20, 37)).clip(0, 255)
    if name == "a.png":
        Image.fromarray(pixels).save(tmp_path / name)
    else:
        stored = pixels.astype(kind) * (257 if kind == np.uint16 else 1)
        stored = stored.transpose(2, 0, 1) if "planar" in name else stored
        separate = {"planarconfig": "separate"} if "planar" in name else {}
        tifffile.imwrite(tmp_path / name, stored, photometric="rgb", extrasamples=["unassalpha"], **separate)
    assert np.array_equal(read_image(tmp_path / name), pixels[:, :, :3])
    assert [remark[:46] for remark in FOUND] == ["has a band for opacity that can be none, as mo"]
    FOUND.clear()
    pixels[:12, :, 3] = 255  # soft shadows around something: that is opacity
    Image.fromarray(pixels).save(tmp_path / "soft.png")
    expected = Image.alpha_composite(Image.new("RGBA", (37, 20), "white"), Image.fromarray(pixels)).convert("RGB")
    assert np.array_equal(read_image(tmp_path / "soft.png"), np.asarray(expected)) and not FOUND


def test_a_mask_in_the_opacity_of_black_is_read(tmp_path, capsys):
    for number in range(3):
        write_pair(tmp_path, f"n{number}", number, values=(0, 255, 255, 0))
        path = tmp_path / "masks" / f"n{number}.png"
        truth = np.array(Image.open(path))
        Image.fromarray(np.dstack([truth * 0] * 3 + [truth])).save(path)
        assert np.array_equal(read_mask(path), truth) and np.array_equal(read_mask(path, threshold=128), truth)
    assert [one["value"] for one in load(str(tmp_path)).classes] == [0, 255]
    assert "is black, and its opacity differs: that is the mask" in capsys.readouterr().out


def test_a_mask_of_one_colour_on_what_is_transparent_is_read_as_ever(tmp_path):
    truth = np.zeros((20, 37), np.uint8)
    truth[4:9, 5:30] = 255
    for colour, opacity, expected in [
        ((255, 255, 255), truth, truth),
        ((255, 255, 255), truth * 0, truth * 0),  # nothing is there
        ((0, 0, 0), truth * 0, truth * 0),
        ((0, 0, 0), truth * 0 + 255, truth * 0),
        ((255, 0, 0), truth, np.dstack([truth, truth * 0, truth * 0])),
    ]:
        pixels = np.dstack([np.full((20, 37, 3), colour, np.uint8), opacity])
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert np.array_equal(read_mask(tmp_path / "a.png"), expected)


# ---------------------------------------------------------------------------------------------------
# What is found in a folder


def link(path, target):
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:  # Windows, without the right to
        pytest.skip("no links here")


def test_links_to_folders_are_followed_but_not_without_end(tmp_path, capsys):
    for number in range(7):
        part = "elsewhere" if number < 3 else "data"
        write_pair(tmp_path / part, f"n{number}", number)
    for part in ("images", "masks"):
        inside_it = tmp_path / "data" / part
        link(inside_it / "more", tmp_path / "elsewhere" / part)
        for name, target in [("self", inside_it), ("up", tmp_path), ("root", "/")]:
            link(inside_it / name, target)
        link(tmp_path / "elsewhere" / part / "back", inside_it)
        link(tmp_path / "elsewhere" / part / "here", ".")
        assert len(find_images(inside_it)) == 7
    load(str(tmp_path / "data"))
    assert "7 pairs" in capsys.readouterr().out
    (tmp_path / "two").mkdir()
    for name in "ab":  # twice the same is no circle
        link(tmp_path / "two" / name, tmp_path / "elsewhere" / "images")
    assert len(find_images(tmp_path / "two")) == 6 + 4 + 4


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_pipe_is_no_image_and_not_waited_for(tmp_path):
    write_pair(tmp_path, "a", 0)
    os.mkfifo(tmp_path / "images" / "b.png")
    assert [path.name for path in find_images(tmp_path / "images")] == ["a.png"]
    with pytest.raises(BadInput, match="b.png is a pipe; expected an image file"):
        read_image(tmp_path / "images" / "b.png")
    with pytest.raises(BadInput, match="b.png is no file but a pipe or a device; write elsewhere"):
        check_writable(tmp_path / "images" / "b.png")


@pytest.mark.skipif(os.name == "nt", reason="Windows asks for rights to link")
def test_a_link_to_what_is_not_there_is_not_replaced(tmp_path):
    """Its disk may not be there at the moment."""
    for name in ("rgb.png", "gt.png"):
        (tmp_path / name).symlink_to(tmp_path / "away" / name)
    fails_in_one_line(inside("train.py", "--epochs", "1", "--steps", "1", cwd=tmp_path), "rgb.png does not exist")
    with pytest.raises(BadInput, match="rgb.png is a link to .*rgb.png, which is not there; write elsewhere"):
        check_writable(tmp_path / "rgb.png")
    assert sorted(os.listdir(tmp_path)) == ["gt.png", "rgb.png"] and os.path.islink(tmp_path / "rgb.png")


def test_thumbnails_and_files_beside_images_are_left_alone(tmp_path, capsys):
    write_pair(tmp_path, "a", 0)
    for name in ("@eaDir/a/thumb", ".thumbnails/a", "__MACOSX/a", ".hidden"):
        write_pair(tmp_path, name, 0)
    for name in ("a.gif", "b.heic", "c.HEIC", "d.dcm", "e.npy", "f.nii.gz", "notes.txt", "Thumbs.db"):
        (tmp_path / "images" / name).touch()
    load(str(tmp_path))  # a.gif is a preview of a.png
    assert f"{tmp_path / 'images'}: 5 files that end in .heic, .dcm, .gz, .npy are not read" in capsys.readouterr().out
    (tmp_path / "images" / "a.gif").unlink()
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(BadInput, match="holds no image; .* 5 files that end in .heic, .dcm, .gz, .npy are not read"):
        find_images(tmp_path / "images")


ENDINGS = {"jfif": "JPEG", "jpe": "JPEG", "gif": "GIF", "ppm": "PPM", "tga": "TGA", "jp2": "JPEG2000", "avif": "AVIF"}


@pytest.mark.parametrize("ending, kind", ENDINGS.items())
def test_other_endings_are_read_and_get_masks_in_png(tmp_path, ending, kind):
    if f".{ending}" not in READABLE:
        pytest.skip("Pillow cannot read it here")
    for number in range(3):
        write_pair(tmp_path, f"n{number}", number)
        path = tmp_path / "images" / f"n{number}.png"
        picture = Image.open(path)
        more = {"save_all": True, "append_images": [picture.rotate(180)]} if kind == "GIF" else {}
        picture.save(path.with_suffix(f".{ending.upper()}"), kind, **more)
        path.unlink()
        found = read_image(path.with_suffix(f".{ending.upper()}")).astype(float)
        assert np.abs(found - np.array(picture)).mean() < (0.1 if kind == "JPEG2000" else 12)
        assert image_size(path.with_suffix(f".{ending.upper()}")) == found.shape[:2]
    assert len(load(str(tmp_path)).classes) == 4
    assert [str(path) for path in mask_paths([Path(f"a.{ending}")], "auto", [{"value": 0}, {"value": 1}])] == ["a.png"]


@pytest.mark.parametrize(
    "white, kind", [(255, np.uint8), (65535, ">u2"), (3, np.uint8), (100, np.uint8), (1023, ">u2")]
)
@pytest.mark.parametrize("plain", [False, True])
def test_netpbm_masks_keep_their_values(tmp_path, white, kind, plain):
    """Its header names what is white; Pillow stretches values to that."""
    values = np.random.default_rng(0).integers(0, min(white, 700) + 1, (20, 37)).astype(kind)
    content = " ".join(map(str, values.ravel())).encode() if plain else values.tobytes()
    (tmp_path / "a.pgm").write_bytes(f"P{2 if plain else 5} 37 20 {white}\n".encode() + content)
    assert np.array_equal(read_mask(tmp_path / "a.pgm"), values)
    scaled = values.astype(float) * 255 / white
    assert np.abs(read_image(tmp_path / "a.pgm")[:, :, 0] - scaled).max() <= 0.51


def test_a_png_with_a_long_remark_or_profile_is_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 37, 3), np.uint8)
    remarks = PngInfo()
    remarks.add_text("history", "a" * 5_000_000, zip=True)
    remarks.add_itxt("more", "b" * 5_000_000, zip=True)
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=remarks, icc_profile=b"p" * 5_000_000)
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels) and image_size(tmp_path / "a.png") == (20, 37)


# ---------------------------------------------------------------------------------------------------
# Several pages


def save_pages(path, first, second, kind):
    """Write two colour images as pages or frames of one file, in one of the ways that there are."""
    if kind in ("gif", "webp", "png"):  # the last two: animated
        options = {"lossless": True} if kind == "webp" else {}
        frames = [Image.fromarray(second)]
        Image.fromarray(first).save(path.with_suffix(f".{kind}"), save_all=True, append_images=frames, **options)
    elif kind == "imagej":  # slices of red, green and blue, each a page
        pages = np.stack([first, second]).transpose(0, 3, 1, 2)
        tifffile.imwrite(path.with_suffix(".tif"), pages, imagej=True, metadata={"axes": "ZCYX"})
    else:
        pages = np.stack([first, second]) / (255 if kind == "floats" else 1)
        tifffile.imwrite(
            path.with_suffix(".tif"), pages.astype(float if kind == "floats" else np.uint8), photometric="rgb"
        )


@pytest.mark.parametrize("kind", ["colours", "floats", "imagej", "gif", "webp", "png"])
def test_several_pages_are_said_once(tmp_path, capsys, kind):
    for number in range(3):
        write_pair(tmp_path, f"n{number}", number)
        path = tmp_path / "images" / f"n{number}.png"
        first = np.array(Image.open(path))
        path.unlink()
        save_pages(path, first, 255 - first, kind)
        [path] = (tmp_path / "images").glob(f"n{number}.*")
        if kind != "gif":  # whose palette changes colours
            assert np.array_equal(read_image(path), first[:, :, [0, 0, 0] if kind == "imagej" else [0, 1, 2]])
    load(str(tmp_path))
    told = capsys.readouterr().out
    assert told.count(" and 2 more: holds several pages: the first is read; save others as files of their own") == 1


def test_a_remark_names_the_first_of_its_files_whichever_is_read_first(capsys):
    for name in "cab":
        note(f"{name}.png", "is odd")
    print_notes()
    assert capsys.readouterr().out == "a.png and 2 more: is odd\n"


def test_pages_of_masks_and_a_small_page_before_a_large_one_are_said(tmp_path):
    masks = np.random.default_rng(0).integers(0, 3, (4, 20, 37)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", masks, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", masks.astype(np.int32), photometric="minisblack")
    for name in "cd":
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            file.write(masks[0, ::2, ::2].astype(np.uint8 if name == "c" else np.int32))
            file.write(masks[0].astype(np.uint8 if name == "c" else np.int32))
    for name, expected in [("a", masks[0]), ("b", masks[0]), ("c", masks[0, ::2, ::2]), ("d", masks[0, ::2, ::2])]:
        assert np.array_equal(read_mask(tmp_path / f"{name}.tif"), expected)
        assert [remark.split(";")[0] for remark in FOUND] == ["holds several pages: the first is read"], name
        FOUND.clear()


def test_volumes_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((7, 32, 32), np.uint8), volumetric=True, tile=(16, 16, 16))
    with pytest.raises(BadInput, match="in the order ZYX; expected one flat image of numbers: save a slice of it"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_smaller_copies_and_broken_later_pages_are_no_pages(tmp_path, dtype):
    pixels = np.random.default_rng(0).integers(0, 2, (32, 48)).astype(dtype)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:  # as geographic programs do, to show it from afar
        file.write(pixels)
        file.write(pixels, subfiletype=1)
        file.write(pixels[::2, ::2], subfiletype=1)
    tifffile.imwrite(tmp_path / "b.tif", np.stack([pixels, pixels]), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        second = file.pages[1].offset
    whole = (tmp_path / "b.tif").read_bytes()
    (tmp_path / "c.tif").write_bytes(whole[: second + 4] + b"\xff" * (len(whole) - second - 4))
    for name in ("a.tif", "c.tif"):
        assert np.array_equal(read_mask(tmp_path / name), pixels)
        assert not FOUND
    read_mask(tmp_path / "b.tif")
    assert [remark.split(";")[0] for remark in FOUND] == ["holds several pages: the first is read"]


# ---------------------------------------------------------------------------------------------------
# Hints


def test_stray_pixels_and_void_are_pointed_out_unless_a_table_lists_them(tmp_path, capsys):
    for number in range(12):
        write_pair(tmp_path, f"n{number}", number, values=(0, 1, 2, 255))
    path = tmp_path / "masks" / "n3.png"
    mask = np.array(Image.open(path))
    mask[40, 40:45] = 7
    Image.fromarray(mask).save(path)
    found = load(str(tmp_path))
    told = capsys.readouterr().out
    assert "stray pixels, most likely: 7 (5 pixels in 1 of 12 masks)" in told and told.count("most likely") == 2
    assert "255 beside such small values is void, most likely: list it under ignore in classes.json" in told
    (tmp_path / "classes.json").write_text(json.dumps({"classes": found.classes}))
    load(str(tmp_path))
    assert "most likely" not in capsys.readouterr().out


def test_numbered_objects_are_pointed_out_and_classes_are_not(tmp_path, capsys):
    def objects(number, mask):
        found = np.zeros_like(mask)
        for place in range(3 + number):
            found[4 * place + 2 : 4 * place + 5, 5:20] = place + 1
        return found

    rewrite_masks(tmp_path / "a", objects)
    load(str(tmp_path / "a"))
    assert "these values number the objects of an image, most likely: --threshold 1" in capsys.readouterr().out
    found = load(str(tmp_path / "a"), threshold=1)
    assert [entry["name"] for entry in found.classes] == ["background", "foreground"]
    capsys.readouterr()
    rewrite_masks(tmp_path / "b", lambda number, mask: np.where(objects(number, mask) == 2, 0, objects(number, mask)))
    load(str(tmp_path / "b"))
    assert "number the objects" not in capsys.readouterr().out


def rewrite_masks(folder, change, values=(0, 1, 1, 0)):
    """A data set whose masks are changed, change(number, array) → array."""
    for number in range(6):
        write_pair(folder, f"n{number}", number, values=values)
        path = folder / "masks" / f"n{number}.png"
        Image.fromarray(change(number, np.array(Image.open(path)))).save(path)


def test_masks_of_0_and_1_beside_masks_of_0_and_255_are_pointed_out(tmp_path, capsys):
    rewrite_masks(tmp_path / "a", lambda number, mask: mask * np.uint8(255 if number > 1 else 1))
    load(str(tmp_path / "a"))
    told = capsys.readouterr().out
    assert "2 masks hold 0 and 1, 4 hold 0 and 255: the same two classes" in told and "void" not in told
    found = load(str(tmp_path / "a"), threshold=1)  # as the line says
    for number in range(6):
        pair = tmp_path / "a" / "images" / f"n{number}.png", tmp_path / "a" / "masks" / f"n{number}.png"
        _, mask = read_pair(*pair, found.classes, threshold=1)
        assert np.array_equal(mask, np.array(Image.open(pair[1])) > 0)
    rewrite_masks(
        tmp_path / "b", lambda number, mask: np.where(mask > 1, 255, mask).astype(np.uint8), values=(0, 1, 2, 0)
    )
    load(str(tmp_path / "b"))  # both in one mask: then 255 is another thing
    assert "void, most likely" in (told := capsys.readouterr().out) and "the same two classes" not in told


@pytest.mark.parametrize(
    "values, told",
    [
        ([(0, 0, 0), (128, 64, 128), (128, 64, 127)], "[128, 64, 127] and [128, 64, 128]: "),
        ([(0, 0, 0), (255, 0, 0), (2, 0, 0)], "[0, 0, 0] and [2, 0, 0]: "),
        ([(0, 0, 0), (255, 255, 255), (254, 255, 255)], "[254, 255, 255] and [255, 255, 255]: "),
        ([0, 255, 254], "254 and 255: "),
        ([0, 128, 127], "127 and 128: "),
        ([(0, 0, 0), (1, 0, 0), (2, 0, 0)], ""),  # numbers of classes in the red band
        ([(0, 0, 0), (128, 64, 128), (128, 64, 124)], ""),
        ([0, 24, 25], ""),
    ],
)
def test_values_as_good_as_equal_are_pointed_out(tmp_path, capsys, values, told):
    rewrite_masks(tmp_path, lambda number, mask: np.array(values, np.uint8)[mask], values=(0, 1, 2, 0))
    load(str(tmp_path))
    out = capsys.readouterr().out
    assert ("one class in two values, most likely: " + told in out) if told else "most likely" not in out
    rarest = list(values[2]) if isinstance(values[2], tuple) else values[2]
    assert (f"list what is rarer, {rarest}, under ignore in classes.json" in out) == bool(told)


def test_colours_with_red_and_blue_exchanged_are_told_so(tmp_path):
    mask = np.zeros((20, 37, 3), np.uint8)
    mask[3, 4] = 142, 0, 0
    classes = [{"name": str(value), "value": value} for value in ([0, 0, 0], [0, 0, 142])]
    with pytest.raises(
        BadInput, match=r"holds \[142, 0, 0\] at x=4, y=3, red and blue exchanged, most likely; expected"
    ):
        to_indices(mask, classes, "a.png")
    mask[3, 4] = 141, 0, 0
    with pytest.raises(BadInput, match=r"holds \[141, 0, 0\] at x=4, y=3; expected"):
        to_indices(mask, classes, "a.png")


def test_usual_masks_get_no_hints(tmp_path, capsys):
    for name, values in [("a", (0, 255, 255, 0)), ("b", (0, 128, 255, 0)), ("c", (0, 1, 2, 3))]:
        for number in range(4):
            write_pair(tmp_path / name, f"n{number}", number, values=values)
        load(str(tmp_path / name))
        told = capsys.readouterr().out
        assert "most likely" not in told and len(told.splitlines()) == 1 + len(set(values))


def test_where_there_is_no_pair_a_name_of_each_side_is_shown(tmp_path):
    write_pair(tmp_path, "one", 0)
    (tmp_path / "masks" / "one.png").rename(tmp_path / "masks" / "one_mask.png")
    with pytest.raises(BadInput, match="but no pair: images/one.png, masks/one_mask.png; expected"):
        load(str(tmp_path))


@pytest.mark.parametrize("values, dark", [((0, 1), True), ((0, 15), True), ((0, 255), False), ((0, 16), False)])
def test_masks_that_black_line_are_said_to(tmp_path, values, dark):
    write_pair(tmp_path, "one", 0)
    metadata = {"classes": [{"name": str(value), "value": value} for value in values], "ignore": [], "settings": {}}
    save_checkpoint(tmp_path / "model.pt", FCN(classes=2), mean=[0.5] * 3, std=[0.2] * 3, **metadata)
    done = inside("predict.py", "images/one.png", "--out", "mask.png", cwd=tmp_path)
    assert done.returncode == 0 and (f"{values[1]} all look black; --overlay FILE" in done.stdout) == dark, done
    done = inside("predict.py", "images/one.png", "--out", "mask.png", "--overlay", "seen.png", cwd=tmp_path)
    assert done.returncode == 0 and "black" not in done.stdout
    done = inside("infer.py", "images", "out", cwd=tmp_path)
    assert done.returncode == 0 and (f"{values[1]} all look black; --overlay DIR" in done.stdout) == dark, done


# ---------------------------------------------------------------------------------------------------
# From end to end


def store_oddly(folder, kind):
    """Store a data set of 8 bits, of four classes, in a way that was read wrongly once, without a word."""
    for number, (image, mask) in enumerate(
        zip(sorted((folder / "images").iterdir()), sorted((folder / "masks").iterdir()))
    ):
        pixels = np.array(Image.open(image))
        if kind == "twelve bits":
            save_deep(image, pixels.astype(np.uint16) * 16)
        elif kind == "planar":
            image.unlink()
            stored = pixels.transpose(2, 0, 1).astype(np.uint16) * 257
            tifffile.imwrite(image.with_suffix(".tif"), stored, photometric="rgb", planarconfig="separate")
        elif kind == "palettes":
            save_palette(mask, np.array(Image.open(mask)), np.random.default_rng(number).permutation(4))
        elif kind == "near-infrared":
            band = np.random.default_rng(number).normal(120, 30, pixels.shape[:2]).clip(1, 254).astype(np.uint8)
            Image.fromarray(np.dstack([pixels, band])).save(image)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function: kind of storage → IoU of each class of a short training's predictions, all by NumPy."""
    found = {}

    def train(kind):
        if kind in found:
            return found[kind]
        place = tmp_path_factory.mktemp("end")
        truths = {}
        for number in range(6):
            write_pair(place / "data", f"n{number}", number, values=(0, 1, 2, 3))
            truths[f"n{number}"] = np.array(Image.open(place / "data" / "masks" / f"n{number}.png"))
        store_oddly(place / "data", kind)
        words = ["--epochs", 1, "--steps", 120, "--batch", 8, "--patch", 32, "--val-share", 0.3]
        with mock.patch("support.plots.draw_curves"):  # which nobody looks at
            done = inside("train.py", "--data", "data", "--out", "run", *words, cwd=place)
        assert done.returncode == 0, done.stderr
        done = inside("infer.py", "data/images", "out", "--checkpoint", "run/model.pt", cwd=place)
        assert done.returncode == 0, done.stderr
        paths = {path.stem: path for path in (place / "out").rglob("n*.*")}
        both, either = np.zeros(3), np.zeros(3)
        for name, truth in truths.items():
            predicted = np.array(Image.open(paths[name]))
            for number in range(3):  # the fourth is a corner that nothing tells apart
                here = (predicted == COLOURS[number]).all(axis=2) if predicted.ndim == 3 else predicted == number
                both[number] += (here & (truth == number)).sum()
                either[number] += (here | (truth == number)).sum()
        found[kind] = both / either
        return found[kind]

    return train


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["twelve bits", "planar", "palettes", "near-infrared"])
def test_a_network_learns_from_odd_files_what_it_learns_from_plain_ones(trained, kind):
    plain, odd = trained("plain"), trained(kind)
    assert plain.min() > 0.7 and np.abs(odd - plain).max() < 0.05, (plain, odd)
