"""SNAIL (Mishra et al. 2018) on given features."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from pyro_sib.cosine import unit
from pyro_sib.inference.baselines.baseline import Baseline
from pyro_sib.inference.settings import TaskForm, check_ways
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.types import Evidence

_WIDTH, _FILTERS = 64, 32
_DILATIONS = (1, 2, 4, 8, 16)
"""Of the convolutions; together they reach 32 places back, attention reaches all."""
_KEYS_AND_VALUES = ((32, 16), (64, 32), (128, 64))


class CausalAttention(nn.Module):
    """Causal attention over the labeled examples and one query, its values beside its input."""

    def __init__(self, width: int, keys: int, values: int):
        super().__init__()
        self.query, self.key = nn.Linear(width, keys), nn.Linear(width, keys)
        self.value = nn.Linear(width, values)

    def forward(self, examples: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(T, M, C) and (T, Q, C), each query after all examples -> the same with C + values channels."""
        keys, values = self.key(examples), self.value(examples)
        of_examples = scaled_dot_product_attention(self.query(examples), keys, values, is_causal=True)
        asked = self.query(queries) * keys.shape[-1] ** -0.5
        of_itself = (asked * self.key(queries)).sum(-1, keepdim=True)
        share = torch.cat([asked @ keys.mT, of_itself], dim=-1).softmax(-1)
        of_queries = share[..., :-1] @ values + share[..., -1:] * self.value(queries)
        return torch.cat([examples, of_examples], dim=-1), torch.cat([queries, of_queries], dim=-1)


class TemporalConvolutions(nn.Module):
    """Gated causal convolutions of growing dilation over the same, each beside its input."""

    def __init__(self, width: int):
        super().__init__()
        widths = (width + i * _FILTERS for i in range(len(_DILATIONS)))
        self.layers = nn.ModuleList(
            nn.Conv1d(w, 2 * _FILTERS, kernel_size=2, dilation=d) for w, d in zip(widths, _DILATIONS, strict=True)
        )

    def forward(self, examples: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(T, M, C) and (T, Q, C), each query after all examples -> the same with C + 32 * 5 channels."""
        places = examples.shape[1]
        for dilation, module in zip(_DILATIONS, self.layers, strict=True):
            layer = cast("nn.Conv1d", module)
            of_earlier, of_own = layer.weight.unbind(-1)
            # What lies before the first place is zero; the place after the last example is a query's.
            earlier = pad(linear(examples, of_earlier), (0, 0, dilation, 0))[:, : places + 1]
            read = linear(examples, of_own, layer.bias) + earlier[:, :places]
            asked = linear(queries, of_own, layer.bias) + earlier[:, places:]
            examples = torch.cat([examples, _gated(read)], dim=-1)
            queries = torch.cat([queries, _gated(asked)], dim=-1)
        return examples, queries


def _gated(read: Tensor) -> Tensor:
    value, gate = read.chunk(2, dim=-1)
    return value.tanh() * gate.sigmoid()


class SNAIL(Baseline):
    """Temporal convolutions and causal attention over the labeled examples and then one query.

    Narrower than the paper's, since f is given: features are projected to 64 channels, and each
    convolution adds 32. As nothing looks ahead, the labeled examples are read once for all queries of a task, class
    by class, in whatever order they come.

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
                blocks.append(TemporalConvolutions(width))
                width += _FILTERS * len(_DILATIONS)
            blocks.append(CausalAttention(width, keys, values))
            width += values
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(width, form.ways)

    def logits(self, evidence: Evidence) -> Tensor:
        """(T, Q, N).

        Raises:
            InputError: tasks of another number of classes.
        """
        check_ways("guide snail", self.form.ways, evidence.ways)
        evidence = evidence.by_class()
        labels = evidence.one_hot(evidence.support_x.dtype)
        examples = torch.cat([self.project(unit(evidence.support_x)), labels], dim=-1)
        queries = pad(self.project(unit(evidence.query_x)), (0, evidence.ways))
        for block in self.blocks:
            examples, queries = block(examples, queries)
        return self.head(queries)
