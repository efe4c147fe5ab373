"""The pictures of a run, from its result and its guide."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.data import DataSet
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.inference import Guide
from pyro_sib.inference.learner import Learner
from pyro_sib.tasks.source import TaskSource


def draw_pictures(
    settings: Job,
    images: DataSet | None,
    result: Result,
    source: TaskSource,
    guide: Learner,
    split: str,
    decorations: Decorations,
) -> None:
    """accuracy_against_K.png, training.png and task.png in the run's folder, each as far as it can be made.

    Args:
        settings: resolved.
        images: the data with images, or None: then the task is drawn as a projection of its features.
        result: what was measured.
        source: of the evaluation tasks.
        guide: trained.
        split: the evaluation split's name.
        decorations: told of what cannot be made.
    """
    # Here, since matplotlib takes a second to import, and a run needs it at its end alone.
    from pyro_sib.experiments.drawing import style as figures

    what = _words(settings, one_line(result.data.name), split)
    pictures = {"accuracy_against_K": lambda: _accuracy(settings, result, what)}
    if result.train_log:
        pictures["training"] = lambda: _training(settings, result, what)
    if images is not None or isinstance(guide, Guide):
        pictures["task"] = lambda: _task(settings, images, source, guide, split, what)
    for name, draw in pictures.items():
        with decorations.trying(f"{name}.png"):
            figures.save_figure(draw(), settings.out / f"{name}.png")


def _accuracy(settings: Job, result: Result, what: str) -> Any:
    """At the mean of q, after each step, beside K = 0."""
    from pyro_sib.experiments.drawing import style as figures

    curves = {name: [(k[name].mean, k[name].ci95) for k in result.iterates] for name in result.metrics}
    zero = {} if result.comparison is None else result.comparison.at_the_mean.metrics
    bands = {name: (m.mean, m.ci95) for name, m in zero.items()} or None
    beside = "trained with K = 0" + ", on the features of stage 1" * settings.tune_features
    title = f"{what}, {result.tasks} tasks, at the mean of q"
    return figures.accuracy_against_steps(curves, bands, title, beside)


def _training(settings: Job, result: Result, what: str) -> Any:
    from pyro_sib.experiments.drawing import style as figures

    iterations, losses, accuracies, chosen_by = (
        [r[key] for r in result.train_log]
        for key in ("iteration", "loss", "accuracy", settings.select_by.replace("-", "_"))
    )
    return figures.training_curve(iterations, losses, accuracies, what, chosen_by)


def _words(settings: Job, data: str, split: str) -> str:
    """What the tasks are, with whatever makes them others than usual."""
    words = [f"{settings.ways}-way {settings.shots}-shot", f"{data} {split}", str(settings.setting)]
    words += [f"queries {settings.query_balance}"] if settings.query_balance != "balanced" else []
    words += [f"propagation {settings.propagation:g}"] if settings.propagation else []
    return ", ".join(words)


def _task(settings: Job, images: DataSet | None, source: TaskSource, guide: Learner, split: str, what: str) -> Any:
    """Task 0: its support, its queries before and after the K steps."""
    from pyro_sib.experiments.drawing import style as figures

    index, episode = source.sampler.sample(torch.arange(1)), source.episodes(torch.arange(1))
    evidence = guide.sees(episode)
    offset = 0 if evidence.joint_base_ids is None else evidence.joint_base_ids.shape[1]
    novel = settings.ways * settings.queries
    before, after = (_guess(p, offset)[:novel] for p in guide.probabilities(evidence, 0, (0, -1)))
    labels = (episode.query_y[0, :novel] - offset).cpu().numpy()
    novel_split = source.sampler.novel
    classes = novel_split.y[index.support[0]].view(settings.ways, settings.shots)[:, 0]
    names = [one_line(novel_split.class_names[c]) for c in classes]
    title = f"one task, at the mean of q: {what}"
    if images is not None:
        rows = images.split(split).x
        support = _pixels(rows[index.support[0]]).reshape(settings.ways, settings.shots, *_shape(rows))
        queries = _pixels(rows[index.query[0]])
        return figures.task_picture(support, queries, labels, before, after, names, title)
    support_x, query_x = unit(evidence.support_x[0]), unit(evidence.query_x[0, :novel])
    assert isinstance(guide, Guide), "only weights can be drawn among features"
    thetas = guide.iterates(evidence)
    weights = [unit(theta.loc[0]) for theta in (thetas[0], thetas[-1])]
    axes = torch.linalg.svd(query_x - query_x.mean(0), full_matrices=False).Vh[:2].T
    queries, support, start, end = (
        ((t - query_x.mean(0)) @ axes).detach().cpu().numpy() for t in (query_x, support_x, *weights)
    )
    return figures.task_scatter(queries, support, start, end, labels, before, after, names, title)


def _guess(probabilities: Tensor, offset: int) -> np.ndarray:
    """(Q,) predicted novel class, -1 for a base class."""
    guess = probabilities[0].argmax(-1) - offset
    return guess.clamp_min(-1).cpu().numpy()


def _pixels(rows: Tensor) -> np.ndarray:
    return rows.permute(0, 2, 3, 1).cpu().numpy()


def _shape(rows: Tensor) -> tuple[int, int, int]:
    return rows.shape[2], rows.shape[3], rows.shape[1]
