"""The meta-learner LSTM (Ravi & Larochelle 2017) as a guide: learned gates in place of a learned rate."""

from math import exp, log
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_sib.inference.guide import Guide
from pyro_sib.inference.initializers import make_initializer
from pyro_sib.types import Evidence, GaussianParameters

_HIDDEN = 20
_FORGET_BIAS = 5.0
_SMALL = 10.0
"""Gradients below exp(-_SMALL) are given to the LSTM as they are, others by their logarithm."""


class MetaLSTMGuide(Guide):
    """K steps on the labeled examples with an LSTM's forget and input gates (Ravi & Larochelle 2017).

    loc^{k+1} = forget * loc^k - input * gradient, where loc is the LSTM's cell state and the gates of every
    coordinate come from one network. Inductive: q(w_t | d_t^l). As theirs, it takes gradient and loss as
    constants: no second-order terms. The scale is lambda's.

    Args:
        settings: the choices inside phi; step_size is the input gates' first odds.
        form: of the tasks.
        prior: p_psi.
        likelihood: p_f.
        weights: of the ELBO's two terms.
    """

    takes_initializer = True

    def build(self) -> None:
        """Make the parts of its own."""
        super().build()
        self.initializer = make_initializer(
            self.settings.initializer, self.form, self.prior, self.settings.initial_scale
        )
        if self.settings.steps:
            self.cell = GatedUpdate(self.settings.step_size)

    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """theta^0 .. theta^K."""
        thetas = [self.initializer(evidence).expanded()]
        points = self.likelihood.points(evidence.support_x.detach())
        base = self.base_logsumexp(evidence, points)
        state = None
        for _ in range(self.settings.steps):
            loc, log_scale = thetas[-1]
            gradient, loss = self.support_loss(loc, evidence, points, base)
            loc, state = self.cell(loc, gradient, loss, state)
            thetas.append(GaussianParameters(loc, log_scale))
        return thetas

    @torch.no_grad()
    def support_loss(
        self, w: Tensor, evidence: Evidence, points: Tensor, base: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Gradient, (T, N, D), and value, (T,), of the labeled examples' mean loss; base classes count as one."""
        (outputs, vjp), y = self.likelihood.vjp(w, points), evidence.support_y
        gradient = vjp(self.likelihood.output_gradient(outputs, y, base) / points.shape[-2])
        if base is not None:
            outputs, y = torch.cat([base, outputs], dim=-1), y + 1
        return gradient, -self.likelihood.distribution(outputs).log_prob(y).mean(-1)


class GateState(NamedTuple):
    """What a coordinate carries from step to step, (P, ...) for P coordinates."""

    hidden: Tensor
    cell: Tensor
    forget: Tensor
    rate: Tensor


def _no_state(flat: Tensor) -> GateState:
    """Zeros for (P, 1) coordinates."""
    wide, narrow = flat.new_zeros(len(flat), _HIDDEN), flat.new_zeros(len(flat), 1)
    return GateState(wide, wide, narrow, narrow)


class GatedUpdate(nn.Module):
    """The two layers, shared over the coordinates: an LSTM over gradient and loss, and over it the gates.

    The input gate is the learning rate.

    Args:
        odds: of the first input gates; for small ones, the first learning rate.
    """

    def __init__(self, odds: float):
        super().__init__()
        self.lstm = nn.LSTMCell(4, _HIDDEN)
        self.forget, self.rate = (nn.Linear(_HIDDEN + 2, 1) for _ in range(2))
        for gate, bias in ((self.forget, _FORGET_BIAS), (self.rate, log(odds))):
            # Near gradient descent at first, as theirs.
            nn.init.uniform_(gate.weight, -0.01, 0.01)
            nn.init.constant_(gate.bias, bias)

    def forward(
        self, loc: Tensor, gradient: Tensor, loss: Tensor, state: GateState | None
    ) -> tuple[Tensor, GateState]:
        """The next loc and state, from loc and gradient, (T, N, D), and loss, (T,)."""
        losses = loss[:, None, None].expand_as(gradient)
        seen = torch.cat([preprocess(gradient), preprocess(losses)], dim=-1).flatten(0, -2)
        flat = loc.reshape(-1, 1)
        before = state or _no_state(flat)
        hidden, cell = self.lstm(seen, (before.hidden, before.cell))
        forget = torch.sigmoid(self.forget(torch.cat([hidden, flat, before.forget], dim=-1)))
        rate = torch.sigmoid(self.rate(torch.cat([hidden, flat, before.rate], dim=-1)))
        new = forget * flat - rate * gradient.reshape(-1, 1)
        return new.view_as(loc), GateState(hidden, cell, forget, rate)


def preprocess(x: Tensor) -> Tensor:
    """Size and sign apart, (...) -> (..., 2), so that gradients of all orders tell (Andrychowicz et al. 2016)."""
    large = x.abs() >= exp(-_SMALL)
    size = torch.where(large, x.abs().clamp_min(exp(-_SMALL)).log() / _SMALL, -1.0)
    return torch.stack([size, torch.where(large, x.sign(), exp(_SMALL) * x)], dim=-1)
