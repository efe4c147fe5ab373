"""What is taken out of a learner for tasks of any size to see what it buys, by name."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from pyro_sib.inference.guides.gaussian_mixture import HYPOTHESES, GaussianMixtureGuide
from pyro_sib.inference.learner_file import TrainedLearner

_NONE, _SURE = -20.0, 50.0
"""A logarithm of next to nothing, or a logit of next to never; and a logit that outweighs all others."""


def _rounds(count: int, guide: GaussianMixtureGuide) -> None:
    guide.settings = replace(guide.settings, steps=count)


def _constant(layer: nn.Linear) -> None:
    """Let it answer zero whatever it is given."""
    layer.weight.zero_()
    layer.bias.zero_()


def _alike(guide: GaussianMixtureGuide) -> None:
    _constant(guide.judge.weights)


def _alone(place: int, guide: GaussianMixtureGuide) -> None:
    _alike(guide)
    guide.judge.weights.bias[place] = _SURE


def _untempered(guide: GaussianMixtureGuide) -> None:
    _constant(guide.judge.temperature)


def _number(guide: GaussianMixtureGuide, **values: float) -> None:
    for name, value in values.items():
        guide.learned[name].fill_(value)


PIECES: dict[str, Callable[[GaussianMixtureGuide], None]] = {
    "no rounds, class means alone": partial(_rounds, 0),
    "one round": partial(_rounds, 1),
    "hypotheses weighed alike": _alike,
    **{f"{name.replace(', ', ' and ')} alone": partial(_alone, h) for h, name in enumerate(HYPOTHESES)},
    "no temperature": _untempered,
    "queries weigh as labeled ones": partial(_number, discount=-_NONE, trust=0.0),
    "no pull of the means": partial(_number, pull=_NONE),
    "no width of q": partial(_number, width=_NONE),
}
"""Each changes the guide in place. Nothing is trained again, so that a piece shows what the whole makes of it."""


@torch.no_grad()
def without(learner: TrainedLearner, piece: str) -> TrainedLearner:
    """A copy of the learner, a piece of `PIECES` taken out; the feature network is shared."""
    program = deepcopy(learner.program)
    guide = program.guide
    assert isinstance(guide, GaussianMixtureGuide)
    PIECES[piece](guide)
    return replace(learner, program=program)
