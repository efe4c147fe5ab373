"""Are numbers in [0, 1] uniform, as ranks of a truth among posterior draws must be?"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pyro_sib.scores.summary import SIMULATIONS

Array = NDArray[np.float64]
POINTS = 50
"""At which the ECDF is looked at, evenly spaced inside (0, 1)."""


@dataclass(frozen=True)
class Band:
    """Where an ECDF of uniform numbers lies as a whole with a given probability.

    Attributes:
        z: (POINTS,) in (0, 1).
        lower: (POINTS,) least values of the ECDF.
        upper: (POINTS,) largest values.
    """

    z: Array
    lower: Array
    upper: Array


@dataclass(frozen=True)
class Uniformity:
    """What a sample of would-be uniform numbers says.

    Attributes:
        p_uniform: p-value of uniformity, by the ECDF's simultaneous test (Säilynoja et al. 2022).
        p_symmetric: p-value of symmetry about 1/2, which is all that VSBC asks of a guide: it has no bias.
        spread: root mean square of the normal quantiles. 1 where calibrated; 2 where every interval is half as wide
            as it should be, 1/2 where twice as wide.
    """

    p_uniform: float
    p_symmetric: float
    spread: float


def uniformity(values: Array) -> Uniformity:
    """Test (n,) numbers.

    Yao et al. (2018) test symmetry by the distance of the ECDFs of p and 1 - p, which are not independent; the
    signed-rank test of p - 1/2 keeps its level.
    """
    null = _null_tails(len(values))
    p_uniform = (1 + int((null <= _tail(values)).sum())) / (1 + len(null))
    p_symmetric = float(stats.wilcoxon(values - 0.5).pvalue)
    quantiles = stats.norm.ppf(values.clip(1e-12, 1 - 1e-12))
    return Uniformity(p_uniform, p_symmetric, float(np.sqrt((quantiles**2).mean())))


def ecdf_band(count: int, level: float = 0.95) -> Band:
    """The simultaneous band of an ECDF of `count` uniform numbers.

    Pointwise binomial intervals, at the one pointwise level for which a uniform sample's ECDF lies inside all of
    them with probability `level` (Säilynoja et al. 2022, Algorithm 2).
    """
    gamma, z = float(np.quantile(_null_tails(count), 1 - level)), _grid()
    lower = stats.binom.ppf(gamma / 2, count, z) / count
    return Band(z, lower, stats.binom.ppf(1 - gamma / 2, count, z) / count)


def histogram_band(count: int, bins: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of one bin's count under uniformity, by itself."""
    low, high = stats.binom.interval(level, count, 1 / bins)
    return float(low), float(high)


def randomized_ranks(truth: Array, draws: Array, seed: int) -> Array:
    """(J,) truths among (L, J) draws -> (J,) numbers that are uniform where a truth and its draws are exchangeable.

    (rank + u) / (L + 1) with u uniform on [0, 1), so that nothing of the ranks' grid is left.
    """
    u = np.random.default_rng(seed).random(len(truth))
    return ((draws < truth).sum(0) + u) / (len(draws) + 1)


def _grid() -> Array:
    return np.arange(1, POINTS + 1) / (POINTS + 1)


def _tail(values: Array) -> float:
    """The least two-sided binomial tail probability of the ECDF over the grid."""
    return float(_tails((values[:, None] <= _grid()).sum(0), len(values)))


def _tails(counts: NDArray[np.int64], total: int) -> Array:
    """(..., POINTS) values of the ECDF times `total` -> (...)."""
    below, above = stats.binom.cdf(counts, total, _grid()), stats.binom.sf(counts - 1, total, _grid())
    return 2 * np.minimum(below, above).min(-1)


@lru_cache
def _null_tails(total: int) -> Array:
    """Of SIMULATIONS uniform samples: the counts between grid points are multinomial."""
    cells = np.random.default_rng(0).multinomial(total, np.full(POINTS + 1, 1 / (POINTS + 1)), SIMULATIONS)
    return _tails(cells.cumsum(-1)[:, :-1], total)
