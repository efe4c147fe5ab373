"""The KL's part of a step, stable at any step size (docs/design.md, "The KL's part of the step")."""

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


def relaxed_log_scale(log_scale: Tensor, pull: Tensor, precision: Tensor) -> Tensor:
    """Where the KL's gradient flow takes log_scale in time `pull`: exact, so stable at any size.

    d log s / dt = 1 - P s^2 says of q's precision 1 / s^2 that it relaxes to the prior's, P, as exp(-2 t). So steps
    one after another are one step of their sum.

    Args:
        log_scale: (T, N, D), or of a shape that broadcasts to it.
        pull: step sizes times the KL's weight, a scalar.
        precision: P, broadcastable likewise.

    Raises:
        ValueError: a pull of more than one number.
    """
    _check(pull)
    return -0.5 * relaxed_precision((-2 * log_scale).exp(), precision, *shares(pull)).log()


def shares(pull: Tensor) -> tuple[Tensor, Tensor]:
    """What q keeps of its own precision and what it takes of the prior's, each without cancellation."""
    return (-2 * pull).exp(), -torch.expm1(-2 * pull)


def relaxed_precision(own: Tensor, precision: Tensor, kept: Tensor, taken: Tensor) -> Tensor:
    """Q's precision after the flow, from its own before and the prior's."""
    return kept * own + taken * precision


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
