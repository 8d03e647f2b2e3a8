"""AdamW, beside PyTorch's own."""

import copy

import pytest
import torch
from conftest import command

from model import FCN, UNet
from optimizer import AdamW

IMPORTED = """
import sys
import torch
from optimizer import AdamW

weights = [torch.ones(3, requires_grad=True)]
optimizer = (AdamW if sys.argv[1] == "ours" else torch.optim.AdamW)(weights, lr=0.1)
weights[0].sum().backward()
optimizer.step()
print("torch._dynamo" in sys.modules)
"""


def both(make=FCN, **settings):
    """[(network, PyTorch's optimizer), (an equal network, ours)]."""
    torch.manual_seed(0)
    one = make().to(memory_format=torch.channels_last)
    other = copy.deepcopy(one)
    settings = {"lr": 0.01, "betas": (0.9, 0.99), **settings}
    return [(one, torch.optim.AdamW(one.parameters(), **settings)), (other, AdamW(other.parameters(), **settings))]


def take(network, optimizer, steps, first=0):
    """Take steps on noise, at a rate that changes from one to the next."""
    for step in range(first, first + steps):
        torch.manual_seed(step)
        images = torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last)
        optimizer.zero_grad()
        (network(images) - 1).square().mean().backward()
        if isinstance(optimizer, AdamW):
            optimizer.lr = 0.01 / (1 + step)
        else:
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + step)
        optimizer.step()


def equal(one, other):
    return all(map(torch.equal, one.parameters(), other.parameters()))


@pytest.mark.parametrize("make", [FCN, lambda: UNet(width=4, depth=2)], ids=["fcn", "unet"])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0}, {"weight_decay": 0.3, "betas": (0.5, 0.9)}], ids=str)
def test_each_step_is_that_of_pytorch(make, settings):
    (theirs, optimizer), (ours, own) = both(make, **settings)
    begun = copy.deepcopy(ours)
    for step in range(5):
        take(theirs, optimizer, 1, step)
        take(ours, own, 1, step)
        assert equal(theirs, ours) and not equal(ours, begun)


def test_a_step_is_what_the_paper_says():
    """In double precision, in plain Python: algorithm 2, with the rate in its decay, as PyTorch and others have it."""
    gradients, weight, mean, square = [0.5, -2.0, 1e-3, 0.0], 0.7, 0.0, 0.0
    tensor = torch.tensor([weight], dtype=torch.double, requires_grad=True)
    optimizer = AdamW([tensor], lr=0.03, betas=(0.8, 0.95), weight_decay=0.2)
    for step, gradient in enumerate(gradients, start=1):
        mean, square = 0.8 * mean + 0.2 * gradient, 0.95 * square + 0.05 * gradient**2
        weight -= 0.03 * 0.2 * weight
        weight -= 0.03 * mean / (1 - 0.8**step) / ((square / (1 - 0.95**step)) ** 0.5 + 1e-8)
        tensor.grad = torch.tensor([gradient], dtype=torch.double)
        optimizer.step()
        assert tensor.item() == pytest.approx(weight, rel=1e-12)


@pytest.mark.parametrize("by", ["PyTorch's", "ours"])
def test_it_goes_on_from_what_was_saved(by, tmp_path):
    """Also by PyTorch's own, as in a last.pt that earlier versions wrote."""
    (theirs, optimizer), (ours, own) = both()
    take(theirs, optimizer, 3)
    take(ours, own, 3)
    torch.save((optimizer if by == "PyTorch's" else own).state_dict(), tmp_path / "state.pt")
    resumed = copy.deepcopy(ours)
    again = AdamW(resumed.parameters(), lr=0.01)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    take(theirs, optimizer, 2, first=3)
    take(resumed, again, 2, first=3)
    assert again.steps == 5 and equal(theirs, resumed)


def test_before_the_first_step_there_is_nothing_to_save():
    assert AdamW([torch.ones(2)], lr=0.1).state_dict() == {"state": {}, "param_groups": []}


@pytest.mark.parametrize("gradient, moved", [(1.0, True), (float("inf"), False)])
def test_gradients_of_sixteen_bits_are_scaled_back_and_a_step_of_infinite_ones_is_left_out(gradient, moved):
    weight = torch.ones(1, requires_grad=True)
    optimizer, scaler = AdamW([weight], lr=0.1), torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(gradient * weight).sum().backward()
    scaler.unscale_(optimizer)
    assert weight.grad.item() == gradient
    scaler.step(optimizer)
    scaler.update()
    assert (weight.item() != 1) == moved == bool(optimizer.steps)


@pytest.mark.slow
@pytest.mark.parametrize("whose, imported", [("ours", "False"), ("PyTorch's", "True")])
def test_it_imports_no_compiler(tmp_path, whose, imported):
    """Which takes longer than anything else of a training's start. Should PyTorch's own stop doing so, use that."""
    (tmp_path / "script.py").write_text(IMPORTED)
    done = command("-m", "script", whose, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.strip() == imported, done


def test_frozen_weights_stay_as_they_are():
    (theirs, optimizer), (ours, own) = both()
    begun = copy.deepcopy(ours)
    for network in theirs, ours:
        network.layers.conv1.requires_grad_(False)
    take(theirs, optimizer, 3)
    take(ours, own, 3)
    assert equal(theirs, ours) and equal(begun.layers.conv1, ours.layers.conv1) and not equal(begun, ours)
    own.zero_grad()
    own.step()  # nor does any other without a gradient move
    assert equal(theirs, ours) and own.steps == 3


def test_it_begins_anew_from_what_was_saved_before_the_first_step():
    (_, _), (ours, own) = both()
    begun, state = copy.deepcopy(ours.state_dict()), own.state_dict()
    take(ours, own, 3)
    once = copy.deepcopy(ours)
    ours.load_state_dict(begun)
    own.load_state_dict(state)
    take(ours, own, 3)
    assert own.steps == 3 and equal(once, ours)
    moments = copy.deepcopy(own.means + own.squares)
    own.load_state_dict(own.state_dict())  # which shares its tensors
    with pytest.raises(LookupError):
        own.load_state_dict({"state": {99: {}}})
    assert own.steps == 3 and all(map(torch.equal, moments, own.means + own.squares))
