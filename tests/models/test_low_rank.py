"""The low-rank prior against dense matrices."""

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from pyro_sib.models.low_rank import RANK, LowRankPrior
from pyro_sib.types import GaussianParameters

D = 12


@pytest.fixture
def prior() -> LowRankPrior:
    prior = LowRankPrior(D).double()
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return prior


def _covariance(prior: LowRankPrior) -> torch.Tensor:
    scale = prior.log_scale.exp().diag()
    return scale @ (torch.eye(D, dtype=torch.float64) + prior.factor @ prior.factor.T) @ scale


def test_the_density_is_that_of_the_dense_covariance(prior):
    w = torch.randn(5, 3, D, dtype=torch.float64)
    expected = MultivariateNormal(prior.loc, _covariance(prior))
    torch.testing.assert_close(prior.distribution(None).log_prob(w), expected.log_prob(w))
    torch.testing.assert_close(prior.scales(None), expected.stddev)


def test_the_kl_is_that_of_the_dense_covariance(prior):
    loc, scale = torch.randn(5, 3, D, dtype=torch.float64), torch.rand(5, 3, D, dtype=torch.float64) + 0.1
    expected = kl_divergence(
        MultivariateNormal(loc, torch.diag_embed(scale.square())), MultivariateNormal(prior.loc, _covariance(prior))
    )
    p = prior.distribution(None)
    for batch in (p, p.expand((5, 3))):
        torch.testing.assert_close(kl_divergence(Independent(Normal(loc, scale), 1), batch), expected)


def test_the_kl_gradient_has_the_dense_precision(prior):
    theta = GaussianParameters(*torch.randn(2, 5, 3, D, dtype=torch.float64))
    dense = torch.linalg.inv(_covariance(prior))
    precision, shift = prior.kl_gradient(theta, None)
    torch.testing.assert_close(precision, dense.diagonal())
    torch.testing.assert_close(precision * theta.loc - shift, (theta.loc - prior.loc) @ dense)


def test_the_closed_form_refuses_what_it_is_not_for(prior):
    with pytest.raises(NotImplementedError, match="one event dimension"):
        kl_divergence(Independent(Normal(torch.zeros(2, D), torch.ones(2, D)), 2), prior.distribution(None))


def test_the_rank_is_at_most_the_dimension():
    assert LowRankPrior(3).factor.shape == (3, 3)
    assert LowRankPrior(D).factor.shape == (D, RANK)


def test_it_learns_correlations_that_a_diagonal_cannot():
    direction = torch.linspace(-1, 1, D)
    w = 0.1 * torch.randn(500, D) + torch.randn(500, 1) * direction
    prior = LowRankPrior(D)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = -prior.distribution(None).log_prob(w).mean()
        loss.backward()
        optimizer.step()
    diagonal = -Independent(Normal(w.mean(0), w.std(0)), 1).log_prob(w).mean()
    assert loss.detach() < diagonal - 5
