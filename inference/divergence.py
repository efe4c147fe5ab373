"""KL(q || p_psi) at evaluation: in closed form, or from draws where the prior has none."""

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_sib.counter_rng import make_key, normal
from pyro_sib.inference.guide import as_distribution
from pyro_sib.types import Evidence, GaussianParameters, PriorLike

DRAWS = 64
"""Of w, in the Monte Carlo estimate."""
_KL_KEY = make_key("draws for the KL")


def kl_to_prior(prior: PriorLike, evidence: Evidence, theta: GaussianParameters) -> Tensor:
    """KL of each class's weight vector, (T, N), in nats; for a mixture, its bound."""
    try:
        return kl_divergence(as_distribution(theta), prior.distribution(evidence.base_ids))
    except NotImplementedError:
        return monte_carlo_kl(prior, evidence, theta)


@torch.no_grad()
def monte_carlo_kl(prior: PriorLike, evidence: Evidence, theta: GaussianParameters) -> Tensor:
    """-H(q) - E_q log p_psi(w), the second term from 64 draws, (T, N).

    The draws of a task derive from its number alone, so neither batch size nor order changes them.
    """
    assert evidence.task_ids is not None, "draws need task_ids"
    q, p = as_distribution(theta), prior.distribution(evidence.base_ids)
    log_prob = torch.zeros_like(theta.loc[..., 0])
    for draw in range(DRAWS):
        noise = normal(_KL_KEY, evidence.task_ids, draw, theta.loc[0].numel()).view_as(theta.loc)
        log_prob += p.log_prob(theta.loc + theta.log_scale.exp() * noise)
    return -q.entropy() - log_prob / DRAWS
