"""The transductive methods of the optional package easyfsl, task by task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.preprocessing import centred_and_shifted, on_sphere, power_centred
from pyro_sib.types import Evidence


@dataclass(frozen=True)
class TaskByTask:
    """An easyfsl method with its settings filled in.

    Attributes:
        prepare: (T, M, D) and (T, Q, D) features -> what the method is published to work on.
        build: a fresh easyfsl classifier; it serves one task.
    """

    prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    build: Callable[[], Any]

    def __call__(self, evidence: Evidence) -> Tensor:
        """(T, Q, N) probabilities."""
        support, query = self.prepare(evidence.support_x, evidence.query_x)
        return torch.stack([self._task(*task) for task in zip(support, evidence.support_y, query, strict=True)])

    def _task(self, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        classifier = self.build()
        classifier.process_support_set(support, labels)
        scores = classifier(query)
        return scores / scores.sum(-1, keepdim=True)


def _adapted(kind: str, cosine_scale: float = 1.0) -> Any:
    """The named easyfsl class on features as given, its cosines times a scale.

    easyfsl's BD-CSPN weighs examples by exp(cosine) where the paper has exp(10 cosine).
    """
    base: Any = getattr(import_module("easyfsl.methods"), kind)

    class Adapted(base):
        def compute_features(self, images: Tensor) -> Tensor:
            return images

        def cosine_distance_to_prototypes(self, samples: Tensor) -> Tensor:
            return cosine_scale * super().cosine_distance_to_prototypes(samples)

    return Adapted


def bd_cspn(base: BaseClasses, cosine_scale: float) -> TaskByTask:
    """Class means rectified by the queries' pseudo-labels (Liu et al. 2020)."""
    return TaskByTask(on_sphere, lambda: _adapted("BDCSPN", cosine_scale)(use_softmax=True))


def laplacian_shot(base: BaseClasses, cosine_scale: float, **settings: Any) -> TaskByTask:
    """Rectified class means, and neighbours that agree (Ziko et al. 2020)."""
    prepare = partial(centred_and_shifted, base_mean=base.mean)
    return TaskByTask(prepare, lambda: _adapted("LaplacianShot", cosine_scale)(**settings))


def tim(base: BaseClasses, **settings: Any) -> TaskByTask:
    """Class weights that maximize the mutual information of queries and predictions (Boudiaf et al. 2020)."""
    return TaskByTask(on_sphere, lambda: _adapted("TIM")(use_softmax=True, **settings))


def pt_map(base: BaseClasses, power: float, **settings: Any) -> TaskByTask:
    """Class means by optimal transport, as many queries to each class (Hu, Gripon & Pateux 2020)."""
    return TaskByTask(partial(power_centred, power=power), lambda: _adapted("PTMAP")(**settings))
