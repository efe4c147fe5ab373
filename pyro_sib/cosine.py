"""The cosine predictor and its closed-form vector-Jacobian product."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

EPSILON = 1e-6
"""Added to squared norms, so that a zero vector has a zero, finite gradient."""


def unit(x: Tensor) -> Tensor:
    """X / |x| along the last dimension."""
    return x * (x.square().sum(-1, keepdim=True) + EPSILON**2).rsqrt()


def cosine_logits(x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """Scale * cos(x, w): (..., Q, D), (..., N, D) -> (..., Q, N); leading dimensions broadcast."""
    return unit_logits(unit(x), w, scale)


def unit_logits(unit_x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """`cosine_logits` of features that are unit vectors already."""
    weights = (scale * unit(w)).transpose(-1, -2)
    # Weights that all tasks share make one product of it.
    return unit_x @ (weights[0] if weights.ndim == 3 and len(weights) == 1 else weights)


def cosine_pull_back(unit_x: Tensor, w: Tensor, scale: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Logits, and their vector-Jacobian product in closed form: what eq. (9) needs without a second backward pass.

    With v = w / |w|: d logits_qn / d w_n = scale / |w_n| * (x_q - (x_q . v_n) v_n). The sum over queries of
    grad_qn x_q . v_n is that of grad_qn logits_qn / scale, so the weights are normalized and met with the features
    once for both.

    Args:
        unit_x: (..., Q, D) normalized features.
        w: (..., N, D) weights.
        scale: the predictor's scale, a scalar.

    Returns:
        (..., Q, N) logits, and grad_logits (..., Q, N) -> grad_logits . d logits / d w, (..., N, D).
    """
    inverse_square = (w.square().sum(-1, keepdim=True) + EPSILON**2).reciprocal()
    slope = scale * inverse_square.sqrt()
    logits = unit_x @ (slope * w).transpose(-1, -2)

    def pull_back(grad_logits: Tensor) -> Tensor:
        along = (grad_logits * logits).sum(-2)[..., None] * inverse_square
        return slope * (grad_logits.transpose(-1, -2) @ unit_x) - along * w

    return logits, pull_back


class CosineClassifier(nn.Module):
    """Logits scale * cos(f(x), w_c) over C classes (Gidaris & Komodakis 2018, eq. 5)."""

    def __init__(self, features: int, classes: int, scale: float = 10.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features) * (2.0 / features) ** 0.5)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, C)."""
        return cosine_logits(x, self.weight, self.scale)
