"""A Gaussian mixture fitted to each task's whole pile, as a guide for tasks of any size in any domain."""

from collections.abc import Iterator
from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import cholesky, solve_triangular

from pyro_sib.inference.guide import Guide
from pyro_sib.tasks.coordinates import LOGIT_SCALE
from pyro_sib.types import Evidence, GaussianParameters

_HIDDEN = 24
_FLOOR = 1e-5
"""Least variance in a coordinate, of unit features."""
_FIRST = {
    "sharpness": log(5.0),
    "shrinkage": 0.0,
    "discount": log(0.3 / 0.7),
    "trust": 2.0,
    "pull": log(0.5),
    "temper": log(0.5),
    "concentration": log(2.0),
    "width": -4.0,
}
"""First values, on the scales on which they are learned; chosen on tasks of two domains (docs/any_task.md)."""


class _Pile(NamedTuple):
    """The task's points, labeled ones first."""

    x: Tensor
    """(T, P, d) coordinates."""
    labels: Tensor
    """(T, M, N) ones where a labeled example is of the class."""
    start: Tensor
    """(T, P, N) squared distances to the labeled examples' class means."""

    def labeled(self, of_points: Tensor) -> Tensor:
        """The labeled examples' part of (T, P, ...)."""
        return of_points[:, : self.labels.shape[1]]

    def unlabeled(self, of_points: Tensor) -> Tensor:
        """The queries' part of (T, P, ...)."""
        return of_points[:, self.labels.shape[1] :]


class _Mixture(NamedTuple):
    """The mixture after a round, as a linear classifier of the points."""

    directions: Tensor
    """(T, N, d): temper * Sigma^-1 mean."""
    biases: Tensor
    """(T, N)."""
    lower: Tensor
    """(T, d, d) Cholesky factor of Sigma."""
    variance: Tensor
    """(T, N) of `directions`, in units of Sigma^-1: temper^2 / (n_c + pull), from not knowing the means."""

    def logits(self, x: Tensor) -> Tensor:
        """(T, P, d) -> (T, P, N)."""
        return x @ self.directions.mT + self.biases[:, None]

    def spread(self) -> Tensor:
        """(T, N, d) standard deviation of `directions`."""
        inverse = torch.linalg.inv(self.lower).square().sum(1)  # the diagonal of Sigma^-1
        return (inverse[:, None] * self.variance[..., None]).sqrt()


