"""The inference side: guides, initializers, synthetic gradients, the SVI loop, prediction."""

from inference.attentive_neural_process import AttentiveNeuralProcessGuide
from inference.baselines import BASELINES, Baseline
from inference.exact_gradient import ExactGradientGuide
from inference.gidaris_attention import GidarisAttentionGuide
from inference.guide import Guide
from inference.maml import FirstOrderMAMLGuide, MAMLGuide
from inference.mean_field import MeanFieldGuide, MeanFieldOracleGuide
from inference.meta_lstm import MetaLSTMGuide
from inference.neural_process import NeuralProcessGuide
from inference.settings import GuideSettings, TaskForm
from inference.sib import InitOnlyGuide, SIBGuide
from inference.unrolled import UnrolledGuide
from pyro_sib.errors import InputError

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
