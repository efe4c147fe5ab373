"""A variational Bayesian Gaussian mixture over a task's labeled examples and queries."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.preprocessing import centred_on_base
from pyro_sib.experiments.comparison.soft_k_means import SoftKMeans
from pyro_sib.types import Evidence

START = SoftKMeans(temperature=10.0, rounds=0)
"""The first q(y) is from cosines with the labeled examples' class means."""


@dataclass(frozen=True)
class VariationalBayes:
    """The mixture of Hu, Pateux & Gripon 2023 (BAVARDAGE), a plain PCA in place of its dimension reduction.

    Of "Adaptive Dimension Reduction and Variational Inference for Transductive Few-Shot Classification" it has the
    model: class proportions pi ~ Dirichlet(alpha, ..., alpha), class means mu_c ~ N(0, v / beta I) and features
    x ~ N(mu_c, v I) with one known v for all classes; and the inference: q(pi), q(mu) and q(y) in turn for a fixed
    number of rounds, where the labeled examples' classes are given and count in q(pi).

    It leaves out their reduction, a probabilistic linear discriminant analysis that is repeated as q(y) changes,
    and their start from soft k-means, whose rounds divide unbalanced queries evenly. Instead a PCA of the task's
    labeled and unlabeled rows is done once, and the start is the labeled examples' class means. v is `noise` times
    the base classes' within-class variance, averaged over the principal directions; the zero of the means' prior is
    the task's mean. `noise` and `dimensions` are chosen on base classes.

    Attributes:
        base: classes that give the centre of the features and v.
        noise: v in units of the base classes' variance.
        dimensions: principal directions that are kept, of a task that has so many.
        alpha: of the Dirichlet prior.
        beta: how many examples the prior of a class mean counts for.
        rounds: times that q is updated.
    """

    base: BaseClasses
    noise: float
    dimensions: float
    alpha: float
    beta: float
    rounds: int

    def __call__(self, evidence: Evidence) -> Tensor:
        """(T, Q, N): q(y) of the queries."""
        support, query, variance = self._reduced(evidence)
        one_hot = evidence.one_hot(support.dtype)
        found = START(evidence)
        for _ in range(self.rounds):
            found = self._updated(found, query, one_hot.mT @ support, one_hot.sum(1), variance)
        return found

    def _reduced(self, evidence: Evidence) -> tuple[Tensor, Tensor, Tensor]:
        """(T, M, d) and (T, Q, d) coordinates along the task's principal directions, and (T, 1, 1) v."""
        rows = torch.cat([evidence.support_x, evidence.query_x], 1)
        rows = centred_on_base(rows, self.base.centre.to(rows.dtype))
        rows = rows - rows.mean(1, keepdim=True)
        _, lengths, directions = torch.linalg.svd(rows, full_matrices=False)
        lengths, directions = lengths[:, : int(self.dimensions)], directions[:, : int(self.dimensions)]
        variance = self.noise * self._variance(lengths, directions)
        found, labeled = rows @ directions.mT, evidence.support_y.shape[1]
        return found[:, :labeled], found[:, labeled:], variance[:, None, None]

    def _variance(self, lengths: Tensor, directions: Tensor) -> Tensor:
        """(T,) base classes' mean variance along (T, d, D) directions, those of no length left out."""
        eps = torch.finfo(lengths.dtype).eps
        real = lengths > eps * directions.shape[-1] * lengths[:, :1]
        along = (directions @ self.base.within.to(directions.dtype) * directions).sum(-1)
        return ((along * real).sum(-1) / real.sum(-1).clamp_min(1)).clamp_min(eps)

    def _updated(self, found: Tensor, query: Tensor, sums: Tensor, counts: Tensor, variance: Tensor) -> Tensor:
        """q(y) under the q(pi) and q(mu) that are best for the last q(y).

        Args:
            found: (T, Q, N) the last q(y).
            query: (T, Q, d).
            sums: (T, N, d) of the labeled examples of each class.
            counts: (T, N) how many they are.
            variance: (T, 1, 1) v.
        """
        shares = counts + found.sum(1)
        precision = (self.beta + shares)[:, None]  # of q(mu_c), in units of 1 / v
        means = (sums + found.mT @ query) / precision.mT
        squares = torch.cdist(query, means, compute_mode="donot_use_mm_for_euclid_dist").square()
        expected = torch.digamma(self.alpha + shares)[:, None]  # E log pi_c, less what is the same for all c
        return torch.softmax(expected - (squares / variance + query.shape[-1] / precision) / 2, -1)
