"""Which unlabeled examples to label next: those that would teach most, and no two that are alike."""

import torch
from torch import Tensor

from pyro_sib.cosine import unit

_AT_ONCE = 256
"""Rows whose likeness to all others is held in memory together."""


def doubt(probabilities: Tensor) -> Tensor:
    """(..., C) -> (...): 1 - the difference of the two largest probabilities; 1 where they are equal."""
    first, second = probabilities.topk(2, -1).values.unbind(-1)
    return 1 - (first - second)


def evened(x: Tensor) -> Tensor:
    """(n, d) centred coordinates, each divided by the square root of its standard deviation.

    Otherwise a few coordinates of large spread decide alone what is like what; divided by all of it, noise would.
    """
    spread = x.square().mean(0).sqrt()
    return x * torch.where(spread > 0, spread.rsqrt(), torch.zeros_like(spread))


def most_telling(
    uncertain: Tensor, x: Tensor, labeled: Tensor, most: int, allowed: Tensor | None = None
) -> list[int]:
    """Rows whose labels would tell most about all others, greedily.

    A label on row i is taken to explain the share k_ij = max(0, cos(x_i, x_j))^2 of what is unknown of row j: what
    lies on the other side of the pile's centre is of another class, but which, the label does not say. What remains
    unknown of j is

        r_j = u_j prod_k (1 - k_kj),   k over labeled rows and those chosen before,

    and the row chosen is that of the largest o_i sum_j k_ij r_j, where o_i is that product over the rows chosen
    before: near much that is uncertain and that no label has explained. It need not be uncertain itself; a copy of
    a chosen row counts for nothing.

    Args:
        uncertain: (n,) u, 0 or more, such as `doubt`.
        x: (n, d) coordinates in which the directions matter, such as `evened` principal ones.
        labeled: (m, d).
        most: rows to choose; fewer where none of the others counts for anything.
        allowed: (n,) whether a row may be chosen; all may unless given. The others count as what is to be
            explained.
    """
    z, u, chosen = unit(x.double()), uncertain.double(), list[int]()
    left = u * (1 - _alike(z, unit(labeled.double()))).clamp_min(0).prod(1)
    own = torch.ones_like(u) if allowed is None else allowed.to(u.dtype)
    worth = torch.full_like(u, torch.inf)
    while len(chosen) < min(most, len(u)):
        # What is left and a row's own part only fall, so that a row's old worth is never less than its new one.
        old = torch.ones(len(u), dtype=torch.bool)
        while old[best := int(worth.argmax())]:
            rows = worth.masked_fill(~old, -1).topk(min(_AT_ONCE, len(u))).indices
            worth[rows], old[rows] = own[rows] * (_alike(z[rows], z) @ left), False
        if not float(worth[best]) > 1e-12:
            break
        chosen.append(best)
        apart = (1 - _alike(z, z[best : best + 1])[:, 0]).clamp_min(0)
        apart[best] = 0
        left, own = left * apart, own * apart
    return chosen


def _alike(one: Tensor, other: Tensor) -> Tensor:
    """(n, d), (m, d) unit rows -> (n, m) max(0, cosine)^2."""
    return (one @ other.T).clamp_(min=0).square_()
