"""A run's learner as one file, `learner.safetensors`."""

from pathlib import Path

from pyro_sib.data.names import BASE_TRAIN
from pyro_sib.experiments.job.features import Ground
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.job.settings import Job
from pyro_sib.features.network_card import pixels_of
from pyro_sib.features.outside import OUTSIDE
from pyro_sib.inference.learner_file import TrainedLearner, save_learner
from pyro_sib.inference.program import Program
from pyro_sib.inference.settings.card import LearnerCard, Measured, PictureSettings, TaskSettings

LEARNER = "learner.safetensors"
"""In a run's folder."""


def learner_of(
    settings: Job, ground: Ground, split: str, program: Program, result: Result | None
) -> TrainedLearner:
    """The trained program with all that it needs to classify new tasks.

    Args:
        settings: of the run, resolved.
        ground: data and features.
        split: that it was evaluated on.
        program: trained.
        result: what it scored there, or None where nothing was measured.
    """
    scored = {} if result is None else {name: (m.mean, m.ci95, result.tasks) for name, m in result.metrics.items()}
    names = (ground.images or ground.bank).split(BASE_TRAIN).class_names
    name = f"{settings.setting} {settings.ways}-way {settings.shots}-shot on {ground.bank.name}"
    card = LearnerCard(
        name=name,
        learner=settings.learner_settings(),
        features=ground.bank.split(split).x.shape[1],
        pictures=_pictures(settings, ground),
        propagation=settings.propagation,
        base_classes=() if ground.base_weights is None else names,
        tasks=TaskSettings(
            settings.trained_ways,
            settings.shots,
            settings.queries,
            settings.train_query_balance,
            images=settings.train_images,
        ),
        training=settings.train_settings(),
        draws=settings.draws,
        data={"name": ground.bank.name, "fingerprint": ground.bank.fingerprint},
        measured=tuple(Measured(f"{name}, {split}", *found) for name, found in scored.items()),
        made={"commit": commit(), "versions": versions(), "seed": settings.seed},
    )
    backbone = None if ground.network is None else ground.network.backbone
    return TrainedLearner(program, backbone, ground.base_weights, card)


def _pictures(settings: Job, ground: Ground) -> PictureSettings | None:
    if ground.network is None:
        return None
    return PictureSettings(
        settings.backbone,
        settings.image_size,
        settings.flip_features,
        pixels_of(settings.network),
        settings.picture_fit,
        None if settings.outside is None else OUTSIDE[settings.outside].network,
    )


def write_learner(out: Path, learner: TrainedLearner) -> None:
    """Into a run's folder."""
    save_learner(out / LEARNER, learner)
