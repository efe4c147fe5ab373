"""What a grid of runs shows: one row a method and task size, paired against the first method on the same tasks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.cross_table import BY_PRIOR, cross_table
from pyro_sib.experiments.job.method import FORM, METHOD, TASKS, exact, identity
from pyro_sib.experiments.job.records import read_tasks
from pyro_sib.experiments.job.result import METRICS, Result
from pyro_sib.experiments.job.runs import Run, own_runs
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.tables import markdown_table
from pyro_sib.scores.metrics import MeanInterval, mean_interval

GROUND = (*TASKS, "backbone")
"""What paired results have in common, beside the data."""
USUAL = {
    **dict.fromkeys(("support_gradient", "tune_features"), False),
    **dict.fromkeys(("learn_step_size", "psi_from_base"), True),
    **{"propagation": 0.0, "step_samples": 0},
}
"""Of METHOD, what goes without saying in a label."""
WORDS = {
    "steps": "K=",
    "kl_weight": "kl ",
    "train_query_balance": "trained ",
    "batch_size": "batches of ",
}
"""What stands before a setting's value in a label, instead of its name."""
BARE = ("initializer", "synthetic_gradient", "prior")
"""Settings whose values say by themselves what they are."""
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
        method: name to value, as of `method_of`.
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
    def oracle(self) -> bool:
        """Whether it saw the queries' labels."""
        return bool(self.method.get("oracle"))

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
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], list[Run]]] = defaultdict(lambda: defaultdict(list))
    known: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in own_runs(folders):
        for other in known[run.form]:
            if what := ", ".join(_differing(other.result, run.result)):
                raise InputError(
                    f"{run.path} and {other.path} have other tasks or features ({what}); leave one out"
                )
        known[run.form].append(run)
        groups[run.form][identity(run.method)].append(run)
    rows = []
    for form, methods in groups.items():
        first: tuple[Tensor, Tensor | None] | None = None
        for members in methods.values():
            row, tasks = _row(form, members, first)
            first = first or tasks
            rows.append(row)
    return rows


def _differing(one: Result, other: Result) -> list[str]:
    """What makes their tasks or features not the same; further tasks count where both have some."""
    names = [name for name in GROUND if getattr(one, name) != getattr(other, name)]
    names += ["second_balance"] * (len({_balance(one), _balance(other)} - {None}) > 1)
    return names + [n for n in ("fingerprint", "image_size") if getattr(one.data, n) != getattr(other.data, n)]


def _balance(result: Result) -> str | None:
    """Query balance of the further tasks that it was evaluated on."""
    return None if result.second is None else result.second.query_balance


def _row(
    form: tuple[Any, ...],
    members: list[Run],
    first: tuple[Tensor, Tensor | None] | None,
) -> tuple[Row, tuple[Tensor, Tensor | None]]:
    results = [run.result for run in members]
    main, balance = results[0].main, _balance(results[0]) if all(map(_balance, results)) else None
    per_seed = {n: _by_seed(members, "posterior", n) for n in METRICS if n in results[0].metrics}
    per_task = {name: torch.stack(columns).mean(0) for name, columns in per_seed.items()}
    second = None if balance is None else torch.stack(_by_seed(members, f"posterior {balance}", main)).mean(0)
    seeds = tuple(sorted({r.seed for r in results}))
    every = {"train_ways": results[0].ways} if results[0].trained else {}
    row = Row(
        form=form,
        method=every | members[0].method,
        seeds=seeds,
        metrics={name: mean_interval(values) for name, values in per_task.items()},
        spread={n: stdev(float(c.mean()) for c in cs) for n, cs in per_seed.items()} if len(seeds) > 1 else None,
        difference=_paired(per_task[main], first and first[0]),
        ece=fmean(r.calibration.ece for r in results),
        nll=fmean(r.calibration.nll for r in results),
        second=None if second is None else mean_interval(second),
        second_difference=None if second is None else _paired(second, first and first[1]),
        milliseconds=fmean(r.milliseconds_per_task for r in results),
        seconds=fmean(r.seconds.get("train sib", 0.0) for r in results),
    )
    return row, (per_task[main], second)


def _by_seed(members: list[Run], prediction: str, metric: str) -> list[Tensor]:
    """(T,) accuracies of each task, one tensor a seed; a seed that was run again is averaged as one."""
    columns: dict[int, list[Tensor]] = defaultdict(list)
    for run in members:
        columns[run.result.seed].append(read_tasks(run.path / "tasks.csv", prediction, metric))
    if len({len(column) for same in columns.values() for column in same}) > 1:
        raise InputError(
            f"{members[0].path} and its other seeds were evaluated on different numbers of tasks; leave some out"
        )
    return [torch.stack(same).mean(0) for same in columns.values()]


def _paired(values: Tensor, reference: Tensor | None) -> MeanInterval | None:
    """Mean difference over the tasks that both were evaluated on; None for the reference itself."""
    if reference is None or len(reference) != len(values):
        return None
    return mean_interval(values - reference)


def labels(rows: list[Row], without: Sequence[str] = ()) -> list[str]:
    """Each row's name: its guide, and whatever else differs among the rows that share a setting and have it.

    Args:
        rows: to tell apart.
        without: settings that are not to be named.
    """
    found = []
    for row in rows:
        peers = [r for r in rows if r.form[0] == row.form[0]]
        words = [one_line(row.method["guide"])]
        for name in dict.fromkeys((*METHOD, *row.method)):
            value = None if name in without else row.method.get(name)
            if (
                name not in ("guide", "oracle")
                and value is not None
                and value != USUAL.get(name)
                and _tells(name, row, peers)
            ):
                words.append(_word(name, value))
        found.append(", ".join(words) + (" (oracle)" if row.oracle else ""))
    return found


def _lines(rows: list[Row]) -> list[str]:
    """Names of a cross's lines: the guides, unless one has several."""
    guides = [one_line(row.guide) for row in rows]
    return guides if len(set(guides)) == len(guides) else labels(rows, without=BY_PRIOR)


def _tells(name: str, row: Row, peers: list[Row]) -> bool:
    """Whether a setting differs among these rows; what no run has, as a comparator's own, among one guide's."""
    same = [r for r in peers if r.method["guide"] == row.method["guide"]]
    among = peers if name in METHOD else same
    had = {exact(r.method[name]) for r in among if r.method.get(name) is not None}
    return len(had) > 1 or any(r.method.get(name) is None for r in same)


def _word(name: str, value: Any) -> str:
    if name == "train_ways":
        return f"trained {value}-way"
    if isinstance(value, bool):
        value = "on" if value else "off"
    before = "" if name in BARE else WORDS.get(name, f"{name.replace('_', ' ')} ")
    return f"{before}{value:g}" if isinstance(value, float) else one_line(f"{before}{value}")


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
            f"## {one_line(setting)}, {ways}-way {shots}-shot",
            markdown_table(tuple(HEADER[i] for i in keep), [[cells[i] for i in keep] for cells in shown]),
        ]
        if (crossed := cross_table(members, _lines)) is not None:
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
    names = dict.fromkeys([*METHOD, *(name for row in rows for name in row.method)])
    for row in rows:
        record = dict(zip(FORM, row.form, strict=True)) | {name: row.method.get(name) for name in names}
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
