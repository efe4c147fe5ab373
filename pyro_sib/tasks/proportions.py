"""What a user knows of how a task's queries divide among its classes."""

from collections.abc import Mapping, Sequence
from math import isclose

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.tasks.shape import ALPHAS

UNKNOWN, KNOWN_EVEN = "unknown", "even"
EXACT = 1000.0
"""Mean concentration of a class where the proportions are known for sure."""

Proportions = str | float | Mapping[str, float]
"""unknown, even, the share of each class by its name, or a Dirichlet concentration about even shares."""


def concentrations(proportions: Proportions, names: Sequence[str]) -> Tensor | None:
    """(N,) Dirichlet concentrations of the classes' shares, or None where nothing is known.

    Raises:
        InputError: another word, a class that is missing or unknown, or shares that are negative or do not add up
            to one.
    """
    if isinstance(proportions, str):
        if proportions not in (UNKNOWN, KNOWN_EVEN):
            raise InputError(
                f"proportions is {proportions!r:.40}; choose {UNKNOWN}, {KNOWN_EVEN}, a number or {{class: share}}"
            )
        return None if proportions == UNKNOWN else torch.full((len(names),), EXACT)
    if isinstance(proportions, Mapping):
        return EXACT * len(names) * _shares({str(k): float(v) for k, v in proportions.items()}, names)
    if not ALPHAS[0] <= proportions <= ALPHAS[1]:
        raise InputError(f"proportions {proportions}: a concentration of {ALPHAS[0]:g} to {ALPHAS[1]:g} is needed")
    return torch.full((len(names),), float(proportions))


def _shares(given: Mapping[str, float], names: Sequence[str]) -> Tensor:
    for name in names:
        if name not in given:
            raise InputError(f"proportions has no share of class {name}; give each class one, 0 where it has none")
    for name, share in given.items():
        if name not in names:
            raise InputError(f"proportions names {name}, which is no class; the classes are {', '.join(names)}")
        if not share >= 0:
            raise InputError(f"proportions has a share of {share} for {name}; 0 or more is needed")
    if not isclose(total := sum(given.values()), 1.0, abs_tol=0.01):
        raise InputError(f"proportions add up to {total:g}; shares should add up to 1")
    return torch.tensor([given[name] for name in names])
