"""What published transductive methods make of features before they use them."""

import torch
from torch import Tensor

from pyro_sib.cosine import unit


def on_sphere(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Unit features: (T, M, D), (T, Q, D) -> the same shapes."""
    return unit(support), unit(query)


def centred_and_shifted(support: Tensor, query: Tensor, base_mean: Tensor) -> tuple[Tensor, Tensor]:
    """Unit features around the base classes' mean, the queries' mean moved onto the support's (LaplacianShot).

    Args:
        support: (T, M, D).
        query: (T, Q, D).
        base_mean: (D,) mean of the base classes' features.
    """
    support, query = on_sphere(support - base_mean, query - base_mean)
    return support, query + support.mean(1, keepdim=True) - query.mean(1, keepdim=True)


def centred_on_base(x: Tensor, base_centre: Tensor) -> Tensor:
    """Unit features around the mean of the base classes' unit features, made unit again: (..., D) -> (..., D).

    Args:
        x: (..., D).
        base_centre: (D,) mean of the base classes' unit features.
    """
    return unit(unit(x) - base_centre)


def power_centred(support: Tensor, query: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """PT-MAP's features: power transform, unit norm, support and queries centred each by itself, unit norm.

    The published transform is of features after a ReLU, so a power other than 1 takes their positive part. Its QR
    reduction keeps all inner products and is left out. In float64: the Sinkhorn iteration that follows stops at a
    change below 1e-6, which float32 hardly resolves.

    Args:
        support: (T, M, D).
        query: (T, Q, D).
        power: 0.5 as published; 1 leaves the features as they are.
    """
    parts = []
    for x in (support, query):
        x = unit(_power(x.double(), power))
        parts.append(unit(x - x.mean(1, keepdim=True)))
    return parts[0], parts[1]


def _power(x: Tensor, power: float) -> Tensor:
    return x if power == 1 else torch.relu(x).add(1e-6).pow(power)


def centred_on_task(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Unit features around the mean of the task's rows, labeled or not, made unit again (soft k-means).

    Args:
        support: (T, M, D).
        query: (T, Q, D).
    """
    rows = unit(torch.cat([support, query], 1))
    rows = unit(rows - rows.mean(1, keepdim=True))
    return rows[:, : support.shape[1]], rows[:, support.shape[1] :]
