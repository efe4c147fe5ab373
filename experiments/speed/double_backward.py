"""Unrolled steps as they are usually done: the gradient by autograd, differentiable once more."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_sib.cosine import EPSILON
from pyro_sib.inference.guides.sib import SIBGuide
from pyro_sib.inference.learner import Learner
from pyro_sib.inference.program import Program
from pyro_sib.models import CosineCategorical, DiagonalPrior
from pyro_sib.types import Evidence, GaussianParameters


class DoubleBackwardLearner(Learner):
    """Inference for one task after another by double backward, as the authors' published evaluation does it.

    Args:
        program: with a `SIBGuide`.
    """

    def __init__(self, program: Program):
        super().__init__()
        self.parts = (program,)

    def probabilities(self, evidence: Evidence, draws: int, iterates: Sequence[int] = (-1,)) -> list[Tensor]:
        """(T, Q, [B' +] N) at q's mean under theta^K; other iterates and draws are not served."""
        assert not draws
        assert list(iterates) == [-1]
        with torch.enable_grad():
            return [torch.cat([self._task(one_of(evidence, t)) for t in range(evidence.tasks)])]

    def _task(self, evidence: Evidence) -> Tensor:
        guide, prior, likelihood = self.parts[0].guide, self.parts[0].prior, self.parts[0].likelihood
        assert isinstance(guide, SIBGuide)
        assert prior is not None
        assert isinstance(likelihood, CosineCategorical)
        w = unroll(self.parts[0], evidence).loc
        if (ids := evidence.joint_base_ids) is not None:
            w = torch.cat([prior.base_locs(ids), w], dim=1)
        return plain_cosine_logits(evidence.query_x, w, likelihood.scale).softmax(-1).detach()


def unroll(program: Program, evidence: Evidence) -> GaussianParameters:
    """theta^K, the derivative of the logits in w by autograd, kept for a second backward pass (eq. 9)."""
    guide, prior, likelihood = program.guide, program.prior, program.likelihood
    assert isinstance(guide, SIBGuide)
    assert prior is not None
    assert isinstance(likelihood, CosineCategorical)
    scale, kl, queries = likelihood.scale.detach(), guide.weights.of(evidence).per_nat, evidence.query_x
    loc, log_scale = guide.initializer(evidence)
    base = None
    if (ids := evidence.joint_base_ids) is not None:
        base = plain_cosine_logits(queries, prior.base_locs(ids), scale).logsumexp(-1, keepdim=True).detach()
    for k in range(guide.settings.steps):
        eta = guide.log_step_size[k].exp()
        logits = plain_cosine_logits(queries, loc, scale)
        gradient = torch.autograd.grad(logits, loc, guide.xi(logits, base), create_graph=True)[0] / queries.shape[1]
        if kl:
            assert isinstance(prior, DiagonalPrior)
            pull, precision = eta * kl, (-2 * prior.log_scale).exp()
            loc = (loc - eta * gradient + pull * precision * prior.loc) / (1 + pull * precision)
            log_scale = _log_scale_step(log_scale, precision, pull)
        else:
            loc = loc - eta * gradient
    return GaussianParameters(loc, log_scale)


def _log_scale_step(log_scale: Tensor, precision: Tensor, pull: Tensor) -> Tensor:
    """The KL's exact step: q's precision relaxes to the prior's (docs/design.md, "The KL's part of the step")."""
    own = (-2 * log_scale).exp()
    return -0.5 * (precision + (own - precision) * (-2 * pull).exp()).log()


def plain_cosine_logits(x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """Scale * cos(x, w), (T, Q, D), (T, N, D) -> (T, Q, N), its derivatives left to autograd."""
    x, w = (F.normalize(v, dim=-1, eps=EPSILON) for v in (x, w))
    return x @ (scale * w).transpose(-1, -2)


def one_of(evidence: Evidence, task: int) -> Evidence:
    """A batch of that task alone."""
    parts: dict[str, Any] = {f.name: getattr(evidence, f.name) for f in fields(Evidence)}
    sliced: dict[str, Any] = {n: v[task : task + 1] for n, v in parts.items() if isinstance(v, Tensor)}
    return replace(evidence, **sliced)
