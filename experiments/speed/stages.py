"""The stages that work on features: the training step, and evaluation in both settings."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch

from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.comparators import Comparator
from pyro_sib.experiments.comparison.easyfsl_peer import EasyfslPrototypes
from pyro_sib.experiments.speed.case import TaskCase
from pyro_sib.experiments.speed.double_backward import DoubleBackwardLearner
from pyro_sib.experiments.speed.floor import feature_bytes, inference_flops, training_flops, update_bytes
from pyro_sib.experiments.speed.peers import DoubleBackwardBatched, DoubleBackwardLoop, PyroFree, TrainingPeer
from pyro_sib.experiments.speed.row import Bench, Progress, Row, rows_of
from pyro_sib.experiments.speed.timing import Clock, interleaved, peak_mib
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.learner import Learner
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.inference.training import Trainer
from pyro_sib.types import Episode

PEERS: dict[str, type[TrainingPeer]] = {
    "double_backward_batched": DoubleBackwardBatched,
    "double_backward_loop": DoubleBackwardLoop,
    "pyro_free": PyroFree,
}
"""Of the training step."""


def svi_step(bench: Bench, progress: Progress) -> Iterator[Row]:
    """One iteration of `Trainer` beside the same step in other ways, over D, and over K, N, Q and tasks."""
    cases = svi_cases(bench.quick)
    for done, case in enumerate(cases):
        times = time_training(case, bench)
        ours = times.pop("ours")
        floor = bench.rates.floor(training_flops(case), feature_bytes(case) + update_bytes(_parameters(case)))
        peak = peak_mib(partial(_train_a_little, case, bench.device.type), bench.device, bench.threads)
        row = Row("svi_step", case.params(), ours, floor_s=floor, peak_mib=peak)
        yield from rows_of(row, times)
        progress(done + 1, len(cases))


def svi_cases(quick: bool) -> list[TaskCase]:
    """D of the four backbones first; then one size at a time varied about D = 256."""
    if quick:
        return [TaskCase(), TaskCase(features=640), TaskCase(steps=1)]
    case = TaskCase()
    found = [replace(case, features=d) for d in (256, 640, 1600, 3200)]
    found += [replace(case, steps=k) for k in (0, 1, 5, 10)]
    found += [replace(case, ways=n) for n in (10, 20, 40)]
    found += [replace(case, queries=q) for q in (25, 150, 300)]
    return found + [replace(case, tasks=t) for t in (1, 2, 4, 16, 32)]


def time_training(case: TaskCase, bench: Bench, least: int = 5, most: int = 60) -> dict[str, float]:
    """Median seconds of a training step: `ours`, and each peer.

    Ours is a whole iteration of `Trainer.run`, the tasks at hand; the peers take their turn between iterations.
    """
    program, episode, clock = case.program(bench.device), case.episode(bench.device), Clock(bench.device)
    peers = {name: peer(program) for name, peer in PEERS.items()}
    # Tasks anew for each step, as in training: what they keep of themselves would serve the next step too.
    works = {name: lambda peer=peer: peer.step(_anew(episode)) for name, peer in peers.items()}
    guess = sum(interleaved(works, clock, seconds=0.0, least=1).values())
    rounds = 1 + int(min(max(bench.seconds / (1.5 * guess), least), most))
    times: dict[str, list[float]] = {name: [] for name in ("ours", *works)}
    started: list[float] = []

    def after(done: int, total: int) -> None:
        if started:  # the first iteration warms up
            times["ours"].append(clock.now() - started[-1])
        for name, work in works.items():
            times[name].append(clock.time(work))
        started.append(clock.now())

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(iterations=rounds, epochs=1, batch_size=case.tasks)
        trainer = Trainer(
            program.model, program.guide, program.modules(), settings, Path(folder) / "sib.safetensors"
        )
        trainer.run(lambda iteration: _anew(episode), lambda: 0.0, after)
    return {name: median(found) for name, found in times.items()}


def _anew(episode: Episode) -> Episode:
    return Episode(replace(episode.evidence), episode.query_y)


def _train_a_little(case: TaskCase, device: str) -> None:
    program, episode = case.program(torch.device(device)), case.episode(torch.device(device))
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(iterations=3, epochs=1, batch_size=case.tasks)
        trainer = Trainer(
            program.model, program.guide, program.modules(), settings, Path(folder) / "sib.safetensors"
        )
        trainer.run(lambda iteration: _anew(episode), lambda: 0.0)


def _parameters(case: TaskCase) -> int:
    modules = case.program(torch.device("cpu")).modules().values()
    return sum(p.numel() for module in modules for p in module.parameters())


def evaluate_standard(bench: Bench, progress: Progress) -> Iterator[Row]:
    """`evaluate` over all tasks beside learners that take one after another, and over more and fewer tasks."""
    tasks = 200 if bench.quick else 2000
    case = TaskCase(tasks=tasks)
    beside = [case] if bench.quick else [case, replace(case, features=640)]
    alone = [replace(case, tasks=2 * tasks)]
    if not bench.quick:
        alone = [replace(case, tasks=t) for t in (500, 1000, 4000)] + [
            replace(case, features=d) for d in (1600, 3200)
        ]
    yield from _evaluations("evaluate", bench, progress, beside, alone)


def evaluate_lwof(bench: Bench, progress: Progress) -> Iterator[Row]:
    """The same in joint tasks, with as many queries of 64 base classes."""
    case = TaskCase(tasks=100 if bench.quick else 2000, joint=True)
    alone = [] if bench.quick else [replace(case, tasks=t) for t in (500, 1000, 4000)]
    yield from _evaluations("evaluate_lwof", bench, progress, [case], alone)


def _evaluations(
    stage: str, bench: Bench, progress: Progress, beside: list[TaskCase], alone: list[TaskCase]
) -> Iterator[Row]:
    for done, case in enumerate([*beside, *alone]):
        floor = bench.rates.floor(inference_flops(case), feature_bytes(case))
        peak = peak_mib(partial(_evaluate_all, case, bench.device.type), bench.device, bench.threads)
        times, counts = time_evaluation(case, bench, with_peers=case in beside)
        row = Row(stage, case.params(), times.pop("ours"), floor_s=floor, peak_mib=peak)
        for found in rows_of(row, times):
            timed = {} if found.peer is None else {"peer_timed_on_tasks": counts[found.peer]}
            yield replace(found, params={**found.params, **timed})
        progress(done + 1, len(beside) + len(alone))


def time_evaluation(case: TaskCase, bench: Bench, with_peers: bool) -> tuple[dict[str, float], dict[str, int]]:
    """Median seconds for all the case's tasks, and on how many each was timed (and scaled up from).

    All get the tasks from the same sampler, in the batches that evaluation takes, and their predictions are scored
    alike. The sampler draws many tasks' indices at a time, so that a peer timed on few tasks pays for more, by a
    percent or two of its time.
    """
    program, source = case.program(bench.device), case.source(bench.device)
    learners: dict[str, tuple[Learner, int]] = {"ours": (program.guide, case.tasks)}
    if with_peers:
        learners["double_backward_loop"] = (DoubleBackwardLearner(program), min(case.tasks, 100))
        if not case.joint:
            learners |= easyfsl_peers(bench, case, BaseClasses(source.sampler.novel, source.novel.device))
    works = {name: partial(evaluate, learner, source, tasks) for name, (learner, tasks) in learners.items()}
    medians = interleaved(works, Clock(bench.device), bench.seconds)
    counts = {name: tasks for name, (_, tasks) in learners.items()}
    return {name: seconds * case.tasks / counts[name] for name, seconds in medians.items()}, counts


def easyfsl_peers(bench: Bench, case: TaskCase, base: BaseClasses) -> dict[str, tuple[Learner, int]]:
    """By name, with how many tasks to time each on; none where easyfsl is missing, which is said."""
    if find_spec("easyfsl") is None:
        bench.say("  easyfsl is not here, so its rows are left out; `uv sync --extra comparators` brings it")
        return {}
    tim = Comparator("tim", base, {"temperature": 10.0})
    return {
        "easyfsl_protonet": (EasyfslPrototypes(), min(case.tasks, 500)),
        "easyfsl_tim": (tim, min(case.tasks, 2 if bench.quick else 10)),
    }


def _evaluate_all(case: TaskCase, device: str) -> None:
    where = torch.device(device)
    evaluate(case.program(where).guide, case.source(where), case.tasks)
