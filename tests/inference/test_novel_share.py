"""The prior over how many queries are novel."""

import pytest
import torch

from pyro_sib.inference.novel_share import NovelShareLearner, with_novel_share
from tests.worlds import make_world

BASE = 6


@pytest.fixture
def probabilities():
    torch.manual_seed(2)
    logits = 2 * torch.randn(5, 30, BASE + 3, dtype=torch.float64)
    logits[..., BASE:] -= 1.5  # novel classes look unlikely
    return logits.softmax(-1)


def _mean_novelty(p):
    return p[..., BASE:].sum(-1).mean(-1)


def test_no_strength_changes_nothing(probabilities):
    torch.testing.assert_close(with_novel_share(probabilities, BASE, 0.5, 0.0), probabilities)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_strong_prior_gives_the_share_and_leaves_each_kind_alone(probabilities, share):
    found = with_novel_share(probabilities, BASE, share, 1e9)
    torch.testing.assert_close(_mean_novelty(found), torch.full((5,), share).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.sum(-1), torch.ones(5, 30).double())
    for kind in (slice(None, BASE), slice(BASE, None)):
        before, after = (p[..., kind] / p[..., kind].sum(-1, keepdim=True) for p in (probabilities, found))
        torch.testing.assert_close(before, after)


def test_the_offset_is_the_mode(probabilities):
    share, strength = 0.5, 12.0
    offsets = torch.linspace(-3, 3, 60_001, dtype=torch.float64)
    one = probabilities[:1]
    novelty = one[..., BASE:].sum(-1)
    mean = torch.sigmoid(torch.logit(novelty) + offsets[:, None]).mean(-1)
    height = strength * (share * mean.log() + (1 - share) * (1 - mean).log()) - 0.5 * offsets.square()
    expected = torch.sigmoid(torch.logit(novelty) + offsets[height.argmax()])
    found = with_novel_share(one, BASE, share, strength)[..., BASE:].sum(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_learners_tasks_are_adjusted_each_by_itself():
    world = make_world("mixture", joint=True)
    learner = NovelShareLearner(world.guide, 0.5, 20.0).eval()
    evidence = learner.sees(world.source.episodes(torch.arange(4)))
    (whole,) = learner.probabilities(evidence, 2)
    (plain,) = world.guide.probabilities(evidence, 2)
    assert not torch.allclose(whole, plain)
    base = evidence.base_ids.shape[1]
    torch.testing.assert_close(whole, with_novel_share(plain, base, 0.5, 20.0))
    alone = learner.probabilities(learner.sees(world.source.episodes(torch.tensor([2]))), 2)[0]
    torch.testing.assert_close(alone[0], whole[2], rtol=1e-4, atol=1e-6)
