"""Psi latent under a hyper-prior: the Pyro program against a plain-torch computation, in float64."""

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import Independent, Normal, kl_divergence

from pyro_sib.errors import InputError
from pyro_sib.inference.guide import as_distribution
from pyro_sib.objective import ObjectiveWeights
from tests.worlds import FEATURES, make_world, psi_attached

D64 = torch.float64
HYPER = {"psi_loc": (0.0, FEATURES**-0.5), "psi_log_scale": (-0.5 * torch.tensor(FEATURES).double().log(), 1.0)}


def _q_psi(prior) -> dict[str, Normal]:
    return {
        "psi_loc": Normal(prior.loc, prior.loc_log_scale.exp()),
        "psi_log_scale": Normal(prior.log_scale, prior.log_scale_log_scale.exp()),
    }


def _noise(world, episode, particles) -> dict[str, torch.Tensor]:
    """What the guide drew, with particles in front."""
    torch.manual_seed(5)
    with pyro.plate("particles", particles, dim=-3):
        nodes = poutine.trace(world.guide).get_trace(episode).nodes
    theta = world.guide.iterates(episode.evidence)[-1]
    q = {"w": Normal(theta.loc, theta.log_scale.exp()), **_q_psi(world.prior)}
    noise = {name: ((nodes[name]["value"] - q[name].loc) / q[name].scale).detach() for name in q}
    if episode.evidence.joint:
        noise["w_base"] = nodes["w_base"]["value"]
    return noise


def _psi(world, noise) -> tuple[dict[str, torch.Tensor], dict[str, Normal]]:
    q = _q_psi(world.prior)
    return {name: q[name].loc + q[name].scale * noise[name] for name in q}, q


def _plain_loss(world, episode, noise, closed_kl) -> torch.Tensor:
    """Mean over particles, tasks and queries; psi's KL is spread over all tasks of the training."""
    theta = world.guide.iterates(episode.evidence)[-1]
    psi, q_psi = _psi(world, noise)
    q_w = Normal(theta.loc, theta.log_scale.exp())
    w = q_w.loc + q_w.scale * noise["w"]
    p_w = Normal(psi["psi_loc"], psi["psi_log_scale"].exp())
    kl_w = kl_divergence(q_w, p_w) if closed_kl else q_w.log_prob(w) - p_w.log_prob(w)
    kl_psi = 0.0
    for name, (loc, scale) in HYPER.items():
        p = Normal(torch.as_tensor(loc, dtype=D64), torch.as_tensor(scale, dtype=D64))
        each = kl_divergence(q_psi[name], p)
        if not closed_kl:
            each = q_psi[name].log_prob(psi[name]) - p.log_prob(psi[name])
            each = each.flatten(0, -2).mean(0)
        kl_psi = kl_psi + each.sum()
    weights = torch.cat([noise["w_base"], w], dim=-2) if episode.evidence.joint else w
    cosine = F.normalize(episode.evidence.query_x, dim=-1) @ F.normalize(weights, dim=-1).transpose(-1, -2)
    labels = episode.query_y.expand(cosine.shape[:-1])
    likelihood = F.cross_entropy((world.likelihood.scale * cosine).flatten(0, -2), labels.flatten())
    kl = world.kl
    return likelihood + kl * kl_w.sum((-1, -2)).mean() + kl * kl_psi / world.weights.tasks_in_all


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("closed_kl", [False, True])
def test_the_elbo_equals_plain_torch(joint, particles, closed_kl):
    world = make_world("hierarchical", joint, kl=0.03, dtype=D64, psi_through_steps=False, tasks_in_all=40)
    episode = world.source.episodes(torch.arange(4))
    noise = _noise(world, episode, particles)
    kind = TraceMeanField_ELBO if closed_kl else Trace_ELBO
    elbo = kind(num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=2)
    torch.manual_seed(5)
    loss = elbo.differentiable_loss(world.model, world.guide, episode)
    expected = _plain_loss(world, episode, noise, closed_kl)
    torch.testing.assert_close(loss, expected)
    parameters = [p for m in world.modules().values() for p in m.parameters()]
    ours = torch.autograd.grad(loss, parameters)
    for mine, theirs in zip(ours, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("particles", [1, 3])
def test_psi_learns_through_the_steps_too(particles):
    """Algorithm 1, line 10, with the KL at the draw of psi and the steps at its mean."""
    world = make_world("hierarchical", kl=0.05, dtype=D64, kl_step="explicit", tasks_in_all=40)
    episode = world.source.episodes(torch.arange(4))
    noise = _noise(world, episode, particles)
    elbo = TraceMeanField_ELBO(num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=2)
    torch.manual_seed(5)
    ours = torch.autograd.grad(
        elbo.differentiable_loss(world.model, world.guide, episode), list(world.prior.parameters())
    )
    psi, q_psi = _psi(world, noise)
    p_w = Independent(Normal(psi["psi_loc"], psi["psi_log_scale"].exp()), 1)
    kl_w = kl_divergence(as_distribution(world.guide.unroll(episode.evidence, psi_attached)[-1]), p_w)
    kl_psi = sum(kl_divergence(q_psi[name], Normal(*map(torch.as_tensor, HYPER[name]))).sum() for name in HYPER)
    expected = world.kl * (kl_w.sum(-1).mean() + kl_psi / 40)
    for mine, theirs in zip(ours, torch.autograd.grad(expected, list(world.prior.parameters())), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_psi_is_drawn_once_for_all_tasks_and_again_each_time():
    world = make_world("hierarchical")
    episode = world.source.episodes(torch.arange(4))
    traces = [poutine.trace(world.guide).get_trace(episode).nodes for _ in range(2)]
    for name in HYPER:
        assert traces[0][name]["value"].shape == (FEATURES,)
        assert not torch.equal(*(trace[name]["value"] for trace in traces))


def test_simulation_draws_psi_from_the_hyper_prior():
    world = make_world("hierarchical")
    evidence = world.source.episodes(torch.arange(2)).evidence
    draws = Predictive(world.model, num_samples=3000, parallel=True)(evidence)
    for name, (loc, scale) in HYPER.items():
        value = draws[name].reshape(3000, FEATURES)
        assert ((value.mean(0) - loc).abs() < 5 * scale / 3000**0.5).all()
        torch.testing.assert_close(value.std(0), torch.full((FEATURES,), float(scale)), rtol=0.08, atol=0)


def test_the_steps_and_evaluation_have_psi_at_its_mean():
    world = make_world("hierarchical", kl=0.05)
    evidence = world.source.episodes(torch.arange(3)).evidence
    assert torch.equal(world.guide.iterates(evidence)[-1].loc, world.guide.iterates(evidence)[-1].loc)
    p = world.prior.distribution(None)
    assert torch.equal(p.mean, world.prior.loc)
    torch.testing.assert_close(p.stddev, world.prior.log_scale.exp())


def test_weights_refuse_no_tasks():
    with pytest.raises(InputError, match="tasks_in_all 0"):
        ObjectiveWeights(tasks_in_all=0)
