"""Which unlabeled examples to label next: those that would teach most, and no two that are alike."""

from torch import Tensor

from pyro_sib.cosine import unit


def spread_out(values: Tensor, features: Tensor, most: int) -> list[int]:
    """Rows of large value that lie apart from one another, greedily.

    The first is that of the largest value. Each further one has the largest product of its value and its distance,
    1 - cosine, to the nearest row chosen before, so that a copy of a chosen row counts for nothing.

    Args:
        values: (n,) 0 or more, such as mutual information.
        features: (n, D).
        most: rows to choose; fewer where none of the others counts for anything.
    """
    z, gains, chosen = unit(features.double()), values.double().clone(), list[int]()
    distance = None
    while len(chosen) < min(most, len(values)):
        worth = gains if distance is None else gains * distance
        best = int(worth.argmax())
        if not float(worth[best]) > 1e-12:
            break
        chosen.append(best)
        apart = (1 - z @ z[best]).clamp_min(0)
        apart[best] = 0
        distance = apart if distance is None else distance.minimum(apart)
    return chosen
