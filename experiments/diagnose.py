"""Is a run's posterior to be trusted? Its draws in ArviZ's groups, tables and figures about them."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.config import read_settings
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.data import MovedOptions
from pyro_sib.experiments.options.machine import MachineOptions
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.inference import BASELINES, LEARNERS


@dataclass(frozen=True)
class DiagnoseSettings(MachineOptions, MovedOptions):
    """Diagnose a finished run's posterior over the tasks' weights: posterior.nc, tables and figures."""

    run: tyro.conf.Positional[Path]
    """The run's folder, as `experiments.run` left it."""
    tasks: int = 50
    """Evaluation tasks, from the first."""
    draws: int = 400
    """Posterior draws of each; the first ones are those that the run's predictions average over."""
    task: int = 0
    """The task whose weights are drawn."""
    chains: Path | None = None
    """Another file of draws with several chains (as an MCMC sampler leaves them): its ESS and R-hat."""
    out: Path | None = None
    """Where to write; RUN/diagnostics, unless given."""

    def check(self) -> None:
        """Whatever can be known before the run is read.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        if self.task >= self.tasks:
            raise InputError(f"--task {self.task}: it must be one of --tasks {self.tasks}, counted from 0")
        if self.chains is not None and not self.chains.is_file():
            raise InputError(f"--chains {self.chains} does not exist")
        guide = read_settings(self.run).guide
        if guide in BASELINES:
            raise InputError(
                f"{self.run} is a run of {guide}, which has no density over weights and so no k-hat; "
                f"name a run of a guide, such as sib"
            )
        if LEARNERS.declared(guide, "coordinates"):
            raise InputError(
                f"{self.run} is a run of {guide}, whose weights are of each task's own coordinates and cannot be "
                f"laid beside a prior of the features; name a run of another guide, such as sib"
            )


def main() -> int:
    """`python -m experiments.diagnose`."""
    return run_command(
        "pyro_sib.experiments.posterior.diagnose:diagnose",
        from_command_line(DiagnoseSettings, "diagnose"),
        DiagnoseSettings.check,
        "begins anew, with the posterior's file where that is finished",
    )


if __name__ == "__main__":
    sys.exit(main())
