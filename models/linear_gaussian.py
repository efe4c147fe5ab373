"""p_f(y | x, w) of few-shot regression: a Gaussian about a linear function of the features (eq. 2)."""

from collections.abc import Callable

import torch
from pyro.distributions import Normal
from torch import Tensor, nn

from pyro_sib.types import Evidence, GaussianParameters


class LinearGaussian(nn.Module):
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

    def logits(self, w: Tensor, query_x: Tensor, w_base: Tensor | None = None) -> Tensor:
        """The means w . f(x): (..., T, 1, D), (T, Q, D) -> (..., T, Q, 1).

        Raises:
            ValueError: base weights, which regression has none of.
        """
        if w_base is not None:
            raise ValueError("regression has no base classes; pass tasks without joint base classes")
        return query_x @ w.transpose(-1, -2)

    def distribution(self, outputs: Tensor) -> Normal:
        """N(outputs, sigma^2), batch (..., T, Q)."""
        return Normal(outputs.squeeze(-1), self.sigma)

    def points(self, x: Tensor) -> Tensor:
        """The features as they are."""
        return x

    def query_points(self, evidence: Evidence) -> Tensor:
        """The queries' features, as constants."""
        return evidence.query_x.detach()

    def step_outputs(self, w: Tensor, points: Tensor) -> Tensor:
        """The means, (..., T, P, 1)."""
        return self.logits(w, points)

    def vjp(self, w: Tensor, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The means, and gradients in them -> in w: the sum over points of gradient . f(x), (..., T, 1, D)."""
        return self.step_outputs(w, points), lambda output_gradient: output_gradient.transpose(-1, -2) @ points

    def output_gradient(self, outputs: Tensor, y: Tensor, base: Tensor | None = None) -> Tensor:
        """(outputs - y) / sigma^2, (..., T, P, 1); sigma is a constant (footnote 3)."""
        return (outputs - y[..., None]) / self.sigma.detach().square()

    def predictive(self, theta: GaussianParameters, x: Tensor) -> Normal:
        """The integral of p(y | x, w) over w ~ N(loc, scale^2), in closed form: batch (T, Q)."""
        mean = self.logits(theta.loc, x).squeeze(-1)
        variance = self.logits((2 * theta.log_scale).exp(), x.square()).squeeze(-1)
        return Normal(mean, (variance + self.sigma.square()).sqrt())
