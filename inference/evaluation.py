"""Evaluation: all tasks in batches, nothing changed, the same whatever the batch size or order."""

from collections.abc import Callable, Sequence

import torch

from pyro_sib.inference.divergence import kl_to_prior
from pyro_sib.inference.guide import Guide
from pyro_sib.inference.learner import Learner
from pyro_sib.inference.prediction import predictions
from pyro_sib.scores.metrics import TaskScores, score
from pyro_sib.scores.summary import ElboParts
from pyro_sib.tasks.source import TaskSource


@torch.no_grad()
def evaluate(
    learner: Learner,
    source: TaskSource,
    tasks: int,
    draws: int = 0,
    iterates: Sequence[int] = (-1,),
    batch_size: int | None = None,
    on_tasks: Callable[[int, int], None] = lambda done, total: None,
) -> list[TaskScores]:
    """Score the learner's predictions on tasks 0 .. tasks - 1.

    Args:
        learner: any; it is put into evaluation mode and back.
        source: of the tasks.
        tasks: how many.
        draws: posterior draws averaged in a prediction; 0 predicts at q's mean.
        iterates: which theta^k to score, -1 being the last.
        batch_size: tasks at a time, which changes speed and memory only; what the cache holds, unless given.
        on_tasks: told (tasks done, tasks in all).

    Returns:
        One TaskScores for each iterate asked for.
    """
    was_training = learner.training
    learner.eval()
    parts: list[list[TaskScores]] = [[] for _ in iterates]
    size = batch_size or source.fitting_batch()
    for first in range(0, tasks, size):
        last = min(first + size, tasks)
        episode = source.span(first, last)
        evidence = learner.sees(episode)
        ids = evidence.joint_base_ids
        predicted = learner.probabilities(evidence, draws, iterates)
        for part, probabilities in zip(parts, predicted, strict=True):
            part.append(score(probabilities, episode.query_y, 0 if ids is None else ids.shape[1]))
        on_tasks(last, tasks)
    learner.train(was_training)
    return [TaskScores.join(part) for part in parts]


@torch.no_grad()
def evidence_bound(guide: Guide, source: TaskSource, tasks: int, draws: int, batch_size: int = 50) -> ElboParts:
    """The two terms of eq. (4) on tasks with their labels, averaged over tasks 0 .. tasks - 1.

    A latent psi is at its mean.

    Args:
        guide: any guide with a density.
        source: of the tasks.
        tasks: how many.
        draws: posterior draws for the likelihood's term; 0 takes it at q's mean.
        batch_size: tasks at a time.
    """
    was_training = guide.training
    guide.eval()
    likelihood, kl, base_kl = [], [], 0.0
    for first in range(0, tasks, batch_size):
        episode = source.span(first, min(first + batch_size, tasks))
        evidence = guide.sees(episode)
        theta = guide.iterates(evidence)[-1]
        each = [
            p.gather(-1, episode.query_y[..., None]).clamp_min(torch.finfo(p.dtype).tiny).log().mean((-1, -2))
            for p in predictions(guide.prior, guide.likelihood, evidence, draws, theta)
        ]
        likelihood.append(torch.stack(each).mean(0))
        kl.append(kl_to_prior(guide.prior, evidence, theta).sum(-1))
        if evidence.joint:
            base_kl = guide.prior.base_kl()
    guide.train(was_training)
    return ElboParts(float(torch.cat(likelihood).mean()), float(torch.cat(kl).mean()), base_kl, tasks)
