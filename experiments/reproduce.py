"""All rows of docs/results.md, one after another; stopped and started again, it goes on where it was."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import tyro

from experiments.cli import run_command
from experiments.progress import Reporter
from experiments.run import run
from experiments.settings import RunSettings
from pyro_sib.errors import InputError

KL_WEIGHTS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1.0)
"""The sweep, from no KL to the literal one."""
SETTINGS: tuple[Literal["standard", "lwof"], ...] = ("standard", "lwof")
OTHER_XI = ("equivariant", "marginal")
"""Beside the paper's, at K = 3."""


@dataclass(frozen=True)
class ReproduceSettings:
    """Run every row of the results: K by shots by setting, seeds of K = 3, other xi, the sweep of kl_weight."""

    data_root: Path | None = None
    """Folder of mini-ImageNet; without it the synthetic world serves."""
    image_size: int = 42
    """Pixels a side."""
    backbone: str = "c64f"
    """Feature network."""
    pretrain_epochs: int = 25
    """Epochs of stage 1."""
    iterations: int = 3000
    """SVI steps of each row."""
    synthetic_gradient: str = "mlp"
    """xi."""
    split: Literal["val", "test"] = "val"
    """Classes to evaluate on."""
    steps: tuple[int, ...] = (0, 1, 3, 5)
    """K."""
    shots: tuple[int, ...] = (1, 5)
    """S."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of K = 3; the other K have the first one only."""
    parts: tuple[Literal["standard", "lwof", "xi", "kl"], ...] = ("standard", "lwof", "xi", "kl")
    """Which rows."""
    out: Path = Path("runs/results")
    """One folder below it for each row."""
    cache_dir: Path = field(default=Path("runs/cache"))
    """Shared by all rows."""


def rows(settings: ReproduceSettings) -> list[RunSettings]:
    """The settings of every row, in order.

    Raises:
        InputError: no row is left.
    """
    common = RunSettings(
        setting="standard",
        data="mini-imagenet" if settings.data_root else "synthetic",
        data_root=settings.data_root,
        image_size=settings.image_size,
        backbone=settings.backbone,
        pretrain_epochs=settings.pretrain_epochs,
        iterations=settings.iterations,
        synthetic_gradient=settings.synthetic_gradient,
        split=settings.split,
        compare=False,
        cache_dir=settings.cache_dir,
    )
    found: list[RunSettings] = []
    for setting in SETTINGS:
        if setting not in settings.parts:
            continue
        for shots in settings.shots:
            for steps in settings.steps:
                for seed in settings.seeds if steps == 3 else settings.seeds[:1]:
                    name = f"{setting}-{shots}shot-K{steps}-seed{seed}"
                    row = replace(common, setting=setting, shots=shots, steps=steps, seed=seed)
                    found.append(replace(row, out=settings.out / name))
    if "xi" in settings.parts:
        for setting in SETTINGS:
            for xi in OTHER_XI:
                out = settings.out / "xi" / f"{setting}-1shot-K3-{xi}"
                found.append(replace(common, setting=setting, synthetic_gradient=xi, out=out))
    if "kl" in settings.parts:
        found += [
            replace(common, kl_weight=weight, out=settings.out / "kl" / f"{weight:g}") for weight in KL_WEIGHTS
        ]
    if not found:
        raise InputError("no row is left; give --parts, --steps, --shots and --seeds at least one value each")
    return found


def reproduce(settings: ReproduceSettings) -> None:
    """Run what is not yet there."""
    reporter = Reporter()
    everything = rows(settings)
    for row in everything:
        row.resolved()  # a wrong name stops the whole before its first row
    for number, row in enumerate(everything, 1):
        reporter.say(f"row {number} of {len(everything)}: {row.out}")
        run(row, Reporter(reporter.console))


def main() -> int:
    """`python -m experiments.reproduce`."""
    settings = tyro.cli(ReproduceSettings, prog="python -m experiments.reproduce")
    return run_command(lambda: reproduce(settings))


if __name__ == "__main__":
    sys.exit(main())
