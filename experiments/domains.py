"""`python -m experiments.domains`: learners and simple methods on domains that nobody trained on, cell by cell."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.machine import MachineOptions, check_device
from pyro_sib.experiments.options.names import listed
from pyro_sib.experiments.other_domains.grid import forms
from pyro_sib.experiments.other_domains.methods import METHODS, check_methods, check_pieces
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.features.network_card import read_card
from pyro_sib.inference.settings.card import SHIPPED, read_learner_card
from pyro_sib.tasks.shape import POWER

if TYPE_CHECKING:
    from pyro_sib.experiments.other_domains.grid import Form


@dataclass(frozen=True)
class DomainsSettings(MachineOptions):
    """Measure saved learners and simple methods on domains of pictures that nobody trained on.

    A cell is a domain with a form of tasks: ways, labeled examples of each class, proportions of the queries. All
    methods get the same tasks of each cell, and nothing of their queries' labels. An interrupted command goes on
    from its last finished cell.
    """

    domains: tuple[Path, ...] = ()
    """Folders of class folders, each a domain; a folder that holds several such folders is several domains."""
    features: tuple[Path, ...] = ()
    """Your own features instead, an .npz file for each domain with x, (n, D) floats, and y, (n,) labels."""
    network: str = "lite0"
    """Feature network for all methods, one that comes with the project or a file."""
    image_size: int | None = None
    """Pixels a side; those of the network's training, unless given."""
    learners: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help=f"Files of learners of these features or for any task, or {listed(SHIPPED)}."),
    ] = ()
    methods: Annotated[
        tuple[str, ...], tyro.conf.arg(help=f"Simple methods to measure beside them: {listed(METHODS)}.")
    ] = tuple(METHODS)
    power: float = POWER
    """To which the simple methods' features are raised where they are not negative, as lite0 does; 1 leaves them as
    they are."""
    ways: tuple[int, ...] = (5, 10)
    """Classes in a task."""
    shots: tuple[str, ...] = ("1", "5", "10", "unequal")
    """Labeled examples of each class: numbers, or unequal, which draws 1 to 10 for each class."""
    balances: tuple[str, ...] = ("even", "dirichlet:2", "dirichlet:0.5")
    """How a task's queries divide among its classes: even, or dirichlet:ALPHA."""
    queries: int = 15
    """Queries of each class on average."""
    tasks: int = 200
    """In each cell."""
    draws: int | None = None
    """Posterior draws that a learner's prediction averages; each learner's own number, unless given."""
    seed: int = 0
    """Of the tasks."""
    told: bool = False
    """Add rows in which methods are told that the queries are even, or the concentration of their Dirichlet."""
    ablate: bool = False
    """Also measure each learner without each of its pieces, as one hypothesis alone or no temperature, paired
    against the whole; for learners of the guide gaussian-mixture, as lite0 is."""
    out: Path = Path("runs/domains")
    """For domains.json, domains.md and domains.png."""

    def check(self) -> "list[Form]":
        """What can be known before any file of features or pictures is read; returns the forms of the tasks.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        check_device(self.device)
        if bool(self.domains) == bool(self.features):
            both = (
                "both given; choose one"
                if self.domains
                else "both missing; name the folders of one or more domains"
            )
            raise InputError(f"--domains and --features are {both}")
        found = forms(self.ways, self.shots, self.balances)
        check_methods(self.methods)
        for folder in self.domains:
            if not folder.is_dir():
                what = "is a file, not a folder" if folder.exists() else "does not exist"
                raise InputError(
                    f"--domains {folder} {what}; give a folder with a folder of pictures for each class"
                )
        for learner in self.learners:
            read_learner_card(learner)
        if self.ablate:
            check_pieces(self.learners)
        if self.domains:
            read_card(self.network)
        return found


def main() -> int:
    """`python -m experiments.domains`."""
    return run_command(
        "pyro_sib.experiments.other_domains.domains:measure_domains",
        from_command_line(DomainsSettings, "domains"),
        DomainsSettings.check,
        "goes on from the last finished cell",
    )


if __name__ == "__main__":
    sys.exit(main())
