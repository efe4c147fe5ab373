"""The Pyro program against a plain-torch computation of eq. (4), in float64."""

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import Independent, Normal, TransformedDistribution, kl_divergence

from models import PRIORS
from tests.worlds import make_world

CASES = [(prior, joint) for prior in PRIORS if prior != "hierarchical" for joint in (False, True)]


def _plain_loss(world, episode, noise, closed_kl):
    """mean_t [ mean_i -log p(y_i | x_i, w) + kl * (log q(w) - log p(w), or the closed form) ]."""
    evidence = episode.evidence
    theta = world.guide.iterates(evidence)[-1]
    q = Independent(Normal(theta.loc, theta.log_scale.exp()), 1)
    w = theta.loc + theta.log_scale.exp() * noise["w"]
    p = world.prior.distribution(evidence.base_ids)
    closed_kl = closed_kl and not isinstance(p, TransformedDistribution)
    divergence = kl_divergence(q, p) if closed_kl else q.log_prob(w) - p.log_prob(w)
    weights = w
    if evidence.joint:
        weights = torch.cat([noise["w_base"], w], dim=1)
    logits = (
        world.likelihood.scale
        * F.normalize(evidence.query_x, dim=-1)
        @ F.normalize(weights, dim=-1).transpose(1, 2)
    )
    likelihood = F.cross_entropy(logits.flatten(0, 1), episode.query_y.flatten())
    return likelihood + world.weights.kl * divergence.sum(-1).mean()


@pytest.mark.parametrize(("prior", "joint"), CASES)
@pytest.mark.parametrize("closed_kl", [False, True])
def test_the_elbo_equals_plain_torch(prior, joint, closed_kl):
    world = make_world(prior, joint, kl=0.03, dtype=torch.float64, psi_through_steps=False)
    episode = world.source.episodes(torch.arange(4))
    elbo = (TraceMeanField_ELBO if closed_kl else Trace_ELBO)(max_plate_nesting=2)
    parameters = [p for m in world.modules().values() for p in m.parameters()]

    torch.manual_seed(5)
    trace = poutine.trace(world.guide).get_trace(episode)
    theta = world.guide.iterates(episode.evidence)[-1]
    noise = {"w": ((trace.nodes["w"]["value"] - theta.loc) / theta.log_scale.exp()).detach()}
    if joint:
        noise["w_base"] = trace.nodes["w_base"]["value"].detach()
    torch.manual_seed(5)
    loss = elbo.differentiable_loss(world.model, world.guide, episode)
    expected = _plain_loss(world, episode, noise, closed_kl)
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, parameters, allow_unused=True)
    plain = torch.autograd.grad(expected, parameters, allow_unused=True)
    for mine, theirs, parameter in zip(ours, plain, parameters, strict=True):
        zero = torch.zeros_like(parameter)
        torch.testing.assert_close(zero if mine is None else mine, zero if theirs is None else theirs)


@pytest.mark.parametrize("kl", [0.0, 0.03])
def test_psi_may_learn_from_the_base_classes_through_their_draws(kl):
    gradients = {}
    for base_to_psi in (False, True):
        world = make_world(
            "mixture", True, kl, torch.float64, psi_through_steps=False, base_to_psi=base_to_psi, steps=1
        )
        episode = world.source.episodes(torch.arange(4))
        torch.manual_seed(5)
        drawn = poutine.trace(world.guide).get_trace(episode).nodes
        theta = world.guide.iterates(episode.evidence)[-1]
        noise = {"w": ((drawn["w"]["value"] - theta.loc) / theta.log_scale.exp()).detach()}
        base = world.prior.base_distribution(episode.evidence.joint_base_ids).base_dist
        epsilon = ((drawn["w_base"]["value"] - base.loc) / base.scale).detach()
        noise["w_base"] = base.loc + base.scale * epsilon
        if not base_to_psi:
            noise["w_base"] = noise["w_base"].detach()
        torch.manual_seed(5)
        loss = Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, world.guide, episode)
        expected = _plain_loss(world, episode, noise, closed_kl=False)
        torch.testing.assert_close(loss, expected)
        psi = list(world.prior.parameters())
        for mine, theirs in zip(
            torch.autograd.grad(loss, psi, allow_unused=True),
            torch.autograd.grad(expected, psi, allow_unused=True),
            strict=True,
        ):
            zero = torch.zeros_like(psi[0])
            torch.testing.assert_close(zero if mine is None else mine, zero if theirs is None else theirs)
            gradients[base_to_psi] = mine
    assert gradients[True].any()
    assert gradients[False] is None or not torch.equal(*gradients.values())


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
    trace = poutine.trace(world.model).get_trace(episode)
    before = trace.nodes["y"]["fn"].logits
    replay = poutine.replay(world.model, trace=trace)
    for task in range(6):
        assert not set(left_out[task].tolist()) & set(episode.evidence.base_ids[task].tolist())
    with torch.no_grad():
        for c in left_out[0].unique():
            world.prior.locs[c] += 5
    after = poutine.trace(replay).get_trace(episode).nodes["y"]["fn"].logits
    assert torch.equal(before[0], after[0])
