"""Learners without a posterior, to compare with."""

from pyro_sib.inference.baselines.baseline import Baseline
from pyro_sib.inference.baselines.matching import MatchingNetwork
from pyro_sib.inference.baselines.prototypical import PrototypicalNetwork
from pyro_sib.inference.baselines.snail import SNAIL

BASELINES: dict[str, type[Baseline]] = {
    "prototypical": PrototypicalNetwork,
    "matching": MatchingNetwork,
    "snail": SNAIL,
}
"""Each baseline, built from the tasks' form, the base classes' weights and the objective's weights."""

__all__ = ["BASELINES", "Baseline"]
