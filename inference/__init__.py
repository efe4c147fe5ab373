"""The inference side: guides, initializers, synthetic gradients, the SVI loop, prediction."""

from collections.abc import Callable

from inference.exact_gradient import ExactGradientGuide
from inference.guide import Guide
from inference.maml import FirstOrderMAMLGuide, MAMLGuide
from inference.settings import GuideSettings, TaskForm
from inference.sib import InitOnlyGuide, SIBGuide
from inference.unrolled import UnrolledGuide
from pyro_sib.errors import InputError
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import LikelihoodLike, PriorLike

GuideConstructor = Callable[[GuideSettings, TaskForm, PriorLike, LikelihoodLike, ObjectiveWeights], Guide]


GUIDES: dict[str, GuideConstructor] = {
    "sib": SIBGuide,
    "init-only": InitOnlyGuide,
    "maml": MAMLGuide,
    "maml-first-order": FirstOrderMAMLGuide,
    "exact-gradient": ExactGradientGuide,
}
"""Constructor of each guide from its settings, the tasks' form, prior, likelihood and the ELBO's weights."""


def guide_constructor(name: str) -> GuideConstructor:
    """The named guide's constructor.

    Raises:
        InputError: unknown name.
    """
    if name not in GUIDES:
        raise InputError(f"unknown guide {name!r}; choose one of {', '.join(GUIDES)}")
    return GUIDES[name]


__all__ = ["GUIDES", "Guide", "GuideSettings", "SIBGuide", "TaskForm", "UnrolledGuide", "guide_constructor"]
