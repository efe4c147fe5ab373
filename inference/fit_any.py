"""Train a learner for tasks of any size on several domains: the engine of `experiments.train_any`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_sib.counter_rng import make_key
from pyro_sib.data import BASE_TRAIN
from pyro_sib.data.fingerprint import fingerprint
from pyro_sib.inference.guide import Guide
from pyro_sib.inference.guides.fit_judge import fit_judge
from pyro_sib.inference.guides.gaussian_mixture import GaussianMixtureGuide
from pyro_sib.inference.learner_file import TrainedLearner
from pyro_sib.inference.program import build_program
from pyro_sib.inference.settings import GuideSettings, LearnerSettings
from pyro_sib.inference.settings.card import LearnerCard, PictureSettings, TaskSettings
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.inference.training import Trainer
from pyro_sib.objective import KL_WEIGHT, ObjectiveWeights
from pyro_sib.tasks.any_task import AnyTaskSource, Domain
from pyro_sib.tasks.coordinates import TaskCoordinates
from pyro_sib.tasks.shape import POWER, TaskDistribution
from pyro_sib.tensor_files import digest
from pyro_sib.types import Episode

_DRAWS = 20
_JUDGED, _MOST_JUDGED = 3, 2100
"""Batches that the judge is fitted on to one of SVI, whose numbers are many times those of EM; and the most of
them, since all are held in memory."""
_TURNS = 3
"""Of a domain that is like a user's, in the fit of the judge, to one of another: where what it may trust differs,
photographs decide."""


@dataclass(frozen=True)
class AnySettings:
    """How a learner for tasks of any size is trained.

    Attributes:
        guide: one that takes tasks in coordinates of their own.
        steps: K, rounds of the guide.
        coordinates: principal coordinates of a task's pile.
        power: to which features that are not negative are raised for them.
        kl_weight: weight of the KL per number of w against a query's mean log likelihood.
        tasks: the distribution of training tasks.
        training: how long and how fast.
        unit_batches: first batches of training that the units of the judge's inputs are taken from.
        select_batches: batches of held-out tasks by whose mean log likelihood the best epoch is chosen.
    """

    guide: str = "gaussian-mixture"
    steps: int = 6
    coordinates: int = 40
    power: float = POWER
    kl_weight: float = KL_WEIGHT
    tasks: TaskDistribution = field(default_factory=TaskDistribution)
    training: TrainSettings = field(
        default_factory=lambda: TrainSettings(1200, 12, learning_rate=3e-3, schedule="cosine", clip=1.0)
    )
    select_batches: int = 60
    unit_batches: int = 60

    def learner(self) -> LearnerSettings:
        """What builds the program."""
        return LearnerSettings(
            guide=self.guide,
            inside=GuideSettings(steps=self.steps),
            weights=ObjectiveWeights(self.kl_weight, False, self.training.iterations * self.training.batch_size),
            seed=self.training.seed,
            coordinates=self.coordinates,
            power=self.power,
        )


def fit_any(
    domains: Mapping[str, Domain],
    settings: AnySettings,
    pictures: PictureSettings | None,
    checkpoint: Path,
    backbone: nn.Module | None = None,
    device: torch.device | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_epoch: Callable[[Any], None] = lambda record: None,
) -> TrainedLearner:
    """Train on tasks of any size, the domains taken in turn; the best epoch is that of the least held-out loss.

    The loss of selection is the mean over tasks of a query's -log p(y), averaged over draws of w: a proper score,
    so that an epoch is chosen for its probabilities as well as for its accuracy. A judge is fitted again afterwards
    (`fit_judge`), on further tasks, three times as many of a domain like a user's as of another.

    Args:
        domains: by name; the first names the features' D.
        settings: how.
        pictures: how pictures become features, for the learner's file, or None for features of one's own.
        checkpoint: file of the training's state, from which an interrupted one goes on.
        backbone: the feature network, or None.
        device: where it computes.
        on_progress: told how many batches are done, and all: one for an iteration, and those of the judge.
        on_epoch: told each epoch's record.

    Raises:
        InputError: a domain too small for the tasks, or a checkpoint of another training.
    """
    device, training = device or torch.device("cpu"), settings.training
    known = tuple(name for domain in domains.values() if domain.known for name in domain.rows.class_names)
    content = {name: fingerprint({BASE_TRAIN: domain.rows}) for name, domain in domains.items()}
    learner = settings.learner()
    coordinates = TaskCoordinates(learner.coordinates, learner.power)

    def source(purpose: str, turns: Sequence[Domain] = tuple(domains.values())) -> AnyTaskSource:
        key = make_key("any task", purpose, digest(content), training.seed)
        return AnyTaskSource(turns, settings.tasks, coordinates, key)

    train, select = source("train"), source("select")
    features = next(iter(domains.values())).rows.x.shape[1]
    program = build_program(learner, features, None, device)
    guide = program.guide
    assert isinstance(guide, Guide)
    yours = [name for name, domain in domains.items() if domain.like_yours]
    identity = digest(content, yours, asdict(learner), asdict(settings.tasks), settings.select_batches)
    # What this training calls accuracy is the selection tasks' log likelihood.
    by_it = replace(training, select_by="accuracy")
    trainer = Trainer(program.model, guide, program.modules(), by_it, checkpoint, identity)
    if isinstance(guide, GaussianMixtureGuide):
        first = (train.batch(i, training.batch_size).to(device) for i in range(settings.unit_batches))
        guide.standardize(episode.evidence for episode in first)
    judged = min(_JUDGED * training.iterations, _MOST_JUDGED) if isinstance(guide, GaussianMixtureGuide) else 0
    everything = training.iterations + judged
    chosen_on = [select.batch(i, training.batch_size) for i in range(settings.select_batches)]
    trainer.run(
        lambda iteration: train.batch(iteration, training.batch_size).to(device),
        lambda: -sum(held_out_loss(guide, episode.to(device)) for episode in chosen_on) / len(chosen_on),
        lambda done, _: on_progress(done, everything),
        on_epoch,
    )
    if isinstance(guide, GaussianMixtureGuide):
        judging = source("judge", judged_turns(tuple(domains.values())))
        fit_judge(guide, _told_of(judging, training, judged, device, on_progress), training.seed)
    for module in program.modules().values():
        module.eval().requires_grad_(False)
    card = LearnerCard(
        name=f"{settings.guide} for tasks of any size, on {', '.join(domains)}",
        learner=learner,
        features=features,
        pictures=pictures,
        propagation=0.0,
        base_classes=(),
        tasks=TaskSettings(5, 5, 15, any=settings.tasks),
        training=training,
        draws=_DRAWS,
        data={"name": ", ".join(domains), "fingerprint": digest(content)},
        measured=(),
        made={},
        known_classes=known,
    )
    return TrainedLearner(program, backbone, None, card)


def held_out_loss(guide: Guide, episode: Episode) -> float:
    """The mean over tasks and queries of -log p(y), nats, p averaged over draws of w."""
    probabilities = guide.probabilities(guide.sees(episode), _DRAWS)[0]
    right = probabilities.gather(-1, episode.query_y[..., None]).clamp_min(1e-9)
    return float(-right.log().mean())


def judged_turns(domains: Sequence[Domain]) -> list[Domain]:
    """The domains in the order in which the judge's tasks are drawn from them, over and over."""
    yours = [domain for domain in domains if domain.like_yours]
    return [*domains, *yours * (_TURNS - 1)]


def _told_of(
    source: AnyTaskSource,
    training: TrainSettings,
    batches: int,
    device: torch.device,
    on_progress: Callable[[int, int], None],
) -> Iterator[Episode]:
    """The judge's tasks, told of as they go."""
    for number in range(batches):
        yield source.batch(number, training.batch_size).to(device)
        on_progress(training.iterations + number + 1, training.iterations + batches)
