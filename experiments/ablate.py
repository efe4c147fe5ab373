"""A grid of guides, priors and sizes on the same features and tasks: one table, its csv and its figures."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from matplotlib.figure import Figure

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.catalogue import catalogue
from pyro_sib.experiments.comparison.figures import accuracies, against_steps, against_time
from pyro_sib.experiments.comparison.row import Row, read_rows
from pyro_sib.experiments.comparison.table import markdown, table_rows
from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.options.alike import alike
from pyro_sib.experiments.options.data import OwnDataOptions
from pyro_sib.experiments.options.learner import StepOptions
from pyro_sib.experiments.options.machine import CacheOptions
from pyro_sib.experiments.options.names import listed
from pyro_sib.experiments.options.network import BackboneOptions
from pyro_sib.experiments.options.tasks import TrainedTasks
from pyro_sib.experiments.options.training import BudgetOptions
from pyro_sib.experiments.run import run
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.terminal.tables import csv_table
from pyro_sib.files import check_writable, write_text
from pyro_sib.inference import LEARNERS
from pyro_sib.inference.guides.sib import SIBGuide
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.steps.synthetic_gradients import SYNTHETIC_GRADIENTS
from pyro_sib.models import PRIORS

FIGURES: dict[str, Callable[[list[Row]], Figure | None]] = {
    "accuracy": accuracies,
    "steps": against_steps,
    "time": against_time,
}
"""Each by the name of its file; None where there is nothing to draw."""
Number = TypeVar("Number", int, float)


def _one_of(what: str, known: Mapping[str, object]) -> object:
    """Help that names all that may be listed."""
    return tyro.conf.arg(help=f"{what}: {listed(known)}; --list explains them.")


@dataclass(frozen=True)
class AblateSettings(CacheOptions, BudgetOptions, StepOptions, BackboneOptions, OwnDataOptions, TrainedTasks):
    """Run every combination of what is listed, cell by cell, and put the results side by side.

    Lists are separated by commas. What is already there is not run again. The first guide, prior and so on make the
    row that the others are compared with, task by task.
    """

    guides: Annotated[str, _one_of("Guides and baselines", LEARNERS)] = "sib"
    priors: Annotated[str, _one_of("Priors, or default for the setting's own", PRIORS)] = "default"
    settings: str = "standard"
    """standard, lwof."""
    steps: str = "3"
    """K, for guides that take steps."""
    shots: str = "1"
    """S."""
    xis: Annotated[str, _one_of("Synthetic gradients, for sib", SYNTHETIC_GRADIENTS)] = "mlp"
    initializers: Annotated[str, _one_of("lambda, for guides that take steps", INITIALIZERS)] = "support"
    seeds: str = "0"
    """Of stage 2."""
    train_balances: str = "balanced"
    """Query balance of the training tasks: balanced, dirichlet:ALPHA, mixed:ALPHA."""
    propagations: str = "0"
    """Strengths of embedding propagation; 0 is none."""
    list: bool = False
    """Print every guide, baseline, prior, xi and lambda with a line each, and stop."""

    image_size: int = 42
    """Pixels a side, of images from --data-root."""
    pretrain_epochs: int = 25
    """Epochs of stage 1, for images from --data-root."""
    iterations: int = 3000
    """SVI steps of each cell."""
    beside: tuple[Path, ...] = ()
    """Results on the same tasks to put beside the grid's, as of experiments.compare."""
    out: Path = Path("runs/ablation")
    """One folder below it for each cell; the table, table.csv and the figures lie beside them."""


def cells(settings: AblateSettings) -> list[RunSettings]:
    """The settings of every cell, in order, none twice.

    Raises:
        InputError: an empty list, or a number that is none, or out of its bounds.
    """
    check_numbers(settings)
    images = settings.data_root is not None
    common = alike(
        RunSettings,
        settings,
        *("shots", "steps", "support_gradient", "out"),
        setting="standard",
        compare=False,
        data="folders" if images else "synthetic",
        image_size=settings.image_size if images and settings.network is None else None,
        pretrain_epochs=settings.pretrain_epochs if images else None,
    )
    found: dict[Path | None, RunSettings] = {}
    for cell in _combinations(settings, common):
        found.setdefault(cell.out, cell)
    return list(found.values())