class GaussianMixtureGuide(Guide):
    """K rounds of EM for a mixture of Gaussians with one covariance, over labeled examples and queries together.

    The features are `TaskCoordinates`, (T, P, d + 1) with a one at the end; w holds a class's direction and bias.
    A round sets p = softmax of the queries' logits, weighs a query's part in class c by discount * p, the discount
    rising with what is known of the proportions, and then has (M-step), with n_c = sum of weights,

        mean_c = sum of weights . x / (n_c + pull)                      under the prior N(0, Sigma / pull)
        Sigma  = (1 - shrinkage) scatter within classes + shrinkage * its mean variance * I
        pi     ~ sum of p + concentration                              under a Dirichlet prior
        w_c    = temper * (Sigma^-1 mean_c, -1/2 mean_c . Sigma^-1 mean_c) + (0, log pi_c).

    EM is the gradient of the queries' marginal likelihood with their labels integrated out, so a round is eq. (9)
    with xi = -p and a natural gradient's step. Nothing here depends on D, on the number of classes, or on what the
    axes of the features mean: eight numbers and a temperature are learned, the latter as a function of the task's
    size and of how the mixture fits it. q's width is that of the means, Sigma / (n_c + pull).
    """

    coordinates = True
    serves_joint = False

    def build(self) -> None:
        """Make the parts of its own."""
        super().build()
        self.learned = nn.ParameterDict({name: nn.Parameter(torch.tensor(value)) for name, value in _FIRST.items()})
        last = nn.Linear(_HIDDEN, 1)
        self.temperature = nn.Sequential(nn.Linear(13, _HIDDEN), nn.Tanh(), last)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)

    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """theta^0, the labeled examples' class means, and theta after each round, each with its own temperature."""
        pile = self._pile(evidence)
        known = self._known(pile, evidence)
        return [self._theta(mixture, pile, known) for mixture in self._rounds(pile, evidence)]

    def final(self, evidence: Evidence) -> GaussianParameters:
        """Theta after the last round alone."""
        pile = self._pile(evidence)
        *_, mixture = self._rounds(pile, evidence)
        return self._theta(mixture, pile, self._known(pile, evidence))

    def _rounds(self, pile: _Pile, evidence: Evidence) -> Iterator[_Mixture]:
        mixture = self._first(pile)
        yield mixture
        for _ in range(self.settings.steps):
            mixture = self._round(mixture, pile, evidence.proportions)
            yield mixture

    def _pile(self, evidence: Evidence) -> _Pile:
        x = torch.cat([evidence.support_x, evidence.query_x], dim=1).detach()[..., :-1]
        labels = evidence.one_hot(x.dtype)
        means = evidence.class_means(evidence.support_x.detach()[..., :-1])
        return _Pile(x, labels, _squared_distances(x, means))

    def _first(self, pile: _Pile) -> _Mixture:
        """By distance to the class means, the sharpness being half a spherical Gaussian's precision."""
        count = pile.labels.sum(1)
        precision = 2 * self.learned["sharpness"].exp()
        directions = precision * (pile.labels.mT @ pile.labeled(pile.x)) / count[..., None]
        biases = -0.5 * directions.square().sum(-1) / precision
        unit = torch.eye(pile.x.shape[-1], dtype=pile.x.dtype, device=pile.x.device)
        lower = (unit / precision.sqrt()).expand(len(count), -1, -1)
        return _Mixture(directions, biases, lower, 1 / (count + self.learned["pull"].exp()))

    def _round(self, mixture: _Mixture, pile: _Pile, proportions: Tensor | None) -> _Mixture:
        """E-step and M-step."""
        own, x = self.learned, pile.x
        p = pile.unlabeled(mixture.logits(x)).softmax(-1)
        known = own["concentration"].exp().expand(p.shape[0], p.shape[2]) if proportions is None else proportions
        weights = torch.cat([pile.labels, self._discount(p, known) * p], dim=1)
        count, temper = weights.sum(1), own["temper"].exp()
        sums, mass = weights.mT @ x, count + own["pull"].exp()
        lower = cholesky(self._covariance(x, weights, sums))
        whitened = solve_triangular(lower, (sums / mass[..., None]).mT, upper=False)
        directions = temper * solve_triangular(lower.mT, whitened, upper=True).mT
        expected = p.sum(1) + known
        log_share = (expected / expected.sum(-1, keepdim=True)).clamp_min(_FLOOR).log()
        return _Mixture(
            directions, log_share - 0.5 * temper * whitened.square().sum(1), lower, temper.square() / mass
        )

    def _discount(self, p: Tensor, known: Tensor) -> Tensor:
        """What a query weighs against a labeled example, (T, 1, 1): the more, the surer the proportions are.

        Where they are unknown, a class of few queries is drawn into the crowd of another; where they are known, it
        is not. `known`, (T, N), are the concentrations of their Dirichlet prior.
        """
        certain = known.sum(-1) / (known.sum(-1) + p.shape[1])
        return (self.learned["discount"] + self.learned["trust"] * certain).sigmoid().reshape(-1, 1, 1)

    def _covariance(self, x: Tensor, weights: Tensor, sums: Tensor) -> Tensor:
        """(T, d, d): the scatter within classes, shrunk."""
        count, each = weights.sum(1), weights.sum(-1, keepdim=True)
        scatter = (x * each).mT @ x - sums.mT @ (sums / count[..., None])
        scatter = scatter / each.sum(1, keepdim=True)
        variance = scatter.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None] / max(x.shape[-1], 1)
        shrinkage = self.learned["shrinkage"].sigmoid()
        unit = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        return (1 - shrinkage) * scatter + (shrinkage * variance + _FLOOR) * unit

    def _theta(self, mixture: _Mixture, pile: _Pile, known: Tensor) -> GaussianParameters:
        """The mixture's classifier at the task's temperature, and the width of q."""
        fit = self._fit_of(mixture, pile)
        scale = self.temperature(torch.cat([known, fit], -1)).exp()[..., None]
        loc = torch.cat([mixture.directions, mixture.biases[..., None]], -1)
        spread = mixture.spread()
        typical = spread.sum(-1, keepdim=True) / max(spread.shape[-1], 1)
        spread = torch.cat([spread, typical.clamp_min(_FLOOR)], -1)
        scale = scale / LOGIT_SCALE
        return GaussianParameters(scale * loc, (scale * spread).log() + self.learned["width"])

    def _known(self, pile: _Pile, evidence: Evidence) -> Tensor:
        """(T, 9) what is known of a task before any round: sizes, and how well labeled examples hold together."""
        counts = pile.labels.sum(1)
        tasks, classes = counts.shape
        queries = pile.x.shape[1] - pile.labels.shape[1]
        right, tested = self._left_out(pile, counts)
        energy = pile.x.square().sum(1)
        near = pile.unlabeled(pile.start).amin(-1).mean(1)
        told = 0.0 if evidence.proportions is None else 1.0
        columns = [
            counts.new_full((tasks,), log(classes) - 1.6),
            counts.log().mean(1) - 0.8,
            counts.log().std(1, correction=min(1, classes - 1)),
            counts.new_full((tasks,), log(queries / classes) - 2.0),
            tested * (right - 0.5),
            tested,
            4 * (energy[:, :classes].sum(-1) / energy.sum(-1).clamp_min(_FLOOR) - 0.5),
            2 * (near - 0.7),
            counts.new_full((tasks,), told),
        ]
        return torch.stack(columns, -1)

    def _left_out(self, pile: _Pile, counts: Tensor) -> tuple[Tensor, Tensor]:
        """(T,) the mean probability of a labeled example's class when it is left out of that class's mean.

        Classes with one example have none to leave out; the second answer is 1 where some class has more, else 0.
        """
        labels = pile.labels
        of_own = (labels * counts[:, None]).sum(-1)
        grown = torch.where(of_own > 1, of_own / (of_own - 1).clamp_min(1), torch.ones_like(of_own)).square()
        distance = pile.labeled(pile.start)
        distance = torch.where(labels > 0, distance * grown[..., None], distance)
        found = ((-10 * distance).softmax(-1) * labels).sum(-1)
        usable = (of_own > 1).to(found.dtype)
        tested = usable.sum(1)
        return (found * usable).sum(1) / tested.clamp_min(1), (tested > 0).to(found.dtype)

    def _fit_of(self, mixture: _Mixture, pile: _Pile) -> Tensor:
        """(T, 4) how the mixture fits: entropy of its predictions and of their mean, agreement with the start."""
        logits = pile.unlabeled(mixture.logits(pile.x))
        p, classes = logits.softmax(-1), logits.shape[-1]
        most = log(max(classes, 2))
        start = (-self.learned["sharpness"].exp() * pile.unlabeled(pile.start)).softmax(-1)
        columns = [
            _entropy(p).mean(1) / most,
            _entropy(p.mean(1)) / most,
            (start * p).sum(-1).mean(1),
            logits.std(-1, correction=min(1, classes - 1)).mean(1).clamp_min(_FLOOR).log(),
        ]
        return torch.stack(columns, -1)


def _squared_distances(x: Tensor, means: Tensor) -> Tensor:
    """(T, P, d), (T, N, d) -> (T, P, N)."""
    return x.square().sum(-1, keepdim=True) - 2 * x @ means.mT + means.square().sum(-1)[:, None]


def _entropy(p: Tensor) -> Tensor:
    """(..., N) -> (...) nats."""
    return -torch.special.xlogy(p, p.clamp_min(1e-9)).sum(-1)
