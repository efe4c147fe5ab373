"""The weights of the ELBO's two terms, in one place for model and guide (eq. 2 and 4)."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyro_sib.errors import InputError, argument

if TYPE_CHECKING:
    from pyro.distributions import TorchDistribution

    from pyro_sib.types import Evidence

KL_WEIGHT = 0.1
"""Weight of the KL where nobody chooses another (docs/results.md)."""
_KL_WEIGHTS = {"mixture": 0.032}
"""The same under priors that are best with another."""


def usual_kl_weight(prior: str) -> float:
    """The weight of the KL where nobody chooses one.

    Args:
        prior: by name.
    """
    return _KL_WEIGHTS.get(prior, KL_WEIGHT)


@dataclass(frozen=True)
class ObjectiveWeights:
    """loss = mean over tasks of [mean over queries of -log p(y | x, w) + kl * KL(q || p) / (N D)].

    The KL is taken per number in a task's weights, of which there are N D, as the likelihood is taken per query
    (eq. (2)'s 1/n): so one weight means the same for any number of classes, features and labeled examples. The
    literal eq. (4) under that 1/n has kl = N D / n.
    What all tasks share is counted once over the whole stream: where psi is latent, the loss has
    kl * KL(q(psi) || p(psi)) / (N D tasks_in_all) besides, and where the base classes' weights are, the same share
    of sum_c KL(q_c || p_c).

    Attributes:
        kl: weight of the KL.
        base_to_psi: in joint tasks, let the prior learn from the likelihood too, through its draws of the base
            classes' weights. That is the whole gradient of the ELBO; without it the draws are constants.
        tasks_in_all: tasks in the whole stream of training; the KL of what they share is spread over them all.
    """

    kl: float = 0.0
    base_to_psi: bool = False
    tasks_in_all: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.kl < float("inf"):
            raise InputError(f"{argument('kl')} {self.kl}: a finite number of 0 or more is needed")
        if self.tasks_in_all < 1:
            raise InputError(f"{argument('tasks_in_all')} {self.tasks_in_all}: 1 or more is needed")

    def per_nat(self, ways: int, features: int) -> float:
        """The weight of one nat of a task's KL, where its weights are (N, D)."""
        return self.kl / (ways * features)

    def bound(self, log_likelihood: float, kl: float, base_kl: float, shape: tuple[int, int]) -> float:
        """The bound that training raises.

        Args:
            log_likelihood: of a query, in nats.
            kl: of a task, in nats.
            base_kl: of all base classes, in nats.
            shape: (N, D) of a task's weights.
        """
        return log_likelihood - self.per_nat(*shape) * (kl + base_kl / self.tasks_in_all)

    def of(self, evidence: "Evidence") -> "TermWeights":
        """The weights of the terms of a batch of tasks."""
        return TermWeights(
            self.per_nat(evidence.ways, evidence.query_x.shape[-1]),
            evidence.tasks,
            evidence.queries,
            self.tasks_in_all,
        )


@dataclass(frozen=True)
class TermWeights:
    """What each site of a batch of tasks weighs, as handlers under which it is sampled.

    Attributes:
        per_nat: weight of a nat of one task's KL.
        tasks: of the batch.
        queries: of each task.
        tasks_in_all: tasks in the whole stream of training.
    """

    per_nat: float
    tasks: int
    queries: int
    tasks_in_all: int

    def counted(self, distribution: "TorchDistribution") -> "TorchDistribution":
        """The distribution for a latent's site, its density masked where kl = 0, so that Pyro skips it."""
        return distribution.mask(False) if self.per_nat == 0 else distribution

    def latent(self) -> AbstractContextManager:
        """Handler for sites that belong to the KL of the batch's tasks."""
        return self._kl_part(self.tasks)

    def shared(self) -> AbstractContextManager:
        """Handler for sites that all tasks share: psi, where it is latent."""
        return self._kl_part(self.tasks_in_all)

    def base(self, known: int, classes: int) -> AbstractContextManager:
        """Handler for the base classes' weights, which each task of a batch draws for the classes that it knows.

        A class is known to a share `known` / `classes` of the tasks, so this counts the KL of its one weight vector
        once over the whole stream.

        Args:
            known: B', base classes that a task knows.
            classes: B, base classes in all.
        """
        return self._kl_part(self.tasks * self.tasks_in_all * known / classes)

    def observed(self) -> AbstractContextManager:
        """Handler for the likelihood's site."""
        return _poutine().scale(scale=1.0 / (self.tasks * self.queries))

    def _kl_part(self, share: float) -> AbstractContextManager:
        if self.per_nat == 0:
            return _poutine().mask(mask=False)
        return _poutine().scale(scale=self.per_nat / share)


def _poutine() -> Any:
    """Pyro's handlers, which settings that hold weights do not need."""
    return import_module("pyro.poutine")
