"""The inference side: guides, initializers, synthetic gradients, the SVI loop, prediction."""

from pyro_sib.errors import InputError
from pyro_sib.inference.baselines import BASELINES, Baseline
from pyro_sib.inference.guide import Guide
from pyro_sib.inference.guides.attentive_neural_process import AttentiveNeuralProcessGuide
from pyro_sib.inference.guides.exact_gradient import ExactGradientGuide
from pyro_sib.inference.guides.gidaris_attention import GidarisAttentionGuide
from pyro_sib.inference.guides.maml import FirstOrderMAMLGuide, MAMLGuide
from pyro_sib.inference.guides.mean_field import MeanFieldGuide, MeanFieldOracleGuide
from pyro_sib.inference.guides.meta_lstm import MetaLSTMGuide
from pyro_sib.inference.guides.neural_process import NeuralProcessGuide
from pyro_sib.inference.guides.sib import InitOnlyGuide, SIBGuide
from pyro_sib.inference.settings import GuideSettings, TaskForm
from pyro_sib.inference.steps.unrolled import UnrolledGuide

GUIDES: dict[str, type[Guide]] = {
    "sib": SIBGuide,
    "init-only": InitOnlyGuide,
    "maml": MAMLGuide,
    "maml-first-order": FirstOrderMAMLGuide,
    "exact-gradient": ExactGradientGuide,
    "mean-field": MeanFieldGuide,
    "mean-field-oracle": MeanFieldOracleGuide,
    "neural-process": NeuralProcessGuide,
    "attentive-neural-process": AttentiveNeuralProcessGuide,
    "meta-lstm": MetaLSTMGuide,
    "gidaris-attention": GidarisAttentionGuide,
}
"""Each guide, built from its settings, the tasks' form, prior, likelihood and the ELBO's weights."""


LEARNERS: dict[str, type[Guide] | type[Baseline]] = {**GUIDES, **BASELINES}
"""Guides, and the baselines that have no posterior."""


def learner_named(name: str) -> type[Guide] | type[Baseline]:
    """The named guide or baseline.

    Raises:
        InputError: unknown name.
    """
    if name not in LEARNERS:
        raise InputError(f"unknown guide {name!r}; choose one of {', '.join(LEARNERS)}")
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
