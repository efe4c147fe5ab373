"""The calibrate command from end to end on small features."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.restore import restore
from pyro_sib.experiments.job.result import metrics_of
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.trust import calibrate as command
from pyro_sib.experiments.trust.calibrate import CalibrateSettings, calibrate
from pyro_sib.experiments.trust.predictors import Predictor, predictors_of
from pyro_sib.features.pretrain import extract
from pyro_sib.files import read_json, write_json
from pyro_sib.inference.draws import draw_probabilities
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.tensor_files import read_tensors
from tests.experiments.test_run import small, small_settings

__all__ = ["small"]


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    """The folder of a finished run."""
    small = small_settings(tmp_path_factory.mktemp("once"))
    run(replace(small, setting="standard", compare=False))
    return small.out


@pytest.fixture
def finished(once, small) -> Path:
    """A copy of it that is one's own, on the features that further runs have."""
    config = read_json(shutil.copytree(once, small.out) / "config.json")
    write_json(small.out / "config.json", config | {"features": str(small.features)})
    return small.out


def settings_for(out: Path, **changes) -> CalibrateSettings:
    plain = CalibrateSettings(
        runs=(out,), draws=6, fit_tasks=8, out=out.parent / "calibration", cache_dir=out.parent / "cache"
    )
    return replace(plain, **changes)


def test_a_run_is_measured_and_drawn(finished, rendered):
    settings = settings_for(finished)
    result = calibrate(settings)
    names = [row["predictor"]["name"] for row in result["rows"]]
    assert names == ["point", "posterior", "point, tempered", "posterior, tempered"]
    point, _, scaled, _ = result["rows"]
    assert point["accuracy"] == scaled["accuracy"]
    assert point["nll_difference"]["mean"] == 0
    assert scaled["nll_less_tempered_point"]["mean"] == 0
    expected = point["nll"]["mean"] - scaled["nll"]["mean"]
    assert point["nll_less_tempered_point"]["mean"] == pytest.approx(expected, abs=1e-5)
    assert point["auroc"]["mutual information"] == pytest.approx(50)
    assert {p.name for p in settings.out.iterdir()} == {
        "table.md",
        "result.json",
        "reliability.png",
        "risk_coverage.png",
        "strangers.png",
    }
    again = calibrate(replace(settings, out=settings.out / "again"))
    assert again["rows"] == result["rows"]


def test_a_joint_run_is_measured_by_part(small):
    result = run(replace(small, compare=False))
    found = calibrate(settings_for(small.out, draws=small.draws))
    posterior = found["rows"][1]
    for name in ("metrics", "joint"):
        assert posterior[name] == asdict(result)[name]
    assert posterior["accuracy"]["mean"] == pytest.approx(result.metrics["both"].mean, abs=1e-3)
    assert sum(posterior["joint"]["errors"].values()) == pytest.approx(100, abs=0.01)
    text = (small.out.parent / "calibration" / "table.md").read_text()
    for word in ("AUROC, base or novel", "novel taken for base", "base, together"):
        assert word in text
    standard = small.out.parent / "standard"
    run(replace(small, setting="standard", compare=False, out=standard))
    with pytest.raises(InputError, match="have other settings or task sizes; calibrate them apart"):
        calibrate(settings_for(small.out, runs=(small.out, standard)))


def test_tasks_to_fit_on_carry_the_base_classes_that_lambda_attends_to(small):
    """Without the classes that play novel there."""
    run(replace(small, setting="standard", initializer="attention", compare=False))
    result = calibrate(settings_for(small.out))
    assert len(result["rows"]) == 4


def test_what_is_fitted_sees_tasks_of_the_training_classes_alone(finished, monkeypatch):
    seen = []

    def spy(guide, source, *rest):
        seen.append(source.sampler.novel.x)
        return predictors_of(guide, source, *rest)

    monkeypatch.setattr(command, "predictors_of", spy)
    calibrate(settings_for(finished))
    back = restore(finished, Reporter(), finished.parent / "cache")
    assert len(seen) == 1
    assert torch.equal(seen[0], back.ground.bank.split("base_train").x)
    assert not torch.equal(seen[0], back.sources["evaluate"].sampler.novel.x)


def test_draws_average_to_the_prediction_and_the_batch_does_not_matter(finished):
    back = restore(finished, Reporter(), finished.parent / "cache")
    guide, source = back.program.guide, back.sources["evaluate"]
    evidence = guide.sees(source.episodes(torch.arange(6)))
    draws = draw_probabilities(guide, evidence, 5)
    torch.testing.assert_close(draws.mean(0), guide.probabilities(evidence, 5)[0])
    alone = guide.sees(source.episodes(torch.tensor([4])))
    torch.testing.assert_close(draw_probabilities(guide, alone, 5)[:, 0], draws[:, 4])
    wide, narrow = (draw_probabilities(guide, evidence, 5, widen).std(0).mean() for widen in (3.0, 0.1))
    assert wide > 3 * narrow
    flat = Predictor("flat", 5, temperature=50.0)(guide, evidence)
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / flat.shape[-1]), atol=0.1, rtol=0)


