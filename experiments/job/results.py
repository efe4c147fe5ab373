"""What a run leaves behind: config.json, result.json, tasks.csv."""

import csv
import io
import subprocess
from dataclasses import MISSING, asdict, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.options.data import reader_of
from pyro_sib.experiments.terminal.escape import in_csv
from pyro_sib.files import check_writable, read_json, write_json, write_text
from pyro_sib.scores.metrics import TaskScores

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_WHERE_NOT_WHAT = ("out", "cache_dir", "device", "threads", "posterior_tasks")
"""Settings that say where to compute and what to write beside the result, not what the result is."""


def config_of(settings: "DataclassInstance") -> dict[str, Any]:
    """The settings that determine the result, JSON-able."""
    return _read_alike({n: _plain(value) for n, value in asdict(settings).items() if n not in _WHERE_NOT_WHAT})


def _read_alike(config: dict[str, Any]) -> dict[str, Any]:
    """The same for all names under which the same data are read."""
    return {name: reader_of(value) if name == "data" else value for name, value in config.items()}


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def claim_folder(out: Path, settings: "DataclassInstance") -> None:
    """Make `out` this configuration's folder, or find that it is.

    Raises:
        InputError: it holds another configuration's run, or cannot be written.
    """
    config, path = config_of(settings), out / "config.json"
    if not path.exists():
        check_writable(out, "--out")
        write_json(path, config)
        return
    written = read_json(path)
    if not isinstance(written, dict):
        raise InputError(f"{path} is no run's configuration; choose another --out or delete the folder")
    held = _read_alike({**_defaults(settings), **written})
    differing = sorted(k for k in config.keys() | held.keys() if held.get(k) != config.get(k))
    if differing:
        raise InputError(
            f"{out} holds a run with other settings ({', '.join(differing)}); "
            f"choose another --out or delete the folder"
        )


def _defaults(settings: "DataclassInstance") -> dict[str, Any]:
    """What a folder written before a setting existed says of it."""
    known = (f for f in fields(settings) if f.default is not MISSING and f.name not in _WHERE_NOT_WHAT)
    return {f.name: _plain(f.default) for f in known}


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
