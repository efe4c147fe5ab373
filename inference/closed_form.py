"""The K steps as one autograd function: forwards without a graph, backwards in closed form.

The same numbers as `UnrolledGuide.unroll`, for the steps that most programs take (docs/design.md, "Speed"). Two
cotangents go back side by side: that of theta^K, which is for phi, and the KL's own at theta^K, which is for psi
(Algorithm 1, lines 10 and 11).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inference.implicit_step import excess_step, loc_step
from pyro_sib.cosine import once_differentiable
from pyro_sib.types import GaussianParameters, Tape

WayBack = Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]
"""(C, T, P, N) cotangents of what stands for d loss / d outputs -> those of the outputs, (C, T, P, N), and of phi's
parameters for the first of the C."""


@dataclass(frozen=True)
class Walk:
    """What the K steps are made of.

    Attributes:
        tape: w -> the likelihood's outputs there.
        gradient: (T, P, N) outputs -> what stands for d loss / d outputs, and its way back.
        points: P, over which the loss is a mean.
        kl_weight: of the KL, where the steps descend it.
        kl_cotangent: theta^K -> the KL's gradient there; None where psi learns nothing from the steps.
    """

    tape: Callable[[Tensor], Tape]
    gradient: Callable[[Tensor], tuple[Tensor, WayBack]]
    points: int
    kl_weight: float
    kl_cotangent: Callable[[GaussianParameters], GaussianParameters] | None


def walk(
    how: Walk,
    start: GaussianParameters,
    log_step_size: Tensor,
    curvature: tuple[Tensor, Tensor] | None,
    parameters: Sequence[Tensor],
) -> tuple[GaussianParameters, Tensor]:
    """theta^K, and a zero whose gradient in psi is that of the KL at theta^K through the steps.

    May be differentiated once.

    Args:
        how: the steps.
        start: theta^0; log_scale may be of a shape that broadcasts.
        log_step_size: (K,).
        curvature: precision and shift of the KL at every theta, as `PriorLike.kl_gradient` gives them; None where
            the steps leave it out.
        parameters: phi's, inside `how.gradient`.
    """
    precision, shift = curvature or (None, None)
    log_scale = start.log_scale
    if precision is not None:
        log_scale = torch.broadcast_tensors(log_scale, precision)[0]
    loc, log_scale, route = _Walk.apply(how, start.loc, log_scale, log_step_size, precision, shift, *parameters)
    return GaussianParameters(loc, log_scale), route


@dataclass(frozen=True)
class _Step:
    """What a step leaves for the way back.

    Attributes:
        tape: of the likelihood, at the step's start.
        way_back: through what stands for d loss / d outputs.
        rate: of the loss: the step size over P.
        moved: the way from start to end, (T, N, D).
        of_kl: what it leaves besides where it descends the KL.
    """

    tape: Tape
    way_back: WayBack
    rate: Tensor
    moved: Tensor
    of_kl: "_KLStep | None"


@dataclass(frozen=True)
class _KLStep:
    """What the KL's part of a step leaves for the way back.

    Attributes:
        end: (T, N, D).
        pull: the step size times the KL's weight.
        shrinkage: d end / d start, by the KL alone.
        of_excess: derivative of the new excess (`excess_step`) in the old one.
        of_pull: and in pull.
    """

    end: Tensor
    pull: Tensor
    shrinkage: Tensor
    of_excess: Tensor
    of_pull: Tensor


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        how: Walk,
        loc: Tensor,
        log_scale: Tensor,
        log_step_size: Tensor,
        precision: Tensor | None,
        shift: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.how, ctx.steps = how, []
        # Kept so that autograd notices when one is changed in place before the way back.
        ctx.save_for_backward(precision, shift, *parameters)
        step_sizes = log_step_size.exp()
        rates, pulls = (step_sizes / how.points).unbind(), (step_sizes * how.kl_weight).unbind()
        if precision is not None:
            half_log = 0.5 * precision.log()
            excess = log_scale + half_log
        for rate, pull in zip(rates, pulls, strict=True):
            tape = how.tape(loc)
            towards, way_back = how.gradient(tape.outputs)
            pulled, of_kl = tape.pull_back(towards), None
            if precision is None or shift is None:
                end = torch.addcmul(loc, rate, pulled, value=-1)
            else:
                end, shrinkage = loc_step(loc, rate, pulled, pull, precision, shift)
                excess, *slopes = excess_step(excess, pull)
                of_kl = _KLStep(end, pull, shrinkage, *slopes)
            ctx.steps.append(_Step(tape, way_back, rate, end - loc, of_kl))
            loc = end
        # Others than the tensors kept above: an output that its own node keeps would never be freed.
        log_scale = log_scale.clone() if precision is None else excess - half_log
        theta = GaussianParameters(loc.view_as(loc), log_scale)
        ctx.end = how.kl_cotangent(theta) if how.kl_cotangent else None
        return *theta, loc.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loc: Tensor, of_log_scale: Tensor, of_route: Tensor) -> tuple[Tensor | None, ...]:
        (precision, shift, *_), both = ctx.saved_tensors, ctx.end is not None
        if both:
            of_kl = ctx.end.log_scale.sum_to_size(of_log_scale.shape)
            of_loc, of_log_scale = torch.stack([of_loc, ctx.end.loc]), torch.stack([of_log_scale, of_kl])
        else:
            of_loc, of_log_scale = of_loc[None], of_log_scale[None]
        at_end = of_log_scale
        of_steps, of_parameters, of_psi = [], [], []
        for step in reversed(ctx.steps):
            of_step = None
            if (kl := step.of_kl) is not None:
                of_step = (of_log_scale[0] * kl.of_pull).sum() * kl.pull
                of_log_scale = of_log_scale * kl.of_excess
                of_loc = of_loc * kl.shrinkage
                if both:
                    pulled = of_loc[1] * kl.pull
                    of_psi.append((pulled.sum_to_size(shift.shape), (pulled * kl.end).sum_to_size(precision.shape)))
            of_moved = (of_loc[0] * step.moved).sum()
            of_steps.append(of_moved if of_step is None else of_step + of_moved)
            of_towards, of_w = step.tape.pull_twice(of_loc * -step.rate)
            of_outputs, found = step.way_back(of_towards)
            of_parameters.append(found)
            of_loc = of_w.add_(of_loc).add_(step.tape.pull(of_outputs))
        of_precision = of_shift = None
        if both:
            of_shift, of_precision = (of_route * sum(v[1:], v[0]) for v in zip(*of_psi, strict=True))
            of_half_log = (of_log_scale[1] - at_end[1]).sum_to_size(precision.shape) * of_route
            of_precision = 0.5 * of_half_log / precision - of_precision
        of_parameters = [sum(found[1:], found[0]) for found in zip(*of_parameters, strict=True)]
        of_log_step_size = torch.stack(of_steps[::-1])
        return None, of_loc[0], of_log_scale[0], of_log_step_size, of_precision, of_shift, *of_parameters


def by_autograd(
    function: Callable[[Tensor], Tensor], outputs: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, WayBack]:
    """A function of the outputs, and its way back by a graph of its own.

    Args:
        function: (T, P, N) -> (T, P, N).
        outputs: (T, P, N).
        parameters: inside the function.
    """
    leaf = outputs.detach().requires_grad_()
    with torch.enable_grad():
        value = function(leaf)

    trained = [p for p in parameters if p.requires_grad]
    if not value.requires_grad:
        value = value + 0 * leaf  # a constant

    def way_back(cotangents: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        first, *rest = cotangents.unbind()
        of_leaf, *found = torch.autograd.grad(
            value, [leaf, *trained], first, retain_graph=True, materialize_grads=True
        )
        of_parameters = [found.pop(0) if p.requires_grad else torch.zeros_like(p) for p in parameters]
        more = [torch.autograd.grad(value, leaf, c, retain_graph=True, materialize_grads=True)[0] for c in rest]
        return torch.stack([of_leaf, *more]), of_parameters

    return value.detach(), way_back
