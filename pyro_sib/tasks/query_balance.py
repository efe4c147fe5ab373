"""How a task's queries divide among its classes: evenly, or in Dirichlet proportions (Veilleux et al. 2021)."""

import torch
from torch import Tensor

from pyro_sib.counter_rng import normal, uniform
from pyro_sib.tasks.shape import QueryBalance

_ATTEMPTS = 16
"""Proposals for each gamma draw; each is accepted with a probability above 0.95."""


def query_counts(key: int, index: Tensor, streams: int, ways: int, total: int, balance: QueryBalance) -> Tensor:
    """Queries of each class: Dirichlet(alpha, ..., alpha) proportions times `total`, by largest remainders.

    Args:
        key: from `make_key`.
        index: (T,) int64.
        streams: the first of four streams that this draw uses.
        ways: N.
        total: queries of a task, a multiple of N.
        balance: of the tasks.

    Returns:
        (T, N) int64 that sum to `total`.
    """
    gammas = _gamma(key, index, streams, ways, balance.alpha)
    exact = total * gammas / gammas.sum(-1, keepdim=True)
    counts = exact.floor()
    missing = total - counts.sum(-1, keepdim=True)
    rank = (exact - counts).sort(dim=-1, descending=True, stable=True).indices.argsort(-1)
    counts = counts + (rank < missing)
    even = uniform(key, index, streams + 3, 1) < balance.even_share
    return torch.where(even, total // ways, counts).long()


def _gamma(key: int, index: Tensor, streams: int, count: int, alpha: float) -> Tensor:
    """(T, count) draws of Gamma(alpha, 1), by Marsaglia & Tsang (2000)."""
    shape = (len(index), count, _ATTEMPTS)
    boosted = alpha if alpha >= 1 else alpha + 1
    d = boosted - 1 / 3
    x = normal(key, index, streams, count * _ATTEMPTS).double().view(shape)
    u = uniform(key, index, streams + 1, count * _ATTEMPTS).view(shape)
    v = (1 + x / (9 * d) ** 0.5) ** 3
    log_v = v.clamp_min(1e-300).log()
    accepted = (v > 0) & ((1 - u).log() < 0.5 * x.square() + d - d * v + d * log_v)
    first = accepted.to(torch.uint8).argmax(-1, keepdim=True)
    draws = d * v.gather(-1, first).squeeze(-1).clamp_min(1e-300)
    if alpha < 1:
        draws = draws * (1 - uniform(key, index, streams + 2, count)) ** (1 / alpha)
    return draws
