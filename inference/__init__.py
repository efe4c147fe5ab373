"""The inference side: guides, initializers, synthetic gradients, the SVI loop, prediction."""

from collections.abc import Callable
from dataclasses import replace

from inference.guide import Guide
from inference.sib import SIBGuide, SIBSettings
from pyro_sib.errors import InputError
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import LikelihoodLike, PriorLike

GuideConstructor = Callable[[SIBSettings, int, int, bool, PriorLike, LikelihoodLike, ObjectiveWeights], Guide]


def _init_only(settings: SIBSettings, *rest) -> Guide:
    """Lambda alone, K = 0."""
    return SIBGuide(replace(settings, steps=0), *rest)


GUIDES: dict[str, GuideConstructor] = {"sib": SIBGuide, "init-only": _init_only}
"""Constructor of each guide from its settings, D, N, joint, prior, likelihood and the ELBO's weights."""


def guide_constructor(name: str) -> GuideConstructor:
    """The named guide's constructor.

    Raises:
        InputError: unknown name.
    """
    if name not in GUIDES:
        raise InputError(f"unknown guide {name!r}; choose one of {', '.join(GUIDES)}")
    return GUIDES[name]


__all__ = ["GUIDES", "Guide", "SIBGuide", "SIBSettings", "guide_constructor"]
