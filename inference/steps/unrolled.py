"""What the guides of K unrolled steps share (eq. 7, 8 and 9): they differ in what stands for d loss / d logits."""

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_sib.counter_rng import make_key
from pyro_sib.inference.guide import Guide
from pyro_sib.inference.initializers import make_initializer
from pyro_sib.inference.noise import standard_normal
from pyro_sib.inference.steps.kl_step import implicit_loc, kl_gradient, relaxed_log_scale
from pyro_sib.inference.steps.psi_taps import PsiEnters, Taps, constant
from pyro_sib.types import Evidence, GaussianParameters, PriorLike

_STEP_KEY = make_key("draws inside the steps")


class Points(NamedTuple):
    """What the steps look at, the same in each step."""

    x: Tensor
    """(T, P, D), as `LikelihoodLike.points` gives them."""
    base: Tensor | None
    """(T, P, 1) logsumexp of the base logits, in joint tasks."""
    labeled: "Points | None" = None
    """The labeled examples, where the steps look at them besides."""


Curvature = Callable[[GaussianParameters], tuple[Tensor, ...]]
"""theta -> precision and shift of the KL, as `PriorLike.kl_gradient` gives them."""


class UnrolledGuide(Guide):
    """q with parameters theta^K; theta^{k+1} = theta^k - eta (d loss / d theta + kl d KL / d theta) (eq. 9)."""

    takes_initializer = True
    steps_on_queries = True
    """Whether the loss inside the steps is over the queries; over the labeled examples otherwise."""
    kl_in_steps = True
    """Whether the steps descend the KL as well."""

    def build(self) -> None:
        """Make the parts of its own."""
        super().build()
        self.initializer = make_initializer(
            self.settings.initializer, self.form, self.prior, self.settings.initial_scale
        )
        if self.settings.steps:
            log_step = torch.full((self.settings.steps,), float(self.settings.step_size)).log()
            self.log_step_size = nn.Parameter(log_step, requires_grad=self.settings.learn_step_size)

    @property
    def _descends_kl(self) -> bool:
        """Whether the KL is a part of the steps' objective."""
        return self.kl_in_steps and self.weights.kl > 0

    @abstractmethod
    def output_gradient(self, outputs: Tensor, base: Tensor | None, evidence: Evidence) -> Tensor:
        """What stands for d loss / d outputs.

        Args:
            outputs: (..., T, P, N) of the P points that the steps look at.
            base: (..., T, P, 1) logsumexp of the base logits, in joint tasks.
            evidence: the tasks.
        """

    def gradient(self, w: Tensor, points: Points, evidence: Evidence, k: int) -> Tensor:
        """Step k's gradient of the loss at w, (..., T, N, D): eq. (9)'s mean of xi times d outputs / d w."""
        outputs, vjp = self.likelihood.vjp(w, points.x)
        base = None if points.base is None else points.base.expand(*outputs.shape[:-1], 1)
        return vjp(self.output_gradient(outputs, base, evidence) / points.x.shape[-2])

    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """theta^0 .. theta^K; psi is a constant inside the steps."""
        return self.unroll(evidence, constant)

    def fit(self, evidence: Evidence, prior: PriorLike) -> tuple[GaussianParameters, Tensor | None]:
        """theta^K with psi a constant, and the way of the KL's gradient to psi through the steps.

        That is d KL / d theta^K . d theta^K / d psi (Algorithm 1, line 10), with phi constant. The likelihood must
        not go the same way, so it is taken here, at once. The steps have a latent psi at its mean.
        """
        learns = self.training and torch.is_grad_enabled() and self.settings.psi_through_steps
        if not (learns and self.settings.steps and self._descends_kl):
            return super().fit(evidence, prior)
        taps = Taps()
        theta = self.unroll(evidence, taps)[-1]
        route = taps.carry(theta, _kl_cotangent(prior, theta, evidence))
        return theta, ((route - route.detach()) / evidence.tasks).expand(evidence.tasks)

    def unroll(self, evidence: Evidence, psi: PsiEnters) -> list[GaussianParameters]:
        """theta^0 .. theta^K by eq. (9).

        Args:
            evidence: the tasks.
            psi: how psi enters the steps.
        """
        thetas = [self.initializer(evidence)]
        if self.settings.steps:
            points, curvature = self.look(evidence, psi), self._curvature(evidence, psi, thetas[0])
            for k, step_size in enumerate(self.log_step_size.exp().unbind()):
                w, noise = self._draw(thetas[-1], evidence, k)
                gradient = self.gradient(w, points, evidence, k)
                thetas.append(self._step(thetas[-1], step_size, gradient, noise, curvature))
        return [theta.expanded() for theta in thetas]

    def look(self, evidence: Evidence, psi: PsiEnters) -> Points:
        """What the steps look at."""
        return self.points(evidence, self.steps_on_queries, psi)

    def _draw(self, theta: GaussianParameters, evidence: Evidence, k: int) -> tuple[Tensor, Tensor | None]:
        """w(theta, epsilon), (S, T, N, D), and scale * epsilon; the mean and None where eq. (9) is taken there."""
        samples = self.settings.step_samples
        if not samples:
            return theta.loc, None
        epsilon = standard_normal(_STEP_KEY, evidence, k, samples, theta.loc, fresh=self.training)
        noise = theta.log_scale.exp() * epsilon
        return theta.loc + noise, noise

    def _step(
        self,
        theta: GaussianParameters,
        step_size: Tensor,
        gradient: Tensor,
        noise: Tensor | None,
        curvature: Curvature | None,
    ) -> GaussianParameters:
        """theta^{k+1} by eq. (9): down the loss, then down the KL, explicitly or implicitly (`kl_step`)."""
        loc, log_scale = theta
        if noise is not None:
            # d w / d loc is 1 and d w / d log_scale is scale * epsilon.
            gradient, of_log_scale = gradient.mean(0), (gradient * noise).mean(0)
            log_scale = log_scale - step_size * of_log_scale
        loc = loc - step_size * gradient
        if curvature is None:
            return GaussianParameters(loc, log_scale)
        (precision, shift), pull = curvature(theta), step_size * self.weights.per_nat(*loc.shape[-2:])
        if self.settings.kl_step == "implicit":
            loc = implicit_loc(loc, pull, precision, shift)
            return GaussianParameters(loc, relaxed_log_scale(log_scale, pull, precision))
        of_kl = kl_gradient(theta, precision, shift)
        return GaussianParameters(loc - pull * of_kl.loc, log_scale - pull * of_kl.log_scale)

    def _curvature(self, evidence: Evidence, psi: PsiEnters, start: GaussianParameters) -> Curvature | None:
        """The KL's precision and shift in the steps; None where they leave the KL out."""
        if not self._descends_kl:
            return None

        def of(*theta: Tensor, detach: bool) -> tuple[Tensor, ...]:
            return self.prior.kl_gradient(GaussianParameters(*theta), evidence.base_ids, detach)

        if self.prior.quadratic:
            everywhere = psi(of, *start)
            return lambda theta: everywhere
        return lambda theta: psi(of, *theta)

    def points(self, evidence: Evidence, queries: bool, psi: PsiEnters) -> Points:
        """The queries, or else the labeled examples, in the form that the steps use."""
        likelihood = self.likelihood
        x = likelihood.query_points(evidence) if queries else likelihood.points(evidence.support_x.detach())
        if evidence.joint_base_ids is None:
            return Points(x, None)

        def base_logsumexp(x: Tensor, *, detach: bool) -> tuple[Tensor]:
            base = self.base_logsumexp(evidence, x, attach_prior=not detach)
            assert base is not None
            return (base,)

        (base,) = psi(base_logsumexp, x)
        return Points(x, base)


@torch.no_grad()
def _kl_cotangent(prior: PriorLike, theta: GaussianParameters, evidence: Evidence) -> list[Tensor]:
    """KL(q || p_psi)'s gradient in theta, (T, N, D) each; the mean over draws of a latent psi, which come first."""
    found = kl_gradient(theta, *prior.kl_gradient(theta, evidence.base_ids))
    return [g.reshape(-1, *theta.loc.shape).mean(0) for g in found]
