from dataclasses import replace

import pytest
import torch
from pyro.infer import SVI, Trace_ELBO

from pyro_sib.errors import InputError
from pyro_sib.inference.evaluation import evaluate, evidence_bound
from pyro_sib.inference.gradient_check import gradient_cosine
from pyro_sib.inference.optimizer import JointAdam
from pyro_sib.inference.prediction import predictions
from pyro_sib.inference.settings.training import SCHEDULES, TrainSettings
from pyro_sib.inference.training import EpochRecord, Trainer, has_diverged
from pyro_sib.tensor_files import read_tensors, write_tensors
from tests.worlds import make_world

SETTINGS = TrainSettings(iterations=24, epochs=6, batch_size=4, learning_rate=1e-2)


def _trainer(path, settings=SETTINGS, **world):
    world = make_world("mixture", joint=True, step_samples=2, **world)
    return world, Trainer(world.model, world.guide, world.modules(), settings, path)


def _run(trainer, world, stop_after=None):
    def on_epoch(record):
        if record.epoch == stop_after:
            raise KeyboardInterrupt

    def accuracy():
        return evaluate(world.guide, world.source, 20)[0].metrics()["both"].mean

    def measure():
        return {"cosine": gradient_cosine(world.guide, world.source.episodes(torch.arange(10))).tolist()}

    trainer.run(lambda i: world.source.batch(i, SETTINGS.batch_size), accuracy, on_epoch=on_epoch, measure=measure)


def test_training_lowers_the_loss(tmp_path):
    settings = replace(SETTINGS, iterations=120, schedule="cosine")
    world, trainer = _trainer(tmp_path / "c.safetensors", settings, step_size=6.0)  # steps much too long
    _run(trainer, world)
    assert trainer.log[-1].loss < trainer.log[0].loss - 0.1


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, stop_after):
    whole_world, whole = _trainer(tmp_path / "whole.safetensors")
    _run(whole, whole_world)
    broken_world, broken = _trainer(tmp_path / "broken.safetensors")
    with pytest.raises(KeyboardInterrupt):
        _run(broken, broken_world, stop_after)
    torch.manual_seed(99)  # a new process has another generator state
    resumed_world, resumed = _trainer(tmp_path / "broken.safetensors")
    _run(resumed, resumed_world)
    assert resumed.log == whole.log
    assert len({tuple(record.extra["cosine"]) for record in resumed.log}) == 6
    for name, value in whole.state().items():
        assert torch.equal(resumed.state()[name], value), name


def test_the_best_epoch_is_kept(tmp_path):
    world, trainer = _trainer(tmp_path / "c.safetensors")
    accuracies = iter([10.0, 50.0, 20.0, 30.0, 40.0, 15.0])
    states = []

    def validate():
        states.append(trainer.state())
        return next(accuracies)

    trainer.run(lambda i: world.source.batch(i, 4), validate)
    for name, value in trainer.state().items():
        assert torch.equal(value, states[1][name])


def test_no_epoch_counts_as_the_best_for_being_nan(tmp_path):
    world, trainer = _trainer(tmp_path / "c.safetensors")
    accuracies, states = iter([float("nan"), 50.0, float("nan"), 30.0, 20.0, 10.0]), []

    def validate():
        states.append(trainer.state())
        return next(accuracies)

    trainer.run(lambda i: world.source.batch(i, 4), validate)
    for name, value in trainer.state().items():
        assert torch.equal(value, states[1][name])


def test_the_best_epoch_by_what_the_settings_say(tmp_path):
    settings = replace(SETTINGS, select_by="log-likelihood")
    world, trainer = _trainer(tmp_path / "c.safetensors", settings)
    likelihoods, states = iter([-1.4, -1.3, -1.1, -1.2, float("nan"), -1.5]), []

    def measure():
        states.append(trainer.state())
        return {"log-likelihood": [next(likelihoods)]}

    trainer.run(lambda i: world.source.batch(i, 4), lambda: 10.0 * len(states), measure=measure)
    for name, value in trainer.state().items():
        assert torch.equal(value, states[2][name])


