"""Transductive methods of others, easyfsl's and our own versions, as learners on our features and tasks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.recipes import COMPARATORS
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.learner import Learner
from pyro_sib.tasks.source import TaskSource
from pyro_sib.types import Evidence

Method = Callable[[Evidence], Tensor]
"""A comparator with its settings filled in: T tasks -> (T, Q, N) probabilities."""


class Comparator(Learner):
    """A transductive method: it has nothing to train.

    Args:
        name: of COMPARATORS.
        base: classes that f was trained on.
        chosen: values of the recipe's grid.
    """

    serves_joint = False
    fixed_steps = 0

    def __init__(self, name: str, base: BaseClasses, chosen: dict[str, float]):
        super().__init__()
        recipe = COMPARATORS[name]
        self.name, self.settings = name, {**recipe.published, **chosen}
        self.method = recipe.make(base, **self.settings)

    @torch.no_grad()
    def probabilities(self, evidence: Evidence, draws: int, iterates: Sequence[int] = (-1,)) -> list[Tensor]:
        """(T, Q, N); there are neither draws nor iterates.

        Raises:
            InputError: the method broke down numerically on these features.
        """
        try:
            found = self.method(evidence).to(evidence.query_x.dtype)
            broken = not bool(found.isfinite().all())
        except torch.linalg.LinAlgError:
            broken = True
        if broken:
            raise InputError(f"{self.name} gives no numbers on these features; look for constant or huge ones")
        return [found for _ in iterates]


def choose(
    name: str, base: BaseClasses, source: TaskSource, tasks: int
) -> tuple[Comparator, list[dict[str, float]]]:
    """The comparator with the grid's most accurate values on these tasks, the first among equals.

    Args:
        name: of COMPARATORS.
        base: classes that f was trained on.
        source: tasks of base classes.
        tasks: how many.

    Returns:
        The comparator, and each combination with its accuracy in percent.
    """
    tried = []
    for values in COMPARATORS[name].candidates():
        accuracy = float(evaluate(Comparator(name, base, values), source, tasks)[0].novel.mean())
        tried.append({**values, "accuracy": round(accuracy, 3)})
    best = max(tried, key=lambda record: record["accuracy"])
    return Comparator(name, base, {k: v for k, v in best.items() if k != "accuracy"}), tried
