"""The domains that a command measures: of pictures, by a named network, or from files of features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pyro_sib.experiments.other_domains.domain import (
    Domain,
    check_folders,
    domain_of_pictures,
    domains_of_features,
)
from pyro_sib.experiments.other_domains.folders import DomainFolder, find_domains
from pyro_sib.experiments.other_domains.grid import Form
from pyro_sib.experiments.other_domains.network import Network, open_network
from pyro_sib.experiments.terminal.progress import Reporter


@dataclass(frozen=True)
class OpenDomains:
    """Domains all of which that can be refused without decoding a picture was.

    Attributes:
        network: of the features; None where they are given.
        features: D.
        folders: of the domains; none where features are given.
        read: the domains themselves, after long work where they are of pictures; an InputError says that a picture
            cannot be read, or that too few are without copies.
    """

    network: Network | None
    features: int
    folders: list[DomainFolder]
    read: Callable[[], list[Domain]]

    @property
    def words(self) -> str:
        """Which features these are."""
        if self.network is None:
            return f"as given, of {self.features} numbers"
        return f"{self.network.name}, {self.network.image_size} px, {self.network.fit}"


def open_domains(
    folders: Sequence[Path],
    files: Sequence[Path],
    network: str,
    image_size: int | None,
    forms: Sequence[Form],
    cache: Path,
    device: torch.device,
    reporter: Reporter,
) -> OpenDomains:
    """Open the domains of these folders, or of these files where there are any.

    Args:
        folders: of pictures.
        files: of features.
        network: its name, for the pictures' features.
        image_size: of the pictures; the network's own unless given.
        forms: of the tasks.
        cache: folder of kept pictures and features.
        device: where to compute.
        reporter: told what is done.

    Raises:
        InputError: a file that does not serve, too few classes or pictures, or classes that the network knows.
    """
    if files:
        given = domains_of_features(files, forms, reporter)
        return OpenDomains(None, given[0].split.x.shape[1], [], lambda: given)
    found = find_domains(folders)
    opened = open_network(network, image_size, device)
    check_folders(found, opened, forms)
    return OpenDomains(
        opened,
        opened.features,
        found,
        lambda: [domain_of_pictures(one, opened, forms, cache, device, reporter) for one in found],
    )
