"""Learners without a posterior, to compare with."""

from inference.baselines.baseline import Baseline
from inference.baselines.matching import MatchingNetwork
from inference.baselines.prototypical import PrototypicalNetwork
from inference.baselines.snail import SNAIL

BASELINES: dict[str, type[Baseline]] = {
    "prototypical": PrototypicalNetwork,
    "matching": MatchingNetwork,
    "snail": SNAIL,
}
"""Each baseline, built from the tasks' form, the base classes' weights and the objective's weights."""

__all__ = ["BASELINES", "Baseline"]
