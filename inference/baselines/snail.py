"""SNAIL (Mishra et al. 2018) on given features."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad, scaled_dot_product_attention

from inference.baselines.baseline import Baseline
from inference.settings import TaskForm
from pyro_sib.cosine import unit
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Evidence

_WIDTH, _FILTERS = 64, 32
_DILATIONS = (1, 2, 4, 8, 16)
"""Of the convolutions; together they reach 32 places back, attention reaches all."""
_KEYS_AND_VALUES = ((32, 16), (64, 32), (128, 64))


class _Attention(nn.Module):
    """Causal attention, its values beside its input: (n, L, C) -> (n, L, C + values)."""

    def __init__(self, width: int, keys: int, values: int):
        super().__init__()
        self.query, self.key = nn.Linear(width, keys), nn.Linear(width, keys)
        self.value = nn.Linear(width, values)

    def forward(self, x: Tensor) -> Tensor:
        read = scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), is_causal=True)
        return torch.cat([x, read], dim=-1)


class _Temporal(nn.Module):
    """Gated causal convolutions of growing dilation, each beside its input: (n, L, C) -> (n, L, C + 32 * 5)."""

    def __init__(self, width: int):
        super().__init__()
        widths = (width + i * _FILTERS for i in range(len(_DILATIONS)))
        self.layers = nn.ModuleList(
            nn.Conv1d(w, 2 * _FILTERS, kernel_size=2, dilation=d) for w, d in zip(widths, _DILATIONS, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for layer, dilation in zip(self.layers, _DILATIONS, strict=True):
            value, gate = layer(pad(x, (dilation, 0))).chunk(2, dim=1)
            x = torch.cat([x, value.tanh() * gate.sigmoid()], dim=1)
        return x.transpose(1, 2)


class SNAIL(Baseline):
    """Temporal convolutions and causal attention over the labeled examples and then one query.

    Narrower than the paper's, since f is given: features are projected to 64 channels, and each
    convolution adds 32.

    Args:
        form: of the tasks.
        base_weights: unused.
        weights: of the objective's terms.
    """

    serves_joint = False
    fixed_ways = True

    def __init__(self, form: TaskForm, base_weights: Tensor | None, weights: ObjectiveWeights):
        super().__init__(form, None, weights)
        self.project = nn.Linear(form.features, _WIDTH)
        blocks: list[nn.Module] = []
        width = _WIDTH + form.ways
        for number, (keys, values) in enumerate(_KEYS_AND_VALUES):
            if number:
                blocks.append(_Temporal(width))
                width += _FILTERS * len(_DILATIONS)
            blocks.append(_Attention(width, keys, values))
            width += values
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, form.ways)

    def logits(self, evidence: Evidence) -> Tensor:
        """(T, Q, N)."""
        labels = one_hot(evidence.support_y, evidence.ways).to(evidence.support_x.dtype)
        support = torch.cat([self.project(unit(evidence.support_x)), labels], dim=-1)
        queries = pad(self.project(unit(evidence.query_x)), (0, evidence.ways))
        tasks, count = queries.shape[:2]
        sequences = torch.cat([support[:, None].expand(-1, count, -1, -1), queries[:, :, None]], dim=2)
        return self.head(self.blocks(sequences.flatten(0, 1))[:, -1]).view(tasks, count, -1)
