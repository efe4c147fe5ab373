"""The rows of a grid of runs: a method and task size each, paired against the first method on the same tasks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.method import TASKS, identity
from pyro_sib.experiments.job.result import METRICS, Result
from pyro_sib.experiments.job.results import read_tasks
from pyro_sib.experiments.job.runs import Run, own_runs
from pyro_sib.scores.metrics import mean_interval
from pyro_sib.scores.summary import MeanInterval

GROUND = (*TASKS, "backbone")
"""What paired results have in common, beside the data."""


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
        return self.metrics[self.main].words()

    @property
    def drop(self) -> float | None:
        """Main metric lost under the second balance, percent."""
        return None if self.second is None else self.metrics[self.main].mean - self.second.mean


def read_rows(folders: Sequence[Path]) -> list[Row]:
    """Rows in the order of the folders; the first method of each form is what the others are paired against.

    Raises:
        InputError: no results, damaged ones, or ones of other tasks, which cannot be paired.
    """
    rows = []
    for form, methods in grouped(folders).items():
        first: Tasks | None = None
        for members in methods.values():
            row, tasks = _row(form, members, first)
            first = first or tasks
            rows.append(row)
    return rows


class Tasks(NamedTuple):
    """A method's accuracies of each task, averaged over its seeds.

    Attributes:
        main: (T,) of the main metric.
        second: (T,) under the second balance, or None.
    """

    main: Tensor
    second: Tensor | None


def grouped(folders: Sequence[Path]) -> dict[tuple[Any, ...], dict[tuple[Any, ...], list[Run]]]:
    """Runs by form and by method, in the order of the folders, all of each form on the same tasks and features.

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
    return groups


def tasks_of(members: list[Run]) -> Tasks:
    """Accuracies of each task of one method's runs."""
    results = [run.result for run in members]
    main, balance = results[0].main, _balance(results[0]) if all(map(_balance, results)) else None
    second = None if balance is None else torch.stack(_by_seed(members, f"posterior {balance}", main)).mean(0)
    return Tasks(torch.stack(_by_seed(members, "posterior", main)).mean(0), second)


def _differing(one: Result, other: Result) -> list[str]:
    """What makes their tasks or features not the same; f's weights and further tasks count where both say."""
    names = [name for name in GROUND if getattr(one, name) != getattr(other, name)]
    names += ["network_digest"] * (len({one.network_digest, other.network_digest} - {None}) > 1)
    names += ["second_balance"] * (len({_balance(one), _balance(other)} - {None}) > 1)
    return names + [n for n in ("fingerprint", "image_size") if getattr(one.data, n) != getattr(other.data, n)]


def _balance(result: Result) -> str | None:
    """Query balance of the further tasks that it was evaluated on."""
    return None if result.second is None else result.second.query_balance


def _row(
    form: tuple[Any, ...],
    members: list[Run],
    first: Tasks | None,
) -> tuple[Row, Tasks]:
    results = [run.result for run in members]
    tasks = tasks_of(members)
    per_seed = {n: _by_seed(members, "posterior", n) for n in METRICS if n in results[0].metrics}
    per_task = {name: torch.stack(columns).mean(0) for name, columns in per_seed.items()}
    seeds = tuple(sorted({r.seed for r in results}))
    every = {"train_ways": results[0].ways} if results[0].trained else {}
    row = Row(
        form=form,
        method=every | members[0].method,
        seeds=seeds,
        metrics={name: mean_interval(values) for name, values in per_task.items()},
        spread={n: stdev(float(c.mean()) for c in cs) for n, cs in per_seed.items()} if len(seeds) > 1 else None,
        difference=paired(tasks.main, first and first.main),
        ece=fmean(r.calibration.ece for r in results),
        nll=fmean(r.calibration.nll for r in results),
        second=None if tasks.second is None else mean_interval(tasks.second),
        second_difference=None if tasks.second is None else paired(tasks.second, first and first.second),
        milliseconds=fmean(r.milliseconds_per_task for r in results),
        seconds=fmean(r.seconds.get("train sib", 0.0) for r in results),
    )
    return row, tasks


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


def paired(values: Tensor, reference: Tensor | None) -> MeanInterval | None:
    """Mean difference over the tasks that both were evaluated on; None for the reference itself."""
    if reference is None or len(reference) != len(values):
        return None
    return mean_interval(values - reference)
