"""The street scenes' four benchmarks: each figure against one that is computed in another way."""

import json

import numpy as np
import pytest
import torch
from conftest import TABLE, inside, write_pair
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score
from torch.utils.flop_counter import FlopCounterMode

from challenges.cityscapes import benchmark, elsewhere
from challenges.cityscapes.arguments import benchmark_arguments
from challenges.cityscapes.corrupt import corrupt
from model import FCN, UNet
from segmenter import Segmenter
from support.checkpoint import save_checkpoint
from support.classes import read_classes
from support.files import BadInput
from support.masks import read_pair
from support.names import write_names
from tools.show import summary

METADATA = {
    "classes": TABLE["classes"],
    "ignore": TABLE["ignore"],
    "mean": [0.4, 0.4, 0.35],
    "std": [0.1, 0.1, 0.1],
    "settings": {"flips": "mirror", "zoom": 1.0, "jitter": 0.2},
    "data": "",
    "versions": {},
}


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """Twelve scenes, four to choose thresholds by, eight to test on; two networks; photographs of something else."""
    root = tmp_path_factory.mktemp("street")
    for number in range(12):
        write_pair(root / "data", f"n{number:02d}", number)
    write_names(root / "data" / "val.txt", [f"n{number:02d}" for number in range(4)])
    write_names(root / "data" / "test.txt", [f"n{number:02d}" for number in range(4, 12)])
    for number in range(5):
        (root / "far").mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(root / "far" / f"{number}.png")
    for seed, (name, width) in enumerate([("baseline", 6), ("recipe", 4), ("tiny", 2)]):
        torch.manual_seed(seed)
        (root / name).mkdir()
        model = UNet(3, width, 1, separable=name == "tiny").train()
        for _ in range(20):
            model(torch.randn(2, 3, 32, 32))  # only with statistics of something do predictions depend on the image
        save_checkpoint(root / name / "model.pt", model.eval(), **METADATA)
    return root


def words(street, out, *more):
    networks = [f"--{name}={street / name / 'model.pt'}" for name in ("baseline", "recipe")]
    others = ["--networks", street / "tiny" / "model.pt", "--far", street / "far", "--out", out]
    return [str(word) for word in (street / "data", *networks, *others, "--kinds", "fog", "jpeg", *more)]


def run(*arguments):
    return benchmark.benchmark(benchmark_arguments(list(arguments)))


