"""Figures of predictive checks, k-hat, leave-one-out and the steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pyro_sib.experiments.drawing.marks import CLASSES, interval, plain
from pyro_sib.experiments.drawing.style import PALETTE, headline
from pyro_sib.experiments.posterior.checks import PredictiveChecks, QueryScores
from pyro_sib.experiments.posterior.khat import SPACE_NAMES, SPACES, THRESHOLD, KHat

HIGHEST = 1e3
"""Where larger k-hats are drawn, infinite ones among them."""

MOST = 5.0
"""In a histogram of k-hats, where larger ones are counted."""


def checks_figure(checks: PredictiveChecks, task: int, names: Sequence[str], title: str) -> Figure:
    """Surprise of the labels beside that of replicated ones, and one task's class counts."""
    names = names[:CLASSES]
    figure = Figure(figsize=(10.4, 4.0), layout="constrained")
    headline(figure, title)
    first, second, third = figure.subplots(1, 3, width_ratios=(1.5, 1, 1.1))
    order = np.argsort(checks.observed.mean(1))
    for place, t in enumerate(order):
        interval(first, checks.replicated[t], place - 0.18, PALETTE[0], upright=True, thick=0.6)
        interval(first, checks.observed[t], place + 0.18, PALETTE[3], upright=True, thick=0.6)
    first.set_xticks([])
    first.set_xlabel("tasks, by the surprise of their labels")
    first.set_ylabel("-log p(y | x, w), nats a query")
    second.hist(checks.p_value, bins=np.linspace(0, 1, 21), color=PALETTE[0], alpha=0.8, edgecolor="white")
    second.axvspan(0, 0.05, color=PALETTE[3], alpha=0.15, lw=0)
    second.set_xlim(0, 1)
    second.set_xlabel("share of draws whose own labels\nare at least as surprising")
    second.set_ylabel("tasks")
    second.yaxis.get_major_locator().set_params(integer=True)
    for n in range(len(names)):
        interval(third, checks.counts[task, :, n], -n, PALETTE[0])
        third.plot([checks.observed_counts[task, n]], [-n], "D", color=PALETTE[3], ms=5.5, zorder=4)
    third.set_yticks([-n for n in range(len(names))], names, fontsize=9)
    third.tick_params(axis="y", length=0)
    third.set_xlabel(f"queries of the class, task {task}")
    for axes in (first, second, third):
        plain(axes)
    keys = [
        Line2D([], [], color=PALETTE[0], lw=3, label="labels drawn from the posterior predictive"),
        Line2D([], [], color=PALETTE[3], lw=3, marker="D", label="the true labels"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def khat_figure(found: Sequence[KHat], title: str) -> Figure:
    """K-hat of every task, by target and space, on a logarithmic axis."""
    rows = list(dict.fromkeys((f.target, f.space) for f in found))
    rows.sort(key=lambda row: (list(dict.fromkeys(f.target for f in found)).index(row[0]), SPACES.index(row[1])))
    figure = Figure(figsize=(8.2, 1.4 + 0.33 * len(rows)), layout="constrained")
    headline(figure, title)
    axes, place, ticks, previous = figure.subplots(), 0.0, [], None
    for target, space in rows:
        if previous not in (None, target):
            axes.axhline(place + 0.2, color="0.85", lw=0.8)
            place -= 0.6
        previous = target
        k = np.array([f.k for f in found if (f.target, f.space) == (target, space)])
        k = np.clip(k, 0.05, HIGHEST)
        colour = PALETTE[SPACES.index(space)]
        axes.scatter(k, np.full(len(k), place), s=16, color=colour, alpha=0.4, lw=0)
        axes.plot([np.nanmedian(k) if np.isfinite(k).any() else np.nan], [place], "|", color="black", ms=11, mew=2)
        oracle = " (oracle)" if target.startswith("queries") else ""
        ticks.append((place, f"{target}{oracle}: {SPACE_NAMES[space]}"))
        place -= 1
    axes.axvline(THRESHOLD, color=PALETTE[3], ls="--", lw=1.4)
    axes.annotate(f"{THRESHOLD} ", (THRESHOLD, 0.6), color=PALETTE[3], fontsize=9, ha="right")
    axes.set_xscale("log")
    axes.set_ylim(place + 0.4, 1.3)
    axes.set_yticks([t[0] for t in ticks], [t[1] for t in ticks], fontsize=9)
    axes.tick_params(axis="y", length=0)
    infinite = any(np.isinf(f.k) for f in found)
    axes.set_xlabel("k-hat of each task, and the median" + f" ({HIGHEST:g}: no tail left)" * infinite)
    plain(axes)
    return figure


def loo_figure(scores: QueryScores, title: str) -> Figure:
    """K-hat of leaving out each query, and what leaving it out takes off its score."""
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    headline(figure, title)
    left, right = figure.subplots(1, 2)
    k = np.clip(scores.k[~np.isnan(scores.k)], None, MOST)
    left.hist(k, bins=40, color=PALETTE[0], alpha=0.85)
    if not k.size:
        left.annotate(
            "every label is as likely under every draw", (0.5, 0.5), xycoords="axes fraction", ha="center"
        )
    left.axvline(THRESHOLD, color=PALETTE[3], ls="--", lw=1.4)
    left.set_xlabel("k-hat of a query" + f" ({MOST:g}: that or more)" * bool((k >= MOST).any()))
    left.set_ylabel("queries")
    right.scatter(scores.predictive.ravel(), scores.left_out.ravel(), s=5, alpha=0.35, lw=0, color=PALETTE[0])
    both = np.concatenate([scores.left_out.ravel(), scores.predictive.ravel()])
    low = float(both[np.isfinite(both)].min(initial=-1e-3))
    right.plot([low, 0], [low, 0], color="0.5", lw=1)
    right.set_xlabel("log predictive density of the label (nats)")
    right.set_ylabel("the same, the label left out (PSIS-LOO)")
    for axes in (left, right):
        plain(axes)
    return figure


def steps_figure(table: Sequence[dict[str, Any]], title: str) -> Figure:
    """How q moves from k = 0 to K."""
    panels = (
        ("moved", "step of the mean, |loc(k) - loc(k-1)|", 1),
        ("cosine_to_last", "cosine of the mean with the last", 0),
        ("scale", "mean standard deviation of q", 0),
        ("accuracy_at_mean", "accuracy at the mean (%)", 0),
    )
    figure = Figure(figsize=(11.2, 3.3), layout="constrained")
    headline(figure, title)
    for axes, (name, label, first), colour in zip(figure.subplots(1, 4), panels, PALETTE, strict=False):
        rows = table[first:] or table
        axes.plot([r["k"] for r in rows], [r[name] for r in rows], "o-", color=colour, lw=1.8)
        axes.set_xticks([r["k"] for r in rows])
        axes.set_xlabel("k")
        axes.set_title(label, fontsize=9)
        if name in ("moved", "scale"):
            axes.set_ylim(0, 1.15 * max(r[name] for r in rows) or 1)
        axes.ticklabel_format(axis="y", useOffset=False)
        plain(axes)
    return figure
