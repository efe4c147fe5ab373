"""Stage 2: how long, how fast, and by what the best epoch is chosen."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.options.alike import alike
from pyro_sib.experiments.options.names import listed
from pyro_sib.inference.settings.training import OBJECTIVES, SCHEDULES, SELECT_BY, TrainSettings

_OBJECTIVES = listed(f"{name} ({home.partition(':')[2]})" for name, home in OBJECTIVES.homes.items())


@dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """Of every command that trains."""

    group: ClassVar[str] = "training"
    iterations: int | None = None
    """SVI steps; the paper's 60000, or 1000 on the synthetic world, unless given."""
    batch_size: int = 8
    """Tasks a step."""
    learning_rate: float | None = None
    """Adam's first learning rate; the paper's 1e-3, or 3e-3 in standard runs under 20000 iterations."""
    select_tasks: int = 500
    """Validation tasks by which the best epoch is chosen."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(BudgetOptions):
    """Of a run."""

    epochs: int | None = None
    """How often to validate and save; the paper's 60, or 12 in runs under 20000 iterations, unless given."""
    schedule: Annotated[
        str | None,
        tyro.conf.arg(
            help=f"Of the learning rate, {listed(SCHEDULES)}; the paper's step, or cosine in runs under 20000 "
            "iterations, unless given."
        ),
    ] = None
    select_by: Annotated[
        str,
        tyro.conf.arg(
            help=f"What the best epoch has most of on the selection tasks, {listed(SELECT_BY)}; the second also "
            "notices probabilities that are too sure or not sure enough."
        ),
    ] = "accuracy"
    objective: Annotated[
        str, tyro.conf.arg(help=f"{_OBJECTIVES}; the second has the KL in closed form where there is one.")
    ] = "trace"
    particles: int = 1
    """Draws of w in a training step."""
    seed: int = 0
    """Of training tasks, weights and draws in stage 2; f and the evaluation tasks are the same for every seed."""


@dataclass(frozen=True, kw_only=True)
class ResolvedTraining(TrainingOptions):
    """With the budget that is meant."""

    iterations: int = field()
    epochs: int = field()
    learning_rate: float = field()
    schedule: str = field()

    def check_training(self) -> None:
        """Refuse more epochs than iterations, and unknown names.

        Raises:
            InputError: what is wrong, what would be right.
        """
        if self.epochs > self.iterations:
            raise InputError(
                f"--epochs {self.epochs} with --iterations {self.iterations}: each epoch needs an iteration at "
                f"least; lower --epochs"
            )
        self.train_settings()

    def train_settings(self) -> TrainSettings:
        """Stage 2."""
        return alike(TrainSettings, self)
