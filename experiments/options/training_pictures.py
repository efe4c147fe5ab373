"""The pictures that learners for tasks of any size are trained on: known ones, and domains that f does not know."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.machine import MachineOptions, check_device
from pyro_sib.features.network_card import read_card


@dataclass(frozen=True)
class TrainingPictures(MachineOptions):
    """Of commands that train on tasks of several domains."""

    group: ClassVar[str] = "picture"
    domains: tuple[Path, ...] = ()
    """Folders of class folders, each a domain that the feature network does not know; a folder that holds several
    such folders is several domains."""
    made: tuple[Path, ...] = ()
    """Folders as those of --domains, of pictures that are made (`experiments.made_pictures`) and not photographed;
    how far a task may be trusted is learned from three times as many tasks of a domain of photographs."""
    known: Path | None = None
    """Images that the feature network was trained on, base classes with csv lists or class folders: their tasks are
    made harder, by mixing images."""
    known_images: int = 100
    """Images of each known class."""
    network: str = "lite0"
    """Feature network, one that comes with the project or a file."""

    def check(self) -> None:
        """Whatever can be known before a picture is read.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        check_device(self.device)
        if not (self.domains or self.made) and self.known is None:
            raise InputError("--domains, --made and --known are all missing; name folders of pictures to train on")
        folders = [("--domains", folder) for folder in self.domains] + [("--made", folder) for folder in self.made]
        for option, folder in (("--known", self.known), *folders):
            if folder is not None and not folder.is_dir():
                raise InputError(
                    f"{option} {folder} is no folder; give one with a folder of pictures for each class"
                )
        read_card(self.network)
