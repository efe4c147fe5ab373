"""The Pyro program against a plain-torch computation of eq. (4), in float64."""

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import Independent, Normal, TransformedDistribution, kl_divergence

from pyro_sib.models import PRIORS
from tests.worlds import BASE_CLASSES, make_world

CASES = [(prior, joint, False) for prior in PRIORS if prior != "hierarchical" for joint in (False, True)]
CASES.append(("mixture", True, True))


def _base_posterior(world, ids):
    """Mean and standard deviation of q(w_base), each (T, B', D); constants where the draws teach nothing."""
    prior = world.prior
    m, r = prior.base_locs(ids), prior.base_log_scales[ids].exp()
    return (m, r) if world.weights.base_to_psi else (m.detach(), r.detach())


def _noise(world, episode):
    """What the guide draws: standard normal for w and a mixture's w_base, the value itself for a point mass."""
    torch.manual_seed(5)
    nodes = poutine.trace(world.guide).get_trace(episode).nodes
    theta = world.guide.iterates(episode.evidence)[-1]
    noise = {"w": ((nodes["w"]["value"] - theta.loc) / theta.log_scale.exp()).detach()}
    if "w_base" in nodes:
        value = nodes["w_base"]["value"]
        if world.prior.needs_base_classes:
            m, r = _base_posterior(world, episode.evidence.base_ids)
            value = (value - m) / r
        noise["w_base"] = value.detach()
    return noise


def _plain_loss(world, episode, noise, closed_kl):
    """mean_t [ mean_i -log p(y_i | x_i, w) + kl * (log q(w) - log p(w), or the closed form) ], and w_base's KL."""
    evidence = episode.evidence
    theta = world.guide.iterates(evidence)[-1]
    q = Independent(Normal(theta.loc, theta.log_scale.exp()), 1)
    w = theta.loc + theta.log_scale.exp() * noise["w"]
    p = world.prior.distribution(evidence.base_ids)
    closed = closed_kl and not isinstance(p, TransformedDistribution)
    divergence = kl_divergence(q, p) if closed else q.log_prob(w) - p.log_prob(w)
    weights, of_base = w, 0.0
    if evidence.joint:
        w_base = noise["w_base"]
        if world.prior.needs_base_classes:
            m, r = _base_posterior(world, evidence.base_ids)
            w_base = m + r * w_base
            mu, s = world.prior.locs[evidence.base_ids], world.prior.log_scales[evidence.base_ids].exp()
            each = kl_divergence(Normal(m, r), Normal(mu, s))
            if not closed_kl:
                each = Normal(m, r).log_prob(w_base) - Normal(mu, s).log_prob(w_base)
            # Each class once over the stream: here as a mean over the tasks that know it.
            share = evidence.base_ids.shape[1] / BASE_CLASSES
            of_base = each.sum() / (share * evidence.tasks * world.weights.tasks_in_all)
        weights = torch.cat([w_base, w], dim=1)
    logits = (
        world.likelihood.scale
        * F.normalize(evidence.query_x, dim=-1)
        @ F.normalize(weights, dim=-1).transpose(1, 2)
    )
    likelihood = F.cross_entropy(logits.flatten(0, 1), episode.query_y.flatten())
    return likelihood + world.kl * (divergence.sum(-1).mean() + of_base)


def _same_gradients(ours, plain, parameters):
    """Both losses' gradients agree; returns them."""
    found = torch.autograd.grad(ours, parameters, allow_unused=True)
    expected = torch.autograd.grad(plain, parameters, allow_unused=True)
    for mine, theirs, parameter in zip(found, expected, parameters, strict=True):
        zero = torch.zeros_like(parameter)
        torch.testing.assert_close(zero if mine is None else mine, zero if theirs is None else theirs)
    return found


@pytest.mark.parametrize(("prior", "joint", "base_to_psi"), CASES)
@pytest.mark.parametrize("closed_kl", [False, True])
def test_the_elbo_equals_plain_torch(prior, joint, base_to_psi, closed_kl):
    world = make_world(
        prior, joint, kl=0.03, dtype=torch.float64, psi_through_steps=False, base_to_psi=base_to_psi, steps=1
    )
    episode = world.source.episodes(torch.arange(4))
    noise = _noise(world, episode)
    elbo = (TraceMeanField_ELBO if closed_kl else Trace_ELBO)(max_plate_nesting=2)
    torch.manual_seed(5)
    loss = elbo.differentiable_loss(world.model, world.guide, episode)
    expected = _plain_loss(world, episode, noise, closed_kl)
    torch.testing.assert_close(loss, expected)
    _same_gradients(loss, expected, [p for m in world.modules().values() for p in m.parameters()])


@pytest.mark.parametrize("base_to_psi", [False, True])
def test_with_kl_weight_zero_the_mixture_learns_through_its_base_draws_or_not_at_all(base_to_psi):
    world = make_world("mixture", True, kl=0.0, dtype=torch.float64, base_to_psi=base_to_psi)
    episode = world.source.episodes(torch.arange(4))
    noise = _noise(world, episode)
    torch.manual_seed(5)
    loss = Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, world.guide, episode)
    expected = _plain_loss(world, episode, noise, closed_kl=False)
    torch.testing.assert_close(loss, expected)
    names, parameters = zip(*world.prior.named_parameters(), strict=True)
    found = dict(zip(names, _same_gradients(loss, expected, parameters), strict=True))
    reached = {name for name, gradient in found.items() if gradient is not None and gradient.any()}
    assert reached == ({"locs", "base_log_scales"} if base_to_psi else set())


