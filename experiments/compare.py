"""Published transductive methods and simple ones, evaluated on the features and the tasks of `experiments.run`."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.recipes import COMPARATORS, comparators_named
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.job.settings import Job, RunSettings
from pyro_sib.experiments.options.alike import alike
from pyro_sib.experiments.options.data import DataOptions
from pyro_sib.experiments.options.machine import MachineOptions
from pyro_sib.experiments.options.names import listed
from pyro_sib.experiments.options.network import Stage1Options
from pyro_sib.experiments.options.tasks import EvaluationTasks, OneSizeTasks
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.features.network_card import read_card
from pyro_sib.inference.settings.card import SHIPPED, read_learner_card
from pyro_sib.inference.settings.shipped_learners import named_learner


@dataclass(frozen=True)
class CompareSettings(MachineOptions, Stage1Options, DataOptions, EvaluationTasks):
    """Evaluate other transductive methods beside `experiments.run --setting standard`.

    BD-CSPN, LaplacianShot, TIM and PT-MAP are those of the package easyfsl, which they need (`uv sync --extra
    comparators`); soft k-means and the variational Bayesian mixture are our own and need no other package.

    The same options give the same features (those of stage 1) and evaluation tasks as there, so that results are
    paired by task. What a method is not published with is chosen on tasks of the base classes: of those held out by
    --hold-out-classes, which f does not know, where there are some.
    """

    shots: tuple[int, ...] = (1,)
    """Labeled examples of each novel class (S)."""
    propagation: float = 0.0
    """Give the comparators features that have moved towards those like them (embedding propagation): the strength,
    from 0 (off) to below 1."""
    comparators: str = ",".join(COMPARATORS)
    """Which, separated by commas."""
    choose_tasks: int = 100
    """Balanced tasks of the base classes on which settings are chosen."""
    chosen_from: Path | None = None
    """Take the settings that were chosen there, in another --out of this command, as on held-out classes."""
    learners: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            help=f"Learners to evaluate on the same tasks: files, or ones that come with the project "
            f"({listed(SHIPPED)}; of mini-imagenet-c128f, those for these --shots). The features are theirs, "
            f"unless --network gives them; one for tasks of any size, as lite0, then takes these too. "
            f"A table of their paired margins over the comparators is written."
        ),
    ] = ()
    beside: tuple[Path, ...] = ()
    """Finished runs on the same features and tasks, whose margins over the comparators go into that table."""
    out: Path = Path("runs/comparators")
    """One folder below it for each comparator, and learner-LEARNER for each learner; with several --shots in a
    folder S-shot for each."""

    def cells(self) -> "list[Comparison]":
        """One for each number of shots.

        Raises:
            InputError: what is wrong, what would be right.
        """
        if not self.shots:
            raise InputError("--shots is empty; give at least one number")
        return [
            alike(Comparison, self, shots=shots, learner=self._features_of(shots), out=self._folder(shots))
            for shots in dict.fromkeys(self.shots)
        ]

    def runs(self) -> list[RunSettings]:
        """The evaluations of the learners, one for each and each number of shots.

        Raises:
            InputError: there is no such learner.
        """
        self._check_features()
        found = []
        for shots in dict.fromkeys(self.shots):
            for name in self.learners:
                full = named_learner(name, shots=shots, setting="standard")
                where = Path(full).resolve()
                called = full if full in SHIPPED else f"{where.parent.name}-{where.stem}"
                out = self._folder(shots) / f"learner-{called}"
                own = {"setting": "standard", "learner": full, "shots": shots, "out": out}
                theirs = () if read_learner_card(full).any_features else ("network",)
                found.append(alike(RunSettings, self, *own, *theirs, "propagation", **own))
        return found

    def _check_features(self) -> None:
        """Refuse learners of different feature networks, whose tasks are not the same.

        Raises:
            InputError: two are, or one is of another network than the one that is named.
        """
        whose = {} if self.network is None else {f"--network {self.network}": read_card(self.network).backbone}
        for shots in dict.fromkeys(self.shots):
            for name in self.learners:
                card = read_learner_card(named_learner(name, shots=shots, setting="standard"))
                if card.pictures is not None and not (card.any_features and self.network):
                    whose[f"--learners {name}"] = card.pictures.backbone
        if len(set(whose.values())) > 1:
            (first, one), *others = whose.items()
            second, other = next(pair for pair in others if pair[1] != one)
            more = "" if self.network else ", or give --network, which a learner for any task takes too"
            raise InputError(
                f"{first} has features of {one}, but {second} of {other}, so that nothing is paired; "
                f"leave one out{more}"
            )

    def _features_of(self, shots: int) -> str | None:
        """The learner whose features serve, where no network is named."""
        if self.network is not None or not self.learners:
            return None
        return named_learner(self.learners[0], shots=shots, setting="standard")

    def _folder(self, shots: int) -> Path:
        return self.out if len(set(self.shots)) == 1 else self.out / f"{shots}-shot"


@dataclass(frozen=True)
class Comparison(MachineOptions, Stage1Options, DataOptions, OneSizeTasks):
    """The comparators at one number of shots, the settings of `CompareSettings`."""

    comparators: str = ",".join(COMPARATORS)
    choose_tasks: int = 100
    chosen_from: Path | None = None
    learner: str | None = None
    """Whose feature network it is, in place of `network` and stage 1."""
    out: Path = Path("runs/comparators")

    def run_settings(self) -> Job:
        """The run on whose features and tasks the comparators are evaluated.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        of_learner = ("network", "propagation") if self.learner else ()
        job = alike(RunSettings, self, *of_learner, setting="standard").resolved()
        seen = {"propagation": self.propagation, "coordinates": None, "guide": "sib", "initializer": "support"}
        return replace(job, **seen)  # type: ignore[arg-type]


def _check(settings: CompareSettings) -> None:
    comparators_named(settings.comparators)
    for cell in settings.cells():
        cell.run_settings()
    for run in settings.runs():
        run.resolved()


def main() -> int:
    """`python -m experiments.compare`."""
    return run_command(
        "pyro_sib.experiments.comparison.compare:compare",
        from_command_line(CompareSettings, "compare"),
        _check,
        "goes on from the last finished comparator",
    )


if __name__ == "__main__":
    sys.exit(main())
