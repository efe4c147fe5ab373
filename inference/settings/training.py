"""How long and how fast SVI trains, and by what objective."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, pi
from typing import TYPE_CHECKING

from pyro_sib.errors import InputError, argument
from pyro_sib.on_demand import Registry
from pyro_sib.typed_json import LATER

if TYPE_CHECKING:
    from pyro.infer import Trace_ELBO


def _step_decay(progress: float) -> float:
    return 0.1 ** sum(progress >= edge for edge in (10 / 60, 25 / 60, 50 / 60))


def _cosine_decay(progress: float) -> float:
    return 0.5 * (1 + cos(pi * progress))


SCHEDULES: dict[str, Callable[[float], float]] = {"step": _step_decay, "cosine": _cosine_decay}
"""Learning-rate factor after a fraction in [0, 1] of the run: the paper's drops at epochs 10, 25 and 50 of 60, or
a half cosine, which makes more of a short run."""


LIKELIHOOD = "log-likelihood"
SELECT_BY = ("accuracy", LIKELIHOOD)
"""What the best epoch has most of on the selection tasks: accuracy, or the queries' mean log probability, nats."""


OBJECTIVES: Registry["type[Trace_ELBO]"] = Registry(
    {"trace": "pyro.infer:Trace_ELBO", "mean-field": "pyro.infer:TraceMeanField_ELBO"}
)
"""Monte Carlo KL, or the closed form (for a mixture, the bound) where one is registered."""


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast.

    Attributes:
        iterations: SVI steps in all.
        epochs: how often to validate and to save; the paper's 60 are the default.
        batch_size: tasks a step.
        learning_rate: Adam's first one.
        schedule: "cosine" or the paper's "step".
        objective: "trace" (`Trace_ELBO`) or "mean-field" (`TraceMeanField_ELBO`).
        particles: draws of w a step.
        seed: of every draw.
        clip: norm to which longer gradients of all parameters together are shortened; 0 leaves them.
        select_by: what the best epoch has most of, one of SELECT_BY.
    """

    iterations: int = 60_000
    epochs: int = 60
    batch_size: int = 8
    learning_rate: float = 1e-3
    schedule: str = "step"
    objective: str = "trace"
    particles: int = 1
    seed: int = 0
    clip: float = field(default=0.0, metadata=LATER)
    select_by: str = field(default="accuracy", metadata=LATER)

    def __post_init__(self) -> None:
        for name in ("iterations", "epochs", "batch_size", "particles"):
            if getattr(self, name) < 1:
                raise InputError(f"{argument(name)} {getattr(self, name)}: a positive number is needed")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(
                f"{argument('learning_rate')} {self.learning_rate}: a finite positive number is needed"
            )
        if not 0 <= self.clip < float("inf"):
            raise InputError(f"{argument('clip')} {self.clip}: a finite number of 0 or more is needed")
        if self.epochs > self.iterations:
            raise InputError(f"{self.epochs} epochs of {self.iterations} iterations: an epoch needs one at least")
        for name, known in (("objective", OBJECTIVES), ("schedule", SCHEDULES), ("select_by", SELECT_BY)):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"unknown {argument(name)} {value!r}; choose one of {', '.join(known)}")
