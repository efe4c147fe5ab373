"""An attentive neural process (Kim et al. 2019) as a guide."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from pyro_sib.inference.guides.amortized import WIDTH, AmortizedGuide, layer, mlp
from pyro_sib.types import Evidence

_HEADS = 8


class AttentiveNeuralProcessGuide(AmortizedGuide):
    """A neural process whose classes attend to the encoded examples and queries (Kim et al. 2019).

    A class attends from the mean encoding of its own labeled examples, its target. What it sees of an example is
    the encoded features and whether the example is its own, so permuting the classes permutes q, and any
    number of classes is served.
    """

    def build(self) -> None:
        """Make the parts of its own."""
        super().build()
        self.lift = layer(self.form.features, WIDTH)
        self.own = nn.Parameter(torch.randn(WIDTH))
        self.encode_labeled = nn.Sequential(nn.ReLU(), layer(WIDTH, WIDTH), nn.ReLU(), layer(WIDTH, WIDTH))
        self.encode_query = mlp(self.form.features, WIDTH)
        self.attend_labeled = CrossAttention(WIDTH, _HEADS)
        self.attend_queries = CrossAttention(WIDTH, _HEADS)

    def embed(self, evidence: Evidence, support: Tensor, queries: Tensor) -> Tensor:
        """(T, N, 3 WIDTH)."""
        lifted = self.lift(support)
        as_own, as_other = self.encode_labeled(lifted + self.own), self.encode_labeled(lifted)
        classes = torch.arange(evidence.ways, device=support.device)[:, None]
        is_own = (evidence.support_y[:, None] == classes)[..., None]
        tokens = torch.where(is_own, as_own[:, None], as_other[:, None])
        target = evidence.class_means(as_own)
        labeled = self.attend_labeled(target[:, :, None], tokens).squeeze(2)
        return torch.cat([target, labeled, self.attend_queries(target, self.encode_query(queries))], dim=-1)


class CrossAttention(nn.Module):
    """Multi-head attention of targets to tokens (Vaswani et al. 2017).

    Args:
        width: of targets, tokens and outputs.
        heads: how many; a divisor of width.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.value, self.out = (nn.Linear(width, width) for _ in range(2))

    def forward(self, targets: Tensor, tokens: Tensor) -> Tensor:
        """(..., C, W) targets and (..., P, W) tokens -> (..., C, W)."""
        q, k, v = (
            project(t).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for project, t in ((self.query, targets), (self.key, tokens), (self.value, tokens))
        )
        return self.out(scaled_dot_product_attention(q, k, v).transpose(-3, -2).flatten(-2))
