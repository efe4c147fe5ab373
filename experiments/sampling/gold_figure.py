"""The figure of the gold standard: a guide's posteriors beside NUTS's, task by task."""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_sib.experiments.drawing.style import GREY, PALETTE, headline

Row = dict[str, Any]


def gold_figure(tasks: list[Row], title: str) -> Figure:
    """Every panel has a column for each of NUTS's posteriors and a dot for each task; bars are means.

    Args:
        tasks: as `gold_task` gives them.
        title: of the whole.
    """
    names = list(tasks[0]["parts"])
    figure = Figure(figsize=(5.0 + 1.6 * max(3, len(names)), 6.4), layout="constrained")
    headline(figure, title)
    panels = figure.subplots(2, 3)
    for axes, score, label in zip(panels[0], ("accuracy", "nll"), ("accuracy (%)", "NLL (nats)"), strict=False):
        _strips(axes, tasks, names, itemgetter(score))
        guide = float(np.mean([task["guide"][score] for task in tasks]))
        axes.axhline(guide, color=PALETTE[3], lw=1.4, ls="--", label=f"the guide: {guide:.3g}")
        axes.legend(fontsize=8, frameon=False)
        axes.set_title(label, fontsize=9)
    _strips(panels[0, 2], tasks, names, lambda part: part["r_hat_worst"])
    panels[0, 2].axhline(1.05, color=GREY, lw=1, ls=":")
    panels[0, 2].set_title("NUTS: worst R-hat of a task", fontsize=9)
    _strips(panels[1, 0], tasks, names, lambda part: part["direction_cosine"])
    panels[1, 0].set_title("cosine of mean directions, guide and NUTS", fontsize=9)
    _strips(panels[1, 1], tasks, names, lambda part: part["scale_in_span"], -0.16, PALETTE[0], "in the span")
    _strips(panels[1, 1], tasks, names, lambda part: part["scale_across_span"], 0.16, PALETTE[1], "across it")
    panels[1, 1].axhline(1, color=GREY, lw=1, ls=":")
    panels[1, 1].legend(fontsize=8, frameon=False)
    panels[1, 1].set_title("scale, guide over NUTS", fontsize=9)
    _strips(panels[1, 2], tasks, names, lambda part: part["gap"])
    panels[1, 2].set_title("KL(guide || posterior), nats", fontsize=9)
    return figure


def _strips(
    axes: Axes,
    tasks: list[Row],
    names: list[str],
    value: Callable[[Row], float | None],
    shift: float = 0.0,
    colour: str = PALETTE[0],
    label: str | None = None,
) -> None:
    """A column of dots a posterior, with its mean; tasks that have no value are left out."""
    for column, name in enumerate(names):
        found = [value(task["parts"][name]) for task in tasks]
        values = np.array([v for v in found if v is not None and np.isfinite(v)])
        x = (
            column + shift + np.linspace(-0.1, 0.1, len(values))
            if len(values) > 1
            else np.full(len(values), column)
        )
        axes.plot(x, values, "o", ms=3.5, color=colour, alpha=0.5, mew=0, label=label if column == 0 else None)
        if len(values):
            axes.plot([column + shift - 0.14, column + shift + 0.14], [values.mean()] * 2, color="black", lw=1.6)
        else:
            axes.text(column, 0.5, "no estimate", ha="center", fontsize=8, transform=axes.get_xaxis_transform())
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=8)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.spines[["top", "right"]].set_visible(False)
