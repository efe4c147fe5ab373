"""What a run leaves behind: config.json, result.json, tasks.csv."""

import csv
import io
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_sib.experiments.job.records import read_column
from pyro_sib.experiments.terminal.escape import in_csv
from pyro_sib.files import write_text
from pyro_sib.scores.metrics import TaskScores


def commit() -> str | None:
    """The checkout's commit, with -dirty where files differ; None outside git."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():  # an installed copy may lie in somebody else's checkout
        return None
    try:
        args = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Of the packages that the numbers depend on; a checkout that is not installed has none of its own."""
    return {name: _version(name) for name in ("pyro-sib", "torch", "pyro-ppl", "numpy")}


def provenance(device: torch.device, seconds: dict[str, float], stage: str, tasks: int) -> dict[str, Any]:
    """What a record says of where and when it was made, `stage` being the one that predicted the tasks."""
    return {
        "commit": commit(),
        "versions": versions(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "milliseconds_per_task": round(1000 * seconds[stage] / tasks, 4),
        "seconds": seconds,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def write_tasks(path: Path, scores: dict[str, TaskScores]) -> None:
    """tasks.csv: one row a task and prediction, the accuracies in percent.

    Args:
        path: of the file.
        scores: by the name of the prediction.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["prediction", "task", "novel", "base", "both", "nll", "brier"])
    for name, score in scores.items():
        columns = [_column(getattr(score, c), len(score.nll)) for c in ("novel", "base", "both", "nll", "brier")]
        writer.writerows([in_csv(name), task, *row] for task, row in enumerate(zip(*columns, strict=True)))
    write_text(path, buffer.getvalue())


def _column(values: Tensor | None, rows: int) -> list[str]:
    return [""] * rows if values is None else [f"{v:.6g}" for v in values.tolist()]


def read_tasks(path: Path, prediction: str, metric: str) -> Tensor:
    """`read_column` as a tensor, (T,)."""
    return torch.tensor(read_column(path, prediction, metric), dtype=torch.float64)
