"""`python -m experiments.blend EVEN UNEVEN --fit-on HELD_EVEN HELD_UNEVEN`: two runs blended task by task."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from experiments.calibrate_settings import check_fit
from experiments.cli import run_command
from experiments.progress import Advance, Reporter
from experiments.restore import Restored, read_settings, restore
from experiments.results import calibration_of, claim_folder, commit, metrics_of, versions, write_tasks
from experiments.run import eval_tasks, ground_of
from experiments.settings import RunSettings
from inference.gate import Gate, fit_gate
from pyro_sib.errors import InputError
from pyro_sib.files import write_json
from pyro_sib.metrics import TaskScores, score

_PURPOSES = ("evaluate", "second")


@dataclass(frozen=True)
class BlendSettings:
    """Blend the predictions of a run trained on evenly queried tasks with those of one that was not.

    The share of each is a function of how uneven the second finds a task's queries, fitted on two runs like them
    that held base classes out: classes that are no test, and new to their features. Each of the four needs
    --second-balance, for both kinds of tasks.
    """

    runs: Annotated[tuple[Path, Path], tyro.conf.Positional]
    """Folders that experiments.run wrote: trained on balanced tasks, then on others."""
    fit_on: tuple[Path, Path]
    """Runs like these two, in their order, with --hold-out-classes."""
    tasks: int | None = None
    """Evaluation tasks; as many as the runs had, unless said."""
    fit_tasks: int = 500
    """Tasks of each balance to fit the gate on."""
    data_root: Path | None = None
    """Where the images are now, if they have moved."""
    features: Path | None = None
    """Where the features are now, if they have moved."""
    device: str = "auto"
    """auto, cpu or cuda."""
    out: Path = Path("runs/blend")
    """For result.json and tasks.csv."""
    cache_dir: Path = Path("runs/cache")
    """Of images, backbones and features."""

    def check(self) -> None:
        """What can be known before long work.

        Raises:
            InputError: what is wrong, what would be right.
        """
        for name, count in (("tasks", self.tasks), ("fit_tasks", self.fit_tasks)):
            if count is not None and count < 2:
                raise InputError(f"--{name.replace('_', '-')} {count}: 2 or more are needed")
        forms = {}
        for folder, other in zip(self.runs, self.fit_on, strict=True):
            held = read_settings(folder).resolved()
            if held.joint:
                raise InputError(f"{folder} is a run of --setting lwof; blends are of standard ones")
            if held.second_balance is None:
                raise InputError(f"{folder} has tasks of one balance; run it with --second-balance dirichlet:2")
            forms[_form(held)] = folder
            check_fit(folder, other)
            if read_settings(other).second_balance != held.second_balance:
                raise InputError(f"--fit-on {other} has another --second-balance than {folder}; fit on a like run")
        if len(forms) > 1:
            raise InputError(f"{' and '.join(map(str, self.runs))} have other tasks; blend runs of the same")


def _form(settings: RunSettings) -> tuple[Any, ...]:
    names = ("ways", "shots", "queries", "query_balance", "second_balance", "split", "backbone", "image_size")
    return tuple(getattr(settings, name) for name in names)


def blend(settings: BlendSettings, reporter: Reporter | None = None) -> dict[str, Any]:
    """Fit the gate, evaluate the blend, write result.json and tasks.csv; returns what result.json holds.

    Raises:
        InputError: what the user can mend.
    """
    reporter = reporter or Reporter()
    settings.check()
    claim_folder(settings.out, settings)
    gate = _fit(settings, reporter)
    backs = [_restored(folder, settings, reporter) for folder in settings.runs]
    if len({back.ground.bank.fingerprint for back in backs}) > 1:
        raise InputError(f"{' and '.join(map(str, settings.runs))} are of other data; blend runs of the same")
    first = backs[0]
    held, tasks = first.settings, settings.tasks or eval_tasks(first.settings, first.split)
    clock, scores = Reporter(reporter.console), {}
    for purpose, balance in zip(_PURPOSES, ("", f" {held.second_balance}"), strict=True):
        with clock.stage(purpose, f"blend: {tasks} tasks of {first.split}{balance}") as advance:
            scores[f"posterior{balance}"] = _scores(gate, backs, purpose, tasks, advance)
    write_tasks(settings.out / "tasks.csv", scores)
    own, other = ({"metrics": metrics_of(s), "calibration": calibration_of(s)} for s in scores.values())
    result = {
        **{n: getattr(held, n) for n in ("setting", "ways", "shots", "queries", "query_balance", "kl_weight")},
        **dict.fromkeys(("iterations", "comparison")),
        **{"guide": "blend", "prior": held.prior, "steps": held.steps, "seed": held.seed, "oracle": False},
        **{"split": first.split, "tasks": tasks, **own},
        "second": {"query_balance": held.second_balance, **other},
        "blended": [str(folder) for folder in settings.runs],
        "fit_on": [str(folder) for folder in settings.fit_on],
        "fit_tasks": settings.fit_tasks,
        "gate": asdict(gate),
        **ground_of(first.ground, held),
        "commit": commit(),
        "versions": versions(),
        "device": str(first.device),
        "threads": torch.get_num_threads(),
        "milliseconds_per_task": round(1000 * clock.seconds["evaluate"] / tasks, 4),
        "seconds": clock.seconds,
    }
    write_json(settings.out / "result.json", result)
    for what, found in scores.items():
        novel = found.metrics()["novel"]
        reporter.say(f"{tasks} tasks of {first.split}, {what}: {novel.mean:.2f} ± {novel.ci95:.2f}%")
    reporter.say(f"{settings.out}/: result.json, tasks.csv")
    return result


def _restored(folder: Path, settings: BlendSettings, reporter: Reporter) -> Restored:
    return restore(folder, reporter, settings.cache_dir, settings.data_root, settings.features, settings.device)


def _fit(settings: BlendSettings, reporter: Reporter) -> Gate:
    """On tasks of both balances, of the classes held out."""
    backs = [_restored(folder, settings, reporter) for folder in settings.fit_on]
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    title = f"gate, on 2 x {settings.fit_tasks} tasks of {backs[0].settings.hold_out_classes} base classes held out"
    with reporter.stage("gate", title) as advance:
        for number, purpose in enumerate(_PURPOSES):

            def go(done: int, total: int, before: int = number) -> None:
                advance(before * total + done, len(_PURPOSES) * total)

            parts += _predicted(backs, purpose, settings.fit_tasks, go)
        even, uneven, y = (torch.cat(column) for column in zip(*parts, strict=True))
        gate = fit_gate(even, uneven, y)
    reporter.say(f"  the even run's share is sigmoid({gate.offset:.2f} {gate.slope:+.2f} log unevenness)")
    return gate


def _scores(gate: Gate, backs: list[Restored], purpose: str, tasks: int, advance: Advance) -> TaskScores:
    parts = _predicted(backs, purpose, tasks, advance)
    return TaskScores.join([score(gate.blend(even, uneven), y, 0) for even, uneven, y in parts])


@torch.no_grad()
def _predicted(
    backs: list[Restored], purpose: str, tasks: int, advance: Advance, batch_size: int = 50
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Batches of (T, Q, N) probabilities by both, each on features as its run had them, and of (T, Q) labels."""
    found = []
    for first in range(0, tasks, batch_size):
        last = min(first + batch_size, tasks)
        episodes = [back.sources[purpose].span(first, last) for back in backs]
        probabilities = [
            back.program.guide.probabilities(back.program.guide.sees(episode), back.settings.draws)[0]
            for back, episode in zip(backs, episodes, strict=True)
        ]
        even, uneven = (p.cpu() for p in probabilities)
        found.append((even, uneven, episodes[0].query_y.cpu()))
        advance(last, tasks)
    return found


def main() -> int:
    """`python -m experiments.blend`."""
    settings = tyro.cli(BlendSettings, prog="python -m experiments.blend")
    return run_command(lambda: blend(settings))


if __name__ == "__main__":
    sys.exit(main())
