"""The meta-learner LSTM: its gates, its gradient, and what it takes as constant."""

import math
from itertools import pairwise

import pytest
import torch

from pyro_sib.inference import GUIDES
from pyro_sib.inference.guides.meta_lstm import GatedUpdate, preprocess
from tests.worlds import make_world


def _guide(joint: bool = False, **settings: object):
    world = make_world("mixture", joint, dtype=torch.float64, **settings)
    guide = GUIDES["meta-lstm"](
        world.guide.settings, world.guide.form, world.prior, world.likelihood, world.weights
    )
    return world, guide.double().eval()


def _open_forget_gates(cell: GatedUpdate) -> None:
    with torch.no_grad():
        for gate in (cell.forget, cell.rate):
            gate.weight.zero_()
        cell.forget.bias.fill_(50.0)


@pytest.mark.parametrize("joint", [False, True])
def test_with_fixed_gates_it_is_gradient_descent(joint):
    """The support's own loss by autograd; base classes stand at their most probable weights."""
    world, guide = _guide(joint, step_size=0.25)
    _open_forget_gates(guide.cell)
    evidence = world.source.episodes(torch.arange(4)).evidence
    thetas = guide.iterates(evidence)
    w_base = world.prior.base_locs(evidence.base_ids).detach() if joint else None
    labels = evidence.support_y + (0 if w_base is None else w_base.shape[1])
    for before, after in pairwise(thetas):
        loc = before.loc.detach().requires_grad_()
        logits = world.likelihood.logits(loc, evidence.support_x, w_base)
        losses = torch.nn.functional.cross_entropy(logits.mT, labels, reduction="none").mean(-1)
        (gradient,) = torch.autograd.grad(losses.sum(), loc)
        torch.testing.assert_close(after.loc, loc - 0.2 * gradient)  # odds of 0.25 are a rate of 0.2
        points = world.likelihood.points(evidence.support_x)
        base = guide.base_logsumexp(evidence, points)
        torch.testing.assert_close(guide.support_loss(before.loc, evidence, points, base)[1], losses.detach())


def test_the_gates_forget_and_hold():
    cell = GatedUpdate(1.0)
    loc, gradient, loss = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.rand(2)
    with torch.no_grad():
        cell.rate.weight.zero_()
        cell.rate.bias.fill_(-50.0)
        cell.forget.weight.zero_()
        for bias, kept in ((50.0, 1.0), (0.0, 0.5), (-50.0, 0.0)):
            cell.forget.bias.fill_(bias)
            torch.testing.assert_close(cell(loc, gradient, loss, None)[0], kept * loc)


def test_coordinates_share_the_cell_and_previous_gates_tell():
    cell = GatedUpdate(1.0)
    loc, gradient, loss = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.rand(2)
    whole, state = cell(loc, gradient, loss, None)
    one, _ = cell(loc[:1, 1:2, 2:3], gradient[:1, 1:2, 2:3], loss[:1], None)
    torch.testing.assert_close(whole[:1, 1:2, 2:3], one)
    with torch.no_grad():
        cell.forget.bias.zero_()
        cell.forget.weight[:, -1] = 3.0
    again = [cell(loc, gradient, loss, state._replace(forget=f * state.forget))[0] for f in (0.0, 1.0)]
    assert not torch.allclose(*again, atol=1e-2)


def test_no_second_order_terms():
    """With fixed gates d loc^K / d loc^0 is the identity: the gradients inside are constants."""
    world, guide = _guide()
    _open_forget_gates(guide.cell)
    evidence = world.source.episodes(torch.arange(2)).evidence
    thetas = guide.iterates(evidence)
    direction = torch.randn_like(thetas[-1].loc)
    (back,) = torch.autograd.grad((direction * thetas[-1].loc).sum(), thetas[0].loc)
    torch.testing.assert_close(back, direction)


def test_preprocessing_keeps_size_and_sign():
    x = torch.tensor([1.0, -math.exp(-5), 1e-5, 0.0], dtype=torch.float64)
    expected = torch.tensor(
        [[0.0, 1.0], [-0.5, -1.0], [-1.0, 1e-5 * math.exp(10)], [-1.0, 0.0]], dtype=torch.float64
    )
    torch.testing.assert_close(preprocess(x), expected)
