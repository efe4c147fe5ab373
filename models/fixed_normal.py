"""The prior that learns nothing: the standard normal."""

import torch
from torch import Tensor

from pyro_sib.models.prior import GaussianPrior


class FixedNormalPrior(GaussianPrior):
    """N(0, I), with no parameters.

    The cosine predictor sees directions alone, and to it this is the uniform prior over them. Its weight vectors
    have norm sqrt(D), however, where q starts near 1: a sizable KL weight first of all widens q.

    Args:
        features: D.
        base_weights: (B, D) unit weights of the base classes, or None.
    """

    def __init__(self, features: int, base_weights: Tensor | None = None):
        super().__init__(base_weights)
        # Not persistent: a checkpoint holds what was learned or measured.
        self.register_buffer("loc", torch.zeros(features), persistent=False)
        self.register_buffer("log_scale", torch.zeros(features), persistent=False)
