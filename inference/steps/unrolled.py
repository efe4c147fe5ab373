"""What the guides of K unrolled steps share (eq. 7, 8 and 9): they differ in what stands for d loss / d logits."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from pyro_sib.counter_rng import make_key
from pyro_sib.inference.guide import Guide
from pyro_sib.inference.initializers import make_initializer
from pyro_sib.inference.noise import standard_normal
from pyro_sib.inference.steps.closed_form import Backward, Walk, by_autograd, walk
from pyro_sib.inference.steps.kl_step import implicit_loc, relaxed_log_scale
from pyro_sib.inference.steps.psi_taps import PsiEnters, Taps, constant
from pyro_sib.types import Evidence, GaussianParameters, PriorLike

Method = TypeVar("Method", bound=Callable[..., Any])

_STEP_KEY = make_key("draws inside the steps")


class Points(NamedTuple):
    """What the steps look at, the same in each step."""

    x: Tensor
    """(T, P, D), as `LikelihoodLike.points` gives them."""
    base: Tensor | None
    """(T, P, 1) logsumexp of the base logits, in joint tasks."""
    labeled: "Points | None" = None
    """The labeled examples, where the steps look at them besides."""


_WALKED = ("gradient", "unroll", "_step", "_draw")
"""The methods that the fast path computes."""


def walked(method: Method) -> Method:
    """Declare that the fast path computes exactly this method, wherever `closed_form` says that it is taken."""
    method.walked = True  # type: ignore[attr-defined]
    return method


KLGradient = Callable[[GaussianParameters], tuple[Tensor, ...]]
"""theta -> precision and shift, as `PriorLike.kl_gradient` gives them."""


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
    def closed_form(self) -> bool:
        """Whether the steps are of the form that `inference.closed_form` can walk.

        They are not where a class has a step of its own that is not marked as `walked`.
        """
        with_kl = self.weights.kl > 0 and self.kl_in_steps
        return (
            not self.settings.step_samples
            and not (with_kl and (self.settings.kl_step == "explicit" or not self.prior.quadratic))
            and all(hasattr(getattr(type(self), name), "walked") for name in _WALKED)
        )

    def taped_output_gradient(
        self, outputs: Tensor, base: Tensor | None, evidence: Evidence
    ) -> tuple[Tensor, Backward]:
        """`output_gradient`, and its vector-Jacobian product, to the outputs and to `step_parameters`."""
        return by_autograd(lambda o: self.output_gradient(o, base, evidence), outputs, self.step_parameters)

    @property
    def step_parameters(self) -> list[nn.Parameter]:
        """Of phi, inside `output_gradient`: all but the start's and the step sizes, unless a class says less."""
        return [p for name, p in self.named_parameters() if not name.startswith(("initializer.", "log_step_size"))]

    @abstractmethod
    def output_gradient(self, outputs: Tensor, base: Tensor | None, evidence: Evidence) -> Tensor:
        """What stands for d loss / d outputs.

        Args:
            outputs: (..., T, P, N) of the P points that the steps look at.
            base: (..., T, P, 1) logsumexp of the base logits, in joint tasks.
            evidence: the tasks.
        """

    @walked
    def gradient(self, w: Tensor, points: Points, evidence: Evidence, k: int) -> Tensor:
        """Step k's gradient of the loss at w, (..., T, N, D): the mean over the points."""
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
        if not (self.training and self.settings.steps and torch.is_grad_enabled()):
            return self.iterates(evidence)[-1], None
        psi_learns = self.settings.psi_through_steps and self.kl_in_steps and self.weights.kl > 0
        if self.closed_form and not (psi_learns and self._base_learns(evidence)):
            theta, route = self._walk(evidence, prior if psi_learns else None)
        elif psi_learns:
            taps = Taps()
            theta = self.unroll(evidence, taps)[-1]
            route = taps.carry(theta, _kl_gradient(prior, theta, evidence))
        else:
            return self.iterates(evidence)[-1], None
        return theta, ((route - route.detach()) / evidence.tasks).expand(evidence.tasks) if psi_learns else None

    def _base_learns(self, evidence: Evidence) -> bool:
        """Whether psi enters the steps by the base classes' weights as well."""
        base_ids = evidence.joint_base_ids
        return base_ids is not None and self.prior.base_locs(base_ids).requires_grad

    def _walk(self, evidence: Evidence, prior: PriorLike | None) -> tuple[GaussianParameters, Tensor]:
        """theta^K and psi's route by the closed form."""
        start, points = self.initializer(evidence), self.look(evidence, constant)
        with_kl = self.weights.kl > 0 and self.kl_in_steps
        how = Walk(
            tape=lambda w: self.likelihood.tape(w, points.x),
            gradient=lambda outputs: self.taped_output_gradient(outputs, points.base, evidence),
            points=points.x.shape[-2],
            kl_weight=self.weights.per_nat(*start.loc.shape[-2:]),
            kl_cotangent=None if prior is None else lambda theta: _kl_gradient(prior, theta, evidence),
        )
        curvature = None
        if with_kl:
            curvature = self.prior.kl_gradient(start, evidence.base_ids, detach=prior is None)
        theta, route = walk(how, start, self.log_step_size, curvature, self.step_parameters)
        return theta.expanded(), route

    @walked
    def unroll(self, evidence: Evidence, psi: PsiEnters) -> list[GaussianParameters]:
        """theta^0 .. theta^K.

        Args:
            evidence: the tasks.
            psi: how psi enters the steps.
        """
        thetas = [self.initializer(evidence)]
        if self.settings.steps:
            points, step_sizes = self.look(evidence, psi), self.log_step_size.exp().unbind()
            kl_gradient = self._kl_gradient(evidence, psi, thetas[0])
            for k in range(self.settings.steps):
                w, noise = self._draw(thetas[-1], evidence, k)
                gradient = self.gradient(w, points, evidence, k)
                thetas.append(self._step(thetas[-1], step_sizes[k], gradient, noise, kl_gradient))
        return [theta.expanded() for theta in thetas]

    def look(self, evidence: Evidence, psi: PsiEnters) -> Points:
        """What the steps look at."""
        return self.points(evidence, self.steps_on_queries, psi)

    @walked
    def _draw(self, theta: GaussianParameters, evidence: Evidence, k: int) -> tuple[Tensor, Tensor | None]:
        """w(theta, epsilon), (S, T, N, D), and scale * epsilon; the mean and None where eq. (9) is taken there."""
        samples = self.settings.step_samples
        if not samples:
            return theta.loc, None
        epsilon = standard_normal(_STEP_KEY, evidence, k, samples, theta.loc, fresh=self.training)
        noise = theta.log_scale.exp() * epsilon
        return theta.loc + noise, noise

    @walked
    def _step(
        self,
        theta: GaussianParameters,
        step_size: Tensor,
        gradient: Tensor,
        noise: Tensor | None,
        kl_gradient: KLGradient | None,
    ) -> GaussianParameters:
        """theta^{k+1} by eq. (9); its KL part explicit, or implicit as `kl_step` describes."""
        loc, log_scale = theta
        if noise is None:
            loc_gradient, loss_log_scale = gradient, log_scale
        else:
            loc_gradient, loss_log_scale = gradient.mean(0), log_scale - step_size * (gradient * noise).mean(0)
        if kl_gradient is None:
            return GaussianParameters(loc - step_size * loc_gradient, loss_log_scale)
        precision, shift = kl_gradient(theta)
        kl_weight = self.weights.per_nat(*loc.shape[-2:])
        if self.settings.kl_step == "implicit":
            return GaussianParameters(
                implicit_loc(loc, loc_gradient, step_size, kl_weight, precision, shift),
                relaxed_log_scale(loss_log_scale, step_size * kl_weight, precision),
            )
        pull = step_size * kl_weight
        new_loc = loc - step_size * loc_gradient - pull * (precision * loc - shift)
        return GaussianParameters(new_loc, loss_log_scale - pull * (precision * (2 * log_scale).exp() - 1))

    def _kl_gradient(self, evidence: Evidence, psi: PsiEnters, start: GaussianParameters) -> KLGradient | None:
        """The KL's gradient in the steps; None where they leave it out."""
        if self.weights.kl == 0 or not self.kl_in_steps:
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
def _kl_gradient(prior: PriorLike, theta: GaussianParameters, evidence: Evidence) -> GaussianParameters:
    """Of KL(q || p_psi) in theta, (T, N, D) each; the mean over draws of a latent psi, which come first."""
    precision, shift = prior.kl_gradient(theta, evidence.base_ids)
    of_loc = precision * theta.loc - shift
    of_log_scale = (precision * (2 * theta.log_scale).exp() - 1).expand_as(of_loc)
    shape = theta.loc.shape
    return GaussianParameters(
        *(g.expand(*g.shape[:-3], *shape).reshape(-1, *shape).mean(0) for g in (of_loc, of_log_scale))
    )
