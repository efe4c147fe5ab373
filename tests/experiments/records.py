"""A run's record for tests of what reads it, as a run would write it."""

import json
from pathlib import Path
from typing import Any

from pyro_sib.experiments.job.result import Calibration, Data, Result, Scales, Scores
from pyro_sib.scores.summary import ElboParts, MeanInterval


def record(**changes: Any) -> dict[str, Any]:
    """JSON; changes replace entries or add settings, dotted ones (as a__b) inner entries."""
    scores = {"metrics": {"novel": MeanInterval(55.2, 0.41)}, "calibration": Calibration(6.3, 1.1, 0.6)}
    result = Result(
        **scores,
        setting="standard",
        **{"ways": 5, "shots": 1, "queries": 15, "query_balance": "balanced", "split": "val", "tasks": 2000},
        **{"guide": "sib", "steps": 3, "prior": "diagonal", "kl_weight": 0.0, "iterations": 9000, "seed": 0},
        oracle=False,
        data=Data("mini-imagenet", "0123456789abcdef", "last 100 images of each class", 42),
        **{"backbone": "c64f", "base_accuracy": None, "commit": "abcdef0123456", "versions": {"torch": "2"}},
        **{"device": "cpu", "threads": 1, "milliseconds_per_task": 1.0, "seconds": {"train sib": 1.0}},
        at_the_mean=Scores(**scores),
        elbo=-1.1,
        elbo_parts=ElboParts(-1.2, 300.0, tasks=200),
        scales=Scales((1.0, 0.5), 11.0, 0.05, 1.0, 0.06, None),
    )
    held: dict[str, Any] = json.loads(json.dumps(result.to_json()))
    for name, value in changes.items():
        *outer, last = name.split("__")
        target = held
        for part in outer:
            target = target[part]
        target[last] = value
    if "metrics" in changes and "at_the_mean" not in changes:
        held["at_the_mean"]["metrics"] = changes["metrics"]
    return held


def scored(mean: float, ci95: float = 0.4, names: tuple[str, ...] = ("novel",), **more: Any) -> dict[str, Any]:
    """Metrics all the same, calibration, and what a part has besides."""
    calibration = {"ece": 1.0, "nll": 1.0, "brier": 0.5}
    return {"metrics": {name: {"mean": mean, "ci95": ci95} for name in names}, "calibration": calibration, **more}


def zero(mean: float, ci95: float = 0.4) -> dict[str, Any]:
    """K = 0 trained beside."""
    return scored(mean, ci95, steps=0, features="stage 1", at_the_mean=scored(mean), elbo_parts=None)


def write(folder: Path, **changes: Any) -> Path:
    """A run's folder with that record."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(record(**changes)))
    return folder
