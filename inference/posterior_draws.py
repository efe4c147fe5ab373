"""Posterior draws with all that is said of them: predictive labels, log likelihoods, log densities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key, uniform
from pyro_sib.inference.guide import Guide, as_distribution
from pyro_sib.inference.prediction import PosteriorWeights
from pyro_sib.types import Episode, Evidence, GaussianParameters

_LABEL_KEY = make_key("posterior predictive labels")


class DrawBlock(NamedTuple):
    """S posterior draws for T tasks."""

    w: Tensor
    """(S, T, N, D)."""
    y: Tensor
    """(S, T, Q) a label of each query drawn from p(y | x, w)."""
    log_likelihood: Tensor
    """(S, T, Q) log p(y | x, w) of the queries' true labels, nats."""
    log_support: Tensor
    """(S, T) log p of all labels of the support set."""
    log_p: Tensor
    """(S, T) log p_psi of the task's N weight vectors together; a latent psi is at its mean."""
    log_q: Tensor
    """(S, T) log q of them."""
    total: Tensor
    """(T, Q, [B' +] N) sum over the draws of p(y | x, w)."""


@torch.no_grad()
def draw_block(guide: Guide, episode: Episode, theta: GaussianParameters, draws: Sequence[int]) -> DrawBlock:
    """The draws by those numbers, the same ones that `predict` averages over.

    Args:
        guide: in evaluation mode.
        episode: T tasks with task_ids.
        theta: q's parameters.
        draws: numbers of the draws, 0 being the first.
    """
    evidence = episode.evidence
    weights, q = PosteriorWeights(guide.prior, evidence, theta), as_distribution(theta)
    p = guide.prior.distribution(evidence.base_ids)
    rows, total = [], torch.zeros(())
    for draw in draws:
        w, w_base = weights.draw(draw)
        logits = guide.likelihood.logits(w, evidence.query_x, w_base)
        outcome = guide.likelihood.distribution(logits)
        probabilities = logits.softmax(-1)
        total = total + probabilities
        assert weights.task_ids is not None
        labels = drawn_labels(weights.task_ids, draw, probabilities)
        of_support = support_log_likelihood(guide, evidence, w, w_base)
        densities = (p.log_prob(w).sum(-1), q.log_prob(w).sum(-1))
        rows.append((w, labels, outcome.log_prob(episode.query_y), of_support, *densities))
    w, y, log_likelihood, log_support, log_p, log_q = (torch.stack(part) for part in zip(*rows, strict=True))
    return DrawBlock(w, y, log_likelihood, log_support, log_p, log_q, total)


def support_log_likelihood(guide: Guide, evidence: Evidence, w: Tensor, w_base: Tensor | None) -> Tensor:
    """Log p of all labels of the support set: (..., T, N, D) [, (..., T, B', D)] -> (..., T)."""
    ids = evidence.joint_base_ids
    labels = evidence.support_y + (0 if ids is None else ids.shape[1])
    logits = guide.likelihood.logits(w, evidence.support_x, w_base)
    return guide.likelihood.distribution(logits).log_prob(labels).sum(-1)


def drawn_labels(task_ids: Tensor, draw: int, probabilities: Tensor) -> Tensor:
    """One label a query by the inverse of its distribution function: (T, Q, C) -> (T, Q).

    They derive from (the task's number, `draw`) alone.
    """
    u = uniform(_LABEL_KEY, task_ids, draw, probabilities.shape[1])
    below = probabilities.double().cumsum(-1) < u[..., None]
    return below[..., :-1].sum(-1)
