"""The figure of few-shot regression: a few tasks before and after the K steps, and exact empirical Bayes."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pyro_sib.experiments.drawing.style import PALETTE, Array, headline


@dataclass(frozen=True)
class CurveBelief:
    """What is believed of T curves on a grid of G inputs.

    Attributes:
        mean: (T, G).
        std: (T, G) of y, sigma included.
        draws: (S, T, G) of the function without noise.
    """

    mean: Array
    std: Array
    draws: Array


def regression_figure(
    grid: Array, truth: Array, support: tuple[Array, Array], beliefs: dict[str, CurveBelief], title: str
) -> Figure:
    """A column a task, a row a belief.

    Args:
        grid: (G,) inputs.
        truth: (T, G) the true curves.
        support: x and y of the labeled points, each (T, M).
        beliefs: by the name of their row.
        title: of the whole.
    """
    tasks = len(truth)
    figure = Figure(figsize=(2.6 * tasks + 0.6, 1.9 * len(beliefs) + 1.0), layout="constrained")
    headline(figure, title)
    panels = figure.subplots(len(beliefs), tasks, sharex=True, sharey="col", squeeze=False)
    for row, (name, belief) in zip(panels, beliefs.items(), strict=True):
        for t, axes in enumerate(row):
            _panel(axes, grid, belief, t)
            axes.plot(grid, truth[t], color="black", ls="--", lw=1.2)
            axes.plot(support[0][t], support[1][t], "o", ms=4.5, color=PALETTE[3], mec="white", mew=0.5, zorder=4)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(name, fontsize=9)
    for t, axes in enumerate(panels[-1]):
        axes.set_xlabel("x")
        reach = 1.25 * max(np.abs(truth[t]).max(), 2.0)
        axes.set_ylim(-reach, reach)
    figure.legend(handles=_keys(), loc="outside lower center", ncols=5, fontsize=8.5, frameon=False)
    return figure


def _panel(axes: Axes, grid: Array, belief: CurveBelief, task: int) -> None:
    mean, half = belief.mean[task], 1.96 * belief.std[task]
    axes.fill_between(grid, mean - half, mean + half, color=PALETTE[0], alpha=0.18, lw=0)
    axes.plot(grid, belief.draws[:, task].T, color=PALETTE[5], lw=0.7, alpha=0.8)
    axes.plot(grid, mean, color=PALETTE[0], lw=1.6)


def _keys() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color="black", ls="--", lw=1.2, label="true curve"),
        Line2D([], [], color=PALETTE[3], marker="o", ls="", label="labeled"),
        Line2D([], [], color=PALETTE[0], lw=1.6, label="mean"),
        Line2D([], [], color=PALETTE[5], lw=0.9, label="draws of w"),
        Patch(color=PALETTE[0], alpha=0.18, lw=0, label="95% of y"),
    ]
