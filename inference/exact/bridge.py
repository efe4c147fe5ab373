"""The evidence of a task from draws of its posterior: bridge sampling."""

import math

import torch
from torch import Tensor

ROUNDS = 200
"""Of the fixed point, which it reaches much earlier."""


def bridge(log_ratio_posterior: Tensor, log_ratio_proposal: Tensor) -> float:
    """The log of the integral of an unnormalized density, by Meng & Wong's (1996) optimal bridge.

    Args:
        log_ratio_posterior: (S,) log of the unnormalized density over the proposal's, at draws of the posterior.
        log_ratio_proposal: (R,) the same at draws of the proposal.

    Returns:
        r in the fixed point r = mean_proposal[l / (s l + (1 - s) r)] / mean_posterior[1 / (s l + (1 - s) r)], where
        s = S / (S + R) and l is the ratio.
    """
    count, others = len(log_ratio_posterior), len(log_ratio_proposal)
    log_share, log_rest = math.log(count / (count + others)), math.log(others / (count + others))
    log_r = log_ratio_posterior.median()
    for _ in range(ROUNDS):
        posterior, proposal = (
            torch.logaddexp(log_share + ratio, log_rest + log_r)
            for ratio in (log_ratio_posterior, log_ratio_proposal)
        )
        above = torch.logsumexp(log_ratio_proposal - proposal, 0) - math.log(others)
        below = torch.logsumexp(-posterior, 0) - math.log(count)
        log_r = above - below
    return float(log_r)
