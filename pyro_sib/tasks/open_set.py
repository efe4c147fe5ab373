"""Queries of classes that a task does not have: what a learner should be unsure about."""

from dataclasses import replace

import torch
from torch import Tensor

from pyro_sib.counter_rng import distinct_integers, make_key, uniform
from pyro_sib.data import Split
from pyro_sib.errors import InputError, argument
from pyro_sib.types import Episode

_KEY = make_key("strangers")
_CLASSES, _IMAGES = 0, 1


def unknown_rows(split: Split, task_classes: Tensor, task_ids: Tensor, count: int) -> Tensor:
    """(T, count) rows of classes that are not among the task's, a class by chance for each, no row twice.

    Args:
        split: with C classes.
        task_classes: (T, N) the task's own.
        task_ids: (T,) from which the draws derive.
        count: of rows for each task.

    Raises:
        InputError: no class is left, or too few images.
    """
    tasks, ways = task_classes.shape
    classes = len(split.class_names)
    left = classes - ways
    if left < 1:
        raise InputError(f"all {classes} classes are in every task; lower {argument('ways')} to have strangers")
    if int(split.counts.min()) < count:
        raise InputError(
            f"class {split.class_names[int(split.counts.argmin())]} has {int(split.counts.min())} images, "
            f"fewer than the {count} queries of a task; lower {argument('queries')}"
        )
    mine = torch.zeros(tasks, classes, dtype=torch.bool).scatter_(1, task_classes, value=True)
    others = torch.arange(classes).expand(tasks, -1)[~mine].view(tasks, left)
    chosen = others.gather(1, (uniform(_KEY, task_ids, _CLASSES, count) * left).long())
    return distinct_integers(_KEY, task_ids, _IMAGES, split.offsets[chosen], split.counts[chosen])


def with_unknown(episode: Episode, x: Tensor) -> Episode:
    """The tasks with further queries, (T, U, D), behind their own; those have no label: -1."""
    evidence = replace(episode.evidence, query_x=torch.cat([episode.evidence.query_x, x], dim=1))
    unknown = episode.query_y.new_full(x.shape[:2], -1)
    return Episode(evidence, torch.cat([episode.query_y, unknown], dim=1))
