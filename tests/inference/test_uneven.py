"""Classes of unequal numbers of labeled examples, and odd sizes: every learner, initializer and xi."""

from dataclasses import replace

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.nn.functional import cross_entropy

from pyro_sib.cosine import cosine_logits, unit
from pyro_sib.inference import BASELINES, LEARNERS
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.inference.steps.unrolled import Points
from pyro_sib.types import Evidence
from tests.worlds import BASE_CLASSES, make_learner, make_world, uneven_tasks

UNEVEN = (1, 3, 2)
SEQUENCES = {"matching", "snail"}
"""Learners that read a class's own examples one after another."""
CASES = {
    **{name: (name, {}) for name in LEARNERS},
    **{f"sib {name}": ("sib", {"initializer": name}) for name in INITIALIZERS},
    **{f"sib {name}": ("sib", {"synthetic_gradient": name}) for name in SYNTHETIC_GRADIENTS},
    "sib support gradient": ("sib", {"support_gradient": True}),
    "sib draws": ("sib", {"support_gradient": True, "step_samples": 2}),
}
SIZES = {
    "uneven": (UNEVEN, 4, 7, 2, False),
    "uneven, joint": (UNEVEN, 4, 7, 2, True),
    "one query": ((1, 1, 1), 1, 7, 2, False),
    "one query of one task, joint": ((1, 1, 1), 1, 7, 1, True),
    "one dimension": ((2, 1, 1), 4, 1, 2, False),
    "two classes of one task": ((4, 1), 4, 7, 1, False),
    "many classes": ((1,) * 28 + (2, 3), 4, 5, 2, False),
    "one of everything": ((1,), 1, 1, 1, False),
}

ODD = [
    (case, size)
    for case, (name, _) in CASES.items()
    for size, (*_, joint) in SIZES.items()
    if LEARNERS[name].serves_joint or not joint
]


def _rows(evidence: Evidence, order: torch.Tensor) -> Evidence:
    """The same with the labeled rows in the order (T, M)."""
    x = torch.take_along_dim(evidence.support_x, order[..., None], 1)
    return replace(evidence, support_x=x, support_y=evidence.support_y.gather(1, order))


def _shuffled(evidence: Evidence, within_classes: bool) -> Evidence:
    """Each task's labeled rows mixed, a class's own among one another or else in their order."""
    order = torch.rand(evidence.support_y.shape).argsort(1)
    if not within_classes:
        mixed = evidence.support_y.gather(1, order)
        places = mixed.argsort(dim=1, stable=True)
        order = torch.empty_like(order).scatter_(1, places, torch.arange(order.shape[1]).expand_as(order))
    return _rows(evidence, order)


def _doubled(evidence: Evidence, which: torch.Tensor) -> Evidence:
    """With the labeled rows in those places twice."""
    places = torch.cat([torch.arange(evidence.support_y.shape[1]), which])
    return replace(evidence, support_x=evidence.support_x[:, places], support_y=evidence.support_y[:, places])


def _seen(case: str, counts=UNEVEN, joint: bool = False):
    name, inside = CASES[case]
    _, learner = make_learner(name, ways=len(counts), joint=joint, **inside)
    return learner, learner.sees(uneven_tasks(counts, joint=joint))


@pytest.mark.parametrize("case", CASES)
class TestEveryLearner:
    def test_the_order_of_the_labeled_rows_is_nothing(self, case):
        learner, evidence = _seen(case)
        (before,) = learner.probabilities(evidence, 2)
        within = CASES[case][0] not in SEQUENCES
        moved = _shuffled(evidence, within)
        assert not torch.equal(moved.support_y, evidence.support_y)
        torch.testing.assert_close(learner.probabilities(moved, 2)[0], before)

    def test_tasks_of_unlike_classes_are_served_together_as_alone(self, case):
        learner, evidence = _seen(case)
        (together,) = learner.probabilities(evidence, 2)
        parts = ("support_x", "support_y", "query_x", "base_ids", "task_ids")
        for task in range(2):
            own = {name: getattr(evidence, name)[task : task + 1] for name in parts}
            if learner.oracle:
                own["query_y"] = evidence.query_y[task : task + 1]
            torch.testing.assert_close(learner.probabilities(replace(evidence, **own), 2)[0][0], together[task])


