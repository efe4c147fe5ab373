"""How long each stage takes beside the usual ways of doing it, measured side by side in one run."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.table import Table

from pyro_sib.backbones import BACKBONES
from pyro_sib.errors import InputError
from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.machine import DeviceOptions, choose_device
from pyro_sib.experiments.speed.figures import growth
from pyro_sib.experiments.speed.floor import measure_rates
from pyro_sib.experiments.speed.images import decode, extraction, pretrain
from pyro_sib.experiments.speed.row import Bench, Progress, Row
from pyro_sib.experiments.speed.stages import evaluate_lwof, evaluate_standard, svi_step
from pyro_sib.experiments.speed.startup import startup
from pyro_sib.experiments.speed.timing import machine
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, write_json
from pyro_sib.torch_state import plain_torch

STAGES: dict[str, Callable[[Bench, Progress], Iterator[Row]]] = {
    "svi_step": svi_step,
    "evaluate": evaluate_standard,
    "evaluate_lwof": evaluate_lwof,
    "pretrain": pretrain,
    "extract": extraction,
    "decode": decode,
    "startup": startup,
}
"""Each stage, in the order in which they run."""


@dataclass(frozen=True)
class BenchmarkSettings(DeviceOptions):
    """Time every stage beside its peers on the same inputs, and beside the least time that its arithmetic takes.

    Ratios are ours / peer, medians of interleaved repetitions, so below 1 ours is faster.
    """

    quick: bool = False
    """Small sizes and few repetitions: a minute or two, to see that all of it works. The ratios are rough."""
    json: Path | None = None
    """File for the rows, a list of {stage, params, peer, ours_s, peer_s, ratio, floor_s, peak_mib}; beside it go
    FILE.machine.json and the figure FILE.png."""
    stages: str = ",".join(STAGES)
    """Which, separated by commas."""
    backbones: str | None = None
    """For pretrain and extract, separated by commas; c64f, and on a GPU c128f and wrn-28-10 too, unless given."""
    seconds: float | None = None
    """To spend on the repetitions of one case; 0.5 with --quick and 5 without, unless given."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """CPU threads; 2, or torch's choice beside a GPU, unless given."""

    def checked(self) -> tuple[list[str], tuple[str, ...]]:
        """The stages, and the backbones.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        if self.json is not None:
            _check_writable(self.json)
        large = choose_device(self.device).type == "cuda" and not self.quick
        names = self.backbones or ("c64f,c128f,wrn-28-10" if large else "c64f")
        return _named("stage", self.stages, STAGES), tuple(_named("backbone", names, BACKBONES))


def _named(kind: str, names: str, known: dict[str, Any]) -> list[str]:
    found = [name.strip() for name in names.split(",") if name.strip()]
    for name in found or [""]:
        if name not in known:
            raise InputError(f"unknown {kind} {name!r}; choose of {', '.join(known)}")
    return found


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"--json {path} is a folder; name a file in it")
    if path.suffix != ".json":
        raise InputError(f"--json {path}: a name that ends in .json is needed")
    check_writable(path.parent, "--json")


@plain_torch()
def benchmark(settings: BenchmarkSettings, reporter: Reporter | None = None) -> list[dict[str, Any]]:
    """Run the stages; the files are rewritten after each, so that what is done is kept. Returns the rows.

    Raises:
        InputError: what the user can mend; raised before anything is measured.
    """
    stages, backbones = settings.checked()
    reporter = reporter or Reporter()
    device = choose_device(settings.device)
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


def main() -> int:
    """`python -m experiments.benchmark`."""
    return run_command(benchmark, from_command_line(BenchmarkSettings, "benchmark"))


if __name__ == "__main__":
    sys.exit(main())
