"""The losses against PyTorch's own and against a plain loop."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from losses import (
    binary_cross_entropy,
    class_weights,
    cross_entropy,
    focal,
    loss_function,
    loss_of_pieces,
    soft_dice,
)
from support.masks import IGNORE


def example(classes=3, ignored=True):
    torch.manual_seed(0)
    target = torch.randint(0, classes, (2, 9, 7), dtype=torch.uint8)
    if ignored:
        target[torch.rand(2, 9, 7) < 0.3] = IGNORE
    return (3 * torch.randn(2, classes, 9, 7)).requires_grad_(), target


@pytest.mark.parametrize("ignored", [False, True])
def test_cross_entropy_agrees_with_pytorch_in_value_and_gradient(ignored):
    logits, target = example(ignored=ignored)
    ours = cross_entropy(logits, target)
    theirs = F.cross_entropy(logits, target.long(), ignore_index=IGNORE)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


def test_cross_entropy_agrees_with_a_loop():
    logits, target = example()
    total, count = 0.0, 0
    for n, y, x in np.ndindex(*target.shape):
        if target[n, y, x] != IGNORE:
            scores = logits[n, :, y, x].detach().double().exp().numpy()
            total -= np.log(scores[target[n, y, x]] / scores.sum())
            count += 1
    assert cross_entropy(logits, target).item() == pytest.approx(total / count, abs=1e-5)


def test_cross_entropy_at_its_limits():
    target = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    right = torch.tensor([[[[50.0, -50.0]], [[-50.0, 50.0]]]])
    assert cross_entropy(right, target) == 0
    assert cross_entropy(torch.zeros(1, 2, 1, 2), target).item() == pytest.approx(np.log(2))
    logits = torch.randn(1, 2, 1, 2, requires_grad=True)
    nothing = cross_entropy(logits, torch.full((1, 1, 2), IGNORE, dtype=torch.uint8))
    nothing.backward()
    assert nothing == 0 and (logits.grad == 0).all()  # nothing known: no loss, no gradient, no NaN


WEIGHTS = torch.tensor([0.5, 1.0, 4.0])


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def test_weighted_cross_entropy_agrees_with_pytorch():
    logits, target = example()
    ours = cross_entropy(logits, target, WEIGHTS)
    theirs = F.cross_entropy(logits, target.long(), WEIGHTS, ignore_index=IGNORE)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))


@pytest.mark.parametrize("weights", [None, torch.tensor([0.3, 2.0])])
def test_binary_cross_entropy_agrees_with_pytorch_and_with_cross_entropy(weights):
    logits, target = example(classes=2)
    ours, known = binary_cross_entropy(logits, target, weights), target != IGNORE
    z, truth = (logits[:, 1] - logits[:, 0])[known], target[known].float()
    weight = None if weights is None else weights[truth.long()]
    theirs = F.binary_cross_entropy_with_logits(z, truth, weight, reduction="sum")
    theirs = theirs / (known.sum() if weights is None else weight.sum())
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))
    torch.testing.assert_close(ours, cross_entropy(logits, target, weights))
    far = binary_cross_entropy(torch.tensor([[[[-500.0]], [[500.0]]]]), torch.zeros(1, 1, 1, dtype=torch.uint8))
    assert far == 1000  # neither infinite nor capped


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_agrees_with_a_loop(weights):
    logits, target = example()
    total, weight = 0.0, 0.0
    for n, y, x in np.ndindex(*target.shape):
        label = target[n, y, x].item()
        if label != IGNORE:
            scores = logits[n, :, y, x].detach().double().exp().numpy()
            p, alpha = scores[label] / scores.sum(), 1.0 if weights is None else weights[label].item()
            total -= alpha * (1 - p) ** 2 * np.log(p)
            weight += alpha
    assert focal(logits, target, weights).item() == pytest.approx(total / weight, rel=1e-4)


def test_focal_at_its_limits():
    label = torch.zeros(1, 1, 1, dtype=torch.uint8)
    sure = torch.tensor([[[[99.0]], [[-99.0]]]], requires_grad=True)  # p rounds to 1
    loss = focal(sure, label)
    assert loss == 0 and torch.isfinite(gradient(loss, sure)).all()
    wrong = torch.tensor([[[[-99.0]], [[99.0]]]], requires_grad=True)  # p is all but 0: cross-entropy again
    torch.testing.assert_close(focal(wrong, label), cross_entropy(wrong, label))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_soft_dice_agrees_with_numpy(weights):
    logits, target = example()
    p, known = torch.softmax(logits.detach().double(), dim=1).numpy(), (target != IGNORE).numpy()
    losses = []
    for label in range(3):
        chance, truth = p[:, label][known], (target.numpy() == label)[known]
        losses.append(1 - 2 * (chance * truth).sum() / ((chance**2).sum() + truth.sum()))
    expected = np.average(losses, weights=None if weights is None else weights.numpy())
    assert soft_dice(logits, target, weights).item() == pytest.approx(expected, abs=1e-5)


def test_soft_dice_at_its_limits():
    target = torch.tensor([[[0, 1], [1, IGNORE]]], dtype=torch.uint8)
    right = 200.0 * F.one_hot(target.masked_fill(target == IGNORE, 0).long(), 3).permute(0, 3, 1, 2)
    assert soft_dice(right, target) == 0  # class 2, which does not occur, takes no part
    assert soft_dice(right.flip(1)[:, [1, 0, 2]], target) > 0.4
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    nothing = soft_dice(logits, torch.full((1, 2, 2), IGNORE, dtype=torch.uint8))
    assert nothing == 0 and (gradient(nothing, logits) == 0).all()


@pytest.mark.parametrize("name", ["ce", "bce", "focal", "dice"])
def test_no_loss_looks_at_ignored_pixels(name):
    logits, target = example(classes=2)
    changed = torch.where((target == IGNORE)[:, None], 7 * torch.randn_like(logits), logits)
    for weights in (None, torch.tensor([0.2, 3.0])):
        loss = loss_function(name, weights)
        torch.testing.assert_close(loss(logits, target), loss(changed, target))
        assert (gradient(loss(logits, target), logits)[(target == IGNORE)[:, None].expand_as(logits)] == 0).all()


def test_sums():
    logits, target = example()
    expected = cross_entropy(logits, target, WEIGHTS) + soft_dice(logits, target, WEIGHTS)
    torch.testing.assert_close(loss_function("ce+dice", WEIGHTS)(logits, target), expected)
    torch.testing.assert_close(loss_function("focal")(logits, target), focal(logits, target))


def test_class_weights():
    pixels = [900, 90, 10]
    assert class_weights(pixels, 0.0).tolist() == [1, 1, 1]
    weights = class_weights(pixels, 1.0)
    np.testing.assert_allclose(weights * torch.tensor([0.9, 0.09, 0.01]), [1 / 3] * 3, rtol=1e-6)  # all count the same
    weights = class_weights(pixels, 0.5)
    np.testing.assert_allclose((weights / weights[0]).tolist(), [1, 10**0.5, 90**0.5], rtol=1e-5)
    assert (weights * torch.tensor([0.9, 0.09, 0.01])).sum().item() == pytest.approx(1)
    assert class_weights([5, 0], 1.0).tolist() == pytest.approx([0.6, 3])  # a class without pixels counts as one pixel
    assert torch.equal(class_weights([5, 0], 1.0), class_weights([5, 1], 1.0))


@pytest.mark.parametrize("name, expected", [("ce", 1), ("bce", 1), ("focal", 1 / 4), ("dice", 0.2 / np.log(2))])
def test_only_the_proportion_of_weights_matters_even_of_a_single_pixel(name, expected):
    """One that is known, with a probability of a half: the cross-entropy is log 2, Dice is 2 · 0.5 / (0.25 + 1)."""
    target = torch.full((2, 9, 7), IGNORE, dtype=torch.uint8)
    target[0, 3, 4] = 1
    for weights in None, torch.tensor([0.5, 1.0]), torch.tensor([0.0005, 0.001]):
        loss = loss_function(name, weights)(torch.zeros(2, 2, 9, 7), target)
        assert loss.item() == pytest.approx(expected * np.log(2), rel=1e-5)


@pytest.mark.parametrize("name", ["ce", "bce", "focal", "dice", "ce+dice"])
def test_with_the_sums_of_another_process_it_is_the_loss_of_the_whole_batch(name):
    logits, target = example(classes=2)
    loss, sums = loss_function(name, torch.tensor([0.3, 2.0])), []
    loss(logits[1:], target[1:], lambda value: sums.append(value.detach()) or value)
    found = loss(logits[:1], target[:1], lambda value: value + sums.pop(0))
    torch.testing.assert_close(found, loss(logits, target))


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 1.0, 3.0])])
@pytest.mark.parametrize("names", ["ce", "focal", "dice", "ce+dice", "dice+focal+ce"])
def test_the_loss_of_pieces_is_that_of_the_whole(names, weights):
    """Also where one piece lacks a class that others have, and another one has no truth at all."""
    logits, target = (each.detach()[:1] for each in example())
    target[:, :2], target[:, 2:4] = IGNORE, 1
    cuts = [
        (slice(top, bottom), slice(left, right))
        for top, bottom in [(0, 2), (2, 4), (4, 9)]
        for left, right in [(0, 3), (3, 7)]
    ]
    loss = loss_function(names, weights)
    found = loss_of_pieces(loss, ((logits[:, :, rows, columns], target[:, rows, columns]) for rows, columns in cuts))
    double = loss_function(names, weights if weights is None else weights.double())(logits.double(), target)
    assert found.item() == pytest.approx(double.item(), rel=1e-6)
    two = loss_function("bce", weights if weights is None else weights[:2])
    pair, truth = logits[:, :2], torch.where(target == 2, IGNORE, target)
    found = loss_of_pieces(two, ((pair[:, :, rows, columns], truth[:, rows, columns]) for rows, columns in cuts))
    assert found.item() == pytest.approx(two(pair, truth).item(), rel=1e-6)


def test_a_loss_that_keeps_its_sums_to_itself_has_none_of_pieces():
    """It would be that of a single pixel."""
    logits, target = (each[:1] for each in example(ignored=False))
    alone = lambda logits, target, all_reduce: F.cross_entropy(logits, target.long())
    with pytest.raises(ValueError, match="no sum to all_reduce"):
        loss_of_pieces(alone, [(logits, target)])


@pytest.mark.parametrize("name", ["ce", "bce", "focal", "dice"])
def test_a_target_of_another_shape_is_refused_and_neither_cut_nor_spread(name):
    logits, target = example(classes=2)
    for wrong in target[:1], target[:, ::2, ::2], target[:, None], torch.stack([target == 0, target == 1], dim=1):
        with pytest.raises(ValueError, match="target .*; expected .N, classes, H, W. and .N, H, W."):
            loss_function(name)(logits, wrong)
