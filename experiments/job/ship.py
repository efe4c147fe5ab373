"""A finished run's learner as a file for others, evaluated as it is."""

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pyro_sib.data.names import BASE_VAL, MINI_IMAGENET
from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.compare import base_tasks
from pyro_sib.experiments.job.config import config_of, read_settings
from pyro_sib.experiments.job.device import choose_device
from pyro_sib.experiments.job.features import choose_split, ground_of_learner, load_data
from pyro_sib.experiments.job.learner import LEARNER
from pyro_sib.experiments.job.result import Result, metrics_of
from pyro_sib.experiments.job.settings import Job, RunSettings
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.experiments.ship import ShipSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features import network_card
from pyro_sib.features.network_card import read_card
from pyro_sib.features.outside import OUTSIDE
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.learner_file import TrainedLearner, load_learner, save_learner
from pyro_sib.inference.settings.card import LearnerCard, Measured, PictureSettings, ShippedNetwork
from pyro_sib.torch_state import plain_torch

OWN = "held-out images of its base classes"
"""In a card: what the accuracies on tasks of base classes are of."""


@plain_torch()
def ship(settings: ShipSettings, reporter: Reporter | None = None) -> LearnerCard:
    """Write the file, evaluate it as it is and put the figures on its card, which is returned.

    Raises:
        InputError: the run is not finished, or its data are not there.
    """
    settings.check()
    reporter, result = reporter or Reporter(), Result.read(settings.run / "result.json")
    trained = _with_moved_data(read_settings(settings.run), settings)
    device, path = choose_device(settings.device), settings.out / f"{settings.name}.safetensors"
    learner = load_learner(settings.run / LEARNER, device)
    card = replace(
        learner.card,
        name=settings.name,
        pictures=named_in(learner.card.pictures, trained.network),
        measured=(),
        made=_made(settings, trained, result),
        licence=settings.licence or _licence(trained, result, learner.card),
    )
    dtype = torch.float16 if settings.half else torch.float32
    save_learner(path, replace(learner, card=card), dtype)
    rounded = load_learner(path, device)
    measured = measure(rounded, str(path), trained, result.tasks, settings.own_tasks, device, reporter)
    card = replace(card, measured=measured)
    save_learner(path, replace(rounded, card=card), dtype)
    for one in measured:
        said = result.metrics.get(one.what.split(",")[0]) if OWN not in one.what else None
        before = "" if said is None else f" (the run: {said.words()})"
        reporter.say(f"{one.what}: {one.accuracy:.2f} ± {one.ci95:.2f}, {one.tasks} tasks{before}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    reporter.say(f'{path}, {path.stat().st_size / 1e6:.1f} MB; for SHIPPED:\n    "{settings.name}": "{digest}",')
    return card


def measure(
    learner: TrainedLearner,
    name: str,
    like: RunSettings,
    tasks: int,
    own_tasks: int,
    device: torch.device,
    reporter: Reporter,
) -> tuple[Measured, ...]:
    """Accuracies of a learner from its file, on new classes and on held-out images of its own.

    Args:
        learner: as its file has it.
        name: of the file.
        like: data, evaluation tasks and cache, as of the run that trained it.
        tasks: of the evaluation; 0 leaves it out.
        own_tasks: of base classes, where the data hold images of these out; 0 leaves them out.
        device: where to compute.
        reporter: told what is done.

    Raises:
        InputError: the data cannot serve.
    """
    job = evaluation_of(name, like)
    data = load_data(job, reporter)
    split = choose_split(data, job)
    ground = ground_of_learner(learner, data, job, device, reporter)
    sources = {split: (make_sources(ground.bank, job, split, device)["evaluate"], tasks)} if tasks else {}
    if own_tasks and BASE_VAL in ground.bank.splits:
        source = base_tasks(ground.bank, job, device)
        if source.sampler.novel is ground.bank.split(BASE_VAL):
            sources[OWN] = (source, own_tasks)
    found = []
    for where, (source, count) in sources.items():
        with reporter.stage("predict", f"{count} tasks of {where}") as advance:
            scores = evaluate(learner.program.guide, source, count, learner.card.draws, on_tasks=advance)[0]
        found += [Measured(f"{n}, {where}", m.mean, m.ci95, count) for n, m in metrics_of(scores).items()]
    return tuple(found)


def named_in(pictures: PictureSettings | None, network: str | None) -> PictureSettings | None:
    """A network that comes with the project is named, in place of a copy of its weights."""
    if pictures is None or network is None or network not in network_card.SHIPPED:
        return pictures
    return replace(pictures, shipped=ShippedNetwork(network, network_card.SHIPPED[network]))


def evaluation_of(name: str, like: RunSettings) -> Job:
    """The evaluation of a learner's file on a run's data and tasks."""
    same = ("data", "data_root", "features", "data_seed", "hold_out_classes", "split", "cache_dir", "device")
    task = ("ways", "shots", "queries", "query_balance", "eval_tasks", "draws", "picture_fit")
    return RunSettings(learner=name, **{field: getattr(like, field) for field in (*same, *task)}).resolved()


def _with_moved_data(trained: RunSettings, settings: ShipSettings) -> RunSettings:
    """The run's settings, its data where they are now."""
    root, features = settings.data_root or trained.data_root, settings.features or trained.features
    return replace(trained, data_root=root, features=features, cache_dir=settings.cache_dir, device=settings.device)


def _made(settings: ShipSettings, trained: RunSettings, result: Result) -> dict[str, Any]:
    commit = settings.commit or result.commit
    if commit is None or commit.endswith("-dirty"):
        raise InputError(
            f"{settings.run} was trained by {commit or 'no commit that it knows'}, which nobody can check out; "
            f"give --commit, whose code it was, or run it again from a clean checkout"
        )
    calibration = {"ece_percent": result.calibration.ece, "nll": result.calibration.nll, "classes": result.split}
    made: dict[str, Any] = {
        "command": command_of(trained),
        "commit": commit,
        "versions": result.versions,
        "hardware": settings.hardware,
        "hours": round(result.seconds.get("train sib", 0.0) / 3600, 2),
        "seed": result.seed,
        "calibration": calibration,
    }
    if settings.chosen_by:
        made["chosen_by"] = settings.chosen_by
    if trained.network is not None and trained.network not in OUTSIDE:
        network = read_card(trained.network)
        made["network"] = {"name": network.name, **network.made}
    return made


_ALWAYS = ("setting", "data", "data_root", "features", "network", "iterations", "shots")
"""Settings that a command names even where they are the default."""


def command_of(trained: RunSettings) -> str:
    """The command that trains it again, with DIR for folders, and without what is the default."""
    own = config_of(trained.resolved())
    usual = config_of(RunSettings(**{name: getattr(trained, name) for name in _ALWAYS}).resolved())
    words = ["python", "-m", "experiments.run"]
    for name in dict.fromkeys((*_ALWAYS, *own)):
        value, option = own[name], name.replace("_", "-")
        if value is None or (value == usual[name] and name not in _ALWAYS):
            continue
        if name == "precision" and (trained.network or trained.features):
            continue  # of stage 1, which such a run has not
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, list):
            words += [f"--{option}", *map(str, value)]
        elif isinstance(getattr(trained, name), Path):
            words += [f"--{option}", "DIR"]
        else:
            words += [f"--{option}", Path(value).name if name == "network" else str(value)]
    return shlex.join(words)


def _licence(trained: RunSettings, result: Result, card: LearnerCard) -> str:
    data = card.data["name"]
    images = " Trained on images of ImageNet, whose terms are for research." if data == MINI_IMAGENET else ""
    classes = f"the {len(card.base_classes)} base classes that it was trained on"
    chosen = f" or the {result.selected_on} that chose its best epoch" if result.selected_on else ""
    return (
        f"Weights Apache-2.0, as the code.{images} Not to be used where a wrong class does harm, nor to report "
        f"{data} accuracies on {classes}{chosen}."
    )
