"""How long each stage takes beside the usual ways of doing it, measured side by side in one run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from pyro_sib.experiments.benchmark import STAGES, BenchmarkSettings
from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.device import choose_device
from pyro_sib.experiments.speed.figures import growth
from pyro_sib.experiments.speed.floor import measure_rates
from pyro_sib.experiments.speed.row import Bench, Row
from pyro_sib.experiments.speed.timing import machine
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import write_json
from pyro_sib.torch_state import plain_torch


@plain_torch()
def benchmark(settings: BenchmarkSettings, reporter: Reporter | None = None) -> list[dict[str, Any]]:
    """Run the stages; the files are rewritten after each, so that what is done is kept. Returns the rows.

    Raises:
        InputError: what the user can mend; raised before anything is measured.
    """
    stages, reporter = settings.checked(), reporter or Reporter()
    device = choose_device(settings.device)
    backbones = settings.chosen_backbones(device.type == "cuda")
    threads = settings.threads or (2 if device.type == "cpu" else torch.get_num_threads())
    torch.set_num_threads(threads)
    with reporter.stage("rates", "the machine's rates"):
        rates = measure_rates(device, settings.quick)
    here = {**machine(device), **rates.as_dict(), "quick": settings.quick}
    reporter.say(", ".join(f"{name} {value}" for name, value in here.items()))
    seconds = (0.5 if settings.quick else 5.0) if settings.seconds is None else settings.seconds
    bench = Bench(device, threads, rates, settings.quick, seconds, backbones, reporter.say)
    rows: list[Row] = []
    for name in stages:
        with reporter.stage(name, name) as advance:
            for row in STAGES[name](bench, advance):
                rows.append(row)
                reporter.say(f"  {_line(row)}")
        _save(rows, here, settings.json)
    _show(rows, reporter)
    if settings.json is not None:
        with Decorations(reporter).trying("the figure"):
            _draw(rows, here, settings.json)
        reporter.say(f"{settings.json}, {', '.join(str(p) for p in _beside(settings.json))}")
    return _records(rows, here)


def _beside(path: Path) -> list[Path]:
    """Of the machine, and of the figure where there is one."""
    found = [path.with_suffix(".machine.json"), path.with_suffix(".png")]
    return [other for other in found if other.exists()]


def _records(rows: list[Row], here: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows for JSON, each with the device and the threads in its params."""
    common = {name: here[name] for name in ("device", "threads")}
    return [replace(row, params={**row.params, **common}).as_dict() for row in rows]


def _save(rows: list[Row], here: dict[str, Any], path: Path | None) -> None:
    if path is None:
        return
    write_json(path, _records(rows, here))
    write_json(path.with_suffix(".machine.json"), here)


def _draw(rows: list[Row], here: dict[str, Any], path: Path) -> None:
    if (figure := growth(rows, f"{here['device']}, threads: {here['threads']}")) is not None:
        save_figure(figure, path.with_suffix(".png"))


def _cells(row: Row) -> list[str]:
    """Stage, params, ours, peer, its time, ratio, ours / floor, memory."""
    shown = {name: f"{v:.4g}" if isinstance(v, float) else v for name, v in row.params.items()}
    params = " ".join(f"{name}={value}" for name, value in shown.items())
    beside = ["", "", ""] if row.peer is None else [row.peer, _time(row.peer_s), f"{row.ratio:.3f}"]
    floor = "" if row.floor_s is None else f"{row.ours_s / row.floor_s:.1f}"
    return [
        row.stage,
        params,
        _time(row.ours_s),
        *beside,
        floor,
        "" if row.peak_mib is None else f"{row.peak_mib:.0f}",
    ]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.2f} ms"


def _line(row: Row) -> str:
    stage, params, ours, peer, peer_s, ratio, floor, peak = _cells(row)
    words = [f"{stage} {params}: {ours}"]
    words += [f"{peer} {peer_s}, ratio {ratio}"] if peer else []
    words += [f"{floor} times the floor"] if floor else []
    return "; ".join(words + ([f"{peak} MiB"] if peak else []))


def _show(rows: list[Row], reporter: Reporter) -> None:
    table = Table(title="ratio = ours / peer", caption="floor: arithmetic or memory traffic at the measured rates")
    for column in ("stage", "params", "ours", "peer", "its time", "ratio", "ours / floor", "peak MiB"):
        table.add_column(column, justify="left" if column in ("stage", "params", "peer") else "right")
    for row in rows:
        table.add_row(*_cells(row))
    reporter.show(table)
