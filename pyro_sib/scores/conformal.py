"""Prediction sets that hold the true class with a stated probability, from labeled examples left out in turn."""

from math import ceil

import torch
from torch import Tensor

_ROUNDING = 1e-9


def fewest_examples(coverage: float) -> int:
    """The least number n of labeled examples for sets of that coverage: 1 / (n + 1) must not exceed 1 - coverage.

    With fewer, no class can be ruled out.
    """
    return ceil(1 / (1 - coverage) - 1 - _ROUNDING)


def cross_conformal(scores: Tensor, folds: Tensor, queries: Tensor, lost: Tensor | None = None) -> Tensor:
    """The p-value of each class of each query, by cross-conformal prediction (Vovk 2015).

    With p_qc = (1 + #{i : score_i >= score of (q, c) without the fold of i}) / (n + 1), the classes with p > 1 - a
    hold the true one with a probability close to a. What exchangeable examples promise in the worst case is about
    2 a - 1 (Vovk, Nouretdinov & Gammerman 2018; Barber, Candes, Ramdas & Tibshirani 2021, whose CV+ and, with folds
    of one example, jackknife+ compare the same scores).

    An example of class c is judged by a learner that has lost one of c. Of few, that is much, so a query's score
    under c is taken from folds that lost one of c too: the fold of i where it did, else another one, in turn.

    Args:
        scores: (n,) strangeness of each labeled example under its own class, judged by a learner that was not shown
            the examples of its fold.
        folds: (n,) int64 number of each example's fold.
        queries: (F, Q, C) strangeness of each query under each class, judged without the examples of each fold.
        lost: (F, C) whether each fold has an example of each class; as if all had, unless given.

    Returns:
        (Q, C) p-values in float64.
    """
    counts = torch.ones(queries.shape[1:], dtype=torch.float64)
    for c in range(queries.shape[-1]):
        used = folds if lost is None else _folds_for(folds, lost[:, c])
        for fold in used.unique().tolist():
            mine = scores[used == fold].sort().values
            # Those at or above: all but those that are strictly smaller.
            counts[:, c] += len(mine) - torch.searchsorted(mine, queries[fold, :, c].contiguous())
    return counts / (len(scores) + 1)


def _folds_for(folds: Tensor, lost: Tensor) -> Tensor:
    """(n,) for each example the fold whose judgement of one class is compared with its score."""
    having = lost.nonzero()[:, 0]
    if not len(having):
        return folds
    return torch.where(lost[folds], folds, having[torch.arange(len(folds)) % len(having)])


def prediction_sets(p_values: Tensor, coverage: float) -> Tensor:
    """(Q, C) whether each class belongs to the query's set: its p-value exceeds 1 - coverage."""
    return p_values > 1 - coverage + _ROUNDING
