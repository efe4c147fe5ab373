"""The mixture prior of the LwoF setting: one diagonal Gaussian per base class, equal mixing."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor, nn
from torch.distributions import Independent, kl_divergence, register_kl

from pyro_sib.errors import InputError, argument
from pyro_sib.models.prior import Prior
from pyro_sib.normal import Normal
from pyro_sib.types import GaussianParameters

FIRST_WIDTH = 0.1
"""First r_c over first s_c."""


class GaussianMixture(dist.TorchDistribution):
    """Equal mixture of diagonal Gaussians, of all C components or of those that are known.

    Args:
        locs: (..., C, D) component means.
        scales: (..., C, D) component standard deviations.
        known: (..., C) which components take part, at least one; all of them unless given. Its batch shape is the
            mixture's, so that one table of components serves tasks that know different ones.
    """

    arg_constraints = {"locs": constraints.real, "scales": constraints.positive}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self, locs: Tensor, scales: Tensor, known: Tensor | None = None, validate_args: bool | None = None
    ):
        if known is None:
            known = torch.ones(locs.shape[:-1], dtype=torch.bool, device=locs.device)
        self.locs, self.scales, self.known = locs, scales, known
        super().__init__(known.shape[:-1], locs.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: object = None) -> "GaussianMixture":
        """The same mixture with a larger batch shape."""
        known = self.known.expand(*batch_shape, -1)
        return GaussianMixture(self.locs, self.scales, known, validate_args=False)

    def mean_log(self, log_terms: Tensor) -> Tensor:
        """Log of the mean over the known components of exp(log_terms): (..., C) -> (...)."""
        kept = log_terms.masked_fill(~self.known, -math.inf)
        return torch.logsumexp(kept, -1) - self.known.sum(-1).to(log_terms.dtype).log()

    def log_prob(self, value: Tensor) -> Tensor:
        """(..., D) -> (...)."""
        quadratic = _quadratic(value, None, self.locs, self.scales)
        log_norm = self.scales.log().sum(-1) + 0.5 * value.shape[-1] * math.log(2 * math.pi)
        return self.mean_log(-0.5 * quadratic - log_norm)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of shape sample_shape + batch + (D,)."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            chances = torch.rand(*shape[:-1], self.known.shape[-1], device=self.locs.device)
            pick = chances.masked_fill(~self.known, -1.0).argmax(-1)[..., None, None]
            pick = pick.expand(*shape[:-1], 1, shape[-1])
            full = (*shape[:-1], *self.locs.shape[-2:])
            loc, scale = (part.expand(full).gather(-2, pick).squeeze(-2) for part in (self.locs, self.scales))
            return torch.normal(loc, scale)


def _quadratic(loc: Tensor, variance: Tensor | None, locs: Tensor, scales: Tensor) -> Tensor:
    """Sum over D of ((loc - locs_c)^2 + variance) / scales_c^2: (..., D), (..., C, D) -> (..., C).

    Expanded into matrix products about the components' mean (which keeps the cancellation harmless), so that
    nothing of shape (..., C, D) per query arises. Without a variance it is zero.
    """
    precision = scales.square().reciprocal()
    # A constant, for it changes nothing but the rounding.
    centre = locs.detach().mean(-2)
    x, mu = loc - centre, locs - centre[..., None, :]
    squares = x.square() if variance is None else x.square() + variance
    both = torch.cat([squares, -2 * x], -1), torch.cat([precision, precision * mu], -1)
    product = both[0] @ both[1].mT if locs.dim() == 2 else (both[0][..., None, :] @ both[1].mT).squeeze(-2)
    return product + (precision * mu.square()).sum(-1)


def component_kls(loc: Tensor, scale: Tensor, locs: Tensor, scales: Tensor) -> Tensor:
    """KL(N(loc, scale^2) || component c): (..., D), (..., C, D) -> (..., C)."""
    log_ratio = scales.log().sum(-1) - scale.log().sum(-1, keepdim=True)
    return 0.5 * (_quadratic(loc, scale.square(), locs, scales) - loc.shape[-1]) + log_ratio


@register_kl(Independent, GaussianMixture)
def _kl_gaussian_mixture(q: Independent, p: GaussianMixture) -> Tensor:
    """Upper bound -log sum_c pi_c exp(-KL(q || p_c)) (Hershey & Olsen 2007); exact for one component."""
    if not isinstance(q.base_dist, torch.distributions.Normal) or q.reinterpreted_batch_ndims != 1:
        raise NotImplementedError("the bound is for diagonal Gaussians with one event dimension")
    return -p.mean_log(-component_kls(q.base_dist.loc, q.base_dist.scale, p.locs, p.scales))


class MixturePrior(Prior):
    """One component N(mu_c, s_c^2) per base class; a task sees the components of its own base_ids only.

    A component is the prior of any class's weight vector. A base class's own one, w_c, has a posterior about its
    mean, q_c = N(mu_c, r_c^2): s_c says how far a new class may lie from class c, r_c how well w_c is known.

    Args:
        features: D.
        base_weights: (B, D) unit base class weights, the first mu_c.

    Raises:
        InputError: no base classes.
    """

    needs_base_classes = True

    def __init__(self, features: int, base_weights: Tensor | None = None):
        super().__init__()
        if base_weights is None:
            raise InputError(
                f"{argument('prior')} mixture has one component per base class, but there are no base classes; "
                f"give base (train) data, or choose {argument('prior')} diagonal"
            )
        size = features**-0.5
        self.locs = nn.Parameter(base_weights.clone())
        self.log_scales = nn.Parameter(torch.full_like(base_weights, size).log())
        self.base_log_scales = nn.Parameter(torch.full_like(base_weights, FIRST_WIDTH * size).log())

    def _known(self, base_ids: Tensor | None) -> Tensor:
        """Which components each task knows, (T, 1, B)."""
        assert base_ids is not None, "a mixture prior needs the tasks' base_ids"
        known = torch.zeros(len(base_ids), self.base_classes, dtype=torch.bool, device=base_ids.device)
        return known.scatter_(1, base_ids, True)[:, None]

    def distribution(self, base_ids: Tensor | None) -> dist.TorchDistribution:
        """Batch shape (T, 1)."""
        return GaussianMixture(self.locs, self.log_scales.exp(), self._known(base_ids), validate_args=False)

    def kl_gradient(
        self, theta: GaussianParameters, base_ids: Tensor | None, detach: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Of the upper bound: components' precisions weighted by their responsibilities."""
        locs, log_scales = (p.detach() if detach else p for p in (self.locs, self.log_scales))
        scales = log_scales.exp()
        kls = component_kls(theta.loc, theta.expanded().log_scale.exp(), locs, scales)
        weights = torch.softmax((-kls).masked_fill(~self._known(base_ids), -math.inf), -1)
        precision = scales.square().reciprocal()
        return weights @ precision, weights @ (precision * locs)

    def scales(self, base_ids: Tensor | None) -> Tensor:
        """The components' standard deviations s_c."""
        assert base_ids is not None, "a mixture prior needs the tasks' base_ids"
        return self.log_scales[base_ids].exp()[:, None]

    @property
    def base_classes(self) -> int:
        """B."""
        return len(self.locs)

    @torch.no_grad()
    def base_kl(self) -> float:
        """Sum over c of KL(q_c || p_c)."""
        ids = torch.arange(self.base_classes, device=self.locs.device)[None]
        return float(kl_divergence(self.base_posterior(ids), self.base_distribution(ids)).sum())

    def base_locs(self, base_ids: Tensor) -> Tensor:
        """The components' means mu_c."""
        return self.locs[base_ids]

    def base_distribution(self, base_ids: Tensor) -> dist.TorchDistribution:
        """Each base class's own component p_c."""
        return Normal(self.locs[base_ids], self.log_scales[base_ids].exp(), validate_args=False).to_event(1)

    def base_posterior(self, base_ids: Tensor) -> dist.TorchDistribution:
        """Each base class's own posterior q_c = N(mu_c, r_c^2)."""
        scale = self.base_log_scales[base_ids].exp()
        return Normal(self.base_locs(base_ids), scale, validate_args=False).to_event(1)
