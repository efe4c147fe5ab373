"""K-hat, leave-one-out, ESS and R-hat of what has no tail, does not move, or is not finite."""

import warnings
from pathlib import Path

import arviz
import numpy as np
import pytest
import xarray as xr

from pyro_sib.errors import InputError
from pyro_sib.experiments.posterior.arviz_versions import (
    DATA_TREES,
    Posterior,
    convergence,
    leave_one_out,
    psis,
    require,
)
from pyro_sib.experiments.posterior.khat import INFINITE, KHat, largest_k, shown, summary
from pyro_sib.experiments.posterior.report import _chain_warnings


def draws(*shape):
    return np.random.default_rng(0).normal(size=shape)


def poked(value):
    w = draws(200)
    w[7] = value
    return w


def test_equal_weights_have_no_tail_and_stay_equal():
    smoothed, k = psis(np.full((2, 50), -3.0))
    np.testing.assert_allclose(smoothed, -np.log(50))
    assert np.isnan(k).all()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_an_endless_weight_takes_everything(value):
    smoothed, k = psis(poked(value))
    assert k == np.inf
    assert smoothed[7] == 0
    assert np.delete(np.exp(smoothed), 7).sum() == 0


def test_a_draw_without_weight_has_none():
    smoothed, _ = psis(poked(-np.inf))
    assert np.exp(smoothed[7]) == 0
    assert np.exp(smoothed).sum() == pytest.approx(1)


def test_no_weight_at_all_is_no_fit():
    smoothed, k = psis(np.full(50, -np.inf))
    assert k == np.inf
    np.testing.assert_allclose(smoothed, -np.log(50))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_draws_are_normalized(count):
    assert np.exp(psis(draws(count))[0]).sum() == pytest.approx(1)


def test_ordinary_rows_are_those_of_arviz_beside_rows_without_a_tail():
    log_likelihood = draws(1, 400, 6)
    log_likelihood[..., 2] = -0.5
    ours = leave_one_out(xr.Dataset({"y": (("chain", "draw", "query"), log_likelihood)}))
    assert np.isnan(ours.k).tolist() == [q == 2 for q in range(6)]
    assert ours.pointwise[2] == pytest.approx(-0.5)
    named = {"log_likelihood": {"y": np.delete(log_likelihood, 2, -1)}}
    if not DATA_TREES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large k-hats
            loo = arviz.loo(arviz.from_dict(**named), pointwise=True, var_name="y", reff=1.0)
        np.testing.assert_allclose(np.delete(ours.pointwise, 2), loo.loo_i.values)
        np.testing.assert_allclose(np.delete(ours.k, 2), loo.pareto_k.values)
        assert ours.p == pytest.approx(loo.p_loo)


def test_leave_one_out_of_one_observation_has_no_standard_error():
    found = leave_one_out(xr.Dataset({"y": (("chain", "draw", "query"), draws(1, 100, 1))}))
    assert np.isnan(found.se)
    assert np.isfinite(found.elpd)


def test_what_does_not_move_has_neither_ess_nor_r_hat():
    chains = draws(2, 100, 3)
    chains[..., 1] = 4.0
    chains[0, 5, 2] = np.inf
    ess, rhat = convergence(chains)
    assert np.isnan(ess).tolist() == np.isnan(rhat).tolist() == [False, True, True]
    alone = convergence(chains[..., 0])
    assert (float(ess[0]), float(rhat[0])) == (float(alone[0]), float(alone[1]))


@pytest.mark.parametrize("count", [1, 3])
def test_chains_too_short_have_neither(count):
    assert np.isnan(convergence(draws(2, count, 3))).all()


def test_undefined_r_hats_are_a_warning_of_their_own():
    assert _chain_warnings({"w_least_ess": None, "w_largest_rhat": None})[0].startswith(
        "R-hat and ESS are undefined"
    )
    assert _chain_warnings({"w_least_ess": 90.0, "w_largest_rhat": 1.2})[0].startswith("R-hat is up to 1.200")
    assert not _chain_warnings({"w_least_ess": 90.0, "w_largest_rhat": 1.0})


def test_k_hats_are_shown_for_what_they_are():
    assert [shown(k) for k in (None, np.nan, np.inf, INFINITE, 0.5)] == ["-", "-", "inf", "inf", "0.50"]
    assert largest_k(np.array([np.nan, 0.3])) == 0.3
    assert largest_k(np.array([np.nan, np.inf])) == INFINITE
    assert largest_k(np.array([np.nan])) is None


@pytest.mark.parametrize(
    ("ks", "median", "above"), [((np.nan, np.nan), None, 0), ((np.nan, np.inf, 0.4), INFINITE, 100 / 3)]
)
def test_the_summary_keeps_undefined_k_hats_apart(ks, median, above):
    found = [KHat(t, "support", "w", k, 50.0, 60.0, 1.0) for t, k in enumerate(ks)]
    row = summary(found, [{"accuracy": 1.0, "nll": 2.0}])[0]
    assert row["k_median"] == median or row["k_90%"] == INFINITE
    assert row["above_threshold_percent"] == pytest.approx(above)
    assert row["equal_weights_percent"] == pytest.approx(100 * np.isnan(ks).mean())


def posterior_of(name, dims, dtype=float):
    shape = {"chain": 2, "draw": 5, "task": 3, "class": 2}
    array = xr.DataArray(np.zeros([shape[d] for d in dims], dtype), dims=dims)
    return Posterior({"posterior": xr.Dataset({name: array})}, {})


@pytest.mark.parametrize(
    ("posterior", "match"),
    [
        (Posterior({}, {}), r"no array w in a group posterior \(found: nothing\)"),
        (posterior_of("z", ("chain", "draw", "task")), r"no array w in a group posterior \(found: z\)"),
        (posterior_of("w", ("draw", "chain", "task")), r"but is float64 of \(draw, chain, task\)"),
        (posterior_of("w", ("chain", "draw")), r"but is float64 of \(chain, draw\)"),
        (posterior_of("w", ("chain", "draw", "task"), "U3"), "but is <U3"),
    ],
)
def test_a_file_of_other_arrays_is_one_line(posterior, match):
    with pytest.raises(InputError, match=match):
        require(posterior, Path("theirs.nc"), "posterior", "w", ("chain", "draw", "task"))


def test_a_file_with_the_arrays_passes():
    require(
        posterior_of("w", ("chain", "draw", "task", "class")), Path("ours.nc"), "posterior", "w", ("chain", "draw")
    )
