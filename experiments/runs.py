"""The result.json files of runs, checked, as one record each, for the tables."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.tables import result_files
from pyro_sib.errors import InputError
from pyro_sib.files import read_json

METRICS = ("novel", "base", "both")
GROUND = ("data.name", "data.fingerprint", "data.base_holdout", "data.image_size", "backbone")
"""What runs of one table share, beside the split."""
METHOD = ("guide", "prior", "kl_weight", "iterations", "tasks", "queries")
"""What runs of one row share, beside any further setting that result.json holds."""
ELSEWHERE = ("seed", "steps", "ways", "shots", "setting", "split", "image_size", "backbone", "eval_tasks")
OUTCOMES = ("elbo", "base_accuracy", "commit", "device", "threads", "comparison", "second", "milliseconds_per_task")
"""Scalars of result.json that are not further settings: accounted for elsewhere, or results and places."""
KINDS = {
    "data.image_size": int | None,
    "backbone": str | None,
    "prior": str | None,
    "kl_weight": int | float | None,
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
        return (self.setting, self.steps, *sorted((k, exact(v)) for k, v in self.method.items()))

    @property
    def but_guide(self) -> tuple[Any, ...]:
        """Equal for a K = 0 of its own and one trained for comparison, whatever the task size."""
        kept = ((k, exact(v)) for k, v in self.method.items() if k not in ONLY_ABOVE_ZERO)
        return (self.split, self.ground, self.setting, *sorted(kept))

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
        raw = read_json(path)
        run = _run(raw, path)
        own.append(run)
        if raw.get("comparison"):
            zeros.append(_comparison(raw, path, run))
    taken = {run.cell for run in own if run.steps == 0 and run.method["guide"] in LAMBDA_AT_ZERO}
    return own + [run for run in zeros if run.cell not in taken]


def _run(raw: Any, path: Path) -> Run:
    values = {name: _take(raw, name, path, KINDS.get(name, str)) for name in (*GROUND, *METHOD)}
    further = {
        name: value
        for name, value in (raw.items() if isinstance(raw, dict) else ())
        if name not in ELSEWHERE + OUTCOMES and value is not None and not isinstance(value, dict | list)
    }
    return Run(
        path=path.parent,
        split=_take(raw, "split", path, str),
        setting=_take(raw, "setting", path, str),
        ground=tuple(values[name] for name in GROUND),
        method={n: values[n] for n in METHOD if values[n] is not None}
        | {n: v for n, v in further.items() if n not in values},
        steps=_take(raw, "steps", path, int),
        ways=_take(raw, "ways", path, int),
        shots=_take(raw, "shots", path, int),
        seed=_take(raw, "seed", path, int),
        commit=_take(raw, "commit", path, str | None),
        metrics=_metrics(raw, "metrics", path),
    )


def _comparison(raw: Any, path: Path, run: Run) -> Run:
    changes = {"guide": "init-only"} | ({"tune_features": False} if "tune_features" in run.method else {})
    metrics = _metrics(raw, "comparison.metrics", path)
    return replace(run, method=run.method | changes, steps=0, metrics=metrics, beside=run.steps)


def _metrics(raw: Any, name: str, path: Path) -> dict[str, tuple[float, float]]:
    names = [m for m in METRICS if m == "novel" or m in _take(raw, name, path, dict)]
    number = int | float
    return {
        m: (
            float(_take(raw, f"{name}.{m}.mean", path, number)),
            float(_take(raw, f"{name}.{m}.ci95", path, number)),
        )
        for m in names
    }


def _take(raw: Any, name: str, path: Path, kind: Any = object) -> Any:
    """The value at a dotted name, its type checked."""
    value = raw
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise InputError(f"{path} has no {name}; run that experiment again")
        value = value[part]
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", str(kind))
        raise InputError(f"{path}: {name} is {value!r}, not {wanted}; run that experiment again")
    return value


def exact(value: Any) -> str:
    """Equal for equal settings, 0 and 0.0 among them."""
    return repr(float(value)) if isinstance(value, int | float) else repr(value)
