"""The regression command from end to end, small, and each bad input's one line."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

from pyro_sib.errors import InputError
from pyro_sib.experiments.regression import main
from pyro_sib.experiments.sinusoids.program import build_program, evaluate_iterates, prepare, selection
from pyro_sib.experiments.sinusoids.regression import run
from pyro_sib.experiments.sinusoids.settings import RegressionSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import read_json
from pyro_sib.inference.training import Trainer


@pytest.fixture(autouse=True)
def _short_evidence(monkeypatch):
    monkeypatch.setattr("pyro_sib.experiments.sinusoids.program.EVIDENCE_STEPS", 20)


@pytest.fixture
def small(tmp_path) -> RegressionSettings:
    return RegressionSettings(
        guide=("maml", "sib"), iterations=20, select_tasks=10, eval_tasks=30, frequencies=5, out=tmp_path / "out"
    )


def test_svi_lowers_the_error_far_below_that_of_the_prior(tmp_path):
    """Below a tenth of the squared error before the steps, on 200 tasks."""
    settings = RegressionSettings(guide=("maml",), iterations=300).resolved()
    ground = prepare(settings.shape(), settings.frequencies, settings.seed)
    program = build_program("maml", settings.guide_settings(), settings.weights(), "diagonal", ground, 0)
    untrained = evaluate_iterates(program, ground.sources["evaluate"], 200)
    trainer = Trainer(
        program.model, program.guide, program.modules(), settings.train_settings(), tmp_path / "a.safetensors"
    )
    trainer.run(lambda i: ground.sources["train"].batch(i, 8), selection(program, ground.sources["select"], 100))
    scores = [s.metrics() for s in evaluate_iterates(program, ground.sources["evaluate"], 200)]
    assert scores[-1]["mse"].mean < 0.1 * scores[0]["mse"].mean
    assert scores[-1]["mse"].mean < 0.5 * untrained[-1].metrics()["mse"].mean
    assert scores[-1]["log_density"].mean > untrained[-1].metrics()["log_density"].mean
    assert trainer.log[-1].accuracy == pytest.approx(max(r.accuracy for r in trainer.log), abs=0.1)


def test_a_run_leaves_everything_it_promises(small, tmp_path, rendered):
    result = run(small)
    out = tmp_path / "out"
    assert read_json(out / "result.json") == json.loads(json.dumps(result))
    assert set(result["guides"]) == {"maml", "sib"}
    assert len(result["guides"]["maml"]["iterates"]) == 4
    assert set(result["exact"]["metrics"]) == {"mse", "log_density", "coverage"}
    assert result["kl_weight"] == 11 / 20  # D / queries
    with Image.open(out / "regression.png") as image:
        assert image.width > 800
    assert run(small) == json.loads(json.dumps(result))
    with pytest.raises(InputError, match="holds a run with other settings"):
        run(replace(small, shots=4))


def test_a_stopped_run_goes_on_to_the_same_result(small, tmp_path, monkeypatch):
    whole = run(replace(small, guide=("maml",), step_samples=2))

    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    again = replace(small, guide=("maml",), step_samples=2, out=tmp_path / "again")
    with monkeypatch.context() as patch:
        save = Trainer._save
        patch.setattr(Trainer, "_save", lambda t: (save(t), len(t.log) == 4 and stop()))
        with pytest.raises(StopError):
            run(again)
    resumed = run(again)
    assert resumed["guides"] == whole["guides"]
    assert resumed["exact"] == whole["exact"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"guide": ("mamle",)}, "no guide 'mamle' for regression; choose from maml, "),
        ({"guide": ()}, "--guide: name at least one"),
        ({"guide": ("sib", "sib")}, "each once"),
        ({"shots": 0}, "--shots 0"),
        ({"frequencies": 0}, "--frequencies 0"),
        ({"eval_tasks": 1}, "--eval-tasks 1"),
        ({"iterations": 0}, "--iterations 0"),
        ({"kl_weight": -1.0}, "--kl-weight -1.0"),
        ({"queries": 0}, "--queries 0"),
        ({"step_size": 0.0}, "--step-size 0.0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(small, bad, words):
    with pytest.raises(InputError, match=words):
        run(replace(small, **bad), Reporter())
    assert not small.out.exists()


def test_the_command_ends_with_code_2_for_bad_input(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["regression", "--guide", "mamle"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("error: no guide 'mamle'")


def test_features_without_gains_describe_the_same_base_tasks():
    shape, x = RegressionSettings().shape(), torch.rand(1, 7, 1)
    learned, plain = (prepare(shape, 5, 0, gains) for gains in (True, False))
    curves = [g.sources["train"].features(x) @ g.base_weights.T for g in (learned, plain)]
    torch.testing.assert_close(curves[0], curves[1], rtol=1e-4, atol=1e-4)
    assert torch.equal(plain.sources["train"].features.gains, torch.ones(11))


def test_seeds_change_the_training_and_leave_the_held_out_tasks():
    shape = RegressionSettings().shape()
    a, b = (prepare(shape, 5, seed).sources for seed in (0, 1))
    ids = torch.arange(3)
    assert torch.equal(a["evaluate"].episodes(ids).query_y, b["evaluate"].episodes(ids).query_y)
    assert not torch.equal(a["train"].episodes(ids).query_y, b["train"].episodes(ids).query_y)
