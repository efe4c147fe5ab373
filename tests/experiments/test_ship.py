"""A run's learner as a file for others: its card's figures are those of the file, on new classes and on its own."""

from dataclasses import replace

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.job import run as run_module
from pyro_sib.experiments.job.config import read_settings
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.ship import OWN, command_of, named_in, ship
from pyro_sib.experiments.ship import ShipSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.network_card import SHIPPED
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.settings.card import PictureSettings, ShippedNetwork
from pyro_sib.tensor_files import read_tensors
from tests.experiments.test_run import small_settings, write_features


def _trained(tmp_path, monkeypatch, setting):
    monkeypatch.setattr(run_module, "draw_pictures", lambda *args: None)
    settings = replace(small_settings(tmp_path), setting=setting, compare=False, kl_weight=0.02, split="val")
    settings = replace(settings, features=write_features(tmp_path / "more.npz", rows=60))
    return settings, run(settings)


def _ship(settings, tmp_path, **more):
    told = {
        "name": "tiny-1shot",
        "hardware": "a test",
        "commit": "abc",
        "own_tasks": 10,
        "out": tmp_path / "shipped",
    }
    return ShipSettings(**{"run": settings.out, "cache_dir": settings.cache_dir, **told, **more})


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_its_card_has_what_the_run_scored_and_what_the_file_scores_on_its_own_classes(
    tmp_path, monkeypatch, setting
):
    settings, result = _trained(tmp_path, monkeypatch, setting)
    card = ship(_ship(settings, tmp_path))
    path = tmp_path / "shipped" / "tiny-1shot.safetensors"
    assert load_learner(path).card == card
    assert {m.what: m.accuracy for m in card.measured if OWN not in m.what} == {
        f"{name}, val": found.mean for name, found in result.metrics.items()
    }
    assert [m.what for m in card.measured if OWN in m.what] == [f"{name}, {OWN}" for name in result.metrics]
    assert card.made["command"].startswith(f"python -m experiments.run --setting {setting} --data ")
    assert "--features DIR --iterations 6 --shots 1" in card.made["command"]
    assert str(tmp_path) not in card.made["command"]
    assert "8 base classes that it was trained on or the validation classes that chose its best" in card.licence
    again = run(replace(settings, learner=str(path), **_untrained(settings), out=tmp_path / "again"))
    assert again.metrics == result.metrics


def _untrained(settings):
    """What a learner decides on, at a run's defaults."""
    plain = type(settings)()
    names = ("setting", "iterations", "epochs", "kl_weight", "select_tasks")
    return {name: getattr(plain, name) for name in names}


def test_in_sixteen_bits_it_is_smaller_and_its_card_has_the_figures_of_the_rounded_file(tmp_path, monkeypatch):
    settings, result = _trained(tmp_path, monkeypatch, "lwof")
    card = ship(_ship(settings, tmp_path, half=True))
    path = tmp_path / "shipped" / "tiny-1shot.safetensors"
    tensors = read_tensors(path)[0]
    half = {name for name, tensor in tensors.items() if tensor.dtype == torch.float16}
    assert {"base_weights", "prior.locs", "prior.log_scales"} <= half
    assert not any(name.startswith("guide") for name in half)
    assert load_learner(path).base_weights.dtype == torch.float32
    whole = read_tensors(settings.out / "learner.safetensors")[0]
    saved = sum(t.nbytes for t in whole.values()) - sum(t.nbytes for t in tensors.values())
    assert saved == 2 * sum(tensors[name].numel() for name in half) > 0
    both = {m.what: m.accuracy for m in card.measured}["both, val"]
    assert both == pytest.approx(result.metrics["both"].mean, abs=1)


def test_a_network_that_comes_with_the_project_is_named_in_place_of_its_weights():
    pictures = PictureSettings("c64f", 84)
    name = "mini-imagenet-c64f"
    assert named_in(pictures, name).shipped == ShippedNetwork(name, SHIPPED[name])
    assert not named_in(pictures, name).holds_network
    assert named_in(pictures, "mine.safetensors") == named_in(pictures, None) == pictures


def test_the_command_in_a_card_is_the_runs(tmp_path, monkeypatch):
    settings, _ = _trained(tmp_path, monkeypatch, "standard")
    said = command_of(read_settings(settings.out))
    assert said == (
        "python -m experiments.run --setting standard --data synthetic --features DIR --iterations 6 --shots 1 "
        "--ways 3 --queries 4 --eval-tasks 20 --split val --kl-weight 0.02 --select-tasks 10 --epochs 3 --draws 2 "
        "--no-compare"
    )


def test_what_cannot_be_shipped_gets_one_line(tmp_path, monkeypatch):
    settings, _ = _trained(tmp_path, monkeypatch, "standard")
    for change, message in (
        ({"name": "a/b"}, "--name 'a/b': letters, digits, dots and hyphens are needed"),
        ({"run": tmp_path / "nowhere"}, "has no learner.safetensors; name a folder that a finished"),
        ({"commit": "abc-dirty"}, "was trained by abc-dirty, which nobody can check out; give --commit"),
    ):
        with pytest.raises(InputError, match=message):
            ship(_ship(settings, tmp_path, **change), Reporter())
