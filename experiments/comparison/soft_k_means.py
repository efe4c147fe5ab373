"""Soft k-means on a task's centred unit features: the simplest method that uses the queries."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.preprocessing import centred_on_task
from pyro_sib.types import Evidence


@dataclass(frozen=True)
class SoftKMeans:
    """Class centres from the labeled examples and from the queries by their responsibilities, in turn.

    Attributes:
        temperature: what a query's cosines with the centres are multiplied by before the softmax.
        rounds: times that the centres are computed anew.
    """

    temperature: float
    rounds: int

    def __call__(self, evidence: Evidence) -> Tensor:
        """(T, Q, N): the queries' responsibilities under the last centres."""
        support, query = centred_on_task(evidence.support_x, evidence.query_x)
        one_hot = evidence.one_hot(support.dtype)
        sums, counts = one_hot.mT @ support, one_hot.sum(1)[..., None]
        found = self._responsibilities(query, sums / counts)
        for _ in range(self.rounds):
            centres = (sums + found.mT @ query) / (counts + found.sum(1)[..., None])
            found = self._responsibilities(query, centres)
        return found

    def _responsibilities(self, query: Tensor, centres: Tensor) -> Tensor:
        return torch.softmax(self.temperature * query @ unit(centres).mT, -1)


def soft_k_means(base: BaseClasses, **settings: float) -> SoftKMeans:
    """With these settings; it makes nothing of the base classes."""
    return SoftKMeans(**settings)  # type: ignore[arg-type]
