"""The calibrate command from end to end on small features."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments import calibrate as command
from experiments.calibrate import CalibrateSettings, calibrate
from experiments.predictors import Predictor, predictors_of
from experiments.progress import Reporter
from experiments.restore import restore
from experiments.run import run
from inference.draws import draw_probabilities
from inference.prediction import predict
from pyro_sib.errors import InputError
from tests.experiments.test_run import small

__all__ = ["small"]


@pytest.fixture
def finished(small) -> Path:
    run(replace(small, setting="standard", compare=False))
    return small.out


def settings_for(out: Path, **changes) -> CalibrateSettings:
    plain = CalibrateSettings(
        runs=(out,), draws=6, fit_tasks=8, out=out.parent / "calibration", cache_dir=out.parent / "cache"
    )
    return replace(plain, **changes)


def test_a_run_is_measured_and_drawn(finished):
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
        assert posterior[name] == result[name]
    assert posterior["accuracy"]["mean"] == pytest.approx(result["metrics"]["both"]["mean"], abs=1e-3)
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
    torch.testing.assert_close(draws.mean(0), predict(guide, evidence, 5))
    alone = guide.sees(source.episodes(torch.tensor([4])))
    torch.testing.assert_close(draw_probabilities(guide, alone, 5)[:, 0], draws[:, 4])
    wide, narrow = (draw_probabilities(guide, evidence, 5, widen).std(0).mean() for widen in (3.0, 0.1))
    assert wide > 3 * narrow
    flat = Predictor("flat", 5, temperature=50.0)(guide, evidence)
    torch.testing.assert_close(flat, torch.full_like(flat, 1 / flat.shape[-1]), atol=0.1, rtol=0)


def test_what_cannot_be_calibrated_is_refused(finished, small, tmp_path):
    with pytest.raises(InputError, match="--draws 1: 2 or more are needed"):
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
