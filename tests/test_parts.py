"""Large TIFF files to learn from: read by parts, each as the same pixels of the whole, in bounded memory."""

import itertools
import pickle
import zlib
from unittest import mock

import numpy as np
import pytest
import tifffile
from conftest import inside, write_pair
from forked import Forked
from PIL import Image
from test_large_tiff import WRITERS, geotiff, palette
from test_train import same_weights
from tqdm import tqdm

import data
from support import large_tiff
from support.files import BadInput
from support.images import Rendering, highest_value, image_facts, read_image
from support.large_tiff import cut_pair, equal_parts
from support.masks import mask_facts, read_mask
from support.sample import sample

pytestmark = pytest.mark.filterwarnings("ignore:.*:rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(autouse=True)
def by_parts(monkeypatch):
    """Let images of a few pixels count as large."""
    monkeypatch.setattr(large_tiff, "LARGE", 300 * 300)
    monkeypatch.setattr(large_tiff, "PART", 200)


def classes_in(values):
    """Whole numbers 0 to 3 as (470, 610), in other proportions at the top than below."""
    spots = np.random.default_rng(1).integers(0, 3, (47, 61)) + (np.arange(47)[:, None] > 30)
    return np.array(values)[spots].repeat(10, axis=0).repeat(10, axis=1)


MASKS = {
    "tiles": lambda path: geotiff(path, classes_in([0, 1, 2, 255])[:, :, None].astype(np.uint8), tiled=True,
                                  blockxsize=64, blockysize=48, compress="lzw"),
    "strips": lambda path: tifffile.imwrite(path, classes_in([0, 1, 2, 255]).astype(np.uint8), compression="zlib",
                                            rowsperstrip=13),
    "16 bits, no data": lambda path: geotiff(path, classes_in([0, 7, 300, 65535])[:, :, None].astype(np.uint16),
                                             nodata=7, compress="deflate"),
    "signed": lambda path: tifffile.imwrite(path, classes_in([0, 1, 2, 3]).astype(np.int32), tile=(64, 64)),
    "colours": lambda path: tifffile.imwrite(
        path, classes_in([[0, 0, 0], [255, 0, 0], [7, 200, 3], [9, 9, 9]]).astype(np.uint8), photometric="rgb",
        tile=(128, 128), compression="zlib"),
    "palette": palette,
    "one bit": lambda path: Image.fromarray(classes_in([0, 0, 255, 255]).astype(np.uint8)).convert("1").save(path),
}  # fmt: skip


def crops(parts, whole):
    """Yield (part, what it is to hold) of parts of an image, which cover all of it, each pixel once."""
    covered = np.zeros(whole.shape[:2], int)
    for part in parts:
        inside_of = np.s_[part.rows.start : part.rows.stop, part.columns.start : part.columns.stop]
        covered[inside_of] += 1
        yield part, whole[inside_of]
    assert (covered == 1).all()


@pytest.mark.parametrize("kind", WRITERS)
def test_parts_of_an_image_are_what_the_whole_image_is_there(tmp_path, kind):
    WRITERS[kind](tmp_path / "a.tif")
    MASKS["tiles"](tmp_path / "mask.tif")
    rendering = Rendering(4095 if kind == "12 bits in 16" else 65535)
    parts = [part for part, _ in cut_pair(tmp_path / "a.tif", tmp_path / "mask.tif")]
    assert len(parts) in (6, 7)  # of tiles; of strips, which are not cut across
    whole, highest = read_image(tmp_path / "a.tif", rendering=rendering), []
    for part, expected in crops(parts, whole):
        assert np.array_equal(read_image(part, rendering=rendering), expected)
        facts, pixels = image_facts(pickle.loads(pickle.dumps(part)))  # as it travels to a loader worker
        assert facts.size == expected.shape[:2] and (pixels is None or np.array_equal(pixels, expected))
        highest.append(facts.highest)
    assert max(highest) == highest_value(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("coloured", [False, True])
def test_parts_of_a_mask_are_what_the_whole_mask_is_there(tmp_path, kind, coloured):
    WRITERS["tiles"](tmp_path / "a.tif")
    MASKS[kind](tmp_path / "mask.tif")
    parts = [part for _, part in cut_pair(tmp_path / "a.tif", tmp_path / "mask.tif")]
    whole, facts = read_mask(tmp_path / "mask.tif", coloured=coloured), mask_facts(tmp_path / "mask.tif")
    counts = {}
    for part, expected in crops(parts, whole):
        assert np.array_equal(read_mask(part, coloured=coloured), expected)
        found = mask_facts(part)
        assert (found.size, found.palette, found.nodata) == (expected.shape[:2], facts.palette, facts.nodata)
        for value, count in found.found.counts.items():
            counts[value] = counts.get(value, 0) + count
    assert counts == facts.found.counts or kind == "palette"  # which has more values than are counted


def test_no_part_is_thinner_than_half_its_side():
    assert equal_parts(100, 1024) == [range(100)]
    for length in range(1, 3000, 7):
        parts = equal_parts(length, 100)
        assert [number for part in parts for number in part] == list(range(length))
        assert len(parts) == 1 or all(50 <= len(part) <= 150 for part in parts)


def write_large(folder, name="big", height=470, width=610):
    """Write a large image and mask of two classes, as TIFF files in tiles, and return (image, mask)."""
    image, mask = sample()
    image, mask = (np.tile(array, (2, 2) + (1,) * (array.ndim - 2))[:height, :width] for array in (image, mask))
    for part, array in ("images", image), ("masks", mask):
        (folder / part).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / part / f"{name}.tif", array, tile=(64, 64), compression="zlib",
                         photometric="rgb" if array.ndim == 3 else "minisblack")  # fmt: skip
    return image, mask


def test_of_one_large_image_a_strip_of_parts_is_validated_on_and_no_pixel_is_lost(tmp_path, capsys):
    image, mask = write_large(tmp_path)
    paths = tmp_path / "images" / "big.tif", tmp_path / "masks" / "big.tif"
    found = data.load(paths, memory=0.0001)
    assert "6 parts of large images" in capsys.readouterr().out
    corners = [[item[0].rows.start, item[0].columns.start] for item in found.validation.items]
    assert len({column for _, column in corners}) == 1 and len(corners) == 2  # two of six: a third of the width
    pixels = 0
    for dataset in found.training, found.validation:
        for number, (part, _) in enumerate(dataset.items):
            seen, truth, _ = dataset[number]
            where = np.s_[part.rows.start : part.rows.stop, part.columns.start : part.columns.stop]
            assert np.array_equal(seen, image[where]) and np.array_equal(truth, mask[where] // 255)
            pixels += truth.size
    assert pixels == mask.size
    fits = data.load(paths)  # as ever, where memory is there
    assert len(fits.training) == 1 and fits.training[0][0].shape[1] < 610 and found.held_out == []
    assert found.fingerprint != fits.fingerprint


def test_the_strip_lies_where_it_is_most_like_the_rest(tmp_path):
    write_large(tmp_path, height=610, width=470)
    mask = np.zeros((610, 470), np.uint8)
    mask[210:230] = 255  # in the middle row of parts only
    tifffile.imwrite(tmp_path / "masks" / "big.tif", mask, tile=(64, 64))
    found = data.load((tmp_path / "images" / "big.tif", tmp_path / "masks" / "big.tif"), memory=0.0001)
    assert {item[0].rows.start for item in found.validation.items} == {0}  # elsewhere, none is left to learn from
    mask[450:500] = 255
    tifffile.imwrite(tmp_path / "masks" / "big.tif", mask, tile=(64, 64))
    found = data.load((tmp_path / "images" / "big.tif", tmp_path / "masks" / "big.tif"), memory=0.0001)
    assert {item[0].rows.start for item in found.validation.items} == {200}


def test_parts_of_an_image_are_never_on_both_sides_and_lists_name_the_image(tmp_path):
    for number in range(6):
        write_large(tmp_path, f"n{number}")
    write_pair(tmp_path, "small", seed=0)
    found = data.load(tmp_path, memory=0.0001)
    learnt = {item[0].segments.path.stem for item in found.training.items if hasattr(item[0], "segments")}
    assert learnt and set(found.held_out) and not learnt & set(found.held_out)
    assert len(found.training) + len(found.validation) == 6 * 6 + 1
    (tmp_path / "val.txt").write_text("n4.tif\nsmall\n")
    assert data.load(tmp_path, memory=0.0001).held_out == ["n4", "small"]
    (tmp_path / "val.txt").write_text("n4\n")
    (tmp_path / "test.txt").write_text("n5\n")
    assert len(data.load(tmp_path, memory=0.0001).training) == 4 * 6 + 1


def test_a_network_learns_from_a_large_image_and_goes_on_to_the_same_weights(tmp_path, no_curves, monkeypatch):
    write_large(tmp_path)
    knobs = ("images/big.tif", "masks/big.tif", "--memory", "0.0001", "--epochs", "6", "--steps", "10", "--batch", "4")
    whole = inside("train.py", *knobs, "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0 and "6 parts of large images" in whole.stdout, whole.stderr
    assert "goes on at zoom" not in whole.stdout  # elsewhere, predict.py could not read it by parts
    assert float((tmp_path / "whole" / "history.csv").read_text().splitlines()[-1].split(",")[3]) > 0.8
    with monkeypatch.context() as patched:
        # In the fifth epoch.
        patched.setattr(tqdm, "update", mock.Mock(side_effect=[*[None] * 44, KeyboardInterrupt]))
        assert inside("train.py", *knobs, "--out", "part", cwd=tmp_path).returncode == 130
    assert not same_weights(tmp_path / "whole" / "last.pt", tmp_path / "part" / "last.pt")
    part = inside("train.py", "--resume", "--out", "part", cwd=tmp_path)
    assert part.returncode == 0, part.stderr
    assert same_weights(tmp_path / "whole" / "last.pt", tmp_path / "part" / "last.pt")


def test_a_damaged_tile_costs_its_part_only(tmp_path, capsys):
    write_large(tmp_path)
    path = tmp_path / "images" / "big.tif"
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        start, length = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    found = data.load((path, tmp_path / "masks" / "big.tif"), memory=0.0001)
    assert len(found.training) + len(found.validation) == 5
    assert "left out: 1 images that cannot be read: big.tif" in capsys.readouterr().out


def test_what_cannot_be_learned_from_is_told_in_one_line(tmp_path, monkeypatch):
    image, mask = write_large(tmp_path)
    paths = tmp_path / "images" / "big.tif", tmp_path / "masks" / "big.tif"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)
    png = tmp_path / "masks" / "big.png"
    Image.fromarray(mask).save(png)
    with pytest.raises(BadInput, match=r"big.png is no TIFF file; expected one, as so large an image"):
        data.load((paths[0], png))
    tifffile.imwrite(paths[1], mask[:-1], tile=(64, 64))
    with pytest.raises(BadInput, match="610x470 pixels, but .*610x469; expected the same size"):
        data.load(paths)
    tifffile.imwrite(paths[1], mask)
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match="it ends before its pixels do|no readable image"):
        data.load(paths)


@pytest.mark.slow
def test_a_training_holds_neither_a_large_image_nor_its_mask(tmp_path):
    """Of 10,000x9,000 pixels, which take 360 MB, and at 90 megapixels are too many to be read as a whole."""
    image, mask = sample()
    for name, array, kind in ("big.tif", image, "rgb"), ("mask.tif", mask, "minisblack"):
        tile = zlib.compress(array[:256, :256].tobytes())  # once, as all 1,440 are the same
        tifffile.imwrite(tmp_path / name, itertools.repeat(tile, 36 * 40), shape=(9000, 10000, *array.shape[2:]),
                         dtype=np.uint8, tile=(256, 256), compression="zlib", photometric=kind)  # fmt: skip
    (tmp_path / "script.py").write_text("""
import resource
import train
from support.arguments import train_arguments
def peak():
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024
common = ["--epochs", "1", "--steps", "4", "--batch", "2", "--val-images", "2", "--memory", "0.1"]
train.train(train_arguments(["--out", "small", *common]))
small = peak()
train.train(train_arguments(["big.tif", "mask.tif", "--out", "large", *common]))
print("MB more:", peak() - small)
""")
    process = Forked(tmp_path / "script.py", cwd=tmp_path)
    told, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    assert int(told.rpartition("MB more:")[2]) < 300, told
