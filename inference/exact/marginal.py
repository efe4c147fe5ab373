"""Gaussian densities of weights on the subspace that a task's features span, and draws of the rest given it."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key, normal, uniform
from pyro_sib.types import GaussianParameters

_COMPLETION_KEY = make_key("draws of the complement")


class Components(NamedTuple):
    """An equal mixture of C Gaussians N(loc_c, diag(variance_c) + F F^T) over one class's weights, float64."""

    locs: Tensor
    """(C, D)."""
    variances: Tensor
    """(C, D)."""
    factor: Tensor | None = None
    """F, (D, R), or None for a diagonal covariance."""


def span(points: Tensor) -> Tensor:
    """An orthonormal basis of what the points span, (P, D) -> (D, r), r <= min(P, D), float64."""
    left, size, _ = torch.linalg.svd(points.double().T, full_matrices=False)
    return left[:, size > 1e-6 * size[0]]


class Marginal:
    """P(a) of a = A^T w, exact, and p(w | a), where p(w) is a mixture of Gaussians.

    Args:
        components: of p(w).
        basis: A, (D, r), orthonormal.
    """

    def __init__(self, components: Components, basis: Tensor):
        self.components, self.basis = components, basis
        self.means = components.locs @ basis
        self.covariance_a = self._times_covariance(basis.expand(len(components.locs), -1, -1))
        self.cholesky = torch.linalg.cholesky(basis.T @ self.covariance_a)

    def _times_covariance(self, matrix: Tensor) -> Tensor:
        """Each component's covariance times a matrix, (C, D, r)."""
        product = self.components.variances[..., None] * matrix
        factor = self.components.factor
        return product if factor is None else product + factor @ (factor.T @ matrix)

    def _log_components(self, a: Tensor) -> Tensor:
        """(..., r) -> (..., C) log densities."""
        difference = (a[..., None, :] - self.means).movedim(-2, 0).flatten(1, -2)
        scaled = torch.linalg.solve_triangular(self.cholesky, difference.transpose(1, 2), upper=False)
        log_norm = self.cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * a.shape[-1] * math.log(
            2 * math.pi
        )
        return (-0.5 * scaled.square().sum(1) - log_norm[:, None]).movedim(0, -1).view(*a.shape[:-1], -1)

    def log_prob(self, a: Tensor) -> Tensor:
        """(..., r) -> (...), nats."""
        return torch.logsumexp(self._log_components(a), -1) - math.log(len(self.means))

    def complete(self, a: Tensor, task: Tensor, stream: int) -> Tensor:
        """Draw w ~ p(w | A^T w = a), by Matheron's rule: a draw of p, moved by its regression on A^T w.

        Args:
            a: (S, N, r).
            task: (1,) the task's number, from which with `stream` the draws derive.
            stream: keeps several draws for the same `a` apart.

        Returns:
            (S, N, D).
        """
        flat, width = a.flatten(0, 1), self.components.locs.shape[1]
        shares = self._log_components(flat).softmax(-1)
        u = uniform(_COMPLETION_KEY, task, 2 * stream + 1, len(flat))[0]
        picks = (shares.cumsum(-1) < u[:, None])[:, :-1].sum(-1)
        factor = self.components.factor
        rank = 0 if factor is None else factor.shape[1]
        noise = (
            normal(_COMPLETION_KEY, task, 2 * stream, len(flat) * (width + rank))[0].double().view(len(flat), -1)
        )
        w = self.components.locs[picks] + self.components.variances[picks].sqrt() * noise[:, :width]
        if factor is not None:
            w = w + noise[:, width:] @ factor.T
        missing = flat - w @ self.basis
        for pick in picks.unique().tolist():
            rows = picks == pick
            solved = torch.cholesky_solve(missing[rows].T, self.cholesky[pick])
            w[rows] += (self.covariance_a[pick] @ solved).T
        return w.view(*a.shape[:2], width)


def log_q_on_span(theta: GaussianParameters, basis: Tensor, a: Tensor) -> Tensor:
    """Log q(a) of one task's N classes together, exact: theta (N, D) each, a (S, N, r) -> (S,)."""
    total = torch.zeros(len(a), dtype=torch.float64)
    for n, (loc, log_scale) in enumerate(zip(theta.loc, theta.log_scale, strict=True)):
        q = Components(loc.double()[None], (2 * log_scale).double().exp()[None])
        total += Marginal(q, basis).log_prob(a[:, n])
    return total
