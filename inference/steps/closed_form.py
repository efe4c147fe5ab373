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

from pyro_sib.cosine import once_differentiable
from pyro_sib.inference.steps.kl_step import loc_step, relaxed_precision, shares
from pyro_sib.types import GaussianParameters, Tape

Backward = Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]
"""(C, T, P, N) cotangents of what stands for d loss / d outputs -> those of the outputs, (C, T, P, N), and of phi's
parameters for the first of the C."""


@dataclass(frozen=True)
class Walk:
    """What the K steps are made of.

    Attributes:
        tape: w -> the likelihood's outputs there.
        gradient: (T, P, N) outputs -> what stands for d loss / d outputs, and its vector-Jacobian product.
        points: P, over which the loss is a mean.
        kl_weight: of the KL, where the steps descend it.
        kl_cotangent: theta^K -> the KL's gradient there; None where psi learns nothing from the steps.
    """

    tape: Callable[[Tensor], Tape]
    gradient: Callable[[Tensor], tuple[Tensor, Backward]]
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
    loc, log_scale, route = _Walk.apply(
        how, start.loc, start.log_scale, log_step_size, precision, shift, *parameters
    )
    return GaussianParameters(loc, log_scale), route


@dataclass(frozen=True)
class _Step:
    """What a step leaves for the backward pass.

    Attributes:
        tape: of the likelihood, at the step's start.
        backward: through what stands for d loss / d outputs.
        rate: of the loss: the step size over P.
        shrinkage: d end / d start, by the KL alone; None where the step leaves it out.
    """

    tape: Tape
    backward: Backward
    rate: Tensor
    shrinkage: Tensor | None


class _Scale:
    """`relaxed_log_scale` over all steps at once, and its vector-Jacobian product.

    Args:
        log_scale: q's first one.
        pull: of all steps together.
        precision: the KL's.
    """

    def __init__(self, log_scale: Tensor, pull: Tensor, precision: Tensor):
        self.own, (self.kept, self.taken) = (-2 * log_scale).exp(), shares(pull)
        self.above = self.own - precision
        self.precision = relaxed_precision(self.own, precision, self.kept, self.taken)

    @property
    def log_scale(self) -> Tensor:
        """Q's last one."""
        return self.precision.log().mul_(-0.5)

    def backward(self, of_log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """Of the last log_scale -> of the first one, and of pull."""
        shared = of_log_scale / self.precision * self.kept
        return shared * self.own, (shared * self.above).sum()

    def of_precision(self, of_log_scale: Tensor, shape: torch.Size) -> Tensor:
        """Of the last log_scale -> of the KL's precision, which is of this shape."""
        of_log_scale = of_log_scale.sum_to_size(self.precision.shape)
        return (of_log_scale / self.precision).sum_to_size(shape) * (-0.5 * self.taken)


class _Walk(torch.autograd.Function):
    """K steps of eq. (9) and their derivatives, as `UnrolledGuide.unroll` defines them."""

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
        ctx.how, ctx.steps, ctx.locs = how, [], [loc]
        # Kept so that autograd notices when one is changed in place before the backward pass.
        ctx.save_for_backward(log_scale, precision, shift, *parameters)
        step_sizes = log_step_size.exp()
        ctx.pulls = step_sizes * how.kl_weight
        for rate, pull in zip((step_sizes / how.points).unbind(), ctx.pulls.unbind(), strict=True):
            tape = how.tape(loc)
            towards, backward = how.gradient(tape.outputs)
            pulled, shrinkage = tape.vjp(towards), None
            if precision is None or shift is None:
                loc = torch.addcmul(loc, rate, pulled, value=-1)
            else:
                loc, shrinkage = loc_step(loc, rate, pulled, pull, precision, shift)
            ctx.steps.append(_Step(tape, backward, rate, shrinkage))
            ctx.locs.append(loc)
        ctx.scale = None if precision is None else _Scale(log_scale, ctx.pulls.sum(), precision)
        # Others than the tensors kept above: an output that its own node keeps would never be freed.
        last = log_scale.clone() if ctx.scale is None else ctx.scale.log_scale
        theta = GaussianParameters(loc.view_as(loc), last)
        ctx.end = how.kl_cotangent(theta) if how.kl_cotangent else None
        return *theta, loc.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loc: Tensor, of_log_scale: Tensor, of_route: Tensor) -> tuple[Tensor | None, ...]:
        (log_scale, precision, shift, *_), both = ctx.saved_tensors, ctx.end is not None
        of_loc = torch.stack([of_loc, ctx.end.loc]) if both else of_loc[None]
        of_ends, of_parameters = [], []
        for step in reversed(ctx.steps):
            if step.shrinkage is not None:
                of_loc = of_loc * step.shrinkage
            of_ends.append(of_loc)
            of_towards, of_w = step.tape.vjp_twice(of_loc * -step.rate)
            of_outputs, found = step.backward(of_towards)
            of_parameters.append(found)
            of_loc = of_w.add_(of_loc).add_(step.tape.vjp_many(of_outputs))
        # By step from here on: (K, C, T, N, D), (K, T, N, D), (K,).
        of_end, locs = torch.stack(of_ends[::-1]), torch.stack(ctx.locs)
        of_log_step_size = (of_end[:, 0] * (locs[1:] - locs[:-1])).flatten(1).sum(1)
        of_precision = of_shift = None
        if ctx.scale is not None:
            of_log_scale, of_pull = ctx.scale.backward(of_log_scale)
            of_log_scale = of_log_scale.sum_to_size(log_scale.shape)
            of_log_step_size.add_(of_pull * ctx.pulls)
        if both:
            pulled = of_end[:, 1] * ctx.pulls[:, None, None, None]
            of_scales = ctx.scale.of_precision(ctx.end.log_scale, precision.shape)
            of_shift = pulled.sum_to_size(shift.shape) * of_route
            of_precision = (of_scales - (pulled * locs[1:]).sum_to_size(precision.shape)) * of_route
        of_parameters = [sum(found[1:], found[0]) for found in zip(*of_parameters, strict=True)]
        return None, of_loc[0], of_log_scale, of_log_step_size, of_precision, of_shift, *of_parameters


def by_autograd(
    function: Callable[[Tensor], Tensor], outputs: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, Backward]:
    """A function of the outputs, and its vector-Jacobian product by a graph of its own.

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

    def backward(cotangents: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        first, *rest = cotangents.unbind()
        of_leaf, *found = torch.autograd.grad(
            value, [leaf, *trained], first, retain_graph=True, materialize_grads=True
        )
        of_parameters = [found.pop(0) if p.requires_grad else torch.zeros_like(p) for p in parameters]
        more = [torch.autograd.grad(value, leaf, c, retain_graph=True, materialize_grads=True)[0] for c in rest]
        return torch.stack([of_leaf, *more]), of_parameters

    return value.detach(), backward
