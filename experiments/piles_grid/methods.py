"""What piles are classified by beside the learner: simple methods, and transductive ones of easyfsl."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pyro_sib.experiments.comparison.recipes import COMPARATORS
from pyro_sib.experiments.other_domains.methods import METHODS
from pyro_sib.experiments.other_domains.simple import labels_of
from pyro_sib.experiments.other_domains.tasks import Known
from pyro_sib.experiments.piles_grid.names import OWN_POWER, TRANSDUCTIVE
from pyro_sib.types import Evidence

Method = Callable[[Known], Tensor]
"""A task -> (Q, N) probabilities."""


def make_methods(names: Sequence[str], power: float) -> dict[str, Method]:
    """The methods of these names; all see features raised to the learner's power, but for one with its own."""
    return {name: _raised(name, power) for name in names}


def _raised(name: str, power: float) -> Method:
    method = _transductive(name) if name in TRANSDUCTIVE else METHODS[name]()
    return method if name == OWN_POWER else lambda known: method(known.raised(power))


def _transductive(name: str) -> Method:
    recipe = COMPARATORS[name]
    method = recipe.make(cast(Any, None), **recipe.published, **TRANSDUCTIVE[name])

    def predict(known: Known) -> Tensor:
        x, y = torch.cat(known.support)[None], labels_of(known)[None]
        with torch.enable_grad():  # they take steps of gradient descent
            return method(Evidence(x, y, known.queries[None], len(known.support)))[0].detach().float()

    return predict
