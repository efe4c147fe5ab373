"""What must hold of a task's numbers: labels that name its classes, each class with an example, finite features."""

import torch
from torch import Tensor

from pyro_sib.readable import finite

UNKNOWN = -1
"""Label of a query whose class is none of the task's."""


def check_labels(support_y: Tensor, ways: int) -> None:
    """(T, M) labels of the labeled examples: integers 0..N-1, each of them in each task; values where N = 1.

    Raises:
        ValueError: naming the task and the label, or the class that has no example.
    """
    if ways < 1:
        raise ValueError(f"ways is {ways}: 1 or more is needed")
    if support_y.is_floating_point() and ways == 1:
        if not finite(support_y):
            raise ValueError("support_y should be finite, but holds NaN or infinite values; remove them")
        return
    _check_integers("support_y", support_y)
    odd = (support_y < 0) | (support_y >= ways)
    if bool(odd.any()):
        task, place = odd.nonzero()[0].tolist()
        raise ValueError(
            f"support_y has the label {int(support_y[task, place])} (task {task}), but the classes of a "
            f"{ways}-way task are 0 to {ways - 1}; number each task's classes from 0, or raise ways"
        )
    seen = (support_y[..., None] == torch.arange(ways, device=support_y.device)).any(1)
    if not bool(seen.all()):
        task, label = (~seen).nonzero()[0].tolist()
        raise ValueError(
            f"class {label} of task {task} has no labeled example in support_y; give each of the {ways} classes "
            f"at least one, or lower ways"
        )


def check_query_labels(query_y: Tensor, classes: int, values: bool) -> None:
    """(T, Q) labels of the queries: integers 0..classes-1, or -1 for none of them; values in regression.

    Raises:
        ValueError: naming the task and the label.
    """
    if values and query_y.is_floating_point():
        if not finite(query_y):
            raise ValueError("query_y should be finite, but holds NaN or infinite values; remove them")
        return
    _check_integers("query_y", query_y)
    odd = (query_y < UNKNOWN) | (query_y >= classes)
    if bool(odd.any()):
        task, place = odd.nonzero()[0].tolist()
        raise ValueError(
            f"query_y has the label {int(query_y[task, place])} (task {task}), but a query's classes are 0 to "
            f"{classes - 1} here; number each task's classes from 0, base classes first"
        )


def check_base_ids(base_ids: Tensor) -> None:
    """(T, B') numbers of base classes: integers of 0 or more, none twice in a task.

    Raises:
        ValueError: naming the task and the number.
    """
    _check_integers("base_ids", base_ids)
    if base_ids.ndim != 2:
        raise ValueError(f"base_ids should be (T, B') but is {tuple(base_ids.shape)}")
    ordered = base_ids.sort(1).values
    twice = ordered[:, 1:] == ordered[:, :-1]
    if bool(twice.any()):
        task, place = twice.nonzero()[0].tolist()
        raise ValueError(f"base_ids names base class {int(ordered[task, place])} twice in task {task}")
    if bool((base_ids < 0).any()):
        task, place = (base_ids < 0).nonzero()[0].tolist()
        raise ValueError(f"base_ids has {int(base_ids[task, place])} in task {task}; base classes count from 0")


def check_finite(name: str, x: Tensor) -> None:
    """(T, M, ...) features or images.

    Raises:
        ValueError: a number of it is NaN or infinite; its task and row are named.
    """
    if finite(x):
        return
    task, row = (~x.isfinite()).nonzero()[0, :2].tolist()
    raise ValueError(
        f"{name} should be finite, but row {row} of task {task} holds NaN or infinite ones; mend what computed it"
    )


def _check_integers(name: str, y: Tensor) -> None:
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"{name} should hold integers but is {y.dtype}; convert it with .long()")
