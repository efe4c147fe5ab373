"""How psi enters the unrolled steps: as a constant, or so that the KL's gradient through the steps is known."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor


class OfPsi(Protocol):
    """Tensors that depend on psi and on the arguments; with `detach`, psi is a constant."""

    def __call__(self, *arguments: Tensor, detach: bool) -> tuple[Tensor, ...]:
        """Compute them."""


PsiEnters = Callable[..., tuple[Tensor, ...]]
"""(function: OfPsi, *arguments) -> the function's values as the steps are to take them."""


def constant(function: OfPsi, *arguments: Tensor) -> tuple[Tensor, ...]:
    """Psi a constant."""
    return function(*arguments, detach=True)


class Taps:
    """Detach psi and add, wherever it enters, a zero-valued leaf whose gradient is that of the value there.

    One unrolling then serves phi and psi: the gradient of one cotangent in the leaves goes on to psi alone, while
    another cotangent's gradient goes to phi through the same graph.
    """

    def __init__(self) -> None:
        self.leaves: list[Tensor] = []
        self.again: list[Callable[[], tuple[Tensor, ...]]] = []

    def __call__(self, function: OfPsi, *arguments: Tensor) -> tuple[Tensor, ...]:
        """The values, each plus its zero-valued leaf."""
        values = function(*arguments, detach=True)
        leaves = [torch.zeros_like(v, requires_grad=True) for v in values]
        self.leaves += leaves
        self.again.append(partial(function, *(a.detach() for a in arguments), detach=False))
        return tuple(v + leaf for v, leaf in zip(values, leaves, strict=True))

    def carry(self, outputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> Tensor:
        """A scalar whose gradient in psi is cotangents . d outputs / d psi, and zero in all else."""
        given = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
        ends, given_cotangents = zip(*given, strict=True)
        found = torch.autograd.grad(ends, self.leaves, given_cotangents, retain_graph=True, allow_unused=True)
        live = [v for compute in self.again for v in compute()]
        parts = [(v * g).sum() for v, g in zip(live, found, strict=True) if g is not None and v.requires_grad]
        return torch.stack(parts).sum() if parts else outputs[0].new_zeros(())
