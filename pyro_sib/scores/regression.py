"""Per-task scores of predictive densities in regression."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.distributions import Normal

from pyro_sib.scores.metrics import mean_interval
from pyro_sib.scores.summary import MeanInterval


@dataclass(frozen=True)
class RegressionScores:
    """Scores of T tasks, each (T,), means over the task's queries.

    Attributes:
        mse: squared error of the predictive mean.
        log_density: log p(y | x, evidence), nats.
        coverage: percent of queries inside the central 95% interval.
    """

    mse: Tensor
    log_density: Tensor
    coverage: Tensor

    def metrics(self) -> dict[str, MeanInterval]:
        """Means over tasks with intervals, by metric name."""
        return {f.name: mean_interval(getattr(self, f.name)) for f in fields(self)}


def score_regression(predictive: Normal, y: Tensor) -> RegressionScores:
    """Score T tasks: predictive densities of batch (T, Q), y of (T, Q)."""
    error = predictive.mean - y
    return RegressionScores(
        mse=error.square().mean(-1),
        log_density=predictive.log_prob(y.to(predictive.mean.dtype)).mean(-1),
        coverage=100 * (error.abs() <= 1.96 * predictive.stddev).to(torch.float64).mean(-1),
    )
