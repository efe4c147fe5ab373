"""The form of a regression task."""

from dataclasses import dataclass

from pyro_sib.errors import InputError, argument

CELLS = 10_000
"""Inputs are centres of equal cells of the interval, none twice in a task."""


@dataclass(frozen=True)
class SinusoidShape:
    """`shots` labeled points and `queries` unlabeled ones in a task."""

    shots: int = 10
    queries: int = 20

    def __post_init__(self) -> None:
        for name in ("shots", "queries"):
            if not 1 <= getattr(self, name) <= CELLS // 2:
                raise InputError(f"{argument(name)} {getattr(self, name)}: from 1 to {CELLS // 2} is needed")
