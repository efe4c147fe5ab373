"""All cells in a few lines, and the tables of domains.md."""

from collections.abc import Callable, Sequence
from statistics import fmean

from pyro_sib.experiments.other_domains.grid import Form
from pyro_sib.experiments.other_domains.pieces_table import pieces_of, pieces_table
from pyro_sib.experiments.other_domains.record import Cell, MethodSummary, Row, row_name
from pyro_sib.experiments.terminal.tables import markdown_table

BELOW = -0.5
"""Percent; a gain that is less counts as a loss."""


def cell_words(cell: Cell) -> str:
    """Domain and form."""
    return f"{cell.domain}, {Form(cell.ways, cell.shots, cell.balance).words()}"


def summarize(cells: Sequence[Cell]) -> tuple[MethodSummary, ...]:
    """A line for each method and whether it was told, in the order of the rows."""
    keys = dict.fromkeys((row.method, row.told) for cell in cells for row in cell.rows)
    return tuple(_summary(*key, cells) for key in keys)


def _summary(method: str, told: bool, cells: Sequence[Cell]) -> MethodSummary:
    found = [(cell, row) for cell in cells for row in cell.rows if (row.method, row.told) == (method, told)]
    rows = [row for _, row in found]
    worst, low = min(found, key=lambda pair: pair[1].gain.mean)
    return MethodSummary(
        method,
        low.simple,
        told,
        fmean(row.accuracy.mean for row in rows),
        fmean(row.accuracy.mean - row.gain.mean for row in rows),
        fmean(row.gain.mean for row in rows),
        low.gain.mean,
        cell_words(worst),
        sum(row.gain.mean < BELOW for row in rows),
        fmean(row.nll.mean for row in rows),
        fmean(row.ece for row in rows),
        max(row.ece for row in rows),
    )


def markdown(cells: Sequence[Cell], summary: Sequence[MethodSummary]) -> str:
    """The summary, then accuracies, gains and calibration cell by cell."""
    if not cells:
        return "No cell is finished.\n"
    pieces = pieces_of(cells)
    summary = [line for line in summary if (line.method, line.told) not in pieces]
    named = [(line.method, line.told) for line in summary]
    learners = [(line.method, line.told) for line in summary if not line.simple]
    parts = [
        f"{len(cells)} cells of {cells[0].tasks} tasks",
        _summary_table(summary),
        "Accuracy, ECE and gains in percent, NLL in nats; ± is the 95% interval over tasks. A gain is the "
        "difference, paired by task, to the simple method that is best in that cell among those told no more.",
        _by_cell("accuracy", cells, named, lambda row: row.accuracy.words()),
    ]
    if learners:
        parts.append(_by_cell("gain over", cells, learners, lambda row: f"{row.gain.words(sign=True)} {row.best}"))
    if any(row.over_logistic for cell in cells for row in cell.rows) and learners:
        parts.append(_by_cell("gain over logistic regression", cells, learners, _over_logistic))
    parts.append(_by_cell("ECE / NLL", cells, named, lambda row: f"{row.ece:.1f} / {row.nll.mean:.3f}"))
    if pieces:
        parts.insert(2, pieces_table(cells))
    return "\n\n".join(parts) + "\n"


def _over_logistic(row: Row) -> str:
    return "" if row.over_logistic is None else row.over_logistic.words(sign=True)


def _summary_table(summary: Sequence[MethodSummary]) -> str:
    header = ("over all cells", "accuracy", "best simple", "gain", "worst", "where", "cells below -0.5")
    rows = [
        [
            row_name(line.method, line.told),
            *(f"{value:.2f}" for value in (line.accuracy, line.best_simple)),
            *(f"{value:+.2f}" for value in (line.gain, line.worst_gain)),
            line.worst_cell,
            str(line.below),
            *(f"{value:.{digits}f}" for value, digits in ((line.nll, 3), (line.ece, 1), (line.largest_ece, 1))),
        ]
        for line in summary
    ]
    return markdown_table((*header, "NLL", "ECE", "largest"), rows)


def _by_cell(
    what: str, cells: Sequence[Cell], named: Sequence[tuple[str, bool]], words: Callable[[Row], str]
) -> str:
    rows = []
    for cell in cells:
        held = {(row.method, row.told): words(row) for row in cell.rows}
        rows.append([cell_words(cell), *(held.get(key, "") for key in named)])
    return markdown_table((what, *(row_name(*key) for key in named)), rows)
