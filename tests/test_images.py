"""Files in every kind that users have, written by the test itself, and outputs whole or not at all."""

import contextlib
import json
import os
import re
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import support.files
from data import hold_out
from support.classes import count_values, name_classes
from support.files import (
    MARK,
    PICTURES,
    STAMP,
    BadInput,
    check_writable,
    is_ours,
    one_writer,
    write_image,
    write_json,
    write_whole,
)
from support.images import image_size, read_image, to_rgb
from support.large_tiff import open_large
from support.masks import mask_values, read_mask, read_pair, to_indices, to_values
from support.names import find_images, write_names
from support.sample import sample

COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
GREYS = np.random.default_rng(1).integers(0, 256, (6, 9), np.uint8)
GREY_RGB = np.repeat(GREYS[:, :, None], 3, axis=2)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


# ---------------------------------------------------------------------------------------------------
# Images


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp"])
def test_rgb(tmp_path, ending):
    path = save(tmp_path / f"a.{ending}", COLOURS, **({"lossless": True} if ending == "webp" else {}))
    image = read_image(path)
    assert image.dtype == np.uint8 and np.array_equal(image, COLOURS)


def test_jpeg(tmp_path):
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    assert np.abs(read_image(save(tmp_path / "a.jpg", smooth)).astype(int) - smooth).max() <= 3


def test_grey(tmp_path):
    assert np.array_equal(read_image(save(tmp_path / "a.png", GREYS)), GREY_RGB)


def test_one_bit(tmp_path):
    assert np.array_equal(np.unique(read_image(save(tmp_path / "a.png", GREYS, "1"))), [0, 255])


def test_palette(tmp_path):
    few = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (9, 9, 9)]], np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE, colors=4).save(path)
    assert Image.open(path).mode == "P" and np.array_equal(read_image(path), few)


def test_cmyk(tmp_path):
    path = save(tmp_path / "a.tif", np.full((8, 8, 3), (255, 0, 0), np.uint8), "CMYK")
    assert Image.open(path).mode == "CMYK" and read_image(path)[0, 0].tolist() == [255, 0, 0]
    path = save(tmp_path / "a.jpg", np.full((8, 8, 3), (255, 0, 0), np.uint8), "CMYK")
    assert Image.open(path).mode == "CMYK" and np.abs(read_image(path)[0, 0] - [255.0, 0, 0]).max() < 5


def test_transparent_pixels_hide_their_colours(tmp_path):
    rgba = np.dstack([COLOURS, np.full(GREYS.shape, 255, np.uint8)])
    rgba[0, 0, 3], rgba[0, 1] = 0, (0, 0, 0, 128)
    image = read_image(save(tmp_path / "a.png", rgba))
    assert image[0, 0].tolist() == [255, 255, 255]
    assert np.abs(image[0, 1] - 127.0).max() <= 1
    assert np.array_equal(image[1:], COLOURS[1:])


def test_grey_with_alpha(tmp_path):
    path = tmp_path / "a.png"
    la = Image.fromarray(GREYS)
    la.putalpha(Image.fromarray(np.where(np.arange(9) < 4, 0, 255)[None].repeat(6, 0).astype(np.uint8)))
    la.save(path)
    assert Image.open(path).mode == "LA"
    assert (read_image(path)[:, :4] == 255).all() and np.array_equal(read_image(path)[:, 4:], GREY_RGB[:, 4:])


def test_transparent_palette_and_colour_key(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "p.png", transparency=1)
    assert (read_image(tmp_path / "p.png") == 255).all()
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    assert (read_image(tmp_path / "key.png") == 255).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bits_are_scaled_not_clipped(tmp_path, ending):
    deep = GREYS.astype(np.uint16) * 257
    assert np.array_equal(read_image(save(tmp_path / f"a.{ending}", deep)), GREY_RGB)
    assert read_image(save(tmp_path / f"b.{ending}", np.full((2, 2), 4096, np.uint16))).max() == 16


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_floats(tmp_path):
    assert np.array_equal(read_image(save(tmp_path / "a.tif", (GREYS / 255).astype(np.float32))), GREY_RGB)
    for bad in (300.0, -1.0, np.nan):
        with pytest.raises(BadInput, match="expected 0 to 1"):
            read_image(save(tmp_path / "b.tif", np.full((2, 2), bad, np.float32)))
    signalling = np.full((2, 2), 0x7FA00000, np.uint32).view(np.float32)  # a NaN that warns when it is converted
    with pytest.raises(BadInput, match="expected 0 to 1"):
        read_image(save(tmp_path / "b.tif", signalling))


