"""What a grid of runs shows: one row a method and task size, paired against the first method on the same tasks."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from experiments.cross_table import cross_table
from experiments.tables import markdown_table, result_files
from inference import LEARNERS
from pyro_sib.errors import InputError
from pyro_sib.files import read_json
from pyro_sib.metrics import MeanInterval, mean_interval

METRICS = ("novel", "base", "both")
FORM = ("setting", "ways", "shots")
"""What a table has in common."""
GROUND = ("split", "queries", "query_balance", "backbone")
"""What paired results have in common, beside the data."""
METHOD = (
    "guide",
    "initializer",
    "synthetic_gradient",
    "prior",
    "steps",
    "kl_weight",
    "support_gradient",
    "propagation",
    "train_query_balance",
    "train_ways",
    "iterations",
    "batch_size",
    "learning_rate",
)
"""What a method is; of these a row names the ones that differ in its table."""
USUAL = {"support_gradient": False, "propagation": 0.0}
"""Of METHOD, what goes without saying, in a label and in results that do not mention it."""
HEADER = (
    "method",
    *METRICS,
    "paired difference",
    "ECE",
    "NLL",
    "other balance",
    "drop",
    "paired difference there",
    "ms a task",
    "training s",
)


@dataclass(frozen=True)
class Row:
    """A method on one task size, averaged over its seeds.

    Attributes:
        form: values of FORM.
        method: name to value, of METHOD.
        oracle: whether it saw the queries' labels.
        seeds: which.
        metrics: name to mean and 95% interval over tasks, percent; with several seeds `spread` is given.
        spread: name to the standard deviation of the seeds' means, or None for one seed.
        difference: of the main metric from the table's first method, paired by task, percent.
        ece: percent, of the averaged draws.
        nll: nats.
        second: the main metric under the second balance, or None.
        second_difference: the same, paired against the first method there.
        milliseconds: to infer and predict one task.
        seconds: of training.
    """

    form: tuple[Any, ...]
    method: dict[str, Any]
    oracle: bool
    seeds: tuple[int, ...]
    metrics: dict[str, MeanInterval]
    spread: dict[str, float] | None
    difference: MeanInterval | None
    ece: float
    nll: float
    second: MeanInterval | None
    second_difference: MeanInterval | None
    milliseconds: float
    seconds: float

    @property
    def main(self) -> str:
        """The metric that counts: both in lwof, else novel."""
        return "both" if "both" in self.metrics else "novel"

    @property
    def guide(self) -> str:
        """Its name, marked where it is an oracle."""
        return f"{self.method['guide']}{' (oracle)' if self.oracle else ''}"

    @property
    def prior(self) -> str | None:
        """Its name, or None for a method without one."""
        return self.method.get("prior")

    @property
    def accuracy(self) -> str:
        """The main metric with its interval, percent."""
        return _interval(self.metrics[self.main])

    @property
    def drop(self) -> float | None:
        """Main metric lost under the second balance, percent."""
        return None if self.second is None else self.metrics[self.main].mean - self.second.mean


def read_rows(folders: Sequence[Path]) -> list[Row]:
    """Rows in the order of the folders; the first method of each form is what the others are paired against.

    Raises:
        InputError: no results, damaged ones, or ones of other tasks, which cannot be paired.
    """
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], list[tuple[Path, dict[str, Any]]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    grounds: dict[tuple[Any, ...], tuple[Path, dict[str, Any]]] = {}
    for path in result_files(folders):
        result = read_json(path)
        missing = [name for name in (*FORM, "metrics", "guide", "seed") if name not in result]
        if missing:
            raise InputError(f"{path} has no {', '.join(missing)}; run that experiment again")
        form = tuple(result[name] for name in FORM)
        first_path, first_result = grounds.setdefault(form, (path, result))
        if differing := _differing(first_result, result):
            raise InputError(
                f"{path} and {first_path} have other tasks or features ({', '.join(differing)}); leave one out"
            )
        groups[form][tuple(repr(_value(result, name)) for name in METHOD)].append((path.parent, result))
    rows = []
    for form, methods in groups.items():
        first: tuple[Tensor, Tensor | None] | None = None
        for members in methods.values():
            row, tasks = _row(form, members, first)
            first = first or tasks
            rows.append(row)
    return rows


def _value(result: dict[str, Any], name: str) -> Any:
    """A setting of a result; None where the method has none such, as a comparator has no prior."""
    if name == "train_ways" and result.get("iterations") is not None:
        return result.get(name) or result["ways"]
    if name in ("synthetic_gradient", "support_gradient") and result["guide"] != "sib":
        return None
    learner = LEARNERS.get(result["guide"])
    if name == "initializer" and (learner is None or not learner.takes_initializer):
        return None
    return result.get(name, USUAL.get(name))


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What makes their tasks or features not the same."""
    names = [name for name in GROUND if one.get(name) != other.get(name)]
    data = ("fingerprint", "image_size")
    return names + [n for n in data if one.get("data", {}).get(n) != other.get("data", {}).get(n)]


