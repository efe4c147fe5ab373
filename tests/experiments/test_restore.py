"""A finished run comes back and predicts what it predicted."""

from dataclasses import replace

import pytest
import torch

from pyro_sib.cosine import unit
from pyro_sib.errors import InputError
from pyro_sib.experiments.drawing import style as figures
from pyro_sib.experiments.job.config import claim_folder, config_of, read_settings
from pyro_sib.experiments.job.restore import restore
from pyro_sib.experiments.job.result import metrics_of
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import read_json, write_json
from pyro_sib.inference.evaluation import evaluate
from tests.experiments.test_run import small, write_features

__all__ = ["small"]


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_a_restored_run_predicts_the_same(small, setting):
    small = replace(small, setting=setting, compare=False)
    result = run(small)
    back = restore(small.out, Reporter(), small.cache_dir)
    scores = evaluate(back.program.guide, back.sources["evaluate"], small.eval_tasks, small.draws)[0]
    assert metrics_of(scores) == result.metrics
    assert back.split == "test"
    assert not any(module.training for module in back.program.modules().values())


def test_what_is_no_finished_run_is_refused(small, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        restore(tmp_path / "nowhere", Reporter())
    run(replace(small, compare=False))
    out = small.out
    other = write_features(tmp_path / "other.npz", rows=25)
    with pytest.raises(InputError, match="is a run on other data"):
        restore(out, Reporter(), small.cache_dir, features=other)
    config = read_json(out / "config.json")
    write_json(out / "config.json", {**config, "colour": 1})
    with pytest.raises(InputError, match="settings that this version does not know: colour"):
        restore(out, Reporter(), small.cache_dir)
    write_json(out / "config.json", config)
    write_json(out / "config.json", {**config, "steps": 2})
    with pytest.raises(InputError, match=r"learner\.safetensors is of other settings than .*config\.json"):
        restore(out, Reporter(), small.cache_dir)
    write_json(out / "config.json", config)
    (out / "learner.safetensors").unlink()
    with pytest.raises(InputError, match=r"learner\.safetensors is missing; finish the run"):
        restore(out, Reporter(), small.cache_dir)


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_the_drawn_task_is_what_the_guide_saw(small, monkeypatch, setting):
    """With features moved by the propagation, and the task's own labels."""
    drawn = []
    whole = figures.task_scatter
    monkeypatch.setattr(figures, "task_scatter", lambda *args: drawn.append(args) or whole(*args))
    run(replace(small, setting=setting, propagation=0.6, compare=False, iterations=2, epochs=1))
    back = restore(small.out, Reporter(), small.cache_dir)
    episode = back.sources["evaluate"].episodes(torch.arange(1))
    evidence = back.program.guide.sees(episode)
    novel, base = small.ways * small.queries, len(back.ground.base_weights) if setting == "lwof" else 0
    (last,) = back.program.guide.probabilities(evidence, 0)
    points, support, *_, after, _, title = drawn[0]
    assert (after == (last[0, :novel].argmax(-1) - base).clamp_min(-1).numpy()).all()
    x = unit(evidence.query_x[0, :novel])
    plane = torch.linalg.svd(x - x.mean(0), full_matrices=False).Vh[:2].T
    torch.testing.assert_close(torch.from_numpy(points), (x - x.mean(0)) @ plane)
    moved = (unit(evidence.support_x[0]) - x.mean(0)) @ plane
    torch.testing.assert_close(torch.from_numpy(support), moved)
    assert "propagation 0.6" in title


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ways", "five"),
        ("ways", 5.5),
        ("ways", True),
        ("kl_weight", [1]),
        ("features", 3),
        ("setting", "both"),
        ("compare", "yes"),
        ("prior", {}),
    ],
)
def test_a_configuration_of_other_types_is_one_line(tmp_path, name, value):
    config = config_of(RunSettings(setting="standard").resolved())
    write_json(tmp_path / "config.json", config)
    assert read_settings(tmp_path).resolved().ways == 5
    write_json(tmp_path / "config.json", config | {name: value})
    with pytest.raises(InputError, match=f"config.json: {name} is .*; no run has written that"):
        read_settings(tmp_path)


def test_a_run_of_before_saw_features_as_they_are(tmp_path):
    """A run's learner has that power as well, and both must agree for it to be restored."""
    config = config_of(RunSettings(setting="standard", guide="gaussian-mixture").resolved())
    assert config["power"] == 0.5
    del config["power"]
    write_json(tmp_path / "config.json", config)
    assert read_settings(tmp_path).resolved().learner_settings().power == 1
    claim_folder(tmp_path, RunSettings(setting="standard", guide="gaussian-mixture", power=1.0).resolved())
    with pytest.raises(InputError, match=r"other settings \(power\)"):
        claim_folder(tmp_path, RunSettings(setting="standard", guide="gaussian-mixture").resolved())
    write_json(tmp_path / "config.json", config | {"learner": "lite0"})
    assert read_settings(tmp_path).power is None, "the learner's file says it"


@pytest.mark.parametrize("option", [{"power": 0.5}, {"coordinates": 20}])
def test_coordinates_are_for_guides_that_see_them(option):
    with pytest.raises(InputError, match=r"--(power|coordinates) \S+: sib sees the features themselves"):
        RunSettings(setting="standard", **option).resolved()


def test_a_folder_of_another_configuration_file_is_one_line(tmp_path):
    write_json(tmp_path / "config.json", [1])
    with pytest.raises(InputError, match="is no run's configuration"):
        claim_folder(tmp_path, RunSettings(setting="standard"))
