"""A normal distribution for small steps: fewer operations than torch's for the same density, draws and KL."""

from math import log, pi
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_sib.cosine import once_differentiable

_CONSTANT = 0.5 * log(2 * pi)


class Normal(dist.Normal):
    """`pyro.distributions.Normal` whose density of its own last draw comes from that draw's noise.

    log q(loc + scale e) is -e^2 / 2 - log scale + c, and so is its whole gradient: what goes by the value and what
    goes by loc cancel. Other densities are differentiated in closed form, once.
    """

    _drawn: tuple[Tensor, Tensor] | None = None

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws of shape sample_shape + batch_shape."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        value: Tensor = torch.addcmul(self.loc, self.scale, noise)
        self._drawn = value, noise
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """Element by element."""
        if self._validate_args:
            self._validate_sample(value)
        if self._drawn is not None and value is self._drawn[0]:
            return -0.5 * self._drawn[1].square() - (self.scale.log() + _CONSTANT)
        density: Tensor = _LogDensity.apply(value, self.loc, self.scale)
        return density


class _LogDensity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        standardized = (value - loc).div_(scale)
        ctx.save_for_backward(loc, scale, standardized)
        ctx.value_shape = value.shape
        return standardized.square().mul_(-0.5).sub_(scale.log() + _CONSTANT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        loc, scale, standardized = ctx.saved_tensors
        by_scale = cotangent / scale
        pushed = by_scale * standardized
        of_value = of_loc = of_scale = None
        if ctx.needs_input_grad[0]:
            of_value = pushed.neg().sum_to_size(ctx.value_shape)
        if ctx.needs_input_grad[1]:
            of_loc = pushed.sum_to_size(loc.shape)
        if ctx.needs_input_grad[2]:
            of_scale = (pushed * standardized).sub_(by_scale).sum_to_size(scale.shape)
        return of_value, of_loc, of_scale
