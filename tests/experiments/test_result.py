"""The record in result.json: it comes back as it was, and an entry that is none is named."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from math import inf, isnan, nan
from typing import Any

import pytest

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.method import method_of
from pyro_sib.experiments.job.result import Result
from pyro_sib.files import write_json
from pyro_sib.scores.summary import MeanInterval
from tests.experiments.records import record, scored, zero

WHOLE = record(
    **{"learning_rate": 0.1, "novel_share": [0.0, 1.0], "tune_features": False, "colour": "red"},
    comparison=zero(50.0),
    second=scored(40.0, query_balance="dirichlet:2"),
    novel_share_scores=[scored(41.0, strength=1.0)],
    iterates=[scored(1.0)["metrics"]],
    joint={
        "base_or_novel_auroc": 1.0,
        "errors": {"right": 1.0},
        "calibration": {"both": scored(1.0)["calibration"]},
    },
    train_log=[{"epoch": 1, "loss": 0.1}],
    pretrain_log=[{"epoch": 1, "loss": 0.1, "train_accuracy": 1.0, "base_accuracy": 1.0}],
    network_digest="0123456789abcdef",
    course={
        **{"tasks": 500, "untrained": 40.0, "theta0": 45.0, "early": 60.0, "best": 61.0, "last": 60.5},
        **{"below_early": False, "below_theta0": False},
    },
    gradient_cosine=[{"iteration": 8, "cosine": [0.5, 1.0]}],
    chosen={"tasks": 3, "tried": [{"temperature": 1.0}]},
    settings={"temperature": 1.0},
    blended=[["a", "b"], ["c"]],
    gate={"kind": "EvennessTest", "threshold": 1.0},
)


def leaves(part: Any, name: str = "") -> Iterator[str]:
    """Dotted names of all numbers, texts and nulls."""
    inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else None
    if inner is None:
        yield name
    for key, value in inner or ():
        yield from leaves(value, f"{name}.{key}".lstrip("."))


def changed(name: str, value: Any) -> dict[str, Any]:
    """The whole record with another value somewhere."""
    held = copy.deepcopy(WHOLE)
    *outer, last = [int(part) if part.isdigit() else part for part in name.split(".")]
    target: Any = held
    for part in outer:
        target = target[part]
    target[last] = value
    return held


def test_a_record_comes_back_as_it_was(tmp_path):
    result = Result.from_json(WHOLE, tmp_path)
    assert result.options == {
        "learning_rate": 0.1,
        "novel_share": (0.0, 1.0),
        "tune_features": False,
        "colour": "red",
    }
    assert result.comparison.at_the_mean.metrics["novel"] == MeanInterval(50.0, 0.4)
    assert result.main == "novel"
    write_json(tmp_path / "result.json", result.to_json())
    assert Result.read(tmp_path / "result.json") == result


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_what_json_has_no_number_for_is_null_and_comes_back_as_nan(tmp_path, number):
    plain = Result.from_json(WHOLE, tmp_path)
    result = replace(plain, milliseconds_per_task=number, elbo=number, scales=replace(plain.scales, q=number))
    write_json(tmp_path / "result.json", result.to_json())
    found = Result.read(tmp_path / "result.json")
    assert isnan(found.milliseconds_per_task)
    assert isnan(found.scales.q)
    assert found.elbo is None
    assert json.loads((tmp_path / "result.json").read_text())["scales"]["q"] is None


@pytest.mark.parametrize("name", list(leaves(WHOLE)))
def test_an_entry_of_another_type_is_named(tmp_path, name):
    with pytest.raises(InputError) as caught:
        Result.from_json(changed(name, {"a": [1]}), tmp_path / "result.json")
    assert name.removeprefix("version") in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "result.json"))
    assert "delete it and run that experiment again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_from_before_some_entry_was_kept_is_read_without_it(tmp_path):
    for name in ("course", "network_digest"):
        held = {key: value for key, value in WHOLE.items() if key != name}
        assert getattr(Result.from_json(held, tmp_path), name) is None


def test_parts_with_other_metrics_than_the_whole_are_named(tmp_path):
    for name, part in (("comparison", zero(1.0)), ("second", scored(1.0, query_balance="balanced"))):
        part["metrics"]["both"] = part["metrics"]["novel"]
        with pytest.raises(InputError, match=rf"{name}\.metrics has other names than metrics"):
            Result.from_json(changed(name, part), tmp_path)


def test_blends_of_other_methods_are_other_methods(tmp_path):
    one, other = (Result.from_json(changed("blended_methods", {"guide": g}), tmp_path) for g in ("maml", "sib"))
    assert method_of(one) != method_of(other)
    assert method_of(one)["blended.guide"] == "maml"
