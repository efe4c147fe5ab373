"""Names of what piles are classified by beside the learner, told from unknown ones without torch."""

from collections.abc import Sequence

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.recipes import require_easyfsl
from pyro_sib.experiments.other_domains.methods import METHODS
from pyro_sib.experiments.other_domains.methods import check_methods as check_simple

# Chosen beforehand and for all domains: no look at a domain's labels has a part in them.
TRANSDUCTIVE: dict[str, dict[str, float]] = {
    "bd-cspn": {"cosine_scale": 10.0},
    "tim": {"temperature": 10.0},
    "pt-map": {"power": 0.5},
}
"""Comparators that make nothing of base classes, with the settings that are not published ones."""
OWN_POWER = "pt-map"
"""The one that raises features to a power itself."""


def check_methods(names: Sequence[str]) -> None:
    """Refuse names that none has, and those whose package is missing.

    Raises:
        InputError: an unknown name, or no scikit-learn or easyfsl where it is needed.
    """
    for name in names:
        if name not in (*METHODS, *TRANSDUCTIVE):
            raise InputError(f"--methods: there is no {name}; choose of {', '.join((*METHODS, *TRANSDUCTIVE))}")
    if simple := [name for name in names if name in METHODS]:
        check_simple(simple)
    if needing := [name for name in names if name in TRANSDUCTIVE]:
        require_easyfsl(needing)
