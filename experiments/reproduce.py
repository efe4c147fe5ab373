"""All rows of docs/results.md, one after another; stopped and started again, it goes on where it was."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.job.settings import RunSettings, said
from pyro_sib.experiments.options.alike import alike
from pyro_sib.experiments.options.data import ImageOptions
from pyro_sib.experiments.options.learner import XiOptions
from pyro_sib.experiments.options.machine import MachineOptions
from pyro_sib.experiments.options.names import explained
from pyro_sib.experiments.options.network import BackboneOptions
from pyro_sib.experiments.options.tasks import Setting, TrainImages
from pyro_sib.experiments.terminal.command import FROM_LAST_EPOCH, run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS

KL_WEIGHTS = (0.0, 0.001, 0.01, 0.1, 1.0, 10.0, 1000.0)
"""The sweep, from no KL to more than the literal one, N D over the number of queries."""


Part = Literal["standard", "lwof", "best", "xi", "kl"]


SETTINGS: tuple[Setting, ...] = ("standard", "lwof")


OTHER_XI = ("equivariant", "marginal")
"""Beside the paper's, at K = 3."""


@dataclass(frozen=True)
class ReproduceSettings(MachineOptions, XiOptions, BackboneOptions, ImageOptions):
    """Run every row of the results: K by shots by setting, seeds of K = 3, other xi, the sweep of kl_weight.

    With `table`, the paper's table at full size instead: 84 px, the paper's epochs and iterations, every K with
    every seed, and below the paper's learner the best one. Stopped at any moment, the same command goes on with the
    epoch that it was at.
    """

    table: Literal[1, 2] | None = None
    """The paper's table: 1 (validation classes) or 2 (test classes)."""
    data_root: Path | None = None
    """Folder of the images, mini-ImageNet's for --table; without it the synthetic world serves."""
    image_size: int | None = None
    """Pixels a side; 84 with --table and 42 otherwise, unless given."""
    pretrain_epochs: int | None = None
    """Epochs of stage 1; 60 with --table and 25 otherwise, unless given."""
    iterations: int | None = None
    """SVI steps of each row; the paper's 60000 with --table and 3000 otherwise, unless given."""
    kl_weight: float | None = None
    """Weight of the KL per number of w, of every row but the sweep's; that of `experiments.run`, unless given."""
    select_tasks: int = 500
    """Validation tasks by which a row's best epoch is chosen."""
    eval_tasks: int | None = None
    """Tasks to evaluate a row on; 2000 on val and 600 on test, unless given."""
    second_balance: str | None = None
    """Evaluate every row on tasks of this query balance as well."""
    train_images: TrainImages = "seen"
    """Images of every row's training tasks: those of stage 1, or (held-out) of base classes' images that f has not
    seen."""
    split: Literal["val", "test"] | None = None
    """Classes to evaluate on; those of the table, or val."""
    steps: tuple[int, ...] = (0, 1, 3, 5)
    """K."""
    shots: tuple[int, ...] = (1, 5)
    """S."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of K = 3; the other K have the first one only, or all of them with --table."""
    seeded_steps: tuple[int, ...] | None = None
    """K that have every seed; 3, or every K with --table, unless given."""
    best_xi: Annotated[str, explained("xi of the best learner, at K = 3.", SYNTHETIC_GRADIENTS)] = "context"
    best_initializer: Annotated[str, explained("lambda of the best learner.", INITIALIZERS)] = "support"
    best_propagation: float = 0.0
    """Strength of embedding propagation of the best learner; 0 is none."""
    parts: tuple[Part, ...] | None = None
    """Which rows; standard, lwof and best with --table and all but best otherwise, unless given. Best is of the
    settings that are named beside it, or of both."""
    out: Path | None = None
    """One folder below it for each row; runs/results or runs/table-TABLE-BACKBONE, unless given."""

    def filled(self) -> "Reproduction":
        """All defaults filled in.

        Raises:
            InputError: a table without the images that it is of, or of other classes than are asked for.
        """
        check_numbers(self)
        full = self.table is not None
        if full and self.data_root is None:
            raise InputError(
                f"--table {self.table} is of mini-ImageNet; give --data-root, the folder with its images"
            )
        if self.train_images == "held-out" and self.data_root is None:
            raise InputError(
                "--train-images held-out: the synthetic world holds out 10 images of a base class, too few for its "
                "tasks of 16; give --data-root"
            )
        classes: Literal["val", "test"] = "test" if self.table == 2 else "val"
        if full and self.split not in (None, classes):
            raise InputError(f"--table {self.table} is of the {classes} classes; leave --split {self.split} out")
        out = Path("runs") / (
            f"table-{self.table}-{Path(self.network or self.backbone).stem}" if full else "results"
        )
        filled = {
            "image_size": said(self.image_size, 84 if full else 42) if self.network is None else None,
            "pretrain_epochs": said(self.pretrain_epochs, 60 if full else 25),
            "iterations": said(self.iterations, 60_000 if full else 3000),
            "split": self.split or classes,
            "seeded_steps": said(self.seeded_steps, self.steps if full else (3,)),
            "parts": said(self.parts, (*SETTINGS, *(("best",) if full else ("xi", "kl")))),
            "out": self.out or out,
        }
        return Reproduction(**vars(self) | filled)