@pytest.mark.parametrize(
    "orientation, upright",
    [(1, COLOURS), (3, COLOURS[::-1, ::-1]), (6, np.rot90(COLOURS, -1)), (8, np.rot90(COLOURS)), (2, COLOURS[:, ::-1])],
)
def test_exif_orientation(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending in ("png", "tif"):
        path = save(tmp_path / f"a.{ending}", COLOURS, exif=exif)
        assert np.array_equal(read_image(path), upright)


def test_the_first_of_several_frames_is_read(tmp_path):
    first, second = Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert np.array_equal(read_image(tmp_path / "a.tif"), COLOURS)


@pytest.mark.skipif(os.name == "nt", reason="a script stands for Ghostscript")
def test_no_program_is_started_for_a_file_whatever_it_is_called(tmp_path, monkeypatch):
    """Pillow would run Ghostscript on PostScript, here a script that leaves a trace."""
    script = tmp_path / "bin" / "gs"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ntouch '{tmp_path / 'started'}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # not looked for yet
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_bytes(text)
    with contextlib.suppress(OSError):
        Image.open(tmp_path / "a.jpg").load()
    assert (tmp_path / "started").exists()  # so this is what Pillow does
    (tmp_path / "started").unlink()
    for read in read_image, read_mask, image_size:
        with pytest.raises(BadInput, match="a.jpg is no readable image"):
            read(tmp_path / "a.jpg")
    assert not (tmp_path / "started").exists()


def test_what_the_system_does_not_let_us_read_is_told_in_a_line(tmp_path, monkeypatch):
    """As root may read everything, the system is played."""
    save(tmp_path / "a.png", COLOURS)

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched, pytest.raises(BadInput, match="a.png cannot be read .Permission denied"):
        patched.setattr(Image, "open", refuse)
        read_image(tmp_path / "a.png")
    with monkeypatch.context() as patched, pytest.raises(BadInput, match="cannot be read .*a folder of images"):
        patched.setattr("os.scandir", refuse)
        find_images(tmp_path)


def test_a_colour_mode_that_cannot_become_red_green_and_blue_is_named():
    with pytest.raises(BadInput, match="a.tif has the colour mode La; expected grey"):
        to_rgb(Image.new("La", (2, 2)), "a.tif", "white")


def test_images_too_large_are_refused_before_they_are_decoded(tmp_path):
    Image.new("1", (1_000_000, 1)).save(tmp_path / "row.png")
    with pytest.raises(BadInput, match="1000000x1 pixels; expected at most 65500"):
        read_image(tmp_path / "row.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")  # 400 megapixels in 50 kB
    with pytest.raises(BadInput, match="89478485 pixels"):
        read_image(tmp_path / "bomb.png")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "smaller_bomb.png")
    with pytest.raises(BadInput, match="89478485 pixels"):
        read_image(tmp_path / "smaller_bomb.png")


def test_a_program_may_lift_pillows_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr("support.large_tiff.LARGE", 100)
    tifffile.imwrite(tmp_path / "a.tif", np.ones((40, 50), np.float32))  # which tifffile reads
    assert (read_image(tmp_path / "a.tif") == 255).all()
    assert open_large(tmp_path / "a.tif", whole="--overlay") is None


# ---------------------------------------------------------------------------------------------------
# Masks


