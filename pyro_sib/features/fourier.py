"""f for functions of one variable: sines and cosines, each with a gain learned in stage 1."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.errors import InputError, argument

_RIDGE = 1e-2
"""Of the base tasks' least squares, which the waves of close frequencies leave ill-conditioned."""


@dataclass(frozen=True)
class FourierFeatures:
    """f(x) = gains * [1, cos(v x), ..., cos(n v x), sin(v x), ..., sin(n v x)], v = pi / half_period.

    Attributes:
        gains: (2 n + 1,) the size of each wave; equal ones before stage 1.
        half_period: half the longest wave's length; more than the inputs reach, lest f join their ends.
    """

    gains: Tensor
    half_period: float = 6.0

    def __call__(self, x: Tensor) -> Tensor:
        """(..., 1) -> (..., D)."""
        angles = x * torch.arange(1, len(self.gains) // 2 + 1) * (torch.pi / self.half_period)
        return torch.cat([torch.ones_like(x), angles.cos(), angles.sin()], dim=-1) * self.gains


def plain_features(frequencies: int) -> FourierFeatures:
    """Waves of `frequencies` frequencies, D = 2 frequencies + 1, all gains one.

    Raises:
        InputError: no frequency.
    """
    if frequencies < 1:
        raise InputError(f"{argument('frequencies')} {frequencies}: 1 or more is needed")
    return FourierFeatures(torch.ones(2 * frequencies + 1))


def learn_gains(plain: FourierFeatures, x: Tensor, y: Tensor) -> tuple[FourierFeatures, Tensor]:
    """Stage 1: a ridge regression of each base task; a wave's gain is its weights' root mean square.

    In these units the base tasks' weights have mean square one in each dimension, so that a gradient step in w,
    which is of one size in all of them, moves along the waves that the tasks are made of.

    Args:
        plain: features with gains of one.
        x: (B, P, D) of B base tasks, by `plain`.
        y: (B, P).

    Returns:
        The features with gains, and the base tasks' weights in their units, (B, D).
    """
    x, y = x.double(), y.double()
    gram = x.transpose(1, 2) @ x + _RIDGE * torch.eye(x.shape[2], dtype=x.dtype)
    weights = torch.linalg.solve(gram, (x.transpose(1, 2) @ y[..., None]).squeeze(-1))
    gains = weights.square().mean(0).sqrt()
    return FourierFeatures(gains.float(), plain.half_period), (weights / gains).float()
