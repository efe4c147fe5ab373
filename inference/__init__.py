"""The inference side: guides, initializers, synthetic gradients, the SVI loop, prediction."""

from typing import TYPE_CHECKING

from pyro_sib.inference.baselines import BASELINES
from pyro_sib.inference.settings import GuideSettings, TaskForm
from pyro_sib.on_demand import Registry, names_of

if TYPE_CHECKING:
    from pyro_sib.inference.baselines.baseline import Baseline
    from pyro_sib.inference.guide import Guide
    from pyro_sib.inference.guides.sib import SIBGuide
    from pyro_sib.inference.steps.unrolled import UnrolledGuide
else:
    __getattr__ = names_of(
        __name__,
        {
            "Baseline": "pyro_sib.inference.baselines.baseline",
            "Guide": "pyro_sib.inference.guide",
            "SIBGuide": "pyro_sib.inference.guides.sib",
            "UnrolledGuide": "pyro_sib.inference.steps.unrolled",
        },
    )

GUIDES: Registry["type[Guide]"] = Registry(
    {
        "sib": "sib:SIBGuide",
        "init-only": "sib:InitOnlyGuide",
        "maml": "maml:MAMLGuide",
        "maml-first-order": "maml:FirstOrderMAMLGuide",
        "exact-gradient": "exact_gradient:ExactGradientGuide",
        "mean-field": "mean_field:MeanFieldGuide",
        "mean-field-oracle": "mean_field:MeanFieldOracleGuide",
        "neural-process": "neural_process:NeuralProcessGuide",
        "attentive-neural-process": "attentive_neural_process:AttentiveNeuralProcessGuide",
        "meta-lstm": "meta_lstm:MetaLSTMGuide",
        "gidaris-attention": "gidaris_attention:GidarisAttentionGuide",
        "gaussian-mixture": "gaussian_mixture:GaussianMixtureGuide",
    },
    below="pyro_sib.inference.guides",
)
"""Each guide, built from its settings, the tasks' form, prior, likelihood and the ELBO's weights."""


LEARNERS: Registry["type[Guide] | type[Baseline]"] = Registry({**GUIDES.homes, **BASELINES.homes})
"""Guides, and the baselines that have no posterior."""


def learner_named(name: str) -> "type[Guide] | type[Baseline]":
    """The named guide or baseline.

    Raises:
        InputError: unknown name.
    """
    LEARNERS.require("guide", name)
    return LEARNERS[name]


__all__ = [
    "BASELINES",
    "GUIDES",
    "LEARNERS",
    "Baseline",
    "Guide",
    "GuideSettings",
    "SIBGuide",
    "TaskForm",
    "UnrolledGuide",
    "learner_named",
]
