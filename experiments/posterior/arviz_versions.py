"""The one place that knows ArviZ 0.23 (InferenceData) from ArviZ 1 (DataTree)."""

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


def require(posterior: Posterior, path: Path, group: str, name: str, dims: tuple[str, ...]) -> None:
    """Refuse a file of somebody's that lacks an array of numbers, or some of its first dimensions.

    Raises:
        InputError: naming the array and what the file has.
    """
    found = posterior.groups.get(group)
    if found is None or name not in found:
        has = sorted(posterior.groups if found is None else map(str, found.data_vars))
        raise InputError(f"{path} has no array {name} in a group {group} (found: {', '.join(has) or 'nothing'})")
    array = found[name]
    if tuple(array.dims[: len(dims)]) != dims or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: {group}/{name} should be numbers of ({', '.join(dims)}, ...) but is {array.dtype} of "
            f"({', '.join(map(str, array.dims))}); write it so"
        )


def psis(log_weights: Array) -> tuple[Array, Array]:
    """Pareto smoothed importance sampling (Vehtari et al. 2024) of independent draws.

    Args:
        log_weights: (..., S).

    Returns:
        (..., S) smoothed log weights, normalized, and (...) k-hat, the shape of the tail: NaN where all weights are
        equal, so that there is no tail, and infinite where none can be fitted. A weight that is infinite or NaN
        counts as the largest there is: it takes all of the sum, and k-hat is infinite.
    """
    flat = np.asarray(log_weights, dtype=np.float64).reshape(-1, log_weights.shape[-1])
    endless: Array = np.isnan(flat) | np.isposinf(flat) | np.isneginf(flat).all(-1, keepdims=True)
    lost: Array = np.logical_or.reduce(endless, axis=-1)
    flat = np.where(lost[:, None], np.where(endless, 0.0, -np.inf), flat)
    equal: Array = np.logical_and.reduce(flat == flat[:, :1], axis=-1) & ~lost
    smoothed, k = flat.copy(), np.where(lost, np.inf, np.nan)
    if (fitted := ~lost & ~equal).any():
        smoothed[fitted], k[fitted] = _fitted(flat[fitted])
    # The two lines agree in this up to rounding; the sum is made exactly one.
    smoothed = smoothed - np.logaddexp.reduce(smoothed, -1)[..., None]
    return smoothed.reshape(log_weights.shape), k.reshape(log_weights.shape[:-1])


def _fitted(flat: Array) -> tuple[Array, Array]:
    """ArviZ's own, of (rows, S) log weights."""
    named = xr.DataArray(flat, dims=("row", "__sample__"))
    # A tail with k far above 1 overflows inside the Pareto quantiles, and is cut at the largest raw weight.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if DATA_TREES:
            # It takes what weights are one over: the log likelihood, in leave-one-out.
            smoothed, k = (-named).azstats.psislw(dim="__sample__", r_eff=1.0)
        else:
            smoothed, k = az.psislw(named)
    found = np.asarray(k.values, dtype=np.float64)
    return smoothed.transpose("row", "__sample__").values, np.where(np.isnan(found), np.inf, found)


@dataclass(frozen=True)
class LeaveOneOut:
    """PSIS-LOO (Vehtari, Gelman & Gabry 2017).

    Attributes:
        elpd: sum over observations of log p(y_i | the others), nats.
        se: its standard error; NaN of one observation.
        p: effective number of parameters.
        pointwise: each observation's part, in its own shape.
        k: each observation's k-hat; NaN where its likelihood is the same under every draw.
    """

    elpd: float
    se: float
    p: float
    pointwise: Array
    k: Array


def leave_one_out(log_likelihood: xr.Dataset) -> LeaveOneOut:
    """Of the array `y`, (chain, draw, ...), of independent draws."""
    values = log_likelihood["y"].values.astype(np.float64)
    draws = values.reshape(-1, int(np.prod(values.shape[2:]))).T
    smoothed, k = psis(-draws)
    left_out = np.logaddexp.reduce(smoothed + draws, -1)
    whole = np.logaddexp.reduce(draws, -1) - np.log(draws.shape[-1])
    with np.errstate(invalid="ignore"):
        # Of the two lines of ArviZ, the standard error of 1: with the unbiased variance.
        se = float(np.sqrt(left_out.size * left_out.var(ddof=1))) if left_out.size > 1 else float("nan")
        p = float((whole - left_out).sum())
    shape = values.shape[2:]
    return LeaveOneOut(float(left_out.sum()), se, p, left_out.reshape(shape), k.reshape(shape))


LEAST_CHAIN = 4
"""Draws of a chain below which ArviZ gives neither ESS nor R-hat."""


def convergence(draws: Array) -> tuple[Array, Array]:
    """Bulk ESS and rank-normalized split R-hat (Vehtari et al. 2021): (chain, draw, ...) -> (...) each.

    NaN where they are undefined: of what does not move, of numbers that are not finite, and of fewer than
    `LEAST_CHAIN` draws.
    """
    shape = draws.shape[2:]
    flat = draws.reshape(*draws.shape[:2], -1)
    found = np.full((2, flat.shape[-1]), np.nan)
    moves = np.isfinite(flat).all((0, 1)) & (flat != flat[:1, :1]).any((0, 1))
    if draws.shape[1] >= LEAST_CHAIN and moves.any():
        data = xr.Dataset({"x": (("chain", "draw", "element"), flat[..., moves])})
        with np.errstate(invalid="ignore", divide="ignore"):
            found[:, moves] = [measure(data)["x"].values for measure in (az.ess, az.rhat)]
    return found[0].reshape(shape), found[1].reshape(shape)
