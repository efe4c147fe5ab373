"""A fit by Adam without autograd: every element on its own, so that a batch of tasks is as many lone fits."""

from collections.abc import Callable, Sequence
from math import cos, pi

import torch
from torch import Tensor

_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8


def adam(
    start: Sequence[Tensor],
    gradient: Callable[[int, Sequence[Tensor]], Sequence[Tensor]],
    rates: Sequence[float],
    steps: int,
) -> list[Tensor]:
    """Where Adam (Kingma & Ba 2015) arrives from `start`, its rates falling to zero along half a cosine.

    Args:
        start: tensors of any shapes; they are left as they are.
        gradient: (step, tensors) -> the gradient in each.
        rates: first rate of each tensor.
        steps: how many.
    """
    values = list(start)
    means, squares = ([torch.zeros_like(t) for t in start] for _ in range(2))
    for step in range(steps):
        falling = 0.5 * (1 + cos(pi * step / steps))
        mean_weight, square_weight = (1 - decay ** (step + 1) for decay in (_DECAY, _SQUARE_DECAY))
        for i, g in enumerate(gradient(step, values)):
            means[i] = torch.lerp(g, means[i], _DECAY)
            squares[i] = torch.lerp(g.square(), squares[i], _SQUARE_DECAY)
            spread = (squares[i] / square_weight).sqrt() + _EPSILON
            values[i] = values[i] - falling * rates[i] * means[i] / mean_weight / spread
    return values
