"""The SIB guide: K synthetic-gradient steps from theta^0 over the unlabeled queries (eq. 9)."""

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.func import functional_call

from inference.settings import GuideSettings, TaskForm
from inference.synthetic_gradients import make_synthetic_gradient
from inference.unrolled import UnrolledGuide
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Evidence, LikelihoodLike, PriorLike


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

    def output_gradient(self, outputs: Tensor, base: Tensor | None, evidence: Evidence, frozen: bool) -> Tensor:
        """xi(outputs), (..., T, Q, N)."""
        if not frozen:
            return self.xi(outputs, base)
        constants = {name: p.detach() for name, p in self.xi.named_parameters()}
        return functional_call(self.xi, constants, (outputs, base))


class InitOnlyGuide(SIBGuide):
    """Lambda alone, K = 0; with the class means as lambda, Gidaris & Komodakis's (2018) feature averaging."""

    fixed_steps = 0

    def __init__(self, settings: GuideSettings, *rest: Any):
        super().__init__(replace(settings, steps=0), *rest)
