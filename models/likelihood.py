"""p_f(y | x, w): a categorical over cosine logits (eq. 2)."""

from collections.abc import Callable

import torch
from pyro.distributions import Categorical
from torch import Tensor, nn

from pyro_sib.cosine import cosine_vjp, unit, unit_logits
from pyro_sib.types import Evidence


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
        points, scale = unit(query_x), self.scale
        novel = unit_logits(points, w, scale)
        if w_base is None:
            return novel
        base = unit_logits(points, w_base, scale)
        # Not `broadcast_shapes`, which imports sympy, seconds of a first step.
        shape = torch.broadcast_tensors(base[..., 0], novel[..., 0])[0].shape
        return torch.cat([base.expand(*shape, -1), novel.expand(*shape, -1)], dim=-1)

    def distribution(self, outputs: Tensor) -> Categorical:
        """Categorical(softmax(outputs)), batch (..., T, Q)."""
        return Categorical(logits=outputs)

    def points(self, x: Tensor) -> Tensor:
        """Unit features."""
        return unit(x)

    def query_points(self, evidence: Evidence) -> Tensor:
        """Unit features of the queries, as constants."""
        return evidence.unit_query_x

    def step_outputs(self, w: Tensor, points: Tensor) -> Tensor:
        """Cosine logits of unit features, (..., T, P, N); the scale is a constant (footnote 3)."""
        return unit_logits(points, w, self.scale.detach())

    def vjp(self, w: Tensor, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """`step_outputs` and, in closed form, gradients in them -> in w, (..., T, P, N) -> (..., T, N, D)."""
        return cosine_vjp(points, w, self.scale.detach())

    def output_gradient(self, outputs: Tensor, y: Tensor, base: Tensor | None = None) -> Tensor:
        """softmax(outputs) - onehot(y) over the novel classes; a negative y is a base class, no novel one."""
        return categorical_gradient(outputs, y, base)


def categorical_gradient(outputs: Tensor, y: Tensor, base: Tensor | None = None) -> Tensor:
    """Gradient of -log p(y | outputs) in the outputs: softmax(outputs) - onehot(y), as in `LikelihoodLike`."""
    total = torch.logsumexp(outputs, -1, keepdim=True)
    if base is not None:
        total = torch.logaddexp(total, base)
    one_hot = (y[..., None] == torch.arange(outputs.shape[-1], device=y.device)).to(outputs.dtype)
    return (outputs - total).exp() - one_hot
