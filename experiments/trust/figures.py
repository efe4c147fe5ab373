"""Figures of calibration: reliability diagrams, risk against coverage, detection of unknown classes."""

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_sib.experiments.drawing.style import GREY, PALETTE
from pyro_sib.experiments.terminal.escape import in_legend
from pyro_sib.scores.calibration import auroc, reliability, risk_coverage

Predictions = Mapping[str, tuple[Tensor, Tensor]]
"""By name, confidences and hits, each (T, Q)."""
_LINES = ("-", "--", "-.", ":")
_POINTS = 400
"""Of a curve that is drawn."""


def reliabilities(predictions: Predictions) -> Figure:
    """A panel each: accuracy against confidence, the share of queries in each bin below."""
    columns = min(len(predictions), 4)
    rows = -(-len(predictions) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, (name, (confidence, correct)) in zip(panels, predictions.items(), strict=False):
        curve = reliability(confidence, correct)
        share = curve.count / curve.count.sum()
        width = 1 / len(share)
        middles = (torch.arange(len(share)) + 0.5) * width
        axes.bar(middles.tolist(), share.tolist(), width * 0.9, color=GREY, alpha=0.4)
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
        filled = curve.count > 0
        axes.plot(
            curve.confidence[filled].tolist(), curve.accuracy[filled].tolist(), "o-", color=PALETTE[0], markersize=4
        )
        axes.set_title(":\n".join(in_legend(part) for part in name.rsplit(": ", 1)), fontsize=8)
        axes.text(0.04, 0.9, f"ECE {curve.error:.1f}%", fontsize=9)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    for axes in panels[len(predictions) :]:
        axes.set_visible(False)
    figure.supxlabel("confidence (bars: share of the queries)", fontsize=9)
    figure.supylabel("accuracy", fontsize=9)
    return figure


def risks(predictions: Predictions) -> Figure:
    """Share of wrong answers against the share answered, the most confident first."""
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, (confidence, correct)) in enumerate(predictions.items()):
        coverage, risk = risk_coverage(confidence, correct)
        keep = torch.linspace(0, len(coverage) - 1, min(_POINTS, len(coverage))).long()
        axes.plot(coverage[keep].tolist(), (100 * risk[keep]).tolist(), label=in_legend(name), **_style(number))
    axes.set_xlabel("coverage: share of the queries answered")
    axes.set_ylabel("risk: wrong among those answered (%)")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return figure


def strangers_found(found: Mapping[str, tuple[dict[str, Tensor], dict[str, Tensor]]]) -> Figure | None:
    """ROC of telling unknown classes from known ones, a panel for each score; None where nothing was scored."""
    if not found:
        return None
    scores = list(next(iter(found.values()))[0])
    figure = Figure(figsize=(4.0 * len(scores), 4.2), layout="constrained")
    panels = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for axes, score in zip(panels, scores, strict=True):
        for number, (name, (known, unknown)) in enumerate(found.items()):
            negative, positive = known[score].flatten().sort().values, unknown[score].flatten().sort().values
            # Nothing to draw where all scores are one, or none; NaN is no more than 1e-6 either.
            if not len(positive) or not len(negative) or not float(negative[-1]) - float(negative[0]) >= 1e-6:
                continue
            cuts = negative[torch.linspace(0, len(negative) - 1, _POINTS).long()]
            false = 1 - torch.searchsorted(negative, cuts) / len(negative)
            true = 1 - torch.searchsorted(positive, cuts) / len(positive)
            label = f"{in_legend(name)} ({100 * auroc(positive, negative):.1f})"
            axes.plot(false.tolist(), true.tolist(), label=label, **_style(number))
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
        axes.set_title(score, fontsize=10)
        axes.set_xlabel("known taken for unknown")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    panels[0].set_ylabel("unknown found")
    return figure


def _style(number: int) -> dict[str, Any]:
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": _LINES[number % len(_LINES)]}