def test_both_elbos_agree_within_noise():
    """The drawn KLs of w and w_base have the closed forms as their means, up to the bound on the mixture's."""
    world = make_world("mixture", True, kl=1.0, dtype=torch.float64, tasks_in_all=1, initial_scale=0.5)
    with torch.no_grad():  # components far apart, where the bound is tight
        world.prior.locs.mul_(30)
        world.guide.initializer.weight.mul_(30)
    episode = world.source.episodes(torch.arange(4))
    losses = {}
    for kind in (Trace_ELBO, TraceMeanField_ELBO):
        elbo = kind(num_particles=400, vectorize_particles=True, max_plate_nesting=2)
        losses[kind] = torch.tensor([elbo.loss(world.model, world.guide, episode) for _ in range(5)])
    drawn, closed = losses.values()
    error = (drawn.var() / 5 + closed.var() / 5).sqrt()
    assert (drawn.mean() - closed.mean()).abs() < 5 * error + 1e-3 * closed.mean().abs()


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_a_task_leaves_the_classes_that_play_novel_alone(elbo):
    """Their components and their weights' posteriors have no part in its loss: no gradient, no say."""
    world = make_world("mixture", True, kl=0.03, dtype=torch.float64, base_to_psi=True)
    episode = world.source.episodes(torch.tensor([3]))
    known = episode.evidence.base_ids[0]
    out = torch.tensor(sorted(set(range(BASE_CLASSES)) - set(known.tolist())))
    assert len(out) == 3

    def loss():
        torch.manual_seed(5)
        return elbo(max_plate_nesting=2).differentiable_loss(world.model, world.guide, episode)

    before = loss()
    before.backward()
    for name, parameter in world.prior.named_parameters():
        assert parameter.grad[known].abs().sum(-1).all(), name
        assert not parameter.grad[out].any(), name
        with torch.no_grad():
            parameter[out] += 1.0
    torch.testing.assert_close(loss(), before)
    with torch.no_grad():
        world.prior.base_log_scales[known[0]] += 1.0
    assert (loss() - before).abs() > 1e-3


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("prior", list(PRIORS))
def test_kl_weight_zero_leaves_the_likelihood(prior, elbo):
    world = make_world(prior, True, kl=0.0, dtype=torch.float64)
    episode = world.source.episodes(torch.arange(4))
    loss = elbo(max_plate_nesting=2).differentiable_loss(world.model, world.guide, episode)
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in world.prior.parameters())
    assert 0 < float(loss.detach()) < 10


@pytest.mark.parametrize("prior", list(PRIORS))
def test_labels_may_be_absent_and_particles_broadcast(prior):
    world = make_world(prior, joint=True)
    episode = world.source.episodes(torch.arange(4))
    simulated = Predictive(world.model, num_samples=6, parallel=True)(episode.evidence)
    assert simulated["y"].shape == (6, 4, 18)
    assert int(simulated["y"].max()) < 6 + 3
    for kind in (Trace_ELBO, TraceMeanField_ELBO):
        elbo = kind(num_particles=5, vectorize_particles=True, max_plate_nesting=2)
        assert torch.isfinite(torch.tensor(elbo.loss(world.model, world.guide, episode)))
    predicted = Predictive(world.model, guide=world.guide, num_samples=7, parallel=True)(episode.evidence)
    assert predicted["y"].shape == (7, 4, 18)


def test_parameters_are_registered_with_pyro():
    world = make_world("diagonal")
    poutine.trace(world.guide).get_trace(world.source.episodes(torch.arange(2)))
    poutine.trace(world.model).get_trace(world.source.episodes(torch.arange(2)))
    names = set(pyro.get_param_store().keys())
    assert {"prior$$$loc", "prior$$$log_scale", "likelihood$$$log_scale", "guide$$$initializer.weight"} <= names
    assert any(name.startswith("guide$$$xi.") for name in names)


def test_the_class_left_out_in_training_is_absent_from_the_predictor():
    world = make_world("mixture", joint=True)
    episode = world.source.episodes(torch.arange(6))
    split, index = world.source.sampler.novel, world.source.sampler.sample(torch.arange(6))
    left_out = split.y[index.support]

    def logits():
        torch.manual_seed(2)
        trace = poutine.trace(world.guide).get_trace(episode)
        return poutine.trace(poutine.replay(world.model, trace)).get_trace(episode).nodes["y"]["fn"].logits

    before = logits()
    for task in range(6):
        assert not set(left_out[task].tolist()) & set(episode.evidence.base_ids[task].tolist())
    with torch.no_grad():
        for c in left_out[0].unique():
            for parameter in world.prior.parameters():
                parameter[c] += 5
    after = logits()
    torch.testing.assert_close(before[0], after[0], rtol=1e-4, atol=1e-4)
    assert (before[1:] - after[1:]).abs().max() > 0.1
