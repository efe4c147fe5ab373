"""`python -m experiments.example_pictures`: class folders and a pile of painted pictures, to try classify on."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line


@dataclass(frozen=True)
class ExampleSettings:
    """Paint objects of a few kinds: some with labels, a pile without, and some of kinds that nobody labeled."""

    out: Path = Path("example")
    """For labeled/KIND/ and pile/."""
    labeled: int = 3
    """Pictures of each of five kinds."""
    pile: int = 75
    """Pictures of these kinds without labels."""
    strange: int = 15
    """Further ones, of two kinds that nobody labeled."""
    image_size: int = 96
    """Pixels a side."""
    seed: int = 3
    """Of the kinds and the pictures."""

    def check(self) -> None:
        """What can be known before painting.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise InputError(f"--out {self.out} is there and not empty; name a new folder")


def main() -> int:
    """`python -m experiments.example_pictures`."""
    return run_command(
        "pyro_sib.experiments.own_pictures.example:paint_example",
        from_command_line(ExampleSettings, "example_pictures"),
        ExampleSettings.check,
    )


if __name__ == "__main__":
    sys.exit(main())
