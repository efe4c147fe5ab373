"""A finished run's learner as a file for others: its card says what it is, what it scored and what it is for."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.data import MovedOptions
from pyro_sib.experiments.options.machine import DeviceOptions
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.files import check_writable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True)
class ShipSettings(DeviceOptions, MovedOptions):
    """Make of a finished run a learner that others can use, as OUT/NAME.safetensors.

    The file is read back and evaluated as it is, on the run's own evaluation tasks and on tasks of held-out images
    of its base classes; these figures are the ones on its card. To let it come with the project, put it into
    pyro_sib/weights/learners and the line that is printed into SHIPPED in inference/settings/card.py.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    name: str
    """Under which results speak of it, as mini-imagenet-c128f-5shot-lwof."""
    hardware: str
    """On which it was trained."""
    commit: str | None = None
    """Of the code that trained it; the one that the run names, unless given."""
    chosen_by: str = ""
    """How its settings were chosen, and on which data."""
    licence: str | None = None
    """Of the weights, and what they must not be used for; Apache-2.0 and the usual limits, unless given."""
    half: bool = False
    """Store the feature network and the base classes' numbers in 16 bits."""
    own_tasks: int = 500
    """Tasks of held-out images of the base classes to evaluate it on; 0 is none."""
    out: Path = Path("runs/shipped")
    """Folder of the file."""

    def check(self) -> None:
        """What can be known before the run is read.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        if not _NAME.fullmatch(self.name):
            raise InputError(f"--name {self.name!r}: letters, digits, dots and hyphens are needed")
        for file in ("learner.safetensors", "result.json", "config.json"):
            if not (self.run / file).is_file():
                raise InputError(f"{self.run} has no {file}; name a folder that a finished `experiments.run` wrote")
        check_writable(self.out, "--out")


def main() -> int:
    """`python -m experiments.ship RUN --name NAME --hardware WORDS`."""
    return run_command(
        "pyro_sib.experiments.job.ship:ship", from_command_line(ShipSettings, "ship"), ShipSettings.check
    )


if __name__ == "__main__":
    sys.exit(main())
