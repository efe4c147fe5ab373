"""What a run stands on: the data as the settings name it, stage 1, and the features."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_sib.cosine import unit
from pyro_sib.data import DataSet, hold_out_classes, read_features, read_images
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, MINI_IMAGENET, TEST, VAL
from pyro_sib.data.pictures.skipped import HIDDEN
from pyro_sib.data.worlds.synthetic import synthetic_world
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.experiments.terminal.progress import Advance, Reporter
from pyro_sib.experiments.terminal.tensorboard import Scalars
from pyro_sib.features.bank import OnRows, build_bank, fit_base_classifier
from pyro_sib.features.network_card import NetworkCard, pixels_of, read_card
from pyro_sib.features.network_file import load_network
from pyro_sib.features.outside import OUTSIDE, known_to
from pyro_sib.features.pixels import PixelStatistics
from pyro_sib.features.pretrain import Pretrained, base_accuracy, checkpoint_name, choose_precision, pretrain
from pyro_sib.files import check_writable
from pyro_sib.inference.learner_file import TrainedLearner
from pyro_sib.inference.program import wants_base_ids
from pyro_sib.inference.settings.card import LearnerCard, PictureSettings
from pyro_sib.tensor_files import digest_state, read_tensors

_OWN_SIZES = {MINI_IMAGENET: 84, "synthetic": 32}
"""Pixels a side of data that have a size of their own."""


@dataclass(frozen=True)
class Ground:
    """What stage 2 stands on.

    Attributes:
        images: the data with images, or None where features were given.
        bank: the same data as features.
        network: f and its base classifier, or None where features were given.
        base_weights: (B, D) unit weights of the base classes, or None without base classes.
        base_accuracy: percent of held-out base rows that the base classifier names rightly, or None.
        network_digest: of the weights of f as stage 1 left them, or None where features were given.
    """

    images: DataSet | None
    bank: DataSet
    network: Pretrained | None
    base_weights: Tensor | None
    base_accuracy: float | None
    network_digest: str | None = None


def load_data(settings: Job, reporter: Reporter) -> DataSet:
    """The data set that the settings name.

    Raises:
        InputError: it cannot be read, has too few classes to hold out, or is not what its name says.
    """
    with reporter.stage("data", f"data: {settings.source}") as advance:
        data = _read(settings, advance)
        if settings.hold_out_classes:
            with renamed(count="hold_out_classes"):
                data = hold_out_classes(data, settings.hold_out_classes)
    say_notes(data, reporter)
    return data


def say_notes(data: DataSet, reporter: Reporter) -> None:
    """Warn of what the reader did not read, scaled or guessed."""
    for skipped in data.skipped:
        if skipped.reason != HIDDEN:
            reporter.warn(skipped.in_words())
    for note in data.notes:
        reporter.warn(note)


def _read(settings: Job, advance: Advance) -> DataSet:
    if settings.features:
        return read_features(settings.features)
    # An outside network sees small pictures enlarged, which takes less room a batch at a time.
    kept = {} if settings.outside is None else _OWN_SIZES
    if settings.data_root is None:
        return synthetic_world(settings.data_seed, min(settings.image_size, kept.get("synthetic", 1024)))
    images = settings.cache_dir / "images"
    if not any(images.glob("*.safetensors")):  # one that holds the images may be read-only
        check_writable(images, "--cache-dir")
    with renamed(root="data_root"):
        data = read_images(settings.data_root, settings.image_size, images, advance, settings.picture_fit, kept)
    if settings.data == MINI_IMAGENET and data.name != MINI_IMAGENET:
        raise InputError(
            f"--data {settings.data}, but {settings.data_root} holds {data.name}: these are not mini-ImageNet's "
            f"classes; say --data folders"
        )
    return data


def choose_split(data: DataSet, settings: Job) -> str:
    """The split asked for, or test where the data has it.

    Raises:
        InputError: the data lacks it.
    """
    split = settings.split or (TEST if TEST in data.splits else VAL)
    data.split(split)
    if settings.learner is None:
        data.split(BASE_TRAIN)
    return split


def prepare(
    data: DataSet, settings: Job, split: str, device: torch.device, reporter: Reporter, measures: bool = True
) -> Ground:
    """Stage 1 and the feature bank, from the cache where they are there.

    Args:
        data: images or features.
        settings: resolved.
        split: to evaluate on.
        device: where to compute.
        reporter: told what is done.
        measures: whether an accuracy will be reported; then the network must not know the split's classes.

    Raises:
        InputError: it does, or images, network or cache cannot serve.
    """
    base_split = BASE_VAL if split == VAL else BASE_TEST
    if not data.is_images:
        with reporter.stage("base classifier", "base classifier on the features"):
            classifier = fit_base_classifier(data.split(BASE_TRAIN), settings.seed)
        held = data.splits.get(base_split)
        accuracy = None if held is None else base_accuracy(classifier, held, torch.device("cpu"))
        return Ground(None, data, None, unit(classifier.weight), accuracy)
    if settings.network is None:
        network, card = _stage1(data, settings, device, reporter), None
    else:
        network, card = load_network(settings.network)
        if measures:
            _refuse_network(card, settings, data, split)
        network.backbone.to(device)
        network.classifier.to(device)
    bank = _bank(data, network.backbone, pixels_of(settings.network), settings, device, reporter)
    known_as = digest_state(network.backbone.state_dict())
    if card is not None and card.classes != data.split(BASE_TRAIN).class_names:
        base = bank.split(BASE_TRAIN)
        with reporter.stage("base classifier", "base classifier on the features"):
            classifier = fit_base_classifier(base, settings.seed).to(device)
        network = replace(network, classifier=classifier)
    held = bank.splits.get(base_split)
    accuracy = None if held is None else base_accuracy(network.classifier, held, device)
    return Ground(data, bank, network, unit(network.classifier.weight.detach().cpu()), accuracy, known_as)


def ground_of_learner(
    learner: TrainedLearner, data: DataSet, settings: Job, device: torch.device, reporter: Reporter
) -> Ground:
    """The data under a trained learner's feature network, or under the one that is named in its place.

    Raises:
        InputError: images for a learner of features or the other way round, features of another number, or, where
            tasks name base classes, other base classes than the learner's.
    """
    card = learner.card
    if card.any_features and (settings.network is not None or not data.is_images):
        return _features_given(learner, data, settings, device, reporter)
    if data.is_images != (card.pictures is not None):
        kinds = ("features", "images")
        raise InputError(
            f"the learner takes {kinds[card.pictures is not None]}, but the data are {kinds[data.is_images]}"
        )
    if wants_base_ids(card.learner) and data.split(BASE_TRAIN).class_names != card.base_classes:
        raise InputError(
            f"the learner knows {len(card.base_classes)} base classes, and the data has others; give the data "
            f"that it was trained on"
        )
    known_as = None
    if learner.backbone is None or card.pictures is None:
        bank = data
    else:
        known_as = digest_state(learner.backbone.state_dict())
        bank = _bank(data, learner.backbone, card.pictures.pixels, settings, device, reporter)
    width = next(iter(bank.splits.values())).x.shape[1] if bank is data else _width(learner, card.pictures)
    if width != card.features:
        raise InputError(f"the learner takes features of {card.features} numbers, but the data's have {width}")
    return Ground(data if data.is_images else None, bank, None, learner.base_weights, None, known_as)


def _width(learner: TrainedLearner, pictures: PictureSettings | None) -> int:
    """How many numbers the learner's own network gives, known before an hour of its features."""
    assert learner.backbone is not None
    assert pictures is not None
    weight = next(learner.backbone.parameters())
    with torch.no_grad():
        return int(learner.backbone(weight.new_zeros(1, 3, pictures.image_size, pictures.image_size)).shape[1])


