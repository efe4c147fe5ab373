"""Learners beside the comparators in one command: held-out classes, settings chosen there, and paired margins."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from pyro_sib.errors import InputError
from pyro_sib.experiments.compare import CompareSettings
from pyro_sib.experiments.comparison.compare import choosing_tasks, compare
from pyro_sib.experiments.job import run as run_module
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.run import run
from pyro_sib.inference.learner_file import load_learner, save_learner
from tests.experiments.test_report import row
from tests.experiments.test_run import small_settings

ONE = "soft-k-means"


def _like(settings, out, **more) -> CompareSettings:
    shared = ("features", "ways", "queries", "eval_tasks", "second_balance", "cache_dir")
    own = {name: getattr(settings, name) for name in shared}
    return CompareSettings(**own, comparators=ONE, choose_tasks=4, out=out, **more)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A run of the standard setting at one shot, under two balances."""
    monkeypatch.setattr(run_module, "draw_pictures", lambda *args: None)
    settings = replace(small_settings(tmp_path), setting="standard", compare=False, second_balance="dirichlet:2")
    run(settings)
    return settings


def _accuracies(folder, prediction):
    with (folder / "tasks.csv").open() as file:
        return np.array([float(r["novel"]) for r in csv.DictReader(file) if r["prediction"] == prediction])


def test_one_command_gives_margins_at_every_number_of_shots_and_both_balances(trained, tmp_path):
    learner = str(trained.out / "learner.safetensors")
    asked = _like(trained, tmp_path / "c", shots=(1, 2), learners=(learner,))
    results = compare(asked)
    assert [(r.guide, r.shots) for r in results] == [(ONE, 1), (ONE, 2), ("sib", 1), ("sib", 2)]
    text = (tmp_path / "c" / "margins.md").read_text()
    assert [line.split(",")[1] for line in text.splitlines() if line[:3] == "## "] == [
        f" 3-way {s}-shot" for s in (1, 2)
    ]
    cells = row(text.split("3-way 2-shot")[0], ONE)
    for at, prediction in ((0, "posterior"), (2, "posterior dirichlet:2")):
        ours, theirs = (
            _accuracies(tmp_path / "c" / "1-shot" / n, prediction) for n in ("learner-out-learner", ONE)
        )
        assert cells[at].startswith(f"{theirs.mean():.2f} ± ")
        spread = 1.96 * (ours - theirs).std(ddof=1) / len(ours) ** 0.5
        assert cells[at + 1] == f"{(ours - theirs).mean():+.2f} ± {spread:.2f}"
    assert compare(asked) == results, "nothing is done again"


def test_learners_of_different_features_are_refused_before_any_work(trained, tmp_path):
    settings = CompareSettings(data="folders", data_root=tmp_path, learners=("mini-imagenet-c128f-1shot", "lite0"))
    with pytest.raises(InputError, match=r"c128f, but --learners lite0 of efficientnet-lite0.*network"):
        settings.runs()
    assert [run.network for run in replace(settings, network="mini-imagenet-c128f").runs()] == [
        *(None, "mini-imagenet-c128f")
    ]
    with pytest.raises(InputError, match="--network mini-imagenet-c64f has features of c64f, but --learners mini"):
        replace(settings, network="mini-imagenet-c64f").runs()


def test_two_learners_for_any_task_are_two_methods(trained, tmp_path):
    other = tmp_path / "other" / "learner.safetensors"
    lite0 = load_learner("lite0")
    save_learner(other, replace(lite0, card=replace(lite0.card, name="another")))
    compare(_like(trained, tmp_path / "c", learners=("lite0", str(other))))
    header = (tmp_path / "c" / "margins.md").read_text().split("\n| :")[0]
    assert "lite0" in header
    assert "another" in header


def test_finished_runs_stand_beside_them(trained, tmp_path):
    compare(_like(trained, tmp_path / "c", beside=(trained.out,)))
    ours, theirs = (_accuracies(f, "posterior") for f in (trained.out, tmp_path / "c" / ONE))
    text = (tmp_path / "c" / "margins.md").read_text()
    assert row(text, ONE)[1].startswith(f"{(ours - theirs).mean():+.2f} ± ")
    with pytest.raises(InputError, match="nothing of ours at 2 shots to compare; give --beside a run of these"):
        compare(_like(trained, tmp_path / "d", beside=(trained.out,), shots=(1, 2)))


def test_settings_are_chosen_on_classes_that_f_does_not_know_and_used_elsewhere(trained, tmp_path):
    held = _like(trained, tmp_path / "held", hold_out_classes=4)
    (chosen,) = compare(held)
    assert (chosen.split, "4 base classes held out as val" in chosen.data.base_holdout) == ("val", True)
    best = max(chosen.chosen.tried, key=lambda one: one["accuracy"])
    path = tmp_path / "held" / ONE / "result.json"
    other = next(one["temperature"] for one in chosen.chosen.tried if one["temperature"] != best["temperature"])
    text = path.read_text().replace(f'"temperature": {chosen.settings["temperature"]}', f'"temperature": {other}')
    path.write_text(text)
    assert Result.read(path).settings["temperature"] == other
    (used,) = compare(_like(trained, tmp_path / "c", chosen_from=tmp_path / "held"))
    assert (used.settings["temperature"], used.split) == (other, "test")
    assert used.chosen == Result.read(path).chosen
    with pytest.raises(InputError, match="of soft-k-means at 1 shots, not of soft-k-means at 2"):
        compare(_like(trained, tmp_path / "d", chosen_from=tmp_path / "held", shots=(2,)))
    with pytest.raises(InputError, match=r"--chosen-from .*nowhere has no soft-k-means/result.json"):
        compare(_like(trained, tmp_path / "d", chosen_from=tmp_path / "nowhere"))


def test_tasks_that_choose_are_of_the_held_out_classes_and_not_those_of_the_evaluation(trained, tmp_path):
    import torch

    from pyro_sib.data import hold_out_classes, read_features
    from pyro_sib.experiments.job.tasks import make_sources

    like = _like(trained, tmp_path, hold_out_classes=4).cells()[0].run_settings()
    data, device = hold_out_classes(read_features(trained.features), 4), torch.device("cpu")
    found = choosing_tasks(data, like, device)
    assert found.sampler.novel is data.split("val")
    evaluated = make_sources(data, like, "val", device)["evaluate"]
    tasks = torch.arange(5)
    assert not torch.equal(found.episodes(tasks).evidence.query_x, evaluated.episodes(tasks).evidence.query_x)
