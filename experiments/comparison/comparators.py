"""Published transductive methods of the optional package easyfsl, as learners on our features and tasks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.preprocessing import centred_and_shifted, on_sphere, power_centred
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.learner import Learner
from pyro_sib.tasks.source import TaskSource
from pyro_sib.types import Evidence


@dataclass(frozen=True)
class Method:
    """A comparator with its settings filled in.

    Attributes:
        prepare: (T, M, D) and (T, Q, D) features -> what the method is published to work on.
        build: a fresh easyfsl classifier; it serves one task.
    """

    prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    build: Callable[[], Any]


@dataclass(frozen=True)
class Recipe:
    """A comparator's settings: those it is published with, and those that depend on the features.

    Attributes:
        make: from the base classes' mean feature, (D,), and the settings.
        published: settings as their authors have them.
        grid: candidates of the others, chosen on base classes.
    """

    make: Callable[..., Method]
    published: dict[str, Any]
    grid: dict[str, tuple[float, ...]]

    def candidates(self) -> list[dict[str, float]]:
        """Every combination of the grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]


class Comparator(Learner):
    """A transductive method, task by task: it has nothing to train.

    Args:
        name: of COMPARATORS.
        base_mean: (D,) mean of the base classes' features.
        chosen: values of the recipe's grid.
    """

    serves_joint = False
    fixed_steps = 0

    def __init__(self, name: str, base_mean: Tensor, chosen: dict[str, float]):
        super().__init__()
        recipe = COMPARATORS[name]
        self.name, self.settings = name, {**recipe.published, **chosen}
        self.method = recipe.make(base_mean, **self.settings)

    @torch.no_grad()
    def probabilities(self, evidence: Evidence, draws: int, iterates: Sequence[int] = (-1,)) -> list[Tensor]:
        """(T, Q, N); there are neither draws nor iterates.

        Raises:
            InputError: the method broke down numerically on these features.
        """
        support, query = self.method.prepare(evidence.support_x, evidence.query_x)
        each = [self._task(*task) for task in zip(support, evidence.support_y, query, strict=True)]
        found = torch.stack(each).to(evidence.query_x.dtype)
        if not bool(found.isfinite().all()):
            raise InputError(f"{self.name} gives no numbers on these features; look for constant or huge ones")
        return [found for _ in iterates]

    def _task(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        classifier = self.method.build()
        classifier.process_support_set(support, labels)
        scores = classifier(query)
        return scores / scores.sum(-1, keepdim=True)


def choose(
    name: str, base_mean: Tensor, source: TaskSource, tasks: int
) -> tuple[Comparator, list[dict[str, float]]]:
    """The comparator with the grid's most accurate values on these tasks, the first among equals.

    Args:
        name: of COMPARATORS.
        base_mean: (D,) mean of the base classes' features.
        source: tasks of base classes.
        tasks: how many.

    Returns:
        The comparator, and each combination with its accuracy in percent.
    """
    tried = []
    for values in COMPARATORS[name].candidates():
        accuracy = float(evaluate(Comparator(name, base_mean, values), source, tasks)[0].novel.mean())
        tried.append({**values, "accuracy": round(accuracy, 3)})
    best = max(tried, key=lambda record: record["accuracy"])
    return Comparator(name, base_mean, {k: v for k, v in best.items() if k != "accuracy"}), tried


def comparators_named(names: str) -> list[str]:
    """The names in a list separated by commas.

    Raises:
        InputError: an unknown name, none, or no easyfsl to run them.
    """
    found = [name.strip() for name in names.split(",") if name.strip()]
    for name in found or [""]:
        if name not in COMPARATORS:
            raise InputError(f"unknown comparator {name!r}; choose of {', '.join(COMPARATORS)}")
    _methods()
    return found


def _methods() -> Any:
    try:
        return import_module("easyfsl.methods")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "easyfsl":
            raise
        raise InputError(
            "the comparators need the package easyfsl; "
            "run `uv sync --extra comparators` or `pip install pyro-sib[comparators]`"
        ) from None


def _adapted(kind: str, cosine_scale: float = 1.0) -> Any:
    """The named easyfsl class on features as given, its cosines times a scale.

    easyfsl's BD-CSPN weighs examples by exp(cosine) where the paper has exp(10 cosine).
    """
    base: Any = getattr(_methods(), kind)

    class Adapted(base):
        def compute_features(self, images: Tensor) -> Tensor:
            return images

        def cosine_distance_to_prototypes(self, samples: Tensor) -> Tensor:
            return cosine_scale * super().cosine_distance_to_prototypes(samples)

    return Adapted


def _bd_cspn(base_mean: Tensor, cosine_scale: float) -> Method:
    """Class means rectified by the queries' pseudo-labels (Liu et al. 2020)."""
    return Method(on_sphere, lambda: _adapted("BDCSPN", cosine_scale)(use_softmax=True))


def _laplacian_shot(base_mean: Tensor, cosine_scale: float, **settings: Any) -> Method:
    """Rectified class means, and neighbours that agree (Ziko et al. 2020)."""
    prepare = partial(centred_and_shifted, base_mean=base_mean)
    return Method(prepare, lambda: _adapted("LaplacianShot", cosine_scale)(**settings))


def _tim(base_mean: Tensor, **settings: Any) -> Method:
    """Class weights that maximize the mutual information of queries and predictions (Boudiaf et al. 2020)."""
    return Method(on_sphere, lambda: _adapted("TIM")(use_softmax=True, **settings))


def _pt_map(base_mean: Tensor, power: float, **settings: Any) -> Method:
    """Class means by optimal transport, as many queries to each class (Hu, Gripon & Pateux 2020)."""
    return Method(partial(power_centred, power=power), lambda: _adapted("PTMAP")(**settings))


COMPARATORS: dict[str, Recipe] = {
    "bd-cspn": Recipe(_bd_cspn, {}, {"cosine_scale": (1.0, 3.0, 10.0)}),
    "laplacian-shot": Recipe(
        _laplacian_shot,
        {"knn": 3, "inference_steps": 20},
        {"cosine_scale": (1.0, 10.0), "lambda_regularization": (0.3, 0.7, 1.0)},
    ),
    # Published with 1000 steps at 1e-4; 100 at 1e-3 take a tenth of the time and were within 0.4% on 60 base tasks.
    "tim": Recipe(
        _tim,
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
        _pt_map,
        {"fine_tuning_steps": 20, "fine_tuning_lr": 0.2, "lambda_regularization": 10.0},
        {"power": (0.5, 1.0)},
    ),
}
"""Each comparator's recipe."""
