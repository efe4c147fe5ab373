"""domains.json: what was measured, written and read here alone."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pyro_sib.experiments.job.records import read_resumed
from pyro_sib.files import write_json
from pyro_sib.scores.summary import MeanInterval

VERSION: Literal[1] = 1
"""Of the file; one of another number is refused."""


@dataclass(frozen=True)
class Row:
    """One method in one cell.

    Attributes:
        method: its name.
        simple: whether it is a simple method, else a learner.
        told: whether it was told of the proportions.
        accuracy: percent.
        nll: nats.
        ece: percent, 15 bins.
        best: name of the simple method, among rows told no more than this one, with the highest mean accuracy.
        gain: accuracy less that method's, paired by task.
        over_logistic: accuracy less that of logistic regression, told as much as this row; None without it.
        whole: of a learner without one of its pieces, the name of the whole one; else empty.
        over_whole: accuracy less that of the whole one, told as much, paired by task; None without one.
    """

    method: str
    simple: bool
    told: bool
    accuracy: MeanInterval
    nll: MeanInterval
    ece: float
    best: str
    gain: MeanInterval
    over_logistic: MeanInterval | None
    whole: str = ""
    over_whole: MeanInterval | None = None

    @property
    def name(self) -> str:
        """In tables."""
        return row_name(self.method, self.told)


def row_name(method: str, told: bool) -> str:
    """A method's name in tables."""
    return f"{method}, told" if told else method


@dataclass(frozen=True)
class Cell:
    """One form of tasks on one domain.

    Attributes:
        domain: its name.
        ways: classes in a task.
        shots: labeled examples of each class, a number or unequal.
        balance: of the queries.
        tasks: how many.
        queries: of a task, the mean.
        rows: of the methods.
    """

    domain: str
    ways: int
    shots: str
    balance: str
    tasks: int
    queries: float
    rows: tuple[Row, ...]

    @property
    def place(self) -> tuple[str, int, str, str]:
        """What tells the cell from others."""
        return self.domain, self.ways, self.shots, self.balance


@dataclass(frozen=True)
class MethodSummary:
    """One method over all cells.

    Attributes:
        method: its name.
        simple: whether it is a simple method, else a learner.
        told: whether it was told of the proportions.
        accuracy: percent, the mean over cells.
        best_simple: percent, the mean over cells of the best simple method of each.
        gain: the mean over cells of the paired gain over that method.
        worst_gain: the least of them.
        worst_cell: where it is, in words.
        below: cells in which the gain is less than -0.5.
        nll: nats, the mean over cells.
        ece: percent, the mean over cells.
        largest_ece: percent.
    """

    method: str
    simple: bool
    told: bool
    accuracy: float
    best_simple: float
    gain: float
    worst_gain: float
    worst_cell: str
    below: int
    nll: float
    ece: float
    largest_ece: float


@dataclass(frozen=True)
class DomainsRecord:
    """All that domains.json holds.

    Attributes:
        version: of the file.
        of: what determines the numbers: domains, features, learners, forms of tasks, seed.
        made: commit and versions.
        cells: that are finished, in their order.
        summary: over these.
        decoration_warnings: what could not be drawn; None until it was tried.
    """

    version: Literal[1]
    of: dict[str, Any]
    made: dict[str, Any]
    cells: tuple[Cell, ...] = ()
    summary: tuple[MethodSummary, ...] = ()
    decoration_warnings: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def resumed(path: Path, of: dict[str, Any], made: dict[str, Any]) -> DomainsRecord:
    """What the file holds of these measurements; a new one, written at once, where it is not there.

    Args:
        path: of domains.json.
        of: what determines the numbers, as JSON has it.
        made: commit and versions, for a new one.

    Raises:
        InputError: the file is damaged, of another version, or of other measurements.
    """
    if (record := read_resumed(DomainsRecord, path, VERSION, of)) is not None:
        return record
    record = DomainsRecord(VERSION, of, made)
    write_json(path, record.to_json())
    return record
