"""The flow prior against a change of variables by autograd."""

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import Independent, Normal

from pyro_sib.models.flow import FlowPrior
from pyro_sib.models.gaussian import DiagonalPrior
from pyro_sib.types import GaussianParameters

SIZES = (2, 6, 7)


def _bent(features: int) -> FlowPrior:
    prior = FlowPrior(features).double()
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return prior


def _push(prior: FlowPrior, z: torch.Tensor) -> torch.Tensor:
    for transform in prior.distribution(None).transforms:
        z = transform(z)
    return z


@pytest.mark.parametrize("features", SIZES)
def test_the_density_is_that_of_the_change_of_variables(features):
    prior = _bent(features)
    z = torch.randn(features, dtype=torch.float64)
    w, slope = _push(prior, z), jacobian(lambda v: _push(prior, v), z)
    expected = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1).log_prob(z)
    expected = expected - torch.linalg.slogdet(slope).logabsdet
    torch.testing.assert_close(prior.distribution(None).log_prob(w), expected)
    log_prob, own = prior(w)
    torch.testing.assert_close(log_prob, expected)
    torch.testing.assert_close(own.sum(), torch.linalg.slogdet(slope).logabsdet)


@pytest.mark.parametrize("features", SIZES)
def test_the_precision_has_the_determinant_of_the_linearized_flow(features):
    prior = _bent(features)
    z = torch.randn(features, dtype=torch.float64)
    slope = jacobian(lambda v: _push(prior, v), z)
    theta = GaussianParameters(_push(prior, z)[None, None], torch.zeros(1, 1, features, dtype=torch.float64))
    precision, _ = prior.kl_gradient(theta, None)
    torch.testing.assert_close(precision.log().sum(), -torch.linalg.slogdet(slope @ slope.T).logabsdet)


def test_the_gradient_at_the_mean_equals_finite_differences():
    prior, step = _bent(5), 1e-5
    w = torch.randn(5, dtype=torch.float64)
    precision, shift = prior.kl_gradient(GaussianParameters(w[None, None], torch.zeros(1, 1, 5).double()), None)
    ahead, behind = w + step * torch.eye(5).double(), w - step * torch.eye(5).double()
    log_prob = prior.distribution(None).log_prob
    slope = -(log_prob(ahead) - log_prob(behind)) / (2 * step)
    torch.testing.assert_close((precision * w - shift)[0, 0], slope, rtol=1e-6, atol=1e-6)


def test_no_dimension_is_stretched_by_more_than_e():
    """However large the networks grow: each dimension is bent by two of the four couplings."""
    prior = _bent(6)
    with torch.no_grad():
        for coupling in prior.couplings:
            coupling.nn.out.weight.mul_(1e3)
    own = (prior(torch.randn(200, 6, dtype=torch.float64))[1] - prior.log_scale).detach()
    assert 0.9 < float(own.abs().max()) <= 1


def test_it_starts_close_to_the_diagonal_prior():
    flow, diagonal = FlowPrior(20), DiagonalPrior(20)
    w = diagonal.distribution(None).sample((50,))
    torch.testing.assert_close(
        flow.distribution(None).log_prob(w), diagonal.distribution(None).log_prob(w), rtol=0, atol=0.5
    )
    theta = GaussianParameters(w[:, None], torch.zeros(50, 1, 20))
    for ours, exact in zip(flow.kl_gradient(theta, None), diagonal.kl_gradient(theta, None), strict=True):
        torch.testing.assert_close(ours, exact.expand_as(ours), rtol=0.05, atol=0.5)


def test_a_changed_parameter_changes_the_density_of_the_same_w():
    """Pyro's transforms keep the last pair (z, w)."""
    prior = _bent(6)
    w = prior.distribution(None).sample()
    before = prior.distribution(None).log_prob(w)
    with torch.no_grad():
        prior.couplings[0].nn.out.bias.add_(0.5)
    assert not torch.isclose(prior.distribution(None).log_prob(w), before)
    torch.testing.assert_close(prior.distribution(None).log_prob(w), prior(w)[0])


def test_draws_come_from_the_density():
    """E[p'(w) / p(w)] = 1 for any other density p', here a narrower Gaussian at the mean."""
    prior = _bent(2)
    w = prior.distribution(None).sample((40_000,))
    narrow = Independent(Normal(w.mean(0), 0.5 * w.std(0)), 1)
    ratio = (narrow.log_prob(w) - prior.distribution(None).log_prob(w)).exp().detach()
    assert abs(float(ratio.mean()) - 1) < 5 * float(ratio.std()) / 200


def test_it_learns_what_no_gaussian_can():
    """A curve: w_2 = w_1^2 and a little noise."""
    first = torch.randn(500, 1)
    w = torch.cat([first, first.square() + 0.1 * torch.randn(500, 1)], 1)
    prior = FlowPrior(2)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss = -prior.distribution(None).log_prob(w).mean()
        loss.backward()
        optimizer.step()
    best = torch.distributions.MultivariateNormal(w.mean(0), w.T.cov())
    assert loss.detach() < -best.log_prob(w).mean() - 0.5
