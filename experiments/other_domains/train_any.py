"""The training of a learner for tasks of any size, from pictures to its file."""

from dataclasses import fields, replace
from pathlib import Path

from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.options.machine import MachineOptions
from pyro_sib.experiments.other_domains.network import Network
from pyro_sib.experiments.other_domains.training_pictures import KNOWN, open_pictures
from pyro_sib.experiments.terminal.again import command_line_of
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.train_any import TrainAnySettings
from pyro_sib.inference.fit_any import AnySettings, fit_any
from pyro_sib.inference.learner_file import TrainedLearner, save_learner
from pyro_sib.inference.settings.card import PictureSettings
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.tasks.any_task import Domain
from pyro_sib.tasks.made_domains import MADE, make_domain
from pyro_sib.tasks.shape import TaskDistribution
from pyro_sib.torch_state import plain_torch


@plain_torch()
def train_any(settings: TrainAnySettings, reporter: Reporter | None = None) -> Path:
    """Train, and write learner.safetensors; returns its path.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    reporter = reporter or Reporter()
    pictures = open_pictures(settings, settings.out, settings.image_size, reporter)
    domains = _with_made(pictures.domains) if settings.made_up else pictures.domains
    checkpoint = settings.out / "training.safetensors"
    title = f"SVI, K = {settings.steps}, {settings.iterations} iterations"
    with renamed(checkpoint="out"), reporter.stage("train", title) as advance:
        learner = fit_any(
            domains,
            any_settings(settings),
            pictures_of(pictures.network),
            checkpoint,
            pictures.network.backbone,
            pictures.device,
            advance,
            lambda r: reporter.say(
                f"  iteration {r.iteration}  loss {r.loss:.4f}  held-out loss {-r.accuracy:.4f}"
            ),
        )
    made = {"command": command(settings), "commit": commit(), "versions": versions(), "seed": settings.seed}
    path = settings.out / "learner.safetensors"
    save_learner(path, TrainedLearner(learner.program, learner.backbone, None, replace(learner.card, made=made)))
    same = f" --network {settings.network}" if settings.network != TrainAnySettings.network else ""
    reporter.say(f"{path}; `python -m experiments.domains --learners {path}{same}` measures it")
    return path


def _with_made(domains: dict[str, Domain]) -> dict[str, Domain]:
    """And those made of the known images' features, behind these."""
    if KNOWN not in domains:
        return domains
    rows = domains[KNOWN].rows
    made = {f"{KNOWN}-{name}": Domain(make_domain(name, rows), made=True) for name in MADE}
    return {KNOWN: domains[KNOWN]} | made | domains


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
        power=settings.power,
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
