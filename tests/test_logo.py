"""The logo challenge: the generator against its recipe, step by step and in its statistics, and its files."""

import csv
import json

import numpy as np
import pytest
import tifffile
from conftest import ROOT, contents, fails_in_one_line, inside
from PIL import Image
from scipy import stats
from skimage import transform

import evaluate
import infer
from benchmarks.logo import compare, literal, thin_logo
from challenges.logo import analyse, prepare, recipe
from support.arguments import evaluate_arguments, infer_arguments

SIZE = (340, 512)
PLAIN = recipe.Placement(mirrored=False, angle=0.0, swirl=0.0, scale=0.2, alpha=0.3, down=0.5, right=0.5)


def solid_logo():
    """An asymmetric, opaque logo of 240×400 pixels on a ground that is transparent, but not black."""
    pixels = np.zeros((240, 400, 4), np.uint8)
    pixels[:, :, :3] = 255, 0, 255
    pixels[20:220, 30:180] = 200, 30, 40, 255
    pixels[120:220, 180:380] = 30, 60, 200, 255
    return pixels


def made(*words):
    prepare.prepare(prepare.parse_arguments([str(word) for word in words]))


# ---------------------------------------------------------------------------------------------------
# One logo


@pytest.mark.slow
@pytest.mark.parametrize("pixels, worst", [(thin_logo(), 0.93), (solid_logo(), 0.99)], ids=["thin", "solid"])
def test_the_composed_warp_agrees_with_the_literal_steps(pixels, worst):
    _, _, differences, ious = compare(pixels, 12)
    assert np.mean(differences) < 2.5 and max(differences) < 5  # of 255, before alpha of at most 0.4
    assert min(ious) > worst


@pytest.mark.parametrize(
    "change", [{"mirrored": True}, {"angle": 1.0}, {"swirl": 5.0}, {"swirl": -5.0}, {"mirrored": True, "angle": 4.0}]
)
def test_each_step_by_itself_agrees_and_its_reverse_would_not(change):
    placement = PLAIN._replace(**change)
    logo = recipe.prepare_logo(solid_logo(), SIZE)
    ours, extent = recipe.transform(logo, placement), recipe.extent(logo, placement)
    assert np.abs(ours - literal(solid_logo(), placement, extent)).mean() < 3
    for name, value in change.items():
        reverse = placement._replace(**{name: not value if name == "mirrored" else -value})
        assert np.abs(ours - literal(solid_logo(), reverse, extent)).mean() > 10


def test_a_quarter_turn_is_numpys_counter_clockwise():
    logo = recipe.prepare_logo(solid_logo(), SIZE)
    lying, standing = (recipe.transform(logo, PLAIN._replace(angle=angle)) for angle in (0, np.pi / 2))
    assert np.abs(np.rot90(lying) - standing).max() < 1


def test_the_swirl_is_scikit_images_with_a_radius_of_500():
    logo = recipe.prepare_logo(solid_logo(), SIZE)
    placement = PLAIN._replace(swirl=3.0, scale=0.38)
    y, x, rows, columns = recipe.extent(logo, placement)
    padded = np.pad(solid_logo()[:, :, 3].astype(float), 200)
    for radius, close in [(500, True), (300, False)]:
        swirled = transform.swirl(padded, (399.5, 319.5), 3.0, radius, mode="constant") >= 127.5
        down, right = ((np.arange(n) + 0.5) / 0.38 + start for n, start in [(rows, y), (columns, x)])
        shown = swirled[np.ix_((down + 319.5).round().astype(int), (right + 399.5).round().astype(int))]
        ours = recipe.transform(logo, placement)[:, :, 3] >= 127.5
        assert ((ours & shown).sum() / (ours | shown).sum() > 0.97) == close


@pytest.mark.slow
def test_nothing_of_a_logo_is_cut_off_at_any_angle_and_swirl():
    """The literal steps on a canvas with room to spare show nothing outside of the extent, and all that is inside."""
    random = np.random.default_rng(3)
    for pixels in (thin_logo(), solid_logo()):
        logo, whole = recipe.prepare_logo(pixels, SIZE), pixels[:, :, 3].astype(float).sum()
        for placement in [one for _ in range(4) for one in recipe.draw_placements(random)]:
            top, left, rows, columns = recipe.extent(logo, placement)
            assert max(rows, columns) <= 340
            around = literal(pixels, placement, (top - 8 / placement.scale, left - 8 / placement.scale,
                                                 rows + 16, columns + 16))[:, :, 3]  # fmt: skip
            outside = around.copy()
            outside[8:-8, 8:-8] = 0
            assert outside.max() < 128 and outside.sum() < 0.02 * around.sum()  # the blur reaches over the edge
            found = recipe.transform(logo, placement)[:, :, 3]
            assert found.sum() / placement.scale**2 == pytest.approx(whole, rel=0.03), placement  # turns keep areas


