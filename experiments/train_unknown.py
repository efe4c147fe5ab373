"""`python -m experiments.train_unknown`: fit the numbers by which a picture is found to belong to no class."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.machine import MachineOptions, check_device
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.features.network_card import read_card


@dataclass(frozen=True)
class TrainUnknownSettings(MachineOptions):
    """Fit the class of what belongs to no class, on tasks part of whose pile does not.

    The numbers are few and know nothing of a network or a domain; those that come with the project serve all
    learners of tasks of any size. `experiments.piles --unknown` measures others.
    """

    known: Path | None = None
    """Data whose base classes the network was trained on, such as mini-ImageNet; their tasks are made harder."""
    known_images: int = 100
    """Of each known class."""
    domains: tuple[Path, ...] = ()
    """Folders of class folders that the network does not know, each a domain."""
    network: str = "lite0"
    """Feature network, one that comes with the project or a file."""
    iterations: int = 150
    """Batches of six tasks, each of one domain and size."""
    learning_rate: float = 0.03
    """The first one."""
    seed: int = 0
    """Of the tasks."""
    out: Path = Path("runs/unknown")
    """For unknown.json."""

    def check(self) -> None:
        """What can be known before any picture is read.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        check_device(self.device)
        if self.known is None and not self.domains:
            raise InputError("--known and --domains are both missing; name data to take tasks from")
        for name, path in [("known", self.known), *(("domains", folder) for folder in self.domains)]:
            if path is not None and not path.is_dir():
                raise InputError(f"--{name} {path} is no folder; give a folder of data")
        read_card(self.network)


def main() -> int:
    """`python -m experiments.train_unknown`."""
    return run_command(
        "pyro_sib.experiments.other_domains.train_unknown:train_unknown",
        from_command_line(TrainUnknownSettings, "train_unknown"),
        TrainUnknownSettings.check,
    )


if __name__ == "__main__":
    sys.exit(main())
