"""The cosine predictor and its closed-form vector-Jacobian products."""

from collections.abc import Callable
from functools import wraps
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from pyro_sib.readable import readable

EPSILON = 1e-6
"""No norm counts as less, so that a zero vector stays zero and its gradient finite."""
_SQUARABLE = 1e18
"""Longer vectors have squares near what single precision can hold."""


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a second derivative, where torch's decorator of that name lets one pass that loses a part.

    Raises:
        RuntimeError: differentiated under `create_graph`.
    """

    @wraps(backward)
    def once(ctx: Any, *cotangents: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("this may be differentiated once, and create_graph asks for more")
        return backward(ctx, *cotangents)

    return once


def unit(x: Tensor) -> Tensor:
    """X / |x| along the last dimension, for any length that the type can hold; a zero vector stays zero."""
    if not readable(x):
        # Squares of double precision neither overflow nor vanish, and nobody waits for the device.
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float64)
        length = length.masked_fill(length == 0, 1.0).clamp_max(torch.finfo(x.dtype).max)
        return x / length.to(x.dtype)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    if bool(((length < EPSILON) | (length > _SQUARABLE)).any()):
        x = x * _power_of_two(x)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(EPSILON)


@torch.no_grad()
def _power_of_two(x: Tensor) -> Tensor:
    """The power of two that brings each vector's largest entry to [1/2, 1), or near it; 1 for a zero vector."""
    exponent = torch.frexp(x.abs().amax(-1, keepdim=True)).exponent
    most = int(log2(torch.finfo(x.dtype).max)) - 1
    return torch.exp2(-exponent.clamp(-most, most).to(x.dtype))


def cosine_logits(x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """Scale * cos(x, w): (..., Q, D), (..., N, D) -> (..., Q, N); leading dimensions broadcast."""
    return unit_logits(unit(x), w, scale)


def unit_logits(unit_x: Tensor, w: Tensor, scale: Tensor) -> Tensor:
    """`cosine_logits` of features that are unit vectors already; may be differentiated once."""
    logits: Tensor = _Logits.apply(unit_x, w, scale, *_norms(w, scale))
    return logits


def cosine_vjp(unit_x: Tensor, w: Tensor, scale: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
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

    def vjp(grad_logits: Tensor) -> Tensor:
        pulled: Tensor = _VectorJacobian.apply(unit_x, w, scale, grad_logits, logits.detach(), *norms)
        return pulled

    return logits, vjp


@torch.no_grad()
def _norms(w: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """1 / |w|^2 and scale / |w|, (..., N, 1).

    Raises:
        ValueError: a scale of more than one number, whose gradient would be a wrong one.
    """
    if scale.numel() != 1:
        raise ValueError(f"the cosine's scale is one number, not {tuple(scale.shape)}")
    inverse = torch.linalg.vector_norm(w, dim=-1, keepdim=True).clamp_min_(EPSILON).reciprocal_()
    return inverse.square(), scale * inverse


def _product(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b`, without matmul's four views where it comes down to bmm."""
    return torch.bmm(a, b) if a.ndim == b.ndim == 3 and len(a) == len(b) else a @ b


class _Logits(torch.autograd.Function):
    """Slope x . w, differentiated by better laid out products than autograd's (docs/speed.md)."""

    @staticmethod
    def forward(
        ctx: Any, unit_x: Tensor, w: Tensor, scale: Tensor, inverse_square: Tensor, slope: Tensor
    ) -> Tensor:
        weights = (slope * w).transpose(-1, -2)
        # Weights that all tasks share make one product of it.
        logits = _product(
            unit_x, weights[0] if weights.ndim == 3 and len(weights) == 1 and unit_x.ndim > 2 else weights
        )
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
            of_w = _vjp(unit_x, w, grad, logits, inverse_square, slope)[0].sum_to_size(w.shape)
        if ctx.needs_input_grad[2]:
            of_scale = ((grad * logits).sum() / scale).sum_to_size(scale.shape)
        return of_x, of_w, of_scale, None, None


class _VectorJacobian(torch.autograd.Function):
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
        pulled, met, along = _vjp(unit_x, w, grad, logits, inverse_square, slope)
        ctx.save_for_backward(unit_x, w, scale, grad, met, along, inverse_square, slope, pulled)
        return pulled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        unit_x, w, scale, grad, met, along, inverse_square, slope, pulled = ctx.saved_tensors
        of_x = of_scale = None
        of_met, of_w = _vjp_twice(cotangent, w, met, along, inverse_square, slope)
        if ctx.needs_input_grad[0]:
            of_x = _product(grad, of_met).sum_to_size(unit_x.shape)
        if ctx.needs_input_grad[2]:
            of_scale = ((cotangent * pulled).sum() / scale).sum_to_size(scale.shape)
        of_grad = _product(unit_x, of_met.transpose(-1, -2)).sum_to_size(grad.shape)
        return of_x, of_w.sum_to_size(w.shape), of_scale, of_grad, None, None, None


def _vjp_twice(
    cotangent: Tensor, w: Tensor, met: Tensor, along: Tensor, inverse_square: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """The derivatives of `_vjp` in grad^T x and in w."""
    # b v = share w
    share = inverse_square * (w * cotangent).sum(-1, keepdim=True)
    against = torch.sub(slope * (met * cotangent).sum(-1, keepdim=True), along * share, alpha=3)
    of_w = (along * cotangent).addcmul(against, w) * -inverse_square
    of_met = slope * torch.addcmul(cotangent, share, w, value=-1)
    return of_met, of_w.addcmul(slope * share, met, value=-1)


def _vjp(
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
