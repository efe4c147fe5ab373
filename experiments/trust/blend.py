"""`python -m experiments.blend EVEN UNEVEN --fit-on HELD_EVEN HELD_UNEVEN`: two kinds of runs blended."""

from dataclasses import asdict
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.blend import BlendSettings
from pyro_sib.experiments.job.config import check_folder, claim_folder
from pyro_sib.experiments.job.features import eval_tasks
from pyro_sib.experiments.job.method import DEFAULTS, method_of
from pyro_sib.experiments.job.restore import Restored, restore
from pyro_sib.experiments.job.result import Result, Second
from pyro_sib.experiments.job.results import provenance, write_tasks
from pyro_sib.experiments.terminal.progress import Advance, Reporter
from pyro_sib.files import check_writable, write_json
from pyro_sib.inference.gate import EvennessTest, Gate, LogisticGate, fit_gate, fit_test
from pyro_sib.scores.metrics import TaskScores, score
from pyro_sib.torch_state import plain_torch

_PURPOSES = ("evaluate", "second")


@plain_torch()
def blend(settings: BlendSettings, reporter: Reporter | None = None) -> Result:
    """Fit the gate, evaluate the blend, write result.json and tasks.csv; returns what result.json holds.

    Raises:
        InputError: what the user can mend.
    """
    reporter = reporter or Reporter()
    settings.check()
    check_folder(settings.out, settings)
    check_writable(settings.out, "--out")
    gate = _fit(settings, reporter)
    groups = _restored(settings.groups()[0], settings, reporter)
    claim_folder(settings.out, settings)
    first = groups[0][0]
    held, tasks = first.settings, settings.tasks or eval_tasks(first.settings, first.split)
    clock, scores = Reporter(reporter.console), {}
    for purpose, balance in zip(_PURPOSES, ("", f" {held.second_balance}"), strict=True):
        with clock.stage(purpose, f"blend: {tasks} tasks of {first.split}{balance}") as advance:
            scores[f"posterior{balance}"] = _scores(gate, groups, purpose, tasks, advance)
    write_tasks(settings.out / "tasks.csv", scores)
    runs, fit_on = settings.groups()
    own, other = scores.values()
    like = ("setting", "ways", "shots", "queries", "query_balance", "kl_weight", "prior", "steps", "seed")
    result = Result.make(
        own,
        {name: getattr(held, name) for name in like},
        first.ground,
        held,
        iterations=None,
        guide="blend",
        oracle=any(back.program.guide.oracle for back in chain(*groups)),
        **{"split": first.split, "tasks": tasks},
        second=Second.of(other, query_balance=held.second_balance),
        blended=tuple(tuple(map(str, group)) for group in runs),
        blended_methods=_methods(runs),
        fit_on=tuple(tuple(map(str, group)) for group in fit_on),
        fit_tasks=settings.fit_tasks,
        gate={"kind": type(gate).__name__, "false_alarms": settings.false_alarms, **asdict(gate)},
        **provenance(first.device, clock.seconds, "evaluate", tasks),
    )
    write_json(settings.out / "result.json", result.to_json())
    for what, found in scores.items():
        novel = found.metrics()["novel"]
        reporter.say(f"{tasks} tasks of {first.split}, {what}: {novel.words()}%")
    reporter.say(f"{settings.out}/: result.json, tasks.csv")
    return result


def _methods(groups: list[list[Path]]) -> dict[str, str]:
    """What makes the methods of the runs, the even ones' before a bar, where it is no default."""
    methods = [[method_of(Result.read(folder / "result.json")) for folder in group] for group in groups]
    found = {}
    for name in dict.fromkeys(name for method in chain(*methods) for name in method):
        values = [list(dict.fromkeys(str(method.get(name)) for method in group)) for group in methods]
        if {*chain(*values)} != {str(DEFAULTS.get(name))}:
            found[name] = " | ".join(" / ".join(group) for group in values)
    return found


def _restored(groups: list[list[Path]], settings: BlendSettings, reporter: Reporter) -> list[list[Restored]]:
    """The runs, once it is sure that their tasks are the same.

    Raises:
        InputError: they are not.
    """
    backs = [
        [
            restore(folder, reporter, settings.cache_dir, settings.data_root, settings.features, settings.device)
            for folder in group
        ]
        for group in groups
    ]
    if len({(back.ground.bank.fingerprint, back.split) for back in chain(*backs)}) > 1:
        names = " and ".join(str(folder) for folder in chain(*groups))
        raise InputError(f"{names} have other data, classes held out or splits; name runs of the same")
    return backs


def _fit(settings: BlendSettings, reporter: Reporter) -> LogisticGate | EvennessTest:
    """On tasks of the classes held out, of both balances or, for the test, balanced ones alone."""
    groups = _restored(settings.groups()[1], settings, reporter)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    purposes = _PURPOSES if settings.false_alarms is None else _PURPOSES[:1]
    classes = f"{groups[0][0].settings.hold_out_classes} base classes held out"
    with reporter.stage("gate", f"gate, on {len(purposes)} x {settings.fit_tasks} tasks of {classes}") as advance:
        for number, purpose in enumerate(purposes):

            def go(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(purposes) * total)

            parts += _predicted(groups, purpose, settings.fit_tasks, go)
        even, uneven, y = (torch.cat(column) for column in zip(*parts, strict=True))
        if settings.false_alarms is not None:
            test = fit_test(uneven, settings.false_alarms)
            reporter.say(f"  the even run's prediction is kept to a log unevenness of {test.threshold:.2f}")
            return test
        gate = fit_gate(even, uneven, y)
    reporter.say(f"  the even run's share is sigmoid({gate.offset:.2f} {gate.slope:+.2f} log unevenness)")
    return gate


def _scores(gate: Gate, groups: list[list[Restored]], purpose: str, tasks: int, advance: Advance) -> TaskScores:
    parts = _predicted(groups, purpose, tasks, advance)
    return TaskScores.join([score(gate.blend(even, uneven), y, 0) for even, uneven, y in parts])


@torch.no_grad()
def _predicted(
    groups: list[list[Restored]], purpose: str, tasks: int, advance: Advance, batch_size: int = 50
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Batches of (T, Q, N) probabilities by both, each on features as its run had them, and of (T, Q) labels."""
    found = []
    for first in range(0, tasks, batch_size):
        last = min(first + batch_size, tasks)
        (even, y), (uneven, _) = (_averaged(group, purpose, first, last) for group in groups)
        found.append((even, uneven, y))
        advance(last, tasks)
    return found


def _averaged(group: list[Restored], purpose: str, first: int, last: int) -> tuple[Tensor, Tensor]:
    """(T, Q, N) probabilities, the mean over the runs, and (T, Q) labels."""
    each = []
    for back in group:
        episode = back.sources[purpose].span(first, last)
        guide = back.program.guide
        each.append(guide.probabilities(guide.sees(episode), back.settings.draws)[0].cpu())
    return torch.stack(each).mean(0), episode.query_y.cpu()
