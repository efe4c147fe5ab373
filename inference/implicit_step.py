"""The implicit step (docs/design.md, "The KL in the steps") with its derivative in closed form.

A step is some twenty operations on tensors of a few thousand numbers, and autograd would add two for each: starting
them, not running them, is what a step costs on a CPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def implicit_loc(
    loc: Tensor, gradient: Tensor, step_size: Tensor, kl_weight: float, precision: Tensor, shift: Tensor
) -> Tensor:
    """The new loc l = loc - step_size (gradient + kl_weight (precision l - shift)), the KL's part at the end point.

    May be differentiated once.

    Args:
        loc: (T, N, D).
        gradient: of the loss, (T, N, D).
        step_size: eta, a scalar.
        kl_weight: of the KL.
        precision: P, broadcastable to (T, N, D).
        shift: m, broadcastable to (T, N, D).
    """
    stepped: Tensor = _ImplicitLoc.apply(loc, gradient, step_size, kl_weight, precision, shift)
    return stepped


def implicit_log_scale(log_scale: Tensor, step_size: Tensor, kl_weight: float, precision: Tensor) -> Tensor:
    """One Newton step towards u = log_scale - pull (P exp(2u) - 1), the backward Euler step's end point.

    From below, Newton overshoots; the root never lies beyond the KL's own optimum, P exp(2u) = 1. May be
    differentiated once.

    Args:
        log_scale: (T, N, D), or of a shape that broadcasts to it.
        step_size: eta, a scalar; pull is step_size * kl_weight.
        kl_weight: of the KL.
        precision: P, broadcastable likewise.
    """
    stepped: Tensor = _ImplicitLogScale.apply(log_scale, step_size, kl_weight, precision)
    return stepped


class _ImplicitLoc(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loc: Tensor,
        gradient: Tensor,
        step_size: Tensor,
        kl_weight: float,
        precision: Tensor,
        shift: Tensor,
    ) -> Tensor:
        pull = step_size * kl_weight
        shrinkage = (pull * precision).add_(1).reciprocal_()
        pushed = torch.addcmul(loc, step_size, gradient, value=-1)
        stepped = pushed.addcmul_(pull, shift).mul_(shrinkage)
        ctx.kl_weight = kl_weight
        ctx.save_for_backward(loc, gradient, step_size, precision, shift, shrinkage, stepped)
        return stepped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        loc, gradient, step_size, precision, shift, shrinkage, stepped = ctx.saved_tensors
        _, of_gradient_wanted, of_step_size_wanted, _, of_precision_wanted, of_shift_wanted = ctx.needs_input_grad
        of_step_size = of_precision = of_shift = None
        of_loc = cotangent * shrinkage
        of_gradient = of_loc * -step_size
        if of_step_size_wanted:
            # The gradient at the end point is (loc - stepped) / step_size.
            of_step_size = torch.sum(of_loc * (stepped - loc)) / step_size
        if of_precision_wanted:
            of_precision = (of_gradient * stepped).sum_to_size(precision.shape) * ctx.kl_weight
        if of_shift_wanted:
            of_shift = of_gradient.sum_to_size(shift.shape) * -ctx.kl_weight
        of_gradient = of_gradient.sum_to_size(gradient.shape) if of_gradient_wanted else None
        return of_loc.sum_to_size(loc.shape), of_gradient, of_step_size, None, of_precision, of_shift


class _ImplicitLogScale(torch.autograd.Function):
    """Element by element, so the derivatives are taken on the way forward, once for all cotangents."""

    @staticmethod
    def forward(ctx: Any, log_scale: Tensor, step_size: Tensor, kl_weight: float, precision: Tensor) -> Tensor:
        pull = step_size * kl_weight
        bound = torch.maximum(log_scale, -0.5 * precision.log())
        excess = precision * (log_scale + log_scale).exp_()
        damping = (pull * excess).mul_(2).add_(1).reciprocal_()
        away = (excess - 1).mul_(damping)
        newton = torch.addcmul(log_scale, pull, away, value=-1)
        if any(ctx.needs_input_grad):
            free, at_start = newton <= bound, log_scale >= bound
            # d newton / d log excess, negative; d log excess is 2 d log_scale and d log precision.
            of_excess = (excess * damping).mul_(damping).mul_(-pull * (1 + 2 * pull))
            of_log_scale = torch.where(free, of_excess.mul(2).add_(1), at_start.to(newton.dtype))
            of_pull = torch.where(free, away * -damping, 0.0)
            of_log_precision = torch.where(free, of_excess, -0.5 * ~at_start)
            ctx.kl_weight = kl_weight
            ctx.save_for_backward(log_scale, precision, of_log_scale, of_pull, of_log_precision)
        return torch.minimum(newton, bound)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        log_scale, precision, *derivatives = ctx.saved_tensors
        of_log_scale = of_step_size = of_precision = None
        if ctx.needs_input_grad[0]:
            of_log_scale = (cotangent * derivatives[0]).sum_to_size(log_scale.shape)
        if ctx.needs_input_grad[1]:
            of_step_size = (cotangent * derivatives[1]).sum() * ctx.kl_weight
        if ctx.needs_input_grad[3]:
            of_precision = (cotangent * derivatives[2]).sum_to_size(precision.shape) / precision
        return of_log_scale, of_step_size, None, of_precision
