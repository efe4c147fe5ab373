"""What piles are classified by beside the learner: simple methods, and transductive ones of easyfsl."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.recipes import COMPARATORS, require_easyfsl
from pyro_sib.experiments.other_domains.methods import METHODS
from pyro_sib.experiments.other_domains.methods import check_methods as check_simple
from pyro_sib.experiments.other_domains.simple import labels_of
from pyro_sib.experiments.other_domains.tasks import Known
from pyro_sib.types import Evidence

Method = Callable[[Known], Tensor]
"""A task -> (Q, N) probabilities."""
# Chosen beforehand and for all domains: no look at a domain's labels has a part in them.
TRANSDUCTIVE: dict[str, dict[str, float]] = {
    "bd-cspn": {"cosine_scale": 10.0},
    "tim": {"temperature": 10.0},
    "pt-map": {"power": 0.5},
}
"""Comparators that make nothing of base classes, with the settings that are not published ones."""


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


def make_methods(names: Sequence[str]) -> dict[str, Method]:
    """The methods of these names."""
    return {name: _transductive(name) if name in TRANSDUCTIVE else METHODS[name]() for name in names}


def _transductive(name: str) -> Method:
    recipe = COMPARATORS[name]
    method = recipe.make(cast(Any, None), **recipe.published, **TRANSDUCTIVE[name])

    def predict(known: Known) -> Tensor:
        x, y = torch.cat(known.support)[None], labels_of(known)[None]
        with torch.enable_grad():  # they take steps of gradient descent
            return method(Evidence(x, y, known.queries[None], len(known.support)))[0].detach().float()

    return predict
