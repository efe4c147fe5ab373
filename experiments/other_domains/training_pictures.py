"""The domains of features that learners for tasks of any size are trained on, from pictures."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pyro_sib.data import BASE_TRAIN, DataSet, Split, read_images
from pyro_sib.data.fingerprint import fingerprint
from pyro_sib.data.names import MINI_IMAGENET
from pyro_sib.errors import InputError, argument
from pyro_sib.experiments.job.device import choose_device, use_threads
from pyro_sib.experiments.job.features import say_notes
from pyro_sib.experiments.options.training_pictures import TrainingPictures
from pyro_sib.experiments.other_domains.domain import features_of
from pyro_sib.experiments.other_domains.folders import find_domains, named_apart
from pyro_sib.experiments.other_domains.network import Network, open_network
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.bank import build_bank
from pyro_sib.files import check_writable
from pyro_sib.tasks.any_task import Domain

KNOWN = "known"
"""The domain of the images that the feature network was trained on."""
_KNOWN_SIDE = {MINI_IMAGENET: 84}
"""Pixels a side of data that have a size of their own, enlarged a batch at a time."""


@dataclass(frozen=True)
class OpenedPictures:
    """What training starts from.

    Attributes:
        network: of the features.
        device: where to compute.
        domains: by name, `KNOWN` first where it was asked for.
    """

    network: Network
    device: torch.device
    domains: dict[str, Domain]


def open_pictures(
    settings: TrainingPictures, out: Path, image_size: int | None, reporter: Reporter
) -> OpenedPictures:
    """Check the settings, and compute the features of all domains or take them from the cache.

    Args:
        settings: that name the domains.
        out: folder that the training will write to.
        image_size: pixels a side; those of the network's training where None.
        reporter: told what is done.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    settings.check()
    use_threads(settings)
    check_writable(out, "--out")
    device = choose_device(settings.device)
    network = open_network(settings.network, image_size, device)
    photographed = find_domains(settings.domains)
    with renamed(domains="made"):
        made = find_domains(settings.made)
    folders = [*photographed, *made]
    names = named_apart(argument("domains"), [folder.path for folder in folders])
    domains: dict[str, Domain] = {}
    if settings.known is not None:
        domains[KNOWN] = Domain(_known_split(settings, network, device, reporter), known=True)
    for place, (folder, name) in enumerate(zip(folders, names, strict=True)):
        rows = features_of(folder, network, settings.cache_dir, device, reporter)
        domains[name] = Domain(rows, made=place >= len(photographed))
    return OpenedPictures(network, device, domains)


def _known_split(settings: TrainingPictures, network: Network, device: torch.device, reporter: Reporter) -> Split:
    """Features of the known base classes' first images."""
    assert settings.known is not None
    cache = settings.cache_dir
    for part in ("images", "banks"):
        check_writable(cache / part, "--cache-dir")
    with reporter.stage("data", "known images") as advance, renamed(root="known"):
        data = read_images(settings.known, network.image_size, cache / "images", advance, network.fit, _KNOWN_SIDE)
    say_notes(data, reporter)
    some = _first_of_each(data, settings.known_images)
    title = f"features of {len(some.split(BASE_TRAIN).y)} known images"
    bank = build_bank(
        some,
        network.backbone,
        device,
        cache / "banks",
        pixels=network.pixels,
        size=network.image_size,
        watched=lambda split: reporter.stage("bank", title),
    )
    return bank.split(BASE_TRAIN)


def _first_of_each(data: DataSet, count: int) -> DataSet:
    """The base classes alone, `count` images of each.

    Raises:
        InputError: there are no base classes.
    """
    if BASE_TRAIN not in data.splits:
        raise InputError(f"--known: {data.name} has no base classes, as a train list or folder names them")
    whole = data.split(BASE_TRAIN)
    rows = torch.cat([torch.nonzero(whole.y == c)[:count, 0] for c in range(len(whole.class_names))])
    some = {BASE_TRAIN: Split(whole.x[rows], whole.y[rows], whole.class_names)}
    return replace(data, splits=some, fingerprint=fingerprint(some))
