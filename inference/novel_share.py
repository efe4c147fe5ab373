"""Predictions of joint tasks that know how many of a task's queries are novel, up to a Beta prior."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_sib.inference.learner import Learner
from pyro_sib.types import Episode, Evidence

_FARTHEST, _HALVINGS = 20.0, 40
"""Of the offset, and how often its interval is halved."""


def with_novel_share(probabilities: Tensor, base_classes: int, share: float, strength: float) -> Tensor:
    """The probabilities with one offset a task between the novel classes and the base ones.

    The offset d, added to every novel class's logit, is the mode of log Beta(m(d); share strength + 1,
    (1 - share) strength + 1) - d^2 / 2, with m(d) the mean over the task's queries of the probability of the
    novel classes together: a standard normal prior on how far the two kinds are off each other, and a Beta prior,
    worth `strength` queries, on how many are novel. With a strength of 0 nothing changes; a large one makes
    m(d) = share. The labels play no part.

    Args:
        probabilities: (T, Q, C), base classes first.
        base_classes: B'.
        share: of novel queries expected in a task, between 0 and 1.
        strength: of the Beta prior, 0 or more.
    """
    tiny = torch.finfo(torch.float64).tiny
    base, novel = (p.double().sum(-1).clamp_min(tiny).log() for p in _split(probabilities, base_classes))
    logit = novel - base
    low, high = (logit.new_full((len(logit), 1), end) for end in (-_FARTHEST, _FARTHEST))
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        rises = _slope(logit, middle, share, strength) > 0
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
    offset = (0.5 * (low + high)).to(probabilities)
    before, after = _split(probabilities, base_classes)
    # By whichever factor is below one, so that nothing overflows.
    shifted = torch.cat(
        [before * (-offset).clamp_max(0).exp()[..., None], after * offset.clamp_max(0).exp()[..., None]], -1
    )
    return shifted / shifted.sum(-1, keepdim=True)


def _split(probabilities: Tensor, base_classes: int) -> tuple[Tensor, Tensor]:
    return probabilities[..., :base_classes], probabilities[..., base_classes:]


def _slope(logit: Tensor, offset: Tensor, share: float, strength: float) -> Tensor:
    """D / d offset of what the offset is the mode of, (T, 1)."""
    novelty = torch.sigmoid(logit + offset)
    mean = novelty.mean(-1, keepdim=True).clamp(1e-12, 1 - 1e-12)
    moved = (novelty * (1 - novelty)).mean(-1, keepdim=True)
    return strength * (share - mean) / (mean * (1 - mean)) * moved - offset


class NovelShareLearner(Learner):
    """Another learner's predictions of joint tasks, with `with_novel_share`.

    Args:
        learner: whose predictions.
        share: of novel queries expected in a task.
        strength: of the Beta prior, in queries.
    """

    def __init__(self, learner: Learner, share: float, strength: float):
        super().__init__()
        self.learner, self.share, self.strength = learner, share, strength

    def sees(self, task: Episode | Evidence) -> Evidence:
        """What the other one sees."""
        return self.learner.sees(task)

    def probabilities(self, evidence: Evidence, draws: int, iterates: Sequence[int] = (-1,)) -> list[Tensor]:
        """(T, Q, B' + N) for each theta^k asked for."""
        assert evidence.joint_base_ids is not None, "a share of novel queries is for joint tasks"
        base = evidence.joint_base_ids.shape[1]
        found = self.learner.probabilities(evidence, draws, iterates)
        return [with_novel_share(p, base, self.share, self.strength) for p in found]
