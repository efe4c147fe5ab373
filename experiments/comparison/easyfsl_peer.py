"""easyfsl's prototypical networks on features, as a learner that takes one task after another."""

from collections.abc import Sequence
from importlib import import_module

import torch
from torch import Tensor, nn

from pyro_sib.inference.learner import Learner
from pyro_sib.types import Evidence


class EasyfslPrototypes(Learner):
    """Nearest class mean (Snell et al. 2017) by the optional package easyfsl: no inner loop.

    Raises:
        ModuleNotFoundError: easyfsl is not there.
    """

    serves_joint = False
    fixed_steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.classifier = import_module("easyfsl.methods").PrototypicalNetworks(nn.Identity())

    @torch.no_grad()
    def probabilities(self, evidence: Evidence, draws: int, iterates: Sequence[int] = (-1,)) -> list[Tensor]:
        """(T, Q, N): softmax of minus the distances; there are neither draws nor iterates."""
        found = []
        for support, labels, query in zip(evidence.support_x, evidence.support_y, evidence.query_x, strict=True):
            self.classifier.process_support_set(support, labels)
            found.append(self.classifier(query).softmax(-1))
        return [torch.stack(found) for _ in iterates]
