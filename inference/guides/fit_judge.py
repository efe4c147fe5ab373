"""A mixture guide's judge fitted again, EM's numbers held: SVI shows it each training task once, too seldom."""

from collections.abc import Iterable, Sequence
from math import cos, pi
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from pyro_sib.inference.guides.gaussian_mixture import GaussianMixtureGuide
from pyro_sib.inference.guides.mixture_evidence import Judge
from pyro_sib.types import Episode

_PASSES, _TOGETHER = 2, 2
"""Over all batches, and batches to a step."""
_LEARNING_RATE, _CLIP = 5e-3, 1.0
_QUERIES = 64
"""Of a task, drawn from all of its own."""


class _Seen(NamedTuple):
    """A batch of tasks as the judge sees it, and what it is judged by."""

    numbers: Tensor
    """(T, inputs)."""
    logits: Tensor
    """(T, H, Q, N) of each hypothesis."""
    y: Tensor
    """(T, Q)."""


def fit_judge(guide: GaussianMixtureGuide, tasks: Iterable[Episode], seed: int) -> None:
    """Let the judge have the least mean -log p(y) over the tasks' queries, at q's mean, from an untrained one on.

    Args:
        guide: whose judge changes in place.
        tasks: batches of training tasks, of which a part of the queries counts.
        seed: of the part, and of the batches' order.
    """
    generator = torch.Generator().manual_seed(seed)
    seen = [_seen(guide, episode, generator) for episode in tasks]
    judge = guide.judge
    judge.reset()
    judge.standardize(torch.cat([batch.numbers for batch in seen]))
    order = torch.cat([torch.randperm(len(seen), generator=generator) for _ in range(_PASSES)])
    steps = order.split(_TOGETHER)
    with torch.enable_grad():
        optimizer = torch.optim.Adam(judge.parameters(), _LEARNING_RATE)
        for number, places in enumerate(steps):
            optimizer.param_groups[0]["lr"] = _LEARNING_RATE * 0.5 * (1 + cos(pi * number / len(steps)))
            optimizer.zero_grad()
            _loss(judge, [seen[place] for place in places.tolist()]).backward()
            clip_grad_norm_(judge.parameters(), _CLIP)
            optimizer.step()


@torch.no_grad()
def _seen(guide: GaussianMixtureGuide, episode: Episode, generator: Generator) -> _Seen:
    numbers, logits = guide.weighable(episode.evidence)
    some = torch.randperm(logits.shape[2], generator=generator)[:_QUERIES].to(logits.device)
    return _Seen(numbers, logits[:, :, some].contiguous(), episode.query_y[:, some])


def _loss(judge: Judge, batches: Sequence[_Seen]) -> Tensor:
    """The sum over batches of the mean over queries of -log p(y)."""
    found = []
    for batch in batches:
        weights, scale = judge(batch.numbers)
        logits = scale[:, None, None] * (weights[..., None, None] * batch.logits).sum(1)
        found.append(cross_entropy(logits.flatten(0, 1), batch.y.flatten()))
    return torch.stack(found).sum()
