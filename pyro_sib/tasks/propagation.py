"""Embedding propagation: each feature of a task moved towards those like it (Rodriguez et al. 2020)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.errors import InputError, argument
from pyro_sib.tasks.shape import check_strength
from pyro_sib.types import Episode


@dataclass(frozen=True)
class Propagation:
    """(1 - a) (I - a P)^-1 z over a task's unit features z, labeled and unlabeled alike; P is row-stochastic.

    P_ij is the softmax over j != i of `sharpness` times the cosine of z_i and z_j: a walk that stops with
    probability 1 - a at each step. Rodriguez et al. have a symmetric normalization and squared distances.

    Attributes:
        strength: a, in [0, 1); 0 leaves all directions as they are.
        sharpness: inverse temperature of the cosines.
    """

    strength: float
    sharpness: float = 12.0

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not self.sharpness > 0:
            raise InputError(f"{argument('sharpness')} {self.sharpness}: a positive number is needed")

    @torch.no_grad()
    def __call__(self, episode: Episode) -> Episode:
        """The same tasks with unit features (T, M, D) and (T, Q, D) that have been propagated.

        Each of a task's features depends on all others of the task: the queries of a task are classified together.
        """
        evidence = episode.evidence
        labeled = evidence.support_x.shape[1]
        x = self.smooth(torch.cat([evidence.support_x, evidence.query_x], dim=1))
        return episode.with_features(x[:, :labeled], x[:, labeled:])

    def smooth(self, x: Tensor) -> Tensor:
        """(T, P, D) -> (T, P, D) unit features."""
        z = unit(x)
        itself = torch.eye(z.shape[1], dtype=torch.bool, device=z.device)
        walk = (self.sharpness * z @ z.transpose(1, 2)).masked_fill(itself, float("-inf")).softmax(-1)
        return unit(torch.linalg.solve(itself.to(z.dtype) - self.strength * walk, (1 - self.strength) * z))
