"""The pile judged by a learner, in parts where it is large, with labeled examples left out or without."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_sib.experiments.own_pictures.rows import Row, by_class, stacked
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.task_result import Prediction

AT_ONCE = 2000
"""Pictures of a pile that are judged together; a larger pile is dealt out at random."""


@dataclass(frozen=True)
class Judged:
    """What is said of the pile's Q rows.

    Attributes:
        classes: C names.
        probabilities: (Q, C).
        entropy: (Q,) nats.
        mutual_information: (Q,) nats.
        each: (draws, Q, C) probabilities under each draw of the weights; (1, Q, C) without a posterior.
        none: (Q,) posterior probability of belonging to no class; None where the learner gives none.
        parts: the predictions that were put together, in turn.
    """

    classes: tuple[str, ...]
    probabilities: Tensor
    entropy: Tensor
    mutual_information: Tensor
    each: Tensor
    none: Tensor | None
    parts: tuple[Prediction, ...]

    @property
    def best(self) -> Tensor:
        """(Q,) number of the most probable class."""
        return self.probabilities.argmax(1)


class Judge:
    """Judges one pile.

    Args:
        classifier: the learner.
        pile: Q rows.
        draws: of the weights.
        seed: of the draws, and of how a large pile is dealt out.
        proportions: unknown, even, or shares by class.
    """

    def __init__(
        self,
        classifier: FewShotClassifier,
        pile: list[Row],
        draws: int,
        seed: int,
        proportions: str | dict[str, float] = "unknown",
    ):
        self.classifier, self.pile = classifier, stacked(pile)
        self.parts = _dealt(len(pile), seed)
        self.how: dict[str, Any] = {"draws": draws, "seed": seed, "proportions": proportions}

    def judge(self, labeled: list[Row]) -> Judged:
        """The pile, by all labeled rows."""
        support = {name: stacked(rows) for name, rows in by_class(labeled).items()}
        found = tuple(self.classifier.predict(support, self.pile[part], **self.how) for part in self.parts)
        order = torch.cat(self.parts).argsort()

        def whole(arrays: list[NDArray[np.float32]]) -> Tensor:
            return torch.from_numpy(np.concatenate(arrays))[order]

        none = [one.none_of_these for one in found if one.none_of_these is not None]
        each = [one.probabilities[None] if one.draws is None else one.draws.probabilities.numpy() for one in found]
        return Judged(
            found[0].classes,
            whole([one.probabilities for one in found]),
            whole([one.entropy for one in found]),
            whole([one.mutual_information for one in found]),
            torch.from_numpy(np.concatenate(each, axis=1))[:, order],
            whole(none) if none else None,
            found,
        )

    def without(self, kept: list[Row], left: list[Row], fold: int) -> tuple[Tensor, Tensor]:
        """Probabilities of the pile, (Q, C), and of rows left out of the labeled ones, which join it, (m, C).

        Args:
            kept: labeled rows, some of each class.
            left: m rows left out.
            fold: number of the fold, which decides what part of a large pile they join.
        """
        support = {name: stacked(rows) for name, rows in by_class(kept).items()}
        pile, own = torch.empty(len(self.pile), len(support)), torch.empty(0)
        for number, part in enumerate(self.parts):
            join = number == fold % len(self.parts)
            queries = torch.cat([self.pile[part], stacked(left)]) if join else self.pile[part]
            found = torch.from_numpy(self.classifier.predict(support, queries, **self.how).probabilities)
            pile[part] = found[: len(part)]
            own = found[len(part) :] if join else own
        return pile, own


def rehearse(classifier: FewShotClassifier, classes: list[str], proportions: str | dict[str, float]) -> None:
    """Have made-up rows of these classes judged, to meet before long work what a learner refuses.

    Raises:
        InputError: another number of classes than the learner serves, and the like.
    """
    rows = torch.randn(len(classes) + 2, 1, classifier.card.features, generator=torch.Generator().manual_seed(0))
    support = dict(zip(classes, rows, strict=False))
    classifier.predict(support, rows[len(classes) :, 0], draws=1, proportions=proportions)


def _dealt(rows: int, seed: int) -> tuple[Tensor, ...]:
    """Numbers of the rows that are judged together."""
    if rows <= AT_ONCE:
        return (torch.arange(rows),)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return tuple(part.sort().values for part in order.tensor_split(-(-rows // AT_ONCE)))
