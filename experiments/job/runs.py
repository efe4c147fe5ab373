"""Runs with their records, and the K = 0 trained beside them, for the tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pyro_sib.experiments.job.method import FORM, exact, identity, method_of
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.terminal.tables import result_files

ASKED = ("tasks", "queries", "query_balance")
"""Evaluations that differ in one of these have rows of their own."""
ONLY_ABOVE_ZERO = ("guide", "tune_features")
"""Settings in which the K = 0 that a run trains for comparison differs from the run."""
LAMBDA_AT_ZERO = ("sib", "init-only")
"""Guides whose K = 0 is the one that a run trains for comparison; others without steps are methods of their own."""


@dataclass(frozen=True)
class Run:
    """One result.json, or the K = 0 trained beside it.

    Attributes:
        path: folder.
        result: the record.
        beside: K of the run that it was trained beside, or None for a run of its own.
    """

    path: Path
    result: Result
    beside: int | None = None

    @property
    def form(self) -> tuple[Any, ...]:
        """What kind of task."""
        return tuple(getattr(self.result, name) for name in FORM)

    @cached_property
    def method(self) -> dict[str, Any]:
        """Settings by name; runs that differ in one are never averaged."""
        return method_of(self.result)

    @cached_property
    def row(self) -> dict[str, Any]:
        """The method without K, which has a place of its own in reports, and what the tasks ask of it."""
        asked = {name: getattr(self.result, name) for name in ASKED}
        return {name: value for name, value in (self.method | asked).items() if name != "steps"}

    @property
    def ground(self) -> tuple[Any, ...]:
        """What runs of one table share, beside the split."""
        data, result = self.result.data, self.result
        network = result.network_digest or result.options.get("network")
        return (data.name, data.fingerprint, data.base_holdout, data.image_size, result.backbone, network)

    @property
    def same_row(self) -> tuple[Any, ...]:
        """Equal exactly for runs that belong in one row of a report."""
        return (self.result.setting, self.result.steps, *identity(self.row))

    def agrees(self, other: "Run") -> bool:
        """Whether nothing but the guide tells them apart, of what both guides take."""
        shared = (self.row.keys() & other.row.keys()) - set(ONLY_ABOVE_ZERO)
        ours, theirs = ((r.result.split, r.result.setting, r.ground) for r in (self, other))
        return ours == theirs and all(exact(self.row[name]) == exact(other.row[name]) for name in shared)


def own_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs at or below the folders, each once.

    Raises:
        InputError: no results, or one that is damaged or of another version.
    """
    return [Run(path.parent, Result.read(path)) for path in result_files(folders)]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The same, and the K = 0 trained beside them where none stands alone."""
    own = own_runs(folders)
    alone = [run for run in own if run.result.steps == 0 and run.result.guide in LAMBDA_AT_ZERO]
    zeros = [_zero(run) for run in own if run.result.comparison is not None]
    return own + [zero for zero in zeros if not any(zero.form == r.form and zero.agrees(r) for r in alone)]


def _zero(run: Run) -> Run:
    """Trained on the features of stage 1, whatever the run's own are."""
    assert run.result.comparison is not None
    options = run.result.options | {"tune_features": False}
    metrics = run.result.comparison.metrics
    zero = replace(run.result, metrics=metrics, guide="init-only", steps=0, oracle=False, options=options)
    return Run(run.path, zero, beside=run.result.steps)
