"""Published transductive methods and simple ones, evaluated on the features and the tasks of `experiments.run`."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Table

from pyro_sib.data import DataSet
from pyro_sib.data.names import BASE_TRAIN, BASE_VAL, VAL
from pyro_sib.errors import InputError
from pyro_sib.experiments.compare import CompareSettings, Comparison
from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.comparators import Comparator, choose
from pyro_sib.experiments.comparison.margins import margins
from pyro_sib.experiments.comparison.recipes import COMPARATORS, comparators_named
from pyro_sib.experiments.job.config import check_folder, claim_folder
from pyro_sib.experiments.job.device import choose_device, use_threads
from pyro_sib.experiments.job.features import (
    Ground,
    choose_split,
    eval_tasks,
    ground_of_learner,
    load_data,
    prepare,
    refuse_learner,
)
from pyro_sib.experiments.job.result import Chosen, Result, Second
from pyro_sib.experiments.job.results import provenance, write_tasks
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.job.tasks import as_tasks_see, make_sources, propagator
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, write_json, write_text
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.program import coordinates_of, wants_base_ids
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.source import TaskSource
from pyro_sib.torch_state import plain_torch

_SHARED = (
    *("setting", "ways", "shots", "queries", "query_balance", "propagation"),
    *("network", "pretrain_epochs", "pretrain_batch_size", "pretrain_learning_rate", "pretrain_schedule"),
)
"""Settings of a run that a comparator's tasks and features depend on."""


@plain_torch()
def compare(settings: CompareSettings, reporter: Reporter | None = None) -> list[Result]:
    """Evaluate every comparator and learner that has no result yet; returns what each result.json holds.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    cells, runs, reporter = settings.cells(), settings.runs(), reporter or Reporter()
    for cell in cells:
        cell.run_settings()
    for learner in runs:
        learner.resolved()
    results = [result for cell in cells for result in _compare(cell, reporter)]
    for learner in runs:
        evaluated = run(learner, Reporter(reporter.console))
        results += [] if evaluated is None else [evaluated]
    if runs or settings.beside:
        ours = [*(learner.out for learner in runs if learner.out is not None), *settings.beside]
        names = comparators_named(settings.comparators)
        text = margins(ours, [cell.out / name for cell in cells for name in names])
        write_text(settings.out / "margins.md", text)
        reporter.say(text)
        reporter.say(f"{settings.out}/margins.md")
    return results


def _compare(settings: Comparison, reporter: Reporter) -> list[Result]:
    """The comparators at one number of shots."""
    names, like = comparators_named(settings.comparators), settings.run_settings()
    use_threads(settings)
    device = choose_device(settings.device)
    chosen = {name: _chosen(name, settings) for name in names}
    own = {settings.out / name: replace(settings, comparators=name) for name in names}
    for out, its in own.items():
        check_folder(out, its)
    data = load_data(like, reporter)
    split = choose_split(data, like)
    make_sources(data, like, split, torch.device("cpu"))  # refuses impossible sizes before long work
    choosing_tasks(data, like, torch.device("cpu"))
    for out, its in own.items():
        claim_folder(out, its)
    ground = _ground(data, like, split, device, reporter)
    sources = make_sources(ground.bank, like, split, device)
    sources["choose"] = choosing_tasks(ground.bank, like, device)
    base = BaseClasses(ground.bank.split(BASE_TRAIN), device)
    work = _Work(settings, like, ground, split, sources, base)
    results = [_one(name, chosen[name], work, reporter) for name in names]
    _show(results, settings.out, reporter)
    return results


def _ground(data: DataSet, like: Job, split: str, device: torch.device, reporter: Reporter) -> Ground:
    """Features of a network or, where one is named, of a learner's."""
    if like.learner is None:
        return prepare(data, like, split, device, reporter)
    learner = load_learner(like.learner, device)
    refuse_learner("--learners", learner.card, like, data, split)
    return ground_of_learner(learner, data, like, device, reporter)


def _chosen(name: str, settings: Comparison) -> Result | None:
    """What another comparison chose for this comparator; None where it is to be chosen here.

    Raises:
        InputError: nothing was chosen there, or for another number of shots.
    """
    if settings.chosen_from is None:
        return None
    folders = [settings.chosen_from / f"{settings.shots}-shot" / name, settings.chosen_from / name]
    path = next((folder / "result.json" for folder in folders if (folder / "result.json").is_file()), None)
    if path is None:
        raise InputError(
            f"--chosen-from {settings.chosen_from} has no {name}/result.json; run experiments.compare --out there"
        )
    found = Result.read(path)
    if (found.guide, found.shots) != (name, settings.shots) or not COMPARATORS[name].grid.keys() <= {
        *found.settings
    }:
        raise InputError(
            f"--chosen-from: {path} is of {found.guide} at {found.shots} shots, not of {name} at {settings.shots}; "
            f"run experiments.compare --shots {settings.shots} there"
        )
    return found


