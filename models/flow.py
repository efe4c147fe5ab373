"""A prior beyond Gaussians (footnote 2): a diagonal Gaussian bent by affine couplings."""

import math

import pyro.distributions as dist
import torch
from pyro.distributions.transforms import AffineCoupling, AffineTransform, Permute
from torch import Tensor, nn
from torch.func import functional_call

from pyro_sib.models.prior import PretrainedBasePrior, initial_moments
from pyro_sib.types import GaussianParameters

COUPLINGS = 4
"""Each bends one half of the dimensions given the other and then turns their order round: an even number."""
HIDDEN = 32
MOST = 0.5
"""Bound of a coupling's log scales. With 2 the density fell so steeply beside the tasks' weights that the steps,
which start beside them, were thrown off (docs/design.md, "A flow's KL")."""


class Conditioner(nn.Module):
    """Shift and log scale of one half given the other, both nearly zero at first.

    Args:
        given: dimensions that condition.
        bent: dimensions that are bent.
    """

    def __init__(self, given: int, bent: int):
        super().__init__()
        self.hidden = nn.Linear(given, HIDDEN)
        self.out = nn.Linear(HIDDEN, 2 * bent)
        # Exact zeros would keep the gradient from the hidden layer.
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., given) -> two of (..., bent); smooth, for the steps differentiate it twice."""
        shift, log_scale = self.out(self.hidden(x).tanh()).chunk(2, -1)
        return shift, MOST * (log_scale / MOST).tanh()


class FlowPrior(PretrainedBasePrior):
    """w = loc + scale * f(z), z ~ N(0, I), with f of four affine couplings (Real NVP).

    Its KL has no closed form: `Trace_ELBO` and `TraceMeanField_ELBO` estimate it by q's draws. Inside the steps
    `kl_gradient` takes it at q's mean, an approximation that is exact while f is the identity.

    Args:
        features: D.
        base_weights: (B, D) unit weights to start from, or None.
    """

    reverse: Tensor

    def __init__(self, features: int, base_weights: Tensor | None = None):
        super().__init__(base_weights)
        loc, scale = initial_moments(base_weights, features)
        self.loc = nn.Parameter(loc)
        self.log_scale = nn.Parameter(torch.log(scale))
        half = features // 2
        conditioners = [Conditioner(half, features - half) for _ in range(COUPLINGS)]
        self.couplings = nn.ModuleList(AffineCoupling(half, conditioner) for conditioner in conditioners)
        self.register_buffer("reverse", torch.arange(features).flip(0), persistent=False)

    def distribution(self, base_ids: Tensor | None) -> dist.TorchDistribution:
        """The same for each class of each task."""
        turn = Permute(self.reverse, cache_size=0)
        bends = [part for coupling in self.couplings for part in (coupling, turn)]
        # Pyro's couplings remember a pair by identity, and parameters change; this transform remembers none.
        affine = AffineTransform(self.loc, self.log_scale.exp(), event_dim=1)
        base = dist.Normal(torch.zeros_like(self.loc), torch.ones_like(self.loc), validate_args=False).to_event(1)
        return dist.TransformedDistribution(base, [*bends, affine], validate_args=False)

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The log density of w, (...), and the log scale of each dimension's own path from z to w, (..., D).

        The second sums to `log |det dw/dz|`.
        """
        half = w.shape[-1] // 2
        z, own = (w - self.loc) / self.log_scale.exp(), self.log_scale.expand_as(w)
        for coupling in reversed(self.couplings):
            z, own = z.flip(-1), own.flip(-1)
            given, bent = z[..., :half], z[..., half:]
            shift, log_scale = coupling.nn(given)  # type: ignore[operator]
            z = torch.cat([given, (bent - shift) * (-log_scale).exp()], -1)
            own = own + torch.cat([torch.zeros_like(given), log_scale], -1)
        log_prob = -0.5 * z.square().sum(-1) - own.sum(-1) - 0.5 * w.shape[-1] * math.log(2 * math.pi)
        return log_prob, own

    def kl_gradient(
        self, theta: GaussianParameters, base_ids: Tensor | None, detach: bool = False
    ) -> tuple[Tensor, Tensor]:
        """At q's mean: m = P loc - g with g = -d log p / d w, exact there, and a positive P.

        P is the precision of the base carried along each dimension's own path through the couplings; its
        determinant is that of the Gaussian to which f's linearization takes the base. -d^2 log p / d w^2 itself
        need not be positive. Where f is steep P is less than the curvature, and steps with a KL weight near 1
        overshoot.
        """
        parameters = {name: p.detach() if detach else p for name, p in self.named_parameters()}
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            w = theta.loc if theta.loc.requires_grad else theta.loc.detach().requires_grad_()
            log_prob, own = functional_call(self, parameters, (w,))
            (gradient,) = torch.autograd.grad(-log_prob.sum(), w, create_graph=differentiable)
            precision = (-2 * own).exp()
        if not differentiable:
            precision = precision.detach()
        return precision, precision * theta.loc - gradient

    def scales(self, base_ids: Tensor | None) -> Tensor:
        """Of the Gaussian before it is bent."""
        return self.log_scale.exp()
