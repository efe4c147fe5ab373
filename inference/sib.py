"""The SIB guide: K synthetic-gradient steps from theta^0 over the unlabeled queries (eq. 9)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from inference.settings import GuideSettings, TaskForm
from inference.synthetic_gradients import make_synthetic_gradient
from inference.unrolled import Points, UnrolledGuide
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Evidence, LikelihoodLike, PriorLike

_SUPPORT_WEIGHT = 0.1
"""First weight of the labeled examples' loss in a step, against the queries' one."""


class SIBGuide(UnrolledGuide):
    """K synthetic-gradient steps over the unlabeled queries, xi in place of d loss / d outputs (eq. 9).

    Args:
        settings: the choices inside phi.
        form: of the tasks.
        prior: p_psi.
        likelihood: p_f.
        weights: of the ELBO's two terms.
    """

    def __init__(
        self,
        settings: GuideSettings,
        form: TaskForm,
        prior: PriorLike,
        likelihood: LikelihoodLike,
        weights: ObjectiveWeights,
    ):
        super().__init__(settings, form, prior, likelihood, weights)
        if settings.steps:
            self.xi = make_synthetic_gradient(settings.synthetic_gradient, form.ways, form.joint)

        if settings.steps and settings.support_gradient:
            self.log_support_weight = nn.Parameter(torch.full((settings.steps,), _SUPPORT_WEIGHT).log())

    def gradient(self, w: Tensor, points: Points, evidence: Evidence, k: int, frozen: bool) -> Tensor:
        """The queries' synthetic gradient and, where settings say so, the labeled examples' true one."""
        gradient = super().gradient(w, points, evidence, k, frozen)
        if not self.settings.support_gradient:
            return gradient
        weight = self.log_support_weight[k].exp()
        labeled = self.points(evidence, queries=False, attach_prior=frozen)
        outputs = self.likelihood.step_outputs(w, labeled.x)
        base = None if labeled.base is None else labeled.base.expand(*outputs.shape[:-1], 1)
        towards = self.likelihood.output_gradient(outputs, evidence.support_y, base)
        pulled = self.likelihood.step_gradient(w, labeled.x, towards) / labeled.x.shape[-2]
        return gradient + (weight.detach() if frozen else weight) * pulled

    def output_gradient(self, outputs: Tensor, base: Tensor | None, evidence: Evidence, frozen: bool) -> Tensor:
        """xi(outputs), (..., T, Q, N)."""
        inputs: tuple[Tensor | None, ...] = (outputs, base)
        if getattr(self.xi, "wants_likeness", False):
            x = self.likelihood.points(evidence.query_x.detach())
            inputs = (*inputs, x @ x.transpose(-1, -2))
        if not frozen:
            return self.xi(*inputs)
        constants = {name: p.detach() for name, p in self.xi.named_parameters()}
        return functional_call(self.xi, constants, inputs)


class InitOnlyGuide(SIBGuide):
    """Lambda alone, K = 0; with the class means as lambda, Gidaris & Komodakis's (2018) feature averaging."""

    fixed_steps = 0

    def __init__(self, settings: GuideSettings, *rest: Any):
        super().__init__(replace(settings, steps=0), *rest)
