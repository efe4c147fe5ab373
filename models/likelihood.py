"""p_f(y | x, w): a categorical over cosine logits (eq. 2)."""

import torch
from torch import Tensor, nn

from pyro_sib.cosine import cosine_logits


class CosineCategorical(nn.Module):
    """Labels from softmax(scale * cos(x, w)).

    Args:
        scale: the first value of the learned scale.
    """

    def __init__(self, scale: float = 10.0):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(float(scale)).log())

    @property
    def scale(self) -> Tensor:
        """The scale, a positive scalar."""
        return self.log_scale.exp()

    def logits(self, w: Tensor, query_x: Tensor, w_base: Tensor | None = None) -> Tensor:
        """(..., T, N, D), (T, Q, D) [, (..., T, B', D)] -> (..., T, Q, [B' +] N), base classes first."""
        if w_base is not None:
            shape = torch.broadcast_shapes(w.shape[:-2], w_base.shape[:-2])
            w = torch.cat([w_base.expand(*shape, *w_base.shape[-2:]), w.expand(*shape, *w.shape[-2:])], dim=-2)
        return cosine_logits(query_x, w, self.scale)
