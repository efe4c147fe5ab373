"""Accuracy against the number of labels, by how it is chosen what to label next."""

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key
from pyro_sib.data import Split
from pyro_sib.experiments.piles_grid.record import Curve
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.scores.calibration import entropy
from pyro_sib.scores.metrics import mean_interval
from pyro_sib.scores.to_label import doubt, evened, most_telling
from pyro_sib.tasks.coordinates import TaskCoordinates

OURS, RANDOM, UNCERTAINTY = "most telling", "random", "entropy"
_STEP, _STEPS, _PILE = 10, 6, 36
"""Labels asked for at once, how often, and pictures of each class."""
_COORDINATES = TaskCoordinates(40)
"""In which pictures are near each other, whatever the learner sees."""


def measure_curve(
    domain: str,
    split: Split,
    classifier: FewShotClassifier,
    ways: int,
    tasks: int,
    draws: int,
    seed: int,
    advance: Callable[[int, int], None],
) -> Curve:
    """Start with one label of each class; half of the pile may be asked about, the other half is judged.

    Both halves are in the pile at all times, so that what is judged is the same for every way of asking.

    Args:
        domain: its name.
        split: features by class.
        classifier: the learner.
        ways: classes of a task.
        tasks: how many.
        draws: of the posterior.
        seed: of the tasks.
        advance: told (tasks done, tasks).
    """
    found: dict[str, list[list[float]]] = {name: [] for name in (OURS, RANDOM, UNCERTAINTY)}
    for index in range(tasks):
        generator = torch.Generator().manual_seed(make_key("labels to ask for", seed, index) % 2**63)
        x, y, labeled, judged = _drawn(split, ways, generator)
        for name, each in found.items():
            each.append(_one(name, x, y, labeled, judged, classifier, draws, generator))
        advance(index + 1, tasks)
    accuracy = {
        name: tuple(mean_interval(torch.tensor(each)[:, step]) for step in range(_STEPS + 1))
        for name, each in found.items()
    }
    labels = tuple(_STEP * step for step in range(_STEPS + 1))
    means = {name: [one.mean for one in each] for name, each in accuracy.items()}
    asked = [needed(means[OURS], labels, goal) for goal in means[RANDOM][1:]]
    share = tuple(None if n is None else 100 * n / of for n, of in zip(asked, labels[1:], strict=True))
    paired = torch.tensor(found[OURS]) - torch.tensor(found[RANDOM])
    gain = tuple(mean_interval(paired[:, step]) for step in range(_STEPS + 1))
    return Curve(domain, tasks, labels, accuracy, share, gain)


def needed(accuracy: list[float], labels: tuple[int, ...], goal: float) -> float | None:
    """Labels at which a curve first reaches an accuracy, between its points on a line; None if it never does."""
    for step, value in enumerate(accuracy):
        if value >= goal:
            if not step:
                return float(labels[0])
            before = accuracy[step - 1]
            return labels[step - 1] + (labels[step] - labels[step - 1]) * (goal - before) / (value - before)
    return None


def _drawn(split: Split, ways: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, classes, rows that are labeled, and whether each row is one of those judged."""
    classes = torch.randperm(len(split.class_names), generator=generator)[:ways].tolist()
    rows = [
        split.offsets[c] + torch.randperm(int(split.counts[c]), generator=generator)[: _PILE + 1] for c in classes
    ]
    counts = torch.tensor([len(of_class) for of_class in rows])
    y = torch.arange(len(classes)).repeat_interleave(counts)
    labeled = counts.cumsum(0) - counts
    judged = torch.zeros(len(y), dtype=torch.bool)
    judged[torch.randperm(len(y), generator=generator)[: len(y) // 2]] = True
    judged[labeled] = False
    return split.x[torch.cat(rows)], y, labeled, judged


def _one(
    name: str,
    x: Tensor,
    y: Tensor,
    labeled: Tensor,
    judged: Tensor,
    classifier: FewShotClassifier,
    draws: int,
    generator: torch.Generator,
) -> list[float]:
    """Percent right of the pictures judged, after each step of asking."""
    coordinates, accuracy = evened(_COORDINATES.of(x[None])[0, :, :-1]), []
    for step in range(_STEPS + 1):
        known = torch.zeros(len(y), dtype=torch.bool)
        known[labeled] = True
        pile = (~known).nonzero()[:, 0]
        support = {f"{c:04d}": x[labeled[y[labeled] == c]] for c in range(int(y.max()) + 1)}
        p = torch.from_numpy(classifier.predict(support, x[pile], draws=draws).probabilities)
        right = p.argmax(1) == y[pile]
        accuracy.append(100 * float(right[judged[pile]].double().mean()))
        if step == _STEPS:
            break
        asked = _ask(name, p, coordinates[pile], coordinates[labeled], ~judged[pile], generator)
        labeled = torch.cat([labeled, pile[asked]])
    return accuracy


def _ask(
    name: str, p: Tensor, x: Tensor, labeled: Tensor, allowed: Tensor, generator: torch.Generator
) -> list[int]:
    """Rows of the pile to label next, of those allowed."""
    rows = allowed.nonzero()[:, 0]
    if name == RANDOM:
        chosen: list[int] = rows[torch.randperm(len(rows), generator=generator)[:_STEP]].tolist()
        return chosen
    if name == UNCERTAINTY:
        order: list[int] = rows[entropy(p)[rows].argsort(descending=True)[:_STEP]].tolist()
        return order
    return most_telling(doubt(p), x, labeled, _STEP, allowed)
