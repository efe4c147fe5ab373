"""p_f(y | x, w) of few-shot regression: a Gaussian about a linear function of the features (eq. 2)."""

import torch
from pyro.distributions import Normal
from torch import Tensor, nn

from pyro_sib.models.linear import LinearOutputs
from pyro_sib.types import GaussianParameters


class LinearGaussian(LinearOutputs):
    """y ~ N(w . f(x), sigma^2) with one learned sigma; a task has one weight vector, N = 1.

    Args:
        sigma: the first value of the learned standard deviation.
    """

    def __init__(self, sigma: float = 1.0):
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(float(sigma)).log())

    @property
    def sigma(self) -> Tensor:
        """The standard deviation of y given w, a positive scalar."""
        return self.log_sigma.exp()

    def distribution(self, outputs: Tensor) -> Normal:
        """N(outputs, sigma^2), batch (..., T, Q)."""
        return Normal(outputs.squeeze(-1), self.sigma)

    def output_gradient(self, outputs: Tensor, y: Tensor, base: Tensor | None = None) -> Tensor:
        """(outputs - y) / sigma^2, (..., T, P, 1); sigma is a constant (footnote 3)."""
        return (outputs - y[..., None]) / self.sigma.detach().square()

    def predictive(self, theta: GaussianParameters, x: Tensor) -> Normal:
        """The integral of p(y | x, w) over w ~ N(loc, scale^2), in closed form: batch (T, Q)."""
        mean = self.logits(theta.loc, x).squeeze(-1)
        variance = self.logits((2 * theta.log_scale).exp(), x.square()).squeeze(-1)
        return Normal(mean, (variance + self.sigma.square()).sqrt())
