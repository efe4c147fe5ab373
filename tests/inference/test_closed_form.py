"""The steps walked in closed form give the numbers of the steps unrolled with autograd."""

import pytest
import torch
from pyro.infer import Trace_ELBO

from inference import GUIDES, TaskForm
from inference.synthetic_gradients import SYNTHETIC_GRADIENTS
from inference.unrolled import UnrolledGuide
from models import LinearGaussian
from tests.worlds import BASE_CLASSES, FEATURES, make_world

D64 = torch.float64
CASES = [
    ("sib", "diagonal", 0.05, xi, initializer)
    for xi, initializer in [*((xi, "support") for xi in SYNTHETIC_GRADIENTS), ("mlp", "global"), ("mlp", "both")]
]
CASES += [("sib", prior, 0.05, "mlp", "support") for prior in ("isotropic", "hierarchical", "fixed-normal")]
CASES += [(name, "diagonal", 0.05, "mlp", "support") for name in ("maml", "exact-gradient")]
CASES += [("sib", "mixture", 0.0, "mlp", "support"), ("sib", "diagonal", 50.0, "mlp", "support")]


def world_of(name, prior, kl, xi, initializer, joint, **sib):
    world = make_world(
        prior, joint, kl, D64, synthetic_gradient=xi, initializer=initializer, steps=3, step_size=0.7, **sib
    )
    form = TaskForm(FEATURES, 3, joint, BASE_CLASSES)
    guide = GUIDES[name](world.guide.settings, form, world.prior, world.likelihood, world.weights).to(D64)
    return world, guide.train()


def differentiated(world, guide):
    """The loss, and its gradients by parameter."""
    parameters = {f"guide.{n}": p for n, p in guide.named_parameters()}
    parameters |= {f"prior.{n}": p for n, p in world.prior.named_parameters()}
    torch.manual_seed(4)
    episode = world.source.episodes(torch.arange(4))
    loss = Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, guide, episode)
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return loss.detach(), dict(zip(parameters, gradients, strict=True))


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("name", "prior", "kl", "xi", "initializer"), CASES)
def test_loss_and_gradients_are_those_of_autograd(name, prior, kl, xi, initializer, joint, monkeypatch):
    world, guide = world_of(name, prior, kl, xi, initializer, joint)
    assert guide.closed_form
    loss, gradients = differentiated(world, guide)
    monkeypatch.setattr(type(guide), "closed_form", False)
    expected_loss, expected = differentiated(world, guide)
    torch.testing.assert_close(loss, expected_loss)
    for parameter, gradient in gradients.items():
        if gradient is None:
            assert expected[parameter] is None, parameter
        else:
            torch.testing.assert_close(gradient, expected[parameter], msg=parameter)


@pytest.mark.parametrize(
    "bad",
    [
        {"step_samples": 2},
        {"kl_step": "explicit"},
        {"support_gradient": True},
        {"prior": "mixture"},
        {"prior": "low-rank"},
        {"prior": "flow"},
        {"name": "maml-first-order"},
    ],
)
def test_what_the_closed_form_does_not_cover_is_left_to_autograd(bad):
    name, prior = bad.pop("name", "sib"), bad.pop("prior", "diagonal")
    _, guide = world_of(name, prior, 0.05, "mlp", "support", False, **bad)
    assert isinstance(guide, UnrolledGuide)
    assert not guide.closed_form


def test_the_ways_back_of_a_linear_likelihood_are_those_of_autograd():
    x, w = torch.randn(2, 5, 4, dtype=D64), torch.randn(2, 1, 4, dtype=D64, requires_grad=True)
    gradient = torch.randn(2, 5, 1, dtype=D64, requires_grad=True)
    likelihood = LinearGaussian()
    tape = likelihood.tape(w.detach(), x)
    outputs, pull_back = likelihood.pull_back(w, x)
    pulled = pull_back(gradient)
    torch.testing.assert_close(tape.outputs, outputs)
    torch.testing.assert_close(tape.pull_back(gradient.detach()), pulled)
    of_outputs, of_pulled = torch.randn(3, 2, 5, 1, dtype=D64), torch.randn(3, 2, 1, 4, dtype=D64)
    of_gradient, of_w = tape.pull_twice(of_pulled)
    assert not of_w.any()
    for c in range(3):
        (expected,) = torch.autograd.grad(outputs, w, of_outputs[c], retain_graph=True)
        torch.testing.assert_close(tape.pull(of_outputs)[c], expected)
        (expected,) = torch.autograd.grad(pulled, gradient, of_pulled[c], retain_graph=True)
        torch.testing.assert_close(of_gradient[c], expected)


def test_what_a_step_kept_is_freed_with_its_theta():
    import gc
    import weakref

    world, guide = world_of("sib", "diagonal", 0.05, "mlp", "support", False)
    gc.collect()
    gc.disable()
    try:
        theta, route = guide.fit(world.source.episodes(torch.arange(4)).evidence, world.prior)
        end = weakref.ref(theta.loc.grad_fn)
        assert end() is not None
        del theta, route
        assert end() is None
    finally:
        gc.enable()
