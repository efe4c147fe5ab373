"""EM for Gaussian mixtures over a task's whole pile, under several hypotheses side by side."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import cholesky, solve_triangular

FLOOR = 1e-5
"""Least variance in a coordinate, of unit features."""


class Pile(NamedTuple):
    """The task's points, labeled ones first."""

    x: Tensor
    """(T, 1, P, d) coordinates, the same for all hypotheses."""
    labels: Tensor
    """(T, 1, M, N) ones where a labeled example is of the class."""
    start: Tensor
    """(T, P, N) squared distances to the labeled examples' class means."""

    @staticmethod
    def of(x: Tensor, labels: Tensor) -> "Pile":
        """From (T, P, d) and (T, M, N)."""
        means = labels.mT @ x[:, : labels.shape[1]] / labels.sum(1)[..., None]
        return Pile(x[:, None], labels[:, None], squared_distances(x, means))

    def labeled(self, of_points: Tensor) -> Tensor:
        """The labeled examples' part of (..., P, n)."""
        return of_points[..., : self.labels.shape[-2], :]

    def unlabeled(self, of_points: Tensor) -> Tensor:
        """The queries' part of (..., P, n)."""
        return of_points[..., self.labels.shape[-2] :, :]


class Mixture(NamedTuple):
    """The mixtures after a round, as linear classifiers of the points; H hypotheses."""

    directions: Tensor
    """(T, H, N, d): temper * Sigma^-1 mean."""
    biases: Tensor
    """(T, H, N)."""
    lower: Tensor
    """(T, H, d, d) Cholesky factor of Sigma."""
    variance: Tensor
    """(T, H, N) of `directions`, in units of Sigma^-1: temper^2 / (n_c + pull), from not knowing the means."""
    log_shares: Tensor
    """(T, H, N) of the classes, part of the biases."""
    means: Tensor
    """(T, H, N, d)."""
    mass: Tensor
    """(T, H, N) n_c + pull, of which a labeled example is one."""
    scatter_share: Tensor
    """(T, H) of an example of weight one in Sigma."""

    def logits(self, x: Tensor) -> Tensor:
        """(T, 1, P, d) -> (T, H, P, N)."""
        return x @ self.directions.mT + self.biases[..., None, :]

    def spread(self) -> Tensor:
        """(T, H, N, d) standard deviation of `directions`."""
        inverse = torch.cholesky_inverse(self.lower).diagonal(dim1=-2, dim2=-1)
        return (inverse[..., None, :] * self.variance[..., None]).sqrt()

    def with_shares(self, known: Tensor) -> "Mixture":
        """With the classes' shares as the concentrations (T, H, N) have them."""
        shares = log_shares(known)
        return self._replace(biases=self.biases - self.log_shares + shares, log_shares=shares)


class Numbers(NamedTuple):
    """Of EM, each of as many numbers as there are hypotheses, (H,), but for `sharpness`, which is one."""

    sharpness: Tensor
    shrinkage: Tensor
    shrinkage_fall: Tensor
    discount: Tensor
    trust: Tensor
    pull: Tensor
    temper: Tensor


def first_mixture(pile: Pile, own: Numbers) -> Mixture:
    """By distance to the class means, the sharpness being half a spherical Gaussian's precision; H = 1."""
    count = pile.labels.sum(-2)
    precision = 2 * own.sharpness.exp()
    means = pile.labels.mT @ pile.labeled(pile.x) / count[..., None]
    directions = precision * means
    shares = torch.full_like(count, 1 / count.shape[-1]).log()
    biases = shares - 0.5 * directions.square().sum(-1) / precision
    unit = torch.eye(pile.x.shape[-1], dtype=pile.x.dtype, device=pile.x.device)
    lower = (unit / precision.sqrt()).expand(len(count), 1, -1, -1)
    variance = 1 / (count + own.pull[:1].exp()[:, None])
    return Mixture(directions, biases, lower, variance, shares, means, count, torch.zeros_like(count[..., 0]))


def em_round(mixture: Mixture, pile: Pile, own: Numbers, known: Tensor) -> Mixture:
    """E-step and M-step; `known`, (T, H, N), are the concentrations of the proportions' Dirichlet prior."""
    x = pile.x
    p = pile.unlabeled(mixture.logits(x)).softmax(-1)
    labels = pile.labels.expand(-1, p.shape[1], -1, -1)
    weights = torch.cat([labels, _discount(p, known, own) * p], dim=2)
    count, temper = weights.sum(-2), own.temper.exp()[:, None]
    sums, mass = weights.mT @ x, count + own.pull.exp()[:, None]
    shrinkage = _shrinkage(pile, own)
    means, lower = sums / mass[..., None], cholesky(_covariance(x, weights, sums, shrinkage))
    whitened = solve_triangular(lower, means.mT, upper=False)
    directions = temper[..., None] * solve_triangular(lower.mT, whitened, upper=True).mT
    shares = log_shares(p.sum(-2) + known)
    biases = shares - 0.5 * temper * whitened.square().sum(-2)
    share = (1 - shrinkage) / count.sum(-1)
    return Mixture(directions, biases, lower, temper.square() / mass, shares, means, mass, share)


def log_shares(counts: Tensor) -> Tensor:
    """(..., N) -> (..., N) logarithms of the shares."""
    return (counts / counts.sum(-1, keepdim=True)).clamp_min(FLOOR).log()


def _discount(p: Tensor, known: Tensor, own: Numbers) -> Tensor:
    """What a query weighs against a labeled example, (T, H, 1, 1): the more, the surer the proportions are.

    Where they are unknown, a class of few queries is drawn into the crowd of another; where they are known, it
    is not.
    """
    certain = certainty(known, p.shape[-2])
    return (own.discount + own.trust * certain).sigmoid()[..., None, None]


def certainty(known: Tensor, queries: int) -> Tensor:
    """(..., N) concentrations -> (...) what they weigh in the proportions, from 0 to 1, against the queries."""
    whole = known.sum(-1)
    return whole / (whole + queries)


def _shrinkage(pile: Pile, own: Numbers) -> Tensor:
    """(T, H) the share of the round covariance: the more labeled examples a class has, the smaller.

    With one of each, which directions tell the classes apart is known from the queries alone, who may mislead.
    """
    shots = pile.labels.sum(-2).log().mean(-1)
    return (own.shrinkage - own.shrinkage_fall * shots).sigmoid()


def _covariance(x: Tensor, weights: Tensor, sums: Tensor, shrinkage: Tensor) -> Tensor:
    """(T, H, d, d): the scatter within classes, shrunk."""
    count, each = weights.sum(-2), weights.sum(-1, keepdim=True)
    scatter = (x * each).mT @ x - sums.mT @ (sums / count[..., None])
    scatter = scatter / each.sum(-2, keepdim=True)
    variance = scatter.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] / max(x.shape[-1], 1)
    shrinkage = shrinkage[..., None, None]
    unit = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return (1 - shrinkage) * scatter + (shrinkage * variance + FLOOR) * unit


def squared_distances(x: Tensor, means: Tensor) -> Tensor:
    """(T, P, d), (T, N, d) -> (T, P, N)."""
    return x.square().sum(-1, keepdim=True) - 2 * x @ means.mT + means.square().sum(-1)[:, None]
