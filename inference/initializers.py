"""lambda: where the unrolled steps start, theta^0 (Algorithm 1, line 5)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from inference.ridge import RidgeInitializer
from pyro_sib.cosine import unit
from pyro_sib.errors import InputError
from pyro_sib.types import Evidence, GaussianParameters


class SupportInitializer(nn.Module):
    """lambda(d_t^l): class means of the unit features, scaled per dimension by a learned vector.

    This is Gidaris & Komodakis's (2018) feature averaging. The scale of q is a learned vector.

    Args:
        features: D.
        ways: N, unused: any number of classes is served.
        scale: the first standard deviation of q.
    """

    def __init__(self, features: int, ways: int, scale: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.log_scale = nn.Parameter(torch.full((features,), float(scale)).log())

    def forward(self, evidence: Evidence) -> GaussianParameters:
        """theta^0, each (T, N, D)."""
        loc = evidence.class_means(unit(evidence.support_x)) * self.weight
        return GaussianParameters(loc, self.log_scale.expand_as(loc))


class GlobalInitializer(nn.Module):
    """A learned lambda that sees no data, as in MAML; one vector per class slot.

    Args:
        features: D.
        ways: N.
        scale: the first standard deviation of q.
    """

    def __init__(self, features: int, ways: int, scale: float):
        super().__init__()
        self.loc = nn.Parameter(torch.randn(ways, features) * features**-0.5)
        self.log_scale = nn.Parameter(torch.full((features,), float(scale)).log())

    def forward(self, evidence: Evidence) -> GaussianParameters:
        """theta^0, each (T, N, D)."""
        loc: Tensor = self.loc.expand(evidence.tasks, -1, -1)
        return GaussianParameters(loc, self.log_scale.expand_as(loc))


INITIALIZERS: dict[str, Callable[[int, int, float], nn.Module]] = {
    "support": SupportInitializer,
    "global": GlobalInitializer,
    "ridge": RidgeInitializer,
}
"""Constructor of each lambda from D, N and the first scale of q."""


def make_initializer(name: str, features: int, ways: int, scale: float) -> nn.Module:
    """Build the named lambda.

    Raises:
        InputError: unknown name.
    """
    if name not in INITIALIZERS:
        raise InputError(f"unknown initializer {name!r}; choose one of {', '.join(INITIALIZERS)}")
    return INITIALIZERS[name](features, ways, scale)
