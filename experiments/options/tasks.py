"""The tasks: what they ask, how large they are, and how their queries divide among the classes."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pyro_sib.tasks.shape import EpisodeShape, parse_balance

Setting = Literal["standard", "lwof"]
TrainImages = Literal["seen", "held-out"]


@dataclass(frozen=True)
class FormOptions:
    """What is asked of a query."""

    group: ClassVar[str] = "task"
    setting: Setting | None = None
    """Classify queries among the novel classes (standard) or among base and novel ones (lwof); needed, unless a
    --learner says it."""


@dataclass(frozen=True, kw_only=True)
class EvaluationTasks:
    """Of every command that evaluates on tasks of its own choice."""

    group: ClassVar[str] = "task"
    ways: int = 5
    """Novel classes in a task (N)."""
    queries: int = 15
    """Query images of each novel class; in lwof as many come from the base classes together."""
    query_balance: str = "balanced"
    """Of the novel queries over their classes: balanced, dirichlet:ALPHA for proportions drawn for each task, or
    mixed:ALPHA for tasks that are either with equal chances."""
    second_balance: str | None = None
    """Evaluate on tasks of this balance as well."""
    eval_tasks: int | None = None
    """Tasks to evaluate on; 2000 on val and 600 on test, unless given."""


@dataclass(frozen=True, kw_only=True)
class OneSizeTasks(EvaluationTasks):
    """Of commands for tasks of one number of shots."""

    shots: int = 1
    """Labeled examples of each novel class (S)."""
    propagation: float = 0.0
    """Move each feature of a task towards those like it, labeled or not, before anything sees it (embedding
    propagation): the strength, from 0 (off) to below 1."""


@dataclass(frozen=True, kw_only=True)
class TrainedTasks(EvaluationTasks):
    """Of commands that train on tasks."""

    train_ways: int | None = None
    """Novel classes in a training or selection task; as many as in the evaluation's, unless given. With others, xi
    and lambda must be ones that serve any number of classes."""
    train_images: TrainImages = "seen"
    """Images of the training tasks: those of stage 1, or (held-out) four fifths of base_val, which f has not seen,
    as it will not have seen yours; the rest of base_val is then what is evaluated on."""


@dataclass(frozen=True, kw_only=True)
class TaskOptions(TrainedTasks, OneSizeTasks, FormOptions):
    """Of a run."""

    train_query_balance: str | None = None
    """The query balance of training and selection tasks; that of the evaluation, unless given."""

    @property
    def joint(self) -> bool:
        """Whether queries are classified among base and novel classes."""
        return self.setting == "lwof"

    @property
    def trained_ways(self) -> int:
        """N of the training tasks."""
        return self.ways if self.train_ways is None else self.train_ways


@dataclass(frozen=True, kw_only=True)
class ResolvedTasks(TaskOptions):
    """With the kind of tasks and the training tasks' balance that are meant."""

    setting: Setting = field()
    train_query_balance: str = field()

    def check_tasks(self) -> None:
        """Refuse tasks that cannot be.

        Raises:
            InputError: what is wrong, what would be right.
        """
        if self.second_balance is not None:
            parse_balance(self.second_balance)
        self.shape(), self.train_shape()

    def shape(self, balance: str | None = None) -> EpisodeShape:
        """Of evaluation tasks, with their own query balance or another."""
        return self._shape(self.ways, balance or self.query_balance)

    def train_shape(self) -> EpisodeShape:
        """Of training and selection tasks."""
        return self._shape(self.trained_ways, self.train_query_balance)

    def _shape(self, ways: int, balance: str) -> EpisodeShape:
        base = ways * self.queries if self.joint else 0
        return EpisodeShape(ways, self.shots, self.queries, base, parse_balance(balance))
