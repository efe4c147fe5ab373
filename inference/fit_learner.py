"""A learner trained from labeled pictures or features, without files, data sets or a command line."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_sib.cosine import unit
from pyro_sib.data import Split
from pyro_sib.data.fingerprint import fingerprint
from pyro_sib.data.names import BASE_TRAIN, Fit
from pyro_sib.errors import InputError, argument
from pyro_sib.features.bank import fit_base_classifier
from pyro_sib.features.network_card import pixels_of, read_card
from pyro_sib.features.network_file import load_network
from pyro_sib.features.outside import OUTSIDE, checked_size, known_to
from pyro_sib.features.pretrain import Pretrained, checkpoint_name, choose_precision, extract, pretrain
from pyro_sib.features.recipe import PretrainSettings
from pyro_sib.inference import learner_named
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.inputs import Examples, picture_features, sort_examples, to_pixels
from pyro_sib.inference.learner_file import TrainedLearner
from pyro_sib.inference.program import build_program
from pyro_sib.inference.settings import GuideSettings, LearnerSettings
from pyro_sib.inference.settings.card import LearnerCard, Measured, PictureSettings, TaskSettings
from pyro_sib.inference.settings.training import LIKELIHOOD, TrainSettings
from pyro_sib.inference.training import Trainer
from pyro_sib.objective import ObjectiveWeights, usual_kl_weight
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.tasks.source import TaskSource
from pyro_sib.tensor_files import digest
from pyro_sib.torch_state import plain_torch

OnProgress = Callable[[str, int, int], None]
"""Told the stage's name, what is done of it, and what there is to do."""


@dataclass(frozen=True)
class FitSettings:
    """How a learner is trained.

    Attributes:
        guide: name of the guide or baseline, one of `pyro_sib.inference.LEARNERS`.
        prior: name of the prior, one of `pyro_sib.models.PRIORS`; mixture for joint tasks and diagonal otherwise,
            unless given.
        joint: whether queries are classified among the classes of the training and the new ones together (LwoF).
        ways: new classes in a training task (N); the default parts serve any number of classes afterwards.
        shots: labeled examples of each (S).
        queries: unlabeled examples of each.
        inside: the choices inside the guide.
        kl_weight: weight of the KL per number of w (of which a task has N D) against a query's mean log likelihood;
            0.1, or 0.032 with the mixture, unless given.
        network: a feature network that comes with the project (or lite0 or lite2, for pictures of any kind), by
            its name, or the file of one; without one a network is trained on the pictures.
        pretrain: how that network is trained.
        training: how the learner is trained on its features.
        select_tasks: tasks by which the best epoch is chosen.
        image_size: pixels a side at which lite0 or lite2 looks at the pictures; those that it was trained on, 224
            or 260, unless given. Fewer are faster.
        fit: how pictures become squares: squashed whole, or cropped at the centre, as they are for lite0 and lite2
            unless given.
    """

    guide: str = "sib"
    prior: str | None = None
    joint: bool = False
    ways: int = 5
    shots: int = 1
    queries: int = 15
    inside: GuideSettings = field(default_factory=lambda: GuideSettings(synthetic_gradient="context"))
    kl_weight: float | None = None
    network: str | None = None
    pretrain: PretrainSettings = field(default_factory=PretrainSettings)
    training: TrainSettings = field(
        default_factory=lambda: TrainSettings(2000, 10, learning_rate=3e-3, schedule="cosine")
    )
    select_tasks: int = 200
    image_size: int | None = None
    fit: Fit | None = None

    @property
    def shape(self) -> EpisodeShape:
        """Of the tasks."""
        base = self.ways * self.queries if self.joint else 0
        return EpisodeShape(self.ways, self.shots, self.queries, base)


