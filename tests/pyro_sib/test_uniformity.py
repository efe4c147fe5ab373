"""The test of uniformity: its level, its power, and its band beside ArviZ's."""

import numpy as np
import pytest
from scipy import stats

from pyro_sib.scores.uniformity import ecdf_band, randomized_ranks, uniformity


def test_p_values_of_uniform_numbers_are_uniform():
    """Rejections at 10% within four standard errors, 400 samples of 80 not among those the null is made of."""
    rng = np.random.default_rng(1)
    found = [uniformity(rng.random(80)) for _ in range(400)]
    for p in ([u.p_uniform for u in found], [u.p_symmetric for u in found]):
        assert abs(np.mean(np.array(p) < 0.1) - 0.1) < 4 * (0.09 / 400) ** 0.5
    assert np.mean([u.spread for u in found]) == pytest.approx(1, abs=0.02)


def test_the_band_holds_a_whole_uniform_ecdf_as_often_as_it_says():
    """90% within four standard errors of 1000 samples."""
    band, rng = ecdf_band(120, 0.9), np.random.default_rng(2)
    ecdf = (rng.random((1000, 120, 1)) <= band.z).mean(1)
    inside = ((ecdf >= band.lower) & (ecdf <= band.upper)).all(-1).mean()
    assert abs(inside - 0.9) < 4 * (0.09 / 1000) ** 0.5 + 0.01
    pointwise = stats.binom.interval(0.9, 120, band.z)
    assert (band.lower * 120 <= pointwise[0]).all()
    assert (band.upper * 120 >= pointwise[1]).all()


def test_the_band_is_that_of_arviz():
    """Within two of 200 numbers, ArviZ's own simulation noise."""
    arviz = pytest.importorskip("arviz.stats.ecdf_utils", reason="ArviZ 1.x keeps its band elsewhere")
    band = ecdf_band(200, 0.95)
    generator = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="variable is continuous"):
        theirs = arviz.ecdf_confidence_band(200, band.z, band.z, 0.95, method="simulated", random_state=generator)
    assert np.abs(theirs[0] - band.lower).max() < 0.0101
    assert np.abs(theirs[1] - band.upper).max() < 0.0101


@pytest.mark.parametrize("narrow", [0.5, 2.0])
def test_a_wrong_width_is_no_bias(narrow):
    z = stats.norm.ppf(np.random.default_rng(3).random(100))
    found = uniformity(stats.norm.cdf(z / narrow))
    assert found.p_uniform < 0.01
    assert found.p_symmetric > 0.05
    assert found.spread == pytest.approx(1 / narrow, rel=0.2)


def test_a_shift_is_a_bias():
    z = stats.norm.ppf(np.random.default_rng(4).random(100))
    found = uniformity(stats.norm.cdf(z + 0.5))
    assert found.p_uniform < 0.01
    assert found.p_symmetric < 0.01


def test_ranks_count_draws_below():
    draws = np.arange(10.0)[:, None] * np.ones(3)
    ranks = randomized_ranks(np.array([-1.0, 4.5, 99.0]), draws, 0)
    assert ((ranks * 11).astype(int) == [0, 5, 10]).all()
    assert (ranks == randomized_ranks(np.array([-1.0, 4.5, 99.0]), draws, 0)).all()
