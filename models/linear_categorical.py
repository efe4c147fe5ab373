"""p_f(y | x, w) of tasks in coordinates of their own: a categorical over linear logits (eq. 2)."""

from collections.abc import Callable

import torch
from pyro.distributions import Categorical
from torch import Tensor, nn

from pyro_sib.models.likelihood import categorical_gradient
from pyro_sib.tasks.coordinates import LOGIT_SCALE
from pyro_sib.types import Evidence


class LinearCategorical(nn.Module):
    """Labels from softmax(scale * w . x); a last coordinate of x that is one makes the last of w a bias.

    The scale is a constant, the unit in which w is of the size of a prior's first standard deviation, D^-1/2.
    """

    @property
    def scale(self) -> Tensor:
        """Of the logits."""
        return torch.tensor(LOGIT_SCALE)

    def logits(self, w: Tensor, query_x: Tensor, w_base: Tensor | None = None) -> Tensor:
        """(..., T, N, D), (T, Q, D) -> (..., T, Q, N).

        Raises:
            ValueError: base weights, which have no place among a task's own coordinates.
        """
        if w_base is not None:
            raise ValueError("tasks in coordinates of their own have no base classes; use the standard setting")
        return LOGIT_SCALE * query_x @ w.transpose(-1, -2)

    def distribution(self, outputs: Tensor) -> Categorical:
        """Categorical(softmax(outputs)), batch (..., T, Q)."""
        return Categorical(logits=outputs)

    def points(self, x: Tensor) -> Tensor:
        """The coordinates as they are."""
        return x

    def query_points(self, evidence: Evidence) -> Tensor:
        """The queries' coordinates, as constants."""
        return evidence.query_x.detach()

    def step_outputs(self, w: Tensor, points: Tensor) -> Tensor:
        """The logits, (..., T, P, N)."""
        return self.logits(w, points)

    def vjp(self, w: Tensor, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The logits, and gradients in them -> in w: the sum over points of scale gradient . x, (..., T, N, D)."""
        return self.step_outputs(w, points), lambda gradient: LOGIT_SCALE * gradient.transpose(-1, -2) @ points

    def output_gradient(self, outputs: Tensor, y: Tensor, base: Tensor | None = None) -> Tensor:
        """softmax(outputs) - onehot(y), (..., T, P, N)."""
        return categorical_gradient(outputs, y, base)
