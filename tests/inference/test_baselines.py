"""One conformance suite for every learner without a posterior."""

from dataclasses import fields, replace

import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch.nn.functional import one_hot, pad, scaled_dot_product_attention

from pyro_sib.cosine import unit
from pyro_sib.inference import BASELINES, TaskForm
from pyro_sib.inference.baselines.snail import CausalAttention
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.optimizer import JointAdam
from pyro_sib.types import Evidence
from tests.worlds import BASE_CLASSES, FEATURES, make_world

CASES = [(n, joint) for n, kind in BASELINES.items() for joint in (False, True) if kind.serves_joint or not joint]


def _baseline(name: str, joint: bool):
    world = make_world("mixture", joint)
    torch.manual_seed(2)
    base = unit(torch.randn(BASE_CLASSES, FEATURES))
    return world, BASELINES[name](TaskForm(FEATURES, 3, joint, BASE_CLASSES), base, world.weights).eval()


@pytest.mark.parametrize(("name", "joint"), CASES)
class TestConformance:
    def test_probabilities_are_normalized(self, name, joint):
        world, baseline = _baseline(name, joint)
        evidence = world.source.episodes(torch.arange(4)).evidence
        (p,) = baseline.probabilities(evidence, 0)
        assert p.shape == (4, evidence.queries, 3 + (BASE_CLASSES - 3) * joint)
        torch.testing.assert_close(p.sum(-1), torch.ones(p.shape[:-1]))

    def test_batched_equals_one_by_one(self, name, joint):
        world, baseline = _baseline(name, joint)
        (whole,) = baseline.probabilities(world.source.episodes(torch.arange(5)).evidence, 0)
        for task in range(5):
            (one,) = baseline.probabilities(world.source.episodes(torch.tensor([task])).evidence, 0)
            torch.testing.assert_close(one[0], whole[task], rtol=1e-4, atol=1e-6)

    def test_permuting_the_queries_permutes_their_predictions(self, name, joint):
        world, baseline = _baseline(name, joint)
        evidence = world.source.episodes(torch.arange(4)).evidence
        order = torch.randperm(evidence.queries)
        (a,), (b,) = (
            baseline.probabilities(e, 0) for e in (evidence, replace(evidence, query_x=evidence.query_x[:, order]))
        )
        torch.testing.assert_close(a[:, order], b)

    def test_query_labels_are_out_of_reach(self, name, joint):
        world, baseline = _baseline(name, joint)
        episode = world.source.episodes(torch.arange(2))
        assert type(baseline.sees(episode)) is Evidence
        assert "query_y" not in {f.name for f in fields(Evidence)}

    def test_every_parameter_gets_a_gradient(self, name, joint):
        world, baseline = _baseline(name, joint)
        episode = world.source.episodes(torch.arange(8))
        Trace_ELBO(max_plate_nesting=2).differentiable_loss(baseline.model, baseline, episode).backward()
        for parameter, p in baseline.named_parameters():
            assert p.grad is not None, parameter
            assert p.grad.abs().sum() > 0, parameter

    def test_the_loss_is_the_mean_negative_log_likelihood(self, name, joint):
        world, baseline = _baseline(name, joint)
        episode = world.source.episodes(torch.arange(8))
        loss = Trace_ELBO(max_plate_nesting=2).differentiable_loss(baseline.model, baseline, episode)
        log_p = baseline.logits(episode.evidence).log_softmax(-1)
        expected = -log_p.gather(-1, episode.query_y[..., None]).mean()
        torch.testing.assert_close(loss, expected)

    def test_svi_improves_it(self, name, joint):
        world, baseline = _baseline(name, joint)
        before = evaluate(baseline, world.source, 60)[0].nll.mean()
        optimizer = JointAdam({f"guide.{n}": p for n, p in baseline.named_parameters()}, 3e-3)
        svi = SVI(baseline.model, baseline, optimizer, Trace_ELBO(max_plate_nesting=2))
        for step in range(60):
            svi.step(world.source.batch(10 + step, 8))
        assert evaluate(baseline, world.source, 60)[0].nll.mean() < before


def test_prototypical_starts_as_the_nearest_class_mean():
    world, baseline = _baseline("prototypical", False)
    evidence = world.source.episodes(torch.arange(6)).evidence
    means = evidence.class_means(unit(evidence.support_x))
    nearest = torch.cdist(unit(evidence.query_x), means).argmin(-1)
    assert torch.equal(baseline.logits(evidence).argmax(-1), nearest)


def test_prototypical_permutes_with_the_classes():
    world, baseline = _baseline("prototypical", False)
    evidence = world.source.episodes(torch.arange(4)).evidence
    order = torch.tensor([2, 0, 1])
    moved = replace(evidence, support_y=order[evidence.support_y])
    torch.testing.assert_close(baseline.logits(moved)[..., order], baseline.logits(evidence))


def test_snail_sees_the_labels_of_the_examples():
    world, baseline = _baseline("snail", False)
    evidence = world.source.episodes(torch.arange(4)).evidence
    moved = replace(evidence, support_y=(evidence.support_y + 1) % 3)
    assert not torch.allclose(baseline.logits(moved), baseline.logits(evidence))


@pytest.mark.parametrize(("ways", "shots", "queries"), [(3, 1, 4), (3, 5, 1), (5, 1, 4), (3, 12, 4)])
def test_snail_reads_the_examples_once_as_it_would_with_each_query(ways, shots, queries):
    tasks = 2
    torch.manual_seed(0)
    baseline = BASELINES["snail"](TaskForm(FEATURES, ways), None, make_world("mixture", False).weights).double()
    support_y = torch.arange(ways).repeat_interleave(shots).expand(tasks, -1)
    support_x = torch.randn(tasks, ways * shots, FEATURES, dtype=torch.float64)
    query_x = torch.randn(tasks, queries, FEATURES, dtype=torch.float64)
    logits = baseline.logits(Evidence(support_x, support_y, query_x, ways))

    labels = one_hot(support_y, ways).double()
    examples = torch.cat([baseline.project(unit(support_x)), labels], dim=-1)
    asked = pad(baseline.project(unit(query_x)), (0, ways))
    x = torch.cat([examples[:, None].expand(-1, queries, -1, -1), asked[:, :, None]], dim=2).flatten(0, 1)
    for block in baseline.blocks:
        if isinstance(block, CausalAttention):
            read = scaled_dot_product_attention(block.query(x), block.key(x), block.value(x), is_causal=True)
            x = torch.cat([x, read], dim=-1)
            continue
        for layer in block.layers:
            value, gate = layer(pad(x.mT, (layer.dilation[0], 0))).mT.chunk(2, dim=-1)
            x = torch.cat([x, value.tanh() * gate.sigmoid()], dim=-1)
    torch.testing.assert_close(logits, baseline.head(x[:, -1]).view(tasks, queries, ways))