def test_what_cannot_be_calibrated_is_refused(finished, small, tmp_path):
    with pytest.raises(InputError, match="--draws 1: 2 or more is needed"):
        calibrate(settings_for(finished, draws=1))
    with pytest.raises(InputError, match="holds no run"):
        calibrate(settings_for(tmp_path / "nowhere"))
    other = tmp_path / "two"
    run(replace(small, setting="standard", compare=False, shots=2, out=other))
    with pytest.raises(InputError, match="have other settings or task sizes; calibrate them apart"):
        calibrate(settings_for(finished, runs=(finished, other)))
    baseline = tmp_path / "baseline"
    run(replace(small, setting="standard", compare=False, guide="prototypical", out=baseline))
    with pytest.raises(InputError, match="prototypical has no posterior over w"):
        calibrate(settings_for(baseline))


def test_what_is_fitted_may_come_from_classes_that_another_run_held_out(finished, small):
    held = small.out.parent / "held"
    like = replace(small, setting="standard", compare=False, ways=3)
    run(replace(like, hold_out_classes=3, out=held))
    with_own, with_held = (calibrate(settings_for(finished, fit_on=fit)) for fit in ((), (held,)))
    for name in ("accuracy", "nll", "ece"):
        assert with_own["rows"][0][name] == with_held["rows"][0][name]
    assert with_own["rows"][2]["predictor"] != with_held["rows"][2]["predictor"]


def test_a_run_to_fit_on_is_of_the_same_form_and_held_classes_out(finished, small):
    with pytest.raises(InputError, match="held no classes out; run it with --hold-out-classes"):
        calibrate(settings_for(finished, fit_on=(finished,)))
    with pytest.raises(InputError, match="names 2 runs for 1"):
        calibrate(settings_for(finished, fit_on=(finished, finished)))
    other = small.out.parent / "other"
    run(replace(small, setting="standard", compare=False, shots=2, hold_out_classes=3, out=other))
    with pytest.raises(InputError, match=r"has other settings .*\(shots\)"):
        calibrate(settings_for(finished, fit_on=(other,)))


@pytest.fixture
def tuned(tmp_path, tiny_world):
    """A run of a tiny image world whose features stage 2 trained on."""
    settings = RunSettings(
        setting="standard",
        image_size=16,
        pretrain_epochs=1,
        pretrain_batch_size=16,
        ways=3,
        queries=2,
        iterations=4,
        epochs=1,
        batch_size=2,
        select_tasks=2,
        eval_tasks=6,
        draws=2,
        tune_features=True,
        second_balance="dirichlet:5",
        learning_rate=0.01,
        cache_dir=tmp_path / "cache",
        out=tmp_path / "out",
    )
    return settings, run(settings)


def test_what_is_fitted_has_the_features_that_stage_2_left(tuned, monkeypatch):
    """As everything of a tuned run but the K = 0 trained beside it, which says so."""
    settings, result = tuned
    assert result.comparison.features == "stage 1"
    back = restore(settings.out, Reporter(), settings.cache_dir)
    backbone, images = load_learner(settings.out / "learner.safetensors").backbone, back.ground.images
    for name, split in images.splits.items():
        features = extract(backbone, split.x, back.device)
        torch.testing.assert_close(back.ground.bank.split(name).x, features)
        kept = [read_tensors(path)[0] for path in (settings.cache_dir / "banks").glob(f"*.{name}.safetensors")]
        assert sum(torch.allclose(one["features"], features, atol=1e-4) for one in kept) == 1
    for purpose in ("evaluate", "second"):
        assert torch.equal(back.sources[purpose].novel, back.ground.bank.split("test").x)
    scores = evaluate(back.program.guide, back.sources["second"], settings.eval_tasks, settings.draws)[0]
    assert metrics_of(scores) == result.second.metrics
    seen = []

    def spy(guide, source, *rest):
        seen.append(source.novel)
        return predictors_of(guide, source, *rest)

    monkeypatch.setattr(command, "predictors_of", spy)
    calibrate(settings_for(settings.out, fit_tasks=2, draws=2))
    held = [back.ground.bank.split(name).x for name in ("base_val", "base_train")]
    assert any(torch.equal(seen[0], x) for x in held if x.shape == seen[0].shape)


def test_what_is_fitted_has_the_queries_balance_of_what_is_evaluated(small, monkeypatch):
    settings = replace(small, setting="standard", compare=False, iterations=2, epochs=1, queries=2)
    run(replace(settings, query_balance="dirichlet:2"))
    shapes = []

    def spy(guide, source, *rest):
        shapes.append(source.sampler.shape)
        return predictors_of(guide, source, *rest)

    monkeypatch.setattr(command, "predictors_of", spy)
    calibrate(settings_for(small.out, fit_tasks=2, draws=2))
    assert shapes[0].balance == restore(small.out, Reporter()).sources["evaluate"].sampler.shape.balance
    assert shapes[0].balance is not None


def test_results_stay_where_figures_cannot_be_drawn(finished, monkeypatch, capsys):
    def fail(*args):
        raise RuntimeError("no figure today")

    monkeypatch.setattr(command, "save_figure", fail)
    result = calibrate(settings_for(finished, fit_tasks=2, draws=2))
    assert len(result["decoration_warnings"]) == 3
    assert capsys.readouterr().out.count("no figure today") == 3
    assert {path.name for path in (finished.parent / "calibration").iterdir()} == {"table.md", "result.json"}
