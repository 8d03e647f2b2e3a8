"""Images out of distribution: scores against independent ones, thresholds, and infer.py --reject."""

import csv
import os

import numpy as np
import pytest
import torch
from conftest import TABLE, fails_in_one_line, inside, together
from PIL import Image
from scipy.special import logsumexp
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import roc_auc_score

import patches
from model import FCN, UNet
from segmenter import Segmenter
from support import ood
from support.arguments import infer_arguments
from support.checkpoint import save_checkpoint
from support.files import BadInput
from support.images import read_image
from support.script import needs, split_words
from tools import thresholds
from tools.arguments import thresholds_arguments

METADATA = {
    "classes": TABLE["classes"],
    "ignore": [],
    "mean": [0.4, 0.4, 0.3],
    "std": [0.1, 0.2, 0.2],
    "settings": {"flips": "all", "zoom": 1.0},
    "data": "",
    "versions": {},
}


def picture(size, seed, level=110, spread=30):
    pixels = np.random.default_rng(seed).normal(level, spread, (*size, 3))
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture
def network():
    """A small U-Net whose BatchNorm has seen a few pictures of one kind."""
    torch.manual_seed(0)
    model = UNet(3, 4, 2)
    images = np.stack([picture((64, 64), seed) for seed in range(40, 60)])
    forward = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    for _ in range(30):
        model.train()(
            (forward - torch.tensor(METADATA["mean"])[:, None, None]) / torch.tensor(METADATA["std"])[:, None, None]
        )
    return model.eval()


def test_scores_of_logits_are_those_of_scipy():
    logits = np.random.default_rng(0).normal(0, 20, (5, 7, 9)).astype(np.float32)
    logits[:, 0, 0] = 500  # where exp would overflow
    probabilities = np.exp(logits - logsumexp(logits, axis=0))
    np.testing.assert_allclose(ood.softmax(logits), probabilities.max(axis=0), rtol=1e-5)
    np.testing.assert_allclose(ood.energy(logits), logsumexp(logits, axis=0), rtol=1e-5)
    np.testing.assert_allclose(ood.entropy(logits), -scipy_entropy(probabilities, axis=0), atol=1e-4)
    np.testing.assert_array_equal(ood.logit(logits), logits.max(axis=0))
    assert ood.softmax(logits)[0, 0] == pytest.approx(0.2, rel=1e-4)
    assert ood.entropy(logits)[0, 0] == pytest.approx(-np.log(5), rel=1e-4)


@pytest.mark.parametrize("size, zoom", [((70, 90), 1.0), ((300, 330), 1.0), ((300, 330), 0.5)])
def test_each_pixel_counts_once_however_the_image_is_cut(network, size, zoom):
    metadata = {**METADATA, "settings": {"flips": "all", "zoom": zoom}}
    names = ["softmax", "logit", "energy", "entropy"]
    segment = Segmenter(network, metadata, halo=0)
    image = picture(size, 1)
    (classes, first), (_, again) = [segment.with_scores(image, names) for _ in range(2)]
    assert first == again  # nothing is left from the image before
    seen = patches.resize(image, patches.zoomed_size(size, zoom))
    planes = patches.stitch(lambda window: kept_logits(network, window), seen, 0, 4)
    for name in names:
        assert first[name] == pytest.approx(ood.OF_LOGITS[name](planes).mean(dtype=np.float64), rel=1e-5)
    assert np.array_equal(segment(image), classes)  # scoring changes nothing


def kept_logits(network, window):
    scaled = (window / 255 - METADATA["mean"]) / METADATA["std"]
    with torch.inference_mode():
        return network(torch.from_numpy(scaled.astype(np.float32).transpose(2, 0, 1)[None]))[0].numpy()


def test_features_are_far_where_an_image_is_of_another_kind(network):
    segment = Segmenter(network, METADATA)
    distance = {}
    for name, image in [
        ("same", picture((64, 64), 3)),
        ("bright", picture((64, 64), 3, level=200)),
        ("flat", picture((64, 64), 3, spread=2)),
    ]:
        _, scores = segment.with_scores(image, ["features"])
        distance[name] = -scores["features"]
    assert 0 < distance["same"] < 0.4 * min(distance["bright"], distance["flat"])


