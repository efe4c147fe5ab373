"""The Gaussian likelihood against autograd, plain torch and Bayesian linear regression, in float64."""

from dataclasses import replace

import pytest
import torch
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from pyro_sib.experiments.sinusoids.settings import VALUE_GUIDES
from pyro_sib.inference import GUIDES, GuideSettings, TaskForm
from pyro_sib.inference.initializers.ridge import RidgeInitializer
from pyro_sib.models import EmpiricalBayes, ExactPosterior, LinearGaussian, make_prior
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Episode, Evidence, GaussianParameters

T, M, Q, D = 3, 8, 6, 4
D64 = torch.float64


def _episode(seed: int = 0) -> Episode:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(T, M + Q, D, generator=generator, dtype=D64)
    w = torch.randn(T, D, 1, generator=generator, dtype=D64)
    y = (x @ w).squeeze(-1) + 0.3 * torch.randn(T, M + Q, generator=generator, dtype=D64)
    evidence = Evidence(x[:, :M], y[:, :M], x[:, M:], ways=1, task_ids=torch.arange(T))
    return Episode(evidence, y[:, M:])


def _program(guide: str = "maml", initializer: str = "global", kl: float = D / Q, **settings):
    weights = ObjectiveWeights(kl)
    prior = make_prior("diagonal", D, torch.randn(20, D)).to(D64)
    likelihood = LinearGaussian(0.7).to(D64)
    chosen = GuideSettings(**{"initializer": initializer, "step_size": 0.1, "initial_scale": 0.2, **settings})
    q = GUIDES[guide](chosen, TaskForm(D, ways=1), prior, likelihood, weights).to(D64)
    return EmpiricalBayes(prior, likelihood, weights), q


def test_output_gradient_equals_autograd():
    likelihood = LinearGaussian(0.4).to(D64)
    outputs = torch.randn(5, T, Q, 1, dtype=D64, requires_grad=True)
    y = torch.randn(T, Q, dtype=D64)
    loss = -likelihood.distribution(outputs).log_prob(y).sum()
    (expected,) = torch.autograd.grad(loss, outputs)
    torch.testing.assert_close(likelihood.output_gradient(outputs, y), expected)
    assert likelihood.distribution(outputs).batch_shape == (5, T, Q)


@pytest.mark.parametrize("samples", [(), (5,)])
def test_vjp_equals_autograd(samples):
    likelihood = LinearGaussian().to(D64)
    w = torch.randn(*samples, T, 1, D, dtype=D64, requires_grad=True)
    points = likelihood.points(torch.randn(T, Q, D, dtype=D64))
    towards = torch.randn(*samples, T, Q, 1, dtype=D64)
    outputs, vjp = likelihood.vjp(w, points)
    assert torch.equal(outputs, likelihood.step_outputs(w, points))
    (expected,) = torch.autograd.grad((outputs * towards).sum(), w)
    torch.testing.assert_close(vjp(towards), expected)


def test_base_classes_are_refused():
    with pytest.raises(ValueError, match="no base classes"):
        LinearGaussian().logits(torch.zeros(T, 1, D), torch.zeros(T, Q, D), torch.zeros(T, 2, D))


def test_predictive_has_the_moments_of_its_draws():
    """Within five standard errors of 40000 draws."""
    likelihood = LinearGaussian(0.4).to(D64)
    theta = GaussianParameters(torch.randn(T, 1, D, dtype=D64), torch.randn(T, 1, D, dtype=D64) - 1)
    x = torch.randn(T, Q, D, dtype=D64)
    w = theta.loc + theta.log_scale.exp() * torch.randn(40_000, T, 1, D, dtype=D64)
    y = likelihood.distribution(likelihood.logits(w, x)).sample()
    predictive = likelihood.predictive(theta, x)
    assert ((y.mean(0) - predictive.mean).abs() < 5 * predictive.stddev / 200).all()
    torch.testing.assert_close(y.var(0), predictive.variance, rtol=0.05, atol=0)