def choosing_tasks(data: DataSet, like: Job, device: torch.device) -> TaskSource:
    """Tasks on which settings are chosen: of classes held out, which f does not know, or else of base classes.

    Raises:
        InputError: too few classes or images for these tasks.
    """
    if not like.hold_out_classes:
        return base_tasks(data, like, device)
    held, shape = data.split(VAL), like.shape("balanced")
    key = task_key(data.fingerprint, 0, "choose comparators")
    sampler = EpisodeSampler(held, None, shape, key, f"{data.name} {VAL}")
    return TaskSource(sampler, sampler.novel.x.to(device), None, propagator(like))


def base_tasks(data: DataSet, like: Job, device: torch.device, balance: str = "balanced") -> TaskSource:
    """Tasks of the base classes, of images that f was not trained on where there are enough.

    Args:
        data: features, or images to see whether there are enough.
        like: of the evaluation tasks, whose sizes these have.
        device: of the features.
        balance: of the queries.

    In LwoF the N that play novel are classified beside the others.

    Raises:
        InputError: too few base classes or images for these tasks.
    """
    data = as_tasks_see(data, like)
    held, shape = data.splits.get(BASE_VAL), like.shape(balance)
    most = shape.queries if shape.balance is None else shape.ways * shape.queries
    enough = held is not None and int(held.counts.min()) >= shape.shots + most
    name = BASE_VAL if enough else BASE_TRAIN
    key = task_key(data.fingerprint, 0, "choose comparators")
    novel = data.split(name)
    learner = like.learner_settings()
    base = novel if wants_base_ids(learner) else None
    sampler = EpisodeSampler(novel, base, shape, key, f"{data.name} {name}")
    x = sampler.novel.x.to(device)
    return TaskSource(sampler, x, x if like.joint else None, propagator(like), coordinates_of(learner))


class _Work(NamedTuple):
    """What all comparators share."""

    settings: Comparison
    like: Job
    ground: Ground
    split: str
    sources: dict[str, TaskSource]
    base: BaseClasses


def _one(name: str, given: Result | None, work: _Work, reporter: Reporter) -> Result:
    """Choose what is to be chosen, evaluate, write result.json and tasks.csv."""
    settings, like, ground, split, sources, base = work
    out, tasks = settings.out / name, eval_tasks(like, split)
    done = out / "result.json"
    held = Result.read(done) if done.exists() else None
    if held is not None and held.data.fingerprint == ground.bank.fingerprint:
        reporter.say(f"{done} is complete")
        return held
    check_writable(out, "--out")
    clock = Reporter(reporter.console)
    if given is None:
        where = "classes held out" if like.hold_out_classes else "base classes"
        with clock.stage("choose", f"{name}: settings, on {settings.choose_tasks} tasks of {where}"):
            comparator, tried = choose(name, base, sources["choose"], settings.choose_tasks)
        chosen: Chosen | None = Chosen(settings.choose_tasks, tuple(tried))
    else:
        comparator = Comparator(name, base, {key: given.settings[key] for key in COMPARATORS[name].grid})
        chosen = given.chosen
    with clock.stage("predict", f"{name}: {tasks} tasks of {split}") as advance:
        scores = {"posterior": _evaluate(comparator, sources["evaluate"], tasks, advance)}
    second, balance = None, settings.second_balance
    if balance is not None:
        with clock.stage("second", f"{name}: {balance}") as advance:
            found = scores[f"posterior {balance}"] = _evaluate(comparator, sources["second"], tasks, advance)
        second = Second.of(found, query_balance=balance)
    write_tasks(out / "tasks.csv", scores)
    result = Result.make(
        scores["posterior"],
        {name: getattr(like, name) for name in _SHARED},
        ground,
        like,
        **dict.fromkeys(("prior", "kl_weight", "iterations")),
        **{"guide": name, "steps": 0, "seed": 0, "oracle": False, "split": split, "tasks": tasks},
        second=second,
        settings=comparator.settings,
        chosen=chosen,
        **provenance(base.device, clock.seconds, "predict", tasks),
    )
    if COMPARATORS[name].needs_easyfsl:
        result = replace(result, versions={**result.versions, "easyfsl": version("easyfsl")})
    write_json(done, result.to_json())
    return result


def _evaluate(comparator: Comparator, source: TaskSource, tasks: int, advance: Any) -> Any:
    return evaluate(comparator, source, tasks, batch_size=20, on_tasks=advance)[0]


def _show(results: list[Result], out: Path, reporter: Reporter) -> None:
    first = results[0]
    table = Table(
        title=f"{first.ways}-way {first.shots}-shot, {first.tasks} tasks of {first.split}",
        caption="accuracy, % ± 95% interval",
    )
    second = first.second.query_balance if first.second else None
    for column in ("comparator", "novel", *([second] if second else []), "chosen on base classes"):
        table.add_column(column)
    for result in results:
        cell, tried = result.metrics["novel"], result.chosen.tried if result.chosen else ()
        words = ", ".join(f"{k} {v:g}" for k, v in result.settings.items() if tried and k in tried[0])
        there = [result.second.metrics["novel"].words()] if result.second else []
        table.add_row(result.guide, cell.words(), *(there if second else []), words)
    reporter.show(table)
    reporter.say(f"{out}/: NAME/result.json, NAME/tasks.csv")