@pytest.mark.slow
def test_every_figure_is_what_it_says(street, tmp_path, capsys):
    figures = run(*words(street, tmp_path / "out", "--keep", "0.75", "--adapt", "0.5", "--opening", "4"))
    told = capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "benchmark.json").read_text())["peak"] == figures["peak"]

    def predictions(name, condition=None, **look):
        """(truth, prediction) of the images to test on, pixels without a truth left out."""
        model = UNet(3, {"baseline": 6, "recipe": 4, "tiny": 2}[name], 1, separable=name == "tiny").eval()
        model.load_state_dict(torch.load(street / name / "model.pt", weights_only=True)["weights"])
        segment = Segmenter(model, METADATA, halo=32, **look)
        for number in range(4, 12):
            paths = [street / "data" / part / f"n{number:02d}.png" for part in ("images", "masks")]
            image, truth = read_pair(*paths, TABLE["classes"], TABLE["ignore"])
            image = corrupt(image, *condition, seed=f"0 n{number:02d}") if condition else image
            yield truth[truth != 255], segment(image)[truth != 255]

    def dice(pairs):
        return f1_score(*map(np.concatenate, zip(*pairs)), average="macro", zero_division=0)

    for name in ("baseline", "recipe", "tiny"):
        assert figures["peak"][name]["dice"] == pytest.approx(dice(predictions(name)))
        low, high = map(float, figures["peak"][name]["interval"].strip("[]").split())
        assert 0 <= low < figures["peak"][name]["dice"] < high <= 1 and high - low < 0.3
    fog, jpeg = (dice(predictions("recipe", (kind, 3))) for kind in ("fog", "jpeg"))
    found = figures["robustness"]["recipe"]
    assert found["fog, 3"]["dice"] == pytest.approx(fog)
    assert found["fog, 3"]["share"] == pytest.approx(fog / figures["peak"]["recipe"]["dice"])
    assert found["all of these, 3"]["dice"] == pytest.approx((fog + jpeg) / 2)
    assert "without light and noise, 3" not in found  # with these kinds, it would say the same
    table = told.partition("1. Peak")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(table) == 6 and len(set(map(len, table))) == 1  # columns, however long the names are

    changed = figures["robustness"]["recipe, adapted 0.5"]["fog, 3"]
    assert changed["dice"] == pytest.approx(dice(predictions("recipe", ("fog", 3), adapt=0.5)))
    assert changed["gain"] == pytest.approx(changed["dice"] - fog) and abs(changed["gain"]) > 0.001
    opened = figures["robustness"]["recipe, adapted 0.5, opened 4"]["fog, 3"]["dice"]
    assert opened == pytest.approx(dice(predictions("recipe", ("fog", 3), adapt=0.5, opening=4))) != changed["dice"]
    assert set(figures["robustness"]) == {
        *("baseline", "recipe", "recipe, adapted 0.5", "recipe, adapted 0.5, opened 4")
    }

    ratios = {}
    for name, one in figures["efficiency"].items():
        ratios[name] = one["dice"] / figures["efficiency"]["baseline"]["dice"]
        assert one["dice_per_gflop"] == (one["dice"] / one["image_gflops"] if ratios[name] >= 0.8 else 0)
    plain, changed = (figures["efficiency"][name]["image_gflops"] for name in ("recipe", "recipe, adapted 0.5"))
    assert changed == pytest.approx(2 * plain)  # it looks twice
    rows = summary(UNet(3, 6, 1), 256)
    assert figures["efficiency"]["baseline"]["patch_gflops"] == pytest.approx(sum(row[3] for row in rows) / 1e9)
    with FlopCounterMode(display=False) as counter, torch.no_grad():  # 90x70, and it sees 12 pixels: one window
        UNet(3, 6, 1).eval()(torch.zeros(1, 3, 70, 90))
    assert figures["efficiency"]["baseline"]["image_gflops"] == pytest.approx(counter.get_total_flops() / 1e9)
    assert "tiny" not in figures["robustness"] and "2. Robustness" in told and "4. Out-of-distribution" in told
    for picture in ("efficiency.png", "robustness.png", "rejection.png"):
        assert np.asarray(Image.open(tmp_path / "out" / picture)).std() > 10


def test_the_rule_counts_what_is_kept_and_what_is_rejected(street, tmp_path):
    """By the brief's rule, image by image, from the files that the scores are kept in."""
    figures = run(*words(street, tmp_path / "out", "--keep", "0.75"))["rejection"]
    [kept] = (tmp_path / "out" / "scores").glob("recipe *")
    of = lambda name: json.loads((kept / f"{name}.json").read_text())["images"]
    [far] = kept.glob("far *.json")
    others = [*of("fog-5"), *of("jpeg-5"), *of(far.stem)]
    for name in ("softmax", "logit", "energy", "entropy", "features"):
        least = figures[name]["threshold"]
        assert sum(row["scores"][name] >= least for row in of("val")) >= 3  # of four
        counted = []
        for row in of("clean"):
            confusion = np.array(row["confusion"])
            sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
            image = np.mean([2 * confusion[c, c] / sizes[c] for c in range(3) if sizes[c]])
            counted.append(image if row["scores"][name] >= least else 0)
        counted += [0 for row in others if row["scores"][name] >= least]
        assert figures[name]["rule"] == pytest.approx(np.mean(counted))
    assert figures["nothing"]["rule"] == pytest.approx(figures["perfect"]["rule"] * 8 / (8 + len(others)))


@pytest.mark.slow
def test_the_same_command_computes_nothing_again_and_new_weights_are_not_mixed_with_old(street, tmp_path):
    out = tmp_path / "out"
    first = run(*words(street, out))
    times = {path: path.stat().st_mtime_ns for path in (out / "scores").rglob("*.json")}
    assert run(*words(street, out)) == first
    assert times == {path: path.stat().st_mtime_ns for path in (out / "scores").rglob("*.json")}
    (tmp_path / "baseline").mkdir()
    torch.manual_seed(9)
    save_checkpoint(tmp_path / "baseline" / "model.pt", UNet(3, 6, 1).eval(), **METADATA)
    other = run(*words(street, out, "--baseline", str(tmp_path / "baseline" / "model.pt")))
    assert other["peak"]["baseline"] != first["peak"]["baseline"] and other["peak"]["recipe"] == first["peak"]["recipe"]


