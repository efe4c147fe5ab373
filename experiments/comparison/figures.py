"""Figures of an ablation: accuracies with intervals, accuracy against K, accuracy against time."""

from collections import defaultdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_sib.experiments.comparison.row import Row
from pyro_sib.experiments.comparison.table import labels
from pyro_sib.experiments.drawing.style import PALETTE
from pyro_sib.experiments.job.method import identity
from pyro_sib.experiments.terminal.escape import in_legend, one_line

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def accuracies(rows: list[Row]) -> Figure:
    """One panel a setting and task size: each method's accuracy and 95% interval, oracles hollow or in words."""
    forms = list(dict.fromkeys(row.form for row in rows))
    deepest = max(sum(row.form == form for row in rows) for form in forms)
    figure, panels = _panels(forms, 7.2, 1.6 + 0.3 * deepest)
    for axes, form in zip(panels, forms, strict=True):
        members = [row for row in rows if row.form == form]
        low, high = _range(members)
        for height, row in enumerate(members):
            value = row.metrics[row.main]
            if not low <= value.mean <= high:
                axes.text(high, height, f"{value.mean:.1f} → ", ha="right", va="center", fontsize=8)
                continue
            drawn = [(value, "o", PALETTE[0]), (row.second, "s", PALETTE[3])]
            for interval, mark, color in drawn:
                if interval is not None:
                    fill = "white" if row.oracle else color
                    shown, half = interval.mean, interval.ci95
                    axes.errorbar(shown, height, xerr=half, fmt=mark, color=color, mfc=fill, capsize=3)
        axes.set_xlim(low, high)
        axes.set_yticks(range(len(members)), labels(members), fontsize=8)
        axes.invert_yaxis()
        second = "\nsquares: under the other balance" if any(r.second for r in members) else ""
        axes.set_xlabel(f"{members[0].main} accuracy (%), 95% interval{second}", fontsize=8)
        axes.grid(axis="x", alpha=0.3)
    return figure


def _panels(forms: list[tuple[Any, ...]], width: float, height: float) -> tuple[Figure, list[Axes]]:
    """One beside the other, each named after its setting and task size."""
    figure = Figure(figsize=(width * len(forms), height), layout="constrained")
    panels = list(figure.subplots(1, len(forms), squeeze=False)[0])
    for axes, (setting, ways, shots) in zip(panels, forms, strict=True):
        axes.set_title(f"{one_line(setting)}, {ways}-way {shots}-shot", fontsize=10)
    return figure, panels


def _range(rows: list[Row]) -> tuple[float, float]:
    """What the axis shows: all but oracles, which are far above everything."""
    shown = [row for row in rows if not row.oracle] or rows
    intervals = [i for row in shown for i in (row.metrics[row.main], row.second) if i is not None]
    low = min(i.mean - i.ci95 for i in intervals)
    high = max(i.mean + i.ci95 for i in intervals)
    margin = 0.06 * (high - low) + 0.1
    return low - margin, high + margin


def against_steps(rows: list[Row]) -> Figure | None:
    """Accuracy against K of each method that was run with several K; None where none was."""
    curves: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        rest = identity({name: value for name, value in row.method.items() if name != "steps"})
        curves[(*row.form, rest)].append(row)
    curves = {key: members for key, members in curves.items() if len(members) > 1}
    if not curves:
        return None
    forms = list(dict.fromkeys(key[:3] for key in curves))
    figure, panels = _panels(forms, 4.8, 3.8)
    for axes, form in zip(panels, forms, strict=True):
        here = [members for key, members in curves.items() if key[:3] == form]
        names = labels([members[0] for members in here])
        for i, (members, name) in enumerate(zip(here, names, strict=True)):
            ordered = sorted(members, key=lambda row: row.method["steps"])
            values = [row.metrics[row.main] for row in ordered]
            axes.errorbar(
                [row.method["steps"] for row in ordered],
                [v.mean for v in values],
                [v.ci95 for v in values],
                color=PALETTE[i % len(PALETTE)],
                marker=MARKERS[i % len(MARKERS)],
                capsize=3,
                label=in_legend(name),
            )
        axes.set_xlabel("K")
        axes.set_ylabel(f"{here[0][0].main} accuracy (%), 95% interval")
        axes.legend(fontsize=7, frameon=False)
    return figure


def against_time(rows: list[Row]) -> Figure | None:
    """Accuracy against the time to infer and predict a task, the best for its time joined; None without times."""
    timed = [row for row in rows if row.milliseconds == row.milliseconds]
    if not timed:
        return None
    forms = list(dict.fromkeys(row.form for row in timed))
    figure, panels = _panels(forms, 6.0, 4.4)
    for axes, form in zip(panels, forms, strict=True):
        members = [row for row in timed if row.form == form]
        for i, (row, name) in enumerate(zip(members, labels(members), strict=True)):
            value, colour = row.metrics[row.main], PALETTE[i % len(PALETTE)]
            marker = MARKERS[(i // len(PALETTE)) % len(MARKERS)]
            fill = "white" if row.oracle else colour
            axes.errorbar(
                row.milliseconds, value.mean, value.ci95, fmt=marker, color=colour, mfc=fill, label=in_legend(name)
            )
        best, front = -1.0, []
        for row in sorted((r for r in members if not r.oracle), key=lambda r: r.milliseconds):
            if row.metrics[row.main].mean > best:
                best = row.metrics[row.main].mean
                front.append((row.milliseconds, best))
        axes.plot(*zip(*front, strict=True), color="0.6", lw=1, zorder=0)
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds to infer and predict a task")
        axes.set_ylabel(f"{members[0].main} accuracy (%), 95% interval")
        axes.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
