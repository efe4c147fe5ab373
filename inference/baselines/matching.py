"""Matching networks (Vinyals et al. 2016) on given features."""

import torch
from torch import Tensor, nn

from pyro_sib.cosine import unit
from pyro_sib.inference.baselines.baseline import Baseline
from pyro_sib.inference.settings import TaskForm
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Evidence

_PASSES = 3
"""Reads of the labeled examples by the queries' LSTM."""


class MatchingNetwork(Baseline):
    """Cosine attention over the labeled examples, with full-context embeddings.

    A bidirectional LSTM reads the labeled examples one after another, class by class, in whatever order they come;
    an LSTM with attention reads them for each query. The attention's scale is learned, where the paper has 1.

    Args:
        form: of the tasks.
        base_weights: unused.
        weights: of the objective's terms.
    """

    serves_joint = False

    def __init__(self, form: TaskForm, base_weights: Tensor | None, weights: ObjectiveWeights):
        super().__init__(form, None, weights)
        size = form.features
        self.support = nn.LSTM(size, size, batch_first=True, bidirectional=True)
        self.query = nn.LSTMCell(2 * size, size)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def logits(self, evidence: Evidence) -> Tensor:
        """(T, Q, N) log of the attention on each class's examples."""
        evidence = evidence.by_class()
        support, queries = self._support(unit(evidence.support_x)), unit(evidence.query_x)
        queries = self._queries(queries, support)
        cosine = unit(queries) @ unit(support).transpose(1, 2)
        attention = (self.log_scale.exp() * cosine).softmax(-1)
        return (attention @ evidence.one_hot(attention.dtype)).clamp_min(1e-8).log()

    def _support(self, x: Tensor) -> Tensor:
        """(T, M, D) -> (T, M, D): forward plus backward state plus the example itself."""
        forward, backward = self.support(x)[0].chunk(2, dim=-1)
        return x + forward + backward

    def _queries(self, x: Tensor, support: Tensor) -> Tensor:
        """(T, Q, D) -> (T, Q, D): an LSTM whose state is joined by what was read (the paper's eq. 3 to 6).

        Its gates are linear in state and input alike, so the read stands beside the input.
        """
        shape = x.shape
        flat = x.flatten(0, 1)
        hidden, cell = flat, torch.zeros_like(flat)
        for _ in range(_PASSES):
            read = (hidden.view(shape) @ support.transpose(1, 2)).softmax(-1) @ support
            hidden, cell = self.query(torch.cat([flat, read.flatten(0, 1)], dim=-1), (hidden, cell))
            hidden = hidden + flat
        return hidden.view(shape)
