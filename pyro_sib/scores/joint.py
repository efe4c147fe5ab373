"""What LwoF asks beyond accuracy: is a query base or novel, where do errors go, how far to trust each part."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_sib.scores.calibration import auroc, expected_calibration_error

GROUPS = ("novel", "base")


@dataclass(frozen=True)
class JointScores:
    """Scores of T joint tasks' queries, each (T, Q).

    "Apart" is a query among the classes of its own kind, base or novel, with their probabilities scaled to sum to
    one; "together" is among all classes.

    Attributes:
        is_novel: whether its class is a novel one.
        novelty: probability that it is, all novel classes together.
        guessed_novel: whether its most probable class is a novel one.
        correct: whether that is the right one.
        apart: (T, Q, 4) confidence, correctness, NLL in nats and Brier score, apart.
        together: (T, Q, 4) the same, together.
    """

    is_novel: Tensor
    novelty: Tensor
    guessed_novel: Tensor
    correct: Tensor
    apart: Tensor
    together: Tensor

    @staticmethod
    def of(probabilities: Tensor, query_y: Tensor, base_classes: int) -> "JointScores":
        """Of T tasks' predictions, (T, Q, C) with the base classes first, and labels, (T, Q)."""
        is_novel = query_y >= base_classes
        base, novel = probabilities[..., :base_classes], probabilities[..., base_classes:]
        right = probabilities.gather(-1, query_y[..., None]).squeeze(-1)
        (of_base, base_guess), (of_novel, novel_guess) = ((_Sums.of(p), p.argmax(-1)) for p in (base, novel))
        own = _Sums(*(torch.where(is_novel, n, b) for n, b in zip(of_novel, of_base, strict=True)))
        own_guess = torch.where(is_novel, novel_guess + base_classes, base_guess)
        guessed_novel = of_novel.peak > of_base.peak
        correct = (own_guess == query_y) & (guessed_novel == is_novel)
        every = _Sums(
            of_base.mass + of_novel.mass,
            torch.maximum(*(s.peak for s in (of_base, of_novel))),
            of_base.squares + of_novel.squares,
        )
        return JointScores(
            is_novel,
            of_novel.mass,
            guessed_novel,
            correct,
            own.marks(right, own_guess == query_y),
            every.marks(right, correct),
        )

    @staticmethod
    def join(parts: list["JointScores"]) -> "JointScores":
        """Of all tasks from batches of them."""
        return JointScores(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(JointScores)))

    def base_or_novel(self) -> float:
        """AUROC in percent of `novelty` between novel and base queries, over all tasks."""
        return 100 * auroc(self.novelty[self.is_novel], self.novelty[~self.is_novel])

    def errors(self) -> dict[str, float]:
        """Where the queries go, in percent of all: they sum to 100."""
        wrong = ~self.correct
        kinds = {
            "right": self.correct,
            "novel taken for base": wrong & self.is_novel & ~self.guessed_novel,
            "base taken for novel": wrong & ~self.is_novel & self.guessed_novel,
            "among novel": wrong & self.is_novel & self.guessed_novel,
            "among base": wrong & ~self.is_novel & ~self.guessed_novel,
        }
        return {name: 100 * float(where.double().mean()) for name, where in kinds.items()}

    def calibration(self) -> dict[str, dict[str, float]]:
        """ECE in percent, NLL in nats and Brier score by part: novel and base apart and together, and both."""
        groups = {"novel": self.is_novel, "base": ~self.is_novel}
        parts = {f"{g}, apart": self.apart[groups[g]] for g in GROUPS}
        parts |= {f"{g}, together": self.together[groups[g]] for g in GROUPS}
        parts["both"] = self.together.flatten(0, 1)
        return {name: _calibration(marks) for name, marks in parts.items()}


class _Sums(NamedTuple):
    """Over some of the classes, (T, Q) each: their mass, the largest of them, and the sum of squares."""

    mass: Tensor
    peak: Tensor
    squares: Tensor

    @staticmethod
    def of(probabilities: Tensor) -> "_Sums":
        return _Sums(probabilities.sum(-1), probabilities.amax(-1), probabilities.square().sum(-1))

    def marks(self, right: Tensor, correct: Tensor) -> Tensor:
        """Confidence, correctness, NLL and Brier score, (T, Q, 4), with the mass scaled to one."""
        tiny = torch.finfo(right.dtype).tiny
        mass = self.mass.clamp_min(tiny)
        chance = right / mass
        brier = self.squares / mass.square().clamp_min(tiny) - 2 * chance + 1
        return torch.stack([self.peak / mass, correct.to(right), -chance.clamp_min(tiny).log(), brier], dim=-1)


def _calibration(marks: Tensor) -> dict[str, float]:
    confidence, correct, nll, brier = marks.unbind(-1)
    return {
        "ece": expected_calibration_error(confidence, correct),
        "nll": float(nll.double().mean()),
        "brier": float(brier.double().mean()),
    }