def test_colours_of_transparent_pixels_do_not_leak_and_thin_strokes_do_not_vanish():
    found = recipe.transform(recipe.prepare_logo(solid_logo(), SIZE), PLAIN._replace(scale=0.1, angle=0.7))
    alpha = found[:, :, 3:] / 255
    assert (found[:, :, 1] <= 60 * alpha[:, :, 0] + 1).all()  # green is at most 60 in it, its ground is magenta
    assert (found[:, :, 2] <= 200 * alpha[:, :, 0] + 1).all()
    pixels = np.zeros((400, 400, 4), np.uint8)
    pixels[:, 198:202] = 255  # four pixels wide: at a scale of 0.1 less than half a pixel
    pixels[0, :] = 255
    found = recipe.transform(recipe.prepare_logo(pixels, SIZE), PLAIN._replace(scale=0.1))
    assert found[5:, :, 3].sum(axis=1) == pytest.approx(0.4 * 255, rel=0.05)


# ---------------------------------------------------------------------------------------------------
# Its place and the blend


def test_the_placements_follow_the_recipe():
    """Kolmogorov and Smirnov's test for each distribution, at a fixed seed."""
    images = [recipe.draw_placements(np.random.default_rng((7, k))) for k in range(3000)]
    counts = np.bincount([len(image) for image in images], minlength=4)
    assert counts[0] == 0 and len(counts) == 4 and stats.chisquare(counts[1:]).pvalue > 0.01
    logos = [logo for image in images for logo in image]
    for chosen in (
        [logo.mirrored for logo in logos],
        [logo.angle != 0 for logo in logos],
        [logo.swirl != 0 for logo in logos],
    ):
        assert stats.binomtest(sum(chosen), len(chosen), 0.5).pvalue > 0.01
    for name, least, most in [
        ("angle", 0, 2 * np.pi),
        ("swirl", -5, 5),
        ("scale", 0.1, 0.38),
        ("alpha", 0.1, 0.4),
        ("down", 0, 1),
        ("right", 0, 1),
    ]:
        values = np.array([getattr(logo, name) for logo in logos])
        values = values[values != 0]
        assert stats.kstest(values, "uniform", (least, most - least)).pvalue > 0.01, name
    drawn = np.array([[*logo[1:]] for logo in logos])
    drawn = drawn[(drawn[:, 0] != 0) & (drawn[:, 1] != 0)]
    correlation = np.corrcoef(drawn.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.1  # drawn independently


def test_the_blend_is_the_equation_and_the_mask_where_the_logo_is_at_least_half_opaque():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*SIZE, 3), np.uint8)
    logo = recipe.prepare_logo(solid_logo(), SIZE)
    placements = [one._replace(down=0.3 * n % 1, right=0.5) for n, one in enumerate(recipe.draw_placements(random) * 2)]
    blended, mask, boxes = recipe.compose(image, logo, placements)
    expected, covered = image.astype(np.float64), np.zeros(SIZE, bool)
    for placement, (top, left, height, width, area) in zip(placements, boxes):
        lies = recipe.transform(logo, placement)
        assert lies.shape[:2] == (height, width) and 0 <= top <= 340 - height and 0 <= left <= 512 - width
        opaque = 0
        for y in range(height):
            for x in range(width):
                *colour, opacity = lies[y, x].astype(np.float64)
                if opacity:
                    a = opacity / 255
                    logo_colour = np.array(colour) / a
                    pixel = expected[top + y, left + x]
                    expected[top + y, left + x] = (1 - placement.alpha * a) * pixel + placement.alpha * a * logo_colour
                covered[top + y, left + x] |= opacity >= 127.5
                opaque += opacity >= 127.5
        assert area == opaque
    assert np.abs(blended - expected).max() <= 0.51
    assert (mask == covered).all() and mask.dtype == bool


