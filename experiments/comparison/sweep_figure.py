"""A figure of `experiments.sweep`: accuracy and calibration against the weight of the KL."""

from collections import defaultdict
from collections.abc import Callable
from math import ceil, log10
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyro_sib.experiments.comparison.sweep_table import Weighed
from pyro_sib.experiments.drawing.marks import plain
from pyro_sib.experiments.drawing.style import PALETTE, save_figure
from pyro_sib.experiments.job.result import Scores
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.escape import in_legend
from pyro_sib.experiments.terminal.progress import Reporter

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def try_to_draw(rows: list[Weighed], path: Path) -> None:
    """Write the figure, or warn that it could not be made."""
    with Decorations(Reporter()).trying(str(path)):
        draw(rows, path)


def draw(rows: list[Weighed], path: Path) -> None:
    """Write the figure: the draws' predictions full, those at q's mean hollow and dashed, a colour a run."""
    figure = Figure(figsize=(11.4, 3.9), layout="constrained")
    panels = figure.subplots(1, 3)
    metric = rows[0].result.main
    named = (
        (f"{metric} accuracy (%), 95% interval", lambda scores: scores.metrics[metric].mean),
        ("ECE (%)", lambda scores: scores.calibration.ece),
        ("NLL (nats)", lambda scores: scores.calibration.nll),
    )
    for axes, (label, value) in zip(panels, named, strict=True):
        _panel(axes, rows, value, with_interval=axes is panels[0])
        axes.set_ylabel(label)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    save_figure(figure, path)


def _panel(axes: Axes, rows: list[Weighed], value: Callable[[Scores], float], with_interval: bool) -> None:
    series: dict[str, list[Weighed]] = defaultdict(list)
    for row in rows:
        series[row.name].append(row)
    least = min((row.result.kl_weight for row in rows if row.result.kl_weight), default=1.0)
    for number, (name, members) in enumerate(series.items()):
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        weights = [row.result.kl_weight or 0.0 for row in members]
        means = [(row.result.kl_weight or 0.0, row.result.at_the_mean) for row in members]
        half = [row.result.metrics[row.result.main].ci95 for row in members] if with_interval else None
        axes.errorbar(
            weights,
            [value(row.result) for row in members],
            half,
            color=colour,
            marker=marker,
            capsize=3,
            lw=1.6,
            label=in_legend(f"{name}, draws".removeprefix(", ")),
        )
        axes.plot(
            [weight for weight, scores in means if scores],
            [value(scores) for _, scores in means if scores],
            color=colour,
            marker=marker,
            mfc="white",
            ls="--",
            lw=1.2,
            label=in_legend(f"{name}, at q's mean".removeprefix(", ")),
        )
    # Linear below the least weight, so that 0 has a place.
    axes.set_xscale("symlog", linthresh=least)
    axes.set_xlim(left=-0.15 * least)
    most = max(row.result.kl_weight or 0.0 for row in rows)
    # A decade below the least weight would stand on 0.
    axes.set_xticks([0.0, *(10.0**n for n in range(ceil(log10(least)), ceil(log10(max(most, least))) + 1))])
    axes.set_xlabel("kl_weight")
    axes.grid(alpha=0.3)
    plain(axes)