def test_another_configuration_is_not_resumed(tmp_path):
    world, trainer = _trainer(tmp_path / "c.safetensors")
    _run(trainer, world)
    world, other = _trainer(tmp_path / "c.safetensors", replace(SETTINGS, learning_rate=1.0))
    with pytest.raises(InputError, match="other settings"):
        _run(other, world)


def test_a_checkpoint_of_another_version_is_not_resumed(tmp_path):
    path = tmp_path / "c.safetensors"
    world, trainer = _trainer(path)
    with pytest.raises(KeyboardInterrupt):
        _run(trainer, world, stop_after=1)
    tensors, meta = read_tensors(path)
    write_tensors(path, {n: t for n, t in tensors.items() if not n.endswith("prior.base_log_scales")}, meta)
    world, trainer = _trainer(path)
    with pytest.raises(InputError, match=r"c\.safetensors is of another version of this package; choose another"):
        _run(trainer, world)


def test_training_leaves_the_global_generator_alone(tmp_path):
    world, trainer = _trainer(tmp_path / "c.safetensors")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    _run(trainer, world)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("after", "match"),
    [
        (0, "loss was NaN at the first iteration, before anything was learned"),
        (2, "loss became NaN by iteration 3; "),
    ],
)
def test_a_nan_loss_is_named_at_once(tmp_path, after, match):
    world, trainer = _trainer(tmp_path / "c.safetensors")

    def batch(iteration):
        if iteration == after:
            with torch.no_grad():
                world.likelihood.log_scale.fill_(float("nan"))
        return world.source.batch(iteration, 4)

    with pytest.raises(InputError, match=match):
        trainer.run(batch, lambda: 50.0)
    assert not trainer.checkpoint.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, meta: tensors.update(other=torch.zeros(1)),
        lambda tensors, meta: tensors.pop("now.likelihood.log_scale"),
        lambda tensors, meta: tensors.update({"now.likelihood.log_scale": torch.zeros(3)}),
        lambda tensors, meta: tensors.pop("adam.likelihood.log_scale.step"),
        lambda tensors, meta: meta["log"][0].update(more=1),
        lambda tensors, meta: meta.pop("log"),
        lambda tensors, meta: meta.pop("settings"),
        lambda tensors, meta: meta.pop("identity"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_line(tmp_path, change):
    path = tmp_path / "c.safetensors"
    world, trainer = _trainer(path, replace(SETTINGS, iterations=2, epochs=1))
    trainer.run(lambda i: world.source.batch(i, 4), lambda: 50.0)
    tensors, meta = read_tensors(path)
    change(tensors, meta)
    write_tensors(path, tensors, meta)
    world, other = _trainer(path, replace(SETTINGS, iterations=2, epochs=1))
    with pytest.raises(InputError, match="choose another checkpoint or delete it"):
        other.run(lambda i: world.source.batch(i, 4), lambda: 50.0)


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([1.2, 0.8, 1e9], True),
        ([1.2, 1e9, 0.8], False),
        ([1.2, 1.3], False),
        ([0.01, 0.9], False),
        ([5.0, 9.0], False),
    ],
)
def test_a_loss_far_above_its_start_is_divergence(losses, diverged):
    log = [EpochRecord(i + 1, i + 1, loss, 50.0, 1e-3) for i, loss in enumerate(losses)]
    assert has_diverged(log) == diverged


def test_joint_adam_equals_torch_adam_and_refuses_strangers():
    torch.manual_seed(0)
    world = make_world("diagonal")
    parameters = {f"{m}.{n}": p for m, mod in world.modules().items() for n, p in mod.named_parameters()}
    optimizer = JointAdam(parameters, 1e-2)
    svi = SVI(world.model, world.guide, optimizer, Trace_ELBO(max_plate_nesting=2))
    twin = make_world("diagonal")
    adam = torch.optim.Adam([p for mod in twin.modules().values() for p in mod.parameters()], lr=1e-2)
    episode = world.source.episodes(torch.arange(4))
    for step in range(3):
        torch.manual_seed(step)
        svi.step(episode)
        torch.manual_seed(step)
        adam.zero_grad()
        Trace_ELBO(max_plate_nesting=2).differentiable_loss(twin.model, twin.guide, episode).backward()
        adam.step()
    for mine, theirs in zip(world.modules().values(), twin.modules().values(), strict=True):
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="does not hold"):
        optimizer([torch.nn.Parameter(torch.zeros(1))])


