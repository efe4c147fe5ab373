"""The figure of simulation-based calibration: a histogram and the ECDF's difference from uniform, with bands."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pyro_sib.experiments.drawing.style import GREY, PALETTE, headline
from pyro_sib.scores.uniformity import Array, ecdf_band, histogram_band

BINS = 12


def sbc_figure(places: dict[str, dict[str, Array]], worst: dict[str, str], title: str) -> Figure:
    """A column a method: the histogram of its worst quantity above, all quantities' ECDFs below.

    Args:
        places: by method and quantity, (J,) numbers that are uniform where the method is calibrated.
        worst: by method, the quantity farthest from uniform.
        title: of the whole.
    """
    figure = Figure(figsize=(1.0 + 3.4 * max(len(places), 1.4), 5.6), layout="constrained")
    headline(figure, title)
    panels = figure.subplots(2, len(places), squeeze=False, sharey="row", sharex=True)
    for (above, below), (method, numbers) in zip(panels.T, places.items(), strict=True):
        _histogram(above, numbers[worst[method]])
        above.set_title(f"{method}\n{worst[method]}", fontsize=9)
        _differences(below, numbers, worst[method])
        below.set_xlabel("place of the truth in the posterior")
    panels[0, 0].set_ylabel("simulated tasks")
    panels[1, 0].set_ylabel("ECDF minus uniform")
    figure.text(0.01, 0.002, "grey: 95% under calibration, of one bin above, of a whole curve below", fontsize=8)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0.03, 1, 0.97)))
    return figure


def _histogram(axes: Axes, numbers: Array) -> None:
    low, high = histogram_band(len(numbers), BINS)
    axes.axhspan(low, high, color=GREY, alpha=0.3, lw=0)
    axes.axhline(len(numbers) / BINS, color=GREY, lw=1)
    axes.hist(numbers, bins=np.linspace(0, 1, BINS + 1).tolist(), color=PALETTE[0], alpha=0.85, rwidth=0.92)
    axes.spines[["top", "right"]].set_visible(False)


def _differences(axes: Axes, numbers: dict[str, Array], worst: str) -> None:
    band = ecdf_band(len(numbers[worst]))
    axes.fill_between(band.z, band.lower - band.z, band.upper - band.z, color=GREY, alpha=0.3, lw=0)
    for name, values in numbers.items():
        ecdf = (values[:, None] <= band.z).mean(0)
        chosen = name == worst
        axes.plot(
            band.z,
            ecdf - band.z,
            color=PALETTE[0] if chosen else PALETTE[5],
            lw=1.8 if chosen else 0.7,
            alpha=1 if chosen else 0.6,
            zorder=3 if chosen else 2,
        )
    axes.axhline(0, color=GREY, lw=1)
    axes.spines[["top", "right"]].set_visible(False)
