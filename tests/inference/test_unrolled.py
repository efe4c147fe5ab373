"""What the unrolled steps do with gradients beyond those of phi: psi's route, and what stays out of reach."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from torch.distributions import kl_divergence

from pyro_sib.inference.guide import as_distribution
from pyro_sib.types import GaussianParameters
from tests.worlds import BASE_CLASSES, make_world, psi_attached

D64 = torch.float64


class _OwnScales(torch.nn.Module):
    """A lambda whose scales are each task's and class's own, as another's may be."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, evidence):
        loc, log_scale = self.inner(evidence)
        return GaussianParameters(loc, log_scale + 0.1 * loc.tanh())


def routes(world, psi):
    """psi's gradient by the route, and d KL / d theta^K . d theta^K / d psi by autograd with psi in the steps."""
    evidence = world.source.episodes(torch.arange(4)).evidence
    _, route = world.guide.train().fit(evidence, world.prior)
    theta = world.guide.unroll(evidence, psi_attached)[-1]
    # Of the KL's own psi nothing: the route is through theta alone.
    leaves = GaussianParameters(*(t.detach().requires_grad_() for t in theta))
    kl = kl_divergence(as_distribution(leaves), world.prior.distribution(evidence.base_ids)).sum()
    cotangents = torch.autograd.grad(kl, leaves)
    ours = torch.autograd.grad(route.sum(), psi, allow_unused=True, materialize_grads=True)
    return ours, torch.autograd.grad(theta, psi, cotangents, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("kl_step", ["explicit", "implicit"])
@pytest.mark.parametrize("prior", ["isotropic", "diagonal", "mixture", "low-rank"])
def test_the_route_to_psi_is_that_of_the_kl_through_the_steps(prior, kl_step):
    world = make_world(prior, kl=0.05, dtype=D64, steps=3, step_size=0.7, kl_step=kl_step)
    ours, expected = routes(world, list(world.prior.parameters()))
    assert any(e.any() for e in expected)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("prior", ["isotropic", "diagonal"])
def test_scales_may_be_each_tasks_own(prior):
    world = make_world(prior, kl=0.05, dtype=D64, steps=3, step_size=0.7)
    world.guide.initializer = _OwnScales(world.guide.initializer)
    ours, expected = routes(world, list(world.prior.parameters()))
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_base_weights_that_psi_holds_are_reached_through_the_steps(monkeypatch):
    """By a prior with one bowl for the novel classes and weights of its own for the base ones."""
    world = make_world("diagonal", joint=True, kl=0.5, dtype=D64, steps=3, step_size=0.7)
    held = torch.nn.Parameter(world.prior.base_locs(torch.arange(BASE_CLASSES)[None])[0].clone())
    world.prior.register_parameter("held", held)
    monkeypatch.setattr(type(world.prior), "base_locs", lambda self, ids: self.held[ids])
    (ours,), (expected,) = routes(world, [held])
    assert expected.any()
    torch.testing.assert_close(ours, expected)


def own_functions(end):
    """Weak references to the autograd functions written in Python behind a tensor."""
    found, left = set(), [end.grad_fn]
    while left:
        if (function := left.pop()) is not None and function not in found:
            found.add(function)
            left += [before for before, _ in function.next_functions]
    return [
        weakref.ref(function)
        for function in found
        if isinstance(function, torch.autograd.function.BackwardCFunction)
    ]


def test_what_a_step_kept_is_freed_with_its_theta():
    """At once, without a garbage collection: nothing in the graph holds itself."""
    world = make_world(kl=0.05, dtype=D64)
    evidence = world.source.episodes(torch.arange(4)).evidence
    gc.collect()
    gc.disable()
    try:
        theta, route = world.guide.train().fit(evidence, world.prior)
        functions = own_functions(theta.loc)
        assert all(f() is not None for f in functions)
        assert len(functions) == 4  # logits and their vector-Jacobian product, in two steps
        del theta, route
        assert not any(f() is not None for f in functions)
    finally:
        gc.enable()


@pytest.mark.parametrize("initializer", ["support", "both", "ridge"])
def test_no_gradient_reaches_the_labeled_features_by_the_guide(initializer):
    """F learns through the likelihood of the queries alone (footnote 3)."""
    world = make_world(kl=0.05, dtype=D64, initializer=initializer)
    evidence = world.source.episodes(torch.arange(4)).evidence
    watched = replace(evidence, support_x=evidence.support_x.clone().requires_grad_())
    theta, _ = world.guide.train().fit(watched, world.prior)
    assert torch.autograd.grad(theta.loc.sum(), watched.support_x, allow_unused=True)[0] is None
