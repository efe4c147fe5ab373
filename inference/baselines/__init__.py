"""Learners without a posterior, to compare with."""

from typing import TYPE_CHECKING

from pyro_sib.on_demand import Registry

if TYPE_CHECKING:
    from pyro_sib.inference.baselines.baseline import Baseline

BASELINES: Registry["type[Baseline]"] = Registry(
    {
        "prototypical": "prototypical:PrototypicalNetwork",
        "matching": "matching:MatchingNetwork",
        "snail": "snail:SNAIL",
    },
    below="pyro_sib.inference.baselines",
)
"""Each baseline, built from the tasks' form, the base classes' weights and the objective's weights."""
