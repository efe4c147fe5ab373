"""Posterior predictive probabilities of the queries, for whole batches of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key, normal
from pyro_sib.types import Evidence, GaussianParameters

if TYPE_CHECKING:
    from inference.guide import Guide

_DRAW_KEY = make_key("posterior draws")


@torch.no_grad()
def predict(guide: Guide, evidence: Evidence, draws: int, theta: GaussianParameters | None = None) -> Tensor:
    """p(y | evidence), averaged over posterior draws of w; at q's mean with `draws` = 0.

    The draws of a task derive from its number alone, so neither batch size nor order changes them.

    Args:
        guide: in evaluation mode.
        evidence: T tasks; with draws, they carry task_ids.
        draws: how many.
        theta: q's parameters, where the caller has them; else the guide's theta^K.

    Returns:
        (T, Q, [B' +] N) probabilities.
    """
    theta = guide.iterates(evidence)[-1] if theta is None else theta
    return sum(predictions(guide, evidence, draws, theta)) / max(draws, 1)  # type: ignore[return-value]


@torch.no_grad()
def predictions(guide: Guide, evidence: Evidence, draws: int, theta: GaussianParameters) -> Iterator[Tensor]:
    """The probabilities under each draw of w ~ q, one after another, (T, Q, [B' +] N); one at the mean for 0."""
    likelihood, ids = guide.likelihood, evidence.joint_base_ids
    base_loc = None if ids is None else guide.prior.base_locs(ids)
    if not draws:
        yield likelihood.logits(theta.loc, evidence.query_x, base_loc).softmax(-1)
        return
    assert evidence.task_ids is not None, "draws need task_ids"
    base_scale = None if ids is None else guide.prior.base_distribution(ids).variance.sqrt()
    scale = theta.log_scale.exp()
    for draw in range(draws):
        w = theta.loc + scale * _noise(evidence.task_ids, 2 * draw, theta.loc)
        w_base = base_loc
        if base_loc is not None and base_scale is not None:
            w_base = base_loc + base_scale * _noise(evidence.task_ids, 2 * draw + 1, base_loc)
        yield likelihood.logits(w, evidence.query_x, w_base).softmax(-1)


def _noise(task_ids: Tensor, stream: int, like: Tensor) -> Tensor:
    return normal(_DRAW_KEY, task_ids, stream, like[0].numel()).view_as(like)
