"""The posterior of a task's weights given labels, as a density that a sampler can take."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from pyro_sib.inference.steps.kl_step import kl_gradient
from pyro_sib.types import Episode, GaussianParameters, LikelihoodLike, PriorLike

_POINT = -30.0
"""Log of a standard deviation that is as good as none."""


@dataclass(frozen=True)
class TaskPosterior:
    """p(w | x, y) of T tasks, proportional to p_psi(w) times the power `power` of the product of p(y | x, w).

    The literal posterior has power 1. The objective has another one in mind: with P observed labels,
    E_q[(1 / P) sum log p] - c KL(q || p_psi), c = kl / (N D), is c times the ELBO of the model whose likelihood is
    raised to 1 / (P c) (`objective_power`), so that is the posterior which the best q approximates.

    The cosine likelihood depends on each w_n through its direction alone. Hence p(|w_n| | direction, y) is the
    prior's p(|w_n| | direction): labels say nothing of the norm beyond what the direction says of it, and under an
    improper flat prior there would be no posterior. Under a Gaussian prior of many dimensions the norm hardly
    varies (by about |w| / sqrt(2 D)), so there is neither a funnel nor a ridge for NUTS to cross; the density
    is not differentiable at w = 0, which has next to no mass there, but does in two or three dimensions
    under a prior about zero, where steps into it diverge. Labels bind w only in the span of the points; across it
    the posterior is nearly the prior, whose D - P dimensions still count: a draw's cosine with any x is its
    part along x over the norm of all of it, so the width of the prior across the span shrinks the logits.

    Attributes:
        prior: p_psi.
        likelihood: p_f.
        episode: the observed points, as queries with their labels.
        power: of the likelihood.
        w_base: (T, B', D) the base classes' weights on which the posterior is conditioned, in joint tasks.
    """

    prior: PriorLike
    likelihood: LikelihoodLike
    episode: Episode
    power: float = 1.0
    w_base: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, N, D)."""
        evidence = self.episode.evidence
        return evidence.tasks, evidence.ways, evidence.query_x.shape[-1]

    @cached_property
    def _base_outputs(self) -> Tensor | None:
        """(T, P, B') of the points."""
        if self.w_base is None:
            return None
        return self.likelihood.step_outputs(self.w_base, self.likelihood.query_points(self.episode.evidence))

    def log_likelihood(self, w: Tensor) -> Tensor:
        """Sum over points of log p(y | x, w), without the power: (..., T, N, D) -> (..., T)."""
        points = self.likelihood.query_points(self.episode.evidence)
        return self._log_likelihood(self.likelihood.step_outputs(w, points))

    def _log_likelihood(self, outputs: Tensor) -> Tensor:
        return self.likelihood.distribution(self.all_outputs(outputs)).log_prob(self.episode.query_y).sum(-1)

    def all_outputs(self, outputs: Tensor) -> Tensor:
        """Those of all classes from those of the novel ones: (..., T, P, N) -> (..., T, P, [B' +] N)."""
        base = self._base_outputs
        return outputs if base is None else torch.cat([base.expand(*outputs.shape[:-1], -1), outputs], -1)

    def output_gradient(self, outputs: Tensor) -> Tensor:
        """Of -log p(y | outputs) in the novel classes' outputs, (..., T, P, N)."""
        base, y = self._base_outputs, self.episode.query_y
        if base is None:
            return self.likelihood.output_gradient(outputs, y)
        total = base.logsumexp(-1, keepdim=True).expand(*outputs.shape[:-1], 1)
        return self.likelihood.output_gradient(outputs, y - base.shape[-1], total)

    def log_density(self, w: Tensor) -> Tensor:
        """Log p_psi(w) + power * log p(y | x, w), (..., T, N, D) -> (..., T); its integral is the evidence."""
        prior = self.prior.distribution(self.episode.evidence.base_ids).log_prob(w).sum(-1)
        return prior + self.power * self.log_likelihood(w)

    def log_density_and_gradient(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The log density, (..., T), and its gradient in w, (..., T, N, D), by the closed forms of the steps.

        The gradient of KL(q || p_psi) in q's mean is -d log p_psi / d w where q is a point.
        """
        evidence = self.episode.evidence
        points = self.likelihood.query_points(evidence)
        outputs, vjp = self.likelihood.vjp(w, points)
        prior = self.prior.distribution(evidence.base_ids).log_prob(w).sum(-1)
        value = prior + self.power * self._log_likelihood(outputs)
        pull = vjp(self.output_gradient(outputs))
        point = GaussianParameters(w, w.new_full((1,), _POINT))
        of_kl = kl_gradient(point, *self.prior.kl_gradient(point, evidence.base_ids, detach=True))
        return value, -of_kl.loc - self.power * pull


def given_support(episode: Episode) -> Episode:
    """The labeled examples in the place of the queries: what the model is conditioned on without an oracle."""
    evidence, ids = episode.evidence, episode.evidence.joint_base_ids
    labels = evidence.support_y + (0 if ids is None else ids.shape[1])
    return Episode(replace(evidence, query_x=evidence.support_x), labels)
