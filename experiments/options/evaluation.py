"""What is measured of a trained learner, and written of it."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Of a run."""

    group: ClassVar[str] = "evaluation"
    draws: int = 20
    """Posterior draws averaged in a prediction; 0 predicts at q's mean."""
    novel_share: tuple[float, ...] = ()
    """In lwof, also score predictions that expect the evaluation tasks' share of novel queries, by an offset
    between novel and base classes that each task's queries give: strengths of that prior, in queries."""
    posterior_tasks: int = 0
    """Also write posterior.nc: those draws and all that is said of them, for so many tasks."""
    train_only: bool = False
    """Train, write the learner and measure nothing; the one use of classes that --network was trained on."""
    compare: bool = True
    """Also train and evaluate K = 0 beside the K asked for."""
