"""The fits of eq. (5): they arrive, and where they should."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import kl_divergence

from pyro_sib.inference import GUIDES
from pyro_sib.inference.evaluation import evidence_bound
from pyro_sib.inference.guide import as_distribution
from pyro_sib.inference.guides.fit import adam
from pyro_sib.types import GaussianParameters
from tests.worlds import make_world

NAMES = ("mean-field", "mean-field-oracle")


def _fit(name: str, world, **settings: object):
    settings = replace(world.guide.settings, **settings)
    guide = GUIDES[name](settings, world.guide.form, world.prior, world.likelihood, world.weights)
    return guide.eval()


def _gradients(guide, evidence, theta, steps: int) -> GaussianParameters:
    """Averaged over the draws of many steps."""
    x, y = guide.labeled(evidence)
    points = guide.likelihood.points(x)
    base = guide.base_logsumexp(evidence, points)
    with torch.no_grad():
        each = [guide.gradient(theta, evidence, points, y, base, 1000 + step) for step in range(steps)]
    return GaussianParameters(*(torch.stack(part).mean(0) for part in zip(*each, strict=True)))


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("prior", ["diagonal", "mixture"])
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_the_objective(name, prior, joint):
    world = make_world(prior, joint, kl=0.02, dtype=torch.float64)
    guide = _fit(name, world, step_samples=3)
    evidence = guide.sees(world.source.episodes(torch.arange(4)))
    x, y = guide.labeled(evidence)
    points = guide.likelihood.points(x)
    base = guide.base_logsumexp(evidence, points)
    theta = GaussianParameters(*(t.double().requires_grad_() for t in guide.iterates(evidence)[0]))
    ours = guide.gradient(theta, evidence, points, y, base, 5)

    w = theta.loc + guide._noise(theta, evidence, 5)
    w_base = world.prior.base_locs(evidence.base_ids).detach() if joint else None
    logits = world.likelihood.logits(w, x, w_base)
    labels = y + w_base.shape[1] if w_base is not None else y
    if joint and guide.oracle:
        # A query of a base class counts for all of them together: its own logit is no function of w.
        chosen = torch.where(labels < w_base.shape[1], torch.zeros_like(labels), labels)
        picked = logits.gather(-1, chosen.expand(logits.shape[:-1])[..., None]).squeeze(-1)
        nll = logits.logsumexp(-1) - picked
    else:
        nll = -logits.log_softmax(-1).gather(-1, labels.expand(logits.shape[:-1])[..., None]).squeeze(-1)
    kl = kl_divergence(as_distribution(theta), world.prior.distribution(evidence.base_ids))
    objective = nll.mean(-1).mean(0).sum() + world.kl * kl.sum()
    for mine, theirs in zip(ours, torch.autograd.grad(objective, theta), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_the_fit_is_a_stationary_point(name):
    world = make_world("diagonal", kl=0.02)
    guide = _fit(name, world, fit_steps=400, step_samples=16)
    evidence = guide.sees(world.source.episodes(torch.arange(4)))
    start, fit = guide.iterates(evidence)
    many = _fit(name, world, step_samples=500)
    before, after = (_gradients(many, evidence, theta, 20) for theta in (start, fit))
    for part in (0, 1):
        assert after[part].norm() < 0.08 * before[part].norm()


def test_without_the_kl_the_fit_is_a_point():
    world = make_world("diagonal", kl=0.0)
    guide = _fit("mean-field", world)
    start, fit = guide.iterates(world.source.episodes(torch.arange(4)).evidence)
    assert torch.equal(start.log_scale, fit.log_scale)
    assert not torch.allclose(start.loc, fit.loc, atol=0.1)


@pytest.mark.parametrize("joint", [False, True])
def test_the_oracle_reaches_a_higher_bound_than_the_support_fit_and_than_lambda(joint):
    kl = 0.02
    world = make_world("diagonal", joint, kl=kl)

    def bound(name: str) -> float:
        parts = evidence_bound(_fit(name, world), world.source, 20, draws=20)
        return parts.log_likelihood - kl * parts.kl

    oracle = bound("mean-field-oracle")
    assert oracle > bound("mean-field") + 0.02
    assert oracle > bound("init-only") + 0.02


def test_psi_learns_from_the_kl_at_the_fit():
    from pyro.infer import TraceMeanField_ELBO

    world = make_world("diagonal", kl=0.02)
    guide = _fit("mean-field", world)
    episode = world.source.episodes(torch.arange(4))
    loss = TraceMeanField_ELBO(max_plate_nesting=2).differentiable_loss(world.model, guide, episode)
    psi = list(world.prior.parameters())
    theta = guide.iterates(episode.evidence)[-1]
    kl = kl_divergence(as_distribution(theta), world.prior.distribution(None))
    expected = torch.autograd.grad(world.kl * kl.sum(-1).mean(), psi)
    for mine, theirs in zip(torch.autograd.grad(loss, psi), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_adam_is_torch_adam_with_a_falling_rate():
    start = torch.randn(4, 3, dtype=torch.float64)
    target = torch.randn(4, 3, dtype=torch.float64)
    ours = adam([start], lambda step, values: [values[0] - target], [0.1], 50)[0]
    theirs = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([theirs], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    for _ in range(50):
        optimizer.zero_grad()
        (0.5 * (theirs - target).square().sum()).backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(ours, theirs.detach())