def _row(
    form: tuple[Any, ...],
    members: list[tuple[Path, dict[str, Any]]],
    first: tuple[Tensor, Tensor | None] | None,
) -> tuple[Row, tuple[Tensor, Tensor | None]]:
    results = [result for _, result in members]
    main = "both" if "both" in results[0]["metrics"] else "novel"
    names = [name for name in METRICS if name in results[0]["metrics"]]
    balance = (results[0].get("second") or {}).get("query_balance")
    per_task = {name: _tasks(members, "posterior", name) for name in names}
    second = None if balance is None else _tasks(members, f"posterior {balance}", main)
    means = {name: [r["metrics"][name]["mean"] for r in results] for name in names}
    row = Row(
        form=form,
        method={name: _value(results[0], name) for name in METHOD},
        oracle=bool(results[0].get("oracle")),
        seeds=tuple(sorted(r["seed"] for r in results)),
        metrics={name: mean_interval(values) for name, values in per_task.items()},
        spread={name: stdev(values) for name, values in means.items()} if len(results) > 1 else None,
        difference=_paired(per_task[main], first and first[0]),
        ece=fmean(r["calibration"]["ece"] for r in results),
        nll=fmean(r["calibration"]["nll"] for r in results),
        second=None if second is None else mean_interval(second),
        second_difference=None if second is None else _paired(second, first and first[1]),
        milliseconds=fmean(r.get("milliseconds_per_task") or float("nan") for r in results),
        seconds=fmean(sum(v for k, v in r["seconds"].items() if k == "train sib") for r in results),
    )
    return row, (per_task[main], second)


def _tasks(members: list[tuple[Path, dict[str, Any]]], prediction: str, metric: str) -> Tensor:
    """(T,) accuracies of each task, averaged over the seeds."""
    columns = []
    for folder, _ in members:
        path = folder / "tasks.csv"
        if not path.exists():
            raise InputError(f"{path} is missing; run that experiment again")
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["prediction"] == prediction]
        columns.append(torch.tensor([float(row[metric]) for row in rows], dtype=torch.float64))
    if len({len(column) for column in columns}) > 1:
        raise InputError(f"{members[0][0]} and its other seeds were evaluated on different numbers of tasks")
    return torch.stack(columns).mean(0)


def _paired(values: Tensor, reference: Tensor | None) -> MeanInterval | None:
    """Mean difference over the tasks that both were evaluated on; None for the reference itself."""
    if reference is None or len(reference) != len(values):
        return None
    return mean_interval(values - reference)


def labels(rows: list[Row]) -> list[str]:
    """Each row's name: its guide, and whatever else differs among the rows that share a setting and have it."""
    found = []
    for row in rows:
        peers = [r for r in rows if r.form[0] == row.form[0]]
        words = [str(row.method["guide"])]
        for name in METHOD[1:]:
            value = row.method.get(name)
            said = {repr(r.method.get(name)) for r in peers if r.method.get(name) is not None}
            if value is not None and len(said) > 1 and value != USUAL.get(name):
                words.append(_word(name, value))
        found.append(", ".join(words) + (" (oracle)" if row.oracle else ""))
    return found


def _word(name: str, value: Any) -> str:
    short = {
        "steps": "K=",
        "kl_weight": "kl ",
        "support_gradient": "support gradient ",
        "propagation": "propagation ",
        "train_query_balance": "trained ",
        "iterations": "iterations ",
        "batch_size": "batches of ",
        "learning_rate": "learning rate ",
    }
    if name == "train_ways":
        return f"trained {value}-way"
    if isinstance(value, bool):
        value = "on" if value else "off"
    return f"{short.get(name, '')}{value:g}" if isinstance(value, float) else f"{short.get(name, '')}{value}"


def markdown(rows: list[Row]) -> str:
    """One table for each setting and task size."""
    parts = []
    for form in dict.fromkeys(row.form for row in rows):
        members = [row for row in rows if row.form == form]
        names = labels(members)
        shown = [[name, *_cells(row)] for name, row in zip(names, members, strict=True)]
        keep = [0, *(i for i in range(1, len(HEADER)) if any(cells[i] != "-" for cells in shown))]
        setting, ways, shots = form
        parts += [
            f"## {setting}, {ways}-way {shots}-shot",
            markdown_table(tuple(HEADER[i] for i in keep), [[cells[i] for i in keep] for cells in shown]),
        ]
        if (crossed := cross_table(members)) is not None:
            parts += [f"{members[0].main.capitalize()}, guides and priors:", crossed]
    notes = (
        "± is the 95% interval over tasks; with several seeds tasks are averaged over them first, and the sd over "
        "seeds of their means follows. Paired differences are from the first row, on the same tasks."
    )
    return "\n\n".join([*parts, notes]) + "\n"


def _cells(row: Row) -> list[str]:
    metrics = []
    for name in METRICS:
        cell = _interval(row.metrics.get(name))
        if row.spread is not None and name in row.spread:
            cell += f" (sd {row.spread[name]:.2f}, {len(row.seeds)} seeds)"
        metrics.append(cell)
    drop = row.drop
    return [
        *metrics,
        _interval(row.difference, sign=True),
        f"{row.ece:.1f}",
        f"{row.nll:.3f}",
        _interval(row.second),
        "-" if drop is None else f"{drop:.2f}",
        _interval(row.second_difference, sign=True),
        "-" if row.milliseconds != row.milliseconds else f"{row.milliseconds:.2f}",
        f"{row.seconds:.0f}",
    ]


def _interval(value: MeanInterval | None, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value.mean:+.2f} ± {value.ci95:.2f}" if sign else f"{value.mean:.2f} ± {value.ci95:.2f}"


def table_rows(rows: list[Row]) -> list[dict[str, Any]]:
    """Flat records for a csv file."""
    records = []
    for row in rows:
        record = dict(zip(FORM, row.form, strict=True)) | row.method
        record |= {"oracle": row.oracle, "seeds": " ".join(map(str, row.seeds))}
        for name in METRICS:
            value = row.metrics.get(name)
            record |= {name: value and round(value.mean, 3), f"{name}_ci95": value and round(value.ci95, 3)}
        for name in ("difference", "second", "second_difference"):
            value = getattr(row, name)
            record |= {name: value and round(value.mean, 3), f"{name}_ci95": value and round(value.ci95, 3)}
        record |= {"ece": round(row.ece, 3), "nll": round(row.nll, 4)}
        records.append(record | {"milliseconds": row.milliseconds, "seconds": row.seconds})
    return records
