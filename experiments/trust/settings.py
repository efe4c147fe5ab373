"""The settings of the calibrate command: one typed dataclass, which is the command line as well."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.config import config_of, read_settings
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.data import MovedOptions
from pyro_sib.experiments.options.machine import DeviceOptions
from pyro_sib.inference import BASELINES


@dataclass(frozen=True)
class CalibrateSettings(DeviceOptions, MovedOptions):
    """Put the point guide, the posterior and their tempered versions side by side, for each run given.

    Temperatures and widths are fitted on tasks of the training classes, never on those evaluated. Since f
    knows those classes, better ones come from `fit_on`.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders that experiments.run wrote, of the same data and task size."""
    tasks: int | None = None
    """Evaluation tasks; as many as the run had, unless given."""
    draws: int = 20
    """Of w."""
    fit_tasks: int = 200
    """Tasks of the training classes for what is fitted."""
    fit_on: tuple[Path, ...] = ()
    """Fit on these runs instead, one for each of `runs` in their order: the same settings with --hold-out-classes,
    so that the classes fitted on are training classes and yet new to the features."""
    out: Path = Path("runs/calibration")
    """For table.md, result.json and the figures."""

    def check(self) -> None:
        """What can be known before long work.

        Raises:
            InputError: what is wrong, what would be right.
        """
        if not self.runs:
            raise InputError("no run given; name a folder that `experiments.run` wrote")
        check_numbers(self)
        forms = {}
        for folder in self.runs:
            held = read_settings(folder).resolved()
            if held.guide in BASELINES:
                raise InputError(f"{folder}: {held.guide} has no posterior over w; give a run with a guide")
            forms[(held.setting, held.ways, held.shots, held.queries, held.query_balance, held.split)] = folder
        if len(forms) > 1:
            raise InputError(
                f"{' and '.join(map(str, forms.values()))} have other settings or task sizes; calibrate them apart"
            )
        if self.fit_on and len(self.fit_on) != len(self.runs):
            raise InputError(
                f"--fit-on names {len(self.fit_on)} runs for {len(self.runs)}; name one for each, in order"
            )
        for folder, other in zip(self.runs, self.fit_on, strict=False):
            check_fit(folder, other)


def check_fit(folder: Path, other: Path) -> None:
    """The two runs differ in nothing but the classes held out, and in where things are."""
    mine, theirs = (config_of(read_settings(f).resolved()) for f in (folder, other))
    if not theirs["hold_out_classes"]:
        raise InputError(f"--fit-on {other} held no classes out; run it with --hold-out-classes")
    free = ("hold_out_classes", "data_root", "split", "eval_tasks", "seed", "compare", "second_balance")
    if differing := sorted(k for k in mine if k not in free and mine[k] != theirs.get(k)):
        raise InputError(
            f"--fit-on {other} has other settings than {folder} ({', '.join(differing)}); fit on a like run"
        )
