"""NUTS on a task's weights, its coordinates and the evidence from its draws, held to what is known exactly."""

import math
from dataclasses import replace

import pyro
import pytest
import torch
from pyro import poutine

from pyro_sib.cosine import unit
from pyro_sib.errors import InputError
from pyro_sib.inference.exact.bridge import bridge
from pyro_sib.inference.exact.coordinates import fit_coordinates
from pyro_sib.inference.exact.nuts import Potential, sample
from pyro_sib.inference.exact.settings import ChainSettings, objective_power
from pyro_sib.inference.exact.task_posterior import TaskPosterior, given_support
from pyro_sib.models import (
    PRIORS,
    CosineCategorical,
    DiagonalPrior,
    EmpiricalBayes,
    ExactPosterior,
    LinearGaussian,
    make_prior,
)
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Episode, Evidence

T, N, D, P = 2, 3, 6, 9
D64 = torch.float64
FULL = ObjectiveWeights(1 / P)
"""P times the loss is then minus the literal ELBO."""


def cosine_posterior(prior="diagonal", power=1.0, joint=False) -> TaskPosterior:
    base = unit(torch.randn(7, D))
    psi = make_prior(prior, D, base).to(D64).requires_grad_(False).eval()
    x = torch.randn(T, P, D, dtype=D64)
    evidence = Evidence(
        x[:, :N], torch.arange(N).expand(T, N), x, N, torch.arange(7).expand(T, 7), torch.arange(T), joint
    )
    likelihood = CosineCategorical(5.0).to(D64).requires_grad_(False).eval()
    y = torch.arange(P).expand(T, P) % N
    if not joint:
        return TaskPosterior(psi, likelihood, Episode(evidence, y), power)
    y = torch.where(torch.arange(P) < P // 2, y + 7, y)  # novel queries first, then base ones
    return TaskPosterior(psi, likelihood, Episode(evidence, y), power, psi.base_locs(evidence.base_ids))


def linear_posterior() -> tuple[TaskPosterior, ExactPosterior]:
    prior, likelihood = DiagonalPrior(D).to(D64), LinearGaussian(0.5).to(D64)
    with torch.no_grad():
        prior.loc.copy_(torch.linspace(-0.5, 0.5, D))
        prior.log_scale.copy_(torch.linspace(0.6, 1.4, D).log())
    for part in (prior, likelihood):
        part.requires_grad_(False)
    x, y = torch.randn(T, P, D, dtype=D64), torch.randn(T, P, dtype=D64)
    evidence = Evidence(x[:, :2], y[:, :2], x, 1, task_ids=torch.arange(T))
    return TaskPosterior(prior, likelihood, Episode(evidence, y)), ExactPosterior(prior, likelihood)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("prior", [name for name in PRIORS if name != "hierarchical"])
def test_the_density_is_that_of_the_pyro_model(prior, joint):
    """The same model that SVI trains, conditioned on weights and labels, without the objective's weights."""
    posterior = cosine_posterior(prior, joint=joint)
    w = torch.randn(T, N, D, dtype=D64)
    model = EmpiricalBayes(posterior.prior, posterior.likelihood, FULL)
    given = {"w": w} | ({"w_base": posterior.w_base} if joint else {})
    trace = poutine.trace(pyro.condition(model, given)).get_trace(posterior.episode)
    trace.compute_log_prob()
    expected = sum(trace.nodes[site]["unscaled_log_prob"].sum(-1) for site in ("w", "y"))
    torch.testing.assert_close(posterior.log_density(w), expected)


@pytest.mark.parametrize("prior", [name for name in PRIORS if name != "hierarchical"])
@pytest.mark.parametrize(("power", "joint"), [(1.0, False), (3.0, False), (3.0, True)])
def test_the_closed_gradient_is_that_of_autograd(prior, power, joint):
    posterior = cosine_posterior(prior, power, joint)
    w = torch.randn(T, N, D, dtype=D64, requires_grad=True)
    (expected,) = torch.autograd.grad(posterior.log_density(w).sum(), w)
    with torch.no_grad():
        value, ours = posterior.log_density_and_gradient(w)
        torch.testing.assert_close(value, posterior.log_density(w))
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if prior != "mixture" else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(ours, expected, **tolerance)


def test_the_potential_has_its_gradient_in_the_coordinates():
    posterior = cosine_posterior()
    coordinates = fit_coordinates(posterior, seed=0)
    t = torch.randn(T, N * D, dtype=D64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: Potential.apply(t, posterior, coordinates), (t,))


def test_the_coordinates_of_linear_regression_are_those_of_its_posterior():
    """Gauss-Newton is exact there, so that t is standard normal under the posterior."""
    posterior, exact = linear_posterior()
    with torch.no_grad():
        coordinates = fit_coordinates(posterior, seed=0)
        q = exact.posterior(posterior.episode.evidence.query_x, posterior.episode.query_y)
        torch.testing.assert_close(coordinates.loc, q.mean, rtol=0, atol=0.3 * float(q.variance.sqrt().max()))
        columns = coordinates.weights(torch.eye(D, dtype=D64)[:, None].expand(D, T, D))[:, :, 0] - coordinates.loc
        covariance = torch.einsum("atd,ate->tde", columns, columns)
        torch.testing.assert_close(covariance, q.covariance_matrix, rtol=0.3, atol=0.02)
        _, log_det = torch.linalg.slogdet(columns.transpose(0, 1))
        torch.testing.assert_close(coordinates.log_det, log_det, rtol=1e-6, atol=1e-6)


def test_nuts_and_the_bridge_find_the_exact_posterior_and_evidence():
    """Means within 5 standard errors, variances within a third, the log evidence within 0.1 nats."""
    posterior, exact = linear_posterior()
    x, y = posterior.episode.evidence.query_x, posterior.episode.query_y
    coordinates = fit_coordinates(posterior, seed=0)
    settings = ChainSettings(chains=2, warmup=40, samples=300)
    chains = sample(posterior, coordinates, settings)
    assert chains.t.shape == (2, 300, T, D)
    assert chains.divergences == 0
    w = coordinates.weights(chains.t)[..., 0, :].flatten(0, 1)
    q = exact.posterior(x, y)
    error = q.variance.sqrt() * (w.shape[0] / 4) ** -0.5
    assert ((w.mean(0) - q.mean).abs() < 5 * error).all()
    torch.testing.assert_close(w.var(0), q.variance, rtol=0.34, atol=0)
    noise = torch.randn(600, *coordinates.loc.shape, dtype=D64)

    def log_ratio(t):
        standard = -0.5 * t.square().sum(-1) - 0.5 * D * math.log(2 * math.pi)
        return posterior.log_density(coordinates.weights(t)) + coordinates.log_det - standard

    found = [bridge(log_ratio(chains.t.flatten(0, 1))[:, t], log_ratio(noise)[:, t]) for t in range(T)]
    torch.testing.assert_close(torch.tensor(found, dtype=D64), exact.log_evidence(x, y), rtol=0, atol=0.1)


def test_a_seed_reproduces_every_draw():
    posterior, _ = linear_posterior()
    coordinates = fit_coordinates(posterior, seed=0)
    settings = ChainSettings(chains=1, warmup=20, samples=20, seed=4)
    first, again = (sample(posterior, coordinates, settings).t for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, sample(posterior, coordinates, replace(settings, seed=5)).t)


def test_the_bridge_finds_a_known_normalizer():
    """N(0.7, 1.3^2) times 50, from draws of N(0, 1)."""
    posterior, proposal = torch.distributions.Normal(0.7, 1.3), torch.distributions.Normal(0.0, 1.0)

    def log_ratio(t):
        return posterior.log_prob(t) + math.log(50) - proposal.log_prob(t)

    assert bridge(log_ratio(posterior.sample((4000,))), log_ratio(proposal.sample((4000,)))) == pytest.approx(
        math.log(50), abs=0.05
    )


def test_directions_alone_matter_to_the_likelihood_and_norms_keep_the_priors_law_given_them():
    posterior = cosine_posterior()
    w = torch.randn(4, T, N, D, dtype=D64)
    torch.testing.assert_close(posterior.log_likelihood(3.7 * w), posterior.log_likelihood(w))
    difference = posterior.log_density(3.7 * w) - posterior.log_density(w)
    prior = posterior.prior.distribution(None)
    torch.testing.assert_close(difference, (prior.log_prob(3.7 * w) - prior.log_prob(w)).sum(-1))


def test_what_the_objective_implies():
    posterior = cosine_posterior()
    assert given_support(posterior.episode).query_y.shape == (T, N)
    assert objective_power(ObjectiveWeights(0.06), 20, (2, 3)) == pytest.approx(5.0)
    with pytest.raises(InputError, match="implies no posterior"):
        objective_power(ObjectiveWeights(0.0), 20, (2, 3))


@pytest.mark.parametrize("change", [{"chains": 0}, {"warmup": 3}, {"samples": 5}, {"target_accept": 1.5}])
def test_impossible_chains_are_refused(change):
    with pytest.raises(InputError):
        ChainSettings(**change)
