"""The posterior probability that a query belongs to none of a task's classes, by a class beside them."""

from collections.abc import Mapping
from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import cholesky, solve_triangular

from pyro_sib.tasks.coordinates import TaskCoordinates
from pyro_sib.types import Evidence

COORDINATES = TaskCoordinates(40)
"""In which the mixture is fitted, whatever a learner beside it sees."""
SET_ASIDE = 0.3
"""Queries of no class with a higher probability have no part in fitting the classifier of the classes."""
_ROUNDS = 6
_FLOOR = 1e-4
"""Least variance in a coordinate, of unit features."""
FIRST: dict[str, float] = {
    "sharpness": log(10.0),
    "temper": 0.0,
    "shrinkage": log(100.0),
    "within": 0.0,
    "pull": 0.0,
    "discount": 0.0,
    "concentration": log(2.0),
    "width": -1.0,
    "unknown": log(2.0),
    "known": log(6.0),
    "scale": -1.5,
    "scale_by_shots": 0.0,
    "bias": 0.0,
}
"""The numbers before they are fitted, on the scales on which they are learned."""
CALIBRATION = ("scale", "scale_by_shots", "bias")
"""Those that do not enter the mixture."""
FITTED: dict[str, float] = {
    "sharpness": 2.0131,
    "temper": -0.387,
    "shrinkage": 4.8601,
    "within": 0.2876,
    "pull": 0.1997,
    "discount": -0.3574,
    "concentration": 0.7276,
    "width": -0.812,
    "unknown": 0.6927,
    "known": 1.6733,
    "scale": -1.5668,
    "scale_by_shots": 0.1704,
    "bias": -3.2682,
}
"""By `experiments.train_unknown`, on lite0's features of base classes of mini-ImageNet and of two other domains."""


class _Pile(NamedTuple):
    """What stays as it is from round to round."""

    x: Tensor
    """(T, P, d) labeled examples, then queries."""
    labels: Tensor
    """(T, M, N) ones where a labeled example is of the class."""
    real: Tensor
    """(T, d) whether a small task has the coordinate."""
    both: Tensor
    """(T, d, d) whether it has both."""
    unit: Tensor
    """(d, d)."""
    whole: Tensor
    """(T, d, d) covariance of all points."""

    @staticmethod
    def of(x: Tensor, labels: Tensor) -> "_Pile":
        """From the points, labeled ones first."""
        real = x.square().sum(1) > _FLOOR
        unit = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        whole = x.mT @ x / x.shape[1] + _FLOOR * unit
        return _Pile(x, labels, real, real[:, :, None] & real[:, None], unit, whole)

    def within(self, matrix: Tensor) -> Tensor:
        """(T, d, d) with those of the identity in rows and columns that are not `real`."""
        return torch.where(self.both, matrix, self.unit)


class _Round(NamedTuple):
    """The mixture after a round."""

    classes: Tensor
    """(T, Q, N) log density of the queries in each class, with its share."""
    unknown: Tensor
    """(T, Q) in the class of what belongs to none, with its share."""

    @property
    def odds(self) -> Tensor:
        """(T, Q) log odds of belonging to none."""
        return self.unknown - self.classes.logsumexp(-1)


