"""One conformance suite for every guide, and what is special to SIB."""

import inspect
from dataclasses import fields, replace

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.distributions import kl_divergence

from pyro_sib.cosine import cosine_logits, unit
from pyro_sib.errors import InputError
from pyro_sib.inference import GUIDES, GuideSettings, TaskForm, learner_named
from pyro_sib.inference.guide import Guide, as_distribution
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.inference.steps.synthetic_gradients import make_synthetic_gradient
from pyro_sib.types import Episode, Evidence, GaussianParameters
from tests.worlds import BASE_CLASSES, FEATURES, make_world, psi_attached

PRIORS = ("isotropic", "diagonal", "mixture", "low-rank")
D64 = torch.float64


def _guide(name: str, joint: bool, **sib: object):
    world = make_world("mixture", joint, **{"fit_steps": 40, **sib})
    settings = replace(world.guide.settings)
    form = TaskForm(FEATURES, 3, joint, BASE_CLASSES)
    guide = GUIDES[name](settings, form, world.prior, world.likelihood, world.weights)
    return world, guide.eval()


def _permuted(episode: Episode, order: torch.Tensor) -> Episode:
    evidence = replace(episode.evidence, query_x=episode.evidence.query_x[:, order])
    return Episode(evidence, episode.query_y[:, order])


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("name", list(GUIDES))
class TestConformance:
    def test_posterior_has_one_gaussian_a_class(self, name, joint):
        world, guide = _guide(name, joint)
        q = guide.posterior(guide.sees(world.source.episodes(torch.arange(4))))
        assert q.batch_shape == (4, 3)
        assert q.event_shape == (FEATURES,)

    def test_batched_equals_one_by_one(self, name, joint):
        world, guide = _guide(name, joint, step_samples=3)
        whole = guide.iterates(guide.sees(world.source.episodes(torch.arange(5))))[-1]
        for task in range(5):
            one = guide.iterates(guide.sees(world.source.episodes(torch.tensor([task]))))[-1]
            torch.testing.assert_close(one.loc[0], whole.loc[task], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(one.log_scale[0], whole.log_scale[task], rtol=1e-4, atol=1e-6)

    def test_what_is_found_alone_is_the_last_iterate(self, name, joint):
        world, guide = _guide(name, joint)
        evidence = guide.sees(world.source.episodes(torch.arange(3)))
        for alone, last in zip(guide.final(evidence), guide.iterates(evidence)[-1], strict=True):
            assert torch.equal(alone, last)

    def test_permuting_the_queries_permutes_their_predictions_only(self, name, joint):
        world, guide = _guide(name, joint)
        episode = world.source.episodes(torch.arange(4))
        order = torch.randperm(episode.evidence.queries)
        a, b = guide.sees(episode), guide.sees(_permuted(episode, order))
        torch.testing.assert_close(guide.iterates(a)[-1].loc, guide.iterates(b)[-1].loc, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(guide.probabilities(a, 0)[0][:, order], guide.probabilities(b, 0)[0])

    def test_every_parameter_gets_a_gradient(self, name, joint):
        world, guide = _guide(name, joint, step_samples=2)
        guide.train()
        episode = world.source.episodes(torch.arange(8))
        Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, guide, episode).backward()
        for parameter, p in guide.named_parameters():
            assert p.grad is not None, parameter
            assert p.grad.abs().sum() > 0, parameter

    def test_labels_of_queries_are_out_of_reach(self, name, joint):
        """By type: a guide takes Evidence, which holds no query label; an oracle says that it is one."""
        world, guide = _guide(name, joint)
        assert inspect.signature(guide.iterates).parameters["evidence"].annotation is Evidence
        assert inspect.signature(Guide.posterior).parameters["evidence"].annotation is Evidence
        assert "query_y" not in {f.name for f in fields(Evidence)}
        episode = world.source.episodes(torch.arange(4))
        flipped = replace(episode, query_y=episode.query_y.flip(1))
        a, b = guide.posterior(guide.sees(episode)), guide.posterior(guide.sees(flipped))
        assert torch.equal(a.mean, b.mean) != guide.oracle

    def test_features_are_detached(self, name, joint):
        world, guide = _guide(name, joint)
        evidence = guide.sees(world.source.episodes(torch.arange(2)))
        evidence = replace(evidence, query_x=evidence.query_x.clone().requires_grad_())
        loc = guide.iterates(evidence)[-1].loc
        if loc.requires_grad:
            loc.sum().backward()
        assert evidence.query_x.grad is None


def test_each_guides_first_line_serves_in_a_listing():
    lines = [(guide.__doc__ or "").splitlines()[0] for guide in GUIDES.values()]
    assert all(line.endswith(".") for line in lines)
    assert len(set(lines)) == len(lines)


def test_no_steps_gives_lambda():
    world = make_world(steps=0)
    evidence = world.source.episodes(torch.arange(3)).evidence
    theta = world.guide.posterior(evidence)
    start = world.guide.initializer(evidence)
    assert torch.equal(theta.mean, start.loc)
    torch.testing.assert_close(theta.stddev, start.expanded().log_scale.exp())


def test_lambda_is_the_scaled_class_mean():
    world = make_world(steps=0)
    evidence = world.source.episodes(torch.arange(3)).evidence
    with torch.no_grad():
        world.guide.initializer.weight.copy_(torch.arange(1.0, FEATURES + 1))
    first = unit(evidence.support_x[1][evidence.support_y[1] == 2]).mean(0) * torch.arange(1.0, FEATURES + 1)
    torch.testing.assert_close(world.guide.initializer(evidence).loc[1, 2], first)


def _autograd_step(world, evidence: Evidence, theta: GaussianParameters, noise, k: int, base) -> GaussianParameters:
    """Eq. (9) by autograd: a surrogate whose gradient in the logits is xi, plus the weighted KL."""
    loc, log_scale = (t.detach().requires_grad_() for t in theta)
    w = loc + log_scale.exp() * noise
    logits = cosine_logits(evidence.query_x, w, world.likelihood.scale.detach())
    given = None if base is None else base.expand(*logits.shape[:-1], 1)
    x = unit(evidence.query_x)
    more = (x @ x.transpose(-1, -2),) if getattr(world.guide.xi, "wants_likeness", False) else ()
    synthetic = world.guide.xi(logits, given, *more).detach()
    surrogate = (synthetic * logits).sum(-1).mean(-1).mean(0).sum()
    kl = kl_divergence(
        as_distribution(GaussianParameters(loc, log_scale)), world.prior.distribution(evidence.base_ids)
    )
    objective = surrogate + world.kl * kl.sum()
    grads = torch.autograd.grad(objective, (loc, log_scale))
    eta = world.guide.log_step_size.exp()[k]
    return GaussianParameters(loc - eta * grads[0], log_scale - eta * grads[1])


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("xi", list(SYNTHETIC_GRADIENTS))
@pytest.mark.parametrize("samples", [0, 3])
def test_the_closed_form_steps_equal_autograd(prior, joint, xi, samples):
    world = make_world(
        prior, joint, kl=0.02, dtype=D64, synthetic_gradient=xi, step_samples=samples, kl_step="explicit"
    )
    evidence = world.source.episodes(torch.arange(4)).evidence
    base = None
    if joint:
        logits = cosine_logits(evidence.query_x, world.prior.base_locs(evidence.base_ids), world.likelihood.scale)
        base = torch.logsumexp(logits, -1, keepdim=True).detach()
    torch.manual_seed(2)
    thetas = world.guide.iterates(evidence)
    torch.manual_seed(2)
    for k in range(2):
        shape = (samples, *thetas[k].loc.shape)
        noise = torch.randn(shape).to(D64) if samples else torch.zeros(1, *thetas[k].loc.shape, dtype=D64)
        expected = _autograd_step(world, evidence, thetas[k], noise, k, base)
        torch.testing.assert_close(thetas[k + 1].loc, expected.loc)
        if samples:
            torch.testing.assert_close(thetas[k + 1].log_scale, expected.log_scale)


def test_the_implicit_step_tends_to_the_explicit_one_and_never_explodes():
    ends = {}
    for kl in (1e-8, 1.0):
        for kind in ("explicit", "implicit"):
            world = make_world("diagonal", kl=kl, dtype=D64, kl_step=kind, steps=3)
            ends[kl, kind] = world.guide.iterates(world.source.episodes(torch.arange(3)).evidence)[-1]
    for part in (0, 1):
        torch.testing.assert_close(ends[1e-8, "explicit"][part], ends[1e-8, "implicit"][part], rtol=1e-4, atol=1e-7)
    assert ends[1.0, "implicit"].loc.abs().max() < 10
    assert ends[1.0, "explicit"].loc.abs().max() > 10


@pytest.mark.parametrize("prior", PRIORS)
def test_psi_learns_from_the_kl_alone(prior):
    """Algorithm 1, line 10: the gradient of psi is that of KL(q_{theta^K(psi)} || p_psi), nothing else."""
    world = make_world(prior, kl=0.05, dtype=D64, kl_step="explicit")
    episode = world.source.episodes(torch.arange(4))
    psi = list(world.prior.parameters())
    from pyro.infer import TraceMeanField_ELBO

    loss = TraceMeanField_ELBO(max_plate_nesting=2).differentiable_loss(world.model, world.guide, episode)
    ours = torch.autograd.grad(loss, psi, allow_unused=True, materialize_grads=True)

    theta = world.guide.unroll(episode.evidence, psi_attached)[-1]
    kl = kl_divergence(as_distribution(theta), world.prior.distribution(episode.evidence.base_ids))
    total = world.kl * kl.sum(-1).mean()
    expected = torch.autograd.grad(total, psi, allow_unused=True, materialize_grads=True)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_route_to_psi_changes_neither_loss_nor_phi():
    losses, gradients = [], []
    for through in (False, True):
        world = make_world("diagonal", kl=0.05, dtype=D64, psi_through_steps=through)
        torch.manual_seed(3)
        loss = Trace_ELBO(max_plate_nesting=2).differentiable_loss(
            world.model, world.guide, world.source.episodes(torch.arange(4))
        )
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, list(world.guide.parameters())))
    torch.testing.assert_close(*losses)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("name", [name for name in SYNTHETIC_GRADIENTS if name != "mlp"])
