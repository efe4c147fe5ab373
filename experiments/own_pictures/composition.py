"""How a pile spreads over the classes, with intervals from the posterior."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key, uniform

_KEY = make_key("composition of a pile")
_LABELINGS = 1000
"""Of the whole pile, over all draws of the weights."""


class Composition(NamedTuple):
    """Shares of the pile, (C,) each; (C + 1,) where that of no class is last."""

    mean: Tensor
    low: Tensor
    """2.5% quantile."""
    high: Tensor
    """97.5% quantile."""


def composition(each: Tensor, none: Tensor | None = None) -> Composition:
    """The posterior of the pile's class shares: each draw's labels of all pictures are drawn again and again.

    Args:
        each: (draws, Q, C) probabilities under each draw of the weights, of pictures that belong to a class.
        none: (Q,) probability of belonging to none, or None.
    """
    if none is not None:
        each = torch.cat([each * (1 - none)[:, None], none[:, None].expand(len(each), -1, 1)], -1)
    draws, queries, classes = each.shape
    times = -(-_LABELINGS // draws)
    shares = []
    for draw in range(draws):
        below = each[draw].double().cumsum(-1)[:, :-1].contiguous()
        for time in range(times):
            u = uniform(_KEY, torch.tensor([draw]), time, queries)[0].double()
            labels = torch.searchsorted(below, u[:, None], right=True)[:, 0]
            shares.append(labels.bincount(minlength=classes).double() / queries)
    drawn = torch.stack(shares)
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return Composition(each.double().mean((0, 1)), low, high)