def test_mask_values_are_never_rescaled(tmp_path):
    indices = (GREYS % 5).astype(np.uint8)
    assert np.array_equal(read_mask(save(tmp_path / "l.png", indices)), indices)
    assert np.array_equal(read_mask(save(tmp_path / "i.png", indices.astype(np.uint16) * 1000)), indices * 1000.0)
    assert np.array_equal(read_mask(save(tmp_path / "rgb.png", np.repeat(indices[:, :, None], 3, axis=2))), indices)
    assert set(np.unique(read_mask(save(tmp_path / "1.png", GREYS, "1")))) == {0, 255}
    picture = Image.fromarray(indices, "L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([200, 0, 0, 0, 200, 0] + [7] * 24)
    picture.save(tmp_path / "p.png")
    assert np.array_equal(read_mask(tmp_path / "p.png"), indices)
    assert read_mask(save(tmp_path / "colour.png", COLOURS)).shape == (6, 9, 3)
    rgba = np.zeros((6, 9, 4), np.uint8)
    rgba[2:4, 2:4] = 255  # white on transparent
    assert np.array_equal(read_mask(save(tmp_path / "rgba.png", rgba)), rgba[:, :, 3])


def test_threshold_is_of_brightness_whatever_the_file(tmp_path):
    expected = np.where(GREYS >= 128, 255, 0)
    inverse = Image.frombytes("P", (9, 6), (255 - GREYS).tobytes())
    inverse.putpalette(np.repeat(np.arange(255, -1, -1), 3).astype(np.uint8).tobytes())
    inverse.save(tmp_path / "palette.png")
    save(tmp_path / "grey.png", GREYS)
    save(tmp_path / "deep.png", GREYS.astype(np.uint16) * 257)
    save(tmp_path / "rgb.png", GREY_RGB)
    for name in ("grey.png", "palette.png", "deep.png", "rgb.png"):
        assert np.array_equal(read_mask(tmp_path / name, threshold=128), expected), name


def find_classes(masks):
    return name_classes(count_values((mask_values(mask, path), path) for mask, path in masks))


def test_classes_are_found_and_foreground_is_the_smaller_side_of_a_black_on_white_mask(tmp_path):
    values = np.zeros((8, 8), np.int32)
    values[:3] = 255
    assert find_classes([(values, "m")]) == [{"name": "background", "value": 0}, {"name": "foreground", "value": 255}]
    values[:7] = 255
    assert find_classes([(values, "m")]) == [{"name": "foreground", "value": 0}, {"name": "background", "value": 255}]
    values[0] = 7
    assert [one["value"] for one in find_classes([(values, "m")])] == [0, 7, 255]
    with pytest.raises(BadInput, match="single value, 3"):
        find_classes([(np.full((4, 4), 3), "m")])
    with pytest.raises(BadInput, match="3 different values.*at most 2.*--threshold"):
        find_classes([(values, "m.jpg")])
    for wrong in (-1, 70_000):
        with pytest.raises(BadInput, match="expected 0 to 65535"):
            find_classes([(np.array([[0, wrong]]), "m")])
    with pytest.raises(BadInput, match="54 different values.*--threshold"):
        find_classes([(np.arange(54).reshape(6, 9), "m")])


def test_masks_that_cannot_be_of_one_data_set_are_refused():
    high, coloured = np.full((4, 4), 300, np.int32), np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(BadInput, match="b.png is coloured, but others hold values up to 300"):
        find_classes([(high, "a.png"), (coloured, "b.png")])
    rows = [(np.arange(start, start + 10, dtype=np.int32)[None], f"{start}.png") for start in (0, 10)]
    with pytest.raises(BadInput, match="10.png and the other masks hold 20 different values together"):
        find_classes(rows)


@pytest.mark.parametrize("coloured", [False, True])
def test_values_and_indices_are_inverse(coloured):
    indices = np.random.default_rng(0).integers(0, 3, (5, 6)).astype(np.uint8)
    values = [[0, 0, 0], [255, 0, 0], [1, 2, 3]] if coloured else [0, 7, 300]
    mask = np.array(values)[indices]
    classes = find_classes([(mask, "m")])
    found = to_indices(mask, classes, "m")
    assert np.array_equal(to_values(found, classes), mask)
    assert to_values(found, classes).dtype == (np.uint8 if coloured else np.uint16)
    if coloured:
        assert to_indices(np.zeros((2, 2), int), classes, "a mask that is all black").max() == 0


def test_unknown_values_are_named_with_their_place():
    classes = [{"name": "a", "value": 0}, {"name": "b", "value": 255}]
    mask = np.zeros((4, 4), int)
    mask[2, 3] = 9
    with pytest.raises(BadInput, match="m.png holds 9 at x=3, y=2; expected one of 0, 255"):
        to_indices(mask, classes, "m.png")


def test_pairs_must_be_of_one_size(tmp_path):
    image, mask = save(tmp_path / "a.png", COLOURS), save(tmp_path / "b.png", GREYS[:, :5])
    with pytest.raises(BadInput, match="a.png is 9x6 pixels, but .*b.png is 5x6"):
        read_pair(image, mask, [])


# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height, width", [(200, 500), (500, 200), (300, 300), (70, 64)])
def test_the_validation_strip_is_apart_from_the_training_parts(height, width):
    where = np.arange(height * width).reshape(height, width)
    image = np.stack([where >> 16, where >> 8 & 255, where & 255], axis=2).astype(
        np.uint8
    )  # each pixel says where it is
    mask = (np.random.default_rng(0).random((height, width)) < 0.3).astype(np.uint8)
    training, [(strip, strip_mask)] = hold_out(image, mask, least=32, gap=8, share=0.2)
    places = [
        [array.reshape(-1, 3).astype(int) @ [65536, 256, 1] for array in arrays]
        for arrays in ([part for part, _ in training], [strip])
    ]
    trained, held = (np.stack([np.concatenate(group) // width, np.concatenate(group) % width]) for group in places)
    axis = int(width > height)
    distance = np.abs(np.unique(trained[axis])[:, None] - np.unique(held[axis])[None]).min()
    assert distance == 9  # 8 pixels between them
    assert strip_mask.size == pytest.approx(0.2 * mask.size, rel=0.05)
    assert all(min(part.shape) >= 32 for _, part in training)
    assert all(
        np.array_equal(
            part_mask, mask.ravel()[part.reshape(-1, 3).astype(int) @ [65536, 256, 1]].reshape(part_mask.shape)
        )
        for part, part_mask in [*training, (strip, strip_mask)]
    )


def test_no_class_disappears_from_training_while_there_is_another_place_for_the_strip():
    image, mask = np.zeros((300, 900, 3), np.uint8), np.zeros((300, 900), np.uint8)
    mask[:, ::3] = 1
    mask[140:160, 440:460] = 2  # a third class, in one place only
    training, _ = hold_out(image, mask, least=64, gap=8, share=0.2)
    assert 2 in np.concatenate([np.unique(part) for _, part in training])


def test_the_validation_strip_looks_for_the_classes():
    image, mask = np.zeros((100, 400, 3), np.uint8), np.zeros((100, 400), np.uint8)
    mask[:, 150:260] = 1
    _, [(_, held)] = hold_out(image, mask, least=32, gap=8, share=0.2)
    assert 0 < held.mean() < 1


def test_an_image_too_small_to_cut_is_validated_on_itself():
    image, mask = np.zeros((20, 20, 3), np.uint8), np.eye(20, dtype=np.uint8)
    training, validation = hold_out(image, mask, least=16, gap=8, share=0.2)
    assert training is validation and training[0][0] is image


# ---------------------------------------------------------------------------------------------------
# Writing


@pytest.mark.parametrize("seed", range(3))
def test_a_jpeg_mask_is_exact_after_thresholding(tmp_path, seed):
    random = np.random.default_rng(seed)
    mask = np.where(random.random((120, 133)) < [0.5, 0.03, 0.9][seed], 255, 0).astype(
        np.uint8
    )  # worse than any real one
    write_image(tmp_path / "m.jpg", mask)
    assert np.array_equal(read_mask(tmp_path / "m.jpg", threshold=128), mask)
    write_image(tmp_path / "m.png", mask)
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError), write_whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(BadInput, match="cannot be written"), write_whole(path) as temporary:
        raise OSError(28, "No space left on device")
    assert path.read_text() == "before"
    with write_whole(path) as temporary:
        temporary.write_text("after")
    assert path.read_text() == "after" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "bmp", "webp"])
def test_a_file_that_somebody_changed_is_no_longer_ours(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    write_image(path, COLOURS)
    assert is_ours(path)
    with Image.open(path) as image:
        image.verify()  # checksums, too
    assert np.array_equal(read_image(path), COLOURS) or ending == "jpg"
    content = bytearray(path.read_bytes())
    start = content.find(MARK.encode()) + len(MARK)
    stamp = range(start, start + 17 + 4 * (ending == "png"))  # in a PNG with a checksum of nothing else
    for place in range(0, len(content), 7):
        changed = content.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        assert not is_ours(path) or place in stamp
    path.write_bytes(content + b"more")
    assert not is_ours(path)
    path.write_bytes(content)
    assert is_ours(path)


def test_a_text_that_somebody_changed_is_no_longer_ours(tmp_path):
    write_names(tmp_path / "list.txt", ["one", "two"], "a remark")
    write_json(tmp_path / "figures.json", {"iou": 0.5})
    assert json.loads((tmp_path / "figures.json").read_text())["iou"] == 0.5
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert is_ours(path) and "0" * 16 not in text
        path.write_text(text.replace("o", "0"))
        assert not is_ours(path)
        path.write_text(text.replace(STAMP.split()[0], "nobody"))
        assert not is_ours(path)
        path.write_text(re.sub("scratch [0-9a-f]{16}", "scratch", text))
        assert is_ours(path)  # as earlier versions wrote it


def test_a_file_that_names_our_folder_is_not_ours(tmp_path):
    for folder in "/home/me/segmentation-from-scratch/a.png", "C:\\\\segmentation-from-scratch\\\\a.png":
        (tmp_path / "mine.json").write_text(f'{{"image": "{folder}", "note": "three days of work"}}')
        assert not is_ours(tmp_path / "mine.json")


def test_what_killed_processes_left_is_removed_when_it_is_old(tmp_path):
    old, new, users = (tmp_path / name for name in (f".{MARK}-00.part", f".{MARK}-11.part", ".list.txt.part"))
    for path in (old, new, users):
        path.write_text("half")
        os.utime(path, (0, 0) if path != new else None)
    write_names(tmp_path / "list.txt", ["one"])
    assert not old.exists() and new.exists() and users.read_text() == "half"


def test_a_lock_that_is_removed_while_another_waits_for_it_locks_nobody_out(tmp_path, monkeypatch):
    """Who has opened it before its end must not hold a file that nobody can find any more."""
    real, seen = support.files.lock, []

    def lock(file):
        if not seen:
            (tmp_path / ".lock").unlink()  # the other one ends now
        seen.append(file)
        return real(file)

    monkeypatch.setattr(support.files, "lock", lock)
    with one_writer(tmp_path):
        assert len(seen) == 2
        with pytest.raises(BadInput, match="being written to by another process"), one_writer(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_claim(tmp_path):
    write_image(tmp_path / "ours.png", GREYS)
    write_image(tmp_path / "ours.jpg", GREYS)
    save(tmp_path / "theirs.png", GREYS)
    for free in ("ours.png", "ours.jpg", "new.png", "new/folder/new.png"):
        assert check_writable(tmp_path / free) == tmp_path / free
    for taken, why in [
        ("theirs.png", "not written by this program"),
        ("ours.png/a.png", "cannot be written"),
        ("new", "folder"),
    ]:
        with pytest.raises(BadInput, match=why):
            check_writable(tmp_path / taken)
    with pytest.raises(BadInput, match="cannot be written"):
        check_writable(tmp_path / ("a" * 300 + ".png"))
    with pytest.raises(BadInput, match="is an input"):
        check_writable(tmp_path / "ours.png", tmp_path / "absent.png", tmp_path / "new" / ".." / "ours.png")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "ours.jpg", "ours.png", "theirs.png"]
    with pytest.raises(BadInput, match="ends in .gif; expected .png or .jpg"):
        check_writable(tmp_path / "a.gif", endings=PICTURES)


def test_the_sample_is_what_it_says():
    image, mask = sample()
    assert image.shape == (512, 512, 3) and image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255} and 0.5 < (mask > 0).mean() < 0.65
    assert mask[100, 100] == mask[400, 320] == 255  # in two glands
    assert mask[400, 20] == mask[250, 470] == 0  # background glass, connective tissue


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
@pytest.mark.parametrize("where", ["before the pixels", "behind them", "as text", "as XMP"])
def test_the_size_of_a_png_is_read_without_its_pixels(tmp_path, monkeypatch, orientation, where):
    """Also where its EXIF data stand behind them, and where an older program wrote them as text."""
    exif, path = Image.Exif(), tmp_path / "a.png"
    if orientation:
        exif[0x0112] = orientation
    note = PngInfo()
    if orientation and where == "as text":
        data = exif.tobytes().hex()
        note.add_text("Raw profile type exif", f"\nexif\n{len(data) // 2:8}\n{data}\n", zip=True)
    if orientation and where == "as XMP":
        note.add_itxt("XML:com.adobe.xmp", f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="{orientation}"/>')
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(
        path, exif=exif if where == "before the pixels" and orientation else b"", pnginfo=note
    )
    if orientation and where == "behind them":
        body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        whole = path.read_bytes()
        path.write_bytes(whole[:-12] + chunk + whole[-12:])
    expected = read_image(path).shape[:2]
    assert expected == ((30, 20) if orientation in (6, 8) else (20, 30))
    if where not in ("as text", "as XMP"):
        monkeypatch.setattr(Image.Image, "load", None)  # which decodes
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    assert image_size(path) == expected


def test_the_orientation_of_a_png_is_found_wherever_it_stands_but_not_behind_its_end(tmp_path):
    path, image, exif = tmp_path / "a.png", Image.fromarray(np.zeros((20, 30, 3), np.uint8)), Image.Exif()
    for length in (ahead - before for ahead in (4096, 8192, 131072) for before in range(50, 90, 4)):
        note = PngInfo()  # then a text begins near the end of what Python reads ahead
        note.add_text("Comment", "a" * length)
        note.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/>')
        image.save(path, pnginfo=note)
        assert image_size(path) == read_image(path).shape[:2] == (30, 20)
    exif[0x0112] = 6
    image.save(path, exif=exif)
    turned = path.read_bytes()
    image.save(path)
    path.write_bytes(path.read_bytes() + turned.removeprefix(b"\x89PNG\r\n\x1a\n"))
    assert image_size(path) == read_image(path).shape[:2] == (20, 30)
