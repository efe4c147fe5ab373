"""The cosine between xi's gradient and the true one."""

import pytest
import torch
from torch import nn

from pyro_sib.inference.gradient_check import gradient_cosine
from tests.worlds import make_world


class _Scaled(nn.Module):
    """The true gradient of given labels, times a factor."""

    def __init__(self, world, labels: torch.Tensor, factor: float):
        super().__init__()
        self.likelihood, self.labels, self.factor = (world.likelihood,), labels, factor

    def forward(self, outputs, base):
        return self.factor * self.likelihood[0].output_gradient(outputs, self.labels, base)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("factor", [0.5, -2.0])
def test_the_true_gradient_has_cosine_one_and_its_opposite_minus_one(joint, factor):
    world = make_world("mixture", joint)
    episode = world.source.episodes(torch.arange(6))
    labels = episode.query_y - (episode.evidence.base_ids.shape[1] if joint else 0)
    world.guide.xi = _Scaled(world, labels, factor)
    cosine = gradient_cosine(world.guide, episode)
    torch.testing.assert_close(cosine, torch.full((2,), 1.0 if factor > 0 else -1.0))


@pytest.mark.parametrize("joint", [False, True])
def test_it_is_the_cosine_of_autograds_gradient(joint):
    world = make_world("mixture", joint, dtype=torch.float64)
    episode = world.source.episodes(torch.arange(4))
    evidence, guide = episode.evidence, world.guide.eval()
    w_base = world.prior.base_locs(evidence.base_ids).detach() if joint else None
    expected = []
    for theta in guide.iterates(evidence)[:-1]:
        loc = theta.loc.detach().requires_grad_()
        all_logits = world.likelihood.logits(loc, evidence.query_x, w_base)
        loss = torch.nn.functional.cross_entropy(
            all_logits.flatten(0, 1), episode.query_y.flatten(), reduction="sum"
        )
        (true,) = torch.autograd.grad(loss, loc)
        logits = world.likelihood.logits(loc, evidence.query_x)
        base = None if w_base is None else all_logits[..., : w_base.shape[1]].logsumexp(-1, keepdim=True).detach()
        (synthetic,) = torch.autograd.grad((guide.xi(logits, base).detach() * logits).sum(), loc)
        expected.append(torch.cosine_similarity(synthetic.flatten(1), true.flatten(1)).mean())
    torch.testing.assert_close(gradient_cosine(guide, episode), torch.stack(expected))


def test_it_changes_nothing_and_is_the_same_again():
    world = make_world("mixture", joint=True, step_samples=2)
    episode, rng = world.source.episodes(torch.arange(4)), torch.get_rng_state()
    assert torch.equal(gradient_cosine(world.guide, episode), gradient_cosine(world.guide, episode))
    assert torch.equal(torch.get_rng_state(), rng)
    assert world.guide.training


def test_without_steps_there_is_none():
    world = make_world(steps=0)
    assert gradient_cosine(world.guide, world.source.episodes(torch.arange(4))).shape == (0,)
