"""One cell: all methods on the same tasks, and what is made of their scores."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.other_domains.domain import Domain
from pyro_sib.experiments.other_domains.entrants import Entrant
from pyro_sib.experiments.other_domains.methods import LOGISTIC
from pyro_sib.experiments.other_domains.record import Cell, Row
from pyro_sib.experiments.other_domains.tasks import TaskDrawer
from pyro_sib.scores.calibration import expected_calibration_error
from pyro_sib.scores.metrics import TaskScores, mean_interval, score

Scored = dict[tuple[str, bool], list[TaskScores]]
"""By method and whether it was told, the scores of each task."""


def measure_cell(
    domain: Domain,
    drawer: TaskDrawer,
    entrants: Sequence[Entrant],
    tasks: int,
    told: bool,
    advance: Callable[[int, int], None],
) -> Cell:
    """Let every method predict every task.

    Args:
        domain: whose features these are.
        drawer: of the tasks.
        entrants: the methods.
        tasks: how many.
        told: whether each method that can make use of it is also told of the proportions.
        advance: told (tasks done, tasks).

    Raises:
        InputError: a method gives no numbers on these features.
    """
    rows = [
        (one, is_told)
        for is_told in (False, True)[: 1 + told]
        for one in entrants
        if one.can_be_told or not is_told
    ]
    scored: Scored = {(one.name, is_told): [] for one, is_told in rows}
    queries = 0
    for index in range(tasks):
        known, labels = drawer.draw(index)
        queries += len(labels)
        for one, is_told in rows:
            found = one.predict(known, drawer.form.told if is_told else None)
            if not bool(found.isfinite().all()):
                raise InputError(
                    f"{one.name} gives no numbers on {domain.name}; look for constant or huge features"
                )
            scored[one.name, is_told].append(score(found[None], labels[None], 0))
        advance(index + 1, tasks)
    form, simple = drawer.form, {one.name for one in entrants if one.simple}
    made = rows_of(scored, simple, {one.name: one.whole for one in entrants if one.whole})
    return Cell(domain.name, form.ways, form.shots, form.balance, tasks, queries / tasks, made)


def rows_of(scored: Scored, simple: set[str], wholes: Mapping[str, str]) -> tuple[Row, ...]:
    """The rows of a cell.

    Args:
        scored: of each method.
        simple: names of the simple ones.
        wholes: of those that lack a piece, the names of the whole ones.
    """
    accuracy = {key: torch.cat([one.novel for one in each]).double() for key, each in scored.items()}
    return tuple(_row(key, scored[key], accuracy, simple, wholes.get(key[0], "")) for key in scored)


def _row(
    key: tuple[str, bool],
    scored: list[TaskScores],
    accuracy: dict[tuple[str, bool], Tensor],
    simple: set[str],
    whole: str,
) -> Row:
    method, told = key
    rivals = [other for other in accuracy if other[0] in simple and (told or not other[1])]
    best = max(rivals, key=lambda other: float(accuracy[other].mean()))
    logistic = accuracy.get((LOGISTIC, told))
    confidence, correct = (torch.cat([getattr(s, n).flatten() for s in scored]) for n in ("confidence", "correct"))
    return Row(
        method,
        method in simple,
        told,
        mean_interval(accuracy[key]),
        mean_interval(torch.cat([one.nll for one in scored])),
        expected_calibration_error(confidence, correct),
        best[0] + ", told" * best[1],
        mean_interval(accuracy[key] - accuracy[best]),
        None if logistic is None else mean_interval(accuracy[key] - logistic),
        whole,
        mean_interval(accuracy[key] - accuracy[whole, told]) if whole else None,
    )
