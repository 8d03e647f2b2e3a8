"""AdamW: how a gradient changes the weights. Each weight takes steps of its own size."""
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class AdamW:
    """AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2).

    Its steps are to the bit those of PyTorch's, where every weight has a gradient in each of them. As there, a weight
    without a gradient stays as it is.

    A weight moves by the learning rate, against the mean of its last gradients over the root of the mean of their
    squares: about the same way whether gradients are large or small, and less where they contradict each other.
    Both means are moving averages that begin at 0, too small at first: so in step k each is divided by 1 − betaᵏ, the
    total weight that gradients have in it by then. Each step also multiplies a weight by 1 − `lr` · `weight_decay`,
    which draws it towards 0 (the paper leaves out the rate, PyTorch does not). `betas` are the shares of both means
    that a step keeps: 0.99 of the squares' goes back a hundred steps, PyTorch's default a thousand, which is all that a
    training on one image takes.

    Making PyTorch's own takes 1.6 s and 150 MB, as it imports a compiler.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.99),
                 weight_decay: float = 0.01):
        self.weights, self.lr, self.betas, self.weight_decay = list(weights), lr, betas, weight_decay
        self.means = [torch.zeros_like(weight) for weight in self.weights]            # of its gradients
        self.squares = [torch.zeros_like(weight) for weight in self.weights]          # the mean of their squares
        self.steps = 0

    @property
    def param_groups(self) -> list[dict]:
        """The weights, as torch.amp.GradScaler asks an optimizer for them, to scale their gradients back.

        They are to be read only: the learning rate is `lr`, not one of a group.
        """
        return [{"params": self.weights}]

    def zero_grad(self) -> None:
        """Forget the gradients of the last step: `backward` adds to those that are there."""
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step against the gradients. For a single weight, mean and square, it is:

            mean.lerp_(gradient, 1 - remembered)                                     # towards it, by that share
            square.mul_(remembered_squares).add_(gradient**2, alpha=1 - remembered_squares)
            weight.mul_(1 - lr * weight_decay)
            weight.sub_(lr * (mean / share) / ((square / share_of_squares).sqrt() + 1e-8))      # never by 0

        The functions `_foreach_…`, of which PyTorch's own is made, do it for all of them in each line, which is faster.
        """
        learning = [(weight, weight.grad, mean, square)               # not those that are frozen
                    for weight, mean, square in zip(self.weights, self.means, self.squares) if weight.grad is not None]
        if not learning:
            return
        weights, gradients, means, squares = zip(*learning)
        remembered, remembered_squares = self.betas
        self.steps += 1
        share, share_of_squares = 1 - remembered**self.steps, 1 - remembered_squares**self.steps
        torch._foreach_lerp_(means, gradients, 1 - remembered)
        torch._foreach_mul_(squares, remembered_squares)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - remembered_squares)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, share_of_squares**0.5)
        torch._foreach_add_(roots, 1e-8)
        torch._foreach_mul_(weights, 1 - self.lr * self.weight_decay)
        torch._foreach_addcdiv_(weights, means, roots, -self.lr / share)

    def state_dict(self) -> dict[str, Any]:
        """Return what resuming needs, its "state" as torch.optim.AdamW lays it out; empty before the first step."""
        each = zip(self.means, self.squares)
        return {"state": {number: {"step": torch.tensor(float(self.steps)), "exp_avg": mean, "exp_avg_sq": square}
                          for number, (mean, square) in enumerate(each) if self.steps}, "param_groups": []}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what state_dict has returned, or torch.optim.AdamW's. Raises LookupError or RuntimeError."""
        other = AdamW(self.weights, self.lr)     # begins at 0, as do weights of which nothing was saved
        for number, state in saved["state"].items():
            other.means[number].copy_(state["exp_avg"])
            other.squares[number].copy_(state["exp_avg_sq"])
            other.steps = int(state["step"])
        self.means, self.squares, self.steps = other.means, other.squares, other.steps
