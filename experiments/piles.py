"""`python -m experiments.piles`: how well piles of pictures are classified, on domains of one's own."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.machine import MachineOptions, check_device
from pyro_sib.experiments.piles_grid.forms import PileForm, pile_forms
from pyro_sib.experiments.piles_grid.names import check_methods
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.features.network_card import read_card
from pyro_sib.inference.settings.card import read_learner_card


@dataclass(frozen=True)
class PilesSettings(MachineOptions):
    """Measure what the command classify does: labels, sets, pictures of no class, and what to label next.

    A cell is a domain with labeled pictures of each class, a size of the pile and its proportions. In closed cells
    the pile has the labeled classes alone; all methods are measured and, on some tasks, the prediction sets. In
    open cells, with fewer classes, part of the pile belongs to none of them. For each domain there is a curve of
    accuracy against the labels that were asked for. An interrupted command goes on from its last finished cell.
    """

    domains: tuple[Path, ...] = ()
    """Folders of class folders, each a domain; a folder that holds several such folders is several domains."""
    features: tuple[Path, ...] = ()
    """Your own features instead, an .npz file for each domain with x, (n, D) floats, and y, (n,) labels."""
    network: str = "lite0"
    """Feature network, one that comes with the project or a file."""
    learner: str = "lite0"
    """Name of a learner of tasks of any size, or the file of one."""
    unknown: Path | None = None
    """A file of train_unknown, in place of the numbers that come with the project."""
    methods: tuple[str, ...] = ("class-means", "soft-k-means", "logistic-regression", "label-spreading")
    """To measure beside it; also bd-cspn, tim and pt-map of easyfsl."""
    ways: int = 10
    """Classes of a task."""
    open_ways: int = 7
    """Classes of a task part of whose pile belongs to none of them."""
    unknown_share: float = 0.25
    """That part."""
    shots: tuple[str, ...] = ("1", "2", "5", "10", "unequal")
    """Labeled pictures of each class: numbers, or unequal, which draws 1 to 10 for each class."""
    piles: tuple[int, ...] = (10, 100, 600)
    """Pictures of a pile; fewer where the classes have not so many."""
    balances: tuple[str, ...] = ("even", "dirichlet:2")
    """How a pile divides among its classes: even, or dirichlet:ALPHA."""
    tasks: int = 200
    """In each cell, of each kind."""
    set_tasks: int = 20
    """Of these, those whose prediction sets are made: each labeled picture is left out of each in turn."""
    curve_tasks: int = 20
    """For the curve of each domain; 0 leaves it out."""
    curve_alone: bool = False
    """Leave the cells out; the same command without it goes on with them."""
    coverage: float = 0.9
    """Of the prediction sets."""
    draws: int = 20
    """Posterior draws that a prediction averages."""
    seed: int = 0
    """Of the tasks."""
    out: Path = Path("runs/piles")
    """For piles.json and piles.md."""

    @property
    def measures_open(self) -> bool:
        """Whether there are cells part of whose pile belongs to no class."""
        return bool(self.unknown_share) and not self.curve_alone

    def check(self) -> list[PileForm]:
        """What can be known before any file of features or pictures is read; returns the cells of each domain.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        check_device(self.device)
        if bool(self.domains) == bool(self.features):
            given = "both given; choose one" if self.domains else "both missing; name the folders of domains"
            raise InputError(f"--domains and --features are {given}")
        check_methods(self.methods)
        if not read_learner_card(self.learner).any_features:
            raise InputError(f"--learner {self.learner} serves tasks of one size; name one of any size, as lite0")
        if self.curve_alone and not self.curve_tasks:
            raise InputError("--curve-alone with --curve-tasks 0 leaves nothing to measure; leave one of them out")
        if self.unknown is not None and not self.unknown.is_file():
            raise InputError(f"--unknown {self.unknown} is no file; give the unknown.json that train_unknown wrote")
        if self.domains:
            read_card(self.network)
        lists = self.shots, self.balances, self.piles
        opened = pile_forms(self.open_ways, *lists, self.unknown_share) if self.measures_open else []
        return pile_forms(self.ways, *lists) + opened


def main() -> int:
    """`python -m experiments.piles`."""
    return run_command(
        "pyro_sib.experiments.piles_grid.piles:measure_piles",
        from_command_line(PilesSettings, "piles"),
        PilesSettings.check,
    )


if __name__ == "__main__":
    sys.exit(main())