@dataclass(frozen=True, kw_only=True)
class Reproduction(ReproduceSettings):
    """With nothing left open."""

    seeded_steps: tuple[int, ...] = field()
    parts: tuple[Part, ...] = field()
    out: Path = field()


def rows(settings: ReproduceSettings) -> list[RunSettings]:
    """The settings of every row, in order.

    Raises:
        InputError: no row is left.
    """
    settings = settings.filled()
    common = alike(
        RunSettings,
        settings,
        *("steps", "shots", "out"),
        setting="standard",
        compare=False,
        data="folders" if settings.data_root else "synthetic",
    )
    found = [row for setting in SETTINGS if setting in settings.parts for row in _grid(settings, common, setting)]
    if "best" in settings.parts:
        those = [setting for setting in SETTINGS if setting in settings.parts] or SETTINGS
        found += [row for setting in those for row in _best(settings, common, setting)]
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


def _grid(settings: Reproduction, common: RunSettings, setting: Setting) -> Iterator[RunSettings]:
    """The paper's learner: every K at every number of shots."""
    for shots in settings.shots:
        for steps in settings.steps:
            for seed in settings.seeds if steps in settings.seeded_steps else settings.seeds[:1]:
                row = replace(common, setting=setting, shots=shots, steps=steps, seed=seed)
                yield replace(row, out=settings.out / f"{setting}-{shots}shot-K{steps}-seed{seed}")


def _best(settings: Reproduction, common: RunSettings, setting: Setting) -> Iterator[RunSettings]:
    """The best learner, at K = 3 with every seed, each choice of it in folders of its own."""
    best = replace(
        common,
        setting=setting,
        synthetic_gradient=settings.best_xi,
        initializer=settings.best_initializer,
        propagation=settings.best_propagation,
    )
    moved = f"-propagation{settings.best_propagation!r}" if settings.best_propagation else ""
    for shots in settings.shots:
        for seed in settings.seeds:
            name = f"{setting}-{shots}shot-{best.synthetic_gradient}-{best.initializer}{moved}-seed{seed}"
            yield replace(best, shots=shots, seed=seed, out=settings.out / "best" / name)


def _check(settings: ReproduceSettings) -> None:
    for row in rows(settings):
        row.resolved()


def main() -> int:
    """`python -m experiments.reproduce`."""
    return run_command(
        "pyro_sib.experiments.job.reproduce:reproduce",
        from_command_line(ReproduceSettings, "reproduce"),
        _check,
        FROM_LAST_EPOCH,
    )


if __name__ == "__main__":
    sys.exit(main())
