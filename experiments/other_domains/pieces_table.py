"""What each piece of a learner buys, domain by domain, in one table."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean

from pyro_sib.experiments.other_domains.record import Cell, Row, row_name
from pyro_sib.experiments.terminal.tables import markdown_table
from pyro_sib.scores.summary import MeanInterval


def pieces_of(cells: Sequence[Cell]) -> list[tuple[str, bool]]:
    """The rows of learners that lack a piece, by method and whether it was told."""
    return list(dict.fromkeys((row.method, row.told) for cell in cells for row in cell.rows if row.whole))


def pieces_table(cells: Sequence[Cell]) -> str:
    """A line for each whole learner, and for each of it without a piece; its accuracies or differences, and ECE."""
    domains = list(dict.fromkeys(cell.domain for cell in cells))
    wholes = {row.whole for cell in cells for row in cell.rows}
    shown = [row for row in cells[0].rows if row.whole or (row.method in wholes and not row.simple)]
    header = [part for domain in domains for part in (domain, "worst", "ECE", "largest")]
    lines = [
        [_name(row), *(part for domain in domains for part in _parts(_rows(cells, domain, row)))] for row in shown
    ]
    return (
        "Pieces taken out of the learner, in percent: the accuracy of the whole one, and the difference that each "
        "makes to it, paired by task, the mean and the worst of the cells:\n\n"
        + markdown_table(("without a piece", *header), lines)
    )


def _name(row: Row) -> str:
    """The piece alone, below the whole one's name."""
    return row_name(row.method.removeprefix(f"{row.whole}: "), row.told)


def _rows(cells: Sequence[Cell], domain: str, like: Row) -> list[Row]:
    return [row for cell in cells if cell.domain == domain for row in cell.rows if row.name == like.name]


def _parts(rows: Sequence[Row]) -> list[str]:
    errors = [f"{fmean(row.ece for row in rows):.1f}", f"{max(row.ece for row in rows):.1f}"]
    differences = [row.over_whole for row in rows if row.over_whole is not None]
    if not differences:
        return [over_cells([row.accuracy for row in rows]).words(), "", *errors]
    worst = min(one.mean for one in differences)
    return [over_cells(differences).words(sign=True), f"{worst:+.2f}", *errors]


def over_cells(found: Sequence[MeanInterval]) -> MeanInterval:
    """The mean over cells of independent tasks, with its interval; no interval where a cell has none."""
    halves = [one.ci95 for one in found]
    return MeanInterval(fmean(one.mean for one in found), sqrt(sum(half**2 for half in halves)) / len(found))
