"""Plain words for a training that went wrong, and what to change: in the output and in result.json."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pyro_sib.experiments.job.settings import Job
from pyro_sib.inference.training import EpochRecord, has_diverged
from pyro_sib.scores.metrics import mean_interval
from pyro_sib.scores.summary import MeanInterval

CHANCE = 1.1
"""Times chance: a training that never gets so far has learned nothing of the classes."""
TASK_SPREAD = 11.0
"""About the standard deviation over tasks of their accuracies, in points, of which a mean's noise follows."""


@dataclass(frozen=True)
class Start:
    """Where the steps of the trained guide start, on the selection tasks, in percent.

    Attributes:
        accuracy: at theta^0.
        gain: of theta^K over theta^0, paired by task.
    """

    accuracy: float
    gain: MeanInterval

    @staticmethod
    def of(before: Tensor, after: Tensor) -> "Start":
        """From the (T,) accuracies at theta^0 and at theta^K."""
        return Start(float(before.double().mean()), mean_interval(after.double() - before.double()))

    @property
    def lost(self) -> bool:
        """Whether the steps took something away, beyond the noise of so many tasks."""
        return below(self.gain)


def below(difference: MeanInterval) -> bool:
    """Whether a paired difference is below zero by its interval, and by a point at least."""
    return difference.mean < -1 and difference.mean + difference.ci95 < 0


def training_warnings(log: Sequence[EpochRecord], settings: Job, start: Start | None) -> list[str]:
    """What is to be said of a training.

    Args:
        log: of all its epochs.
        settings: resolved.
        start: of the best epoch's guide, where it takes steps.
    """
    kl = " or --kl-weight" if settings.kl_weight else ""
    found, best, last = [], max(record.accuracy for record in log), log[-1]
    if has_diverged(log):
        found.append(
            f"training diverged, the loss went from {log[0].loss:.3g} to {last.loss:.3g}; what is kept is the best "
            f"epoch's. Lower --learning-rate{kl}"
        )
    early = max(log[: max(1, len(log) // 4)], key=lambda record: record.accuracy)
    noise = max(1.0, 3 * TASK_SPREAD / settings.select_tasks**0.5)
    if not last.accuracy >= early.accuracy - noise:
        found.append(
            f"training made it worse: {last.accuracy:.1f}% on the selection tasks after {last.iteration} "
            f"iterations, {early.accuracy:.1f}% after {early.iteration}; what is kept is the best epoch's. "
            f"Lower --learning-rate" + (" or --steps" if start is not None else "")
        )
    if start is not None and start.lost:
        found.append(
            f"the {settings.steps} steps lose accuracy: {start.accuracy:.1f}% on the selection tasks before them, "
            f"{start.accuracy + start.gain.mean:.1f}% after. Lower --steps, --step-size or --learning-rate, or "
            f"raise --iterations"
        )
    chance = 100 / settings.trained_ways
    if not settings.joint and not best >= CHANCE * chance:
        found.append(_at_chance(best, chance, settings, start))
    return found


def _at_chance(best: float, chance: float, settings: Job, start: Start | None) -> str:
    """The likely cause: the steps, where theta^0 does better; the KL, where there is one; else the features."""
    what = f"{best:.1f}% on the selection tasks, where chance is {chance:.1f}%: "
    if start is not None and start.accuracy >= CHANCE * chance:
        return f"{what}before the steps it is {start.accuracy:.1f}%. Lower --steps, --step-size or --learning-rate"
    if settings.kl_weight:
        return (
            f"{what}q tells the classes of a task no better than the prior does. Lower --kl-weight, choose another "
            f"prior or guide, or look whether the features tell the classes apart"
        )
    return (
        f"{what}q tells the classes of a task no better than guessing. Look whether the features tell the classes "
        f"apart, or choose another guide"
    )


def against_zero(difference: MeanInterval, steps: int) -> list[str]:
    """A word where the K asked for ends below the K = 0 trained beside it, by their paired difference in points."""
    if not below(difference):
        return []
    return [
        f"K = {steps} is {-difference.mean:.1f} ± {difference.ci95:.1f} points below the K = 0 trained beside it, "
        f"on the evaluation tasks. Lower --steps, --step-size or --learning-rate, or raise --iterations"
    ]
