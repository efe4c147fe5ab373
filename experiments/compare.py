"""Published transductive methods and simple ones, evaluated on the features and the tasks of `experiments.run`."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.experiments.comparison.recipes import COMPARATORS, comparators_named
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.job.settings import Job, RunSettings
from pyro_sib.experiments.options.alike import alike
from pyro_sib.experiments.options.data import SourceOptions
from pyro_sib.experiments.options.machine import MachineOptions
from pyro_sib.experiments.options.network import Stage1Options
from pyro_sib.experiments.options.tasks import OneSizeTasks
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line


@dataclass(frozen=True)
class CompareSettings(MachineOptions, Stage1Options, SourceOptions, OneSizeTasks):
    """Evaluate other transductive methods beside `experiments.run --setting standard`.

    BD-CSPN, LaplacianShot, TIM and PT-MAP are those of the package easyfsl, which they need (`uv sync --extra
    comparators`); soft k-means and the variational Bayesian mixture are our own and need no other package.

    The same options give the same features (those of stage 1) and evaluation tasks as there, so that results are
    paired by task. What a method is not published with is chosen on tasks of the base classes.
    """

    comparators: str = ",".join(COMPARATORS)
    """Which, separated by commas."""
    choose_tasks: int = 100
    """Balanced tasks of the base classes on which settings are chosen."""
    out: Path = Path("runs/comparators")
    """One folder below it for each comparator."""

    def run_settings(self) -> Job:
        """The run on whose features and tasks the comparators are evaluated.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        return alike(RunSettings, self, setting="standard").resolved()


def _check(settings: CompareSettings) -> None:
    comparators_named(settings.comparators), settings.run_settings()


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
