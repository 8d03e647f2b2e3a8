"""The metrics against a plain loop and scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

import metrics
from support.images import IGNORE


def example(seed, classes=4):
    random = np.random.default_rng(seed)
    return random.integers(0, classes, (13, 17)).astype(np.uint8), random.integers(0, classes, (13, 17)).astype(
        np.uint8
    )


def test_confusion_matrix_agrees_with_a_loop():
    truth, prediction = example(0)
    truth[2:5] = IGNORE
    expected = np.zeros((4, 4), int)
    for y, x in np.ndindex(*truth.shape):
        if truth[y, x] != IGNORE:
            expected[truth[y, x], prediction[y, x]] += 1
    assert np.array_equal(metrics.confusion_matrix(truth, prediction, 4), expected)


def test_more_pixels_than_are_counted_at_once(monkeypatch):
    truth, prediction = example(0)
    expected = metrics.confusion_matrix(truth, prediction, 4)
    for part in (1, 50, 13 * 17, 1000):
        monkeypatch.setattr(metrics, "PART", part)
        assert np.array_equal(metrics.confusion_matrix(truth.T, prediction.T, 4), expected)


@pytest.mark.parametrize("seed", range(5))
def test_all_figures_agree_with_scikit_learn(seed):
    truth, prediction = (array.ravel() for array in example(seed))
    confusion = metrics.confusion_matrix(truth, prediction, 4)
    assert metrics.accuracy(confusion) == pytest.approx(sklearn_metrics.accuracy_score(truth, prediction))
    for ours, theirs in [
        (metrics.iou, sklearn_metrics.jaccard_score),
        (metrics.dice, sklearn_metrics.f1_score),
        (metrics.precision, sklearn_metrics.precision_score),
        (metrics.recall, sklearn_metrics.recall_score),
    ]:
        assert ours(confusion) == pytest.approx(theirs(truth, prediction, average=None))


def test_a_perfect_prediction_scores_exactly_one_and_a_disjoint_one_zero():
    truth, _ = example(0, classes=2)
    perfect, wrong = (metrics.confusion_matrix(truth, other, 2) for other in (truth, 1 - truth))
    for figure in (metrics.iou, metrics.dice, metrics.precision, metrics.recall):
        assert figure(perfect) == [1.0, 1.0] and figure(wrong) == [0.0, 0.0]
    assert metrics.accuracy(perfect) == 1.0 and metrics.accuracy(wrong) == 0.0


def test_absent_classes_are_not_available_and_stay_out_of_means():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    confusion = metrics.confusion_matrix(truth, np.array([[0, 2, 1, 1]], np.uint8), 4)
    assert metrics.iou(confusion) == [0.5, 1.0, 0.0, None]  # predicted but not there: 0; neither: none
    assert metrics.recall(confusion) == [0.5, 1.0, None, None]
    assert metrics.mean(metrics.iou(confusion)) == 0.5
    assert metrics.mean([None, None]) is None
    assert metrics.accuracy(np.zeros((2, 2), int)) is None
    assert "n/a" in metrics.table(confusion, ["a", "b", "c", "d"]).splitlines()[-1]


def test_foreground_is_found_by_name():
    classes = [{"name": "foreground", "value": 0}, {"name": "background", "value": 255}]
    assert metrics.foreground_or_mean([0.1, 0.9], classes) == 0.1
    assert metrics.foreground_or_mean([0.1, 0.9, None], [{"name": name} for name in "abc"]) == 0.5


def test_no_figure_is_ever_below_zero_or_above_one():
    random = np.random.default_rng(0)
    for _ in range(300):  # empty classes, absent classes, one class only, ignored pixels, huge counts
        classes = int(random.integers(1, 6))
        confusion = random.integers(0, 3, (classes, classes)) * random.integers(0, 10**12, (classes, classes))
        for figure in (metrics.iou, metrics.dice, metrics.precision, metrics.recall):
            assert all(value is None or 0 <= value <= 1 for value in figure(confusion))
        assert metrics.accuracy(confusion) is None or 0 <= metrics.accuracy(confusion) <= 1


def test_the_table_has_a_row_for_each_class():
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    assert metrics.table(confusion, ["road", "sidewalk", "car"]).splitlines() == [
        "                iou       dice  precision     recall",
        "road         0.5000     0.6667     0.6000     0.7500",
        "sidewalk     0.5714     0.7273     0.8000     0.6667",
        "car             n/a        n/a        n/a        n/a",
    ]


def test_figures_of_classes_and_of_a_whole_data_set():
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    classes = [{"name": "road", "value": 7}, {"name": "sidewalk", "value": 8}, {"name": "car", "value": 26}]
    first, _, last = metrics.by_class(confusion, classes)
    assert first == {
        "name": "road",
        "value": 7,
        "pixels": 4,
        "iou": pytest.approx(3 / 6),
        "dice": pytest.approx(6 / 9),
        "precision": pytest.approx(3 / 5),
        "recall": pytest.approx(3 / 4),
    }
    assert last["pixels"] == 0 and last["name"] == "car" and last["iou"] is last["recall"] is None
    assert metrics.overall(confusion, [0.25, None, 0.5]) == {
        "accuracy": pytest.approx(7 / 10),
        "mean_iou": pytest.approx((3 / 6 + 4 / 7) / 2),
        "mean_f1": pytest.approx((6 / 9 + 8 / 11) / 2),
        "image_iou": pytest.approx(0.375),
        "image_iou_empty_as_1": pytest.approx(1.75 / 3),
    }
