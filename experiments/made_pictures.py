"""`python -m experiments.made_pictures`: domains of pictures to train learners for any task on."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.machine import CacheOptions
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line


@dataclass(frozen=True)
class MadePicturesSettings(CacheOptions):
    """Paint letters and objects, and spoil known images, as domains for `experiments.train_any --made OUT`.

    Letters, painted objects, and of known images their edges, coarse copies and shuffled tiles: a folder of class
    folders each. One that is there is left as it is.
    """

    known: Path | None = None
    """Base classes with csv lists or class folders, 48 or more, that three of the domains are made of; without them
    there are two."""
    out: Path = Path("made")
    """For a folder of each domain."""
    seed: int = 0
    """Of what is painted."""

    def check(self) -> None:
        """What can be known before painting.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        if self.known is not None and not self.known.is_dir():
            raise InputError(f"--known {self.known} is no folder; give one with a folder of images for each class")


def main() -> int:
    """`python -m experiments.made_pictures`."""
    return run_command(
        "pyro_sib.experiments.own_pictures.made:make_pictures",
        from_command_line(MadePicturesSettings, "made_pictures"),
        MadePicturesSettings.check,
    )


if __name__ == "__main__":
    sys.exit(main())
