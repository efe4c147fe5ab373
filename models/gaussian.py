"""Gaussian priors with one component: isotropic and diagonal."""

import torch
from torch import Tensor, nn

from pyro_sib.models.prior import GaussianPrior, initial_moments


class IsotropicPrior(GaussianPrior):
    """N(loc, scale^2 I) with one learned scale.

    Args:
        features: D.
        base_weights: (B, D) unit weights to start from, or None.
    """

    def __init__(self, features: int, base_weights: Tensor | None = None):
        super().__init__(base_weights)
        loc, scale = initial_moments(base_weights, features)
        self.loc = nn.Parameter(loc)
        self.log_scale = nn.Parameter(scale.square().mean().sqrt().log())


class DiagonalPrior(GaussianPrior):
    """N(loc, diag(scale^2)), the paper's prior for the standard setting.

    Args:
        features: D.
        base_weights: (B, D) unit weights to start from, or None.
    """

    def __init__(self, features: int, base_weights: Tensor | None = None):
        super().__init__(base_weights)
        loc, scale = initial_moments(base_weights, features)
        self.loc = nn.Parameter(loc)
        self.log_scale = nn.Parameter(torch.log(scale))
