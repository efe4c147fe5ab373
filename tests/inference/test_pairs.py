"""Any guide with any prior: one step of SVI is finite and moves psi or phi."""

import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_sib.inference import GUIDES, TaskForm
from pyro_sib.models import PRIORS
from tests.worlds import BASE_CLASSES, FEATURES, make_world


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("prior", list(PRIORS))
@pytest.mark.parametrize("name", list(GUIDES))
def test_any_guide_learns_with_any_prior(name, prior, joint):
    world = make_world(prior, joint, fit_steps=3)
    form = TaskForm(FEATURES, 3, joint, BASE_CLASSES)
    guide = GUIDES[name](world.guide.settings, form, world.prior, world.likelihood, world.weights).train()
    episode = world.source.episodes(torch.arange(4))
    loss = Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, guide, episode)
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [p.grad for module in (world.prior, guide) for p in module.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert gradients or prior == "fixed-normal"
    assert not gradients or any(g.abs().sum() > 0 for g in gradients)
