"""The neural processes: invariance, any number of classes, what the attention computes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from pyro_sib.inference import GUIDES
from pyro_sib.inference.guide import Guide
from pyro_sib.inference.guides.attentive_neural_process import CrossAttention
from pyro_sib.types import Evidence
from tests.worlds import make_world

NAMES = ("neural-process", "attentive-neural-process")


def _guide(name: str, **settings: object) -> tuple[Guide, Evidence]:
    world = make_world(**settings)
    guide = GUIDES[name](world.guide.settings, world.guide.form, world.prior, world.likelihood, world.weights)
    return guide.eval(), world.source.episodes(torch.arange(4)).evidence


@pytest.mark.parametrize("name", NAMES)
def test_permuting_the_classes_permutes_q(name):
    guide, evidence = _guide(name)
    order = torch.tensor([2, 0, 1])
    renamed = replace(evidence, support_y=order.argsort()[evidence.support_y])
    a, b = guide.iterates(evidence)[-1], guide.iterates(renamed)[-1]
    torch.testing.assert_close(a.loc[:, order], b.loc)
    assert not torch.allclose(a.loc, b.loc, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_labeled_examples_is_nothing(name):
    guide, evidence = _guide(name)
    order = torch.randperm(6)
    shuffled = replace(evidence, support_x=evidence.support_x[:, order], support_y=evidence.support_y[:, order])
    torch.testing.assert_close(guide.iterates(evidence)[-1].loc, guide.iterates(shuffled)[-1].loc)


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_queries_both_tell(name):
    guide, evidence = _guide(name)
    loc = guide.iterates(evidence)[-1].loc
    mixed = replace(evidence, support_y=evidence.support_y.roll(1, 1))
    assert not torch.allclose(loc, guide.iterates(mixed)[-1].loc, atol=1e-3)
    other = replace(evidence, query_x=evidence.query_x.roll(1, 0))
    assert not torch.allclose(loc, guide.iterates(other)[-1].loc, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_classes_is_served(name):
    guide, _ = _guide(name)
    for ways in (2, 7):
        evidence = Evidence(
            torch.randn(3, 2 * ways, 7), torch.arange(ways).repeat(3, 2), torch.randn(3, 9, 7), ways
        )
        assert guide.iterates(evidence)[-1].loc.shape == (3, ways, 7)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_scale_of_q_is_the_one_asked_for(name):
    guide, evidence = _guide(name, initial_scale=0.03)
    scale = guide.iterates(evidence)[-1].log_scale.exp()
    torch.testing.assert_close(scale, torch.full_like(scale, 0.03))


def test_cross_attention_is_torch_multi_head_attention():
    ours, theirs = CrossAttention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([torch.zeros(32), ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    targets, tokens = torch.randn(3, 2, 16), torch.randn(3, 5, 16)
    torch.testing.assert_close(ours(targets, tokens), theirs(targets, tokens, tokens)[0])
