"""Posterior predictive probabilities of the queries, for whole batches of tasks."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key, normal
from pyro_sib.readable import readable
from pyro_sib.types import Evidence, GaussianParameters, LikelihoodLike, PriorLike

_DRAW_KEY = make_key("posterior draws")
_AT_ONCE, _MOST_AT_ONCE = 1 << 18, 64
"""Numbers, and draws, whose noise is made together: of a small task, one by one is many times slower."""
_HANDFUL = 16
"""Classes from which on softmax is fast along the last dimension, whose rows then fill a vector."""


@torch.no_grad()
def predictions(
    prior: PriorLike, likelihood: LikelihoodLike, evidence: Evidence, draws: int, theta: GaussianParameters
) -> Iterator[Tensor]:
    """The probabilities under each draw of w ~ q, one after another, (T, Q, [B' +] N); one at the mean for 0.

    The draws of a task derive from its number alone, so neither batch size nor order changes them.

    Args:
        prior: p_psi, for the base classes' weights.
        likelihood: p_f.
        evidence: T tasks; with draws, they carry task_ids.
        draws: how many.
        theta: q's parameters.
    """
    weights = PosteriorWeights(prior, evidence, theta)
    for w, w_base in (weights.draw(draw) for draw in range(draws)) if draws else [weights.means]:
        yield probabilities_under(likelihood, evidence, w, w_base)


def probabilities_under(
    likelihood: LikelihoodLike, evidence: Evidence, w: Tensor, w_base: Tensor | None = None
) -> Tensor:
    """p(y | x, w) of the queries: (..., T, N, D) [, (T, B', D)] -> (..., T, Q, [B' +] N), base classes first."""
    points = likelihood.query_points(evidence)
    logits = likelihood.step_outputs(w, points)
    if w_base is not None:
        logits = torch.cat([likelihood.step_outputs(w_base, points), logits], -1)
    return _softmax(logits)


def probabilities_under_each(
    likelihood: LikelihoodLike, evidence: Evidence, weights: Sequence[tuple[Tensor, Tensor | None]]
) -> Tensor:
    """(S, T, Q, [B' +] N) of S pairs of w and w_base; small ones together, which takes a fraction of the time."""
    if weights[0][1] is not None or weights[0][0].numel() * len(weights) > _AT_ONCE:
        return torch.stack([probabilities_under(likelihood, evidence, *pair) for pair in weights])
    return probabilities_under(likelihood, evidence, torch.stack([w for w, _ in weights]))


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension; below 16 classes over the transpose, which is seven times faster."""
    return logits.mT.softmax(-2).mT.contiguous() if logits.shape[-1] < _HANDFUL else logits.softmax(-1)


class PosteriorWeights:
    """The draws of w ~ q, and in joint tasks of w_base, that predictions average over.

    Draw s of a task is a function of (the task's number, s) alone.

    Args:
        prior: p_psi, for the base classes' weights.
        evidence: T tasks; with draws, they carry task_ids.
        theta: q's parameters.
    """

    def __init__(self, prior: PriorLike, evidence: Evidence, theta: GaussianParameters):
        self.task_ids, self.loc, self.scale = evidence.task_ids, theta.loc, theta.log_scale.exp()
        self._first, self._noise = -1, theta.loc
        self._block = max(1, min(_MOST_AT_ONCE, _AT_ONCE // max(1, theta.loc.numel())))
        ids = evidence.joint_base_ids
        if ids is not None and _one_row(ids):
            ids = ids[:1]
        self.base_loc = None if ids is None else prior.base_locs(ids)
        self.base_scale = None if ids is None else prior.base_posterior(ids).variance.sqrt()

    @property
    def means(self) -> tuple[Tensor, Tensor | None]:
        """What is drawn about, in the same shapes."""
        return self.loc, self.base_loc

    def draw(self, draw: int) -> tuple[Tensor, Tensor | None]:
        """Draw number `draw`: w, (T, N, D), and w_base, (T, B', D), or (1, B', D) where all tasks have the same."""
        assert self.task_ids is not None, "draws need task_ids"
        w = self.loc + self.scale * self._noise_of(draw, self.task_ids)
        if self.base_loc is None or self.base_scale is None:
            return w, None
        return w, base_draw(draw, self.base_loc, self.base_scale)

    def _noise_of(self, draw: int, task_ids: Tensor) -> Tensor:
        """(T, N, D), made with that of the draws about it."""
        first = draw - draw % self._block
        if first != self._first:
            streams = 2 * torch.arange(first, first + self._block, device=task_ids.device)[:, None]
            made = normal(_DRAW_KEY, task_ids, streams, self.loc[0].numel())
            self._first, self._noise = first, made.view(self._block, -1, *self.loc.shape[1:])
        return self._noise[draw - first]


def _one_row(ids: Tensor) -> bool:
    """Whether all rows are one, as a sampler's are by their form; others' are told by values that are at hand."""
    return ids.stride(0) == 0 or (readable(ids) and bool((ids == ids[:1]).all()))


def base_draw(draw: int, loc: Tensor, scale: Tensor) -> Tensor:
    """Draw number `draw` of the base classes' weights, (T, B', D), from their posteriors' loc and scale.

    The noise is the same for all tasks, whose base classes are the same: drawing it apart for each would take most
    of the time of a prediction.
    """
    return loc + scale * _noise(torch.zeros(1, dtype=torch.int64, device=loc.device), 2 * draw + 1, loc)


def _noise(task_ids: Tensor, stream: int, like: Tensor) -> Tensor:
    return normal(_DRAW_KEY, task_ids, stream, like[0].numel()).view(-1, *like.shape[1:])
