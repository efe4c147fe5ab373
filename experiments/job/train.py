"""Stage 2 of a run: SVI over training tasks, and what is said along the way."""

import re
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_sib.data import DataSet
from pyro_sib.data.names import BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.experiments.job.features import Ground
from pyro_sib.experiments.job.result import Course
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.job.tasks import make_sources, selection_split
from pyro_sib.experiments.job.train_warnings import Start, course_of, training_warnings
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.terminal.tensorboard import Scalars
from pyro_sib.features.bank import build_bank
from pyro_sib.inference import Baseline, Guide, SIBGuide
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.gradient_check import gradient_cosine
from pyro_sib.inference.program import FeatureNetwork, Program, build_program
from pyro_sib.inference.settings.training import LIKELIHOOD
from pyro_sib.inference.training import EpochRecord, Trainer
from pyro_sib.tasks.source import TaskSource
from pyro_sib.tensor_files import digest, digest_state

_PERCENT = re.compile(r"\d+(\.\d+)?%")
_COSINE_TASKS = 100
"""Selection tasks on which the synthetic gradient is compared with the true one after each epoch."""


class Trained(NamedTuple):
    """What a training leaves.

    Attributes:
        program: with the best epoch's parameters.
        log: of its epochs.
        warnings: of what went wrong.
        course: how it went on the selection tasks; None where nothing was trained.
    """

    program: Program
    log: list[EpochRecord]
    warnings: list[str]
    course: Course | None


def train(
    settings: Job,
    ground: Ground,
    sources: dict[str, TaskSource],
    device: torch.device,
    reporter: Reporter,
    name: str = "sib",
) -> Trained:
    """Stage 2: SVI over training tasks; the program then holds the best epoch's parameters.

    Its warnings have been said.
    """
    features = sources["train"].novel.shape[1]
    pretrained = {} if ground.network is None else ground.network.backbone.state_dict()
    identity = digest(ground.bank.fingerprint, digest_state(pretrained))
    program = build_program(settings.learner_settings(), features, ground.base_weights, device)
    modules, model, guide = program.modules(), program.model, program.guide
    train_source = sources["train"]
    backbone = ground.network.backbone if ground.network and settings.tune_features else None
    if backbone is not None:
        assert ground.images is not None
        network = FeatureNetwork(backbone)
        modules = {**modules, "features": network}
        model, guide = network.model(program.model), network.guide(program.guide)  # type: ignore[assignment]
        train_source = _image_tasks(ground.images, settings, device)
    metric = "both" if settings.joint else "novel"
    selection = sources["select"]

    log_likelihood = float("nan")

    def validate() -> float:
        nonlocal selection, log_likelihood
        if backbone is not None:
            selection = _embedded(ground, backbone, settings, device)
        found = evaluate(program.guide, selection, settings.select_tasks)[0]
        log_likelihood = -float(found.nll.mean())
        return found.metrics()[metric].mean

    def measure() -> dict[str, list[float]]:
        likelihood = {LIKELIHOOD: [round(log_likelihood, 5)]}
        if not isinstance(program.guide, SIBGuide) or not settings.steps:
            return likelihood
        tasks = torch.arange(min(settings.select_tasks, _COSINE_TASKS))
        cosine = gradient_cosine(program.guide, selection.episodes(tasks))
        return likelihood | {"gradient_cosine": [round(float(c), 4) for c in cosine]}

    untrained = _theta0(program.guide, selection, settings, metric)
    checkpoint = settings.out / f"{name}.safetensors"
    trainer = Trainer(model, guide, modules, settings.train_settings(), checkpoint, identity)
    scalars = Scalars(settings.out / "tensorboard", reporter.warn)
    title = f"SVI, K = {settings.steps}, {settings.train_settings().iterations} iterations"
    with renamed(kl="kl_weight", checkpoint="out"), reporter.stage(f"train {name}", title) as advance:

        def on_epoch(record: Any) -> None:
            cosines = {f"gradient_cosine_{k}": c for k, c in enumerate(record.extra.get("gradient_cosine", []))}
            likelihood = record.extra[LIKELIHOOD][0]
            measured = {} if settings.train_only else {"accuracy": record.accuracy, "log_likelihood": likelihood}
            scalars.add(name, record.iteration, loss=record.loss, **measured, **cosines)
            of = f"{metric} accuracy {record.accuracy:.2f}%, log likelihood {likelihood:.3f}"
            said = f"  {of} on {settings.select_tasks} selection tasks"
            reporter.say(
                f"  iteration {record.iteration}  loss {record.loss:.4f}" + ("" if settings.train_only else said)
            )

        trainer.run(
            lambda iteration: train_source.batch(iteration, settings.batch_size),
            validate,
            advance,
            on_epoch,
            measure,
        )
    if backbone is not None:
        selection = _embedded(ground, backbone, settings, device)
    starts = _starts(program.guide, selection, settings, metric, untrained)
    warnings = training_warnings(trainer.log, settings, *starts)
    if settings.train_only:  # what went wrong is said, an accuracy is not
        warnings = [_PERCENT.sub("...%", warning) for warning in warnings]
    for warning in warnings:
        reporter.warn(warning)
    return Trained(program, trainer.log, warnings, course_of(trainer.log, settings, *starts))


def _theta0(guide: Guide | Baseline, selection: TaskSource, settings: Job, metric: str) -> Tensor | None:
    """(T,) accuracies at theta^0 on the selection tasks; None without a posterior."""
    if not isinstance(guide, Guide):
        return None
    found: Tensor = getattr(evaluate(guide, selection, settings.select_tasks, iterates=(0,))[0], metric)
    return found


def _starts(
    guide: Guide | Baseline, selection: TaskSource, settings: Job, metric: str, untrained: Tensor | None
) -> tuple[Start | None, Start | None]:
    """Where the steps of the trained guide start, None where it takes none, and where they did before training."""
    if untrained is None:
        return None, None
    before, after = evaluate(guide, selection, settings.select_tasks, iterates=(0, -1))
    end, steps = getattr(after, metric), guide.fixed_steps is None and settings.steps > 0
    return Start.of(getattr(before, metric), end) if steps else None, Start.of(untrained, end)


def selected_on(data: DataSet) -> str:
    """What result.json says of the tasks by which the best epoch is chosen."""
    return {VAL: "validation classes", BASE_TRAIN: "training classes"}[selection_split(data)]


def say_selection(data: DataSet, reporter: Reporter) -> None:
    """The same in the output, with a warning where no new classes choose."""
    if selection_split(data) == VAL:
        reporter.say(
            f"the best epoch is chosen on tasks of the {len(data.split(VAL).class_names)} validation classes"
        )
    else:
        reporter.warn("no validation classes found: the best epoch is chosen on tasks of the training classes")


def _embedded(ground: Ground, backbone: torch.nn.Module, settings: Job, device: torch.device) -> TaskSource:
    """The selection tasks under the present f."""
    assert ground.images is not None
    chosen = selection_split(ground.images)
    names = {BASE_TRAIN, chosen, BASE_VAL}
    splits = {n: s for n, s in ground.images.splits.items() if n in names}
    bank = build_bank(replace(ground.images, splits=splits), backbone, device, cache=None)
    return make_sources(bank, settings, VAL if VAL in splits else BASE_TRAIN, device)["select"]


def _image_tasks(images: DataSet, settings: Job, device: torch.device) -> TaskSource:
    """Training tasks of images."""
    return make_sources(images, settings, VAL if VAL in images.splits else TEST, device)["train"]
