"""The implicit step (docs/design.md, "The KL in the steps") with its derivative in closed form.

A step is some twenty operations on tensors of a few thousand numbers, and autograd would add two for each: starting
them, not running them, is what a step costs on a CPU.
"""

from typing import Any

import torch
from torch import Tensor

from pyro_sib.cosine import once_differentiable


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

    Raises:
        ValueError: a step size of more than one number.
    """
    _check(step_size)
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

    Raises:
        ValueError: a step size of more than one number.
    """
    _check(step_size)
    stepped: Tensor = _ImplicitLogScale.apply(log_scale, step_size, kl_weight, precision)
    return stepped


def _check(step_size: Tensor) -> None:
    if step_size.numel() != 1:
        raise ValueError(f"a step has one size, not {tuple(step_size.shape)}")


def loc_step(
    loc: Tensor, rate: Tensor, gradient: Tensor, pull: Tensor, precision: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """`implicit_loc` with step_size as `rate` for the loss and `pull` for the KL, and its derivative in loc."""
    shrinkage = (pull * precision).add_(1).reciprocal_()
    pushed = torch.addcmul(loc, rate, gradient, value=-1)
    return pushed.addcmul_(pull, shift).mul_(shrinkage), shrinkage


def excess_step(excess: Tensor, pull: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`implicit_log_scale` of e = log_scale + log(P) / 2, how far it is above the KL's optimum.

    Returns:
        the new e, and its derivatives in e and in pull; they are element by element and so serve every cotangent.
    """
    ratio = (excess + excess).exp_()
    damping = (pull * ratio).mul_(2).add_(1).reciprocal_()
    away = (ratio - 1).mul_(damping)
    newton, bound = torch.addcmul(excess, pull, away, value=-1), excess.clamp_min(0)
    free, kept = newton <= bound, bound.sign()
    slope = (ratio * damping).mul_(damping).mul_(-2 * pull * (1 + 2 * pull)).add_(1)
    return torch.minimum(newton, bound), torch.where(free, slope, kept), (away * damping).neg_().mul_(free)


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
        stepped, shrinkage = loc_step(loc, step_size, gradient, step_size * kl_weight, precision, shift)
        ctx.kl_weight = kl_weight
        ctx.save_for_backward(loc, gradient, step_size, precision, shift, shrinkage, stepped)
        return stepped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        loc, gradient, step_size, precision, shift, shrinkage, stepped = ctx.saved_tensors
        of_step_size = of_precision = of_shift = None
        of_loc = cotangent * shrinkage
        of_gradient = of_loc * -step_size
        if ctx.needs_input_grad[2]:
            # The gradient at the end point is (loc - stepped) / step_size.
            of_step_size = torch.sum(of_loc * (stepped - loc)) / step_size
        if ctx.needs_input_grad[4]:
            of_precision = (of_gradient * stepped).sum_to_size(precision.shape) * ctx.kl_weight
        if ctx.needs_input_grad[5]:
            of_shift = of_gradient.sum_to_size(shift.shape) * -ctx.kl_weight
        of_gradient = of_gradient.sum_to_size(gradient.shape)
        return of_loc.sum_to_size(loc.shape), of_gradient, of_step_size, None, of_precision, of_shift


class _ImplicitLogScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_scale: Tensor, step_size: Tensor, kl_weight: float, precision: Tensor) -> Tensor:
        half_log = 0.5 * precision.log()
        stepped, *slopes = excess_step(log_scale + half_log, step_size * kl_weight)
        ctx.kl_weight = kl_weight
        ctx.save_for_backward(log_scale, precision, *slopes)
        return stepped - half_log

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        log_scale, precision, of_excess, of_pull = ctx.saved_tensors
        of_step_size = of_precision = None
        of_log_scale = cotangent * of_excess
        if ctx.needs_input_grad[1]:
            of_step_size = (cotangent * of_pull).sum() * ctx.kl_weight
        if ctx.needs_input_grad[3]:
            of_precision = 0.5 * (of_log_scale - cotangent).sum_to_size(precision.shape) / precision
        return of_log_scale.sum_to_size(log_scale.shape), of_step_size, None, of_precision