def _features_given(
    learner: TrainedLearner, data: DataSet, settings: Job, device: torch.device, reporter: Reporter
) -> Ground:
    """Under a learner that serves any features: the data's own, or those of the network that is named."""
    if settings.network is None:
        return Ground(None, data, None, learner.base_weights, None)
    backbone = load_network(settings.network)[0].backbone.to(device)
    bank = _bank(data, backbone, pixels_of(settings.network), settings, device, reporter)
    return Ground(data, bank, None, learner.base_weights, None, digest_state(backbone.state_dict()))


def _bank(
    data: DataSet,
    backbone: nn.Module,
    pixels: PixelStatistics,
    settings: Job,
    device: torch.device,
    reporter: Reporter,
) -> DataSet:
    """The features of the pictures, from the cache where they are there; a learner's settings are its card's."""
    check_writable(settings.cache_dir / "banks", "--cache-dir")

    @contextmanager
    def watched(name: str) -> Iterator[OnRows]:
        title = f"features of {len(data.split(name).y)} images of {name}"
        with renamed(learning_rate="pretrain_learning_rate"), reporter.stage("bank", title) as advance:
            yield advance

    return build_bank(
        data,
        backbone,
        device,
        settings.cache_dir / "banks",
        flips=settings.flip_features,
        pixels=pixels,
        size=settings.image_size,
        watched=watched,
    )


