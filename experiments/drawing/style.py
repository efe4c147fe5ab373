"""Figures from plain arrays: accuracy against K, the training curve, one task drawn."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any
from weakref import WeakSet

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter
from numpy.typing import NDArray

from pyro_sib.experiments.terminal.escape import in_figure, in_legend, one_line
from pyro_sib.files import write_atomically

DPI = 150
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B8A800", "#000000")
"""Okabe & Ito's colours, told apart by colour-blind eyes; the yellow darkened for white paper."""
GREY = "#8C8C8C"
METRIC_STYLES = {"novel": (PALETTE[0], "o"), "base": (PALETTE[1], "s"), "both": (PALETTE[2], "^")}
LOSS, SELECTION = PALETTE[3], PALETTE[0]
_LETTER = 0.085
"""Inches of a title's letter, on the mean."""
TILE = 64
"""Least side of a drawn image in pixels; smaller ones are repeated."""

Array = NDArray[Any]


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure atomically in the format that `path` ends in, with whatever anybody named in its texts."""
    FigureCanvasAgg(figure)
    _escape(figure)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=DPI))


_ESCAPED: WeakSet[Figure] = WeakSet()


def _escape(figure: Figure) -> None:
    """Have every text drawn as it is, once; what matplotlib itself writes along an axis comes when it draws."""
    if figure in _ESCAPED:
        return
    _ESCAPED.add(figure)
    along = {axis.get_major_formatter() for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)}
    for formatter in along:
        if isinstance(formatter, FuncFormatter):
            formatter.func = _escaped(formatter.func)
        elif isinstance(formatter, FixedFormatter):
            formatter.seq = [in_figure(str(label)) for label in formatter.seq]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(in_figure(text.get_text()))


def _escaped(label: Callable[..., str]) -> Callable[..., str]:
    return lambda *place: in_figure(label(*place))


def class_colours(classes: int) -> list[str]:
    """One colour a class."""
    if classes <= len(PALETTE):
        return list(PALETTE[:classes])
    shades = matplotlib.colormaps["turbo"](np.linspace(0.04, 0.96, classes))
    return [matplotlib.colors.to_hex(shade) for shade in shades]


def accuracy_against_steps(
    curves: dict[str, list[tuple[float, float]]],
    trained_zero: dict[str, tuple[float, float]] | None,
    title: str,
    beside: str = "trained with K = 0",
) -> Figure:
    """Accuracy of each iterate of q, one panel a metric, since their levels lie far apart.

    Args:
        curves: metric to (mean, 95% interval) in percent for k = 0..K.
        trained_zero: metric to (mean, 95% interval) in percent of K = 0 trained by itself.
        title: of the whole.
        beside: what `trained_zero` is of.
    """
    figure = Figure(figsize=(1.0 + 3.1 * max(len(curves), 1.5), 3.8), layout="constrained")
    headline(figure, title)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, curve) in zip(panels, curves.items(), strict=True):
        colour, marker = METRIC_STYLES.get(name, (PALETTE[4], "D"))
        steps = np.arange(len(curve))
        mean, interval = np.array(curve, dtype=float).reshape(-1, 2).T
        axes.errorbar(steps, mean, interval, color=colour, marker=marker, capsize=3, lw=1.8)
        if trained_zero and name in trained_zero:
            zero, band = trained_zero[name]
            axes.axhline(zero, color="0.35", ls="--", lw=1.4)
            axes.axhspan(zero - band, zero + band, color="0.35", alpha=0.15, lw=0)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("synthetic-gradient steps k")
        axes.set_xticks(steps if len(steps) <= 11 else steps[:: len(steps) // 8])
        axes.margins(x=0.08, y=0.15)
        _tidy(axes)
    panels[0].set_ylabel("accuracy (%), 95% interval")
    keys = [Line2D([], [], color="0.35", marker="o", lw=1.8, label="after k of its K steps")]
    if trained_zero:
        keys.append(Line2D([], [], color="0.35", ls="--", lw=1.4, label=beside))
    figure.legend(handles=keys, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def training_curve(
    iterations: Sequence[float],
    losses: Sequence[float],
    accuracies: Sequence[float],
    title: str,
    chosen_by: Sequence[float] | None = None,
) -> Figure:
    """Loss and selection accuracy by epoch, the chosen epoch marked (the last of equally good ones).

    Args:
        iterations: SVI steps done at the end of each epoch.
        losses: mean loss of each epoch, nats.
        accuracies: percent on the selection tasks after each epoch.
        title: of the whole.
        chosen_by: what the chosen epoch has most of; the accuracies, unless given.
    """
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    headline(figure, title)
    left = figure.subplots()
    right = left.twinx()
    left.plot(iterations, losses, color=LOSS, marker="o", ms=4, lw=1.6)
    right.plot(iterations, accuracies, color=SELECTION, marker="s", ms=4, lw=1.6, ls="--")
    left.set_xlabel("SVI iterations")
    left.set_ylabel("mean loss (nats), solid", color=LOSS)
    right.set_ylabel("selection accuracy (%), dashed", color=SELECTION)
    _tidy(left)
    right.spines["top"].set_visible(False)
    if len(accuracies):
        most = accuracies if chosen_by is None else chosen_by
        best = max(range(len(most)), key=lambda i: (most[i], i))
        label = f"best epoch: {best + 1}, {accuracies[best]:.2f} %"
        left.axvline(iterations[best], color="0.5", lw=1, ls=":")
        (star,) = right.plot(
            iterations[best], accuracies[best], "*", ms=15, color=SELECTION, mec="white", label=label
        )
        figure.legend(handles=[star], loc="outside lower right", fontsize=9, frameon=False)
    right.margins(y=0.12)
    return figure


def task_picture(
    support: Array,
    queries: Array,
    labels: Array,
    before: Array,
    after: Array,
    class_names: list[str],
    title: str,
) -> Figure:
    """One task: its support, and its queries framed in the colour of the class predicted for them.

    A band of rows is a class, so that a frame of another colour than its band's is an error; errors are pale
    and crossed out as well.

    A base query counts as right when any base class is predicted for it: which one, these arrays do not say.

    Args:
        support: (N, S, H, W, 3) uint8.
        queries: (Q, H, W, 3) uint8.
        labels: (Q,) novel class 0..N-1, or -1 for a base class.
        before: (Q,) predictions before the K steps, -1 for any base class.
        after: (Q,) predictions after them.
        class_names: N names.
        title: of the whole.
    """
    labels, before, after = (np.asarray(a) for a in (labels, before, after))
    classes, shots = support.shape[:2]
    colours = class_colours(classes)
    counts = [int((labels == c).sum()) for c in range(classes)] + [int((labels == -1).sum())]
    columns = _columns(counts, shots)
    wide = min(shots, columns)
    heights = [max(-(-count // columns), -(-shots // wide)) for count in counts[:classes]]
    if counts[-1]:
        heights.append(-(-counts[-1] // columns))
    starts = np.concatenate([[0], np.cumsum(heights)])

    size = 0.46 if starts[-1] <= 24 else 11 / starts[-1]
    width, height = 1.6 + size * (wide + 2 * columns + 1.0), 1.0 + size * starts[-1]
    figure = Figure(figsize=(max(width, 6.0), height + 0.3), layout="constrained")
    headline(figure, title)
    panels = figure.subplots(1, 3, width_ratios=[wide, columns, columns])

    tiles = [(support[c, s], starts[c] + s // wide, s % wide, c) for c in range(classes) for s in range(shots)]
    _draw_tiles(panels[0], [(*tile, True) for tile in tiles], (starts[-1], wide), colours)
    panels[0].set_title("support\n", fontsize=10)
    names = [_short_name(name) for name in class_names] + ["base classes"] * (len(heights) - classes)
    middles = [start + height / 2 for start, height in zip(starts, heights, strict=False)]
    panels[0].set_yticks(middles, names, fontsize=9)
    for tick, colour in zip(panels[0].get_yticklabels(), [*colours, GREY], strict=False):
        tick.set_color(colour)
        tick.set_fontweight("bold")

    places = _places(labels, starts, columns, classes)
    for axes, guess, name in ((panels[1], before, "before the steps"), (panels[2], after, "after the steps")):
        right = guess == labels
        tiles = [(queries[q], *places[q], guess[q]) for q in range(len(labels))]
        _draw_tiles(axes, [(*t, r) for t, r in zip(tiles, right, strict=True)], (starts[-1], columns), colours)
        axes.set_title(_heading(name, right), fontsize=10)
    for axes in panels:
        for start in starts[1:-1]:
            axes.axhline(start, color="0.75", lw=0.8)
    figure.supxlabel(_frame_key(bool((before == -1).any() or (after == -1).any())), fontsize=8)
    return figure


def task_scatter(
    query_2d: Array,
    support_2d: Array,
    weights_before: Array,
    weights_after: Array,
    labels: Array,
    before: Array,
    after: Array,
    class_names: list[str],
    title: str,
) -> Figure:
    """One task as points: the predictions before and after the K steps, the class weights' way between.

    Args:
        query_2d: (Q, 2) projected features of the queries.
        support_2d: (M, 2) of the support, class by class, as many of each.
        weights_before: (N, 2) projected class weights before the K steps.
        weights_after: (N, 2) after them.
        labels: (Q,) novel class 0..N-1, or -1 for a base class.
        before: (Q,) predictions before the K steps, -1 for any base class.
        after: (Q,) predictions after them.
        class_names: N names.
        title: of the whole.
    """
    labels, before, after = (np.asarray(a) for a in (labels, before, after))
    classes = len(weights_before)
    colours = np.array([*class_colours(classes), GREY])
    owners = np.arange(len(support_2d)) * classes // max(len(support_2d), 1)
    figure = Figure(figsize=(9.6, 5.0), layout="constrained")
    headline(figure, title)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, guess, name in ((panels[0], before, "before the steps"), (panels[1], after, "after the steps")):
        right = guess == labels
        axes.scatter(*query_2d[right].T, c=colours[guess[right]], s=24, alpha=0.75, lw=0)
        axes.scatter(*query_2d[~right].T, c=colours[guess[~right]], s=30, marker="x", lw=1.6)
        axes.scatter(*support_2d.T, c=colours[owners], s=55, marker="s", edgecolors="black", lw=1.1)
        axes.set_title(_heading(name, right), fontsize=10)
        axes.set_xlabel("first direction of the projection")
        _tidy(axes)
    panels[0].set_ylabel("second direction of the projection")
    star: dict[str, Any] = {"marker": "*", "edgecolors": "black", "lw": 0.9, "zorder": 4}
    panels[0].scatter(*weights_before.T, c=colours[:-1], s=230, **star)
    panels[1].scatter(*weights_after.T, c=colours[:-1], s=230, **star)
    for start, end in zip(weights_before, weights_after, strict=True):
        arrow = {"arrowstyle": "-|>", "color": "black", "lw": 1.3, "shrinkA": 0, "shrinkB": 5}
        panels[1].annotate("", xy=end, xytext=start, arrowprops=arrow, zorder=3)
    drawn = [in_legend(_short_name(name, 18)) for name in class_names]
    keys = [Line2D([], [], marker="o", ls="", color=c, label=n) for c, n in zip(colours, drawn, strict=False)]
    if (before == -1).any() or (after == -1).any():
        keys.append(Line2D([], [], marker="o", ls="", color=GREY, label="base"))
    black: dict[str, Any] = {"ls": "", "color": "0.25"}
    keys += [
        Line2D([], [], marker="x", label="wrong", **black),
        Line2D([], [], marker="s", label="support", **black),
        Line2D([], [], marker="*", ms=11, label="class weight", **black),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 6), fontsize=9, frameon=False)
    return figure


def _heading(name: str, right: Array) -> str:
    return f"{name}\n{right.sum()} of {len(right)} right"


def headline(figure: Figure, title: str) -> None:
    """The title of a whole figure, on as many lines as its width asks for."""
    most = max(int(figure.get_figwidth() / _LETTER), 1)
    figure.suptitle("\n".join(fill(line, most, break_long_words=False) for line in title.split("\n")), fontsize=10)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", lw=0.8)
    axes.set_axisbelow(True)


def _columns(counts: list[int], shots: int) -> int:
    """Columns of a query grid for a picture about as wide as high, with few empty places."""

    def badness(columns: int) -> tuple[float, int]:
        rows = sum(-(-count // columns) for count in counts)
        empty = 1 - sum(counts) / max(rows * columns, 1)
        return abs(np.log(max(rows, 1) / (2 * columns + min(shots, columns)))) + 2 * empty, columns

    return min(range(3, 21), key=badness)


def _places(labels: Array, starts: Array, columns: int, classes: int) -> list[tuple[int, int]]:
    """(row, column) of each query, filled class by class; base queries in the last band."""
    seen: dict[int, int] = {}
    places = []
    for label in labels.tolist():
        rank = seen.get(label, 0)
        seen[label] = rank + 1
        band = classes if label == -1 else label
        places.append((int(starts[band]) + rank // columns, rank % columns))
    return places


def _draw_tiles(
    axes: Axes, tiles: list[tuple[Array, int, int, int, bool]], shape: tuple[int, int], colours: list[str]
) -> None:
    """One canvas of framed images, in units of tiles, row 0 on top; wrong ones pale and crossed out."""
    side = max(TILE, *(max(tile[0].shape[:2]) for tile in tiles)) if tiles else TILE
    gap, frame = max(side // 16, 2), max(side // 9, 3)
    cell = side + 2 * (gap + frame)
    canvas = np.full((shape[0] * cell, shape[1] * cell, 3), 255, dtype=np.uint8)
    for image, row, column, guess, right in tiles:
        colour = np.array(matplotlib.colors.to_rgb(GREY if guess < 0 else colours[guess])) * 255
        top, left = row * cell + gap, column * cell + gap
        canvas[top : top + side + 2 * frame, left : left + side + 2 * frame] = colour.astype(np.uint8)
        inside = _resized(image, side)
        inside = inside if right else (0.45 * inside + 0.55 * 255).astype(np.uint8)
        canvas[top + frame : top + frame + side, left + frame : left + frame + side] = inside
    axes.imshow(canvas, extent=(0, shape[1], shape[0], 0))
    wrong = np.array([(column + 0.5, row + 0.5) for _, row, column, _, right in tiles if not right])
    if len(wrong):
        for width, ink in ((4.0, "white"), (1.8, "black")):
            axes.scatter(wrong[:, 0], wrong[:, 1], marker="x", s=90, lw=width, color=ink)
    axes.set_xlim(0, shape[1])
    axes.set_ylim(shape[0], 0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _resized(image: Array, side: int) -> Array:
    """The nearest pixels on a (side, side) grid."""
    rows, columns = (np.arange(side) * n // side for n in image.shape[:2])
    return image[rows][:, columns]


def _short_name(name: str, most: int = 14) -> str:
    text = one_line(name)
    return text if len(text) <= most else text[: most - 1] + "…"


def _frame_key(base: bool) -> str:
    words = "frame: predicted class; pale and crossed: wrong"
    return words + ("; grey: predicted as a base class" if base else "")