@pytest.mark.parametrize(("case", "size"), ODD)
def test_odd_sizes_are_served_and_trained_on(case, size):
    name, inside = CASES[case]
    counts, queries, features, tasks, joint = SIZES[size]
    model, learner = make_learner(name, features, len(counts), joint, "mixture", **inside)
    episode = uneven_tasks(counts, queries, features, tasks, joint)
    for draws in (0, 2):
        (p,) = learner.probabilities(learner.sees(episode), draws)
        assert p.shape == (tasks, queries, len(counts) + BASE_CLASSES * joint)
        torch.testing.assert_close(p.sum(-1), torch.ones(p.shape[:-1], dtype=p.dtype))
    learner.train()
    loss = Trace_ELBO(max_plate_nesting=2).differentiable_loss(model, learner, episode)
    assert bool(loss.isfinite())
    loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in learner.parameters() if p.grad is not None)


def _lambda(name: str, evidence: Evidence):
    _, learner = make_learner("sib", initializer=name)
    return learner, learner.initializer(evidence).expanded().loc


def _classes(evidence: Evidence):
    """(task, class, the class's own unit examples)."""
    for task in range(evidence.tasks):
        for n in range(evidence.ways):
            yield task, n, unit(evidence.support_x[task][evidence.support_y[task] == n])


def test_class_means_weigh_each_class_s_own_examples():
    evidence = uneven_tasks(UNEVEN).evidence
    guide, loc = _lambda("support", evidence)
    for task, n, own in _classes(evidence):
        torch.testing.assert_close(loc[task, n], guide.initializer.weight * own.mean(0))


def test_queries_count_beside_as_many_examples_as_the_class_has():
    evidence = uneven_tasks(UNEVEN).evidence
    guide, loc = _lambda("both", evidence)
    parts, queries = guide.initializer, unit(evidence.query_x)
    means = evidence.class_means(unit(evidence.support_x))
    cosine = torch.cosine_similarity(queries[:, :, None], means[:, None], dim=-1)
    belongs = (parts.log_sharpness.exp() * cosine).softmax(-1)
    near = torch.sigmoid(parts.log_slope.exp() * (cosine - cosine.mean(1, keepdim=True) - parts.threshold))
    share = parts.log_query_weight.exp() * belongs * near
    for task, n, own in _classes(evidence):
        total = own.sum(0) + (share[task, :, n, None] * queries[task]).sum(0)
        expected = parts.weight * total / (len(own) + share[task, :, n].sum())
        torch.testing.assert_close(loc[task, n], expected)


def test_attention_averages_over_each_class_s_own_examples():
    evidence = uneven_tasks(UNEVEN).evidence
    guide, loc = _lambda("attention", evidence)
    parts, base = guide.initializer, unit(guide.prior.base_locs(evidence.base_ids))
    for task, n, own in _classes(evidence):
        seen = (cosine_logits(parts.query(own), parts.keys, parts.gamma).softmax(-1) @ base[task]).mean(0)
        torch.testing.assert_close(loc[task, n], parts.average * own.mean(0) + parts.attended * seen)


def test_ridge_regression_counts_every_example_once():
    evidence = uneven_tasks(UNEVEN).evidence
    guide, loc = _lambda("ridge", evidence)
    centre, gain = guide.initializer.loc, guide.initializer.log_gain.exp()
    for task in range(evidence.tasks):
        x = evidence.support_x[task]
        for n in range(evidence.ways):
            y = (evidence.support_y[task] == n).double()
            expected = torch.linalg.solve(x.T @ x + torch.diag(1 / gain), x.T @ (y - x @ centre))
            torch.testing.assert_close(loc[task, n], centre + expected)


def test_prototypes_are_the_means_of_each_class_s_own_examples():
    learner, evidence = _seen("prototypical")
    logits, queries = learner.logits(evidence), learner.map(unit(evidence.query_x))
    for task, n, own in _classes(evidence):
        squares = (queries[task] - learner.map(own).mean(0)).square().sum(-1)
        torch.testing.assert_close(logits[task, :, n], -learner.log_scale.exp() * squares)


def test_matching_adds_up_the_attention_on_each_class_s_own_examples():
    learner, evidence = _seen("matching")
    with torch.no_grad():
        for part in (*learner.support.parameters(), *learner.query.parameters()):
            part.zero_()
    p = learner.probabilities(evidence, 0)[0]
    cosine = learner.log_scale.exp() * unit(evidence.query_x) @ unit(evidence.support_x).mT
    for task, n, own in _classes(evidence):
        on_own = (learner.log_scale.exp() * unit(evidence.query_x[task]) @ own.mT).exp().sum(-1)
        torch.testing.assert_close(p[task, :, n], on_own / cosine[task].exp().sum(-1))


