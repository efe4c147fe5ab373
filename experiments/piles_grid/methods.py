"""What piles are classified by beside the learner: simple methods, and transductive ones of easyfsl."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pyro_sib.experiments.comparison.recipes import COMPARATORS
from pyro_sib.experiments.other_domains.methods import METHODS
from pyro_sib.experiments.other_domains.simple import labels_of
from pyro_sib.experiments.other_domains.tasks import Known
from pyro_sib.experiments.piles_grid.names import TRANSDUCTIVE
from pyro_sib.types import Evidence

Method = Callable[[Known], Tensor]
"""A task -> (Q, N) probabilities."""


def make_methods(names: Sequence[str]) -> dict[str, Method]:
    """The methods of these names; simple ones see features raised to a power, as the learner does."""
    return {name: _transductive(name) if name in TRANSDUCTIVE else _simple(name) for name in names}


def _simple(name: str) -> Method:
    method = METHODS[name]()
    return lambda known: method(known.raised())


def _transductive(name: str) -> Method:
    recipe = COMPARATORS[name]
    method = recipe.make(cast(Any, None), **recipe.published, **TRANSDUCTIVE[name])

    def predict(known: Known) -> Tensor:
        x, y = torch.cat(known.support)[None], labels_of(known)[None]
        with torch.enable_grad():  # they take steps of gradient descent
            return method(Evidence(x, y, known.queries[None], len(known.support)))[0].detach().float()

    return predict