def _combinations(settings: AblateSettings, common: RunSettings) -> Iterator[RunSettings]:
    lists = (
        _words(settings, "settings"),
        _numbers(settings, "shots"),
        _words(settings, "guides"),
        _words(settings, "priors"),
        _words(settings, "xis"),
        _words(settings, "initializers"),
        _words(settings, "train_balances"),
        _numbers(settings, "propagations", float),
        _numbers(settings, "steps"),
        _numbers(settings, "seeds"),
    )
    for setting, shots, guide, prior, xi, initializer, balance, propagation, steps, seed in product(*lists):
        if setting not in ("standard", "lwof"):
            raise InputError(f"unknown setting {setting!r}; choose standard or lwof")
        kind = LEARNERS.get(guide)
        takes_steps = kind is not None and kind.fixed_steps is None
        has_lambda = kind is not None and kind.takes_initializer
        sib = kind is SIBGuide and steps > 0
        plain = RunSettings(setting="standard")
        cell = replace(
            common,
            setting=setting,  # type: ignore[arg-type]
            shots=shots,
            guide=guide,
            prior=None if prior == "default" else prior,
            synthetic_gradient=xi if sib else plain.synthetic_gradient,
            initializer=initializer if has_lambda else plain.initializer,
            train_query_balance=balance,
            propagation=propagation,
            support_gradient=sib and settings.support_gradient,
            steps=steps if takes_steps else plain.steps,
            seed=seed,
        )
        words = [setting, f"{shots}shot", guide, *([xi] if sib else []), *([initializer] if has_lambda else [])]
        words += [prior, *([f"K{steps}"] if takes_steps else []), balance.replace(":", "")]
        words += [*([f"propagation{_exactly(propagation)}"] if propagation else []), f"seed{seed}"]
        words += [f"trained-{cell.train_ways}way"] if cell.train_ways not in (None, cell.ways) else []
        words += ["support-gradient"] if sib and settings.support_gradient else []
        words += [f"batch{cell.batch_size}"] if cell.batch_size != plain.batch_size else []
        words += [f"rate{_exactly(cell.learning_rate)}"] if cell.learning_rate is not None else []
        yield replace(cell, out=settings.out / "-".join(words))


def _exactly(value: float) -> str:
    """In few digits where they say it all, so that no two values share a folder."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _words(settings: AblateSettings, name: str) -> list[str]:
    words = [word.strip() for word in getattr(settings, name).split(",") if word.strip()]
    if not words:
        raise InputError(f"--{name.replace('_', '-')} is empty; name at least one")
    return words


def _numbers(settings: AblateSettings, name: str, kind: type[Number] = int) -> list[Number]:
    words = _words(settings, name)
    try:
        return [kind(word) for word in words]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(f"--{name} {getattr(settings, name)}: {what}, separated by commas") from None


def ablate(settings: AblateSettings, reporter: Reporter | None = None) -> None:
    """Run what is not yet there, then write the table and the figures.

    Raises:
        InputError: a cell that cannot be run, before any is.
    """
    reporter = reporter or Reporter()
    grid = [cell.resolved() for cell in cells(settings)]
    check_writable(settings.out, "--out")
    spent: list[float] = []
    for number, cell in enumerate(grid, 1):
        left = (
            "" if not spent else f", about {sum(spent) / len(spent) * (len(grid) - number + 1) / 60:.0f} min left"
        )
        reporter.say(f"cell {number} of {len(grid)}: {cell.out.name}{left}")
        new, start = not (cell.out / "result.json").exists(), time.perf_counter()
        run(cell, Reporter(reporter.console))
        if new:
            spent.append(time.perf_counter() - start)
    rows = read_rows([*(cell.out for cell in grid), *settings.beside])
    text = markdown(rows)
    write_text(settings.out / "table.md", text)
    write_text(settings.out / "table.csv", csv_table(table_rows(rows)))
    reporter.say(text)
    drawn, decorations = [], Decorations(reporter)
    for name, draw in FIGURES.items():
        with decorations.trying(f"{name}.png"):
            if (figure := draw(rows)) is not None:
                save_figure(figure, settings.out / f"{name}.png")
                drawn.append(f"{name}.png")
    reporter.say(f"{settings.out}/: {', '.join(['table.md', 'table.csv', *drawn])}")


def _command(settings: AblateSettings) -> None:
    if settings.list:
        print(catalogue(), end="")
    else:
        ablate(settings)


def main() -> int:
    """`python -m experiments.ablate`."""
    return run_command(_command, from_command_line(AblateSettings, "ablate"))


if __name__ == "__main__":
    sys.exit(main())