def test_logos_reach_every_edge_of_the_image():
    logo = recipe.prepare_logo(solid_logo(), SIZE)
    for down, right in [(0, 0), (1 - 1e-12, 1 - 1e-12)]:
        _, mask, [(top, left, height, width, _)] = recipe.compose(
            np.zeros((*SIZE, 3), np.uint8), logo, [PLAIN._replace(down=down, right=right)]
        )
        edges = (top, left) if not down else (340 - top - height, 512 - left - width)
        assert edges == (0, 0) and mask.any()


def test_a_background_is_a_part_of_the_photograph_that_covers_the_image():
    y, x = np.mgrid[:300, :400]
    photograph = np.stack([y * 255 // 299, x * 255 // 399, np.zeros_like(x)], axis=2).astype(np.uint8)
    for size in (SIZE, (512, 340), (30, 400), (300, 400)):
        ground = recipe.background(photograph, size, np.random.default_rng(1)).astype(int)
        assert ground.shape == (*size, 3)
        shrink = min(300 / size[0], 400 / size[1])
        for axis, channel, length in [(0, 0, 300), (1, 1, 400)]:
            span = np.ptp(ground[:, :, channel])
            assert span == pytest.approx(255 * size[axis] * shrink / length, abs=6)  # not distorted
    assert (recipe.background(photograph, (300, 400), np.random.default_rng(1)) == photograph).all()


# ---------------------------------------------------------------------------------------------------
# Files


def test_the_data_set_is_a_pure_function_of_seed_and_number(tmp_path):
    made("--out", tmp_path / "one", "--count", 6, "--seed", 5, "--workers", 1)
    made("--out", tmp_path / "three", "--count", 4, "--seed", 5, "--workers", 3)
    made("--out", tmp_path / "three", "--count", 6, "--seed", 5, "--workers", 2)  # adds two
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    made("--out", tmp_path / "other", "--count", 6, "--seed", 6)
    first, second = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert not any(first[name] == second[name] for name in first if name.startswith("images"))


def test_a_line_of_the_table_that_was_being_written_is_written_again(tmp_path):
    """As a power cut may leave it; killed in earnest it is in tests/test_interrupted.py."""
    made("--count", 9, "--out", tmp_path / "whole")
    made("--count", 5, "--out", tmp_path / "cut")
    (tmp_path / "cut" / "placements.csv").open("a").write("0000")
    made("--count", 9, "--out", tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_what_is_written_is_what_the_table_says(tmp_path):
    made("--out", tmp_path / "data", "--count", 30, "--size", 200, 300)
    rows = list(csv.DictReader((tmp_path / "data" / "placements.csv").open()))
    assert rows and {row["image"] for row in rows} == {f"{k:06d}" for k in range(30)}
    logo = recipe.prepare_logo(np.asarray(Image.open(prepare.LOGO)), (200, 300))
    assert logo.largest < 0.38 and all(0.1 <= float(row["scale"]) <= logo.largest for row in rows)
    photographs = {row["image"]: row["photograph"] for row in rows}
    held_out = (tmp_path / "data" / "val.txt").read_text().splitlines()[1:]
    apart = {photographs[name] for name in held_out}
    assert apart and held_out == [name for name in photographs if photographs[name] in apart]
    for name in photographs:
        image = Image.open(tmp_path / "data" / "images" / f"{name}.jpg")
        mask = np.asarray(Image.open(tmp_path / "data" / "masks" / f"{name}.bmp"))
        assert image.size == (300, 200) and image.format == "JPEG"
        assert mask.shape == (200, 300) and set(np.unique(mask)) == {0, 255}
        expected = np.zeros((200, 300), bool)
        for row in (row for row in rows if row["image"] == name):
            placement = recipe.Placement(
                row["mirrored"] == "1", *(float(row[knob]) for knob in ("angle", "swirl", "scale", "alpha")), 0, 0
            )
            top, left = int(row["top"]), int(row["left"])
            shape = recipe.transform(logo, placement)[:, :, 3] >= 127.5
            assert shape.shape == (int(row["height"]), int(row["width"])) and shape.sum() == int(row["area"])
            expected[top : top + len(shape), left : left + shape.shape[1]] |= shape
        assert (expected == (mask == 255)).all()


def test_whole_data_sets_follow_the_recipe_too(tmp_path):
    made("--out", tmp_path / "data", "--count", 250, "--size", 120, 160, "--seed", 11)
    rows = list(csv.DictReader((tmp_path / "data" / "placements.csv").open()))
    values = {name: np.array([float(row[name]) for row in rows]) for name in ("scale", "alpha", "angle", "swirl")}
    largest = 120 / np.hypot(500, 500)
    for name, least, most in [
        *[("scale", 0.1, largest), ("alpha", 0.1, 0.4), ("angle", 0, 2 * np.pi), ("swirl", -5, 5)]
    ]:
        values[name] = values[name][values[name] != 0]
        assert stats.kstest(values[name], "uniform", (least, most - least)).pvalue > 0.01, name
    for place, length, whole in [("top", "height", 120), ("left", "width", 160)]:
        room = np.array([whole - int(row[length]) for row in rows])
        start = np.array([int(row[place]) for row in rows])
        assert (start >= 0).all() and (start <= room).all()
        assert stats.kstest(((start + 0.5) / (room + 1))[room > 20], "uniform").pvalue > 0.01
    first = {row["image"]: row for row in rows}.values()
    quality = np.bincount([int(row["quality"]) for row in first], minlength=96)
    assert quality[:75].sum() == 0 and stats.chisquare(quality[75:96]).pvalue > 0.01
    used = np.unique([row["photograph"] for row in first], return_counts=True)[1]
    assert len(used) > 8 and stats.chisquare(used).pvalue > 0.01


def test_photographs_held_out_stay_held_out_when_the_data_set_grows(tmp_path):
    listed = []
    for count in (30, 60):
        made("--out", tmp_path / "data", "--count", count)
        listed.append((tmp_path / "data" / "val.txt").read_text().splitlines()[1:])
    assert listed[0] and set(listed[0]) < set(listed[1])
    assert [name for name in listed[1] if int(name) < 30] == listed[0]


def test_the_parts_share_no_photograph_and_a_quarter_is_for_testing(tmp_path):
    for number in range(40):
        Image.fromarray(np.full((40, 40, 3), number * 6, np.uint8)).save(tmp_path / f"p{number}.png")
    used = {part: set(prepare.find_photographs(tmp_path, part)[1]) for part in ("all", "train", "test")}
    assert not used["train"] & used["test"] and used["train"] | used["test"] == used["all"]
    assert 4 <= len(used["test"]) <= 16


def test_an_unreadable_photograph_is_passed_over_and_named(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.full((90, 90, 3), 99, np.uint8)).save(tmp_path / "photos" / "good.png")
    (tmp_path / "photos" / "torn.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    made("--images", tmp_path / "photos", "--out", tmp_path / "data", "--count", 8, "--workers", 2)
    assert "left out, as they cannot be read: torn.jpg" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "data" / "placements.csv").open()))
    assert {row["photograph"] for row in rows} == {"good.png"} and len({row["image"] for row in rows}) == 8


def test_mistakes_are_told_in_one_line(tmp_path):
    def wrong(*words):
        with pytest.raises(prepare.BadInput) as error:
            made("--out", tmp_path / "new", *words)
        assert not (tmp_path / "new").exists()
        return str(error.value)

    Image.new("RGBA", (60, 60), (9, 9, 9, 100)).save(tmp_path / "faint.png")
    assert "half opaque" in wrong("--logo", tmp_path / "faint.png")
    tifffile.imwrite(tmp_path / "numbers.tif", np.ones((60, 60, 4), np.float32))
    assert "numbers that are no colours" in wrong("--logo", tmp_path / "numbers.tif")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (60, 60)).save(tmp_path / "photos" / "a.png")
    run = inside("-m", "challenges.logo.prepare", "--images", tmp_path, "--out", tmp_path / "new", cwd=ROOT)
    fails_in_one_line(run, "is inside")
    Image.new("RGBA", (5000, 60), (9, 9, 9, 255)).save(tmp_path / "huge.png")
    assert "smallest scale" in wrong("--logo", tmp_path / "huge.png")
    fails_in_one_line(inside("-m", "challenges.logo.prepare", cwd=ROOT), "--out")
    run = inside("-m", "challenges.logo.prepare", "--out", tmp_path / "new", "--count", 0, cwd=ROOT)
    fails_in_one_line(run, "--count", "0")
    assert not (tmp_path / "new").exists()


