"""The tasks of a run: which classes they are drawn from, and for what."""

from collections import ChainMap
from dataclasses import replace

import torch

from pyro_sib.data import DataSet
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.errors import argument
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.options.tasks import OneSizeTasks
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.inference.program import coordinates_of, wants_base_ids
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.propagation import Propagation
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.tasks.source import TaskSource


def selection_split(data: DataSet) -> str:
    """The split on whose tasks the best epoch is chosen: val, or base_train where the data has no val."""
    return VAL if VAL in data.splits else BASE_TRAIN


_TRAINED_ON = 0.8
"""Share of base_val that training tasks get."""


def as_tasks_see(data: DataSet, settings: Job) -> DataSet:
    """The data as training and evaluation divide them.

    With train_images "held-out", four fifths of each class's rows of base_val stand for base_train, whose rows f
    was trained on, and the rest for base_val.

    Raises:
        InputError: there is no base_val.
    """
    if settings.train_images == "seen":
        return data
    trained_on, kept = data.split(BASE_VAL).divided(_TRAINED_ON)
    changed = {BASE_TRAIN: trained_on, BASE_VAL: kept}
    # No copy of the others: a split's features are computed when it is first asked for.
    return replace(data, splits=ChainMap(changed, data.splits))  # type: ignore[arg-type]


def make_sources(data: DataSet, settings: Job, split: str, device: torch.device) -> dict[str, TaskSource]:
    """Sources of the training, selection and evaluation tasks, by purpose: train, select, evaluate [, second].

    `second` holds evaluation tasks of the second query balance, where one is asked for. Where a saved learner is
    evaluated there are no training and selection tasks, and the data need no base classes for them.

    Raises:
        InputError: a missing split, or one too small for these tasks.
    """
    with_base = wants_base_ids(settings.learner_settings())
    if settings.learner is None or with_base:
        data = as_tasks_see(data, settings)

    def source(purpose: str, novel: str, base: str, seed: int, shape: EpisodeShape) -> TaskSource:
        key = task_key(data.fingerprint, seed, purpose)
        base_split = data.split(base) if with_base else None
        ways = "train_ways" if settings.train_ways and shape is trained_on else "ways"
        with renamed(ways=ways):
            name = _unseen(settings) if novel == BASE_TRAIN and settings.train_images != "seen" else novel
            sampler = EpisodeSampler(data.split(novel), base_split, shape, key, f"{data.name} {name}")
        rows = None if base_split is None or not settings.joint else base_split.x.to(device)
        return TaskSource(
            sampler,
            sampler.novel.x.to(device),
            rows,
            propagator(settings),
            coordinates_of(settings.learner_settings()),
        )

    held_out = {VAL: BASE_VAL, TEST: BASE_TEST, BASE_TRAIN: BASE_TRAIN}
    trained_on, evaluated_on = settings.train_shape(), settings.shape()
    found = {
        "evaluate": source(f"evaluate {split}", split, held_out[split], 0, evaluated_on),
    }
    if settings.learner is None:
        chosen_by = selection_split(data)
        found["train"] = source("train", BASE_TRAIN, BASE_TRAIN, settings.seed, trained_on)
        found["select"] = source("select", chosen_by, held_out[chosen_by], 0, trained_on)
    if settings.second_balance is not None:
        second = settings.shape(settings.second_balance)
        found["second"] = source(f"evaluate {split}", split, held_out[split], 0, second)
    return found


def _unseen(settings: Job) -> str:
    """The rows that stand for base_train, in words."""
    return f"{BASE_VAL}, of which {argument('train_images')} {settings.train_images} takes {100 * _TRAINED_ON:.0f}%"


def propagator(settings: OneSizeTasks) -> Propagation | None:
    """What moves a task's features, if anything does."""
    return Propagation(settings.propagation) if settings.propagation != 0 else None
