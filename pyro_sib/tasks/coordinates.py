"""A task's features in the principal coordinates of its own pile: a few numbers, whatever the features' D."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from pyro_sib.cosine import unit
from pyro_sib.errors import InputError, argument
from pyro_sib.types import Episode, Evidence

LOGIT_SCALE = 30.0
"""Of w . x, with which w is of the size of a prior's first standard deviation, d^-1/2."""


@dataclass(frozen=True)
class TaskCoordinates:
    """Unit features centred on the task's mean, made unit again, in their first principal coordinates, and a one.

    Labeled and unlabeled examples are taken together, so that nothing of the training domain's axes nor of D
    remains. The one at the end is the input of the classes' biases. Coordinates beyond the rank of a small task are
    zero.

    Attributes:
        dimensions: d, principal coordinates that are kept.
    """

    dimensions: int = 40

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise InputError(f"{argument('coordinates')} {self.dimensions}: 1 or more is needed")

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
        """(T, P, D) features -> (T, P, d + 1)."""
        centred = unit(x) - unit(x).mean(1, keepdim=True)
        centred = unit(centred.masked_fill(centred.abs() < _NOTHING, 0.0))
        centred = centred - centred.mean(1, keepdim=True)
        found = _principal(centred, min(self.dimensions, *centred.shape[1:]))
        found = pad(found, (0, self.dimensions - found.shape[-1]))
        return pad(found, (0, 1), value=1.0)


_NOTHING = 1e-6
"""Of a unit feature: what is less in each coordinate is rounding, and no direction."""


def _principal(x: Tensor, count: int) -> Tensor:
    """The first principal coordinates of centred rows, by the smaller of their two Gram matrices: (T, P, count).

    A coordinate's sign is chosen so that its largest number is positive, which no method of solving decides.
    """
    transposed = x.transpose(1, 2)
    if x.shape[1] <= x.shape[2]:
        values, vectors = torch.linalg.eigh(x @ transposed)
        found = vectors[..., -count:] * values[..., None, -count:].clamp_min(0).sqrt()
    else:
        found = x @ torch.linalg.eigh(transposed @ x).eigenvectors[..., -count:]
    found = found.flip(-1)
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    return found * torch.where(largest < 0, -1.0, 1.0)
