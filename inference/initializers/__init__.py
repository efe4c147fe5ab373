"""lambda: where the unrolled steps start, theta^0 (Algorithm 1, line 5)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyro_sib.inference.settings import TaskForm
from pyro_sib.on_demand import Registry

if TYPE_CHECKING:
    from torch import nn

    from pyro_sib.types import PriorLike

INITIALIZERS: Registry["Callable[[TaskForm, PriorLike, float], nn.Module]"] = Registry(
    {
        "support": "class_means:SupportInitializer",
        "both": "class_means:BothInitializer",
        "attention": "attention:AttentionInitializer",
        "global": "without_data:GlobalInitializer",
        "ridge": "ridge:RidgeInitializer",
    },
    below="pyro_sib.inference.initializers",
)
"""Constructor of each lambda from the tasks' form, the prior and the first scale of q."""


def needs_base_ids(name: str) -> bool:
    """Whether the named lambda asks for the tasks' base_ids where only novel classes are to be predicted too."""
    return getattr(INITIALIZERS[name], "needs_base_ids", False)


def make_initializer(name: str, form: TaskForm, prior: "PriorLike", scale: float) -> "nn.Module":
    """Build the named lambda.

    Raises:
        InputError: unknown name, or one that needs base classes where there are none.
    """
    INITIALIZERS.require("initializer", name)
    return INITIALIZERS[name](form, prior, scale)
