"""Transductive methods of others, easyfsl's and our own versions, as learners on our features and tasks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.easyfsl_methods import bd_cspn, laplacian_shot, pt_map, require_easyfsl, tim
from pyro_sib.experiments.comparison.soft_k_means import SoftKMeans
from pyro_sib.experiments.comparison.variational_bayes import VariationalBayes
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.learner import Learner
from pyro_sib.tasks.source import TaskSource
from pyro_sib.types import Evidence

Method = Callable[[Evidence], Tensor]
"""A comparator with its settings filled in: T tasks -> (T, Q, N) probabilities."""


@dataclass(frozen=True)
class Recipe:
    """A comparator's settings: those it is published with, and those that depend on the features.

    Attributes:
        make: from the base classes and the settings.
        published: settings as their authors have them.
        grid: candidates of the others, chosen on base classes.
        needs_easyfsl: whether it is easyfsl's.
    """

    make: Callable[..., Method]
    published: dict[str, Any]
    grid: dict[str, tuple[float, ...]]
    needs_easyfsl: bool = True

    def candidates(self) -> list[dict[str, float]]:
        """Every combination of the grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


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


def comparators_named(names: str) -> list[str]:
    """The names in a list separated by commas.

    Raises:
        InputError: an unknown name, none, or no easyfsl where one of them needs it.
    """
    found = [name.strip() for name in names.split(",") if name.strip()]
    for name in found or [""]:
        if name not in COMPARATORS:
            raise InputError(f"unknown comparator {name!r}; choose of {', '.join(COMPARATORS)}")
    if needing := [name for name in found if COMPARATORS[name].needs_easyfsl]:
        require_easyfsl(needing)
    return found


COMPARATORS: dict[str, Recipe] = {
    "bd-cspn": Recipe(bd_cspn, {}, {"cosine_scale": (1.0, 3.0, 10.0)}),
    "laplacian-shot": Recipe(
        laplacian_shot,
        {"knn": 3, "inference_steps": 20},
        {"cosine_scale": (1.0, 10.0), "lambda_regularization": (0.3, 0.7, 1.0)},
    ),
    # Published with 1000 steps at 1e-4; 100 at 1e-3 take a tenth of the time and were within 0.4% on 60 base tasks.
    "tim": Recipe(
        tim,
        {
            "fine_tuning_steps": 100,
            "fine_tuning_lr": 1e-3,
            "cross_entropy_weight": 0.1,
            "marginal_entropy_weight": 1.0,
            "conditional_entropy_weight": 0.1,
        },
        {"temperature": (2.5, 5.0, 10.0, 15.0)},
    ),
    "pt-map": Recipe(
        pt_map,
        {"fine_tuning_steps": 20, "fine_tuning_lr": 0.2, "lambda_regularization": 10.0},
        {"power": (0.5, 1.0)},
    ),
    "soft-k-means": Recipe(
        lambda base, **settings: SoftKMeans(**settings),
        {"rounds": 10},
        {"temperature": (5.0, 7.5, 10.0, 15.0, 20.0, 30.0)},
        needs_easyfsl=False,
    ),
    "variational-bayes": Recipe(
        VariationalBayes,
        {"alpha": 1.0, "beta": 10.0, "rounds": 20},
        {"noise": (1.0, 2.0, 4.0, 8.0), "dimensions": (5.0, 10.0)},
        needs_easyfsl=False,
    ),
}
"""Each comparator's recipe."""
