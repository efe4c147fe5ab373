"""Paired margins of our learners over the comparators, on the same tasks, under both balances of the queries."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.row import Row, Tasks, grouped, paired, read_rows, tasks_of
from pyro_sib.experiments.comparison.table import labels
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.runs import own_runs
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.tables import markdown_table
from pyro_sib.scores.metrics import mean_interval


def margins(ours: Sequence[Path], peers: Sequence[Path]) -> str:
    """Markdown: for each number of shots a table, a line for each peer, two columns for each of ours.

    Args:
        ours: folders of results of our learners; several seeds of one method are averaged, task by task.
        peers: folders of the comparators' results.

    Raises:
        InputError: no results, or ones of other tasks or features, which cannot be paired; none of ours at some
            number of shots.
    """
    folders = [*ours, *peers]
    rows, own, parts = read_rows(folders), {run.path.resolve() for run in own_runs(ours)}, []
    for form, methods in grouped(folders).items():
        of_ours = [any(run.path.resolve() in own for run in members) for members in methods.values()]
        if all(of_ours):
            continue  # at a number of shots at which no comparator was asked for
        if not any(of_ours):
            raise InputError(f"nothing of ours at {form[2]} shots to compare; give --beside a run of these")
        here = [row for row in rows if row.form == form]
        results = [members[0].result for members in methods.values()]
        tasks = [tasks_of(members) for members in methods.values()]
        parts += [_title(form, results), _table(here, tasks, results, of_ours)]
    return "\n\n".join([*parts, _NOTE]) + "\n"


_NOTE = (
    "Accuracy in percent, and our learners' margins over each method in points, paired by task; ± is the 95% "
    "interval over tasks. A learner with several seeds is averaged over them, task by task."
)


def _title(form: tuple[object, ...], results: list[Result]) -> str:
    setting, ways, shots = form
    first = results[0]
    digests = sorted({r.network_digest[:8] for r in results if r.network_digest})
    network = (
        "given features" if first.backbone is None else f"{first.backbone.upper()} {' '.join(digests)}".strip()
    )
    return one_line(
        f"## {setting}, {ways}-way {shots}-shot, {first.tasks} tasks of {first.split} of {first.data.name} "
        f"({first.data.fingerprint[:8]}), {network}"
    )


def _table(rows: list[Row], tasks: list[Tasks], results: list[Result], of_ours: list[bool]) -> str:
    """Ours first, then the peers; what the second balance has stands beside the first's."""
    names = [""] * len(rows)
    for kind in (True, False):  # what tells ours apart, and what tells the comparators apart
        alike = [i for i, own in enumerate(of_ours) if own == kind]
        for i, name in zip(alike, labels([rows[i] for i in alike]), strict=True):
            names[i] = name
    second = next((r.second.query_balance for r in results if r.second is not None), None)
    balances = [results[0].query_balance, *([second] if second else [])]
    ours = [i for i, own in enumerate(of_ours) if own]
    order = [*ours, *(i for i, own in enumerate(of_ours) if not own)]
    header = ["method"]
    for balance in balances:
        header += [balance, *(f"{names[i]} less it, {balance}" for i in ours)]
    lines = []
    for i in order:
        line = [names[i]]
        for at in range(len(balances)):
            line += [_cell(tasks[i][at]), *("-" if i == j else _margin(tasks[j][at], tasks[i][at]) for j in ours)]
        lines.append(line)
    return markdown_table(tuple(header), lines)


def _cell(values: Tensor | None) -> str:
    return "-" if values is None else mean_interval(values).words()


def _margin(own: Tensor | None, other: Tensor | None) -> str:
    found = None if own is None or other is None else paired(own, other)
    return "-" if found is None else found.words(sign=True)
