"""The simple methods that learners are measured beside, by name."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from pyro_sib.errors import InputError, argument
from pyro_sib.on_demand import Registry

LOGISTIC = "logistic-regression"
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
