"""The weights of the ELBO's two terms, in one place for model and guide (eq. 2 and 4)."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyro_sib.errors import InputError, argument

if TYPE_CHECKING:
    from pyro.distributions import TorchDistribution

KL_WEIGHT = 1e-4
"""Weight of the KL where nobody chooses another (docs/results.md)."""


@dataclass(frozen=True)
class ObjectiveWeights:
    """loss = mean over tasks of [mean over queries of -log p(y | x, w) + kl * KL(q || p)].

    What all tasks share is counted once over the whole stream: where psi is latent, kl * KL(q(psi) || p(psi)) /
    tasks_in_all is added, and where the base classes' weights are, kl * sum_c KL(q_c || p_c) / tasks_in_all.
    The mean over queries is eq. (2)'s 1/n. With it, the literal KL (kl = 1) of a D-dimensional weight vector is
    thousands of nats against a likelihood of about one, so kl is a choice, printed in every result.

    Attributes:
        kl: weight of the KL; 1 is the literal eq. (4).
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

    def bound(self, log_likelihood: float, kl: float, base_kl: float) -> float:
        """The bound that training raises, from its terms in nats: a query's, a task's, and all base classes'."""
        return log_likelihood - self.kl * (kl + base_kl / self.tasks_in_all)

    def counted(self, distribution: "TorchDistribution") -> "TorchDistribution":
        """The distribution for a latent's site, its density masked where kl = 0, so that Pyro skips it."""
        return distribution.mask(False) if self.kl == 0 else distribution

    def latent(self, tasks: int) -> AbstractContextManager:
        """Handler for sites that belong to the KL of a batch's tasks."""
        return self._kl_part(tasks)

    def shared(self) -> AbstractContextManager:
        """Handler for sites that all tasks share: psi, where it is latent."""
        return self._kl_part(self.tasks_in_all)

    def base(self, tasks: int, known: int, classes: int) -> AbstractContextManager:
        """Handler for the base classes' weights, which each task of a batch draws for the classes that it knows.

        A class is known to a share `known` / `classes` of the tasks, so this counts the KL of its one weight vector
        once over the whole stream.

        Args:
            tasks: of the batch.
            known: B', base classes that a task knows.
            classes: B, base classes in all.
        """
        return self._kl_part(tasks * self.tasks_in_all * known / classes)

    def _kl_part(self, tasks: float) -> AbstractContextManager:
        if self.kl == 0:
            return _poutine().mask(mask=False)
        return _poutine().scale(scale=self.kl / tasks)

    def observed(self, tasks: int, queries: int) -> AbstractContextManager:
        """Handler for the likelihood's site."""
        return _poutine().scale(scale=1.0 / (tasks * queries))


def _poutine() -> Any:
    """Pyro's handlers, which settings that hold weights do not need."""
    return import_module("pyro.poutine")
