"""The one place that knows ArviZ 0.23 (InferenceData) from ArviZ 1 (DataTree)."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pyro_sib.errors import InputError

Array = NDArray[Any]
DATA_TREES = int(az.__version__.split(".")[0]) >= 1
"""Whether this is ArviZ 1."""


@dataclass(frozen=True)
class Posterior:
    """A file of ArviZ's groups, its arrays read when they are asked for.

    Attributes:
        groups: by name.
        attributes: of the whole file.
    """

    groups: Mapping[str, xr.Dataset]
    attributes: Mapping[str, Any]

    def values(self, group: str, name: str, **where: int | slice) -> Array:
        """An array of a group, or the part of it at those positions of its dimensions."""
        values: Array = self.groups[group][name].isel(where).values
        return values


@contextmanager
def open_posterior(path: Path) -> Iterator[Posterior]:
    """The file's groups, as either line of ArviZ opens them.

    Raises:
        InputError: it is missing or no such file.
    """
    try:
        # Of a path such as a::b, xarray takes a for a protocol.
        opened: Any = az.from_netcdf(str(path.absolute()))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is no readable NetCDF file ({error}); write it again") from None
    try:
        if DATA_TREES:
            groups = {name: node.to_dataset() for name, node in opened.children.items()}
        else:
            groups = {name: opened[name] for name in opened.groups()}
        yield Posterior(groups, dict(opened.attrs))
    finally:
        opened.close()


def psis(log_weights: Array) -> tuple[Array, Array]:
    """Pareto smoothed importance sampling (Vehtari et al. 2024) of independent draws.

    Args:
        log_weights: (..., S).

    Returns:
        (..., S) smoothed log weights, normalized, and (...) k-hat, the shape of the tail.
    """
    flat = np.asarray(log_weights, dtype=np.float64).reshape(-1, log_weights.shape[-1])
    named = xr.DataArray(flat, dims=("row", "__sample__"))
    # A tail with k far above 1 overflows inside the Pareto quantiles, and is cut at the largest raw weight.
    with np.errstate(over="ignore"):
        if DATA_TREES:
            # It takes what weights are one over: the log likelihood, in leave-one-out.
            smoothed, k = (-named).azstats.psislw(dim="__sample__", r_eff=1.0)
        else:
            smoothed, k = az.psislw(named)
    smoothed = smoothed.transpose("row", "__sample__").values
    # The two lines agree in this up to rounding; the sum is made exactly one.
    smoothed = smoothed - np.logaddexp.reduce(smoothed, -1)[..., None]
    return smoothed.reshape(log_weights.shape), np.asarray(k.values).reshape(log_weights.shape[:-1])


@dataclass(frozen=True)
class LeaveOneOut:
    """PSIS-LOO (Vehtari, Gelman & Gabry 2017).

    Attributes:
        elpd: sum over observations of log p(y_i | the others), nats.
        se: its standard error.
        p: effective number of parameters.
        pointwise: each observation's part, in its own shape.
        k: each observation's k-hat.
    """

    elpd: float
    se: float
    p: float
    pointwise: Array
    k: Array


def leave_one_out(log_likelihood: xr.Dataset) -> LeaveOneOut:
    """Of the array `y`, (chain, draw, ...), of independent draws."""
    data: Any = _as_arviz({"log_likelihood": log_likelihood.astype(np.float64)})
    with warnings.catch_warnings():
        # What it warns of is in `k`, and told to the user in our words.
        warnings.simplefilter("ignore")
        loo: Any = az.loo(data, pointwise=True, var_name="y", reff=1.0)
    elpd, p, pointwise = (loo.elpd, loo.p, loo.elpd_i) if DATA_TREES else (loo.elpd_loo, loo.p_loo, loo.loo_i)
    # Of the two lines' standard errors, ArviZ 1's: with the unbiased variance.
    se = float(np.sqrt(pointwise.size * pointwise.values.var(ddof=1)))
    return LeaveOneOut(float(elpd), se, float(p), pointwise.values, loo.pareto_k.values)


def convergence(draws: Array) -> tuple[Array, Array]:
    """Bulk ESS and rank-normalized split R-hat (Vehtari et al. 2021): (chain, draw, ...) -> (...) each."""
    if draws.ndim == 2:
        ess, rhat = convergence(draws[..., None])
        return ess[0], rhat[0]
    flat = draws.reshape(*draws.shape[:2], -1)
    data = xr.Dataset({"x": (("chain", "draw", "element"), flat)})
    found = [measure(data)["x"].values.reshape(draws.shape[2:]) for measure in (az.ess, az.rhat)]
    return found[0], found[1]


def _as_arviz(groups: Mapping[str, xr.Dataset]) -> Any:
    if DATA_TREES:
        return xr.DataTree.from_dict(dict(groups))
    return az.InferenceData(**dict[str, Any](groups))