@plain_torch()
def fit_learner(
    examples: Examples,
    labels: Sequence[Any],
    settings: FitSettings,
    device: torch.device,
    checkpoints: Path | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> TrainedLearner:
    """Train a learner on tasks drawn from labeled examples: their classes play novel, N at a time.

    The best epoch is chosen on tasks of the same classes, drawn apart.

    Args:
        examples: n pictures or (n, D) features.
        labels: n names of classes, of any type; ways + 1 different ones at least.
        settings: how.
        device: where to compute.
        checkpoints: folder for the state of the training, from which it goes on where it was interrupted.
        on_progress: told how far the training is.

    Raises:
        InputError: too few examples or classes for tasks of this shape, or labels that do not fit the examples.
    """
    _check(settings)
    given = sort_examples(examples, "examples")
    names, order, y = _classes(labels, len(given))
    if given.features is not None:
        network, pictures, rows = None, None, Split(given.features[order], y, names)
    else:
        pictures = _pictures(settings)
        ordered = [given.pictures[i] for i in order.tolist()]
        _sampler(Split(torch.empty(len(y), 0), y, names), settings, "train", "")  # refuses impossible sizes first
        if settings.network is None:
            images = Split(to_pixels(ordered, pictures.image_size, "examples", pictures.fit), y, names)
            with TemporaryDirectory() as temporary:
                network = _stage1(images, settings, device, checkpoints or Path(temporary), on_progress)
            rows = images.with_x(extract(network.backbone, images.x, device))
        else:
            network = load_network(settings.network)[0]
            told = lambda done, total: on_progress("features", done, total)  # noqa: E731
            x = picture_features(network.backbone.to(device), ordered, pictures, device, "examples", told)
            rows = Split(x, y, names)
    base = _base_weights(rows, network, settings)
    backbone = None if network is None else network.backbone
    return _trained(rows, base, backbone, pictures, settings, device, checkpoints, on_progress)


def _check(settings: FitSettings) -> None:
    """Refuse before long work what could not be built or used after it."""
    kind = learner_named(settings.guide)
    if kind.oracle:
        raise InputError(f"guide {settings.guide} looks at the queries' labels, so it can classify nothing new")
    if settings.joint and not kind.serves_joint:
        raise InputError(f"guide {settings.guide} cannot classify among base and new classes; leave joint out")
    build_program(_learner(settings), 2, torch.eye(2), torch.device("cpu"))


def _learner(settings: FitSettings) -> LearnerSettings:
    """What builds the program."""
    prior, training = settings.prior or ("mixture" if settings.joint else "diagonal"), settings.training
    kl_weight = usual_kl_weight(prior) if settings.kl_weight is None else settings.kl_weight
    return LearnerSettings(
        guide=settings.guide,
        prior=prior,
        ways=settings.ways,
        joint=settings.joint,
        inside=settings.inside,
        weights=ObjectiveWeights(kl_weight, True, training.iterations * training.batch_size),
        seed=training.seed,
    )


def _classes(labels: Sequence[Any], count: int) -> tuple[tuple[str, ...], Tensor, Tensor]:
    """Names in order, the rows grouped by class, and each such row's class."""
    words = [str(label) for label in labels]
    if len(words) != count:
        raise InputError(f"{count} examples but {len(words)} labels; give one label for each example")
    names, y = np.unique(np.array(words, dtype=object), return_inverse=True)
    order = np.argsort(y, kind="stable")
    return tuple(map(str, names)), torch.from_numpy(order), torch.from_numpy(y[order].astype(np.int64))


def _pictures(settings: FitSettings) -> PictureSettings:
    """How pictures become features."""
    name, size = settings.network, settings.image_size
    of = settings.pretrain if name is None else read_card(name)
    if name is not None and name in OUTSIDE:
        side = of.image_size if size is None else checked_size(name, size)
        fit = settings.fit or "crop"
        return PictureSettings(of.backbone, side, False, pixels_of(name), fit, OUTSIDE[name].network)
    if size not in (None, of.image_size):
        raise InputError(
            f"{argument('image_size')} {size}, but the feature network is of pictures of {of.image_size} pixels; "
            f"leave it out, or name a network for any size: {', '.join(OUTSIDE)}"
        )
    return PictureSettings(of.backbone, of.image_size, fit=settings.fit or "squash")


def _stage1(
    images: Split, settings: FitSettings, device: torch.device, folder: Path, on_progress: OnProgress
) -> Pretrained:
    """A network of the pictures' own."""
    recipe = settings.pretrain
    recipe = replace(recipe, precision=choose_precision(recipe.precision, device, recipe.image_size))
    told = lambda done, total: on_progress("feature network", done, total)  # noqa: E731
    return pretrain(images, None, recipe, device, folder / checkpoint_name(images, recipe), told)


def _base_weights(rows: Split, network: Pretrained | None, settings: FitSettings) -> Tensor:
    """(B, D) unit weights of the classes."""
    if network is not None and settings.network is None:
        return unit(network.classifier.weight.detach().cpu())
    with torch.random.fork_rng(devices=[]):
        return unit(fit_base_classifier(rows, settings.training.seed).weight)


def _sampler(rows: Split, settings: FitSettings, purpose: str, content: str) -> EpisodeSampler:
    key = task_key(content, settings.training.seed, purpose)
    return EpisodeSampler(rows, rows, settings.shape, key, "the examples")


def _knows(settings: FitSettings, rows: Split) -> bool:
    """Whether an accuracy would be one on classes that a network that others trained has seen."""
    return settings.network in OUTSIDE and bool(known_to(settings.network, "examples", rows.class_names))


def _trained(
    rows: Split,
    base: Tensor,
    backbone: nn.Module | None,
    pictures: PictureSettings | None,
    settings: FitSettings,
    device: torch.device,
    checkpoints: Path | None,
    on_progress: OnProgress,
) -> TrainedLearner:
    """Stage 2."""
    features, training, learner = rows.x.shape[1], settings.training, _learner(settings)
    program = build_program(learner, features, base, device)
    content = fingerprint({BASE_TRAIN: rows})
    x = rows.x.to(device)
    train, select = (
        TaskSource(_sampler(rows, settings, purpose, content), x, x) for purpose in ("train", "select")
    )
    metric = "both" if settings.joint else "novel"

    log_likelihood = float("nan")

    def validate() -> float:
        nonlocal log_likelihood
        found = evaluate(program.guide, select, settings.select_tasks)[0]
        log_likelihood = -float(found.nll.mean())
        return found.metrics()[metric].mean

    with TemporaryDirectory() as temporary:
        checkpoint = (checkpoints or Path(temporary)) / "learner-training.safetensors"
        identity = digest(content, asdict(learner), asdict(settings.shape))
        trainer = Trainer(program.model, program.guide, program.modules(), training, checkpoint, identity)
        trainer.run(
            lambda iteration: train.batch(iteration, training.batch_size),
            validate,
            lambda done, total: on_progress("learner", done, total),
            measure=lambda: {LIKELIHOOD: [log_likelihood]},
        )
    for module in (*program.modules().values(), *([] if backbone is None else [backbone])):
        module.eval().requires_grad_(False)
    scores = (
        {} if _knows(settings, rows) else evaluate(program.guide, select, settings.select_tasks, 20)[0].metrics()
    )
    card = LearnerCard(
        name=f"{settings.ways}-way {settings.shots}-shot on {len(rows.class_names)} classes of examples",
        learner=learner,
        features=features,
        pictures=pictures,
        propagation=0.0,
        base_classes=rows.class_names,
        tasks=TaskSettings(settings.ways, settings.shots, settings.queries),
        training=training,
        draws=20,
        data={"name": "examples", "fingerprint": content},
        measured=tuple(
            Measured(f"{name}, its own classes", m.mean, m.ci95, settings.select_tasks)
            for name, m in scores.items()
        ),
        made={},
    )
    return TrainedLearner(program, backbone, base, card)
