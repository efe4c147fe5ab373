"""How long each stage takes beside the usual ways of doing it, measured side by side in one run."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from pyro_sib.backbones import BACKBONES
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.machine import DeviceOptions, check_device
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.files import check_writable
from pyro_sib.on_demand import Registry

if TYPE_CHECKING:
    from pyro_sib.experiments.speed.row import Bench, Progress, Row

STAGES: Registry["Callable[[Bench, Progress], Iterator[Row]]"] = Registry(
    {
        "svi_step": "stages:svi_step",
        "evaluate": "stages:evaluate_standard",
        "evaluate_lwof": "stages:evaluate_lwof",
        "pretrain": "images:pretrain",
        "extract": "images:extraction",
        "decode": "images:decode",
        "startup": "startup:startup",
    },
    below="pyro_sib.experiments.speed",
)
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

    def checked(self) -> list[str]:
        """The stages.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        if self.json is not None:
            _check_writable(self.json)
        check_device(self.device)
        self.chosen_backbones(on_gpu=False)
        return _named("stage", self.stages, STAGES)

    def chosen_backbones(self, on_gpu: bool) -> tuple[str, ...]:
        """Those named, or the ones that suit the device.

        Raises:
            InputError: an unknown name.
        """
        names = self.backbones or ("c64f,c128f,wrn-28-10" if on_gpu and not self.quick else "c64f")
        return tuple(_named("backbone", names, BACKBONES))


def _named(kind: str, names: str, known: Iterable[str]) -> list[str]:
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


def main() -> int:
    """`python -m experiments.benchmark`."""
    return run_command(
        "pyro_sib.experiments.speed.benchmark:benchmark",
        from_command_line(BenchmarkSettings, "benchmark"),
        BenchmarkSettings.checked,
    )


if __name__ == "__main__":
    sys.exit(main())
