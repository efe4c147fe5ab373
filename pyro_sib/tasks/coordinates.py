"""A task's features in the principal coordinates of its own pile: a few numbers, whatever the features' D."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from pyro_sib.cosine import unit
from pyro_sib.errors import InputError, argument
from pyro_sib.readable import readable
from pyro_sib.tasks.shape import POWER
from pyro_sib.types import Episode, Evidence

LOGIT_SCALE = 30.0
"""Of w . x, with which w is of the size of a prior's first standard deviation, d^-1/2."""


def raised(x: Tensor, power: float = POWER) -> Tensor:
    """Features to a power where none of a task's is negative, as those after a rectifier; others as they are.

    Mean activations are many small numbers and a few large ones, which outweigh all others in a distance.

    Args:
        x: (T, P, D) each task's labeled and unlabeled features.
        power: 1 leaves all as they are.
    """
    return _raised(x, power, _raisable(x))


def _raisable(x: Tensor) -> Tensor:
    """(T, 1, 1) whether no number of the task is negative."""
    return x.amin((1, 2), keepdim=True) >= 0


def _raised(x: Tensor, power: float, usable: Tensor) -> Tensor:
    if power == 1 or (readable(usable) and not bool(usable.any())):
        return x
    return torch.where(usable, x.clamp_min(0).pow(power), x)


@dataclass(frozen=True)
class TaskCoordinates:
    """Unit features centred on the task's mean, made unit again, in their first principal coordinates, and a one.

    Labeled and unlabeled examples are taken together, so that nothing of the training domain's axes nor of D
    remains. The one at the end is the input of the classes' biases. Coordinates beyond the rank of a small task are
    zero. Before all this, features are raised to a power (`raised`).

    Attributes:
        dimensions: d, principal coordinates that are kept.
        power: of features none of which is negative; 1 leaves them as they are.
    """

    dimensions: int = 40
    power: float = POWER

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise InputError(f"{argument('coordinates')} {self.dimensions}: 1 or more is needed")
        if not 0 < self.power <= 1:
            raise InputError(f"{argument('power')} {self.power:g}: above 0 and at most 1 is needed")

    @torch.no_grad()
    def __call__(self, episode: Episode) -> Episode:
        """The same tasks with features (T, M, d + 1) and (T, Q, d + 1)."""
        labeled = episode.evidence.support_x.shape[1]
        x = self.of(torch.cat([episode.evidence.support_x, episode.evidence.query_x], dim=1))
        return episode.with_features(x[:, :labeled], x[:, labeled:])

    def of_evidence(self, evidence: Evidence) -> Evidence:
        """The same tasks, where nobody knows the queries' labels."""
        unknown = torch.full(evidence.query_x.shape[:2], -1, device=evidence.query_x.device)
        return self(Episode.trusted(evidence, unknown)).evidence

    def of(self, x: Tensor) -> Tensor:
        """(T, P, D) features -> (T, P, d + 1).

        Of many rows, a part at a time: beside the features, memory does not grow with P D.
        """
        count = min(self.dimensions, *x.shape[1:])
        if x.shape[1] > max(_ROWS, x.shape[2]):
            found = _principal_by_parts(x, count, self.power)
        else:
            x = unit(raised(x, self.power))
            centred = _centred(x, x.mean(1, keepdim=True))
            found = _principal(centred - centred.mean(1, keepdim=True), count)
        found = pad(found, (0, self.dimensions - found.shape[-1]))
        return pad(found, (0, 1), value=1.0)


_ROWS = 2048
"""Of a pile at a time, where it has more of them than of features."""
_NOTHING = 1e-6
"""Of a unit feature: what is less in each coordinate is rounding, and no direction."""


def _centred(x: Tensor, mean: Tensor) -> Tensor:
    """Unit features less their mean, made unit again: (T, n, D), (T, 1, D) -> (T, n, D)."""
    centred = x - mean
    return unit(centred.masked_fill(centred.abs() < _NOTHING, 0.0))


def _principal_by_parts(x: Tensor, count: int, power: float) -> Tensor:
    """The first principal coordinates of the centred rows, (T, P, D) -> (T, P, count), by sums over parts."""
    usable, rows = _raisable(x), x.shape[1]

    def parts() -> Iterator[Tensor]:
        return (unit(_raised(part, power, usable)) for part in x.split(_ROWS, 1))

    first = torch.stack([part.sum(1, keepdim=True) for part in parts()]).sum(0) / rows
    sums, products = torch.zeros_like(x[:, :1]), x.new_zeros(x.shape[0], x.shape[2], x.shape[2])
    for part in parts():
        centred = _centred(part, first)
        sums += centred.sum(1, keepdim=True)
        products += centred.mT @ centred
    mean = sums / rows
    vectors = torch.linalg.eigh(products - rows * mean.mT @ mean).eigenvectors[..., -count:]
    return _signed(torch.cat([(_centred(part, first) - mean) @ vectors for part in parts()], 1))


def _principal(x: Tensor, count: int) -> Tensor:
    """The first principal coordinates of centred rows, by the smaller of their two Gram matrices: (T, P, count)."""
    transposed = x.transpose(1, 2)
    if x.shape[1] <= x.shape[2]:
        values, vectors = torch.linalg.eigh(x @ transposed)
        found = vectors[..., -count:] * values[..., None, -count:].clamp_min(0).sqrt()
    else:
        found = x @ torch.linalg.eigh(transposed @ x).eigenvectors[..., -count:]
    return _signed(found)


def _signed(found: Tensor) -> Tensor:
    """Coordinates in falling order of their spread, each signed so that its largest number is positive.

    No method of solving decides the sign.
    """
    found = found.flip(-1)
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    return found * torch.where(largest < 0, -1.0, 1.0)
