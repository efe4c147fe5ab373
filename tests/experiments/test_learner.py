"""A run leaves its learner as one file, which is evaluated again without training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib import FewShotClassifier, InputError
from pyro_sib.experiments.comparison.compare import base_tasks
from pyro_sib.experiments.job.features import load_data
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.recipe import PretrainSettings
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.fit_learner import FitSettings
from pyro_sib.inference.learner_file import save_learner
from pyro_sib.inference.settings.card import read_learner_card
from pyro_sib.inference.settings.training import TrainSettings
from tests.experiments.test_run import small

__all__ = ["small"]


@pytest.mark.parametrize(
    ("setting", "guide"), [("standard", "sib"), ("lwof", "sib"), ("standard", "gaussian-mixture")]
)
def test_a_saved_learner_is_evaluated_to_the_same_numbers(small, tmp_path, setting, guide):
    trained = run(replace(small, setting=setting, guide=guide, compare=False))
    file = small.out / "learner.safetensors"
    card = read_learner_card(file)
    assert [m.accuracy for m in card.measured] == [m.mean for m in trained.metrics.values()]
    assert card.data["fingerprint"] == trained.data.fingerprint
    options = {
        name: getattr(small, name) for name in ("features", "queries", "ways", "eval_tasks", "draws", "cache_dir")
    }
    again = run(RunSettings(learner=str(file), out=tmp_path / "again", **options))
    assert again.metrics == trained.metrics
    assert again.calibration == trained.calibration
    assert again.train_log == ()
    assert (again.iterations, again.guide) == (small.iterations, guide)
    assert again.kl_weight == trained.kl_weight
    assert not (tmp_path / "again" / "sib.safetensors").exists()
    assert not (tmp_path / "again" / "learner.safetensors").exists()
    assert run(RunSettings(learner=str(file), out=tmp_path / "again", **options)) == again
    job = RunSettings(learner=str(file), **options).resolved()
    bank = load_data(job, Reporter())
    tasks = (
        base_tasks(bank, job, torch.device("cpu")),
        make_sources(bank, job, "val", torch.device("cpu"))["evaluate"],
    )
    widths = {source.episodes(torch.arange(2)).evidence.support_x.shape[-1] for source in tasks}
    assert len(widths) == 1, "tasks to fit on are as the learner sees those that it is evaluated on"
    with pytest.raises(InputError, match=r"--guide maml with --learner .*, which has \w+(-\w+)?; leave it out"):
        RunSettings(learner=str(file), guide="maml", **options).resolved()
    with pytest.raises(InputError, match="takes features; give --features"):
        RunSettings(learner=str(file)).resolved()


def test_a_run_needs_a_setting_or_a_learner():
    with pytest.raises(InputError, match="--setting is missing; choose standard or lwof, or give a --learner"):
        RunSettings().resolved()
    with pytest.raises(InputError, match="no learner nobody: give a file"):
        RunSettings(learner="nobody").resolved()


def test_an_interrupted_finish_writes_the_learner_before_the_result(small):
    run(replace(small, compare=False))
    (small.out / "learner.safetensors").unlink()
    run(replace(small, compare=False))
    assert (small.out / "learner.safetensors").is_file()


def test_a_learner_is_evaluated_on_pictures_of_new_classes_alone(tmp_path):
    """Its own classes, which only its training needed, are nowhere."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (32, 16, 16, 3), dtype=np.uint8)
    settings = FitSettings(
        ways=3,
        queries=3,
        inside=GuideSettings(steps=1, synthetic_gradient="context"),
        training=TrainSettings(2, 1),
        pretrain=PretrainSettings(image_size=16, epochs=1, batch_size=16),
        select_tasks=2,
    )
    FewShotClassifier.fit(pixels, [f"own {n % 4}" for n in range(32)], settings).save(tmp_path / "l.safetensors")
    for name in ("heron", "ibis", "crane"):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        for row in range(6):
            picture = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "data" / "test" / name / f"{row}.png")
    options = {"ways": 3, "queries": 4, "eval_tasks": 3, "cache_dir": tmp_path / "cache", "out": tmp_path / "out"}
    where = {"data": "folders", "data_root": tmp_path / "data"}
    result = run(RunSettings(learner=str(tmp_path / "l.safetensors"), **where, **options))
    assert result.split == "test"
    assert result.selected_on is None
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"accuracy_against_K.png", "task.png"}
    (tmp_path / "data" / "test" / "ibis").rename(tmp_path / "data" / "test" / "own 1")
    with pytest.raises(InputError, match=r"was trained on 1 of the test classes .own 1 is one"):
        run(RunSettings(learner=str(tmp_path / "l.safetensors"), **where, **{**options, "out": tmp_path / "other"}))


def test_a_network_of_another_width_is_refused_before_any_features(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (32, 16, 16, 3), dtype=np.uint8)
    settings = FitSettings(
        ways=3,
        queries=3,
        training=TrainSettings(2, 1),
        pretrain=PretrainSettings(image_size=16, epochs=1, batch_size=16),
        select_tasks=2,
    )
    learner = FewShotClassifier.fit(pixels, [f"own {n % 4}" for n in range(32)], settings).trained
    larger = replace(learner, card=replace(learner.card, pictures=replace(learner.card.pictures, image_size=32)))
    for row in range(18):
        folder = tmp_path / "data" / "test" / ("heron", "ibis", "crane")[row % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[row]).save(folder / f"{row}.png")
    save_learner(tmp_path / "l.safetensors", larger)
    where = {"data": "folders", "data_root": tmp_path / "data", "cache_dir": tmp_path / "cache"}
    with pytest.raises(InputError, match="the learner takes features of 64 numbers, but the data's have 256"):
        run(RunSettings(learner=str(tmp_path / "l.safetensors"), ways=3, queries=4, **where, out=tmp_path / "out"))
    assert not list((tmp_path / "cache" / "banks").iterdir())