def refuse_learner(option: str, card: LearnerCard, settings: Job, data: DataSet, split: str) -> None:
    """Refuse to measure a learner on classes that it was trained on, or the feature network that serves it.

    Args:
        option: that names the learner.
        card: of the learner.
        settings: of its evaluation.
        data: with the split.
        split: to evaluate on.

    Raises:
        InputError: some of the classes were.
    """
    refuse_known(f"{option} {settings.learner}", card.trained_on, data, split)
    if settings.network is None:
        refuse_seen(f"the feature network of {option} {settings.learner}", settings, data, split)
    else:
        _refuse_network(read_card(settings.network), settings, data, split)


def _refuse_network(card: NetworkCard, settings: Job, data: DataSet, split: str) -> None:
    refuse_known(f"--network {card.name}", card.classes, data, split)
    refuse_seen(f"--network {card.name}", settings, data, split)


def refuse_known(what: str, classes: Iterable[str], data: DataSet, split: str) -> None:
    """Refuse to evaluate what was trained on some of the classes on these.

    Args:
        what: the option and its value, for the error.
        classes: that it was trained on.
        data: with the split.
        split: to evaluate on.

    Raises:
        InputError: some of the split's classes are known.
    """
    known = sorted(set(classes) & set(data.split(split).class_names))
    if known:
        raise InputError(
            f"{what} was trained on {len(known)} of the {split} classes ({known[0]} is one), and so "
            f"tells nothing of new classes; evaluate on others, or name another that does not know these"
        )


def refuse_seen(what: str, settings: Job, data: DataSet, split: str) -> None:
    """Refuse to measure on classes that a feature network that others trained has seen.

    Args:
        what: the option and its value, for the error.
        settings: of the network or the learner with it.
        data: with the split.
        split: to evaluate on; in joint tasks the base classes count too.

    Raises:
        InputError: some of the classes were.
    """
    if settings.outside is None:
        return
    names = [*data.split(split).class_names, *(data.split(BASE_TRAIN).class_names if settings.joint else ())]
    known = known_to(settings.outside, data.name, names)
    if known:
        alone = "" if settings.learner else ", or train a learner of these without measuring it, by --train-only"
        raise InputError(
            f"{what} was trained on {OUTSIDE[settings.outside].trained_on}, as are {len(known)} of {data.name}'s "
            f"({known[0]} is one), and so accuracies there tell nothing of new classes; evaluate on other "
            f"data{alone}"
        )


def _stage1(data: DataSet, settings: Job, device: torch.device, reporter: Reporter) -> Pretrained:
    """Train the feature network on the base classes, or take it from the cache."""
    precision = choose_precision(settings.precision, device, settings.image_size)
    recipe, train_split = settings.pretrain_settings(precision), data.split(BASE_TRAIN)
    scalars = Scalars(settings.out / "tensorboard", reporter.warn)
    checkpoint = settings.cache_dir / "backbones" / checkpoint_name(train_split, recipe)
    _check_cache(settings.cache_dir, checkpoint, recipe.epochs)
    title = f"pretraining {recipe.backbone}, {recipe.epochs} epochs in {recipe.precision}"
    with renamed(learning_rate="pretrain_learning_rate"), reporter.stage("pretrain", title) as advance:

        def on_epoch(record: Any) -> None:
            scalars.add("pretrain", record.epoch, loss=record.loss, base_accuracy=record.base_accuracy)
            reporter.say(
                f"  epoch {record.epoch}/{recipe.epochs}  loss {record.loss:.3f}  "
                f"base accuracy {record.base_accuracy:.1f}% on held-out images"
            )

        return pretrain(train_split, data.splits.get(BASE_VAL), recipe, device, checkpoint, advance, on_epoch)


def _check_cache(cache: Path, checkpoint: Path, epochs: int) -> None:
    """Find out before stage 1 whether its network and features can be kept; one that holds them may be read-only.

    Raises:
        InputError: they cannot.
    """
    try:
        for name in ("backbones", "banks"):
            check_writable(cache / name, "--cache-dir")
    except InputError:
        if not checkpoint.exists() or len(read_tensors(checkpoint)[1].get("log", ())) < epochs:
            raise


def eval_tasks(settings: Job, split: str) -> int:
    """How many tasks to evaluate on: the paper's 2000 of validation and 600 of test, unless given."""
    return settings.eval_tasks or (2000 if split == VAL else 600)