@pytest.mark.parametrize(
    "case", ["sib support", "init-only", "gidaris-attention", "neural-process", "prototypical"]
)
def test_a_class_counts_the_same_whatever_its_number_of_examples(case):
    learner, evidence = _seen(case, (2, 2, 2))
    twice = _doubled(evidence, torch.tensor([0, 1]))
    torch.testing.assert_close(learner.probabilities(twice, 0)[0], learner.probabilities(evidence, 0)[0])


@pytest.mark.parametrize("case", ["maml", "maml-first-order", "meta-lstm", "mean-field", "sib support gradient"])
def test_the_labeled_examples_loss_is_a_mean_over_all_of_them(case):
    learner, evidence = _seen(case)
    (before,) = learner.probabilities(evidence, 0)
    torch.testing.assert_close(learner.probabilities(_doubled(evidence, torch.arange(6)), 0)[0], before)
    more = learner.probabilities(_doubled(evidence, torch.arange(2)), 0)[0]
    assert not torch.allclose(more, before)


@pytest.mark.parametrize("case", ["maml", "sib support gradient"])
def test_the_steps_descend_the_mean_loss_of_the_labeled_examples(case):
    learner, evidence = _seen(case)
    w = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    labeled = Points(learner.likelihood.points(evidence.support_x), None)
    loss = 0.0
    for task in range(2):
        logits = cosine_logits(evidence.support_x[task], w[task], learner.likelihood.scale.detach())
        loss = loss + cross_entropy(logits, evidence.support_y[task])
    (expected,) = torch.autograd.grad(loss, w)
    if case == "maml":
        found = learner.gradient(w, labeled, evidence, 0)
    else:
        queries = Points(learner.likelihood.query_points(evidence), None)
        both = learner.gradient(w, queries._replace(labeled=labeled), evidence, 0)
        found = (both - learner.gradient(w, queries, evidence, 0)) / learner.log_support_weight[0].exp()
    torch.testing.assert_close(found, expected)


def test_a_sampler_s_tasks_are_class_by_class_already():
    evidence = make_world("mixture").source.episodes(torch.arange(3)).evidence
    mixed = _shuffled(evidence, within_classes=False)
    assert not torch.equal(mixed.support_y, evidence.support_y)
    for part in ("support_x", "support_y", "query_x", "base_ids", "task_ids"):
        assert torch.equal(getattr(evidence.by_class(), part), getattr(evidence, part))
        assert torch.equal(getattr(mixed.by_class(), part), getattr(evidence, part))


@pytest.mark.parametrize("case", ["sib both", "sib ridge", *BASELINES])
@pytest.mark.parametrize("kind", [torch.int32, torch.uint8])
def test_labels_are_integers_of_any_size(case, kind):
    learner, evidence = _seen(case)
    small = replace(evidence, support_y=evidence.support_y.to(kind))
    torch.testing.assert_close(learner.probabilities(small, 0)[0], learner.probabilities(evidence, 0)[0])


FIXED = [
    *(("sib", {"initializer": name}) for name, kind in INITIALIZERS.items() if getattr(kind, "fixed_ways", False)),
    *(("maml", {"initializer": name}) for name, kind in INITIALIZERS.items() if getattr(kind, "fixed_ways", False)),
    *(
        ("sib", {"synthetic_gradient": name, "step_samples": draws})
        for name, kind in SYNTHETIC_GRADIENTS.items()
        if getattr(kind, "fixed_ways", False)
        for draws in (0, 2)
    ),
    *((name, {}) for name, kind in LEARNERS.items() if kind.fixed_ways),
]


@pytest.mark.parametrize(("counts", "joint"), [((1, 2), False), ((1, 2, 1, 1), True)])
@pytest.mark.parametrize(("name", "inside"), FIXED)
def test_parts_made_for_one_number_of_classes_refuse_another(name, inside, counts, joint):
    model, learner = make_learner(name, ways=3, joint=joint and LEARNERS[name].serves_joint, **inside)
    episode = uneven_tasks(counts, joint=joint and LEARNERS[name].serves_joint)
    message = rf"serves tasks of 3 classes alone, but these have {len(counts)}; give it such tasks, or choose"
    with pytest.raises(ValueError, match=message):
        learner.probabilities(learner.sees(episode), 0)
    learner.train()
    with pytest.raises(ValueError, match=message):
        Trace_ELBO(max_plate_nesting=2).differentiable_loss(model, learner, episode)
