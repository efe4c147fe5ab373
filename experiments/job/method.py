"""What makes two runs the same method: the one definition behind every table that averages or compares runs."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.inference import LEARNERS

FORM = ("setting", "ways", "shots")
"""What kind of task: results of one form share a table."""
TASKS = ("split", "queries", "query_balance")
"""What else is asked of every method that is evaluated on the same tasks."""
NOT_METHOD = {
    **dict.fromkeys(FORM, "the form of the tasks"),
    **dict.fromkeys((*TASKS, "eval_tasks"), "the evaluation tasks"),
    "second_balance": "further evaluation tasks",
    "novel_share": "further predictions of the same posterior",
    **dict.fromkeys(("data", "data_root", "features"), "where the data come from; their fingerprint says what"),
    **dict.fromkeys(("data_seed", "hold_out_classes"), "in the data's fingerprint"),
    **dict.fromkeys(("image_size", "backbone", "network"), "the features that tables are of"),
    "learner": "the file of a method that was trained elsewhere",
    "seed": "averaged over",
    **dict.fromkeys(("device", "threads", "out", "cache_dir"), "where the run was"),
    **dict.fromkeys(("posterior_tasks", "compare"), "what was written or trained beside it"),
}
"""Settings of a run that make no other method of it, and why."""
_FIRST = (
    *("guide", "initializer", "synthetic_gradient", "prior", "steps", "kl_weight", "support_gradient"),
    *("propagation", "train_query_balance", "train_ways", "iterations", "batch_size", "learning_rate"),
)
METHOD = tuple(dict.fromkeys((*_FIRST, *(f.name for f in fields(RunSettings) if f.name not in NOT_METHOD))))
"""Settings that make another method, in the order of a label: runs that differ in one are never averaged."""
OUTCOMES = (
    *("tasks", "oracle", "elbo", "base_accuracy", "commit", "device", "threads", "milliseconds_per_task"),
    *("comparison", "second", "selected_on"),
)
"""Entries of result.json that are neither settings nor objects: results, and where they were had."""
EXTRAS = ("chosen.tasks", "fit_tasks", "gate.kind", "gate.false_alarms")
"""Settings of comparators and blends, which are methods without a run's settings."""
_DEFAULTS = {f.name: f.default for f in fields(RunSettings) if f.default is not MISSING and f.default is not None}


def is_trained(result: Mapping[str, Any]) -> bool:
    """Whether SVI trained it; a comparator and a blend have none of the settings of training."""
    return result.get("iterations") is not None


def method_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by which a result's method is told from others, the guide first; None is left out.

    A setting that the result does not mention, being older, has its default. One that this version does not know
    counts too. What a method takes no notice of is left out.

    Args:
        result: the content of result.json.
    """
    found = {name: setting_of(result, name) for name in METHOD}
    known = {*METHOD, *NOT_METHOD, *OUTCOMES}
    unknown = {n: v for n, v in result.items() if n not in known and not isinstance(v, dict | list)}
    return {n: v for n, v in (found | unknown | _extras(result)).items() if v is not None}


def setting_of(result: Mapping[str, Any], name: str) -> Any:
    """One of METHOD; None where the method has none such, as a comparator has no prior."""
    guide, trained = result.get("guide"), is_trained(result)
    learner = LEARNERS.get(guide) if isinstance(guide, str) else None
    if name in ("synthetic_gradient", "support_gradient") and (guide != "sib" or not result.get("steps")):
        return None
    if name == "initializer" and (learner is None or not learner.takes_initializer):
        return None
    value = result.get(name)
    if name == "train_ways" and value == result.get("ways"):
        return None
    if value is None and trained:
        return result.get("query_balance") if name == "train_query_balance" else _DEFAULTS.get(name)
    return value


def _extras(result: Mapping[str, Any]) -> dict[str, Any]:
    """What comparators and blends are told apart by, with dotted names."""
    if is_trained(result):
        return {}
    settings = result.get("settings")
    inner = {f"settings.{n}": v for n, v in settings.items()} if isinstance(settings, dict) else {}
    return inner | {name: _dotted(result, name) for name in EXTRAS}


def _dotted(result: Mapping[str, Any], name: str) -> Any:
    value: Any = result
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def identity(method: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Equal exactly for the same method."""
    return tuple(sorted((name, exact(value)) for name, value in method.items()))


def exact(value: Any) -> str:
    """Equal for equal settings, 0 and 0.0 among them."""
    return repr(float(value)) if isinstance(value, int | float) else repr(value)
