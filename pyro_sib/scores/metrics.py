"""Per-task accuracies and scores of query predictions, and their means with intervals."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_sib.scores.calibration import expected_calibration_error
from pyro_sib.scores.joint import JointScores
from pyro_sib.scores.summary import MeanInterval


def mean_interval(values: Tensor) -> MeanInterval:
    """1.96 * std / sqrt(tasks), with the unbiased standard deviation."""
    values = values.double()
    half = 1.96 * float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return MeanInterval(float(values.mean()), half)


@dataclass(frozen=True)
class TaskScores:
    """Scores of T tasks, each (T,); accuracies in percent, base and both only in LwoF.

    Attributes:
        novel: novel queries among the N novel classes.
        base: base queries among the B base classes.
        both: all queries among all classes.
        nll: mean -log p of the right class, nats.
        brier: mean squared distance of the probabilities from the right one-hot vector.
        confidence: (T, Q) largest probability of each query.
        correct: (T, Q) whether it was the right class.
        joint: what LwoF asks besides; None in the standard setting.
    """

    novel: Tensor
    base: Tensor | None
    both: Tensor | None
    nll: Tensor
    brier: Tensor
    confidence: Tensor
    correct: Tensor
    joint: JointScores | None = None

    @staticmethod
    def join(parts: list["TaskScores"]) -> "TaskScores":
        """Scores of all tasks from batches of them."""
        fields: dict[str, Any] = {}
        for name in TaskScores.__dataclass_fields__:
            values = [getattr(part, name) for part in parts]
            join = JointScores.join if isinstance(values[0], JointScores) else torch.cat
            fields[name] = None if values[0] is None else join(values)
        return TaskScores(**fields)

    def calibration_error(self) -> float:
        """ECE, percent."""
        return expected_calibration_error(self.confidence, self.correct)

    def metrics(self) -> dict[str, MeanInterval]:
        """Means with intervals, by metric name; base and both only in LwoF."""
        named = {"novel": self.novel, "base": self.base, "both": self.both}
        return {name: mean_interval(values) for name, values in named.items() if values is not None}


def score(probabilities: Tensor, query_y: Tensor, base_classes: int) -> TaskScores:
    """Score T tasks; of a task whose probabilities are NaN, all scores are.

    Args:
        probabilities: (T, Q, C) with the base classes first.
        query_y: (T, Q) labels in 0..C-1.
        base_classes: B', 0 in the standard setting.
    """
    guess = probabilities.argmax(-1)
    correct = guess == query_y
    right = probabilities.gather(-1, query_y[..., None]).squeeze(-1)
    one_hot = torch.nn.functional.one_hot(query_y, probabilities.shape[-1])
    nll = -right.clamp_min(torch.finfo(right.dtype).tiny).log().mean(-1)
    brier = (probabilities - one_hot).square().sum(-1).mean(-1)
    base = both = joint = None
    if base_classes:
        is_base = query_y < base_classes
        novel_guess = probabilities[..., base_classes:].argmax(-1) + base_classes
        base_guess = probabilities[..., :base_classes].argmax(-1)
        novel = _percent(novel_guess == query_y, ~is_base)
        base, both = _percent(base_guess == query_y, is_base), 100 * correct.float().mean(-1)
        joint = JointScores.of(probabilities, query_y, base_classes)
    else:
        novel = 100 * correct.float().mean(-1)
    # The largest of NaNs is the first, which would look like chance.
    broken = nll.isnan()
    novel, base, both = (
        novel.masked_fill(broken, float("nan")),
        *(None if a is None else a.masked_fill(broken, float("nan")) for a in (base, both)),
    )
    return TaskScores(novel, base, both, nll, brier, probabilities.amax(-1), correct, joint)


def _percent(hits: Tensor, among: Tensor) -> Tensor:
    return 100 * (hits & among).float().sum(-1) / among.float().sum(-1)
