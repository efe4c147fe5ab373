"""p_f(y | x, w) of tasks in coordinates of their own: a categorical over linear logits (eq. 2)."""

import torch
from pyro.distributions import Categorical
from torch import Tensor

from pyro_sib.models.likelihood import categorical_gradient
from pyro_sib.models.linear import LinearOutputs
from pyro_sib.tasks.coordinates import LOGIT_SCALE


class LinearCategorical(LinearOutputs):
    """Labels from softmax(scale * w . x); a last coordinate of x that is one makes the last of w a bias.

    The scale is a constant, the unit in which w is of the size of a prior's first standard deviation, D^-1/2.
    """

    output_scale = LOGIT_SCALE

    @property
    def scale(self) -> Tensor:
        """Of the logits."""
        return torch.tensor(self.output_scale)

    def distribution(self, outputs: Tensor) -> Categorical:
        """Categorical(softmax(outputs)), batch (..., T, Q)."""
        return Categorical(logits=outputs)

    def output_gradient(self, outputs: Tensor, y: Tensor, base: Tensor | None = None) -> Tensor:
        """softmax(outputs) - onehot(y), (..., T, P, N)."""
        return categorical_gradient(outputs, y, base)
