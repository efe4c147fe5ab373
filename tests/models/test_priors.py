"""One conformance suite for every prior."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from models import PRIORS, GaussianMixture, make_prior
from pyro_sib.cosine import unit
from pyro_sib.errors import InputError
from pyro_sib.types import GaussianParameters

D, B, T, N = 6, 8, 3, 4
BASE_IDS = torch.stack([torch.randperm(B, generator=torch.Generator().manual_seed(s))[:5] for s in range(T)])


@pytest.fixture(params=list(PRIORS))
def prior(request):
    weights = unit(torch.randn(B, D, dtype=torch.float64))
    prior = make_prior(request.param, D, weights).double()
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return prior


def _theta(requires_grad: bool = False) -> GaussianParameters:
    loc = torch.randn(T, N, D, dtype=torch.float64) * 0.4
    log_scale = torch.randn(T, N, D, dtype=torch.float64) * 0.3 - 1
    return GaussianParameters(loc.requires_grad_(requires_grad), log_scale.requires_grad_(requires_grad))


def _q(theta: GaussianParameters) -> Independent:
    return Independent(Normal(theta.loc, theta.log_scale.exp()), 1)


def test_shapes(prior):
    p = prior.distribution(BASE_IDS)
    assert p.event_shape == (D,)
    assert torch.broadcast_shapes(p.batch_shape, (T, N)) == (T, N)
    assert p.expand((T, N)).sample().shape == (T, N, D)
    assert p.log_prob(torch.randn(T, N, D, dtype=torch.float64)).shape == (T, N)
    assert prior.base_locs(BASE_IDS).shape == (T, 5, D)
    assert prior.base_distribution(BASE_IDS).sample().shape == (T, 5, D)


def test_kl_gradient_equals_autograd(prior):
    theta = _theta(requires_grad=True)
    kl = kl_divergence(_q(theta), prior.distribution(BASE_IDS)).sum()
    grad_loc, grad_log_scale = torch.autograd.grad(kl, theta)
    precision, shift = prior.kl_gradient(theta, BASE_IDS)
    torch.testing.assert_close((precision * theta.loc - shift), grad_loc)
    torch.testing.assert_close(precision * (2 * theta.log_scale).exp() - 1, grad_log_scale)


def test_detached_kl_gradient_leaves_psi_alone(prior):
    theta = _theta(requires_grad=True)
    for detach in (False, True):
        precision, shift = prior.kl_gradient(theta, BASE_IDS, detach=detach)
        total = precision.sum() + shift.sum() + 0 * theta.loc.sum()
        grads = torch.autograd.grad(total, list(prior.parameters()), allow_unused=True)
        reached = [g is not None and bool(g.abs().sum() > 0) for g in grads]
        assert any(reached) != detach


def test_the_kl_lies_above_monte_carlo(prior):
    """Equal for one component (a closed form), above for a mixture (a bound), within four standard errors."""
    q, p = _q(_theta()), prior.distribution(BASE_IDS)
    w = q.sample((20_000,))
    draws = q.log_prob(w) - p.log_prob(w)
    error = 4 * draws.std(0) / len(draws) ** 0.5
    gap = kl_divergence(q, p) - draws.mean(0)
    assert (gap > -error).all()
    if not isinstance(p, GaussianMixture):
        assert (gap < error).all()


def test_every_parameter_gets_a_gradient(prior):
    kl_divergence(_q(_theta()), prior.distribution(BASE_IDS)).sum().backward()
    for name, p in prior.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name


def _mixture(components: int = 3) -> GaussianMixture:
    return GaussianMixture(
        torch.randn(2, 1, components, D, dtype=torch.float64),
        torch.rand(2, 1, components, D, dtype=torch.float64) + 0.5,
    )


def test_mixture_density_equals_torch():
    p = _mixture()
    logits = torch.zeros(2, 1, 3, dtype=torch.float64)
    expected = MixtureSameFamily(Categorical(logits=logits), Independent(Normal(p.locs, p.scales), 1))
    w = torch.randn(5, 2, 1, D, dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(w), expected.log_prob(w))


def test_mixture_samples_have_its_moments():
    p = _mixture()
    w = p.sample((40_000,))
    mean = p.locs.mean(-2)
    variance = (p.scales.square() + p.locs.square()).mean(-2) - mean.square()
    assert ((w.mean(0) - mean).abs() < 5 * (variance / 40_000).sqrt()).all()
    torch.testing.assert_close(w.var(0), variance, rtol=0.05, atol=0)


def test_the_bound_is_exact_for_one_component():
    p = _mixture(components=1)
    q = Independent(Normal(torch.randn(2, 4, D).double(), torch.rand(2, 4, D).double() + 0.1), 1)
    one = Independent(Normal(p.locs.squeeze(-2), p.scales.squeeze(-2)), 1)
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(q, one))


def test_the_class_left_out_is_absent_from_the_mixture():
    weights = unit(torch.randn(B, D))
    prior = make_prior("mixture", D, weights)
    ids = torch.tensor([[0, 1, 2, 4, 5, 6, 7]])
    p = prior.distribution(ids)
    kept = p.locs[0, 0]
    assert not any(torch.equal(kept[c], weights[3]) for c in range(7))
    before = p.log_prob(weights[3])
    with torch.no_grad():
        prior.locs[3] += 1
    assert torch.equal(prior.distribution(ids).log_prob(weights[3]), before)
    assert not torch.equal(prior.distribution(torch.arange(B)[None]).log_prob(weights[3]), before)


def test_unknown_names_and_missing_base_classes_are_refused():
    with pytest.raises(InputError, match="unknown prior 'cauchy'; choose one of isotropic, diagonal, mixture"):
        make_prior("cauchy", D, None)
    with pytest.raises(InputError, match="no base classes"):
        make_prior("mixture", D, None)
