"""The SIB guide: K synthetic-gradient steps from theta^0 over the unlabeled queries (eq. 9)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pyro_sib.inference.settings import GuideSettings
from pyro_sib.inference.steps.psi_taps import PsiEnters
from pyro_sib.inference.steps.synthetic_gradients import make_synthetic_gradient
from pyro_sib.inference.steps.unrolled import Points, UnrolledGuide
from pyro_sib.types import Evidence

_SUPPORT_WEIGHT = 0.1
"""First weight of the labeled examples' loss in a step, against the queries' one."""


class SIBGuide(UnrolledGuide):
    """K synthetic-gradient steps over the unlabeled queries, xi in place of d loss / d outputs (eq. 9)."""

    takes_synthetic_gradient = True

    def build(self) -> None:
        """Make the parts of its own."""
        super().build()
        if self.settings.steps:
            self.xi = make_synthetic_gradient(self.settings.synthetic_gradient, self.form.ways, self.form.joint)
        if self.settings.steps and self.settings.support_gradient:
            self.log_support_weight = nn.Parameter(torch.full((self.settings.steps,), _SUPPORT_WEIGHT).log())

    def look(self, evidence: Evidence, psi: PsiEnters) -> Points:
        """The queries and, where settings say so, the labeled examples."""
        points = super().look(evidence, psi)
        return (
            points._replace(labeled=self.points(evidence, False, psi)) if self.settings.support_gradient else points
        )

    def gradient(self, w: Tensor, points: Points, evidence: Evidence, k: int) -> Tensor:
        """The queries' synthetic gradient and, where settings say so, the labeled examples' true one."""
        gradient = super().gradient(w, points, evidence, k)
        if (labeled := points.labeled) is None:
            return gradient
        outputs, vjp = self.likelihood.vjp(w, labeled.x)
        base = None if labeled.base is None else labeled.base.expand(*outputs.shape[:-1], 1)
        towards = self.likelihood.output_gradient(outputs, evidence.support_y, base)
        return gradient + self.log_support_weight[k].exp() * vjp(towards / labeled.x.shape[-2])

    def output_gradient(self, outputs: Tensor, base: Tensor | None, evidence: Evidence) -> Tensor:
        """xi(outputs), (..., T, Q, N)."""
        if not getattr(self.xi, "wants_likeness", False):
            return self.xi(outputs, base)
        x = self.likelihood.query_points(evidence)
        return self.xi(outputs, base, x @ x.transpose(-1, -2))


class InitOnlyGuide(SIBGuide):
    """Lambda alone, K = 0; with the class means as lambda, Gidaris & Komodakis's (2018) feature averaging."""

    fixed_steps = 0

    def __init__(self, settings: GuideSettings, *rest: Any):
        initializer = self.fixed_initializer or settings.initializer
        super().__init__(replace(settings, steps=0, initializer=initializer), *rest)
