"""The training of a learner for tasks of any size, from pictures to its file."""

from dataclasses import fields, replace
from pathlib import Path

import torch

from pyro_sib.data import BASE_TRAIN, DataSet, Split, read_images
from pyro_sib.data.fingerprint import fingerprint
from pyro_sib.data.names import MINI_IMAGENET
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.device import choose_device, use_threads
from pyro_sib.experiments.job.features import say_notes
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.options.machine import MachineOptions
from pyro_sib.experiments.other_domains.domain import features_of
from pyro_sib.experiments.other_domains.folders import find_domains
from pyro_sib.experiments.other_domains.network import Network, open_network
from pyro_sib.experiments.terminal.again import command_line_of
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.train_any import TrainAnySettings
from pyro_sib.experiments.train_unknown import TrainUnknownSettings
from pyro_sib.features.bank import build_bank
from pyro_sib.files import check_writable
from pyro_sib.inference.fit_any import AnySettings, fit_any
from pyro_sib.inference.learner_file import TrainedLearner, save_learner
from pyro_sib.inference.settings.card import PictureSettings
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.tasks.any_task import Domain
from pyro_sib.tasks.made_domains import MADE, make_domain
from pyro_sib.tasks.shape import TaskDistribution
from pyro_sib.torch_state import plain_torch

_KNOWN_SIDE = {MINI_IMAGENET: 84}
"""Pixels a side of data that have a size of their own, enlarged a batch at a time."""


@plain_torch()
def train_any(settings: TrainAnySettings, reporter: Reporter | None = None) -> Path:
    """Train, and write learner.safetensors; returns its path.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    reporter = reporter or Reporter()
    settings.check()
    use_threads(settings)
    check_writable(settings.out, "--out")
    device = choose_device(settings.device)
    network = open_network(settings.network, settings.image_size, device)
    folders = find_domains(settings.domains)
    domains: dict[str, Domain] = {}
    if settings.known is not None:
        rows = known_split(settings, network, device, reporter)
        domains["known"] = Domain(rows, known=True)
        if settings.made_up:
            domains |= {f"known, {name}": Domain(make_domain(name, rows)) for name in MADE}
    for folder in folders:
        domains[folder.name] = Domain(features_of(folder, network, settings.cache_dir, device, reporter))
    checkpoint = settings.out / "training.safetensors"
    title = f"SVI, K = {settings.steps}, {settings.iterations} iterations"
    with renamed(checkpoint="out"), reporter.stage("train", title) as advance:
        learner = fit_any(
            domains,
            any_settings(settings),
            pictures_of(network),
            checkpoint,
            network.backbone,
            device,
            advance,
            lambda r: reporter.say(
                f"  iteration {r.iteration}  loss {r.loss:.4f}  held-out loss {-r.accuracy:.4f}"
            ),
        )
    made = {"command": command(settings), "commit": commit(), "versions": versions(), "seed": settings.seed}
    path = settings.out / "learner.safetensors"
    save_learner(path, TrainedLearner(learner.program, learner.backbone, None, replace(learner.card, made=made)))
    reporter.say(f"{path}; `python -m experiments.domains --learners {path}` measures it")
    return path


def any_settings(settings: TrainAnySettings) -> AnySettings:
    """What the engine is told."""
    training = TrainSettings(
        settings.iterations,
        settings.epochs,
        learning_rate=settings.learning_rate,
        schedule="cosine",
        seed=settings.seed,
        clip=1.0,
    )
    return AnySettings(
        steps=settings.steps,
        coordinates=settings.coordinates,
        kl_weight=settings.kl_weight,
        tasks=TaskDistribution(difficulty=settings.difficulty),
        training=training,
    )


def pictures_of(network: Network) -> PictureSettings:
    """How a learner's file describes the features' network."""
    return PictureSettings(
        network.architecture, network.image_size, False, network.pixels, network.fit, network.outside
    )


def command(settings: TrainAnySettings) -> str:
    """The command line, folders by their names alone."""
    elsewhere = [one.name for one in fields(MachineOptions)]
    return command_line_of("train_any", settings, [*elsewhere, "out"], bare=True)


def known_split(
    settings: TrainAnySettings | TrainUnknownSettings, network: Network, device: torch.device, reporter: Reporter
) -> Split:
    """Features of the known base classes' first images."""
    assert settings.known is not None
    cache = settings.cache_dir
    for part in ("images", "banks"):
        check_writable(cache / part, "--cache-dir")
    with reporter.stage("data", "known images") as advance, renamed(root="known"):
        data = read_images(settings.known, network.image_size, cache / "images", advance, network.fit, _KNOWN_SIDE)
    say_notes(data, reporter)
    some = _first_of_each(data, settings.known_images)
    with reporter.stage("bank", f"features of {len(some.split(BASE_TRAIN).y)} known images") as advance:
        bank = build_bank(
            some,
            network.backbone,
            device,
            cache / "banks",
            pixels=network.pixels,
            size=network.image_size,
            on_rows=advance,
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
