"""The gold standard: NUTS on w_t of a finished run's tasks, beside the guide."""

import math
from time import perf_counter
from typing import Any

import torch
from rich.table import Table

from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.config import config_of
from pyro_sib.experiments.job.records import of_this_version, read_object
from pyro_sib.experiments.job.restore import Restored, restore
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.sampling.gold_figure import gold_figure
from pyro_sib.experiments.sampling.gold_settings import GoldSettings
from pyro_sib.experiments.sampling.gold_task import CONDITIONS, GoldProgram, gold_task
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.progress import Advance, Reporter
from pyro_sib.files import check_writable, read_json, write_json
from pyro_sib.scores.calibration import expected_calibration_error
from pyro_sib.scores.metrics import mean_interval
from pyro_sib.tensor_files import digest, digest_state
from pyro_sib.torch_state import plain_torch

R_HAT = 1.05
"""Worst R-hat of a task above which the result says so."""
SCORES = ("accuracy", "nll", "brier")
MEASURES = (
    *("direction_cosine", "scale_in_span", "scale_across_span", "guide_norm", "nuts_norm"),
    *("log_likelihood", "guide_log_likelihood", "guide_elbo", "log_evidence", "gap", "ess_median", "seconds"),
)


@plain_torch()
def run(settings: GoldSettings, reporter: Reporter | None = None) -> dict[str, Any]:
    """Do the tasks that are left; returns the content of gold.json.

    Raises:
        InputError: what the user can mend.
    """
    settings.check()
    check_writable(settings.folder / "tasks", "--out")
    reporter = reporter or Reporter()
    restored = restore(settings.run, reporter, settings.cache_dir, settings.data_root, settings.features, "cpu")
    tasks = _tasks(settings, restored, reporter)
    with of_this_version(settings.folder / "tasks"):
        found = summary(tasks)
    result = {
        **config_of(settings),
        "guide": restored.settings.guide,
        "oracle": restored.program.guide.oracle,
        "kl_weight": restored.settings.kl_weight,
        "split": restored.split,
        "summary": found,
        "commit": commit(),
        "versions": versions(),
        "seconds": reporter.seconds,
    }
    write_json(settings.folder / "gold.json", result)
    _show(result, reporter)
    decorations = Decorations(reporter)
    with decorations.trying("gold.png"):
        title = f"{restored.settings.guide} beside NUTS, {len(tasks)} tasks of {restored.split}"
        save_figure(gold_figure(tasks, title), settings.folder / "gold.png")
    decorations.note(settings.folder / "gold.json", result)
    reporter.say(f"{settings.folder}/: gold.json, gold.png, tasks/")
    return result


def _tasks(settings: GoldSettings, restored: Restored, reporter: Reporter) -> list[dict[str, Any]]:
    """Every task's part, from its file where a file of the same content is there."""
    program, modules = GoldProgram.of(restored), restored.program.modules()
    state = [digest_state(module.state_dict()) for module in modules.values()]
    identity = digest(settings.identity(), list(settings.targets), restored.ground.bank.fingerprint, state)
    tasks, seconds = [], []
    with reporter.stage("nuts", f"NUTS on {settings.tasks} tasks") as advance:
        for task in range(settings.tasks):
            path = settings.folder / "tasks" / f"{task:05d}-{identity[:12]}.json"
            if not path.exists():
                start = perf_counter()
                write_json(path, gold_task(settings, restored, program, task, _within(advance, task, settings)))
                seconds.append(perf_counter() - start)
                left = sum(seconds) / len(seconds) * (settings.tasks - task - 1) / 60
                reporter.say(f"  task {task + 1}/{settings.tasks}  {_line(read_json(path))}  {left:.1f} min left")
            tasks.append(read_object(path))
    return tasks


def _within(advance: Advance, task: int, settings: GoldSettings) -> Advance:
    """Progress of all tasks from that of one."""
    return lambda done, total: advance(task * total + done, settings.tasks * total)


