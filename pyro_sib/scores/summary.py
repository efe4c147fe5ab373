"""The numbers that sum up an evaluation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MeanInterval:
    """A mean over tasks and the half width of its 95% interval."""

    mean: float
    ci95: float

    def words(self, digits: int = 2, sign: bool = False) -> str:
        """Both, for a table; with a plus before a positive mean where it is a difference."""
        return f"{self.mean:{'+' * sign}.{digits}f} ± {self.ci95:.{digits}f}"


@dataclass(frozen=True)
class ElboParts:
    """The terms of the bound, in nats."""

    log_likelihood: float
    """The mean over queries of E_q log p(y | x, w)."""
    kl: float
    """Of a task's N weight vectors."""
    base_kl: float = 0.0
    """Of all base classes' weights together, which counts once for all tasks."""
    tasks: int = 0
    """How many they are averaged over."""


SIMULATIONS = 20_000
"""Of uniform samples, from which levels and p-values are taken."""
