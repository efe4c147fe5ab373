"""piles.json: what was measured, written and read here alone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pyro_sib.experiments.job.records import read_resumed
from pyro_sib.files import write_json
from pyro_sib.scores.summary import MeanInterval

VERSION: Literal[1] = 1
"""Of the file; one of another number is refused."""


@dataclass(frozen=True)
class PileRow:
    """One method in one cell, over what belongs to a class.

    Attributes:
        method: its name.
        accuracy: percent.
        nll: nats.
        ece: percent, 15 bins.
        auroc: percent, how well it tells what belongs to no class, by its probability of that or, for a method that
            has none, by its largest probability; None where all belongs to one.
        seconds: of a prediction, the mean.
    """

    method: str
    accuracy: MeanInterval
    nll: MeanInterval
    ece: float
    auroc: MeanInterval | None
    seconds: float


@dataclass(frozen=True)
class Sets:
    """The learner's conformal prediction sets in one cell.

    Attributes:
        tasks: how many.
        coverage: percent of pictures whose set holds their class.
        size: classes in a set, the mean.
        left_out: percent right of the labeled pictures that were left out in turn.
    """

    tasks: int
    coverage: MeanInterval
    size: float
    left_out: float


@dataclass(frozen=True)
class PileCell:
    """One form of tasks on one domain.

    Attributes:
        domain: its name.
        ways: classes in a task.
        shots: labeled pictures of each class, a number or unequal.
        balance: of the pile.
        pile: pictures that were asked for.
        unknown: share of the pile that belongs to no class.
        tasks: how many.
        rows: of the methods, the learner first.
        sets: None with too few labeled pictures, or where none were made.
        flagged: percent of what belongs to no class, and of the others, that the learner flags as such; None where
            all belongs to one.
    """

    domain: str
    ways: int
    shots: str
    balance: str
    pile: int
    unknown: float
    tasks: int
    rows: tuple[PileRow, ...]
    sets: Sets | None
    flagged: tuple[float, ...] | None

    @property
    def place(self) -> tuple[Any, ...]:
        """What tells the cell from others."""
        return self.domain, self.ways, self.shots, self.balance, self.pile, self.unknown


@dataclass(frozen=True)
class Curve:
    """Accuracy on pictures that nobody labels, against labels asked for beyond one of each class.

    Attributes:
        domain: its name.
        tasks: how many.
        labels: how many, in the order of the accuracies.
        accuracy: percent by way of asking, one for each number of labels.
        share: percent of random choice's labels that the learner's choice needs for the accuracy of the former, for
            each number of labels but 0; None where it never gets there.
        gain: accuracy by the learner's choice less that by random choice, paired by task, for each number of
            labels.
    """

    domain: str
    tasks: int
    labels: tuple[int, ...]
    accuracy: dict[str, tuple[MeanInterval, ...]]
    share: tuple[float | None, ...]
    gain: tuple[MeanInterval, ...] = ()


@dataclass(frozen=True)
class PilesRecord:
    """All that piles.json holds.

    Attributes:
        version: of the file.
        of: what determines the numbers.
        made: commit and versions.
        cells: that are finished, in their order.
        curves: that are finished, one for each domain.
    """

    version: Literal[1]
    of: dict[str, Any]
    made: dict[str, Any]
    cells: tuple[PileCell, ...] = ()
    curves: tuple[Curve, ...] = ()

    def write(self, path: Path) -> None:
        """As JSON."""
        write_json(path, asdict(self))


def resumed(path: Path, of: dict[str, Any], made: dict[str, Any]) -> PilesRecord:
    """What the file holds of these measurements; a new record where it is not there.

    Raises:
        InputError: the file is damaged, of another version, or of other measurements.
    """
    return read_resumed(PilesRecord, path, VERSION, of) or PilesRecord(VERSION, of, made)
