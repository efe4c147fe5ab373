"""What the learners without a posterior share: logits from evidence, trained by the same SVI on the same tasks."""

from abc import abstractmethod
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_sib.inference.learner import Learner
from pyro_sib.inference.settings import TaskForm
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.plates import plate
from pyro_sib.registration import register
from pyro_sib.types import Episode, Evidence


class Baseline(Learner):
    """A conditional model of the query labels; the ELBO without latents is its log likelihood.

    Args:
        form: of the tasks.
        base_weights: (B, D) unit weights of the base classes, or None.
        weights: of the objective's terms.
    """

    fixed_steps = 0

    def __init__(self, form: TaskForm, base_weights: Tensor | None, weights: ObjectiveWeights):
        super().__init__()
        self.form = form
        self.register_buffer("base", base_weights)
        self.weights = weights

    @abstractmethod
    def logits(self, evidence: Evidence) -> Tensor:
        """(T, Q, [B' +] N), base classes first."""

    def model(self, task: Episode | Evidence) -> Tensor:
        """The Pyro model: the site `y`."""
        evidence = self.sees(task)
        register("guide", self)
        logits = self.logits(evidence)
        observed = self.weights.of(evidence).observed()
        tasks, queries = (
            plate("tasks", evidence.tasks, -2),
            plate("queries", evidence.queries, -1),
        )
        with tasks, queries, observed:
            labels = task.query_y if isinstance(task, Episode) else None
            return pyro.sample("y", dist.Categorical(logits=logits), obs=labels)

    def forward(self, task: Episode | Evidence) -> None:
        """The Pyro guide: no sites."""

    @torch.no_grad()
    def probabilities(self, evidence: Evidence, draws: int, iterates: Sequence[int] = (-1,)) -> list[Tensor]:
        """(T, Q, [B' +] N); there are neither draws nor iterates."""
        return [self.logits(evidence).softmax(-1) for _ in iterates]
