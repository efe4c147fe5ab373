"""lambda that sees no data."""

import torch
from torch import Tensor, nn

from pyro_sib.inference.settings import TaskForm, check_ways
from pyro_sib.types import Evidence, GaussianParameters, PriorLike


class GlobalInitializer(nn.Module):
    """A learned lambda that sees no data, as in MAML; one vector per class slot.

    Args:
        form: of the tasks.
        prior: p_psi, unused.
        scale: the first standard deviation of q.
    """

    fixed_ways = True
    """Whether it serves tasks of N classes alone."""

    def __init__(self, form: TaskForm, prior: PriorLike, scale: float):
        super().__init__()
        features = form.features
        self.loc = nn.Parameter(torch.randn(form.ways, features) * features**-0.5)
        self.log_scale = nn.Parameter(torch.full((features,), float(scale)).log())

    def forward(self, evidence: Evidence) -> GaussianParameters:
        """theta^0: loc (T, N, D), log_scale (1, D).

        Raises:
            InputError: tasks of another number of classes.
        """
        check_ways("lambda global", len(self.loc), evidence.ways)
        loc: Tensor = self.loc.expand(evidence.tasks, -1, -1)
        return GaussianParameters(loc, self.log_scale[None])