def test_the_equivariant_xi_permutes_with_the_classes_and_serves_any_number(name, joint):
    xi = make_synthetic_gradient(name, 3, joint)
    for ways in (2, 5, 20):
        logits, base = torch.randn(4, 6, ways), torch.randn(4, 6, 1) if joint else None
        order = torch.randperm(ways)
        more = (torch.rand(4, 6, 6),) if xi.wants_likeness else ()
        torch.testing.assert_close(xi(logits, base, *more)[..., order], xi(logits[..., order], base, *more))


@pytest.mark.parametrize("joint", [False, True])
def test_xi_context_sees_units_beside_their_means(joint):
    """Its second layer is linear in a class's own units and their means over the classes, the queries and both."""
    xi = make_synthetic_gradient("context", 3, joint)
    logits, base = torch.randn(4, 7, 3), torch.randn(4, 7, 1) if joint else None
    seen = []
    xi.layers[1].register_forward_hook(lambda layer, given, units: seen.append(units))
    gradient = xi(logits, base)
    (units,) = seen
    means = [units.mean(over, keepdim=True).expand_as(units) for over in ((-2,), (-3,), (-3, -2))]
    beside = xi.layers[2](torch.cat([units, *means], dim=-1))
    torch.testing.assert_close(gradient, xi.layers[4](beside.relu()).squeeze(-1))


