"""infer.py as a user runs it: a directory in, a directory of masks of the same names out."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import command, fails_in_one_line, inside, together, torchrun, write_pair
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import infer
from benchmarks import peers_folder
from model import FCN, UNet, load_network
from segmenter import Segmenter
from support import files as guards
from support.checkpoint import save_checkpoint
from support.files import MARK, BadInput, one_writer
from support.images import SEVERAL_PAGES, read_image
from support.masks import read_mask

NAMES = ["photo.jpg", "upper.JPG", "c.jpeg", "d.png", "e.tif", "f.bmp", "g.webp", "deep/er/photo.jpg", "with.dots.png"]


def checkpoint(path, model, values, **metadata):
    classes = [{"name": f"class {number}", "value": value} for number, value in enumerate(values)]
    metadata = {"ignore": [], "mean": [0.5] * 3, "std": [0.2] * 3, "settings": {"flips": "all"}, **metadata}
    save_checkpoint(path, model, classes=classes, **metadata)
    return path


def network(classes=2, seed=0):
    torch.manual_seed(seed)
    model = FCN(classes).eval()
    with torch.no_grad():  # so that every class occurs
        model.layers.conv4.bias.zero_()
        model.layers.conv4.weight.mul_(20)
    return model


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        small = random.integers(0, 256, (7, 9, 3), np.uint8)
        Image.fromarray(small).resize((60 + number, 300 if number == 3 else 50)).save(path)
    return tmp_path / "images"


def expected(model_file, image, **settings):
    model, metadata = load_network(model_file)
    return Segmenter(model, metadata, **settings)(read_image(image))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_every_image_gets_a_mask_of_the_same_name_and_size(images, tmp_path):
    model = checkpoint(tmp_path / "model.pt", network(), [0, 255])
    (images / "notes.txt").write_text("not an image")
    done = inside("infer.py", "images", "out", cwd=tmp_path)
    assert done.returncode == 0 and f"{len(NAMES)} masks in out" in done.stdout, done.stderr
    assert files(tmp_path / "out") == sorted(NAMES)
    for name in NAMES:
        mask = Image.open(tmp_path / "out" / name)
        truth = expected(model, images / name)
        assert mask.mode == "L" or name.endswith("webp")
        jpeg = name.lower().endswith(("jpg", "jpeg"))
        values = np.asarray(mask.convert("L"))
        assert np.array_equal(values >= 128 if jpeg else values, truth == 1 if jpeg else truth * 255), name
        assert 0.05 < truth.mean() < 0.95


@pytest.mark.parametrize("values", [[0, 1], [3, 7], [255, 0], [[0, 0, 0], [9, 0, 200]]])
def test_two_classes_are_black_and_white_in_a_jpeg_and_themselves_elsewhere(images, tmp_path, values):
    model = checkpoint(tmp_path / "model.pt", network(), values)
    assert inside("infer.py", "images", "out", cwd=tmp_path).returncode == 0
    truth = expected(model, images / "photo.jpg")
    white = int(values != [255, 0])  # the brighter one
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "photo.jpg")) >= 128, truth == white)
    for name in ("photo.jpg", "c.jpeg"):  # as the masks of a data set, whatever their encoding, they are perfect
        (tmp_path / "masks").mkdir(exist_ok=True)
        array = np.array(values, np.uint8)[expected(model, images / name)]
        Image.fromarray(array).save(tmp_path / "masks" / f"{Path(name).stem}.png")
    table = {"classes": [{"name": name, "value": value} for name, value in zip("ab", values)]}
    (tmp_path / "masks" / "classes.json").write_text(json.dumps(table))
    (tmp_path / "two.txt").write_text("photo\nc\n")
    done = inside("evaluate.py", "out", "masks", "--only", "two.txt", cwd=tmp_path)
    assert done.returncode == 0 and "mean IoU 1.0000" in done.stdout, done.stderr
    for name in ("d.png", "e.tif", "f.bmp", "g.webp"):
        assert np.array_equal(read_mask(tmp_path / "out" / name), np.array(values)[expected(model, images / name)]), (
            name
        )


def test_more_classes_than_a_jpeg_can_hold_become_png(images, tmp_path):
    model = checkpoint(tmp_path / "model.pt", network(3), [0, 10, 300])
    done = inside("infer.py", "images", "out", cwd=tmp_path)
    assert done.returncode == 0 and "cannot hold their values exactly: 6" in done.stdout
    assert not any(name.lower().endswith(("jpg", "jpeg", "bmp", "webp")) for name in files(tmp_path / "out"))
    for image, mask in [("photo.jpg", "photo.png"), ("e.tif", "e.tif"), ("deep/er/photo.jpg", "deep/er/photo.png")]:
        truth = np.array([0, 10, 300])[expected(model, images / image)]
        assert np.array_equal(read_mask(tmp_path / "out" / mask), truth) and len(np.unique(truth)) == 3
    assert inside("infer.py", "images", "look", "--format", "jpg", cwd=tmp_path).returncode == 0
    assert {name.rsplit(".", 1)[1] for name in files(tmp_path / "look")} == {"jpg"}


def test_all_as_png(images, tmp_path):
    model = checkpoint(tmp_path / "model.pt", network(), [0, 255])
    assert inside("infer.py", "images", "out", "--format", "png", cwd=tmp_path).returncode == 0
    assert {name.rsplit(".", 1)[1] for name in files(tmp_path / "out")} == {"png"}
    assert np.array_equal(read_mask(tmp_path / "out" / "upper.png"), expected(model, images / "upper.JPG") * 255)
    shutil.copy(images / "photo.jpg", images / "d.jpg")
    words = ("infer.py", "images", "other", "--format", "png")
    fails_in_one_line(inside(*words, cwd=tmp_path), "d.jpg and d.png would both become d.png")


@pytest.mark.slow
def test_resume_leaves_out_what_is_done_and_nothing_else(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    assert inside("infer.py", "images", "out", cwd=tmp_path).returncode == 0
    (tmp_path / "out" / "d.png").unlink()
    (tmp_path / "out" / ".d.png.part").write_bytes(b"a user's own, whatever it is")
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in NAMES if name != "d.png"}
    done = inside("infer.py", "images", "out", "--resume", cwd=tmp_path)
    assert done.returncode == 0 and f"1 masks in out, {len(NAMES) - 1} were there" in done.stdout
    assert before == {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before}
    assert files(tmp_path / "out") == sorted([".d.png.part", *NAMES])
    again = inside("infer.py", "images", "out", cwd=tmp_path)  # its own masks it may write again
    assert again.returncode == 0 and f"{len(NAMES)} masks" in again.stdout


@pytest.mark.slow
def test_masks_that_a_person_corrected_are_kept(images, tmp_path):
    """Even where the editor copies our mark: the digest beside it no longer fits."""
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    assert inside("infer.py", "images", "out", cwd=tmp_path).returncode == 0
    for name in "d.png", "upper.JPG", "e.tif":
        with Image.open(tmp_path / "out" / name) as mask:
            corrected = Image.fromarray(255 - np.asarray(mask))
            note = PngInfo()
            note.add_text("Software", mask.info.get("Software", ""))
            more = {"pnginfo": note} if name == "d.png" else {"comment": mask.info.get("comment", b"")}
            more = {"tiffinfo": mask.tag_v2} if name == "e.tif" else more
        corrected.save(tmp_path / "out" / name, **more)
        assert MARK.encode() in (tmp_path / "out" / name).read_bytes()
    before = {name: (tmp_path / "out" / name).read_bytes() for name in NAMES}
    done = inside("infer.py", "images", "out", "--resume", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("kept as it is") == 3 and "0 masks in out" in done.stdout
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in NAMES}
    again = inside("infer.py", "images", "out", cwd=tmp_path)
    assert again.returncode == 1 and again.stderr.count("was changed since") == 3
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in NAMES}


def test_two_do_not_write_into_one_folder(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    with one_writer(tmp_path / "out"):
        fails_in_one_line(inside("infer.py", "images", "out", cwd=tmp_path), "out is being written to")
    assert inside("infer.py", "images", "out", cwd=tmp_path).returncode == 0
    assert files(tmp_path / "out") == sorted(NAMES)


@pytest.mark.slow
def test_names_that_a_console_cannot_show(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = command("infer.py", "images", "猫", cwd=tmp_path, env=environment)
    assert done.returncode == 0 and f"{len(NAMES)} masks" in done.stdout, done.stderr


def test_bad_files_are_listed_after_the_good_ones_are_done(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    (images / "a empty.png").touch()
    (images / "deep" / "cut.jpg").write_bytes((images / "photo.jpg").read_bytes()[:300])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "d.png").write_text("the user's own")
    done = inside("infer.py", "images", "out", cwd=tmp_path)
    errors = done.stderr.strip().splitlines()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert errors[0] == "infer.py: 3 images failed:" and len(errors) == 4
    assert "a empty.png is no readable image" in errors[1] and "cut.jpg is no readable image" in errors[2]
    assert "d.png exists and was not written by this program" in errors[3]
    assert (tmp_path / "out" / "d.png").read_text() == "the user's own"
    assert files(tmp_path / "out") == sorted(NAMES)  # d.png among them, nothing half-written beside them


def test_only_some(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    (tmp_path / "test.txt").write_text("deep/er/photo\nwith.dots\n")
    assert inside("infer.py", "images", "out", "--only", "test.txt", cwd=tmp_path).returncode == 0
    assert files(tmp_path / "out") == ["deep/er/photo.jpg", "with.dots.png"]
    (tmp_path / "test.txt").write_text("absent")
    fails_in_one_line(inside("infer.py", "images", "b", "--only", "test.txt", cwd=tmp_path), "test.txt names absent")


def overlays(tmp_path, *words):
    return inside("infer.py", "images", "out", "--overlay", "look", *words, cwd=tmp_path)


def outlined(indices):
    """Whether a pixel has a neighbour of another class, by its sides."""
    wide = np.pad(indices, 1, mode="edge")
    sides = wide[1:-1, :-2], wide[1:-1, 2:], wide[:-2, 1:-1], wide[2:, 1:-1]
    return np.any([side != indices for side in sides], axis=0)


def test_overlays_show_the_image_the_colours_of_its_classes_and_their_outline(images, tmp_path):
    coloured = [[0, 0, 0], [200, 0, 0], [0, 0, 200]]
    for classes, values, dark in [(2, [0, 255], "background"), (3, coloured, "background"), (3, coloured, "unnamed")]:
        table = [{"name": name, "value": value} for name, value in zip([dark, "a", "b"], values)]
        torch.manual_seed(0)
        model = tmp_path / "model.pt"
        metadata = {"ignore": [], "mean": [0.5] * 3, "std": [0.2] * 3, "settings": {"flips": "all"}}
        save_checkpoint(model, network(classes), classes=table, **metadata)
        done = overlays(tmp_path)
        assert done.returncode == 0 and f"{len(NAMES)} masks in out with overlays in look" in done.stdout, done.stderr
        assert files(tmp_path / "look") == sorted(str(Path(name).with_suffix(".jpg")) for name in NAMES)
        image, indices = read_image(images / "d.png").astype(int), expected(model, images / "d.png")
        tinted = image.copy() if classes == 2 else np.where(
            (indices == 0)[:, :, None], image, (image + np.array(values)[indices]) // 2
        )  # fmt: skip
        tinted[outlined(indices)] = 255, 0, 255
        found = read_image(tmp_path / "look" / "d.jpg").astype(int)
        assert np.abs(found - tinted).mean() < 3 < np.abs(found - image).mean()  # a JPEG is not exact
        assert set(np.unique(indices)) == set(range(classes))


def test_resume_makes_the_overlays_that_are_missing_and_leaves_masks_alone(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    assert overlays(tmp_path).returncode == 0
    before = {path: path.read_bytes() for part in ("out", "look") for path in (tmp_path / part).rglob("*.*")}
    (tmp_path / "look" / "d.jpg").unlink()
    (tmp_path / "out" / "e.tif").unlink()
    (tmp_path / "out" / "d.png").write_bytes(b"corrected by hand")
    (tmp_path / "look" / "f.jpg").write_bytes(b"a user's own")
    before |= {tmp_path / "out" / "d.png": b"corrected by hand", tmp_path / "look" / "f.jpg": b"a user's own"}
    done = overlays(tmp_path, "--resume")
    assert done.returncode == 0 and "2 masks in out" in done.stdout and f"{len(NAMES) - 2} were there" in done.stdout
    assert before == {path: path.read_bytes() for path in before}
    again = overlays(tmp_path)
    assert again.returncode == 1 and again.stderr.count("was not written by this program") == 2
    assert before == {path: path.read_bytes() for path in before}


def test_overlays_go_into_a_folder_of_their_own(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    run = lambda *words: inside("infer.py", *words, cwd=tmp_path)
    fails_in_one_line(run("images", "out", "--overlay", "images/x"), "images/x is inside images")
    fails_in_one_line(run("images", "out", "--overlay", "out"), "out is inside out")
    fails_in_one_line(run("images", "out/masks", "--overlay", "out"), "out/masks is inside out")
    fails_in_one_line(
        run("images", "out", "--overlay", "model.pt"), "model.pt is a file; expected a folder, for the ov"
    )
    shutil.copy(images / "photo.jpg", images / "d.jpg")
    fails_in_one_line(run("images", "out", "--overlay", "look"), "d.jpg and d.png would both become d.jpg")
    (images / "d.jpg").unlink()
    with one_writer(tmp_path / "look"):
        fails_in_one_line(run("images", "out", "--overlay", "look"), "look is being written to by another process")
    assert files(tmp_path / "look") == files(tmp_path / "out") == []


def test_what_is_rejected_gets_no_overlay(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    assert overlays(tmp_path).returncode == 0
    assert overlays(tmp_path, "--score", "energy", "--reject", "1e9").returncode == 0
    assert files(tmp_path / "look") == [] and files(tmp_path / "out") == ["rejected.csv"]


def test_a_unet_with_less_context_and_with_turns(images, tmp_path):
    torch.manual_seed(0)
    model = checkpoint(tmp_path / "unet.pt", UNet(3, 4, 2).eval(), [0, 1, 2], settings={"flips": "mirror"})
    for words, settings in [((), {}), (("--halo", 8), {"halo": 8}), (("--tta",), {"tta": True})]:
        out = f"out{''.join(map(str, words))}"
        done = inside("infer.py", "images", out, "--checkpoint", "unet.pt", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert np.array_equal(read_mask(tmp_path / out / "d.png"), expected(model, images / "d.png", **settings))


def test_mistakes(images, tmp_path):
    run = lambda *words: inside("infer.py", *words, cwd=tmp_path)
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    fails_in_one_line(run("images", "images"), "images is inside images")
    fails_in_one_line(run("images", "images/../images/x"), "is inside images")
    fails_in_one_line(run("images", "out", "--halo", 130), "--halo", "127")
    assert not (tmp_path / "out").exists()
    fails_in_one_line(run("images", "out", "--onnx", "a.onnx", "--device", "cuda"), "--onnx: runs on the CPU")
    fails_in_one_line(run("images", "out", "--onnx", "a.onnx", "--adapt", 0.5), "--adapt: only PyTorch")


@pytest.mark.slow
def test_two_processes_share_the_work(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    names = [*NAMES, "z1.tif", "z2.tif"]
    for name in names[-2:]:  # one for each process: both have a remark
        page = Image.new("RGB", (30, 20), (90, 40, 10))
        page.save(images / name, save_all=True, append_images=[page])
    done = inside("infer.py", "images", "one", cwd=tmp_path)
    remark = f"z1.tif and 1 more: {SEVERAL_PAGES}"
    assert done.returncode == 0 and remark in done.stdout
    (images / "broken.png").touch()
    done = torchrun("infer.py", "images", "two", cwd=tmp_path)
    assert done.returncode != 0 and f"{len(names)} masks in two" in done.stdout and remark in done.stdout
    assert done.stderr.count("broken.png is no readable image") == 1
    assert files(tmp_path / "two") == sorted(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.slow
def test_the_benchmark_reads_how_long_it_took(tmp_path):
    (tmp_path / "photographs").mkdir()
    peers_folder.write_photographs(tmp_path / "photographs", 2)
    assert 0 < peers_folder.by_pytorch(tmp_path / "photographs", tmp_path / "masks") < 300
    assert files(tmp_path / "masks") == ["000.png", "001.png"]


@pytest.mark.slow
def test_no_process_writes_into_a_folder_that_another_run_has(images, tmp_path):
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    with one_writer(tmp_path / "two"):
        done = together("infer.py", "images", "two", cwd=tmp_path)
    assert done.returncode != 0 and "two is being written to by another process" in done.stderr
    assert files(tmp_path / "two") == []


@pytest.mark.parametrize("out", ["data/masks", "data/masks/deep", "link", "elsewhere/masks"])
def test_the_true_masks_that_we_made_are_not_overwritten(images, tmp_path, out):
    """They carry our mark, as predictions do."""
    checkpoint(tmp_path / "model.pt", network(), [0, 255])
    (tmp_path / "data" / "masks").mkdir(parents=True)
    (tmp_path / "data" / "made_of.json").write_text("{}")
    if out in ("link", "elsewhere/masks") and sys.platform == "win32":
        pytest.skip("Windows asks for rights to link")
    if out == "link":
        (tmp_path / "link").symlink_to(tmp_path / "data" / "masks")
    elif out == "elsewhere/masks":  # of a data set whose masks lie on another disk
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "data" / "made_of.json").rename(tmp_path / "elsewhere" / "made_of.json")
        (tmp_path / "elsewhere" / "masks").symlink_to(tmp_path / "data" / "masks")
    for words in ["images", out], ["images", "new", "--probabilities", out]:
        fails_in_one_line(inside("infer.py", *words, cwd=tmp_path), "is among the true masks of a data set")
    one = inside("predict.py", "images/d.png", "--out", f"{out}/d.png", cwd=tmp_path)
    fails_in_one_line(one, "is among the true masks of a data set")
    assert inside("infer.py", "images", "data/predicted", cwd=tmp_path).returncode == 0


def test_names_of_masks():
    classes = [{"name": "a", "value": 0}, {"name": "b", "value": 1}, {"name": "c", "value": 2}]
    names = [Path(name) for name in ("a.jpg", "b.JPEG", "c.bmp", "d.v2.png")]
    assert [str(path) for path in infer.mask_paths(names, "auto", classes)] == ["a.png", "b.png", "c.bmp", "d.v2.png"]
    assert infer.mask_paths(names, "auto", classes[:2]) == names
    with pytest.raises(BadInput, match="a.jpg and a.png would both become a.png"):
        infer.mask_paths([Path("a.jpg"), Path("a.png")], "auto", classes)


@pytest.mark.slow
def test_what_training_writes_infer_reads(folder, tmp_path):
    write_pair(tmp_path / "new", "x", 99)
    words = ["--data", folder, "--model", "unet", "--width", 4, "--depth", 2, "--epochs", 1, "--steps", 3]
    assert inside("train.py", *words, cwd=tmp_path).returncode == 0
    assert inside("infer.py", "new/images", "out", cwd=tmp_path).returncode == 0
    assert set(np.unique(read_mask(tmp_path / "out" / "x.png"))) <= {0, 3, 7}


def test_a_folder_by_another_spelling_is_the_same_folder(tmp_path, monkeypatch):
    """As on most disks of Macs and of Windows, where masks and Masks are one."""

    def same(one, other):
        if not os.path.exists(str(one).lower()) or not os.path.exists(str(other).lower()):
            raise FileNotFoundError
        return str(one).lower() == str(other).lower()

    base = tmp_path / "set"
    (base / "masks").mkdir(parents=True)
    (base / "made_of.json").write_text("{}")
    assert str(base) == str(base).lower()
    guards.check_no_truth(base / "Masks")  # here these are two
    guards.check_no_truth(base / "masks_of_mine" / "a.png")
    monkeypatch.setattr(os.path, "samefile", same)
    for path in base / "masks", base / "Masks", base / "MASKS" / "a.png":
        with pytest.raises(BadInput, match="is among the true masks"):
            guards.check_no_truth(path)
    with pytest.raises(BadInput, match="is inside"):
        guards.keep_apart(base / "Masks" / "new" / "out", base / "masks")
    guards.check_no_truth(base / "masks_of_mine" / "a.png")
    guards.keep_apart(base / "new", base / "masks")
