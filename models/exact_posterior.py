"""What regression has in closed form: Bayesian linear regression (Bishop 2006, section 3.3)."""

import torch
from pyro.distributions import MultivariateNormal, Normal
from torch import Tensor

from pyro_sib.models.linear_gaussian import LinearGaussian
from pyro_sib.models.prior import GaussianPrior


class ExactPosterior:
    """p(w | d) and p(d) under a Gaussian prior and a linear Gaussian likelihood; no guide can do better.

    Computed in float64, since sigma may be far below the prior's scale.

    Args:
        prior: p_psi, of one component.
        likelihood: p(y | x, w).
    """

    def __init__(self, prior: GaussianPrior, likelihood: LinearGaussian):
        self.prior, self.likelihood = prior, likelihood

    def _parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """The prior's mean and variance, each (D,), and sigma^2."""
        p = self.prior.distribution(None)
        return p.mean.double(), p.variance.double(), self.likelihood.sigma.double().square()

    def posterior(self, x: Tensor, y: Tensor) -> MultivariateNormal:
        """p(w | x, y): (T, P, D), (T, P) -> batch (T,), event (D,), correlations and all."""
        loc, variance, noise = self._parameters()
        x, y = x.double(), y.double()
        precision = x.transpose(-1, -2) @ x / noise + variance.reciprocal().diag()
        shift = (x.transpose(-1, -2) @ y[..., None]).squeeze(-1) / noise + loc / variance
        mean = torch.linalg.solve(precision, shift)
        return MultivariateNormal(mean, precision_matrix=precision)

    def predictive(self, posterior: MultivariateNormal, x: Tensor) -> Normal:
        """p(y | x, d) of each point by itself: batch (T,), (T, Q, D) -> batch (T, Q)."""
        x = x.double()
        mean = (x @ posterior.mean[..., None]).squeeze(-1)
        variance = ((x @ posterior.covariance_matrix) * x).sum(-1)
        return Normal(mean, (variance + self._parameters()[2]).sqrt())

    def log_evidence(self, x: Tensor, y: Tensor) -> Tensor:
        """The log of p(y | x) with w integrated out, the factors of eq. (3): (T, P, D), (T, P) -> (T,)."""
        loc, variance, noise = self._parameters()
        x, y = x.double(), y.double()
        covariance = (x * variance) @ x.transpose(-1, -2) + noise * torch.eye(x.shape[-2], dtype=x.dtype)
        return MultivariateNormal(x @ loc, covariance).log_prob(y)
