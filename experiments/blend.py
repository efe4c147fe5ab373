"""`python -m experiments.blend EVEN UNEVEN --fit-on HELD_EVEN HELD_UNEVEN`: two kinds of runs blended."""

import math
import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.config import read_settings
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.job.method import FORM, TASKS
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.options.data import MovedOptions
from pyro_sib.experiments.options.machine import DeviceOptions
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.experiments.trust.settings import check_fit


@dataclass(frozen=True)
class BlendSettings(DeviceOptions, MovedOptions):
    """Blend the predictions of a run trained on evenly queried tasks with those of one that was not.

    The share of each is a function of how uneven the second finds a task's queries, fitted on two runs like them
    that held base classes out: classes that are no test, and new to their features. Each of the four needs
    --second-balance, for both kinds of tasks, and may be several runs (of other seeds, say), folders joined by
    commas: their predictions are averaged.
    """

    runs: Annotated[tuple[str, str], tyro.conf.Positional]
    """Folders that experiments.run wrote: trained on balanced tasks, then on others."""
    fit_on: tuple[str, str]
    """Runs like these two, in their order and as many, with --hold-out-classes."""
    tasks: int | None = None
    """Evaluation tasks; as many as the runs had, unless given."""
    fit_tasks: int = 500
    """Tasks of each balance to fit the gate on."""
    false_alarms: float | None = None
    """Keep the even run's prediction unless a task looks more uneven than all but this share of even tasks do, 0.02
    say, instead of sharing by the least negative log likelihood."""
    out: Path = Path("runs/blend")
    """For result.json and tasks.csv."""

    def check(self) -> None:
        """What can be known before long work.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        alarms = self.false_alarms
        if alarms is not None and self.fit_tasks * min(alarms, 1 - alarms) < 1:
            raise InputError(
                f"--false-alarms {alarms} cannot be told from {self.fit_tasks} tasks; raise --fit-tasks to "
                f"{math.ceil(1 / min(alarms, 1 - alarms))} or more"
            )
        groups, fitted = self.groups()
        for group, others in zip(groups, fitted, strict=True):
            if len(group) != len(others):
                raise InputError(f"--fit-on names {len(others)} runs for {len(group)}; name one for each, in order")
        forms = {}
        for folder, other in zip(chain(*groups), chain(*fitted), strict=True):
            held = read_settings(folder).resolved()
            if held.joint:
                raise InputError(f"{folder} is a run of --setting lwof; blends are of standard ones")
            if held.second_balance is None:
                raise InputError(f"{folder} has tasks of one balance; run it with --second-balance dirichlet:2")
            if alarms is not None and held.query_balance != "balanced":
                raise InputError(
                    f"{folder} has --query-balance {held.query_balance}; --false-alarms is a share of balanced "
                    "tasks, so run it with --query-balance balanced"
                )
            forms[_form(held)] = folder
            check_fit(folder, other)
            if read_settings(other).second_balance != held.second_balance:
                raise InputError(f"--fit-on {other} has another --second-balance than {folder}; fit on a like run")
        if len({read_settings(folder).hold_out_classes for folder in chain(*fitted)}) > 1:
            raise InputError(
                f"--fit-on {' and '.join(map(str, self.fit_on))} have other data, classes held out or splits"
            )
        if len(forms) > 1:
            raise InputError(f"{' and '.join(map(str, self.runs))} have other tasks; blend runs of the same")

    def groups(self) -> tuple[list[list[Path]], list[list[Path]]]:
        """Folders to average over: of both runs, and of both to fit on.

        Raises:
            InputError: a list without a folder.
        """
        runs, fit_on = ([_folders(text) for text in texts] for texts in (self.runs, self.fit_on))
        return runs, fit_on


def _folders(text: str) -> list[Path]:
    found = [Path(word.strip()) for word in text.split(",") if word.strip()]
    if not found:
        raise InputError(f"{text!r} names no run; give a folder, or several joined by commas")
    return found


def _form(settings: Job) -> tuple[Any, ...]:
    return tuple(getattr(settings, name) for name in (*FORM, *TASKS, "second_balance", "backbone", "image_size"))


def main() -> int:
    """`python -m experiments.blend`."""
    return run_command(
        "pyro_sib.experiments.trust.blend:blend", from_command_line(BlendSettings, "blend"), BlendSettings.check
    )


if __name__ == "__main__":
    sys.exit(main())
