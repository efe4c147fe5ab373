"""The result.json files of runs, checked, as one record each, for the tables."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyro_sib.experiments.job.method import exact, identity, method_of
from pyro_sib.experiments.job.records import NUMBER, read_result, take
from pyro_sib.experiments.terminal.tables import result_files

METRICS = ("novel", "base", "both")
GROUND = ("data.name", "data.fingerprint", "data.base_holdout", "data.image_size", "backbone")
"""What runs of one table share, beside the split."""
NOTED = ("guide", "prior", "kl_weight", "iterations", "tasks", "queries")
"""What every result says, and the notes below a table repeat."""
ASKED = ("query_balance",)
"""Tasks of another such balance have rows of their own, as those of another number of `queries` have."""
KINDS = {
    "data.image_size": int | None,
    "backbone": str | None,
    "prior": str | None,
    "kl_weight": NUMBER | None,
    "iterations": int | None,
} | dict.fromkeys(("tasks", "queries"), int)
"""Types of those that are not str; a comparator has no prior and no iterations."""
ONLY_ABOVE_ZERO = ("guide", "tune_features")
"""Settings in which the K = 0 that a run trains for comparison differs from the run."""

LAMBDA_AT_ZERO = ("sib", "init-only")
"""Guides whose K = 0 is the one that a run trains for comparison; others without steps are methods of their own."""


@dataclass(frozen=True)
class Run:
    """One result.json, or the K = 0 trained beside it.

    Attributes:
        path: folder.
        split: val or test.
        setting: standard or lwof.
        ground: GROUND's values.
        method: settings by name; runs that differ in one are never averaged.
        steps: K.
        metrics: name to (mean, 95% interval), percent.
        beside: K of the run that it was trained beside, or None for a run of its own.
    """

    path: Path
    split: str
    setting: str
    ground: tuple[Any, ...]
    method: dict[str, Any]
    steps: int
    ways: int
    shots: int
    seed: int
    commit: str | None
    metrics: dict[str, tuple[float, float]]
    beside: int | None = None

    @property
    def trained(self) -> bool:
        """Whether SVI trained it; a comparator has none of the settings of training."""
        return "iterations" in self.method

    @property
    def same_method(self) -> tuple[Any, ...]:
        """Equal exactly for runs that belong in one row."""
        return (self.setting, self.steps, *identity(self.method))

    @property
    def but_guide(self) -> tuple[Any, ...]:
        """Equal for a K = 0 of its own and one trained for comparison, whatever the task size."""
        kept = ((k, exact(v)) for k, v in self.method.items() if k not in ONLY_ABOVE_ZERO)
        return (self.split, self.ground, self.setting, *sorted(kept))

    def agrees(self, other: "Run") -> bool:
        """Whether nothing but the guide tells them apart, of what both guides take."""
        shared = (self.method.keys() & other.method.keys()) - set(ONLY_ABOVE_ZERO)
        ground = (self.split, self.ground, self.setting) == (other.split, other.ground, other.setting)
        return ground and all(exact(self.method[n]) == exact(other.method[n]) for n in shared)

    @property
    def cell(self) -> tuple[Any, ...]:
        """Where a K = 0 belongs."""
        return (self.ways, self.shots, *self.but_guide)


def read_runs(folders: list[Path]) -> list[Run]:
    """All runs at or below the folders, each once, and the K = 0 trained beside them where none stands alone.

    Raises:
        InputError: as in `report`.
    """
    own, zeros = [], []
    for path in result_files(folders):
        raw = read_result(path)
        run = _run(raw, path)
        own.append(run)
        if raw.get("comparison"):
            zeros.append(_comparison(raw, path, run))
    taken = {run.cell for run in own if run.steps == 0 and run.method["guide"] in LAMBDA_AT_ZERO}
    return own + [run for run in zeros if run.cell not in taken]


def _run(raw: dict[str, Any], path: Path) -> Run:
    values = {name: take(raw, name, path, KINDS.get(name, str)) for name in (*GROUND, *NOTED)}
    return Run(
        path=path.parent,
        split=take(raw, "split", path, str),
        setting=take(raw, "setting", path, str),
        ground=tuple(values[name] for name in GROUND),
        method=_method(raw),
        steps=take(raw, "steps", path, int),
        ways=take(raw, "ways", path, int),
        shots=take(raw, "shots", path, int),
        seed=take(raw, "seed", path, int),
        commit=take(raw, "commit", path, str | None),
        metrics=_metrics(raw, "metrics", path),
    )


def _method(raw: dict[str, Any]) -> dict[str, Any]:
    """What makes a row: the method without K, which has a place of its own, and what the tasks ask of it."""
    found = {name: raw.get(name) for name in NOTED} | method_of(raw) | {name: raw.get(name) for name in ASKED}
    return {
        n: v for n, v in (found | {"oracle": raw.get("oracle") or None}).items() if v is not None and n != "steps"
    }


def _comparison(raw: dict[str, Any], path: Path, run: Run) -> Run:
    """Trained on the features of stage 1, whatever the run's own are."""
    method = _method(raw | {"guide": "init-only", "steps": 0, "oracle": False, "tune_features": False})
    metrics = _metrics(raw, "comparison.metrics", path)
    return replace(run, method=method, steps=0, metrics=metrics, beside=run.steps)


def _metrics(raw: Any, name: str, path: Path) -> dict[str, tuple[float, float]]:
    names = [m for m in METRICS if m == "novel" or m in take(raw, name, path, dict)]
    return {
        m: (
            float(take(raw, f"{name}.{m}.mean", path, NUMBER)),
            float(take(raw, f"{name}.{m}.ci95", path, NUMBER)),
        )
        for m in names
    }