def test_data_sets_are_never_mixed(tmp_path):
    made("--out", tmp_path / "data", "--count", 3)
    before = contents(tmp_path / "data")
    for words, told in [
        (["--seed", 1], "another seed"),
        (["--size", 200, 200], "another size"),
        (["--part", "train"], "another set of photographs"),
        (["--count", 1], "more than 1 images"),
    ]:
        with pytest.raises(prepare.BadInput, match=told):
            made("--out", tmp_path / "data", *["--count", 3, *words])
    Image.fromarray(thin_logo()).save(tmp_path / "thin.png")
    with pytest.raises(prepare.BadInput, match="another logo"):
        made("--out", tmp_path / "data", "--count", 3, "--logo", tmp_path / "thin.png")
    assert contents(tmp_path / "data") == before


# ---------------------------------------------------------------------------------------------------
# From the generator to the analysis


@pytest.mark.slow
def test_from_a_thin_light_logo_to_the_analysis(tmp_path, capsys):
    """The commands of the README, on a small scale, with a logo that is not the one the settings were chosen for."""
    Image.fromarray(thin_logo()).save(tmp_path / "thin.png")
    made("--logo", tmp_path / "thin.png", "--out", tmp_path / "data", "--count", 24)
    run = inside(
        "train.py", f"@{ROOT / 'challenges' / 'logo' / 'train.args'}", "--data", tmp_path / "data",
        *["--width", 4, "--steps", 6, "--epochs", 1, "--val-images", 2, "--amp", "off", "--out", tmp_path / "run"],
        cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    infer.infer(
        infer_arguments(
            [
                *[str(tmp_path / "data" / "images"), str(tmp_path / "masks"), "--halo", "0"],
                *["--checkpoint", str(tmp_path / "run" / "model.pt")],
            ]
        )
    )
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {f"{k:06d}.jpg" for k in range(24)}
    scores = tmp_path / "scores.json"
    words = [tmp_path / "masks", tmp_path / "data" / "masks", "--json", scores, "--gallery", 1]
    words += ["--images", tmp_path / "data" / "images", "--out", tmp_path / "gallery.png"]
    evaluate.evaluate(evaluate_arguments([str(word) for word in words]))
    assert "the IoU of logo" in capsys.readouterr().out
    words = [scores, tmp_path / "data" / "placements.csv", "--out", tmp_path / "iou.png"]
    analyse.analyse(analyse.parse_arguments([str(word) for word in words]))
    told = capsys.readouterr().out
    overall = json.loads(scores.read_text())["overall"]
    assert f"all{overall['image_iou']:33.4f}" in told
    assert Image.open(tmp_path / "iou.png").width > 600 and Image.open(tmp_path / "gallery.png").width > 600


def test_the_analysis_counts_what_it_says(tmp_path, capsys):
    rows = [
        *["a,one.jpg,0.2,0.1,0,0", "b,one.jpg,0.3,0.2,0,1", "c,two.jpg,0.4,0.3,1.5707963,-1"],
        *["d,two.jpg,0.1,0.1,0,0", "d,two.jpg,0.1,0.1,0,0", "e,two.jpg,0.1,0.1,0,0"],
    ]
    table = tmp_path / "placements.csv"
    table.write_text("\n".join(["image,photograph,alpha,scale,angle,swirl", *rows, ""]))
    scores = [("a", 0.2), ("b", 0.4), ("c", 0.9), ("d", 0.5), ("e", None), ("stranger", 0.0)]
    images = [{"name": name, "iou": iou} for name, iou in scores]
    (tmp_path / "scores.json").write_text(json.dumps({"images": images}))
    words = [str(tmp_path / "scores.json"), str(table), "--out", str(tmp_path / "iou.png")]
    analyse.analyse(analyse.parse_arguments(words))
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert told[0][:3] == ["left", "out:", "1"]
    assert ["all", "0.5000", "0.3000", "to", "0.7000", "4", "2"] in told  # one photograph has 0.3, the other 0.7
    assert ["with", "2", "logos", "0.5000", "0.5000", "to", "0.5000", "1", "1"] in told
    assert ["none", "0.3000", "0.3000", "to", "0.3000", "2", "1"] in told  # not turned: a and b
    assert ["90.00", "to", "90.00", "0.9000", "0.9000", "to", "0.9000", "1", "1"] in told
    assert told[-2][:2] == ["median", "0.4500;"]
    table.write_text("image,photograph,alpha\na,one.jpg,0.2\n")
    with pytest.raises(analyse.BadInput, match="lacks what is expected"):
        analyse.analyse(analyse.parse_arguments(words))
    table.write_text("image,photograph,alpha,scale,angle,swirl\n")
    with pytest.raises(analyse.BadInput, match="scores none of the images"):
        analyse.analyse(analyse.parse_arguments(words))
