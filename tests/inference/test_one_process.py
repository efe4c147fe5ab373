"""Two programs under plain SVI in one process, and global switches of torch and Pyro that a user may have set."""

from contextlib import suppress

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.optim import Adam

from pyro_sib.features.bank import fit_base_classifier
from pyro_sib.inference import BASELINES, TaskForm
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.inference.training import Trainer
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.torch_state import plain_torch
from tests.worlds import BASE_CLASSES, FEATURES, clusters, make_world

EPISODES = torch.arange(4)


def svi(model, guide):
    return SVI(model, guide, Adam({"lr": 1e-2}), Trace_ELBO(max_plate_nesting=2))


def baseline(name):
    form = TaskForm(FEATURES, 3, False, BASE_CLASSES)
    return BASELINES[name](form, None, ObjectiveWeights())


def test_a_second_program_in_one_store_is_refused():
    first, second = make_world(), make_world()
    episode = first.source.episodes(EPISODES)
    plain = svi(first.model, first.guide)
    plain.step(episode)
    plain.step(episode)
    with pytest.raises(RuntimeError, match=r"another program.*call pyro.clear_param_store\(\)"):
        svi(second.model, second.guide).step(episode)
    with pytest.raises(RuntimeError, match="another program"):
        svi(first.model, second.guide).step(episode)


@pytest.mark.parametrize("name", BASELINES)
def test_a_second_baseline_in_one_store_is_refused(name):
    episode = make_world().source.episodes(EPISODES)
    first, second = baseline(name), baseline(name)
    svi(first.model, first).step(episode)
    with pytest.raises(RuntimeError, match="another program"):
        svi(second.model, second).step(episode)


@pytest.mark.parametrize("apart", [pyro.clear_param_store, None])
def test_programs_kept_apart_are_both_trained(apart):
    for _ in range(2):
        world = make_world()
        before = {n: p.detach().clone() for n, p in world.guide.named_parameters()}
        episode = world.source.episodes(EPISODES)
        if apart is None:
            with pyro.get_param_store().scope():
                svi(world.model, world.guide).step(episode)
        else:
            apart()
            svi(world.model, world.guide).step(episode)
        assert any(not torch.equal(p, before[n]) for n, p in world.guide.named_parameters())


def test_what_does_not_train_may_share_a_store():
    first, second = make_world(), make_world()
    episode = first.source.episodes(EPISODES)
    for world in (first, second):
        Predictive(world.model, guide=world.guide, num_samples=2)(episode.evidence)
        Trace_ELBO(max_plate_nesting=2).differentiable_loss(world.model, world.guide, episode).backward()


def test_our_own_training_keeps_to_a_scope_of_its_own(tmp_path):
    first, second = make_world(), make_world()
    svi(first.model, first.guide).step(first.source.episodes(EPISODES))
    trainer = Trainer(
        second.model, second.guide, second.modules(), TrainSettings(2, 1, 2), tmp_path / "c.safetensors"
    )
    trainer.run(lambda i: second.source.batch(i, 2), lambda: 50.0)
    svi(first.model, first.guide).step(first.source.episodes(EPISODES))


def trained(folder, enter=lambda: lambda: None, **world):
    """Scores after a training, with what `enter` does to the process in force meanwhile."""
    made = make_world(**world)
    trainer = Trainer(made.model, made.guide, made.modules(), TrainSettings(4, 2, 2), folder / "c.safetensors")
    undo = enter()
    try:
        trainer.run(lambda i: made.source.batch(i, 2), lambda: 50.0)
        return evaluate(made.guide, made.source, 6, 3)[0].nll.clone()
    finally:
        undo()


def no_grad():
    torch.set_grad_enabled(False)
    return lambda: torch.set_grad_enabled(True)


def deterministic():
    torch.use_deterministic_algorithms(True)
    return lambda: torch.use_deterministic_algorithms(False)


def inference_mode():
    mode = torch.inference_mode()
    mode.__enter__()
    return lambda: mode.__exit__(None, None, None)


def without_validation():
    pyro.enable_validation(False)
    return lambda: pyro.enable_validation(True)


@pytest.mark.parametrize("switch", [no_grad, deterministic, inference_mode, without_validation])
def test_training_is_the_same_under_each_global_switch(tmp_path, switch):
    expected = trained(tmp_path / "plain", prior="mixture", joint=True)
    assert torch.equal(trained(tmp_path / "switched", switch, prior="mixture", joint=True), expected)


def test_a_program_made_in_inference_mode_is_refused(tmp_path):
    with torch.inference_mode():
        made = make_world()
    with pytest.raises(ValueError, match=r"made in torch.inference_mode"):
        Trainer(made.model, made.guide, made.modules(), TrainSettings(2, 1, 2), tmp_path / "c.safetensors")


def test_the_base_classifier_learns_where_gradients_are_off():
    split = clusters(4, 20, seed=0)
    expected = fit_base_classifier(split, 0, epochs=2)
    undo = no_grad()
    try:
        found = fit_base_classifier(split, 0, epochs=2)
    finally:
        undo()
    assert torch.equal(found.weight, expected.weight)


def test_the_state_of_torch_is_put_back_whatever_happens():
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), suppress(KeyError), plain_torch():
            assert torch.zeros(1).dtype == torch.float32
            assert torch.is_grad_enabled()
            torch.set_num_threads(2)
            raise KeyError
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_num_threads() == 1
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_default_device_is_left_for_the_cpu_and_put_back():
    torch.set_default_device("meta")
    try:
        with plain_torch():
            assert torch.zeros(1).device.type == "cpu"
        assert torch.zeros(1).device.type == "meta"
    finally:
        torch.set_default_device(None)
