"""Figure of a benchmark: how the cost of a training step and of evaluation grows with each size."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_sib.experiments.drawing.style import GREY, PALETTE, headline
from pyro_sib.experiments.speed.row import Row

_SIZES = {"D": "features D", "K": "steps K", "N": "ways N", "Q": "queries Q", "tasks": "tasks in a batch"}
_STYLES = {
    "ours": (PALETTE[0], "o"),
    "double_backward_batched": (PALETTE[1], "s"),
    "double_backward_loop": (PALETTE[3], "^"),
    "pyro_free": (PALETTE[2], "D"),
    "easyfsl_protonet": (PALETTE[4], "v"),
    "easyfsl_tim": (PALETTE[5], "P"),
    "floor": (GREY, ""),
}
_KINDS = {"svi_step": "SVI step", "evaluate": "evaluation", "evaluate_lwof": "LwoF evaluation"}


def growth(rows: list[Row], title: str) -> Figure | None:
    """A panel for each size that was varied, on logarithmic axes, the other sizes as in the stage's first row.

    Args:
        rows: of any stages.
        title: of the whole.

    Returns:
        None where no size of any stage was varied.
    """
    panels = [
        (stage, size, curves) for stage in _KINDS for size in _SIZES if (curves := _curves(rows, stage, size))
    ]
    if not panels:
        return None
    columns = min(len(panels), 4)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(1.0 + 3.2 * columns, 1.2 + 2.9 * lines), layout="constrained")
    headline(figure, title)
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, (stage, size, curves) in zip(grid, panels, strict=False):
        _draw(axes, curves, f"{_KINDS[stage]}: {_SIZES[size] if stage == 'svi_step' else size}")
        axes.set_xlabel(_SIZES[size] if stage == "svi_step" else size)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for first in grid[::columns]:
        first.set_ylabel("seconds")
    drawn = {name: handle for axes in grid for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=min(len(drawn), 4), fontsize=8)
    return figure


def _curves(rows: list[Row], stage: str, size: str) -> dict[str, dict[float, float]]:
    """Name to {size: seconds}, of the rows that differ from the first in this size alone; {} for fewer than two."""
    members = [row for row in rows if row.stage == stage]
    if not members:
        return {}
    rest = _without(members[0].params, size)
    curves: dict[str, dict[float, float]] = {}
    for row in members:
        if _without(row.params, size) != rest:
            continue
        for name, seconds in (("ours", row.ours_s), (row.peer, row.peer_s), ("floor", row.floor_s)):
            if name is not None and seconds is not None:
                curves.setdefault(name, {})[row.params[size]] = seconds
    return curves if len(curves.get("ours", {})) > 1 else {}


def _without(params: dict[str, Any], size: str) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name in {*_SIZES, "S", "joint"} - {size}}


def _draw(axes: Axes, curves: dict[str, dict[float, float]], title: str) -> None:
    for name, (colour, marker) in _STYLES.items():
        if name in curves:
            x, y = zip(*sorted(curves[name].items()), strict=True)
            axes.plot(
                x, y, color=colour, marker=marker or None, ls="-" if marker else "--", ms=4, lw=1.5, label=name
            )
    axes.set_title(title, fontsize=10)
    axes.set_yscale("log")
    sizes = sorted(curves["ours"])
    if sizes[0] > 0:
        axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{s:g}" for s in sizes], fontsize=8)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", lw=0.8)
    axes.set_axisbelow(True)
