"""Guides against the exact posterior and evidence of Bayesian linear regression, in float64.

With kl = D / Q, Q times the loss is minus the ELBO of the queries' labels, so the guides that see them
approximate p(w | x, y), which is Gaussian with precision L = X^T X / sigma^2 + diag(1 / s^2). The best diagonal
Gaussian has its mean and the variances 1 / diag(L); the ELBO falls short of the log evidence by
KL(q || p) = (sum log diag(L) - log det L) / 2, which is zero where the columns of X are orthogonal.
"""

import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor

from pyro_sib.inference import GUIDES, Guide, GuideSettings, TaskForm
from pyro_sib.models import DiagonalPrior, EmpiricalBayes, ExactPosterior, LinearGaussian
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Episode, Evidence, GaussianParameters

T, M, Q, D = 3, 4, 12, 5
D64 = torch.float64


def _episode(orthogonal: bool) -> Episode:
    x = torch.randn(T, M + Q, D, dtype=D64)
    if orthogonal:
        sizes = torch.linspace(0.5, 2.5, D, dtype=D64)
        x[:, M:] = torch.linalg.qr(x[:, M:])[0] * sizes
    w = torch.randn(T, D, 1, dtype=D64)
    y = (x @ w).squeeze(-1) + 0.5 * torch.randn(T, M + Q, dtype=D64)
    return Episode(Evidence(x[:, :M], y[:, :M], x[:, M:], ways=1, task_ids=torch.arange(T)), y[:, M:])


def _program(name: str, **settings: object) -> tuple[EmpiricalBayes, Guide, ExactPosterior]:
    prior, likelihood = DiagonalPrior(D).to(D64), LinearGaussian(0.5).to(D64)
    with torch.no_grad():
        prior.loc.copy_(torch.linspace(-0.5, 0.5, D))
        prior.log_scale.copy_(torch.linspace(0.6, 1.4, D).log())
    chosen = GuideSettings(initializer="global", initial_scale=0.3, **settings)  # type: ignore[arg-type]
    weights = ObjectiveWeights(D / Q)
    guide = GUIDES[name](chosen, TaskForm(D, ways=1), prior, likelihood, weights).to(D64).eval()
    return EmpiricalBayes(prior, likelihood, weights), guide, ExactPosterior(prior, likelihood)


@torch.no_grad()
def _fit(guide: Guide, episode: Episode) -> GaussianParameters:
    loc, log_scale = guide.iterates(guide.sees(episode))[-1]
    return GaussianParameters(loc[:, 0], log_scale[:, 0])


def _elbo(model: EmpiricalBayes, guide: Guide, episode: Episode, loss: Trace_ELBO) -> float:
    """Of all queries of a task, the mean over tasks."""
    return -Q * float(loss.differentiable_loss(model, guide, episode).detach())


@torch.no_grad()
def _exact(exact: ExactPosterior, episode: Episode) -> tuple[Tensor, Tensor, float]:
    """Mean and precision of each task's posterior, and the mean log evidence."""
    x, y = episode.evidence.query_x, episode.query_y
    posterior = exact.posterior(x, y)
    return posterior.mean, posterior.precision_matrix, float(exact.log_evidence(x, y).mean())


@pytest.mark.parametrize("orthogonal", [False, True])
def test_mean_field_arrives_at_the_best_diagonal_gaussian(orthogonal):
    """Means within 1e-6, since mirrored draws cancel in a linear gradient; scales within 3%."""
    _, guide, exact = _program("mean-field-oracle", fit_steps=1500, step_samples=64)
    episode = _episode(orthogonal)
    mean, precision, _ = _exact(exact, episode)
    best = precision.diagonal(dim1=-2, dim2=-1).rsqrt()
    loc, log_scale = _fit(guide, episode)
    torch.testing.assert_close(loc, mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(log_scale.exp(), best, rtol=0.03, atol=0)


def test_mean_field_given_the_labeled_examples_arrives_at_their_posterior():
    """kl = D / Q over M examples is the posterior of the likelihood to the power Q / M; within 5%."""
    _, guide, exact = _program("mean-field", fit_steps=1500, step_samples=64)
    episode = _episode(orthogonal=False)
    x, y = episode.evidence.support_x, episode.evidence.support_y
    root = (Q / M) ** 0.5
    posterior = exact.posterior(root * x, root * y)
    best = posterior.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
    loc, log_scale = _fit(guide, episode)
    assert ((loc - posterior.mean).abs() < 0.05 * best).all()
    torch.testing.assert_close(log_scale.exp(), best, rtol=0.05, atol=0)


@pytest.mark.parametrize("kl_step", ["explicit", "implicit"])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_exact_gradient_steps_arrive_at_the_posterior_mean(orthogonal, kl_step):
    """Within 1e-6, at q's mean."""
    _, guide, exact = _program("exact-gradient", steps=2000, step_size=0.2, kl_step=kl_step)
    episode = _episode(orthogonal)
    loc, _ = _fit(guide, episode)
    torch.testing.assert_close(loc, _exact(exact, episode)[0], rtol=0, atol=1e-6)


def test_exact_gradient_steps_with_draws_arrive_at_the_best_scale_too():
    """Means within 10% of a standard deviation, scales within 10%: the last steps' draws remain in both."""
    settings = {"steps": 1500, "step_size": 0.02, "step_samples": 64, "kl_step": "explicit"}
    _, guide, exact = _program("exact-gradient", **settings)
    episode = _episode(orthogonal=False)
    mean, precision, _ = _exact(exact, episode)
    best = precision.diagonal(dim1=-2, dim2=-1).rsqrt()
    loc, log_scale = _fit(guide, episode)
    assert ((loc - mean).abs() < 0.1 * best).all()
    torch.testing.assert_close(log_scale.exp(), best, rtol=0.1, atol=0)


def test_where_the_posterior_is_diagonal_the_elbo_is_the_log_evidence():
    """Within 0.03 nats with one draw: at the exact q every draw gives log p(y, w) - log q(w) = log p(y)."""
    model, guide, exact = _program("mean-field-oracle", fit_steps=1500, step_samples=64)
    episode = _episode(orthogonal=True)
    evidence = _exact(exact, episode)[2]
    closed_kl = TraceMeanField_ELBO(num_particles=2000, max_plate_nesting=2, vectorize_particles=True)
    assert _elbo(model, guide, episode, Trace_ELBO(max_plate_nesting=2)) == pytest.approx(evidence, abs=0.03)
    assert _elbo(model, guide, episode, closed_kl) == pytest.approx(evidence, abs=0.1)


def test_elsewhere_the_elbo_falls_short_by_the_known_kl():
    """A gap of more than 0.3 nats, met within 0.05 nats."""
    model, guide, exact = _program("mean-field-oracle", fit_steps=1500, step_samples=64)
    episode = _episode(orthogonal=False)
    _, precision, evidence = _exact(exact, episode)
    log_diagonal = precision.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    gap = float(0.5 * (log_diagonal - torch.logdet(precision)).mean())
    assert gap > 0.3
    loss = Trace_ELBO(num_particles=4000, max_plate_nesting=2, vectorize_particles=True)
    assert _elbo(model, guide, episode, loss) == pytest.approx(evidence - gap, abs=0.05)
