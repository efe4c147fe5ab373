"""The SIB guide: K synthetic-gradient steps from theta^0 over the unlabeled queries (eq. 9)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from inference.guide import Guide
from inference.initializers import make_initializer
from inference.synthetic_gradients import make_synthetic_gradient
from pyro_sib.cosine import cosine_vjp, unit
from pyro_sib.counter_rng import make_key, normal
from pyro_sib.errors import InputError
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Evidence, GaussianParameters, LikelihoodLike, PriorLike

_STEP_KEY = make_key("draws inside the steps")


@dataclass(frozen=True)
class SIBSettings:
    """The choices inside phi.

    Attributes:
        steps: K; 0 leaves lambda alone.
        initializer: lambda by name, "support" or "global".
        synthetic_gradient: xi by name, "mlp" (the paper's), "equivariant" or "marginal".
        step_size: first value of eta.
        learn_step_size: whether eta is trained; each step has its own.
        step_samples: draws for eq. (9)'s expectation; 0 evaluates it at the mean.
        initial_scale: first standard deviation of q.
        kl_step: "explicit" is eq. (9) to the letter; "implicit" takes the KL's part of the step at its end point
            (backward Euler), equal to first order in eta and stable at any kl weight.
        psi_through_steps: let psi see the KL through theta^K too, as Algorithm 1's line 10 states.
    """

    steps: int = 3
    initializer: str = "support"
    synthetic_gradient: str = "mlp"
    step_size: float = 1.0
    learn_step_size: bool = True
    step_samples: int = 0
    initial_scale: float = 0.01
    kl_step: Literal["explicit", "implicit"] = "implicit"
    psi_through_steps: bool = True

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"--steps {self.steps}: 0 or more is needed")
        if self.step_samples < 0:
            raise InputError(f"--step-samples {self.step_samples}: 0 (at the mean) or more is needed")
        if not self.step_size > 0:
            raise InputError(f"--step-size {self.step_size}: a positive number is needed")
        if not self.initial_scale > 0:
            raise InputError(f"--initial-scale {self.initial_scale}: a positive number is needed")


class SIBGuide(Guide):
    """q with parameters theta^K, the K-th iterate of eq. (9); K = 0 is lambda alone.

    Args:
        settings: the choices inside phi.
        features: D.
        ways: N.
        joint: whether tasks are joint (LwoF).
        prior: p_psi.
        likelihood: p_f.
        weights: of the ELBO's two terms.
    """

    def __init__(
        self,
        settings: SIBSettings,
        features: int,
        ways: int,
        joint: bool,
        prior: PriorLike,
        likelihood: LikelihoodLike,
        weights: ObjectiveWeights,
    ):
        super().__init__(prior, likelihood, weights)
        self.settings = settings
        self.initializer = make_initializer(settings.initializer, features, ways, settings.initial_scale)
        if settings.steps:
            self.xi = make_synthetic_gradient(settings.synthetic_gradient, ways, joint)
            log_step = torch.full((settings.steps,), float(settings.step_size)).log()
            self.log_step_size = nn.Parameter(log_step, requires_grad=settings.learn_step_size)

    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """theta^0 .. theta^K; psi is a constant inside the steps."""
        return self._unroll(evidence, learn="phi")

    def psi_route(self, evidence: Evidence) -> Tensor | None:
        """Zeros whose gradient in psi is d KL / d theta^K . d theta^K / d psi (Algorithm 1, line 10).

        The likelihood must not reach psi, so this path is unrolled apart, with phi constant.
        """
        wanted = self.training and self.settings.psi_through_steps
        if not (wanted and self.settings.steps and self.weights.kl > 0):
            return None
        theta = self._unroll(evidence, learn="psi")[-1]
        with torch.no_grad():
            precision, shift = self.prior.kl_gradient(theta, evidence.base_ids)
            grad_loc = precision * theta.loc - shift
            grad_log_scale = precision * (2 * theta.log_scale).exp() - 1
        term = (grad_loc * theta.loc + grad_log_scale * theta.log_scale).sum((-1, -2))
        return term - term.detach()

    def _unroll(self, evidence: Evidence, learn: Literal["phi", "psi"]) -> list[GaussianParameters]:
        theta = self.initializer(evidence)
        thetas = [theta if learn == "phi" else GaussianParameters(*(t.detach() for t in theta))]
        if not self.settings.steps:
            return thetas
        scale = self.likelihood.scale.detach()
        unit_x = unit(evidence.query_x.detach())
        base = self._base_logsumexp(evidence, unit_x, scale, attach_prior=learn == "psi")
        step_sizes = self.log_step_size.exp()
        for k in range(self.settings.steps):
            step_size = step_sizes[k] if learn == "phi" else step_sizes[k].detach()
            w, noise = self._draw(thetas[-1], evidence, k)
            gradient = self._likelihood_gradient(w, unit_x, base, scale, frozen=learn == "psi")
            thetas.append(self._step(thetas[-1], step_size, gradient, noise, evidence, learn == "psi"))
        return thetas

    def _draw(self, theta: GaussianParameters, evidence: Evidence, k: int) -> tuple[Tensor, Tensor | None]:
        """w(theta, epsilon), (S, T, N, D), and scale * epsilon; the mean and None where eq. (9) is taken there."""
        samples = self.settings.step_samples
        if not samples:
            return theta.loc, None
        shape = (samples, *theta.loc.shape)
        if self.training or evidence.task_ids is None:
            epsilon = torch.randn(shape, device=theta.loc.device)
        else:
            count = samples * theta.loc[0].numel()
            epsilon = normal(_STEP_KEY, evidence.task_ids, k, count).view(shape[1], samples, *shape[2:])
            epsilon = epsilon.transpose(0, 1)
        noise = theta.log_scale.exp() * epsilon
        return theta.loc + noise, noise

    def _likelihood_gradient(
        self, w: Tensor, unit_x: Tensor, base: Tensor | None, scale: Tensor, frozen: bool
    ) -> Tensor:
        """Mean over queries of xi(logits) d logits / d w, with the shape of w."""
        logits = scale * unit_x @ unit(w).transpose(-1, -2)
        if base is not None:
            base = base.expand(*logits.shape[:-1], 1)
        parameters = {n: p.detach() if frozen else p for n, p in self.xi.named_parameters()}
        synthetic = functional_call(self.xi, parameters, (logits, base)) if frozen else self.xi(logits, base)
        return cosine_vjp(unit_x, w, scale, synthetic) / unit_x.shape[-2]

    def _step(
        self,
        theta: GaussianParameters,
        step_size: Tensor,
        gradient: Tensor,
        noise: Tensor | None,
        evidence: Evidence,
        attach_prior: bool,
    ) -> GaussianParameters:
        """theta^{k+1} of eq. (9)."""
        loc, log_scale = theta
        if noise is None:
            loc_gradient, log_scale_gradient = gradient, torch.zeros(())
        else:
            loc_gradient, log_scale_gradient = gradient.mean(0), (gradient * noise).mean(0)
        if self.weights.kl == 0:
            return GaussianParameters(
                loc - step_size * loc_gradient,
                log_scale if noise is None else log_scale - step_size * log_scale_gradient,
            )
        precision, shift = self.prior.kl_gradient(theta, evidence.base_ids, detach=not attach_prior)
        pull = step_size * self.weights.kl
        new_log_scale = log_scale - step_size * log_scale_gradient
        if self.settings.kl_step == "explicit":
            new_loc = loc - step_size * loc_gradient - pull * (precision * loc - shift)
            return GaussianParameters(new_loc, new_log_scale - pull * (precision * (2 * log_scale).exp() - 1))
        new_loc = (loc - step_size * loc_gradient + pull * shift) / (1 + pull * precision)
        return GaussianParameters(new_loc, _implicit_log_scale(new_log_scale, precision, pull))

    def _base_logsumexp(
        self, evidence: Evidence, unit_x: Tensor, scale: Tensor, attach_prior: bool
    ) -> Tensor | None:
        """(T, Q, 1) for joint tasks."""
        base_ids = evidence.joint_base_ids
        if base_ids is None:
            return None
        with torch.set_grad_enabled(attach_prior and torch.is_grad_enabled()):
            logits = scale * unit_x @ unit(self.prior.base_locs(base_ids)).transpose(-1, -2)
            return torch.logsumexp(logits, -1, keepdim=True)


def _implicit_log_scale(log_scale: Tensor, precision: Tensor, pull: Tensor) -> Tensor:
    """One Newton step towards u = log_scale - pull * (P exp(2u) - 1), the backward Euler step's end point.

    From below, Newton overshoots; the root never lies beyond the KL's own optimum, P exp(2u) = 1.
    """
    excess = precision * (2 * log_scale).exp()
    newton = log_scale - pull * (excess - 1) / (1 + 2 * pull * excess)
    return torch.minimum(newton, torch.maximum(log_scale, -0.5 * precision.log()))
