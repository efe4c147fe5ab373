"""Fit the numbers of the class of what belongs to none, on tasks that have such queries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from pyro_sib.counter_rng import make_key
from pyro_sib.inference.unknown.unknown_class import CALIBRATION, COORDINATES, FIRST, UnknownClass
from pyro_sib.tasks.any_task import Domain
from pyro_sib.tasks.shape import TaskDistribution
from pyro_sib.tasks.unknown_tasks import UnknownTaskSource
from pyro_sib.types import Episode


@dataclass(frozen=True)
class UnknownSettings:
    """How the numbers are fitted.

    Attributes:
        iterations: batches of tasks, one step of Adam each.
        batch_size: tasks of one form.
        learning_rate: the first one, which falls to zero as a cosine.
        calibration: further batches, on which scale and bias are fitted.
        tasks: the distribution of the tasks, before queries of no class join them.
        seed: of the tasks.
    """

    iterations: int = 150
    batch_size: int = 6
    learning_rate: float = 0.03
    calibration: int = 60
    tasks: TaskDistribution = field(default_factory=TaskDistribution)
    seed: int = 0


def fit_unknown(
    domains: Mapping[str, Domain],
    settings: UnknownSettings,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[UnknownClass, float]:
    """Numbers under which queries of no class stand out in their task, and probabilities are right on average.

    First Adam minimizes the logistic loss of all pairs of a task's queries, one of no class and one of some, in
    which the tasks' base rates have no part; then scale and bias minimize the log loss of the queries.

    Args:
        domains: by name, taken in turn.
        settings: how.
        on_progress: told the batches that are done, and all.

    Returns:
        The class with these numbers, and its log loss on the batches that calibrated it, nats.

    Raises:
        InputError: a domain too small for the tasks.
    """
    key = make_key("unknown class", settings.seed)
    source = UnknownTaskSource(tuple(domains.values()), settings.tasks, COORDINATES, key)
    model, total = UnknownClass(FIRST), settings.iterations + settings.calibration
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(settings.iterations, 1))
    for iteration in range(settings.iterations):
        episode = source.batch(iteration, settings.batch_size)
        if bool((episode.query_y < 0).any()):
            optimizer.zero_grad()
            pairs_loss(model, episode).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        on_progress(iteration + 1, total)
    model.requires_grad_(False)
    cached = []
    for iteration in range(settings.iterations, total):
        episode = source.batch(iteration, settings.batch_size)
        cached.append((*model.parts(episode.evidence), (episode.query_y < 0).float()))
        on_progress(iteration + 1, total)
    return model, _calibrate(model, cached) if cached else float("nan")


def pairs_loss(model: UnknownClass, episode: Episode) -> Tensor:
    """The mean logistic loss over a task's pairs of a query of no class and one of some, nats."""
    logits, none = model.logits(episode.evidence), episode.query_y < 0
    each = [softplus(own[~of][None] - own[of][:, None]).mean() for own, of in zip(logits, none, strict=True)]
    return torch.stack(each).mean()


def _calibrate(model: UnknownClass, cached: list[tuple[Tensor, Tensor, Tensor]]) -> float:
    """Set scale and bias to those of the least mean log loss, which is returned."""
    parameters = [model.learned[name].requires_grad_(True) for name in CALIBRATION]
    optimizer = torch.optim.LBFGS(parameters, max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        each = [binary_cross_entropy_with_logits(model.calibrated(o, s), y) for o, s, y in cached]
        return torch.stack(each).mean()

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    model.requires_grad_(False)
    return float(loss())