def _line(task: dict[str, Any]) -> str:
    parts = (
        f"{name}: R-hat {_number(part['r_hat_worst'], '.3f')}, ESS {_number(part['ess_worst'], '.0f')}, "
        f"{part['seconds']:.0f} s"
        for name, part in task["parts"].items()
    )
    return "; ".join(parts)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def summary(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Means with intervals over tasks of the guide's scores and of each part's scores and measures."""
    parts = {name: [task["parts"][name] for task in tasks] for name in tasks[0]["parts"]}
    return {
        "guide": _scores([task["guide"] for task in tasks]),
        "parts": {name: {**_scores(rows), **_measures(rows)} for name, rows in parts.items()},
    }


def _scores(rows: list[dict[str, Any]]) -> dict[str, Any]:
    confidence, correct = (torch.tensor([row[name] for row in rows]) for name in ("confidence", "correct"))
    return {**{name: _mean(rows, name) for name in SCORES}, "ece": expected_calibration_error(confidence, correct)}


def _measures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "power": rows[0]["power"],
        **{name: _mean(rows, name) for name in MEASURES},
        "r_hat_worst": max((row["r_hat_worst"] for row in rows if row["r_hat_worst"] is not None), default=None),
        # Chains that do not move have no R-hat, and are not to be trusted either.
        "r_hat_above": sum(row["r_hat_worst"] is None or row["r_hat_worst"] > R_HAT for row in rows),
        "ess_worst": min((row["ess_worst"] for row in rows if row["ess_worst"] is not None), default=None),
        "divergences": sum(row["divergences"] for row in rows),
    }


def _mean(rows: list[dict[str, Any]], name: str) -> dict[str, float | int] | None:
    """Over the tasks that have it; None where fewer than two have."""
    values = [row[name] for row in rows if row[name] is not None and math.isfinite(row[name])]
    if len(values) < 2:
        return None
    found = mean_interval(torch.tensor(values))
    return {"mean": found.mean, "ci95": found.ci95, "tasks": len(values)}


def _show(result: dict[str, Any], reporter: Reporter) -> None:
    found = result["summary"]
    table = Table(title=f"predictions of {result['tasks']} tasks of {result['split']}")
    for column in ("posterior", "accuracy, %", "NLL", "ECE, %", "R-hat", "ESS", "divergent"):
        table.add_column(column, justify="left" if column == "posterior" else "right")
    table.add_row(result["guide"] + (" (sees labels)" if result["oracle"] else ""), *_score_cells(found["guide"]))
    for name, row in found["parts"].items():
        label = f"NUTS, {name}" + (" (sees labels)" if name.endswith(CONDITIONS[1]) else "")
        chains = (_number(row["r_hat_worst"], ".3f"), _number(row["ess_worst"], ".0f"), str(row["divergences"]))
        table.add_row(label, *_score_cells(row), *chains)
    reporter.show(table)
    beside = Table(title="the guide beside NUTS")
    for column in ("posterior", "direction cosine", "scale in span", "across", "KL(q || p), nats", "s a task"):
        beside.add_column(column, justify="left" if column == "posterior" else "right")
    for name, row in found["parts"].items():
        columns = ("direction_cosine", "scale_in_span", "scale_across_span", "gap", "seconds")
        beside.add_row(name, *(_cell(row[column]) for column in columns))
    reporter.show(beside)
    if late := [name for name, row in found["parts"].items() if row["r_hat_above"]]:
        reporter.say(f"R-hat above {R_HAT} in some task of {', '.join(late)}: raise --warmup and --samples")


def _score_cells(row: dict[str, Any]) -> tuple[str, str, str]:
    return _cell(row["accuracy"]), _cell(row["nll"], 3), f"{row['ece']:.1f}"


def _cell(found: dict[str, float] | None, digits: int = 2) -> str:
    return "" if found is None else f"{found['mean']:.{digits}f} ± {found['ci95']:.{digits}f}"
