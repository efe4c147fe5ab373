"""All that was found of a pile, as the files of a folder tell it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.experiments.own_pictures.composition import Composition
from pyro_sib.experiments.own_pictures.gather import LeftOut
from pyro_sib.experiments.own_pictures.judge import Judged
from pyro_sib.experiments.own_pictures.left_out import Checked
from pyro_sib.experiments.own_pictures.rows import Row, stacked
from pyro_sib.experiments.terminal.tables import csv_table
from pyro_sib.scores.to_label import doubt, evened, most_telling
from pyro_sib.tasks.coordinates import TaskCoordinates

ASK, NONE = "ask a person", "none of these"
_COORDINATES = TaskCoordinates(40)
"""In which pictures are near each other, whatever the learner sees."""
NO_CLASS = "(no class)"
"""A prediction set that holds none."""


@dataclass(frozen=True)
class Outcome:
    """What is known once everything is computed.

    Attributes:
        labeled: rows, class by class.
        pile: Q rows.
        left: what took no part.
        judged: the pile's predictions.
        checked: labeled examples left out.
        composition: the pile's class shares, that of no class last where the learner knows of it.
        ask: (Q,) whether a person should look.
        strange: (Q,) whether it seems to belong to no class.
        next: numbers of the rows to label next, the most telling first.
    """

    labeled: list[Row]
    pile: list[Row]
    left: LeftOut
    judged: Judged
    checked: Checked
    composition: Composition
    ask: Tensor
    strange: Tensor
    next: list[int]

    def names_in_set(self, row: int) -> tuple[str, ...] | None:
        """The classes of a picture's prediction set; None where there are no sets."""
        if self.checked.sets is None:
            return None
        held = self.checked.sets[row].tolist()
        return tuple(name for name, inside in zip(self.judged.classes, held, strict=True) if inside)

    def set_of(self, row: int) -> str:
        """The same in one cell, joined by bars; empty where there are no sets."""
        names = self.names_in_set(row)
        return "" if names is None else " | ".join(name.replace("|", "\\|") for name in names) or NO_CLASS


def whom_to_ask(judged: Judged, checked: Checked, ask_below: float) -> Tensor:
    """(Q,) whether a picture's set does not hold one class alone, or its confidence is below the threshold."""
    doubtful = judged.probabilities.amax(1) < ask_below
    return doubtful if checked.sets is None else doubtful | (checked.sets.sum(1) != 1)


def strange_ones(judged: Judged, none_above: float) -> Tensor:
    """(Q,) whether a picture belongs to no class with a probability above the threshold."""
    return torch.zeros(len(judged.entropy), dtype=torch.bool) if judged.none is None else judged.none > none_above


def what_next(judged: Judged, labeled: list[Row], pile: list[Row], most: int) -> list[int]:
    """Rows to label next, in the principal coordinates of all; one that seems to belong to no class tells less."""
    x = evened(_COORDINATES.of(torch.cat([stacked(labeled), stacked(pile)])[None])[0, :, :-1])
    uncertain = doubt(judged.probabilities)
    uncertain = uncertain if judged.none is None else uncertain * (1 - judged.none)
    return most_telling(uncertain, x[len(labeled) :], x[: len(labeled)], most)


def predictions_csv(outcome: Outcome) -> str:
    """The text of predictions.csv: a row for each picture of the pile, in its order."""
    judged = outcome.judged
    confidence, best = judged.probabilities.max(1)
    records = []
    for n, row in enumerate(outcome.pile):
        each = zip(judged.classes, judged.probabilities[n].tolist(), strict=True)
        records.append(
            {
                "path": row.name,
                "label": judged.classes[int(best[n])],
                "confidence": f"{float(confidence[n]):.4f}",
                **{f"probability of {name}": f"{value:.4f}" for name, value in each},
                "entropy": f"{float(judged.entropy[n]):.4f}",
                "mutual_information": f"{float(judged.mutual_information[n]):.4f}",
                "none_of_these": "" if judged.none is None else f"{float(judged.none[n]):.4f}",
                "conformal_set": outcome.set_of(n),
                "flag": NONE if bool(outcome.strange[n]) else ASK if bool(outcome.ask[n]) else "",
            }
        )
    return csv_table(records)


def by_confidence(judged: Judged, number: int) -> list[int]:
    """Rows of one predicted class, the surest first."""
    rows = (judged.best == number).nonzero()[:, 0]
    order: list[int] = rows[
        torch.argsort(judged.probabilities[rows, number], descending=True, stable=True)
    ].tolist()
    return order