class UnknownClass(nn.Module):
    """A Gaussian mixture over a task's whole pile, whose further class has a mean that was drawn from the prior.

    In the task's principal coordinates, with labeled examples and queries together, a query is of class c with
    probability (1 - rho) pi_c and of none with rho, and

        x | c    ~ N(mean_c, (1 + 1 / (n_c + pull)) Sigma)        mean_c integrated out
        x | none ~ N(0, S + width Sigma)                          its mean too, drawn as any class's of the pile

    where S is the covariance of the whole pile, so a query is of none where it is nearer to the middle of all
    than to any class, as measured in the directions that vary between classes. rho has a Beta prior and pi a
    Dirichlet prior. Rounds of EM fit means, Sigma, rho and pi, a query's part weighed by `discount`. The log odds
    are scaled, the more labeled examples there are the more or less. These thirteen numbers are all that is learned
    (`fit.fit_unknown`); none depends on D, on the domain or on the number of classes.

    Args:
        numbers: by name, as `FIRST` has them.
    """

    def __init__(self, numbers: Mapping[str, float] = FITTED):
        super().__init__()
        self.learned = nn.ParameterDict({name: nn.Parameter(torch.tensor(float(numbers[name]))) for name in FIRST})

    def numbers(self) -> dict[str, float]:
        """As the constructor takes them."""
        return {name: round(float(value.detach()), 4) for name, value in self.learned.items()}

    def probabilities(self, evidence: Evidence) -> Tensor:
        """(T, Q) of belonging to none of the classes; of features in `COORDINATES` and a one."""
        return self.logits(evidence).sigmoid()

    def logits(self, evidence: Evidence) -> Tensor:
        """(T, Q) log odds of belonging to none of the classes."""
        return self.calibrated(*self.parts(evidence))

    def calibrated(self, odds: Tensor, shots: Tensor) -> Tensor:
        """What `parts` gives -> (T, Q) log odds."""
        own = self.learned
        return (own["scale"] + own["scale_by_shots"] * shots).exp() * odds + own["bias"]

    def parts(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """(T, Q) log odds as the mixture has them, and (T, 1) a measure of the number of labeled examples."""
        x = torch.cat([evidence.support_x, evidence.query_x], dim=1)[..., :-1]
        labels = evidence.one_hot(x.dtype)
        pile = _Pile.of(x, labels)
        state = self._first(pile)
        for _ in range(_ROUNDS):
            state = self._round(state, pile)
        shots = labels.sum(1).log().mean(1)[:, None] - 0.8
        return state.odds, shots

    def _first(self, pile: _Pile) -> _Round:
        """By the labeled examples' means and a spherical Sigma."""
        x, labels = pile.x, pile.labels
        count = labels.sum(1)
        means = labels.mT @ x[:, : labels.shape[1]] / count[..., None]
        sigma = (pile.unit / self.learned["sharpness"].exp()).expand(len(x), -1, -1)
        share = count.new_full((len(x), labels.shape[-1]), 1 / labels.shape[-1])
        return self._densities(pile, means, count, sigma, share, self._rho())

    def _rho(self, mass: Tensor | float = 0.0, queries: int = 0) -> Tensor:
        """The share of queries of no class, of which `mass` are thought to be."""
        unknown, known = self.learned["unknown"].exp(), self.learned["known"].exp()
        return (mass + unknown) / (queries + unknown + known)

    def _round(self, before: _Round, pile: _Pile) -> _Round:
        """E-step and M-step."""
        own, x, labels = self.learned, pile.x, pile.labels
        none = before.odds.sigmoid()
        p = before.classes.softmax(-1) * (1 - none)[..., None]
        weights = torch.cat([labels, own["discount"].sigmoid() * p], dim=1)
        count = weights.sum(1)
        sums = weights.mT @ x
        each = weights.sum(-1, keepdim=True)
        mass = each.sum(1, keepdim=True)
        scatter = ((x * each).mT @ x - sums.mT @ (sums / count[..., None])) / mass
        variance = (
            own["within"].sigmoid()
            * (x.square().sum((1, 2)) / x.shape[1] / pile.real.sum(-1).clamp_min(1))[:, None, None]
        )
        shrinkage = own["shrinkage"].exp() / (own["shrinkage"].exp() + mass)
        sigma = (1 - shrinkage) * scatter + (shrinkage * variance + _FLOOR) * pile.unit
        share = p.sum(1) + own["concentration"].exp()
        rho = self._rho(none.sum(1, keepdim=True), x.shape[1] - labels.shape[1])
        means = sums / (count + own["pull"].exp())[..., None]
        return self._densities(pile, means, count, sigma, share / share.sum(-1, keepdim=True), rho)

    def _densities(
        self, pile: _Pile, means: Tensor, count: Tensor, sigma: Tensor, share: Tensor, rho: Tensor
    ) -> _Round:
        """Tempered Gaussian log densities of the queries, in the coordinates that are real."""
        own, queries = self.learned, pile.x[:, pile.labels.shape[1] :]
        lower = cholesky(pile.within(sigma))
        z, centres = _whitened(lower, torch.cat([queries, means], 1)).split([queries.shape[1], means.shape[1]], 1)
        wider = 1 + 1 / (count + own["pull"].exp())
        squares = z.square().sum(-1, keepdim=True) - 2 * z @ centres.mT + centres.square().sum(-1)[:, None]
        known = (
            squares / wider[:, None]
            + (pile.real.sum(-1, keepdim=True) * wider.log())[:, None]
            + _log_det(lower)[:, None, None]
        )
        broad = cholesky(pile.within(pile.whole + own["width"].exp() * sigma))
        none = _whitened(broad, queries).square().sum(-1) + _log_det(broad)[:, None]
        half = -0.5 * own["temper"].exp()
        return _Round(half * known + (share.log() + (1 - rho).log())[:, None], half * none + rho.log())


def _whitened(lower: Tensor, x: Tensor) -> Tensor:
    """(T, d, d), (T, P, d) -> (T, P, d)."""
    return solve_triangular(lower.mT, x, upper=True, left=False)


def _log_det(lower: Tensor) -> Tensor:
    """(T,) of the matrix whose Cholesky factor this is."""
    return 2 * lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
