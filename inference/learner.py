"""What every few-shot learner answers, with a posterior over weights or without one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from pyro_sib.types import Episode, Evidence


class Learner(nn.Module, ABC):
    """Probabilities of the queries' classes from a task's evidence."""

    oracle = False
    """Whether it looks at the queries' labels; results say so."""
    serves_joint = True
    """Whether it can classify among base and novel classes together (LwoF)."""
    fixed_ways = False
    """Whether it serves tasks of N classes alone, those of its training, whatever its parts."""
    fixed_steps: int | None = None
    """K of a learner whose number of steps is fixed; None where `GuideSettings.steps` chooses it."""
    coordinates = False
    """Whether it takes tasks in coordinates of their own (`TaskCoordinates`), with linear logits."""
    takes_initializer = False
    """Whether it starts from the lambda that `GuideSettings.initializer` names."""
    fixed_initializer: str | None = None
    """lambda of one that starts from the same always."""
    takes_synthetic_gradient = False
    """Whether its steps descend the xi that `GuideSettings.synthetic_gradient` names."""

    def sees(self, task: Episode | Evidence) -> Evidence:
        """What the learner may see of these tasks: all but the queries' labels."""
        return task.evidence if isinstance(task, Episode) else task

    @abstractmethod
    def probabilities(self, evidence: Evidence, draws: int, iterates: Sequence[int] = (-1,)) -> list[Tensor]:
        """(T, Q, [B' +] N) for each iterate asked for, averaged over posterior draws where there are any."""
