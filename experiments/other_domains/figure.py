"""domains.png: each learner's gain over the best simple method, cell by cell, and its calibration error beside."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_sib.experiments.drawing.marks import plain
from pyro_sib.experiments.drawing.style import class_colours
from pyro_sib.experiments.other_domains.record import Cell, Row, row_name
from pyro_sib.experiments.other_domains.summary import cell_words
from pyro_sib.experiments.terminal.escape import in_legend


def gains_figure(cells: Sequence[Cell]) -> Figure:
    """A line for each cell; of the simple methods where no learner was measured.

    Args:
        cells: one or more, all with the same rows.
    """
    learners = [row for row in cells[0].rows if not (row.simple or row.whole)] or list(cells[0].rows)
    keys = [(row.method, row.told) for row in learners]
    figure = Figure(figsize=(10.5, 2.0 + 0.24 * len(cells) * max(1.0, len(keys) / 3)), layout="constrained")
    gains, errors = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    for number, (key, colour) in enumerate(zip(keys, class_colours(len(keys)), strict=True)):
        places = [c + (number + 0.5) / len(keys) * 0.8 - 0.4 for c in range(len(cells))]
        rows = [_row(cell, key) for cell in cells]
        means, halves = [row.gain.mean for row in rows], [row.gain.ci95 for row in rows]
        gains.errorbar(means, places, xerr=halves, fmt="o", ms=4, lw=1.3, color=colour)
        errors.plot([row.ece for row in rows], places, "o", ms=4, color=colour, label=in_legend(row_name(*key)))
    best = [next(r for r in cell.rows if r.name == cell.rows[0].best) for cell in cells]
    errors.plot([row.ece for row in best], range(len(cells)), "|", ms=9, color="0.4", label="best simple, untold")
    _finish(gains, errors, cells)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def _row(cell: Cell, key: tuple[str, bool]) -> Row:
    return next(row for row in cell.rows if (row.method, row.told) == key)


def _finish(gains: Axes, errors: Axes, cells: Sequence[Cell]) -> None:
    gains.axvline(0, color="0.5", lw=1)
    gains.set_yticks(range(len(cells)), [cell_words(cell) for cell in cells], fontsize=7)
    gains.set_ylim(len(cells) - 0.4, -0.6)
    gains.set_xlabel("gain over the best simple method (%), 95% interval")
    errors.set_xlabel("ECE (%)")
    errors.set_xlim(left=0)
    for axes in (gains, errors):
        plain(axes)
        axes.grid(axis="x", color="0.9", lw=0.8)
        for edge in range(1, len(cells)):
            if cells[edge].domain != cells[edge - 1].domain:
                axes.axhline(edge - 0.5, color="0.75", lw=0.8)
