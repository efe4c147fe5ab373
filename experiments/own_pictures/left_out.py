"""How the learner judges labeled examples that it is not shown, and the prediction sets that follow."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from pyro_sib.experiments.own_pictures.judge import Judge
from pyro_sib.experiments.own_pictures.rows import Row
from pyro_sib.scores.conformal import cross_conformal, fewest_examples, prediction_sets

ONE_BY_ONE, FOLDS = 40, 20
"""Examples up to which each is left out on its own, and the parts into which more are dealt."""


@dataclass(frozen=True)
class Checked:
    """What came of leaving labeled examples out.

    Attributes:
        truth: (n,) number of the true class of each example that was left out in turn.
        guess: (n,) number of the class that the learner took for the most probable.
        folds: how many times some were left out; n where each was on its own.
        alone: classes with one example, which cannot be left out.
        sets: (Q, C) whether each class is in the picture's prediction set, or None with too few examples.
        needed: examples that sets of the coverage asked for need.
    """

    truth: Tensor
    guess: Tensor
    folds: int
    alone: tuple[str, ...]
    sets: Tensor | None
    needed: int

    @property
    def right(self) -> int:
        """Of the examples."""
        return int((self.truth == self.guess).sum())


def leave_out(
    judge: Judge,
    labeled: list[Row],
    coverage: float,
    on_fold: Callable[[int, int], None] = lambda done, total: None,
) -> Checked:
    """Have each labeled example whose class has another one judged among the pile, by a learner not shown it.

    Its strangeness is -log of the probability of its class, in which what is all but impossible still differs.

    Args:
        judge: of the pile.
        labeled: rows, class by class.
        coverage: of the prediction sets.
        on_fold: told (folds done, folds in all).
    """
    classes = sorted({row.label for row in labeled})
    sizes = Counter(row.label for row in labeled)
    several = [place for place, row in enumerate(labeled) if sizes[row.label] > 1]
    folds = len(several) if len(several) <= ONE_BY_ONE else FOLDS
    # Neighbours go to different folds, so no class loses all its examples at once.
    fold = torch.arange(len(several)) % max(folds, 1)
    truth = torch.tensor([classes.index(labeled[place].label) for place in several], dtype=torch.int64)
    own, pile = torch.empty(len(several), len(classes)), []
    for number in range(folds):
        left = {place for place, where in zip(several, fold.tolist(), strict=True) if where == number}
        kept = [row for place, row in enumerate(labeled) if place not in left]
        judged, own[fold == number] = judge.without(kept, [labeled[place] for place in sorted(left)], number)
        pile.append(judged)
        on_fold(number + 1, folds)
    needed, sets = fewest_examples(coverage), None
    if len(several) >= needed:
        scores = -own.gather(1, truth[:, None])[:, 0].log()
        lost = torch.zeros(folds, len(classes), dtype=torch.bool)
        lost[fold, truth] = True
        sets = prediction_sets(cross_conformal(scores, fold, -torch.stack(pile).log(), lost), coverage)
    alone = tuple(name for name in classes if sizes[name] == 1)
    return Checked(truth, own.argmax(1) if several else truth, folds, alone, sets, needed)


def share_interval(right: int, of: int) -> tuple[float, float]:
    """The 95% interval of a share by the score test (Wilson 1927)."""
    z2, share = 1.96**2, right / of
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = sqrt(z2 * (share * (1 - share) / of + z2 / (4 * of**2))) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)