def test_the_distance_of_features_is_the_formula(network):
    """One BatchNorm of known statistics: (difference of means)² + (difference of deviations)², in its own units."""
    layer = torch.nn.BatchNorm2d(2, eps=1e-12).eval()
    layer.running_mean, layer.running_var = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 9.0])
    x = torch.tensor(np.random.default_rng(0).normal(3, 2, (1, 2, 50, 40)), dtype=torch.float32)
    mean, deviation = x.mean(dim=(0, 2, 3)).numpy(), x.std(dim=(0, 2, 3), correction=0).numpy()
    expected = (((mean - [1, -2]) ** 2 + (deviation - [2, 3]) ** 2) / [4, 9]).mean()
    with ood.FeatureDistance([layer]) as distance:
        layer(x[:, :, :20])
        layer(x[:, :, 20:])  # in two windows
    assert distance.value() == pytest.approx(expected, rel=1e-5)
    layer(x + 5)  # which nobody watches any more
    assert distance.value() == pytest.approx(expected, rel=1e-5)


def test_threshold_and_auroc():
    random = np.random.default_rng(0)
    for _ in range(20):
        familiar, others = random.integers(3, 12, 37) / 10, random.integers(0, 9, 21) / 10
        truth = np.r_[np.ones(37), np.zeros(21)]
        assert ood.auroc(familiar, others) == pytest.approx(roc_auc_score(truth, np.r_[familiar, others]))
    scores = list(range(100))[::-1]
    assert ood.threshold(scores, 0.95) == 5 and ood.threshold(scores, 1) == 0 and ood.threshold([3.0], 0.5) == 3
    kept = lambda keep: sum(score >= ood.threshold(scores, keep) for score in scores)
    assert [kept(keep) for keep in (0.9, 0.95, 0.99)] == [90, 95, 99]
    for least in (0.99999612, -0.4449612, 123456.7, -1.23456789e-6):  # printed with five digits, it keeps them still
        assert least - 1e-4 * abs(least) < float(f"{ood.threshold([least], 1):.5g}") <= least


@pytest.fixture
def folders(network, tmp_path):
    """Checkpoint, images of the kind it knows, images of another, all beside each other in one folder, too."""
    save_checkpoint(tmp_path / "model.pt", network, **METADATA)
    for kind, level in [("known", 110), ("other", 220)]:
        for number in range(5):
            for folder in (kind, "both"):
                path = tmp_path / folder / f"{kind}{number}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(picture((48, 60), number, level)).save(path)
    return tmp_path


def test_the_line_that_is_printed_can_be_typed(folders, monkeypatch, capsys):
    monkeypatch.chdir(folders)
    os.rename("model.pt", "-a.pt")
    thresholds.measure(thresholds_arguments(["known", "--checkpoint=-a.pt"]))
    line = capsys.readouterr().out.splitlines()[-1].partition("infer.py ")[2].replace("THRESHOLD", "1.5")
    args = infer_arguments(split_words(line.replace("NAME", "energy")))
    assert os.path.samefile(args.checkpoint, "-a.pt") and (args.score, args.reject) == ("energy", 1.5)


