"""The cosine predictor and its closed-form vector-Jacobian products."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

EPSILON = 1e-6
"""Added to squared norms, so that a zero vector has a zero, finite gradient."""


def unit(x: Tensor) -> Tensor:
    """X / |x| along the last dimension."""
    return x * (x.square().sum(-1, keepdim=True) + EPSILON**2).rsqrt()


def cosine_logits(x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """Scale * cos(x, w): (..., Q, D), (..., N, D) -> (..., Q, N); leading dimensions broadcast."""
    return unit_logits(unit(x), w, scale)


def unit_logits(unit_x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """`cosine_logits` of features that are unit vectors already; may be differentiated once."""
    logits: Tensor = _Logits.apply(unit_x, w, scale, *_norms(w, scale))
    return logits


def cosine_pull_back(unit_x: Tensor, w: Tensor, scale: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Logits, and their vector-Jacobian product in closed form: what eq. (9) needs without a second backward pass.

    With v = w / |w|: d logits_qn / d w_n = scale / |w_n| * (x_q - (x_q . v_n) v_n). The sum over queries of
    grad_qn x_q . v_n is that of grad_qn logits_qn / scale, so the weights are normalized and met with the features
    once for both. Both may be differentiated once, with respect to everything.

    Args:
        unit_x: (..., Q, D) normalized features.
        w: (..., N, D) weights.
        scale: the predictor's scale, a scalar.

    Returns:
        (..., Q, N) logits, and grad_logits (..., Q, N) -> grad_logits . d logits / d w, (..., N, D).
    """
    norms = _norms(w, scale)
    logits: Tensor = _Logits.apply(unit_x, w, scale, *norms)

    def pull_back(grad_logits: Tensor) -> Tensor:
        pulled: Tensor = _PullBack.apply(unit_x, w, scale, grad_logits, logits.detach(), *norms)
        return pulled

    return logits, pull_back


@torch.no_grad()
def _norms(w: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """1 / |w|^2 and scale / |w|, (..., N, 1)."""
    inverse = torch.linalg.vector_norm(w, dim=-1, keepdim=True).clamp_min_(EPSILON).reciprocal_()
    return inverse.square(), scale * inverse


def _product(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b`, without matmul's four views where it comes down to bmm."""
    return torch.bmm(a, b) if a.ndim == b.ndim == 3 and len(a) == len(b) else a @ b


class _Logits(torch.autograd.Function):
    """Slope x . w, differentiated by better laid out products than autograd's (docs/design.md, "Speed")."""

    @staticmethod
    def forward(
        ctx: Any, unit_x: Tensor, w: Tensor, scale: Tensor, inverse_square: Tensor, slope: Tensor
    ) -> Tensor:
        weights = (slope * w).transpose(-1, -2)
        # Weights that all tasks share make one product of it.
        logits = _product(unit_x, weights[0] if weights.ndim == 3 and len(weights) == 1 else weights)
        ctx.save_for_backward(unit_x, w, scale, inverse_square, slope, logits)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        unit_x, w, scale, inverse_square, slope, logits = ctx.saved_tensors
        of_x = of_w = of_scale = None
        if ctx.needs_input_grad[0]:
            of_x = _product(grad, slope * w).sum_to_size(unit_x.shape)
        if ctx.needs_input_grad[1]:
            of_w = _pull_back(unit_x, w, grad, logits, inverse_square, slope)[0].sum_to_size(w.shape)
        if ctx.needs_input_grad[2]:
            of_scale = ((grad * logits).sum() / scale).sum_to_size(scale.shape)
        return of_x, of_w, of_scale, None, None


class _PullBack(torch.autograd.Function):
    """The vector-Jacobian product of `_Logits`, and its own.

    With h = grad^T x, a = v . h and the cotangent c, b = v . c: the product is s r (h - a v) where r = 1 / |w| and
    s is the scale, so d / d h = s r (c - b v) and d / d w = -s r^2 ((c . h - 3 a b) v + b h + a c).
    """

    @staticmethod
    def forward(
        ctx: Any,
        unit_x: Tensor,
        w: Tensor,
        scale: Tensor,
        grad: Tensor,
        logits: Tensor,
        inverse_square: Tensor,
        slope: Tensor,
    ) -> Tensor:
        pulled, met, along = _pull_back(unit_x, w, grad, logits, inverse_square, slope)
        ctx.save_for_backward(unit_x, w, scale, grad, met, along, inverse_square, slope, pulled)
        return pulled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        unit_x, w, scale, grad, met, along, inverse_square, slope, pulled = ctx.saved_tensors
        of_x = of_w = of_scale = of_grad = None
        # b v = share w
        share = inverse_square * (w * cotangent).sum(-1, keepdim=True)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[3]:
            of_met = slope * torch.addcmul(cotangent, share, w, value=-1)
        if ctx.needs_input_grad[0]:
            of_x = _product(grad, of_met).sum_to_size(unit_x.shape)
        if ctx.needs_input_grad[1]:
            against = torch.sub(slope * (met * cotangent).sum(-1, keepdim=True), along * share, alpha=3)
            of_w = (along * cotangent).addcmul(against, w) * -inverse_square
            of_w = of_w.addcmul(slope * share, met, value=-1).sum_to_size(w.shape)
        if ctx.needs_input_grad[2]:
            of_scale = ((cotangent * pulled).sum() / scale).sum_to_size(scale.shape)
        if ctx.needs_input_grad[3]:
            of_grad = _product(unit_x, of_met.transpose(-1, -2)).sum_to_size(grad.shape)
        return of_x, of_w, of_scale, of_grad, None, None, None


def _pull_back(
    unit_x: Tensor, w: Tensor, grad: Tensor, logits: Tensor, inverse_square: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The product, grad^T x, and the sum over q of grad_qn logits_qn, (..., N, 1)."""
    met = _product(grad.transpose(-1, -2), unit_x)
    along = (grad * logits).sum(-2).unsqueeze(-1)
    return torch.addcmul(slope * met, along * inverse_square, w, value=-1), met, along


class CosineClassifier(nn.Module):
    """Logits scale * cos(f(x), w_c) over C classes (Gidaris & Komodakis 2018, eq. 5)."""

    def __init__(self, features: int, classes: int, scale: float = 10.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, features) * (2.0 / features) ** 0.5)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, C)."""
        return cosine_logits(x, self.weight, self.scale)