@pytest.mark.parametrize("name", list(INITIALIZERS))
def test_initializers_give_theta_of_every_class(name):
    world = make_world(initializer=name)
    theta = world.guide.initializer(world.source.episodes(torch.arange(4)).evidence)
    assert theta.loc.shape == theta.expanded().log_scale.shape == (4, 3, FEATURES)


def test_the_queries_draw_the_class_means_of_both():
    world = make_world(initializer="both", steps=0)
    evidence = world.source.episodes(torch.arange(4)).evidence
    initializer = world.guide.initializer
    means = evidence.class_means(unit(evidence.support_x))
    with torch.no_grad():
        initializer.log_query_weight.fill_(-30.0)
        torch.testing.assert_close(initializer(evidence).loc, means)
        initializer.log_query_weight.zero_()
        initializer.log_slope.fill_(-30.0)
    queries = unit(evidence.query_x)
    belongs = 0.5 * (10 * queries @ unit(means).mT).softmax(-1)  # a flat gate lets half of every query through
    expected = (2 * means[1, 2] + belongs[1, :, 2] @ queries[1]) / (2 + belongs[1, :, 2].sum())
    torch.testing.assert_close(initializer(evidence).loc[1, 2], expected)


def test_the_gate_of_both_keeps_far_queries_out():
    world = make_world(initializer="both", steps=0)
    evidence = world.source.episodes(torch.arange(4)).evidence
    means = unit(evidence.class_means(unit(evidence.support_x)))
    stranger = -means.sum(1, keepdim=True)
    pulled = replace(evidence, query_x=torch.cat([means, stranger], dim=1))
    moved = []
    for slope in (0.0, 3.0):
        with torch.no_grad():
            world.guide.initializer.log_slope.fill_(slope)
            world.guide.initializer.log_sharpness.fill_(-5.0)
        loc = unit(world.guide.initializer(pulled).loc)
        moved.append((loc * unit(stranger)).sum(-1).mean())
    assert moved[1] < moved[0]


