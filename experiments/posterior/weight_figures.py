"""Figures of weights: prior against posterior, and the classes' directions."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pyro_sib.experiments.drawing.marks import CLASSES, density, interval, plain
from pyro_sib.experiments.drawing.style import GREY, PALETTE, class_colours, headline
from pyro_sib.experiments.posterior.checks import ChosenWeights, Directions
from pyro_sib.experiments.terminal.escape import in_legend


def weights_forest(chosen: ChosenWeights, names: Sequence[str], title: str) -> Figure:
    """94% and 50% intervals of the chosen weights: the prior's, then each class's posterior."""
    names, colours = names[:CLASSES], class_colours(len(names[:CLASSES]))
    rows = len(names) + 1
    figure = Figure(figsize=(7.2, 1.4 + 0.24 * (rows + 1) * len(chosen.features)), layout="constrained")
    headline(figure, title)
    axes = figure.subplots()
    ticks, labels = [], []
    for f, feature in enumerate(chosen.features):
        top = -f * (rows + 1)
        interval(axes, chosen.prior[:, f], top, GREY)
        for n, colour in enumerate(colours):
            interval(axes, chosen.posterior[:, n, f], top - 1 - n, colour)
        ticks.append(top - rows / 2 + 0.5)
        labels.append(f"feature {feature}\n{chosen.kl[f]:.1f} nats")
        if f:
            axes.axhline(top + 1, color="0.85", lw=0.8)
    axes.axvline(0, color="0.8", lw=0.8, zorder=0)
    axes.set_yticks(ticks, labels, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("weight: median, 50% and 94% interval of the draws")
    _legend(figure, names, colours)
    plain(axes)
    return figure


def weights_density(chosen: ChosenWeights, names: Sequence[str], title: str) -> Figure:
    """Kernel density of the chosen weights, prior against the classes' posteriors."""
    names, colours = names[:CLASSES], class_colours(len(names[:CLASSES]))
    count = len(chosen.features)
    columns = min(count, 2)
    height = -(-count // columns)
    figure = Figure(figsize=(4.0 * columns, 1.2 + 2.3 * height), layout="constrained")
    headline(figure, title)
    panels = figure.subplots(height, columns, squeeze=False).ravel()
    for f, axes in enumerate(panels):
        if f >= count:
            axes.set_visible(False)
            continue
        density(axes, chosen.prior[:, f], GREY, fill=True)
        for n, colour in enumerate(colours):
            density(axes, chosen.posterior[:, n, f], colour)
        axes.set_title(f"feature {chosen.features[f]}", fontsize=9)
        axes.set_yticks([])
        axes.set_ylim(bottom=0)
        plain(axes)
        axes.spines["left"].set_visible(False)
    for axes in panels[-columns:]:
        axes.set_xlabel("weight")
    _legend(figure, names, colours)
    return figure


def weights_pair(chosen: ChosenWeights, names: Sequence[str], title: str) -> Figure:
    """Draws of each two of the chosen weights."""
    names, colours = names[:CLASSES], class_colours(len(names[:CLASSES]))
    count = min(len(chosen.features), 4)
    side = max(count - 1, 1)
    figure = Figure(figsize=(2.5 * side + 0.6, 2.5 * side + 0.9), layout="constrained")
    headline(figure, title)
    grid = figure.subplots(side, side, squeeze=False, sharex="col", sharey="row")
    for row in range(side):
        for column in range(side):
            axes = grid[row][column]
            if column > row:
                axes.set_visible(False)
                continue
            down, across = row + 1, column
            axes.scatter(chosen.prior[:, across], chosen.prior[:, down], s=5, color="0.75", lw=0)
            for n, colour in enumerate(colours):
                draws = chosen.posterior[:, n]
                axes.scatter(draws[:, across], draws[:, down], s=5, color=colour, alpha=0.35, lw=0)
            if row == side - 1:
                axes.set_xlabel(f"feature {chosen.features[across]}", fontsize=9)
            if column == 0:
                axes.set_ylabel(f"feature {chosen.features[down]}", fontsize=9)
            axes.tick_params(labelsize=8)
            plain(axes)
    _legend(figure, names, colours, marks=True)
    return figure


def direction_figure(directions: Directions, task: int, names: Sequence[str], title: str) -> Figure:
    """Cosines of the draws: one task's classes, and all tasks together."""
    names = names[:CLASSES]
    parts = (
        ("posterior draw, q's mean", directions.with_mean, PALETTE[0]),
        ("posterior draw, class's queries", directions.with_truth, PALETTE[3]),
        ("prior draw, class's queries", directions.prior_with_truth, GREY),
    )
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    headline(figure, title)
    left, right = figure.subplots(1, 2, sharex=True, width_ratios=(1, 1.1))
    for n in range(len(names)):
        for i, (_, values, colour) in enumerate(parts):
            interval(left, values[task, :, n], -4 * n - i, colour)
        mean = directions.mean_with_truth[task, n]
        left.plot([mean], [-4 * n - 1], "D", color="black", ms=4.5, zorder=4)
    left.set_yticks([-4 * n - 1 for n in range(len(names))], names, fontsize=9)
    left.tick_params(axis="y", length=0)
    left.set_title(f"task {task}: median, 50% and 94% interval", fontsize=9)
    for _, values, colour in parts:
        density(right, values, colour, fill=colour == GREY)
    density(right, directions.mean_with_truth, "black", style="--")
    right.set_yticks([])
    right.set_ylim(bottom=0)
    right.set_title("all tasks and classes", fontsize=9)
    for axes in (left, right):
        axes.set_xlabel("cosine")
        axes.set_xlim(right=1.0)
        plain(axes)
    right.spines["left"].set_visible(False)
    keys = [Line2D([], [], color=colour, lw=3, label=name) for name, _, colour in parts]
    keys.append(Line2D([], [], color="black", ls="--", marker="D", ms=4.5, label="q's mean, class's queries"))
    figure.legend(handles=keys, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _legend(figure: Figure, names: Sequence[str], colours: Sequence[str], marks: bool = False) -> None:
    style: dict[str, Any] = {"ls": "", "marker": "o"} if marks else {"lw": 3}
    keys = [Line2D([], [], color=GREY, label="prior", **style)]
    keys += [Line2D([], [], color=c, label=in_legend(n), **style) for n, c in zip(names, colours, strict=True)]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
