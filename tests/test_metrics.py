"""The metrics against a plain loop and scikit-learn."""

import statistics

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics as sklearn_metrics

import metrics
from support.masks import IGNORE


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


# ---------------------------------------------------------------------------------------------------
# Boundaries


def blobs(seed, classes):
    """Regions of so many classes."""
    noise = np.random.default_rng(seed).normal(size=(classes, 61, 47))
    return np.argmax([ndimage.gaussian_filter(one, 3) for one in noise], axis=0).astype(np.uint8)


def by_distances(truth, prediction, classes):
    """The F-scores by distance transforms of the whole masks: the definition, in other means."""
    ignored = truth == IGNORE
    away = lambda pixels: ndimage.distance_transform_edt(~pixels) if pixels.any() else np.full(pixels.shape, np.inf)
    counted = away(ignored) > 2

    def edge(mask, label):
        others = (mask != label) & ~ignored
        return (mask == label) & ~ignored & ndimage.binary_dilation(others)  # by a cross: the four sides

    scores = []
    for label in range(classes):
        predicted, true = edge(prediction, label), edge(truth, label)
        shares = [
            (away(other)[one & counted] <= 2).mean() if (one & counted).any() else 1.0
            for one, other in [(predicted, true), (true, predicted)]
        ]
        exists = ((predicted | true) & counted).any()
        scores.append(statistics.harmonic_mean(shares) if exists else None)
    return scores


@pytest.mark.parametrize("part", [2**20, 47 * 5, 1])  # all rows at once, five, one by one
@pytest.mark.parametrize("classes", [2, 5])
def test_boundaries_agree_with_distance_transforms(classes, part, monkeypatch):
    monkeypatch.setattr(metrics, "PART", part)
    for seed in range(3):
        truth = blobs(seed, classes)
        prediction = np.roll(truth, 3 - seed, axis=1)
        prediction[40:] = blobs(seed + 9, classes)[40:]  # some of it near, some not
        for _ in range(2):
            counts = metrics.boundary_counts(truth, prediction, classes)
            found, expected = metrics.boundary_f(counts), by_distances(truth, prediction, classes)
            assert found == pytest.approx(expected) and any(0.1 < score < 0.9 for score in found)
            truth[:9] = truth[20:40, 30:33] = truth[50, 7] = IGNORE


def test_a_boundary_may_be_two_pixels_off_and_no_more():
    square = lambda top: np.pad(np.ones((10, 10), np.uint8), ((top, 20 - top), (10, 10)))
    score = lambda truth, found: metrics.boundary_f(metrics.boundary_counts(truth, found, 2))[1]
    assert score(square(10), square(10)) == score(square(10), square(12)) == 1.0
    assert score(square(10), square(13)) == pytest.approx(1 - (10 + 4) / 36)  # lower side, upper one's middle
    line, beside = np.zeros((2, 30, 30), np.uint8)
    line[:, 10] = beside[:, 12] = 1  # not one pixel in common
    assert score(line, beside) == 1.0 and metrics.iou(metrics.confusion_matrix(line, beside, 2))[1] == 0


def test_a_diagonal_of_two_pixels_is_too_far():
    dot = lambda y, x: np.eye(9, dtype=np.uint8)[y][:, None] * np.eye(9, dtype=np.uint8)[x]
    score = lambda truth, found: metrics.boundary_f(metrics.boundary_counts(truth, found, 2))[1]
    assert score(dot(4, 4), dot(5, 5)) == score(dot(4, 4), dot(4, 2)) == 1.0
    assert score(dot(4, 4), dot(6, 5)) == score(dot(4, 4), dot(6, 6)) == 0.0


def test_the_border_of_the_image_is_no_boundary_and_a_class_in_one_mask_only_scores_zero():
    score = lambda truth, found: metrics.boundary_f(metrics.boundary_counts(truth, found, 3))
    left = np.repeat([[0] * 5 + [1] * 5], 8, axis=0).astype(np.uint8)
    assert metrics.boundary_counts(left, left, 3).tolist() == [[8, 8, 0]] * 4
    assert score(left, np.zeros_like(left)) == [0.0, 0.0, None] == score(np.zeros_like(left), left)
    assert score(np.zeros_like(left), np.zeros_like(left)) == [None, None, None]


def test_what_lies_near_ignored_pixels_is_not_counted_and_their_border_is_none():
    truth = np.zeros((20, 20), np.uint8)
    truth[:, 10:] = 1
    prediction = truth.copy()
    truth[:, 8:12] = IGNORE  # whatever is predicted there, as a border of the class may be
    assert metrics.boundary_counts(truth, prediction, 2).sum() == 0
    prediction[:, 6:] = 1  # the boundary lies two pixels from there: the true one may do so, too
    assert metrics.boundary_counts(truth, prediction, 2).sum(axis=1).tolist() == [0, 0 + 20, 0, 0]
    assert metrics.boundary_f(metrics.boundary_counts(truth, prediction, 2)) == [0.0, None]


def test_what_is_found_by_what_is_not_counted_is_found():
    truth, prediction = np.zeros((2, 20, 20), np.uint8)
    truth[:, 7:], prediction[:, 5:] = 1, 1
    truth[:, :4] = IGNORE  # what is predicted lies one and two pixels from there, what is true three and four
    assert metrics.boundary_counts(truth, prediction, 2).tolist() == [[0, 0], [0, 0], [20, 20], [20, 20]]
    assert metrics.boundary_f(metrics.boundary_counts(truth, prediction, 2)) == [1.0, 1.0]


def test_other_shapes_and_classes_that_are_none_are_refused():
    two = np.zeros((2, 2), np.uint8)
    for truth, prediction, told in [
        (two, np.zeros((4, 1), np.uint8), "expected one shape"),
        (two, two + 2, "class 2 is none of 2"),
        (two + 3, two, "class 3 is none of 2"),
        (two, two + 255, "class 255 is none of 2"),
        (two + 1, two.astype(int) - 1, "class -1 is none of 2"),  # 1 · 2 − 1 is the place of another pair
        (two.astype(int) - 1, two, "class -1 is none of 2"),
    ]:
        with pytest.raises(ValueError, match=told):
            metrics.confusion_matrix(truth, prediction, 2)
    assert not metrics.confusion_matrix(two + 255, two + 7, 2).any()  # nobody knows the truth
    for truth, prediction in [(two + 0.5, two), (two, two + 0.5)]:  # as of a mask that was resized by averaging
        with pytest.raises(TypeError):
            metrics.confusion_matrix(truth, prediction, 2)


def test_the_spread_is_that_of_a_sample():
    values = np.random.default_rng(0).random(7).tolist()
    assert metrics.spread([None, *values]) == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert metrics.spread([0.5, None]) is None and metrics.spread([]) is None and metrics.spread([1.0, 1.0]) == 0
