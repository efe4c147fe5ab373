"""`python -m experiments.train_any`: a learner for tasks of any size, trained on several domains of pictures."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.experiments.options.training_pictures import TrainingPictures
from pyro_sib.experiments.terminal.command import FROM_LAST_EPOCH, run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.objective import KL_WEIGHT
from pyro_sib.tasks.shape import POWER


@dataclass(frozen=True)
class TrainAnySettings(TrainingPictures):
    """Train a learner for tasks of any number of classes, examples and queries, on pictures of several domains.

    Tasks of the domains are taken in turn. An interrupted command goes on from its last finished epoch.
    `experiments.domains` measures what it writes.
    """

    made_up: bool = True
    """Also train on domains made of the known images' features: noisy, of few numbers, of merged classes."""
    image_size: int | None = None
    """Pixels a side; those of the network's training, unless given."""
    steps: int = 6
    """Rounds of the guide (K)."""
    coordinates: int = 40
    """Principal coordinates of a task's pile."""
    power: float = POWER
    """To which features that are not negative are raised for these coordinates; 1 leaves them as they are."""
    difficulty: float = 0.8
    """Most of the weight with which a known image is mixed with another."""
    kl_weight: float = KL_WEIGHT
    """Weight of the KL per number of w against a query's mean log likelihood."""
    iterations: int = 1200
    """SVI steps."""
    epochs: int = 12
    """How often to validate and to save."""
    learning_rate: float = 3e-3
    """Adam's first learning rate."""
    seed: int = 0
    """Of the tasks and draws."""
    out: Path = Path("runs/train-any")
    """For learner.safetensors and the training's state."""


def main() -> int:
    """`python -m experiments.train_any`."""
    return run_command(
        "pyro_sib.experiments.other_domains.train_any:train_any",
        from_command_line(TrainAnySettings, "train_any"),
        TrainAnySettings.check,
        FROM_LAST_EPOCH,
    )


if __name__ == "__main__":
    sys.exit(main())
