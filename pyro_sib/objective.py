"""The weights of the ELBO's two terms, in one place for model and guide (eq. 2 and 4)."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from pyro import poutine
from pyro.distributions import TorchDistribution

from pyro_sib.errors import InputError


@dataclass(frozen=True)
class ObjectiveWeights:
    """loss = mean over tasks of [mean over queries of -log p(y | x, w) + kl * KL(q || p)].

    Where psi is latent, kl * KL(q(psi) || p(psi)) / tasks_in_all is added. The mean over queries is eq. (2)'s
    1/n. With it, the literal KL (kl = 1) of a D-dimensional weight vector is thousands of nats against a likelihood
    of about one, so kl is a choice, printed in every result.

    Attributes:
        kl: weight of the KL, `--kl-weight`; 1 is the literal eq. (4).
        base_to_psi: in joint tasks, let psi learn from the likelihood too, through its draws of the base classes'
            weights. That is the whole gradient of the ELBO; Algorithm 1 keeps the KL's part alone (line 10).
        tasks_in_all: tasks in the whole stream of training; one KL of a latent psi is spread over them all.
    """

    kl: float = 0.0
    base_to_psi: bool = False
    tasks_in_all: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.kl < float("inf"):
            raise InputError(f"--kl-weight {self.kl}: a finite number of 0 or more is needed")
        if self.tasks_in_all < 1:
            raise InputError(f"{self.tasks_in_all} training tasks in all: 1 or more is needed; raise --iterations")

    def counted(self, distribution: TorchDistribution) -> TorchDistribution:
        """The distribution for a latent's site: with a KL of weight 0, one whose density nobody computes."""
        return distribution.mask(False) if self.kl == 0 else distribution

    def latent(self, tasks: int) -> AbstractContextManager:
        """Handler for sites that belong to the KL of a batch's tasks."""
        return self._kl_part(tasks)

    def shared(self) -> AbstractContextManager:
        """Handler for sites that all tasks share: psi, where it is latent."""
        return self._kl_part(self.tasks_in_all)

    def _kl_part(self, tasks: int) -> AbstractContextManager:
        if self.kl == 0:
            return poutine.mask(mask=False)
        return poutine.scale(scale=self.kl / tasks)

    def observed(self, tasks: int, queries: int) -> AbstractContextManager:
        """Handler for the likelihood's site."""
        return poutine.scale(scale=1.0 / (tasks * queries))
