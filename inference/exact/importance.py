"""Importance weights of a guide's draws against stated target densities (Yao et al. 2018)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_sib.inference.exact.marginal import Components, Marginal, log_q_on_span
from pyro_sib.types import GaussianParameters

COMPLETIONS = 4
"""Draws of the complement for each draw on the subspace."""


@dataclass(frozen=True)
class Target:
    """pi(w) proportional to p_psi(w) * prod_i p(y_i | x_i, w)^power, over some labels of a task.

    The loss that trains a guide is the mean over its n labels of -log p(y | x, w) plus kl KL(q || p). Divided by kl
    it is, up to a constant, KL(q || pi) with power 1 / (kl n): with a kl below 1 / n every label counts for more
    than one, and pi is narrower than the posterior of the model as written, which has power 1.

    Attributes:
        name: for tables.
        on: "support" for the labels that a guide may see, "queries" for those that only an oracle has.
        power: of each label's likelihood.
    """

    name: str
    on: str
    power: float

    @property
    def oracle(self) -> bool:
        """Whether it knows the queries' labels."""
        return self.on == "queries"


def targets_of(kl: float, labeled: int, queries: int) -> list[Target]:
    """Literal and tempered, of the labeled examples and of the queries; no tempered ones where kl is 0.

    With kl = 0 the loss has no best density but a point.

    Args:
        kl: weight of a nat of the KL in training (`ObjectiveWeights.per_nat`).
        labeled: M.
        queries: Q.
    """
    found = []
    for on, count in (("support", labeled), ("queries", queries)):
        found.append(Target(on, on, 1.0))
        if kl > 0:
            found.append(Target(f"{on}, tempered", on, 1.0 / (kl * count)))
    return found


class SpanDraws(NamedTuple):
    """Draws of q on a subspace, completed by the prior: what the weights of a target need."""

    w: Tensor
    """(J, S, N, D), J completions of each draw."""
    log_ratio: Tensor
    """(S,) log p(a) - log q(a), of the N classes together."""


def span_draws(w: Tensor, theta: GaussianParameters, prior: Components, basis: Tensor, task: Tensor) -> SpanDraws:
    """Keep of q's draws their part a = A^T w in the span, and draw the rest from the prior given it.

    The likelihood of points in the span depends on the rest of w_n through its norm alone. With the rest from
    p_psi(w | a), the weight of (a, rest) against pi(w) is prod_i p(y_i | x_i, w)^power p(a) / q(a), both marginals
    exact; averaged over J draws of the rest it estimates without bias the weight of a against pi's own marginal.
    What q says of the complement plays no part, which is why k-hat can be small here though it is large for w.

    Args:
        w: (S, N, D) draws of one task's q.
        theta: q's parameters, (N, D) each.
        prior: p_psi.
        basis: A, (D, r).
        task: (1,) the task's number.
    """
    a = w.double() @ basis
    marginal = Marginal(prior, basis)
    log_ratio = marginal.log_prob(a).sum(-1) - log_q_on_span(theta, basis, a)
    rest = torch.stack([marginal.complete(a, task, j) for j in range(COMPLETIONS)])
    return SpanDraws(rest, log_ratio)


def log_weights(log_likelihood: Tensor, log_ratio: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """Log weights of S draws, and how each draw's weight divides among its J completions.

    Args:
        log_likelihood: (J, S) of the target's labels together; J = 1 without completions.
        log_ratio: (S,) log p - log q.
        power: the target's.

    Returns:
        (S,) unnormalized log weights; (J, S) shares that sum to one over J.
    """
    tempered = power * log_likelihood.double()
    mean = torch.logsumexp(tempered, 0) - torch.tensor(float(len(tempered))).log()
    return mean + log_ratio.double(), tempered.softmax(0)


def defensive_log_ratio(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Log of p / (p / 2 + q / 2), at most log 2, for draws half of p and half of q (Hesterberg 1995)."""
    return math.log(2.0) - torch.nn.functional.softplus(log_q.double() - log_p.double())


def reweighted(probabilities: Callable[[int], Tensor], weights: Tensor, shares: Tensor) -> Tensor:
    """The predictive under the weights, (Q, C).

    Args:
        probabilities: j -> (S, Q, C) of completion j.
        weights: (S,) normalized.
        shares: (J, S).
    """
    parts = [torch.einsum("s,sqc->qc", weights * shares[j], probabilities(j).double()) for j in range(len(shares))]
    return torch.stack(parts).sum(0)
