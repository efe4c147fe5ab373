"""Predictions of a method that is told how the queries divide among the classes."""

import torch
from torch import Tensor

from pyro_sib.experiments.other_domains.grid import EVEN

_ROUNDS, _SETTLED = 100, 1e-4


def with_shares(probabilities: Tensor, told: str | float) -> Tensor:
    """The predictions of a task, weighted by classes so that they agree with what is told of the proportions.

    Told that they are even, each class's weight is what makes its predicted share 1 / N (Sinkhorn's iteration).
    Told the concentration of a Dirichlet, weights and predictions settle at the variational posterior of a mixture
    with such proportions, which extends Saerens et al. (2002). Both take the predictions to have been made for even
    proportions, as far as the method knew.

    Args:
        probabilities: (Q, N).
        told: `EVEN`, or the concentration.

    Returns:
        (Q, N) of the same type.
    """
    found = probabilities.double().clamp_min(1e-12).log()
    weights = torch.zeros(found.shape[1], dtype=found.dtype)
    for _ in range(_ROUNDS):
        shares, before = (found + weights).softmax(-1).sum(0), weights
        if told == EVEN:
            weights = weights - (shares * len(weights) / len(found)).clamp_min(1e-12).log()
        else:
            weights = torch.digamma(float(told) + shares)
        if float((weights - before).abs().max()) < _SETTLED:
            break
    return (found + weights).softmax(-1).to(probabilities.dtype)
