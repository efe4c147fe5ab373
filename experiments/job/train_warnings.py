"""Plain words for a training that went wrong, and what to change: in the output and in result.json."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pyro_sib.experiments.job.result import Course
from pyro_sib.experiments.job.settings import Job
from pyro_sib.inference.training import EpochRecord, best_of, has_diverged
from pyro_sib.scores.metrics import mean_interval
from pyro_sib.scores.summary import MeanInterval

CHANCE = 1.1
"""Times chance: a training that never gets so far has learned nothing of the classes."""
TASK_SPREAD = 11.0
"""About the standard deviation over tasks of their accuracies, in points, of which a mean's noise follows."""


@dataclass(frozen=True)
class Start:
    """A theta^0 that the best epoch's theta^K should not fall below, on the selection tasks, in percent.

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
    def end(self) -> float:
        """Accuracy at theta^K."""
        return self.accuracy + self.gain.mean

    @property
    def lost(self) -> bool:
        """Whether theta^K is below, beyond the noise of so many tasks."""
        return below(self.gain)


def below(difference: MeanInterval) -> bool:
    """Whether a paired difference is below zero by its interval, and by a point at least."""
    return difference.mean < -1 and difference.mean + difference.ci95 < 0


def course_of(
    log: Sequence[EpochRecord], settings: Job, start: Start | None, untrained: Start | None = None
) -> Course:
    """How a training went.

    Args:
        log: of all its epochs.
        settings: resolved.
        start: the best epoch's own theta^0, where the guide takes steps.
        untrained: theta^0 as it was before any training, of a guide.
    """
    early, last = early_of(log), log[-1]
    noise = max(1.0, 3 * TASK_SPREAD / settings.select_tasks**0.5)
    zeros = [one for one in (start, untrained) if one is not None]
    return Course(
        tasks=settings.select_tasks,
        untrained=None if untrained is None else round(untrained.accuracy, 3),
        theta0=None if start is None else round(start.accuracy, 3),
        early=round(early.accuracy, 3),
        best=round(best_of(log, settings.select_by).accuracy, 3),
        last=round(last.accuracy, 3),
        below_early=not last.accuracy >= early.accuracy - noise,
        below_theta0=any(zero.lost for zero in zeros),
    )


def early_of(log: Sequence[EpochRecord]) -> EpochRecord:
    """The best of the first epochs, which are a quarter of them."""
    return max(log[: max(1, len(log) // 4)], key=lambda record: record.accuracy)


def training_warnings(
    log: Sequence[EpochRecord], settings: Job, start: Start | None, untrained: Start | None = None
) -> list[str]:
    """What is to be said of a training; the arguments are those of `course_of`."""
    found, best, last = [], best_of(log, settings.select_by).accuracy, log[-1]
    if has_diverged(log):
        found.append(
            f"training diverged, the loss went from {log[0].loss:.3g} to {last.loss:.3g}; what is kept is the best "
            f"epoch's. {_lower(settings)}"
        )
    early = early_of(log)
    if course_of(log, settings, start).below_early:
        found.append(
            f"training made it worse: {last.accuracy:.1f}% on the selection tasks after {last.iteration} "
            f"iterations, {early.accuracy:.1f}% after {early.iteration}; what is kept is the best epoch's. "
            + _lower(settings, *(["steps"] if start is not None else []))
        )
    if start is not None and start.lost:
        found.append(
            f"the {settings.steps} steps lose accuracy: {start.accuracy:.1f}% on the selection tasks before them, "
            f"{start.end:.1f}% after. {_lower(settings, 'steps', 'step_size')}, or raise --iterations"
        )
    elif untrained is not None and untrained.lost:
        found.append(
            f"training ended below theta^0: {untrained.end:.1f}% on the selection tasks at its best epoch, "
            f"{untrained.accuracy:.1f}% at theta^0 before any training. {_lower(settings)}, or raise --iterations"
        )
    chance = 100 / settings.trained_ways
    if not settings.joint and not best >= CHANCE * chance:
        found.append(_at_chance(best, chance, settings, start))
    return found


def _at_chance(best: float, chance: float, settings: Job, start: Start | None) -> str:
    """The likely cause: the steps, where theta^0 does better; the KL, where there is one; else the features."""
    what = f"{best:.1f}% on the selection tasks, where chance is {chance:.1f}%: "
    if start is not None and start.accuracy >= CHANCE * chance:
        return f"{what}before the steps it is {start.accuracy:.1f}%. {_lower(settings, 'steps', 'step_size')}"
    if settings.kl_weight:
        return (
            f"{what}q tells the classes of a task no better than the prior does. Lower --kl-weight, choose another "
            f"prior or guide, or look whether the features tell the classes apart"
        )
    return (
        f"{what}q tells the classes of a task no better than guessing. Look whether the features tell the classes "
        f"apart, or choose another guide"
    )


def _lower(settings: Job, *first: str) -> str:
    """The numbers that may be too large, each with the value that it has."""
    names = [*first, *(["kl_weight"] if settings.kl_weight else []), "learning_rate"]
    *others, last = [f"--{name.replace('_', '-')} ({getattr(settings, name):g})" for name in names]
    return f"Lower {', '.join(others)} or {last}" if others else f"Lower {last}"


def against_zero(difference: MeanInterval, steps: int, settings: Job) -> list[str]:
    """A word where the K asked for ends below the K = 0 trained beside it, by their paired difference in points."""
    if not below(difference):
        return []
    return [
        f"K = {steps} is {-difference.mean:.1f} ± {difference.ci95:.1f} points below the K = 0 trained beside it, "
        f"on the evaluation tasks. {_lower(settings, 'steps', 'step_size')}, or raise --iterations"
    ]
