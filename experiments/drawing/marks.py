"""Marks that the figures of `experiments.diagnose` share."""

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import gaussian_kde

from pyro_sib.experiments.drawing.style import Array

CLASSES = 5
"""Most classes drawn in one figure."""
INTERVALS = ((3.0, 97.0, 1.6), (25.0, 75.0, 4.5))
"""Percentiles of the thin and the thick bar, and their widths in points."""


def interval(
    axes: Axes, draws: Array, place: float, colour: str, upright: bool = False, thick: float = 1.0
) -> None:
    """Median with both intervals, lying or upright; nothing for NaN."""
    if not np.isfinite(draws).all():
        return
    for low, high, width in INTERVALS:
        ends = np.percentile(draws, [low, high])
        line = ([place, place], ends) if upright else (ends, [place, place])
        axes.plot(*line, color=colour, lw=width * thick, solid_capstyle="butt", zorder=2)
    middle = np.median(draws)
    at = ([place], [middle]) if upright else ([middle], [place])
    axes.plot(*at, "o", color="white", mec=colour, mew=1.2, ms=4.5 * thick, zorder=3)


def density(axes: Axes, draws: Array, colour: str, fill: bool = False, style: str = "-") -> None:
    """Kernel density of the finite draws; nothing where they are one number."""
    draws = draws[np.isfinite(draws)].ravel()
    if len(draws) < 3 or np.ptp(draws) == 0:
        return
    step = max(len(draws) // 4000, 1)
    spread = np.ptp(draws)
    grid = np.linspace(draws.min() - 0.1 * spread, draws.max() + 0.1 * spread, 200)
    height = gaussian_kde(draws[::step])(grid)
    axes.plot(grid, height, color=colour, lw=1.6, ls=style)
    if fill:
        axes.fill_between(grid, height, color=colour, alpha=0.2, lw=0)


def plain(axes: Axes) -> None:
    """No frame on the right and on top."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
