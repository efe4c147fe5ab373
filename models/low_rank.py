"""A Gaussian prior whose dimensions are correlated along a few directions."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Independent, LowRankMultivariateNormal, Normal, register_kl

from pyro_sib.models.prior import PretrainedBasePrior, initial_moments
from pyro_sib.types import GaussianParameters

RANK = 8
"""Directions of correlation, r."""


class LowRankPrior(PretrainedBasePrior):
    """N(loc, diag(s^2) + U U^T) with U of rank 8.

    U = diag(s) V is learned as V, free of units. By Woodbury's identity the precision is then
    diag(1/s) (I - V (I + V^T V)^-1 V^T) diag(1/s), so that nothing of size D x D arises.

    Args:
        features: D.
        base_weights: (B, D) unit weights to start from, or None.
    """

    def __init__(self, features: int, base_weights: Tensor | None = None):
        super().__init__(base_weights)
        loc, scale = initial_moments(base_weights, features)
        self.loc = nn.Parameter(loc)
        self.log_scale = nn.Parameter(torch.log(scale))
        # At V = 0 the gradient in V is 0.
        self.factor = nn.Parameter(0.1 * torch.randn(features, min(RANK, features), dtype=loc.dtype))

    def distribution(self, base_ids: Tensor | None) -> dist.TorchDistribution:
        """The same for each class of each task."""
        scale = self.log_scale.exp()
        cov_factor = scale[:, None] * self.factor
        return dist.LowRankMultivariateNormal(self.loc, cov_factor, scale.square(), validate_args=False)

    def kl_gradient(
        self, theta: GaussianParameters, base_ids: Tensor | None, detach: bool = False
    ) -> tuple[Tensor, Tensor]:
        """With the precision L: P = diag(L) and m = P theta.loc - L (theta.loc - loc), both exact.

        The implicit step takes P alone at its end point; the rest of L stays explicit.
        """
        loc, log_scale, factor = (p.detach() if detach else p for p in (self.loc, self.log_scale, self.factor))
        scale = log_scale.exp()
        capacitance = torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device) + factor.T @ factor
        shrunk = torch.linalg.solve(capacitance, factor.T)
        precision = (1 - (factor * shrunk.T).sum(-1)) / scale.square()
        offset = (theta.loc - loc) / scale
        gradient = (offset - offset @ factor @ shrunk) / scale
        return precision, precision * theta.loc - gradient


@register_kl(Independent, LowRankMultivariateNormal)
def _kl_low_rank(q: Independent, p: LowRankMultivariateNormal) -> Tensor:
    """Exact: -H(q) - log p(q's mean) + tr(precision of p . covariance of q) / 2."""
    if not isinstance(q.base_dist, Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError("the closed form is for diagonal Gaussians with one event dimension")
    trace = (_precision_diagonal(p) * q.base_dist.variance).sum(-1)
    return 0.5 * trace - p.log_prob(q.base_dist.mean) - q.entropy()


def _precision_diagonal(p: LowRankMultivariateNormal) -> Tensor:
    """Of (diag(d) + U U^T)^-1: 1/d minus the squares of C^-1/2 U^T / d, C = I + U^T diag(1/d) U."""
    weighted = p.cov_factor / p.cov_diag[..., None]
    capacitance = p.cov_factor.mT @ weighted
    capacitance = capacitance + torch.eye(capacitance.shape[-1], dtype=weighted.dtype, device=weighted.device)
    root = torch.linalg.solve_triangular(torch.linalg.cholesky(capacitance), weighted.mT, upper=False)
    return p.cov_diag.reciprocal() - root.square().sum(-2)
