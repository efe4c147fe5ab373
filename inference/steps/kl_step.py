"""The KL's part of a step: its gradient (eq. 9), and steps that are stable at any size.

docs/design.md, "The KL's part of the step".
"""

import torch
from torch import Tensor

from pyro_sib.types import GaussianParameters


def kl_gradient(theta: GaussianParameters, precision: Tensor, shift: Tensor) -> GaussianParameters:
    """The gradient of KL(q || p_psi) in theta, the second term of eq. (9): P loc - m and P s^2 - 1.

    Args:
        theta: of q.
        precision: P, broadcastable to (T, N, D), as `PriorLike.kl_gradient` gives it.
        shift: m, likewise.
    """
    return GaussianParameters(precision * theta.loc - shift, precision * (2 * theta.log_scale).exp() - 1)


def implicit_loc(loc: Tensor, pull: Tensor, precision: Tensor, shift: Tensor) -> Tensor:
    """The new loc l = loc - pull (P l - m): the KL's part of eq. (9) at the step's end point.

    Args:
        loc: after the loss's part of the step, (T, N, D).
        pull: the step size times the KL's weight, a scalar.
        precision: P, broadcastable to (T, N, D).
        shift: m, likewise.
    """
    return (loc + pull * shift) / (1 + pull * precision)


def relaxed_log_scale(log_scale: Tensor, pull: Tensor, precision: Tensor) -> Tensor:
    """Where the KL's gradient flow takes log_scale in time `pull`: exact, so stable at any size.

    d log s / dt = 1 - P s^2 says of q's precision 1 / s^2 that it relaxes to the prior's, P, as exp(-2 t). So steps
    one after another are one step of their sum.

    Args:
        log_scale: (T, N, D), or of a shape that broadcasts to it.
        pull: step sizes times the KL's weight, a scalar.
        precision: P, broadcastable likewise.
    """
    # Both shares without cancellation.
    kept, taken = (-2 * pull).exp(), -torch.expm1(-2 * pull)
    return -0.5 * (kept * (-2 * log_scale).exp() + taken * precision).log()
