"""Eq. (5) without amortization: the Gaussian that each task's own variational inference arrives at."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.counter_rng import make_key
from pyro_sib.inference.guide import Guide
from pyro_sib.inference.guides.exact_gradient import novel_labels
from pyro_sib.inference.guides.fit import adam
from pyro_sib.inference.noise import standard_normal
from pyro_sib.inference.steps.kl_step import kl_gradient
from pyro_sib.types import Episode, Evidence, GaussianParameters

_FIT_KEY = make_key("draws inside the fit")
_LOC_RATE = 0.1
"""Adam's first rate for loc, in units of D^-1/2, a unit vector's typical coordinate."""
_LOG_SCALE_RATE = 0.1


class MeanFieldGuide(Guide):
    """Eq. (5): one Gaussian a task, fitted to the labeled examples by stochastic variational inference.

    It minimizes the mean over labeled examples of E_q[-log p(y | x, w)] + kl KL(q || p_psi) / (N D), from the class
    means, in `fit_steps` Adam steps. Phi has no parameters and nothing flows through the fit: psi learns from the
    KL at the fitted theta.
    """

    fixed_steps = 1

    def labeled(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """What the fit is to: (T, P, D) features and (T, P) labels, counted from the first novel class."""
        return evidence.support_x, evidence.support_y

    @torch.no_grad()
    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """The class means, and the fit."""
        x, y = self.labeled(evidence)
        points = self.likelihood.points(x)
        base = self.base_logsumexp(evidence, points)

        def gradient(step: int, values: Sequence[Tensor]) -> Sequence[Tensor]:
            return self.gradient(GaussianParameters(*values), evidence, points, y, base, step)

        start = self._start(evidence)
        rates = (_LOC_RATE * start.loc.shape[-1] ** -0.5, _LOG_SCALE_RATE)
        return [start, GaussianParameters(*adam(start, gradient, rates, self.settings.fit_steps))]

    def gradient(
        self,
        theta: GaussianParameters,
        evidence: Evidence,
        points: Tensor,
        y: Tensor,
        base: Tensor | None,
        step: int,
    ) -> GaussianParameters:
        """Of the objective in theta, estimated from this step's draws."""
        noise = self._noise(theta, evidence, step)
        w = theta.loc + noise
        outputs, vjp = self.likelihood.vjp(w, points)
        given = None if base is None else base.expand(*outputs.shape[:-1], 1)
        in_w = vjp(self.likelihood.output_gradient(outputs, y, given) / points.shape[-2])
        loc, log_scale = in_w.mean(0), (in_w * noise).mean(0)
        if self.weights.kl == 0:
            return GaussianParameters(loc, log_scale)
        of_kl = kl_gradient(theta, *self.prior.kl_gradient(theta, evidence.base_ids))
        per_nat = self.weights.per_nat(*loc.shape[-2:])
        return GaussianParameters(loc + per_nat * of_kl.loc, log_scale + per_nat * of_kl.log_scale)

    def _start(self, evidence: Evidence) -> GaussianParameters:
        """The class means; the prior's mean where labels are values, of which there are no class means."""
        if evidence.support_y.is_floating_point():
            shape = (evidence.tasks, evidence.ways, evidence.support_x.shape[-1])
            loc = self.prior.distribution(evidence.base_ids).mean.expand(shape)
        else:
            loc = evidence.class_means(unit(evidence.support_x))
        return GaussianParameters(loc, torch.full_like(loc, self.settings.initial_scale).log())

    def _noise(self, theta: GaussianParameters, evidence: Evidence, step: int) -> Tensor:
        """Scale * epsilon, (S, T, N, D), each draw beside its mirror image, which removes the noise of odd order.

        Without a KL the optimal q is a point: the fit then takes the mean and leaves the scale as it was.
        """
        if self.weights.kl == 0:
            return torch.zeros_like(theta.loc)[None]
        pairs = max(self.settings.step_samples, 1)
        epsilon = standard_normal(_FIT_KEY, evidence, step, pairs, theta.loc, fresh=self.training)
        return theta.log_scale.exp() * torch.cat([epsilon, -epsilon])


class MeanFieldOracleGuide(MeanFieldGuide):
    """The same fit to the queries with their labels: what the amortization gap is measured from."""

    oracle = True

    def sees(self, task: Episode | Evidence) -> Evidence:
        """The labels too."""
        return task.oracle() if isinstance(task, Episode) else task

    def labeled(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The queries."""
        return evidence.query_x, novel_labels(evidence)
