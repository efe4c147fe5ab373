"""A grid of guides, priors and sizes on the same features and tasks: one table, its csv and its figures."""

import time
from collections.abc import Callable

from matplotlib.figure import Figure

from pyro_sib.experiments.ablate import (
    AblateSettings,
    cells,
)
from pyro_sib.experiments.comparison.figures import accuracies, against_steps, against_time
from pyro_sib.experiments.comparison.row import Row, read_rows
from pyro_sib.experiments.comparison.table import markdown, table_rows
from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.terminal.tables import csv_table
from pyro_sib.files import check_writable, write_text

FIGURES: dict[str, Callable[[list[Row]], Figure | None]] = {
    "accuracy": accuracies,
    "steps": against_steps,
    "time": against_time,
}
"""Each by the name of its file; None where there is nothing to draw."""


def ablate(settings: AblateSettings, reporter: Reporter | None = None) -> None:
    """Run what is not yet there, then write the table and the figures.

    Raises:
        InputError: a cell that cannot be run, before any is.
    """
    reporter = reporter or Reporter()
    grid = [cell.resolved() for cell in cells(settings)]
    check_writable(settings.out, "--out")
    spent: list[float] = []
    for number, cell in enumerate(grid, 1):
        left = (
            "" if not spent else f", about {sum(spent) / len(spent) * (len(grid) - number + 1) / 60:.0f} min left"
        )
        reporter.say(f"cell {number} of {len(grid)}: {cell.out.name}{left}")
        new, start = not (cell.out / "result.json").exists(), time.perf_counter()
        run(cell, Reporter(reporter.console))
        if new:
            spent.append(time.perf_counter() - start)
    rows = read_rows([*(cell.out for cell in grid), *settings.beside])
    text = markdown(rows)
    write_text(settings.out / "table.md", text)
    write_text(settings.out / "table.csv", csv_table(table_rows(rows)))
    reporter.say(text)
    drawn, decorations = [], Decorations(reporter)
    for name, draw in FIGURES.items():
        with decorations.trying(f"{name}.png"):
            if (figure := draw(rows)) is not None:
                save_figure(figure, settings.out / f"{name}.png")
                drawn.append(f"{name}.png")
    reporter.say(f"{settings.out}/: {', '.join(['table.md', 'table.csv', *drawn])}")
