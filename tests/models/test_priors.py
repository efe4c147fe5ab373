"""One conformance suite for every prior."""

import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
    kl_divergence,
)

from pyro_sib.cosine import unit
from pyro_sib.errors import InputError
from pyro_sib.models import PRIORS, GaussianMixture, make_prior
from pyro_sib.types import GaussianParameters
from tests.worlds import make_world

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
    assert prior.base_classes == B
    for of_base in (prior.base_distribution(BASE_IDS), prior.base_posterior(BASE_IDS)):
        assert of_base.sample().shape == (T, 5, D)
    torch.testing.assert_close(prior.base_posterior(BASE_IDS).mean, prior.base_locs(BASE_IDS))


def _kl(q: Independent, p: torch.distributions.Distribution) -> torch.Tensor:
    """KL(q || p), or, where none is registered, its part at q's mean."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return -p.log_prob(q.mean)


def test_kl_gradient_equals_autograd(prior):
    theta = _theta(requires_grad=True)
    kl = _kl(_q(theta), prior.distribution(BASE_IDS)).sum()
    grad_loc, grad_log_scale = torch.autograd.grad(kl, theta, allow_unused=True)
    precision, shift = prior.kl_gradient(theta, BASE_IDS)
    assert (precision > 0).all()
    torch.testing.assert_close((precision * theta.loc - shift), grad_loc)
    if grad_log_scale is not None:
        torch.testing.assert_close(precision * (2 * theta.log_scale).exp() - 1, grad_log_scale)


@pytest.mark.parametrize("detach", [False, True])
def test_kl_gradient_may_be_differentiated_in_theta(prior, detach):
    """By finite differences: phi learns through the steps."""

    def gradient(loc, log_scale):
        precision, shift = prior.kl_gradient(GaussianParameters(loc, log_scale), BASE_IDS[:1], detach)
        return precision * loc - shift

    assert torch.autograd.gradcheck(gradient, tuple(t[:1, :2].detach().requires_grad_() for t in _theta()))


def test_kl_gradient_without_grad_is_the_same(prior):
    theta = _theta(requires_grad=True)
    with torch.no_grad():
        plain = prior.kl_gradient(theta, BASE_IDS)
    for part, with_grad in zip(plain, prior.kl_gradient(theta, BASE_IDS), strict=True):
        assert not part.requires_grad
        assert torch.broadcast_shapes(part.shape, theta.loc.shape) == theta.loc.shape
        torch.testing.assert_close(part, with_grad.detach())


def test_detached_kl_gradient_leaves_psi_alone(prior):
    theta, psi = _theta(requires_grad=True), list(prior.parameters())
    for detach in (False, True):
        precision, shift = prior.kl_gradient(theta, BASE_IDS, detach=detach)
        total = precision.sum() + shift.sum() + 0 * theta.loc.sum()
        grads = torch.autograd.grad(total, psi, allow_unused=True) if psi else []
        reached = [g is not None and bool(g.abs().sum() > 0) for g in grads]
        assert any(reached) == (bool(psi) and not detach)


def test_the_kl_lies_above_monte_carlo(prior):
    """Equal for one component (a closed form), above for a mixture (a bound), within four standard errors."""
    q, p = _q(_theta()), prior.distribution(BASE_IDS)
    if isinstance(p, TransformedDistribution):
        with pytest.raises(NotImplementedError):
            kl_divergence(q, p)
        return
    w = q.sample((20_000,))
    draws = q.log_prob(w) - p.log_prob(w)
    error = 4 * draws.std(0) / len(draws) ** 0.5
    gap = kl_divergence(q, p) - draws.mean(0)
    assert (gap > -error).all()
    if not isinstance(p, GaussianMixture):
        assert (gap < error).all()


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("name", list(PRIORS))
def test_every_parameter_gets_a_gradient(name, elbo):
    world = make_world(name, joint=PRIORS[name].needs_base_classes, kl=0.03, base_to_psi=True)
    episode = world.source.episodes(torch.arange(8))
    elbo(max_plate_nesting=2).differentiable_loss(world.model, world.guide, episode).backward()
    for parameter, p in world.prior.named_parameters():
        assert p.grad is not None, parameter
        assert torch.isfinite(p.grad).all(), parameter
        assert p.grad.abs().sum() > 0, parameter


def test_scales_are_positive(prior):
    scales = prior.scales(BASE_IDS)
    assert scales.shape[-1] == D
    assert (scales > 0).all()


@pytest.mark.parametrize("name", list(PRIORS))
def test_the_seed_decides_where_it_starts(name):
    states = []
    for _ in range(2):
        torch.manual_seed(4)
        states.append(make_prior(name, D, unit(torch.randn(B, D))).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", [name for name in PRIORS if not PRIORS[name].needs_base_classes])
def test_it_does_without_base_classes(name):
    prior = make_prior(name, D, None)
    assert torch.isfinite(prior.distribution(None).log_prob(torch.randn(T, N, D))).all()


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


def test_a_mixture_of_some_components_is_the_mixture_of_those_alone():
    locs, scales = torch.randn(5, D, dtype=torch.float64), torch.rand(5, D, dtype=torch.float64) + 0.5
    known = torch.tensor([[True, False, True, True, False], [False, True, True, False, True]])
    p = GaussianMixture(locs, scales, known[:, None])
    assert p.batch_shape == (2, 1)
    theta = GaussianParameters(torch.randn(2, 4, D).double(), torch.randn(2, 4, D).double())
    w = p.sample((2000,))
    for task in range(2):
        alone = GaussianMixture(locs[known[task]], scales[known[task]])
        one = GaussianParameters(theta.loc[task], theta.log_scale[task])
        torch.testing.assert_close(p.log_prob(theta.loc)[task], alone.log_prob(one.loc))
        torch.testing.assert_close(kl_divergence(_q(theta), p)[task], kl_divergence(_q(one), alone.expand((4,))))
        # Draws come from the known components: their mean is within five standard errors.
        mean, spread = alone.sample((20_000,)).mean(0), w[:, task, 0].std(0)
        assert ((w[:, task, 0].mean(0) - mean).abs() < 5 * 1.1 * spread / 2000**0.5).all()


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
    assert p.known[0, 0].tolist() == [c != 3 for c in range(B)]
    before = p.log_prob(weights[3])
    with torch.no_grad():
        prior.locs[3] += 1
    # To the rounding: sums are taken about the mean of all components, which no exact result depends on.
    torch.testing.assert_close(prior.distribution(ids).log_prob(weights[3]), before)
    every = torch.arange(B)[None]
    moved = prior.distribution(every).log_prob(weights[3])
    with torch.no_grad():
        prior.locs[3] -= 1
    assert (prior.distribution(every).log_prob(weights[3]) - moved).abs() > 0.01


def test_unknown_names_and_missing_base_classes_are_refused():
    with pytest.raises(InputError, match="unknown prior 'cauchy'; choose one of isotropic, diagonal, mixture"):
        make_prior("cauchy", D, None)
    with pytest.raises(InputError, match="no base classes"):
        make_prior("mixture", D, None)