@pytest.mark.parametrize("name", list(INITIALIZERS))
def test_every_parameter_of_an_initializer_gets_a_gradient(name):
    world = make_world(initializer=name, steps=0)
    episode = world.source.episodes(torch.arange(4))
    Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, world.guide, episode).backward()
    for parameter, p in world.guide.named_parameters():
        assert p.grad is not None, parameter
        assert p.grad.abs().sum() > 0, parameter


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": -1},
        {"step_samples": -1},
        {"step_size": 0.0},
        {"initial_scale": float("nan")},
        {"initial_scale": 1e-20},
        {"initial_scale": float("inf")},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(InputError, match=f"^{next(iter(bad))} .* is needed$"):
        GuideSettings(**bad)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="unknown guide 'x'; choose one of sib, init-only"):
        learner_named("x")
    with pytest.raises(InputError, match="unknown synthetic gradient 'x'; choose one of mlp, equivariant"):
        make_synthetic_gradient("x", 5, False)


@pytest.mark.parametrize("joint", [False, True])
def test_the_labeled_examples_pull_by_their_loss_gradient(joint):
    """The step with `support_gradient` less the step without is -eta * weight * d CE(support) / d loc."""
    worlds = [
        make_world("mixture", joint, kl=0.0, dtype=D64, steps=1, support_gradient=wanted)
        for wanted in (False, True)
    ]
    worlds[1].guide.xi.load_state_dict(worlds[0].guide.xi.state_dict())
    evidence = worlds[0].source.episodes(torch.arange(4)).evidence
    without, with_support = (world.guide.iterates(evidence)[-1].loc for world in worlds)
    world = worlds[1]
    loc = world.guide.iterates(evidence)[0].loc.detach().requires_grad_()
    base = world.prior.base_locs(evidence.base_ids) if joint else None
    logits = world.likelihood.logits(loc, evidence.support_x, base)
    labels = evidence.support_y + (logits.shape[-1] - 3)
    loss = -logits.log_softmax(-1).gather(-1, labels[..., None]).mean((1, 2)).sum()
    pull = torch.autograd.grad(loss, loc)[0]
    scale = world.guide.log_step_size.exp() * world.guide.log_support_weight.exp()
    torch.testing.assert_close(with_support - without, -scale * pull)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("xi", list(SYNTHETIC_GRADIENTS))
def test_every_parameter_of_every_xi_gets_a_gradient(xi, joint):
    world = make_world("mixture", joint, synthetic_gradient=xi, support_gradient=True)
    episode = world.source.episodes(torch.arange(8))
    Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, world.guide.train(), episode).backward()
    for name, p in world.guide.named_parameters():
        if name != "initializer.log_scale":
            assert p.grad is not None, name
            assert p.grad.abs().sum() > 0, name
