"""lambda by ridge regression on the labeled examples, in closed form (Bertinetto et al. 2019, R2-D2)."""

import torch
from torch import Tensor, nn

from pyro_sib.inference.settings import TaskForm
from pyro_sib.types import Evidence, GaussianParameters, PriorLike


class RidgeInitializer(nn.Module):
    """Ridge regression on the labeled examples, with a learned centre and gain for each dimension.

    The mean is argmin_w |y - X w|^2 + sum_d (w_d - loc_d)^2 / gain_d. In regression that is the exact posterior
    mean under the prior N(loc, gain sigma^2); in classification y is one-hot. The scale of q is a learned vector.

    Args:
        form: of the tasks; any number of classes is served.
        prior: p_psi, unused.
        scale: the first standard deviation of q.
    """

    def __init__(self, form: TaskForm, prior: PriorLike, scale: float):
        super().__init__()
        features = form.features
        self.loc = nn.Parameter(torch.zeros(features))
        self.log_gain = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(torch.full((features,), float(scale)).log())

    def forward(self, evidence: Evidence) -> GaussianParameters:
        """theta^0: loc (T, N, D), by a system of the M < D labeled examples, and log_scale (1, D)."""
        x = evidence.support_x.detach()
        spread = x * self.log_gain.exp()
        kernel = spread @ x.transpose(1, 2) + torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        residual = _targets(evidence, x) - (x @ self.loc)[..., None]
        loc = self.loc + torch.linalg.solve(kernel, residual).transpose(1, 2) @ spread
        return GaussianParameters(loc, self.log_scale[None])


def _targets(evidence: Evidence, like: Tensor) -> Tensor:
    """(T, M, N): the values of regression, or one-hot classes."""
    if evidence.support_y.is_floating_point():
        return evidence.support_y[..., None]
    return evidence.one_hot(like.dtype)
