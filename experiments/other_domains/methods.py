"""The simple methods that learners are measured beside, by name, and which learners can be taken to pieces."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from pyro_sib.errors import InputError, argument
from pyro_sib.inference.settings.card import read_learner_card
from pyro_sib.on_demand import Registry

LOGISTIC = "logistic-regression"
GUIDE = "gaussian-mixture"
"""Of the learners whose pieces can be taken out."""
METHODS: Registry[Any] = Registry(
    {
        "class-means": "simple:ClassMeans",
        "soft-k-means": "simple:SoftKMeansOfTask",
        LOGISTIC: "scikit_learn:LogisticOnSpan",
        "label-spreading": "scikit_learn:SpreadLabels",
    },
    below="pyro_sib.experiments.other_domains",
)
"""Constructors without arguments of what turns a `Known` into (Q, N) probabilities."""


def check_methods(names: Sequence[str]) -> None:
    """Refuse names that none has, and those whose package is missing.

    Raises:
        InputError: an unknown name, none at all, one twice, or no scikit-learn where it is needed.
    """
    if not names:
        raise InputError(f"{argument('methods')} is empty; name at least one of {', '.join(METHODS)}")
    for name in names:
        METHODS.require("method", name)
    if len(set(names)) < len(names):
        raise InputError(f"{argument('methods')} names {max(names, key=names.count)} twice; name each once")
    needing = [name for name in names if METHODS.declared(name, "needs_scikit_learn")]
    if needing and find_spec("sklearn") is None:
        raise InputError(
            f"{' and '.join(needing)} need scikit-learn, which is not installed; install pyro-sib[scikit-learn], "
            f"or name other {argument('methods')}"
        )


def check_pieces(learners: Sequence[str]) -> None:
    """Refuse to take pieces out of learners that have no such pieces.

    Raises:
        InputError: no learner, or one of another guide.
    """
    if not learners:
        raise InputError(f"{argument('ablate')} takes pieces out of learners; name one by {argument('learners')}")
    for name in learners:
        if (found := read_learner_card(name).learner.guide) != GUIDE:
            raise InputError(
                f"{argument('ablate')}: the learner {name} has the guide {found}, whose pieces are not known; "
                f"name one of {GUIDE}, as lite0 is"
            )
