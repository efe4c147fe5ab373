"""Calibration checks on data that the model simulates: what is right passes, what is narrowed by half is caught."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

from pyro_sib.errors import InputError
from pyro_sib.experiments.sampling.sbc import judge, run
from pyro_sib.experiments.sampling.sbc_settings import SBCSettings
from pyro_sib.experiments.sampling.simulation import Simulation
from pyro_sib.experiments.sbc import main
from pyro_sib.files import read_json

LINEAR = SBCSettings(
    model="linear",
    replications=120,
    features=4,
    points=8,
    draws=49,
    thin=1,
    warmup=50,
    fit_steps=600,
    seed=1,
)
COSINE = replace(LINEAR, model="cosine", ways=2)


@pytest.mark.parametrize("method", ["mean-field-oracle", "exact-gradient"])
def test_guides_of_the_right_family_pass_and_a_narrowed_one_is_caught(method, monkeypatch):
    theta = Simulation(LINEAR)._theta(method)
    monkeypatch.setattr(Simulation, "_theta", lambda *_: theta)  # fitted once, since what is planted comes after
    right = judge(Simulation(LINEAR).guide(method), LINEAR.level)
    wrong = judge(Simulation(replace(LINEAR, narrow=0.5)).guide(method), LINEAR.level)
    assert right["calibrated"]
    assert right["spread"] == pytest.approx(1, abs=0.1)
    assert not wrong["calibrated"]
    assert wrong["spread"] == pytest.approx(2, abs=0.25)


def test_nuts_passes_on_the_cosine_model_and_its_draws_narrowed_by_half_are_caught():
    simulation = Simulation(COSINE)
    w, _ = simulation.nuts()
    assert w.shape == (49, 120, 2, 4)
    right = judge(simulation.ranks(w), COSINE.level)
    assert right["calibrated"]
    assert right["spread"] == pytest.approx(1, abs=0.1)
    narrowed = judge(Simulation(replace(COSINE, narrow=0.5)).ranks(w), COSINE.level)
    assert not narrowed["calibrated"]
    assert narrowed["spread"] > 1.5


def test_the_prior_in_the_posteriors_place_is_caught_by_the_log_likelihood():
    simulation = Simulation(COSINE)
    with torch.no_grad():
        prior = simulation.prior.distribution(None).sample((49, 120, 2))
    found = judge(simulation.ranks(prior), COSINE.level)
    assert not found["calibrated"]
    assert found["worst"] == "log likelihood"
    weights = [row["p_uniform"] for name, row in found["quantities"].items() if name != "log likelihood"]
    assert min(weights) > COSINE.level / len(found["quantities"])


@pytest.mark.slow
def test_nuts_passes_on_the_linear_model():
    simulation = Simulation(LINEAR)
    assert judge(simulation.ranks(simulation.nuts()[0]), LINEAR.level)["calibrated"]


def test_a_seed_reproduces_every_number():
    small = replace(LINEAR, replications=20, fit_steps=20)
    numbers = [Simulation(replace(small, seed=seed)).guide("mean-field-oracle") for seed in (0, 0, 1)]
    assert all((numbers[0][name] == numbers[1][name]).all() for name in numbers[0])
    assert (numbers[0]["w[0, 0]"] != numbers[2]["w[0, 0]"]).all()
    draws = [Simulation(replace(small, draws=19, thin=2, warmup=20)).nuts()[0] for _ in range(2)]
    assert torch.equal(*draws)


def test_the_command_leaves_everything_and_says_by_its_code_what_it_found(tmp_path, monkeypatch, capsys, rendered):
    arguments = (
        "--model linear --methods mean-field-oracle --replications 60 --features 3 --points 6 --fit-steps 400"
    )
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    monkeypatch.setattr(sys, "argv", ["sbc", *arguments.split(), "--out", str(right)])
    assert main() == 0
    result = read_json(right / "result.json")
    assert set(result["places"]["mean-field-oracle"]) == {"w[0, 0]", "w[0, 1]", "w[0, 2]", "log likelihood"}
    assert len(result["places"]["mean-field-oracle"]["w[0, 0]"]) == 60
    with Image.open(right / "sbc.png") as image:
        assert image.width > 500
    monkeypatch.setattr(sys, "argv", ["sbc", *arguments.split(), "--narrow", "0.5", "--out", str(wrong)])
    assert main() == 1
    assert "fails" in capsys.readouterr().out
    again = run(
        SBCSettings("linear", ("mean-field-oracle",), 60, 3, points=6, fit_steps=400, narrow=0.5, out=wrong)
    )
    assert again == json.loads(json.dumps(read_json(wrong / "result.json")))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"methods": ("nut",)}, "no method 'nut' for this check; choose from nuts, "),
        ({"methods": ()}, "--methods: name at least one"),
        ({"replications": 5}, "--replications 5: 20 or more"),
        ({"draws": 3}, "--draws 3: 19 or more"),
        ({"warmup": 1}, "--warmup 1: 20 or more"),
        ({"points": 3}, "orthogonal features need at least --features 4"),
        ({"narrow": 0.0}, "--narrow 0.0"),
        ({"level": 1.0}, "--level 1.0"),
        ({"features": 200, "points": 300}, "201 quantities .* lower --features or raise --level"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, bad, words):
    with pytest.raises(InputError, match=words):
        run(replace(LINEAR, **bad, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
