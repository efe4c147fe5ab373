"""Which unlabeled examples to label next: those that would teach most, and no two that are alike."""

from torch import Tensor

from pyro_sib.cosine import unit


def doubt(probabilities: Tensor) -> Tensor:
    """(..., C) -> (...): 1 - the difference of the two largest probabilities; 1 where they are equal."""
    first, second = probabilities.topk(2, -1).values.unbind(-1)
    return 1 - (first - second)


def most_telling(
    uncertain: Tensor, x: Tensor, labeled: Tensor, most: int, allowed: Tensor | None = None
) -> list[int]:
    """Rows whose labels would tell most about all others, greedily.

    A label on row i explains the share cos^2(x_i, x_j) of what is unknown of row j, as an observation does in a
    Gaussian process whose covariance is the cosine. What remains unknown of j is

        r_j = u_j prod_k (1 - cos^2(x_k, x_j)),   k over labeled rows and those chosen before,

    and the row chosen is that of the largest o_i sum_j r_j cos^2(x_i, x_j), where o_i is u_i times that product
    over the rows chosen before: uncertain itself, and near much that is uncertain and that no label has explained.
    A copy of a chosen row counts for nothing.

    Args:
        uncertain: (n,) u, 0 or more, such as `doubt`.
        x: (n, d) coordinates in which the directions matter.
        labeled: (m, d).
        most: rows to choose; fewer where none of the others counts for anything.
        allowed: (n,) whether a row may be chosen; all may unless given. The others count as what is to be
            explained.
    """
    z, u, chosen = unit(x.double()), uncertain.double(), list[int]()
    left = u * (1 - (z @ unit(labeled.double()).T).square()).clamp_min(0).prod(1)
    own = u.clone() if allowed is None else u * allowed
    while len(chosen) < min(most, len(u)):
        # sum_j r_j cos^2(x_i, x_j), by the second moment of what is left
        worth = own * ((z @ (z.T @ (z * left[:, None]))) * z).sum(1)
        best = int(worth.argmax())
        if not float(worth[best]) > 1e-12:
            break
        chosen.append(best)
        apart = (1 - (z @ z[best]).square()).clamp_min(0)
        apart[best] = 0
        left, own = left * apart, own * apart
    return chosen
