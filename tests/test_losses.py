"""The losses against PyTorch's own and against a plain loop."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from losses import cross_entropy
from patches import IGNORE


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
