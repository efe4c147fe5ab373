"""A grid of guides, priors and sizes on the same features and tasks: one table, its csv and its figures."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.catalogue import catalogue
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
from pyro_sib.experiments.terminal.command import FROM_LAST_EPOCH, run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.inference import LEARNERS
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.models import PRIORS

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
        known = guide in LEARNERS
        takes_steps = known and LEARNERS.declared(guide, "fixed_steps") is None
        has_lambda = known and LEARNERS.declared(guide, "takes_initializer")
        sib = takes_steps and LEARNERS.declared(guide, "takes_synthetic_gradient") and steps > 0
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
        words += ["held-out-images"] if cell.train_images != plain.train_images else []
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


def _check(settings: AblateSettings) -> None:
    for cell in cells(settings):
        cell.resolved()


def main() -> int:
    """`python -m experiments.ablate`."""
    settings = from_command_line(AblateSettings, "ablate")
    if settings.list:
        return run_command(lambda _: print(catalogue(), end=""), settings)
    return run_command("pyro_sib.experiments.comparison.ablate:ablate", settings, _check, FROM_LAST_EPOCH)


if __name__ == "__main__":
    sys.exit(main())
