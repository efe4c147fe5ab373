"""The steps walked in closed form give the numbers of the steps unrolled with autograd."""

from dataclasses import replace

import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_sib.inference import GUIDES, TaskForm
from pyro_sib.inference.guides.maml import MAMLGuide
from pyro_sib.inference.guides.sib import SIBGuide
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.inference.steps.synthetic_gradients import MLPGradient
from pyro_sib.inference.steps.unrolled import UnrolledGuide
from pyro_sib.models import LinearGaussian
from pyro_sib.types import GaussianParameters
from tests.worlds import BASE_CLASSES, FEATURES, make_world

D64 = torch.float64
CASES = [
    ("sib", "diagonal", 0.05, xi, initializer)
    for xi, initializer in [
        *((xi, "support") for xi in SYNTHETIC_GRADIENTS),
        *(("mlp", initializer) for initializer in ("global", "both", "attention")),
    ]
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


class _OwnScales(torch.nn.Module):
    """A lambda whose scales are each task's and class's own, as another's may be."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, evidence):
        loc, log_scale = self.inner(evidence)
        return GaussianParameters(loc, log_scale + 0.1 * loc.tanh())


@pytest.mark.parametrize("prior", ["diagonal", "isotropic"])
def test_scales_may_be_each_tasks_own(prior, monkeypatch):
    world, guide = world_of("sib", prior, 0.05, "mlp", "support", False)
    guide.initializer = _OwnScales(guide.initializer)
    loss, gradients = differentiated(world, guide)
    monkeypatch.setattr(type(guide), "closed_form", False)
    expected_loss, expected = differentiated(world, guide)
    torch.testing.assert_close(loss, expected_loss)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[parameter], msg=parameter)


def test_base_weights_that_psi_holds_are_reached_through_the_steps(monkeypatch):
    """By a prior with one bowl for the novel classes and weights of its own for the base ones."""
    world, guide = world_of("sib", "diagonal", 0.5, "mlp", "support", True)
    held = torch.nn.Parameter(world.prior.base_locs(torch.arange(BASE_CLASSES)[None])[0].clone())
    world.prior.register_parameter("held", held)
    monkeypatch.setattr(type(world.prior), "base_locs", lambda self, ids: self.held[ids])
    evidence = world.source.episodes(torch.arange(4)).evidence
    routes = []
    for closed in (True, False):
        monkeypatch.setattr(type(guide), "closed_form", closed)
        _, route = guide.fit(evidence, world.prior)
        routes.append(torch.autograd.grad(route.sum(), held)[0])
    assert routes[0].any()
    torch.testing.assert_close(*routes)


@pytest.mark.filterwarnings("ignore:.* was not registered in the param store because requires_grad=False")
@pytest.mark.parametrize("xi", ["mlp", "equivariant"])
def test_a_frozen_part_of_xi_leaves_the_others_gradients_as_they_were(xi):
    world, guide = world_of("sib", "diagonal", 0.05, xi, "support", False)
    episode = world.source.episodes(torch.arange(4))

    def gradients():
        guide.zero_grad()
        torch.manual_seed(4)
        Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, guide, episode).backward()
        return {name: p.grad for name, p in guide.named_parameters()}

    before = gradients()
    frozen = guide.xi.layers[0]
    frozen.requires_grad_(False)
    for name, gradient in gradients().items():
        if name.startswith("xi.layers.0."):
            assert gradient is None
        else:
            torch.testing.assert_close(gradient, before[name], msg=name)


class _OtherOutputs(SIBGuide):
    def output_gradient(self, outputs, base, evidence):
        return 5 * super().output_gradient(outputs, base, evidence)


class _OtherGradient(SIBGuide):
    def gradient(self, w, points, evidence, k):
        return 3 * super().gradient(w, points, evidence, k)


class _OwnParameter(MAMLGuide):
    """A temperature, learned."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.temperature = torch.nn.Parameter(torch.tensor(0.5, dtype=D64))

    def output_gradient(self, outputs, base, evidence):
        return self.temperature * super().output_gradient(outputs, base, evidence)


class _Squashed(MLPGradient):
    def forward(self, logits, base):
        return super().forward(logits, base).tanh()


class _Constant(torch.nn.Module):
    """Pushes each class as it always does, whatever the logits."""

    def __init__(self, trained):
        super().__init__()
        self.push = torch.nn.Parameter(torch.arange(3.0, dtype=D64), requires_grad=trained)

    def forward(self, logits, base):
        return self.push.expand_as(logits)


def _with_xi(xi):
    world, guide = world_of("sib", "diagonal", 0.05, "mlp", "support", False)
    guide.xi = xi.to(D64)
    return world, guide


def _of_class(kind):
    world, plain = world_of("sib", "diagonal", 0.05, "mlp", "support", False)
    form = TaskForm(FEATURES, 3, False, BASE_CLASSES)
    return world, kind(plain.settings, form, world.prior, world.likelihood, world.weights).to(D64).train()


def _deeper():
    xi = MLPGradient(3, False)
    xi.layers.insert(4, torch.nn.Linear(24, 24))
    return xi


@pytest.mark.filterwarnings("ignore:.* was not registered in the param store because requires_grad=False")
@pytest.mark.parametrize(
    "make",
    [
        lambda: _of_class(_OtherOutputs),
        lambda: _of_class(_OtherGradient),
        lambda: _of_class(_OwnParameter),
        lambda: _with_xi(_Squashed(3, False)),
        lambda: _with_xi(_deeper()),
        lambda: _with_xi(_Constant(trained=True)),
    ],
)
def test_what_a_user_has_written_trains_as_it_is_unrolled(make, monkeypatch):
    world, guide = make()
    loss, gradients = differentiated(world, guide)
    assert all(g is not None for name, g in gradients.items() if "temperature" in name or "push" in name)
    monkeypatch.setattr(type(guide), "closed_form", False)
    expected_loss, expected = differentiated(world, guide)
    torch.testing.assert_close(loss, expected_loss)
    for parameter, gradient in gradients.items():
        if gradient is not None and expected[parameter] is not None:
            torch.testing.assert_close(gradient, expected[parameter], msg=parameter)


def test_a_xi_that_nothing_moves_is_walked():
    world, guide = _with_xi(_Constant(trained=False))
    theta, _ = guide.fit(world.source.episodes(torch.arange(4)).evidence, world.prior)
    assert torch.isfinite(theta.loc).all()


def test_a_step_of_ones_own_is_not_walked():
    assert _of_class(_OtherOutputs)[1].closed_form
    assert not _of_class(_OtherGradient)[1].closed_form


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
    outputs, vjp = likelihood.vjp(w, x)
    pulled = vjp(gradient)
    torch.testing.assert_close(tape.outputs, outputs)
    torch.testing.assert_close(tape.vjp(gradient.detach()), pulled)
    of_outputs, of_pulled = torch.randn(3, 2, 5, 1, dtype=D64), torch.randn(3, 2, 1, 4, dtype=D64)
    of_gradient, of_w = tape.vjp_twice(of_pulled)
    assert not of_w.any()
    for c in range(3):
        (expected,) = torch.autograd.grad(outputs, w, of_outputs[c], retain_graph=True)
        torch.testing.assert_close(tape.vjp_many(of_outputs)[c], expected)
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


@pytest.mark.parametrize("initializer", ["support", "both", "ridge"])
def test_no_gradient_reaches_the_labeled_features_by_the_guide(initializer):
    """F learns through the likelihood of the queries alone (footnote 3)."""
    world, guide = world_of("sib", "diagonal", 0.05, "mlp", initializer, False)
    evidence = world.source.episodes(torch.arange(4)).evidence
    watched = replace(evidence, support_x=evidence.support_x.clone().requires_grad_())
    theta, _ = guide.fit(watched, world.prior)
    assert torch.autograd.grad(theta.loc.sum(), watched.support_x, allow_unused=True)[0] is None


def test_a_xi_that_changed_since_the_steps_is_noticed():
    """As autograd notices it: the gradient would be that of other steps."""
    world, guide = world_of("sib", "diagonal", 0.05, "mlp", "support", False)
    episode = world.source.episodes(torch.arange(4))
    loss = Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, guide, episode)
    with torch.no_grad():
        next(guide.xi.parameters()).mul_(1.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