def test_the_exact_posterior_equals_conditioning_the_joint_gaussian():
    model, _ = _program()
    evidence = _episode().evidence
    exact = ExactPosterior(model.prior, model.likelihood)
    posterior = exact.posterior(evidence.support_x, evidence.support_y)
    p, x = model.prior.distribution(None), evidence.support_x
    cross = p.variance.diag() @ x.transpose(1, 2)
    total = x @ cross + model.likelihood.sigma.square() * torch.eye(M, dtype=D64)
    residual = evidence.support_y - x @ p.mean
    gain = torch.linalg.solve(total, cross.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(posterior.mean, p.mean + (gain @ residual[..., None]).squeeze(-1))
    expected = p.variance.diag() - gain @ cross.transpose(1, 2)
    torch.testing.assert_close(posterior.covariance_matrix, expected)


def test_the_evidence_obeys_bayes_rule():
    """p(y) = p(y | w) p(w) / p(w | y) at any w."""
    model, _ = _program()
    evidence = _episode().evidence
    exact = ExactPosterior(model.prior, model.likelihood)
    x, y, w = evidence.support_x, evidence.support_y, torch.randn(T, D, dtype=D64)
    likelihood = model.likelihood.distribution(model.likelihood.logits(w[:, None], x)).log_prob(y).sum(-1)
    expected = likelihood + model.prior.distribution(None).log_prob(w) - exact.posterior(x, y).log_prob(w)
    torch.testing.assert_close(exact.log_evidence(x, y), expected)


def test_the_predictive_of_the_exact_posterior_is_a_ratio_of_evidences():
    """p(y* | d) = p(y*, d) / p(d), point by point."""
    model, _ = _program()
    episode = _episode()
    evidence, exact = episode.evidence, ExactPosterior(model.prior, model.likelihood)
    x, y = evidence.support_x, evidence.support_y
    found = exact.predictive(exact.posterior(x, y), evidence.query_x).log_prob(episode.query_y)[:, 0]
    both = exact.log_evidence(torch.cat([x, evidence.query_x[:, :1]], 1), torch.cat([y, episode.query_y[:, :1]], 1))
    torch.testing.assert_close(found, both - exact.log_evidence(x, y))


@pytest.mark.parametrize("kl_step", ["explicit", "implicit"])
def test_true_gradient_steps_converge_to_the_exact_mean(kl_step):
    """With kl = D / Q, eq. (8) over the labels descends to the mean of Bayesian linear regression."""
    distances = []
    for steps in (1, 30, 3000):
        torch.manual_seed(0)
        model, guide = _program("exact-gradient", steps=steps, step_size=0.03, kl_step=kl_step)
        episode = _episode()
        exact = ExactPosterior(model.prior, model.likelihood)
        expected = exact.posterior(episode.evidence.query_x, episode.query_y).mean
        with torch.no_grad():
            found = guide.iterates(guide.sees(episode))[-1].loc[:, 0]
            distances.append(float((found - expected).norm()))
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-4


def test_ridge_is_the_exact_mean_under_its_own_prior():
    model, _ = _program()
    evidence = _episode().evidence
    ridge = RidgeInitializer(TaskForm(D, 1), model.prior, 0.1).to(D64)
    p = model.prior.distribution(None)
    with torch.no_grad():
        ridge.loc.copy_(p.mean)
        ridge.log_gain.copy_((p.variance / model.likelihood.sigma.square()).log())
    exact = ExactPosterior(model.prior, model.likelihood)
    expected = exact.posterior(evidence.support_x, evidence.support_y).mean
    torch.testing.assert_close(ridge(evidence).loc[:, 0], expected)


@pytest.mark.parametrize("guide", VALUE_GUIDES)
@pytest.mark.parametrize("closed_kl", [False, True])
def test_the_elbo_equals_plain_torch(guide, closed_kl):
    model, q = _program(guide, kl=0.3 * D)
    episode = _episode()
    evidence = episode.evidence
    torch.manual_seed(5)
    w = poutine.trace(q).get_trace(episode).nodes["w"]["value"]
    torch.manual_seed(5)
    elbo = (TraceMeanField_ELBO if closed_kl else Trace_ELBO)(max_plate_nesting=2)
    loss = elbo.differentiable_loss(model, q, episode)

    theta = q.iterates(q.sees(episode))[-1]
    posterior = Independent(Normal(theta.loc, theta.log_scale.exp()), 1)
    prior = Independent(Normal(model.prior.loc, model.prior.log_scale.exp()), 1)
    kl = kl_divergence(posterior, prior) if closed_kl else posterior.log_prob(w) - prior.log_prob(w)
    sigma = model.likelihood.log_sigma.exp()
    residual = episode.query_y - (evidence.query_x * w).sum(-1)
    nll = 0.5 * (residual / sigma).square() + sigma.log() + 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=D64))
    torch.testing.assert_close(loss, nll.mean() + 0.3 * kl.sum(-1).mean())


def test_the_literal_elbo_is_below_the_log_evidence_and_touches_it():
    """kl = D / Q makes Q times the loss minus the ELBO of the queries' labels; tight for the exact q."""
    model, _ = _program(kl=D / Q)
    episode = _episode()
    x, y = episode.evidence.query_x, episode.query_y
    exact = ExactPosterior(model.prior, model.likelihood)
    q: MultivariateNormal = exact.posterior(x, y)
    w = q.sample((7,))
    ratio = model.prior.distribution(None).log_prob(w) - q.log_prob(w)
    likelihood = model.likelihood.distribution(model.likelihood.logits(w[:, :, None], x)).log_prob(y).sum(-1)
    torch.testing.assert_close(likelihood + ratio, exact.log_evidence(x, y).expand(7, T))
    _, guide = _program("exact-gradient")
    loss = TraceMeanField_ELBO(max_plate_nesting=2).differentiable_loss(model, guide, episode)
    assert -Q * float(loss.detach()) < float(exact.log_evidence(x, y).mean().detach())


@pytest.mark.parametrize("guide", VALUE_GUIDES)
def test_every_guide_runs_on_one_class_of_values(guide):
    model, q = _program(guide, initializer="ridge", step_samples=2)
    q.train()
    episode = _episode()
    Trace_ELBO(max_plate_nesting=2).differentiable_loss(model, q, episode).backward()
    for name, p in q.named_parameters():
        assert p.grad is not None, name
        assert p.grad.abs().sum() > 0, name
    assert model.likelihood.log_sigma.grad is not None
    simulated = Predictive(model, num_samples=6, parallel=True)(episode.evidence)
    assert simulated["y"].shape == (6, T, Q)


def test_xi_of_one_output_sees_neither_labels_nor_other_queries():
    _, guide = _program("sib")
    episode = _episode()
    outputs = torch.randn(T, Q, 1, dtype=D64)
    gradient = guide.output_gradient(outputs, None, episode.evidence)
    assert gradient.shape == (T, Q, 1)
    changed = outputs.clone()
    changed[:, 0] += 1
    after = guide.output_gradient(changed, None, episode.evidence)
    assert torch.equal(after[:, 1:], gradient[:, 1:])
    assert not torch.equal(after[:, 0], gradient[:, 0])
    other = replace(episode, query_y=episode.query_y + 1)
    assert torch.equal(guide.posterior(guide.sees(other)).mean, guide.posterior(guide.sees(episode)).mean)
