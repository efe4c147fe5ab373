"""Every number of every command's settings is decided on, and refused out of its bounds before any work."""

import importlib
import pkgutil
from dataclasses import is_dataclass, replace
from math import inf, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import LIMITS, SPECIAL, check_numbers, limit_of, numbers_of
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.trust.settings import CalibrateSettings
from pyro_sib.features.recipe import PretrainSettings
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.tasks.query_balance import query_counts
from pyro_sib.tasks.shape import ALPHAS, parse_balance


def commands() -> dict[str, type]:
    """Settings that the command line fills in: each dataclass of a module of experiments that ends in Settings."""
    found = {}
    package = importlib.import_module("pyro_sib.experiments")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.endswith("Settings") and is_dataclass(value) and value.__module__.startswith(package.__name__):
                found[name] = value
    return found


COMMANDS = commands()
REQUIRED = {
    "name": "x",
    "hardware": "x",
    "setting": "standard",
    "run": None,
    "runs": (),
    "fit_on": (),
    "labeled": None,
    "unlabeled": None,
}
FIELDS = [(command, name) for command in COMMANDS for name in numbers_of(COMMANDS[command])]


def made(command: str, name: str, value: float):
    """The settings with one number, in a tuple where the field takes several."""
    kind = COMMANDS[command]
    needed = {n: v for n, v in REQUIRED.items() if n in kind.__dataclass_fields__}
    several = isinstance(kind.__dataclass_fields__[name].default, tuple)
    return kind(**needed | {name: (value,) if several else value})


def test_the_commands_are_found():
    assert {
        "RunSettings",
        "RegressionSettings",
        "GoldSettings",
        "SBCSettings",
        "DiagnoseSettings",
    } <= COMMANDS.keys()
    assert {"AblateSettings", "CompareSettings", "BlendSettings", "BenchmarkSettings"} <= COMMANDS.keys()
    assert ("ReproduceSettings", "steps") in FIELDS
    assert ("RunSettings", "kl_weight") in FIELDS
    assert ("RunSettings", "learn_step_size") not in FIELDS


def test_no_limit_is_left_over():
    assert LIMITS.keys() == {name for _, name in FIELDS}
    assert SPECIAL.keys() <= set(FIELDS)


@pytest.mark.parametrize(("command", "name"), FIELDS)
def test_every_number_out_of_its_bounds_is_one_line(command, name):
    limit = limit_of(COMMANDS[command], name)
    bad = [nan, inf, -inf, -1, limit.least if limit.above else limit.least - 1, 10**30]
    for value in [*bad, limit.most if limit.below else limit.most * 2 + 1]:
        with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} .* is needed( for [\\w\\- ]+)?$"):
            check_numbers(made(command, name, value))
    middle = limit.most / 2 if limit.below else limit.least + 1
    for value in (limit.most if not limit.below else middle, middle):
        check_numbers(made(command, name, value))


@pytest.mark.parametrize(
    "change",
    [
        {"pretrain_learning_rate": -1.0},
        {"learning_rate": nan},
        {"step_size": 0.0},
        {"kl_weight": inf},
        {"predictor_scale": inf},
        {"iterations": 0},
        {"iterations": 10, "epochs": 11},
        {"threads": 10**9},
        {"seed": -1},
        {"seed": 2**63},
        {"draws": 10**9},
        {"image_size": 100_000},
        {"eval_tasks": 10**12},
        {"query_balance": "dirichlet:1e-9"},
        {"query_balance": "dirichlet:1e300"},
    ],
)
def test_a_run_of_impossible_numbers_ends_before_it_begins(change, capsys):
    assert run_command(RunSettings.resolved, replace(RunSettings(setting="standard"), **change)) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1


def test_a_short_run_has_no_more_epochs_than_iterations():
    assert RunSettings(setting="standard", iterations=5).resolved().epochs == 5


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (TrainSettings, {"learning_rate": inf}),
        (TrainSettings, {"iterations": 5, "epochs": 6}),
        (GuideSettings, {"step_size": inf}),
        (GuideSettings, {"step_size": nan}),
        (PretrainSettings, {"learning_rate": -1.0}),
        (PretrainSettings, {"learning_rate": nan}),
        (PretrainSettings, {"batch_size": 1}),
        (PretrainSettings, {"epochs": 0}),
        (PretrainSettings, {"weight_decay": -1.0}),
    ],
)
def test_the_layers_below_refuse_them_too(kind, change):
    with pytest.raises(InputError):
        kind(**change)


@given(alpha=st.floats(*ALPHAS), ways=st.integers(2, 20), queries=st.integers(1, 30))
def test_queries_of_any_admitted_balance_add_up(alpha, ways, queries):
    balance = parse_balance(f"dirichlet:{alpha!r}")
    counts = query_counts(3, torch.arange(4), 5, ways, ways * queries, balance)
    assert counts.sum(1).tolist() == [ways * queries] * 4
    assert int(counts.min()) >= 0


def test_the_calibration_needs_two_draws():
    with pytest.raises(InputError, match="--draws 1: 2 or more is needed"):
        check_numbers(CalibrateSettings(runs=(), draws=1))