def test_to_choose_by_the_validation_images(street, tmp_path, capsys):
    """No thresholds then, as they would be chosen on the images that they are judged on."""
    figures = run(*words(street, tmp_path / "out", "--list", "val.txt"))
    told = capsys.readouterr().out
    assert "4 images of" in told and "(val.txt)" in told and "4. Out-of-distribution: left out" in told
    assert figures["list"] == "val.txt" and "rejection" not in figures
    assert not (tmp_path / "out" / "rejection.png").exists()
    with pytest.raises(BadInput, match="another list, val.txt, not test.txt"):
        run(*words(street, tmp_path / "out"))


def test_quick_and_mistakes(street, tmp_path):
    done = inside("-m", "challenges.cityscapes.benchmark", *words(street, tmp_path / "q", "--quick"), cwd=tmp_path)
    assert done.returncode == 0 and "6 images of" in done.stdout, done.stderr
    save_checkpoint(tmp_path / "two.pt", UNet(2, 2, 1), **{**METADATA, "classes": TABLE["classes"][:2]})
    save_checkpoint(tmp_path / "fcn.pt", FCN(3), **METADATA)
    for more, told in [
        (["--kinds", "hail"], "hail"),
        (["--baseline", "none.pt"], "none.pt does not exist"),
        (["--networks", "two.pt"], "two.pt knows other classes"),
        (["--far", "nowhere"], "nowhere is no folder"),
        (["--recipe", "fcn.pt", "--adapt", "0.5"], "no BatchNorm"),
    ]:
        done = inside("-m", "challenges.cityscapes.benchmark", *words(street, tmp_path / "x", *more), cwd=tmp_path)
        assert done.returncode == 1 and told in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_street_network_is_scored_on_other_photographs(tmp_path, capsys):
    street = read_classes("challenges/cityscapes/cityscapes.json")[0]
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "street.pt", UNet(len(street), 4, 1).eval(), **{**METADATA, "classes": street})
    coco = [
        {"name": name, "value": value} for name, value in zip(["background", "person", "bicycle", "car"], (0, 3, 7, 9))
    ]
    for number in range(3):
        write_pair(tmp_path, f"photograph{number}", number)
    (tmp_path / "classes.json").write_text(json.dumps({"classes": coco}))
    segment = Segmenter.load(tmp_path / "street.pt")
    truth, found = [], []
    for number in range(3):
        image, mask = read_pair(*(tmp_path / kind / f"photograph{number}.png" for kind in ("images", "masks")), coco)
        names = np.array([entry["name"] for entry in street])[segment(image)]
        truth.append(mask.ravel())
        people = (names == "person") | (names == "rider")
        found.append(np.select([people, names == "bicycle", names == "car"], [1, 2, 3]).ravel())
    expected = jaccard_score(np.concatenate(truth), np.concatenate(found), average=None, labels=range(4))
    words = [str(tmp_path / "street.pt"), str(tmp_path), "--shrink", "1", "2"]
    elsewhere.run(elsewhere.parse_arguments(words))
    full, half = capsys.readouterr().out.split("3 images at 1/2")
    rows = {words[0]: words[1] for words in map(str.split, full.splitlines()) if len(words) > 1}
    assert [rows[entry["name"]] for entry in coco] == [f"{value:.4f}" for value in expected]
    assert full.split("background")[1] != half.split("background")[1]  # smaller images look different


@pytest.mark.parametrize("names", [["sky", "tree"], ["background", "person"]])
def test_other_photographs_need_a_street_network_and_coco_masks(tmp_path, names):
    street = [{"name": name, "value": value} for value, name in enumerate(names)]
    save_checkpoint(tmp_path / "street.pt", UNet(2, 4, 1).eval(), **{**METADATA, "classes": street})
    write_pair(tmp_path, "photograph", 0)
    (tmp_path / "classes.json").write_text(
        json.dumps({"classes": [{"name": "sea", "value": 0}, {"name": "person", "value": 3}]})
    )
    with pytest.raises(BadInput, match="expected a network of street scenes"):
        elsewhere.run(elsewhere.parse_arguments([str(tmp_path / "street.pt"), str(tmp_path)]))
