"""Prototypical networks (Snell et al. 2017) on given features."""

import torch
from torch import Tensor, nn

from pyro_sib.cosine import unit
from pyro_sib.inference.baselines.baseline import Baseline
from pyro_sib.inference.settings import TaskForm
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Evidence


class PrototypicalNetwork(Baseline):
    """Squared Euclidean distance to class means, in a learned linear map of the unit features.

    As f stands still, the map, which starts as the identity, and the distances' scale are what is learned. In joint
    tasks the base classes' prototypes are their unit weights, mapped alike.

    Args:
        form: of the tasks.
        base_weights: (B, D) unit weights of the base classes, or None.
        weights: of the objective's terms.
    """

    def __init__(self, form: TaskForm, base_weights: Tensor | None, weights: ObjectiveWeights):
        super().__init__(form, base_weights, weights)
        self.map = nn.Linear(form.features, form.features, bias=False)
        nn.init.eye_(self.map.weight)
        self.log_scale = nn.Parameter(torch.tensor(_SCALE).log())

    def logits(self, evidence: Evidence) -> Tensor:
        """(T, Q, [B' +] N)."""
        prototypes = evidence.class_means(self.map(unit(evidence.support_x)))
        ids = evidence.joint_base_ids
        if ids is not None:
            assert isinstance(self.base, Tensor), "joint tasks need the base classes' weights"
            prototypes = torch.cat([self.map(self.base)[ids], prototypes], dim=1)
        queries = self.map(unit(evidence.query_x))
        squares = queries.square().sum(-1, keepdim=True) + prototypes.square().sum(-1)[:, None]
        return -self.log_scale.exp() * (squares - 2 * queries @ prototypes.transpose(1, 2))


_SCALE = 10.0
"""First scale of the squared distances between unit features, which lie between 0 and 4."""
