"""The comparators' recipes: what each is made with."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Any

from pyro_sib.errors import InputError
from pyro_sib.on_demand import imported

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pyro_sib.experiments.comparison.base_classes import BaseClasses
    from pyro_sib.types import Evidence

    Method = Callable[[Evidence], Tensor]
    """A comparator with its settings filled in: T tasks -> (T, Q, N) probabilities."""


def require_easyfsl(names: Sequence[str]) -> None:
    """See that the package is there for these comparators.

    Raises:
        InputError: it is not.
    """
    try:
        import_module("easyfsl.methods")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "easyfsl":
            raise
        raise InputError(
            f"the comparators {', '.join(names)} need the package easyfsl; "
            "run `uv sync --extra comparators` or `pip install pyro-sib[comparators]`, or leave them out"
        ) from None


@dataclass(frozen=True)
class Recipe:
    """A comparator's settings: those it is published with, and those that depend on the features.

    Attributes:
        home: of its constructor from the base classes and the settings, as "module:name".
        published: settings as their authors have them.
        grid: candidates of the others, chosen on base classes.
        needs_easyfsl: whether it is easyfsl's.
    """

    home: str
    published: dict[str, Any]
    grid: dict[str, tuple[float, ...]]
    needs_easyfsl: bool = True

    def make(self, base: "BaseClasses", **settings: float) -> "Method":
        """The comparator with these settings."""
        method: Method = imported(self.home)(base, **settings)
        return method

    def candidates(self) -> list[dict[str, float]]:
        """Every combination of the grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


COMPARATORS: dict[str, Recipe] = {
    "bd-cspn": Recipe(
        "pyro_sib.experiments.comparison.easyfsl_methods:bd_cspn", {}, {"cosine_scale": (1.0, 3.0, 10.0)}
    ),
    "laplacian-shot": Recipe(
        "pyro_sib.experiments.comparison.easyfsl_methods:laplacian_shot",
        {"knn": 3, "inference_steps": 20},
        {"cosine_scale": (1.0, 10.0), "lambda_regularization": (0.3, 0.7, 1.0)},
    ),
    # Published with 1000 steps at 1e-4; 100 at 1e-3 take a tenth of the time and were within 0.4% on 60 base tasks.
    "tim": Recipe(
        "pyro_sib.experiments.comparison.easyfsl_methods:tim",
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
        "pyro_sib.experiments.comparison.easyfsl_methods:pt_map",
        {"fine_tuning_steps": 20, "fine_tuning_lr": 0.2, "lambda_regularization": 10.0},
        {"power": (0.5, 1.0)},
    ),
    "soft-k-means": Recipe(
        "pyro_sib.experiments.comparison.soft_k_means:soft_k_means",
        {"rounds": 10},
        {"temperature": (5.0, 7.5, 10.0, 15.0, 20.0, 30.0)},
        needs_easyfsl=False,
    ),
    "variational-bayes": Recipe(
        "pyro_sib.experiments.comparison.variational_bayes:VariationalBayes",
        {"alpha": 1.0, "beta": 10.0, "rounds": 20},
        {"noise": (1.0, 2.0, 4.0, 8.0), "dimensions": (5.0, 10.0)},
        needs_easyfsl=False,
    ),
}
"""Each comparator's recipe."""


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
