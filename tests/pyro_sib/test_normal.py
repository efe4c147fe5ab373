"""The small steps' normal distribution: torch's density, gradients and KL."""

import pyro.distributions as dist
import pytest
import torch

from pyro_sib.normal import Normal

SHAPES = [((3, 4), (3, 4)), ((3, 4), (4,)), ((4,), (3, 4)), ((4,), (4,))]


def _parameters(loc, scale):
    return (
        torch.randn(loc, dtype=torch.float64, requires_grad=True),
        (torch.rand(scale, dtype=torch.float64) + 0.2).requires_grad_(),
    )


@pytest.mark.parametrize(("loc", "scale"), SHAPES)
def test_the_density_and_its_derivatives(loc, scale):
    loc, scale = _parameters(loc, scale)
    value = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(Normal(loc, scale).log_prob(value), dist.Normal(loc, scale).log_prob(value))
    assert torch.autograd.gradcheck(lambda v, m, s: Normal(m, s).log_prob(v), (value, loc, scale))


@pytest.mark.parametrize(("loc", "scale"), SHAPES)
@pytest.mark.parametrize("draws", [(), (5,)])
def test_its_own_draws_density_has_the_whole_gradient(loc, scale, draws):
    """With a further function of the draw beside it, as in the ELBO."""
    loc, scale = _parameters(loc, scale)
    found = []
    for kind in (Normal, dist.Normal):
        torch.manual_seed(3)
        q = kind(loc, scale).to_event(1)
        w = q.rsample(draws)
        bound = (w.sin() * torch.arange(4)).sum() - q.log_prob(w).sum()
        found.append((w, q.log_prob(w), *torch.autograd.grad(bound, (loc, scale))))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


def test_another_value_is_not_taken_for_the_draw():
    q = Normal(torch.zeros(4), torch.ones(4))
    first = q.rsample()
    q.rsample()
    torch.testing.assert_close(q.log_prob(first), dist.Normal(0.0, 1.0).log_prob(first))


def test_the_kl_is_torchs():
    p, q = (Normal(*_parameters((3, 4), (4,))).to_event(1) for _ in range(2))
    plain = [dist.Normal(d.base_dist.loc, d.base_dist.scale).to_event(1) for d in (p, q)]
    torch.testing.assert_close(torch.distributions.kl_divergence(p, q), torch.distributions.kl_divergence(*plain))


def test_expanded_it_draws_and_scores_the_same_way():
    q = Normal(torch.zeros(4), torch.full((4,), 2.0)).expand((3, 4))
    w = q.rsample()
    assert w.shape == (3, 4)
    torch.testing.assert_close(q.log_prob(w), dist.Normal(0.0, 2.0).log_prob(w))


def test_a_second_derivative_is_refused():
    loc, scale = _parameters((4,), (4,))
    value = torch.randn(4, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(Normal(loc, scale).log_prob(value).sum(), value, create_graph=True)
