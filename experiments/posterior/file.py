"""posterior.nc: a run's posterior in ArviZ's groups, streamed to the file."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.config import config_of
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.posterior.netcdf import Array, GroupedFile
from pyro_sib.experiments.posterior.schema import Plan, bytes_of, schema, sizes_of
from pyro_sib.files import write_atomically
from pyro_sib.inference import Guide
from pyro_sib.inference.posterior_draws import draw_block
from pyro_sib.tasks.source import TaskSource
from pyro_sib.tensor_files import digest_state
from pyro_sib.types import Episode, GaussianParameters

NAME = "posterior.nc"
_PRIOR_KEY = make_key("prior draws")


@dataclass(frozen=True)
class Subject:
    """Whose posterior: a trained guide and the tasks that it is for.

    Attributes:
        settings: of the run, resolved.
        fingerprint: of the data.
        split: evaluated on.
        source: of the evaluation tasks.
        guide: trained.
    """

    settings: Job
    fingerprint: str
    split: str
    source: TaskSource
    guide: Guide


def write_posterior(
    path: Path,
    subject: Subject,
    tasks: int,
    draws: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write tasks 0 .. tasks - 1 with the first `draws` posterior draws of each, atomically.

    They are the draws that `inference.prediction.predict` averages over. Memory holds one block of tasks and draws
    at a time. The content is a function of the trained program, the data and the two numbers.

    Args:
        path: of the file.
        subject: guide and tasks.
        tasks: how many.
        draws: how many of each task.
        advance: told (tasks done, tasks in all).

    Raises:
        InputError: no draws, no tasks, or the file cannot be written.
    """
    if tasks < 1 or draws < 1:
        raise InputError(
            f"{tasks} tasks with {draws} posterior draws: 1 or more of each are needed for {path.name}"
        )
    was_training = subject.guide.training
    subject.guide.eval()
    try:
        write_atomically(path, lambda temporary: _fill(temporary, subject, tasks, draws, advance))
    finally:
        subject.guide.train(was_training)


def exported(path: Path) -> dict[str, Any] | None:
    """Which posterior is in the file: digest of the parameters, tasks and draws; None where there is none."""
    try:
        with h5netcdf.File(path, "r") as file:
            return {name: file.attrs[name] for name in ("parameters", "data_fingerprint", "tasks", "draws")}
    except (OSError, KeyError, ValueError, RuntimeError):
        return None


def exported_tasks(path: Path) -> int:
    """Tasks in the file; 0 where there is none."""
    held = exported(path)
    return 0 if held is None else int(held["tasks"])


def _fill(path: Path, subject: Subject, tasks: int, draws: int, advance: Callable[[int, int], None]) -> None:
    guide, source = subject.guide, subject.source
    first = source.episodes(torch.arange(1))
    sizes = sizes_of(first.evidence, tasks, draws)
    plan = Plan.of(sizes)
    _check_space(path, sizes, plan)
    with GroupedFile(path, sizes, _attributes(subject, tasks, draws)) as file:
        for group, variables in schema(sizes, plan).items():
            file.add(group, variables)
        _write_prior(file, guide, first, draws, plan.draws)
        _write_constants(file, subject)
        for indices in torch.arange(tasks).split(plan.tasks):
            _write_tasks(file, subject, indices, draws, plan.draws)
            advance(int(indices[-1]) + 1, tasks)


def _check_space(path: Path, sizes: dict[str, int], plan: Plan) -> None:
    """Say at once what cannot end well: the draws hardly compress, so half of them is the least that they need.

    Raises:
        OSError: too little space.
    """
    needed, free = bytes_of(schema(sizes, plan), sizes), shutil.disk_usage(path.parent).free
    if free < needed / 2:
        raise OSError(errno.ENOSPC, f"about {needed / 2**20:.0f} MiB are needed, {free / 2**20:.0f} are free")


def _attributes(subject: Subject, tasks: int, draws: int) -> dict[str, str | int | float]:
    settings, guide = subject.settings, subject.guide
    return {
        "commit": commit() or "unknown",
        "config": json.dumps(config_of(settings)),
        "seed": settings.seed,
        "data_fingerprint": subject.fingerprint,
        "split": subject.split,
        "versions": json.dumps(versions()),
        "parameters": parameters_of(guide),
        "guide": settings.guide,
        "oracle": int(guide.oracle),
        "kl_weight": settings.kl_weight,
        "tasks": tasks,
        "draws": draws,
    }


