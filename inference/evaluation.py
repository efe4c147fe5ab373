"""Evaluation: all tasks in batches, nothing changed, the same whatever the batch size or order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.guide import Guide
from inference.prediction import predict
from pyro_sib.episodes import EpisodeSampler, gather
from pyro_sib.metrics import TaskScores, score
from pyro_sib.types import Episode


@dataclass(frozen=True)
class TaskSource:
    """Where episodes come from: a sampler and the features (or images) that it points into.

    Attributes:
        sampler: of index tensors.
        novel: (n, ...) rows of the sampler's novel split, on the device of the computation.
        base: (m, ...) rows of its base split, or None.
        embed: applied to each episode, e.g. a backbone where rows are images; None leaves it as it is.
    """

    sampler: EpisodeSampler
    novel: Tensor
    base: Tensor | None
    embed: Callable[[Episode], Episode] | None = None

    def episodes(self, indices: Tensor) -> Episode:
        """(T,) task numbers -> those tasks."""
        episode = gather(self.sampler.sample(indices), self.novel, self.base, self.sampler.shape)
        return episode if self.embed is None else self.embed(episode)

    def batch(self, iteration: int, size: int) -> Episode:
        """The iteration's batch of training tasks."""
        return self.episodes(torch.arange(iteration * size, (iteration + 1) * size))


@torch.no_grad()
def evaluate(
    guide: Guide,
    source: TaskSource,
    tasks: int,
    draws: int = 0,
    iterates: Sequence[int] = (-1,),
    batch_size: int = 100,
    on_tasks: Callable[[int, int], None] = lambda done, total: None,
) -> list[TaskScores]:
    """Score the guide's predictions on tasks 0 .. tasks - 1.

    Args:
        guide: any guide; it is put into evaluation mode and back.
        source: of the tasks.
        tasks: how many.
        draws: posterior draws averaged in a prediction; 0 predicts at q's mean.
        iterates: which theta^k to score, -1 being the last.
        batch_size: tasks at a time, which changes speed and memory only.
        on_tasks: told (tasks done, tasks in all).

    Returns:
        One TaskScores for each iterate asked for.
    """
    was_training = guide.training
    guide.eval()
    parts: list[list[TaskScores]] = [[] for _ in iterates]
    for indices in torch.arange(tasks).split(batch_size):
        episode = source.episodes(indices)
        ids = episode.evidence.joint_base_ids
        thetas = guide.iterates(episode.evidence)
        for part, k in zip(parts, iterates, strict=True):
            probabilities = predict(guide, episode.evidence, draws, thetas[k])
            part.append(score(probabilities, episode.query_y, 0 if ids is None else ids.shape[1]))
        on_tasks(int(indices[-1]) + 1, tasks)
    guide.train(was_training)
    return [TaskScores.join(part) for part in parts]