def test_joint_adam_notices_a_parameter_that_was_moved():
    module = torch.nn.Linear(2, 2)
    optimizer = JointAdam(dict(module.named_parameters()), 1e-2)
    module.double().float()
    with pytest.raises(ValueError, match="moved or cast"):
        optimizer(())


def test_joint_adam_refuses_a_state_of_other_parameters():
    optimizer = JointAdam(dict(torch.nn.Linear(2, 2).named_parameters()), 1e-2)
    with pytest.raises(KeyError, match="weight"):
        optimizer.set_state({})


def test_the_paper_schedule():
    step = SCHEDULES["step"]
    assert [round(step(e / 60), 6) for e in (0, 9, 10, 24, 25, 49, 50, 59)] == [
        1,
        1,
        0.1,
        0.1,
        0.01,
        0.01,
        0.001,
        0.001,
    ]


@pytest.mark.parametrize(
    "bad", [{"iterations": 0}, {"learning_rate": -1.0}, {"objective": "x"}, {"schedule": "x"}, {"select_by": "x"}]
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(InputError):
        TrainSettings(**bad)


@pytest.mark.parametrize("draws", [0, 3])
def test_evaluation_depends_on_neither_batch_nor_order_and_changes_nothing(draws):
    world = make_world("mixture", joint=True, step_samples=2)
    before = {k: v.clone() for k, v in world.guide.state_dict().items()}
    rng = torch.get_rng_state()
    one = evaluate(world.guide, world.source, 30, draws)[0]
    other = evaluate(world.guide, world.source, 30, draws, batch_size=7)[0]
    assert torch.equal(one.correct, other.correct)
    torch.testing.assert_close(one.nll, other.nll)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(before[k], v) for k, v in world.guide.state_dict().items())
    assert world.guide.training


def test_iterates_are_scored_one_by_one():
    world = make_world(steps=3)
    scores = evaluate(world.guide, world.source, 20, iterates=range(4))
    assert torch.equal(scores[-1].nll, evaluate(world.guide, world.source, 20)[0].nll)
    zero = world.guide.initializer(world.source.episodes(torch.arange(20)).evidence)
    evidence = world.source.episodes(torch.arange(20)).evidence
    expected = next(predictions(world.guide.prior, world.guide.likelihood, evidence, 0, zero)).amax(-1)
    torch.testing.assert_close(scores[0].confidence, expected)


def test_averaged_draws_tend_to_the_mean_prediction_as_the_scale_vanishes():
    world = make_world(initial_scale=1e-6, kl=0.0)
    evidence = world.source.episodes(torch.arange(5)).evidence
    torch.testing.assert_close(
        world.guide.probabilities(evidence, 10)[0], world.guide.probabilities(evidence, 0)[0], atol=1e-4, rtol=0
    )
    wide = make_world(initial_scale=1.0, kl=0.0)
    assert not torch.allclose(
        wide.guide.probabilities(evidence, 10)[0], wide.guide.probabilities(evidence, 0)[0], atol=1e-2
    )


@pytest.mark.parametrize("prior", ["isotropic", "diagonal", "mixture"])
def test_the_bound_of_the_evidence_equals_the_mean_field_elbo(prior):
    """With one draw and q at a vanishing scale both take the likelihood at the mean."""
    from pyro.infer import TraceMeanField_ELBO

    world = make_world(prior, kl=0.1, initial_scale=1e-7)
    world.guide.eval()
    parts = evidence_bound(world.guide, world.source, 8, draws=1)
    elbo = TraceMeanField_ELBO(max_plate_nesting=2)
    loss = elbo.loss(world.model, world.guide, world.source.episodes(torch.arange(8)))
    assert -loss == pytest.approx(parts.log_likelihood - 0.1 * parts.kl, rel=1e-3)
