"""piles.md: averages over a domain's cells, by labels and size of the pile."""

from collections.abc import Callable, Iterable, Sequence
from math import nan
from statistics import fmean

from pyro_sib.experiments.piles_grid.record import Curve, PileCell, PileRow, PilesRecord
from pyro_sib.experiments.terminal.tables import markdown_table


def markdown(record: PilesRecord) -> str:
    """All tables."""
    parts = []
    of_cells, of_curves = (cell.domain for cell in record.cells), (curve.domain for curve in record.curves)
    for domain in dict.fromkeys((*of_cells, *of_curves)):
        cells = [cell for cell in record.cells if cell.domain == domain]
        closed, opened = ([one for one in cells if bool(one.unknown) is kind] for kind in (False, True))
        if closed:
            parts += [f"`{domain}`, {len(closed)} cells of {closed[0].tasks} tasks", _methods(closed)]
            parts += [_by_size("accuracy, the learner's", closed, lambda cell: cell.rows[0].accuracy.mean)]
        if sets := [cell for cell in closed if cell.sets]:
            parts += ["Prediction sets", _sets(sets)]
        if opened:
            parts += [f"Part of the pile of no class, {len(opened)} cells", _methods(opened), _detected(opened)]
        parts += [_curve(curve) for curve in record.curves if curve.domain == domain]
    return "\n\n".join(parts) + "\n" if parts else "Nothing is finished.\n"


def _methods(cells: Sequence[PileCell]) -> str:
    """A line for each method, the means over cells."""
    lines = []
    for name in (row.method for row in cells[0].rows):
        rows = [_row(cell, name) for cell in cells]
        lines.append(
            [
                name,
                f"{fmean(row.accuracy.mean for row in rows):.1f}",
                f"{fmean(row.nll.mean for row in rows):.3f}",
                f"{fmean(row.ece for row in rows):.1f}",
                _mean((row.auroc.mean for row in rows if row.auroc), 1),
                f"{1000 * fmean(row.seconds for row in rows):.0f}",
            ]
        )
    return markdown_table(("mean over cells", "accuracy", "NLL", "ECE", "AUROC", "ms"), lines)


def _row(cell: PileCell, name: str) -> PileRow:
    return next(row for row in cell.rows if row.method == name)


def _by_size(what: str, cells: Sequence[PileCell], value: Callable[[PileCell], float], digits: int = 1) -> str:
    """Labels by size of the pile, the mean over proportions."""
    piles = sorted({cell.pile for cell in cells})
    lines = []
    for shots in dict.fromkeys(cell.shots for cell in cells):
        here = [[value(c) for c in cells if (c.shots, c.pile) == (shots, pile)] for pile in piles]
        lines.append([shots, *(_mean(values, digits) for values in here)])
    return markdown_table((f"{what}; labels of a class", *(f"pile of {pile}" for pile in piles)), lines)


def _mean(values: Iterable[float], digits: int) -> str:
    known = [value for value in values if value == value]
    return f"{fmean(known) if known else nan:.{digits}f}" if known else ""


def _sets(cells: Sequence[PileCell]) -> str:
    coverage = _by_size("coverage", cells, lambda cell: cell.sets.coverage.mean if cell.sets else nan)
    return (
        coverage
        + "\n\n"
        + _by_size("classes in a set", cells, lambda cell: cell.sets.size if cell.sets else nan, 2)
    )


def _detected(cells: Sequence[PileCell]) -> str:
    own = _by_size("AUROC", cells, lambda cell: cell.rows[0].auroc.mean if cell.rows[0].auroc else nan)
    flagged = [cell.flagged for cell in cells if cell.flagged]
    said = (
        f"Flagged: {fmean(f[0] for f in flagged):.1f}% of what belongs to no class, "
        f"{fmean(f[1] for f in flagged):.1f}% of the rest."
        if flagged
        else ""
    )
    return own + "\n\n" + said


def _curve(curve: Curve) -> str:
    lines = [[name, *(f"{one.mean:.1f}" for one in each)] for name, each in curve.accuracy.items()]
    if curve.gain:
        lines.append(["most telling less random", *(f"{one.mean:+.1f} ± {one.ci95:.1f}" for one in curve.gain)])
    lines.append(
        [
            "labels needed, % of random's",
            "",
            *("never" if value is None or value != value else f"{value:.0f}" for value in curve.share),
        ]
    )
    return markdown_table((f"{curve.domain}: labels asked for", *map(str, curve.labels)), lines)