@pytest.mark.slow
def test_infer_rejects_what_is_below_the_threshold(folders, network):
    done = inside("-m", "tools.thresholds", "known", "--against", "other", "--keep", 1, cwd=folders)
    assert done.returncode == 0 and "5 familiar images, 5 of another kind" in done.stdout, done.stderr
    line = next(line.split() for line in done.stdout.splitlines() if line.startswith("features"))
    assert line[-2:] == ["1.0000", "100.0%"]
    least = line[3]  # as it is printed
    assert "--checkpoint model.pt --score NAME --reject=THRESHOLD" in done.stdout
    words = ["infer.py", "both", "masks", "--score", "features"]
    assert inside(*words, cwd=folders).returncode == 0
    assert len(list((folders / "masks").iterdir())) == 10  # without --reject, nothing is
    for more in ([], ["--resume"]):
        done = inside(*words, f"--reject={least}", *more, cwd=folders)
        assert done.returncode == 0 and "5 images rejected" in done.stdout, done.stderr
        assert sorted(path.name for path in (folders / "masks").iterdir()) == [
            *(f"known{number}.png" for number in range(5)),
            "rejected.csv",
        ]
        with open(folders / "masks" / "rejected.csv", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0][0].startswith("rejected by segmentation-from-scratch") and rows[0][1] == "features"
        assert [row[0] for row in rows[1:]] == [f"other{number}.png" for number in range(5)]
        assert all(float(row[1]) < float(least) for row in rows[1:])
    for score, lowest in [("energy", "0.5"), ("features", least)]:  # adapting, it decides as before
        rejected = []
        for more in ([], ["--adapt", "1"]):
            done = inside(*words[:3], "--score", score, f"--reject={lowest}", *more, cwd=folders)
            rejected.append((folders / "masks" / "rejected.csv").read_text())
            assert done.returncode == 0 and rejected[0] == rejected[-1], done.stderr
    for path in sorted((folders / "masks").glob("known*.png")):
        expected = Segmenter(network, METADATA, adapt=1.0)(read_image(folders / "known" / path.name))
        assert np.array_equal(np.asarray(Image.open(path)), np.array([0, 3, 7])[expected])
    done = inside(*words, cwd=folders)  # what an earlier run rejected, this one does not
    assert done.returncode == 0 and not (folders / "masks" / "rejected.csv").exists()
    assert len(list((folders / "masks").iterdir())) == 10


@pytest.mark.slow
def test_two_processes_reject_the_same(folders):
    """Each half of the images; one list of all that were rejected."""
    words = ["infer.py", "both", "masks", "--adapt=0.5", "--score", "features"]
    done = together(*words, "--reject=-1000000", cwd=folders)
    assert done.returncode == 0 and "10 masks in masks, 0 images rejected" in done.stdout, done.stderr
    done = together(*words, "--reject=0", cwd=folders)
    assert done.returncode == 0 and "0 masks in masks, 10 images rejected" in done.stdout, done.stderr
    assert len((folders / "masks" / "rejected.csv").read_text().splitlines()) == 11


@pytest.mark.slow
def test_an_exported_network_rejects_the_same(folders, network):
    """By the same scores, as far as ONNX Runtime's logits are PyTorch's."""
    needs("onnx", "onnxscript", "onnxruntime")
    assert inside("-m", "tools.export", "model.pt", "--out", "model.onnx", cwd=folders).returncode == 0
    segment, found = Segmenter(network, METADATA), {}
    for path in sorted((folders / "both").iterdir()):
        found[path.name] = segment.with_scores(read_image(path), ["energy"])[1]["energy"]
    middle = sorted(found.values())
    middle = (middle[4] + middle[5]) / 2
    done = inside("infer.py", "both", "masks", "--onnx", "model.onnx", "--reject", middle, cwd=folders)
    assert done.returncode == 0 and "5 images rejected" in done.stdout, done.stderr
    with open(folders / "masks" / "rejected.csv", newline="") as file:
        rows = dict(list(csv.reader(file))[1:])
    assert set(rows) == {name for name in found if found[name] < middle}
    assert all(float(rows[name]) == pytest.approx(found[name], rel=1e-4) for name in rows)


def test_mistakes_are_told_in_one_line(folders):
    words = ["infer.py", "both", "masks", "--score", "features", "--reject", "0"]
    with pytest.raises(BadInput, match="no BatchNorm"):
        Segmenter(FCN(3), METADATA).with_scores(picture((20, 20), 0), ["features"])
    (folders / "masks").mkdir()
    (folders / "masks" / "rejected.csv").write_text("mine\n")
    fails_in_one_line(inside(*words, cwd=folders), "rejected.csv exists and was not written by this program")
