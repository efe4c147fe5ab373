"""The unrolled steps: what stands for the gradient, the KL's part, how psi enters."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyro_sib.on_demand import Registry

if TYPE_CHECKING:
    from torch import nn

SYNTHETIC_GRADIENTS: Registry["Callable[[int, bool], nn.Module]"] = Registry(
    {
        "mlp": "synthetic_gradients:MLPGradient",
        "equivariant": "synthetic_gradients:EquivariantGradient",
        "marginal": "synthetic_gradients:MarginalGradient",
        "context": "synthetic_gradients:ContextGradient",
        "neighbours": "synthetic_gradients:NeighbourGradient",
        "neighbours-marginal": "synthetic_gradients:NeighbourMarginalGradient",
    },
    below="pyro_sib.inference.steps",
)
"""Constructor of each xi from N and whether tasks are joint."""