def parameters_of(guide: Guide) -> str:
    """Digest of psi, the likelihood's parameters and phi."""
    parts = (guide.prior, guide.likelihood, guide)
    return digest_state({f"{i}.{n}": t for i, p in enumerate(parts) for n, t in p.state_dict().items()})  # type: ignore[attr-defined]


@torch.no_grad()
def _write_prior(file: GroupedFile, guide: Guide, first: Episode, draws: int, block: int) -> None:
    """Each draw from a seed of its own, so that the block's size does not show."""
    evidence = first.evidence
    p = guide.prior.distribution(evidence.base_ids)
    shape = (evidence.ways,) if not p.batch_shape else (evidence.ways // p.batch_shape[-1],)
    for numbers in torch.arange(draws).split(block):
        rows = []
        for draw in numbers.tolist():
            with torch.random.fork_rng(devices=[0] if torch.cuda.is_available() else []):
                torch.manual_seed((_PRIOR_KEY + draw) & (2**63 - 1))
                rows.append(p.sample(shape).reshape(evidence.ways, -1))
        file.write("prior", "w", _array(torch.stack(rows))[None], draw=int(numbers[0]))


@torch.no_grad()
def _write_constants(file: GroupedFile, subject: Subject) -> None:
    """What is the same for every task."""
    guide, sampler = subject.guide, subject.source.sampler
    scale = np.array(float(guide.likelihood.scale))  # type: ignore[attr-defined]
    file.write("constant_data", "predictor_scale", scale)
    ids = subject.source.episodes(torch.arange(1)).evidence.joint_base_ids
    if ids is None:
        return
    assert sampler.base is not None
    names = np.array([sampler.base.class_names[i] for i in ids[0].tolist()], dtype=object)
    file.write("constant_data", "base_class_name", names)
    file.write("constant_data", "base_loc", _array(guide.prior.base_locs(ids)[0]))
    file.write("constant_data", "base_scale", _array(guide.prior.base_posterior(ids).variance.sqrt()[0]))


@torch.no_grad()
def _write_tasks(file: GroupedFile, subject: Subject, indices: Tensor, draws: int, block: int) -> None:
    """These tasks, a block of draws at a time."""
    guide, source, start = subject.guide, subject.source, int(indices[0])
    index, episode = source.sampler.sample(indices), source.episodes(indices)
    theta = guide.iterates(guide.sees(episode))[-1]
    _write_evidence(
        file, source, index.support, torch.cat([index.query, index.base_query], 1), episode, theta, start
    )
    total = torch.zeros(())
    for numbers in torch.arange(draws).split(block):
        part = draw_block(guide, episode, theta, numbers.tolist())
        at = {"draw": int(numbers[0]), "task": start}
        file.write("posterior", "w", _array(part.w)[None], **at)
        file.write("posterior_predictive", "y", _array(part.y)[None], **at)
        file.write("log_likelihood", "y", _array(part.log_likelihood)[None], **at)
        for name in ("log_p", "log_q", "log_support"):
            file.write("sample_stats", name, _array(getattr(part, name))[None], **at)
        total = total + part.total
    file.write("constant_data", "mean_probability", _array(total / draws), task=start)


def _write_evidence(
    file: GroupedFile,
    source: TaskSource,
    support_rows: Tensor,
    query_rows: Tensor,
    episode: Episode,
    theta: GaussianParameters,
    start: int,
) -> None:
    novel, evidence = source.sampler.novel, episode.evidence
    classes = novel.y[support_rows].view(len(support_rows), evidence.ways, -1)[..., 0]
    names = np.array([[novel.class_names[c] for c in row] for row in classes.tolist()], dtype=object)
    constants: dict[str, Array] = {
        "support_y": _array(evidence.support_y),
        "support_row": _array(support_rows),
        "query_row": _array(query_rows),
        "class_name": names,
        "support_x": _array(evidence.support_x),
        "query_x": _array(evidence.query_x),
        "q_loc": _array(theta.loc),
        "q_scale": _array(theta.log_scale.exp()),
    }
    for name, value in constants.items():
        file.write("constant_data", name, value, task=start)
    file.write("observed_data", "y", _array(episode.query_y), task=start)


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array
