"""Simple methods of a few lines, on one task's features."""

import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.experiments.comparison.soft_k_means import SoftKMeans
from pyro_sib.experiments.other_domains.tasks import Known
from pyro_sib.types import Evidence

# Chosen beforehand and for all domains: no look at a domain's labels has a part in them.
_TEMPERATURE, _ROUNDS = 10.0, 10


def labels_of(known: Known) -> Tensor:
    """(M,) int64 class of each labeled example, in the order of `support`."""
    counts = torch.tensor([len(rows) for rows in known.support])
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


class ClassMeans:
    """Softmax of the cosines with the means of the classes' unit features, times a temperature."""

    needs_scikit_learn = False

    def __call__(self, known: Known) -> Tensor:
        """(Q, N) probabilities."""
        means = torch.stack([unit(rows).mean(0) for rows in known.support])
        return torch.softmax(_TEMPERATURE * unit(known.queries) @ unit(means).T, -1)


class SoftKMeansOfTask:
    """Soft k-means on the task's centred unit features, labeled examples fixed."""

    needs_scikit_learn = False

    def __init__(self) -> None:
        self._method = SoftKMeans(_TEMPERATURE, _ROUNDS)

    def __call__(self, known: Known) -> Tensor:
        """(Q, N) probabilities."""
        x, y = torch.cat(known.support)[None], labels_of(known)[None]
        return self._method(Evidence(x, y, known.queries[None], len(known.support)))[0]
