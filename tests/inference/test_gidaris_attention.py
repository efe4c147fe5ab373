"""Attention over the base classes' weights: the formula, and which classes it leaves out."""

from dataclasses import replace

import pytest
import torch

from pyro_sib.cosine import unit
from pyro_sib.errors import InputError
from pyro_sib.inference import GUIDES, TaskForm
from tests.worlds import BASE_CLASSES, FEATURES, make_world


def _guide(prior: str = "diagonal", joint: bool = False):
    world = make_world(prior, joint)
    guide = GUIDES["gidaris-attention"](
        world.guide.settings, world.guide.form, world.prior, world.likelihood, world.weights
    )
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return world, guide.eval()


@pytest.mark.parametrize("prior", ["diagonal", "mixture"])
def test_the_weights_are_the_averages_and_what_they_attend_to(prior):
    world, guide = _guide(prior)
    evidence = world.source.episodes(torch.arange(3)).evidence
    base = unit(world.prior.base_locs(evidence.base_ids))[1]
    examples = unit(evidence.support_x[1][evidence.support_y[1] == 2])
    keys = guide.initializer.keys[evidence.base_ids[1]]
    seen = []
    for z in examples:
        query = guide.initializer.query.weight @ z + guide.initializer.query.bias
        cosines = torch.stack([torch.cosine_similarity(query, key, dim=0) for key in keys])
        seen.append((guide.initializer.gamma * cosines).softmax(0) @ base)
    expected = guide.initializer.average * examples.mean(0) + guide.initializer.attended * torch.stack(seen).mean(0)
    torch.testing.assert_close(guide.iterates(evidence)[0].loc[1, 2], expected)


@pytest.mark.parametrize("joint", [False, True])
def test_classes_that_play_novel_are_no_base_classes(joint):
    world, guide = _guide(joint=joint)
    evidence = world.source.episodes(torch.tensor([5])).evidence
    loc = guide.iterates(evidence)[0].loc
    novel = torch.ones(BASE_CLASSES, dtype=torch.bool).index_fill(0, evidence.base_ids[0], value=False)
    assert novel.sum() == 3
    for left_out, same in ((novel, True), (~novel, False)):
        world, guide = _guide(joint=joint)
        torch.manual_seed(0)
        with torch.no_grad():
            world.prior.base[left_out] = unit(torch.randn(FEATURES))
            guide.initializer.keys[left_out] = torch.randn(FEATURES)
        torch.manual_seed(0)
        assert torch.allclose(guide.iterates(evidence)[0].loc, loc) == same


def test_attention_is_a_distribution_over_the_tasks_base_classes():
    world, guide = _guide()
    attention = guide.initializer.attention(world.source.episodes(torch.arange(4)).evidence)
    assert attention.shape == (4, 6, BASE_CLASSES - 3)
    torch.testing.assert_close(attention.sum(-1), torch.ones(4, 6))


def test_without_base_classes_it_is_refused():
    world, guide = _guide()
    with pytest.raises(InputError, match="needs base classes, and there are none"):
        GUIDES["gidaris-attention"](
            world.guide.settings, TaskForm(FEATURES, 3), world.prior, world.likelihood, world.weights
        )
    evidence = replace(world.source.episodes(torch.arange(2)).evidence, base_ids=None)
    with pytest.raises(AssertionError, match="base_ids"):
        guide.iterates(evidence)
