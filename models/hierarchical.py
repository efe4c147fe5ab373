"""Eq. (1) in full: psi is latent under a hyper-prior, with a variational posterior of its own."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_sib.models.prior import GaussianPrior, initial_moments


class HierarchicalPrior(GaussianPrior):
    """N(loc, diag(scale^2)) with psi = (loc, log scale) latent.

    Sites, both (D,) and shared by all tasks: `psi_loc` ~ N(0, 1/D), for unit weights have entries of that size,
    and `psi_log_scale` ~ N(-log(D) / 2, 1). q(psi) is a diagonal Gaussian whose means are the parameters `loc` and
    `log_scale`; whatever draws no psi (the steps, evaluation) has it there.

    Args:
        features: D.
        base_weights: (B, D) unit weights to start q(psi) from, or None.
    """

    def __init__(self, features: int, base_weights: Tensor | None = None):
        super().__init__(base_weights)
        loc, scale = initial_moments(base_weights, features)
        self.loc = nn.Parameter(loc)
        self.log_scale = nn.Parameter(torch.log(scale))
        self.loc_log_scale = nn.Parameter(torch.log(0.1 * scale))
        self.log_scale_log_scale = nn.Parameter(torch.full_like(scale, 0.1).log())

    def with_psi_from_hyper_prior(self) -> GaussianPrior:
        """Draw psi ~ p(psi)."""
        size = self.loc.shape[0] ** -0.5
        zeros, ones = torch.zeros_like(self.loc), torch.ones_like(self.loc)
        return self._at(_normal(zeros, size * ones), _normal(math.log(size) * ones, ones))

    def with_psi_from_posterior(self) -> GaussianPrior:
        """Draw psi ~ q(psi)."""
        return self._at(
            _normal(self.loc, self.loc_log_scale.exp()), _normal(self.log_scale, self.log_scale_log_scale.exp())
        )

    def _at(self, loc: dist.TorchDistribution, log_scale: dist.TorchDistribution) -> GaussianPrior:
        return PriorAt(pyro.sample("psi_loc", loc), pyro.sample("psi_log_scale", log_scale), self.base)


class PriorAt(GaussianPrior):
    """p(w | psi) at one psi.

    Args:
        loc: (..., D).
        log_scale: (..., D).
        base_weights: (B, D) unit base class weights, or None.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, base_weights: Tensor | None):
        super().__init__(base_weights)
        self.loc, self.log_scale = loc, log_scale


def _normal(loc: Tensor, scale: Tensor) -> dist.TorchDistribution:
    return dist.Normal(loc, scale, validate_args=False).to_event(1)
