"""Ways to predict from one trained guide: at q's mean, from draws of q, and both with what base classes taught."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.inference.draws import draw_probabilities
from pyro_sib.inference.guide import Guide
from pyro_sib.scores.calibration import fit_temperature, mean_nll, tempered
from pyro_sib.tasks.source import TaskSource
from pyro_sib.types import Evidence

TEMPERED_POINT = "point, tempered"
WIDTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Factors on q's standard deviation among which the tempered posterior chooses."""


@dataclass(frozen=True)
class Predictor:
    """A way to predict.

    Attributes:
        name: in tables.
        draws: of w; 0 is q's mean.
        widen: factor on q's standard deviation.
        temperature: of each draw's probabilities.
    """

    name: str
    draws: int
    widen: float = 1.0
    temperature: float = 1.0

    def __call__(self, guide: Guide, evidence: Evidence) -> Tensor:
        """(draws or 1, T, Q, C)."""
        found = draw_probabilities(guide, evidence, self.draws, self.widen)
        return found if self.temperature == 1 else tempered(_log(found), self.temperature)


def predictors_of(
    guide: Guide,
    source: TaskSource,
    first: int,
    tasks: int,
    draws: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[Predictor]:
    """The four predictors; what is fitted is fitted on tasks of the training classes alone.

    Args:
        guide: in evaluation mode.
        source: of tasks of the training classes.
        first: number of the first such task.
        tasks: how many.
        draws: of w.
        advance: told (steps done, steps in all).
    """
    episode = source.episodes(torch.arange(first, first + tasks))
    evidence, y = guide.sees(episode), episode.query_y
    temperature = fit_temperature(_log(draw_probabilities(guide, evidence, 0)), y)
    advance(1, 1 + len(WIDTHS))
    fits = []
    for number, widen in enumerate(WIDTHS, 2):
        log_p = _log(draw_probabilities(guide, evidence, draws, widen))
        fitted = fit_temperature(log_p, y)
        fits.append((mean_nll(tempered(log_p, fitted).mean(0), y), widen, fitted))
        advance(number, 1 + len(WIDTHS))
    _, widen, together = min(fits)
    return [
        Predictor("point", 0),
        Predictor("posterior", draws),
        Predictor(TEMPERED_POINT, 0, temperature=temperature),
        Predictor("posterior, tempered", draws, widen, together),
    ]


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
