"""What a grid of runs shows: Markdown, flat records for a csv file, and what to call its rows."""

from collections.abc import Sequence
from typing import Any

from pyro_sib.experiments.comparison.cross_table import BY_PRIOR, cross_table
from pyro_sib.experiments.comparison.row import Row
from pyro_sib.experiments.job.method import FORM, METHOD, exact
from pyro_sib.experiments.job.result import METRICS
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.tables import markdown_table
from pyro_sib.scores.summary import MeanInterval

USUAL = {
    **dict.fromkeys(("support_gradient", "tune_features"), False),
    **dict.fromkeys(("learn_step_size", "psi_from_base"), True),
    **{"propagation": 0.0, "step_samples": 0},
}
"""Defaults of METHOD that labels leave out."""
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
        cell = _words(row.metrics.get(name))
        if row.spread is not None and name in row.spread:
            cell += f" (sd {row.spread[name]:.2f}, {len(row.seeds)} seeds)"
        metrics.append(cell)
    drop = row.drop
    return [
        *metrics,
        _words(row.difference, sign=True),
        f"{row.ece:.1f}",
        f"{row.nll:.3f}",
        _words(row.second),
        "-" if drop is None else f"{drop:.2f}",
        _words(row.second_difference, sign=True),
        "-" if row.milliseconds != row.milliseconds else f"{row.milliseconds:.2f}",
        f"{row.seconds:.0f}",
    ]


def _words(value: MeanInterval | None, sign: bool = False) -> str:
    return "-" if value is None else value.words(sign=sign)


def table_rows(rows: list[Row]) -> list[dict[str, Any]]:
    """Flat records for a csv file."""
    records = []
    names = dict.fromkeys([*METHOD, *(name for row in rows for name in row.method)])
    for row in rows:
        record = dict(zip(FORM, row.form, strict=True)) | {name: row.method.get(name) for name in names}
        record |= {"oracle": row.oracle, "seeds": " ".join(map(str, row.seeds))}
        others = {name: getattr(row, name) for name in ("difference", "second", "second_difference")}
        for name, value in ({name: row.metrics.get(name) for name in METRICS} | others).items():
            record |= {name: value and round(value.mean, 3), f"{name}_ci95": value and round(value.ci95, 3)}
        record |= {"ece": round(row.ece, 3), "nll": round(row.nll, 4)}
        records.append(record | {"milliseconds": row.milliseconds, "seconds": row.seconds})
    return records
