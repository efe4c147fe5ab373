"""One cell: all methods on the same piles, the learner's sets, and what belongs to no class."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from time import perf_counter

import torch
from torch import Tensor

from pyro_sib.experiments.other_domains.tasks import Known
from pyro_sib.experiments.own_pictures.judge import Judge
from pyro_sib.experiments.own_pictures.left_out import leave_out
from pyro_sib.experiments.own_pictures.rows import Row
from pyro_sib.experiments.piles_grid.methods import Method
from pyro_sib.experiments.piles_grid.record import PileCell, PileRow, Sets
from pyro_sib.experiments.piles_grid.tasks import PileDrawer
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.scores.calibration import auroc, expected_calibration_error
from pyro_sib.scores.conformal import fewest_examples
from pyro_sib.scores.metrics import TaskScores, mean_interval, score

FLAGGED = 0.3
"""Probability of no class above which a picture is flagged, as by the command classify."""


def named_support(known: Known) -> dict[str, Tensor]:
    """The labeled examples by names that sort as the classes' numbers do."""
    return {f"{number:04d}": rows for number, rows in enumerate(known.support)}


def measure_cell(
    domain: str,
    drawer: PileDrawer,
    classifier: FewShotClassifier,
    others: Mapping[str, Method],
    tasks: int,
    set_tasks: int,
    draws: int,
    coverage: float,
    advance: Callable[[int, int], None],
) -> PileCell:
    """Let the learner and the others classify every task's pile.

    Args:
        domain: its name.
        drawer: of the tasks.
        classifier: the learner.
        others: methods to measure beside it.
        tasks: how many.
        set_tasks: of these, those whose prediction sets are made; none are of tasks with pictures of no class.
        draws: of the posterior.
        coverage: of the sets.
        advance: told (tasks done, tasks).
    """
    form = drawer.form.form
    scored: dict[str, list[TaskScores]] = defaultdict(list)
    detected: dict[str, list[float]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    of_sets: list[tuple[float, float, float]] = []
    flags: list[list[float]] = []
    for index in range(tasks):
        known, labels = drawer.draw(index)
        of_class = labels >= 0

        for name in (classifier.card.name, *others):
            start = perf_counter()
            p, none = _predicted(known, others.get(name), classifier, draws)
            seconds[name] += perf_counter() - start
            if bool(of_class.any()):
                scored[name].append(score(p[None, of_class], labels[None, of_class], 0))
            if drawer.form.unknown and bool(of_class.any()) and not bool(of_class.all()):
                detected[name].append(100 * auroc(none[~of_class], none[of_class]))
                if name == classifier.card.name:
                    flags.append([float((none[part] > FLAGGED).float().mean()) for part in (~of_class, of_class)])
        if index < set_tasks and not drawer.form.unknown:
            one = _sets(classifier, known, labels, draws, coverage)
            of_sets += [one] if one else []
        advance(index + 1, tasks)
    rows = tuple(_row(name, scored[name], detected[name], seconds[name] / tasks) for name in scored)
    sets = None
    if of_sets:
        covered, sizes, left_out = torch.tensor(of_sets).T
        sets = Sets(len(of_sets), mean_interval(covered), float(sizes.mean()), float(left_out.mean()))
    flagged = tuple((100 * torch.tensor(flags).mean(0)).tolist()) if flags else None
    return PileCell(
        domain,
        form.ways,
        form.shots,
        form.balance,
        drawer.form.pile,
        drawer.form.unknown,
        tasks,
        rows,
        sets,
        flagged,
    )


def _predicted(
    known: Known, method: Method | None, classifier: FewShotClassifier, draws: int
) -> tuple[Tensor, Tensor]:
    """(Q, N) probabilities of the classes and (Q,) strangeness, by a method or, without one, by the learner."""
    if method is not None:
        p = method(known)
        return p, 1 - p.amax(1)
    found = classifier.predict(named_support(known), known.queries, draws=draws, seed=known.index)
    assert found.none_of_these is not None
    return torch.from_numpy(found.probabilities), torch.from_numpy(found.none_of_these)


def _row(name: str, scored: list[TaskScores], detected: list[float], seconds: float) -> PileRow:
    confidence, correct = (torch.cat([getattr(s, n).flatten() for s in scored]) for n in ("confidence", "correct"))
    return PileRow(
        name,
        mean_interval(torch.cat([one.novel for one in scored])),
        mean_interval(torch.cat([one.nll for one in scored])),
        expected_calibration_error(confidence, correct),
        mean_interval(torch.tensor(detected)) if detected else None,
        seconds,
    )


def _sets(
    classifier: FewShotClassifier, known: Known, labels: Tensor, draws: int, coverage: float
) -> tuple[float, float, float] | None:
    """Coverage and size of a task's sets, and right answers on what was left out; None with too few examples."""
    labeled = [Row(name, row, name) for name, rows in named_support(known).items() for row in rows]
    if sum(len(rows) for rows in known.support if len(rows) > 1) < fewest_examples(coverage):
        return None
    judge = Judge(classifier, [Row("", row) for row in known.queries], draws, known.index)
    checked = leave_out(judge, labeled, coverage)
    assert checked.sets is not None
    held = checked.sets.gather(1, labels[:, None])[:, 0]
    size = float(checked.sets.sum(1).double().mean())
    return 100 * float(held.double().mean()), size, 100 * checked.right / len(checked.truth)
