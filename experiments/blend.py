"""`python -m experiments.blend EVEN UNEVEN --fit-on HELD_EVEN HELD_UNEVEN`: two kinds of runs blended."""

import math
import sys
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.features import eval_tasks
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.job.method import DEFAULTS, FORM, TASKS, method_of
from pyro_sib.experiments.job.restore import Restored, read_settings, restore
from pyro_sib.experiments.job.result import Result, Second
from pyro_sib.experiments.job.results import claim_folder, provenance, write_tasks
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.options.data import MovedOptions
from pyro_sib.experiments.options.machine import DeviceOptions
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.experiments.terminal.progress import Advance, Reporter
from pyro_sib.experiments.trust.settings import check_fit
from pyro_sib.files import check_writable, write_json
from pyro_sib.inference.gate import EvennessTest, Gate, LogisticGate, fit_gate, fit_test
from pyro_sib.scores.metrics import TaskScores, score
from pyro_sib.torch_state import plain_torch

_PURPOSES = ("evaluate", "second")


@dataclass(frozen=True)
class BlendSettings(DeviceOptions, MovedOptions):
    """Blend the predictions of a run trained on evenly queried tasks with those of one that was not.

    The share of each is a function of how uneven the second finds a task's queries, fitted on two runs like them
    that held base classes out: classes that are no test, and new to their features. Each of the four needs
    --second-balance, for both kinds of tasks, and may be several runs (of other seeds, say), folders joined by
    commas: their predictions are averaged.
    """

    runs: Annotated[tuple[str, str], tyro.conf.Positional]
    """Folders that experiments.run wrote: trained on balanced tasks, then on others."""
    fit_on: tuple[str, str]
    """Runs like these two, in their order and as many, with --hold-out-classes."""
    tasks: int | None = None
    """Evaluation tasks; as many as the runs had, unless given."""
    fit_tasks: int = 500
    """Tasks of each balance to fit the gate on."""
    false_alarms: float | None = None
    """Keep the even run's prediction unless a task looks more uneven than all but this share of even tasks do, 0.02
    say, instead of sharing by the least negative log likelihood."""
    out: Path = Path("runs/blend")
    """For result.json and tasks.csv."""

    def check(self) -> None:
        """What can be known before long work.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        alarms = self.false_alarms
        if alarms is not None and self.fit_tasks * min(alarms, 1 - alarms) < 1:
            raise InputError(
                f"--false-alarms {alarms} cannot be told from {self.fit_tasks} tasks; raise --fit-tasks to "
                f"{math.ceil(1 / min(alarms, 1 - alarms))} or more"
            )
        groups, fitted = self.groups()
        for group, others in zip(groups, fitted, strict=True):
            if len(group) != len(others):
                raise InputError(f"--fit-on names {len(others)} runs for {len(group)}; name one for each, in order")
        forms = {}
        for folder, other in zip(chain(*groups), chain(*fitted), strict=True):
            held = read_settings(folder).resolved()
            if held.joint:
                raise InputError(f"{folder} is a run of --setting lwof; blends are of standard ones")
            if held.second_balance is None:
                raise InputError(f"{folder} has tasks of one balance; run it with --second-balance dirichlet:2")
            if alarms is not None and held.query_balance != "balanced":
                raise InputError(
                    f"{folder} has --query-balance {held.query_balance}; --false-alarms is a share of balanced "
                    "tasks, so run it with --query-balance balanced"
                )
            forms[_form(held)] = folder
            check_fit(folder, other)
            if read_settings(other).second_balance != held.second_balance:
                raise InputError(f"--fit-on {other} has another --second-balance than {folder}; fit on a like run")
        if len({read_settings(folder).hold_out_classes for folder in chain(*fitted)}) > 1:
            raise InputError(
                f"--fit-on {' and '.join(map(str, self.fit_on))} have other data, classes held out or splits"
            )
        if len(forms) > 1:
            raise InputError(f"{' and '.join(map(str, self.runs))} have other tasks; blend runs of the same")

    def groups(self) -> tuple[list[list[Path]], list[list[Path]]]:
        """Folders to average over: of both runs, and of both to fit on.

        Raises:
            InputError: a list without a folder.
        """
        runs, fit_on = ([_folders(text) for text in texts] for texts in (self.runs, self.fit_on))
        return runs, fit_on


def _folders(text: str) -> list[Path]:
    found = [Path(word.strip()) for word in text.split(",") if word.strip()]
    if not found:
        raise InputError(f"{text!r} names no run; give a folder, or several joined by commas")
    return found


def _form(settings: Job) -> tuple[Any, ...]:
    return tuple(getattr(settings, name) for name in (*FORM, *TASKS, "second_balance", "backbone", "image_size"))


@plain_torch()
def blend(settings: BlendSettings, reporter: Reporter | None = None) -> Result:
    """Fit the gate, evaluate the blend, write result.json and tasks.csv; returns what result.json holds.

    Raises:
        InputError: what the user can mend.
    """
    reporter = reporter or Reporter()
    settings.check()
    claim_folder(settings.out, settings)
    check_writable(settings.out, "--out")
    gate = _fit(settings, reporter)
    groups = _restored(settings.groups()[0], settings, reporter)
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


def main() -> int:
    """`python -m experiments.blend`."""
    return run_command(blend, from_command_line(BlendSettings, "blend"))


if __name__ == "__main__":
    sys.exit(main())
