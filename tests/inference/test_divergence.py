"""The KL at evaluation: closed form where there is one, draws elsewhere."""

import pytest
import torch
from torch.distributions import kl_divergence

from pyro_sib.inference.divergence import DRAWS, kl_to_prior, monte_carlo_kl
from pyro_sib.inference.evaluation import evidence_bound
from pyro_sib.inference.guide import as_distribution
from pyro_sib.models import PRIORS
from tests.worlds import make_world


@pytest.mark.parametrize("prior", ["diagonal", "low-rank"])
def test_the_estimate_agrees_with_the_closed_form(prior):
    """Within five standard errors, those of log p under q."""
    world = make_world(prior, initial_scale=0.3)
    evidence = world.source.episodes(torch.arange(30)).evidence
    with torch.no_grad():
        theta = world.guide.iterates(evidence)[-1]
        q, p = as_distribution(theta), world.prior.distribution(evidence.base_ids)
        error = p.log_prob(q.sample((1000,))).std(0) / DRAWS**0.5
        exact = kl_divergence(q, p)
        assert torch.equal(kl_to_prior(world.prior, evidence, theta), exact)
        gap = monte_carlo_kl(world.prior, evidence, theta) - exact
    assert (gap.abs() < 5 * error).all()
    assert gap.any()


def test_a_prior_without_a_closed_form_is_estimated():
    world = make_world("flow")
    evidence = world.source.episodes(torch.arange(5)).evidence
    theta = world.guide.iterates(evidence)[-1]
    with torch.no_grad():
        expected = monte_carlo_kl(world.prior, evidence, theta)
        assert torch.equal(kl_to_prior(world.prior, evidence, theta), expected)
    assert expected.shape == (5, 3)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("prior", list(PRIORS))
def test_the_bound_does_not_depend_on_the_batch_size(prior, joint):
    world = make_world(prior, joint)
    whole = evidence_bound(world.guide, world.source, tasks=10, draws=3)
    parts = evidence_bound(world.guide, world.source, tasks=10, draws=3, batch_size=3)
    assert whole.kl == pytest.approx(parts.kl, rel=1e-4)
    assert whole.log_likelihood == pytest.approx(parts.log_likelihood, rel=1e-4)
    assert whole.kl > 0
