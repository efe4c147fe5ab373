"""What makes two runs the same method: the one definition behind every table that averages or compares runs."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.inference import LEARNERS, GuideSettings

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
    **dict.fromkeys(("image_size", "picture_fit", "backbone", "network"), "the features that tables are of"),
    "learner": "the file of a method that was trained elsewhere",
    "seed": "averaged over",
    **dict.fromkeys(("device", "threads", "out", "cache_dir"), "where the run was"),
    **dict.fromkeys(("posterior_tasks", "compare", "train_only"), "what was written or trained beside it"),
}
"""Settings of a run that make no other method of it, and why."""
_FIRST = (
    *("guide", "initializer", "synthetic_gradient", "prior", "steps", "kl_weight", "support_gradient"),
    *("propagation", "train_query_balance", "train_ways", "iterations", "batch_size", "learning_rate"),
)
METHOD = tuple(dict.fromkeys((*_FIRST, *(f.name for f in fields(RunSettings) if f.name not in NOT_METHOD))))
"""Settings that make another method, in the order of a label: runs that differ in one are never averaged."""
DEFAULTS = {
    **{f.name: f.default for f in fields(RunSettings) if f.default is not MISSING and f.default is not None},
    "synthetic_gradient": GuideSettings.synthetic_gradient,
}


def method_of(result: Result) -> dict[str, Any]:
    """The settings by which a result's method is told from others, the guide first; None is left out.

    A setting that the result does not mention, being older, has its default. One that this version does not know
    counts too. What a method takes no notice of is left out.
    """
    gate = {f"gate.{name}": result.gate.get(name) for name in ("kind", "false_alarms")}
    found = {
        **{name: _setting_of(result, name) for name in METHOD},
        **{name: value for name, value in result.options.items() if name not in (*METHOD, *NOT_METHOD)},
        **{f"settings.{name}": value for name, value in result.settings.items()},
        **{f"blended.{name}": value for name, value in result.blended_methods.items()},
        **{"chosen.tasks": result.chosen and result.chosen.tasks, "fit_tasks": result.fit_tasks, **gate},
        "learner": result.any_task_learner,
        "oracle": result.oracle or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _setting_of(result: Result, name: str) -> Any:
    """One of METHOD; None where the method has none such, as a comparator has no prior."""
    known = result.guide in LEARNERS
    if name in ("synthetic_gradient", "support_gradient") and (result.guide != "sib" or not result.steps):
        return None
    if name == "initializer" and not (known and LEARNERS.declared(result.guide, "takes_initializer")):
        return None
    value = result.options[name] if name in result.options else getattr(result, name, None)
    if name == "train_ways" and value == result.ways:
        return None
    if value is None and result.trained:
        return result.query_balance if name == "train_query_balance" else DEFAULTS.get(name)
    return value


def identity(method: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Equal exactly for the same method."""
    return tuple(sorted((name, exact(value)) for name, value in method.items()))


def exact(value: Any) -> str:
    """Equal for equal settings, 0 and 0.0 among them."""
    return repr(float(value)) if isinstance(value, int | float) else repr(value)
