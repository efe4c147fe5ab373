"""`python -m experiments.train_unknown`: fit the numbers by which a picture is found to belong to no class."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.experiments.options.training_pictures import TrainingPictures
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line


@dataclass(frozen=True)
class TrainUnknownSettings(TrainingPictures):
    """Fit the class of what belongs to no class, on tasks part of whose pile does not.

    The numbers are few and know nothing of a network or a domain; those that come with the project serve all
    learners of tasks of any size. `experiments.piles --unknown` measures others. Made domains count here
    as any other.
    """

    iterations: int = 150
    """Batches of six tasks, each of one domain and size."""
    learning_rate: float = 0.03
    """The first one."""
    seed: int = 0
    """Of the tasks."""
    out: Path = Path("runs/unknown")
    """For unknown.json."""


def main() -> int:
    """`python -m experiments.train_unknown`."""
    return run_command(
        "pyro_sib.experiments.other_domains.train_unknown:train_unknown",
        from_command_line(TrainUnknownSettings, "train_unknown"),
        TrainUnknownSettings.check,
    )


if __name__ == "__main__":
    sys.exit(main())
