"""The main job: images (or features) in, a trained few-shot learner and its measured accuracy out."""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.table import Table
from torch import Tensor

from experiments.cli import run_command
from experiments.pictures import draw_pictures
from experiments.posterior_file import NAME as POSTERIOR
from experiments.posterior_file import Subject, exported_tasks, write_posterior
from experiments.program import FeatureNetwork, Program, build_program, make_sources
from experiments.progress import Advance, Reporter
from experiments.results import (
    calibration_of,
    claim_folder,
    commit,
    config_of,
    metrics_of,
    versions,
    write_tasks,
)
from experiments.scalars import Scalars
from experiments.settings import RunSettings
from inference import Guide, SIBGuide
from inference.evaluation import TaskSource, evaluate, evidence_bound
from inference.gradient_check import gradient_cosine
from inference.training import Trainer
from pyro_sib.bank import build_bank, fit_base_classifier
from pyro_sib.cosine import unit
from pyro_sib.data import (
    BASE_TEST,
    BASE_TRAIN,
    BASE_VAL,
    TEST,
    VAL,
    DataSet,
    hold_out_classes,
    read_features,
    read_images,
)
from pyro_sib.data.synthetic import synthetic_world
from pyro_sib.errors import InputError
from pyro_sib.files import digest, digest_state, read_json, write_json
from pyro_sib.metrics import MeanInterval, TaskScores
from pyro_sib.pretrain import Pretrained, base_accuracy, checkpoint_name, pretrain

COSINE_TASKS = 100
"""Selection tasks on which the synthetic gradient is compared with the true one after each epoch."""


@dataclass(frozen=True)
class Ground:
    """What stage 2 stands on.

    Attributes:
        images: the data with images, or None where features were given.
        bank: the same data as features.
        network: f and its base classifier, or None where features were given.
        base_weights: (B, D) unit weights of the base classes, or None without base classes.
        base_accuracy: percent of held-out base rows that the base classifier names rightly, or None.
    """

    images: DataSet | None
    bank: DataSet
    network: Pretrained | None
    base_weights: Tensor | None
    base_accuracy: float | None


def run(settings: RunSettings, reporter: Reporter | None = None) -> dict[str, Any]:
    """Do the whole job, or what is left of it; returns the content of result.json.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    settings, reporter = settings.resolved(), reporter or Reporter()
    assert settings.out is not None
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    claim_folder(settings.out, settings)
    data = load_data(settings, reporter)
    split = choose_split(data, settings)
    make_sources(data, settings, split, torch.device("cpu"))  # refuses impossible sizes before long work
    done = settings.out / "result.json"
    whole = not settings.posterior_tasks or exported_tasks(settings.out / POSTERIOR) == settings.posterior_tasks
    if whole and done.exists() and read_json(done)["data"]["fingerprint"] == data.fingerprint:
        reporter.say(f"{done} is complete; shown again")
        result = read_json(done)
        show(result, settings.out, reporter)
        return result
    ground = prepare(data, settings, split, device, reporter)
    sources = make_sources(ground.bank, settings, split, device)
    program, trainer = train(settings, ground, sources, device, reporter)
    zero_scores = None
    if settings.compare and settings.steps and settings.guide != "init-only":
        zero = replace(settings, guide="init-only", steps=0, tune_features=False)
        comparison = train(zero, ground, sources, device, reporter, "k0")[0]
        zero_scores = evaluate(comparison.guide, sources["evaluate"], eval_tasks(settings, split), settings.draws)[
            0
        ]
    if settings.tune_features:
        assert ground.images is not None
        assert ground.network is not None
        bank = build_bank(ground.images, ground.network.backbone, device, settings.cache_dir / "banks")
        sources = make_sources(bank, settings, split, device)
    return _finish(settings, ground, split, sources, program, zero_scores, trainer, reporter)


def choose_device(name: str) -> torch.device:
    """The named device; auto is a GPU where there is one.

    Raises:
        InputError: cuda asked for and not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but torch sees no GPU; pass --device cpu")
    return torch.device(name)


def load_data(settings: RunSettings, reporter: Reporter) -> DataSet:
    """The data set that the settings name."""
    with reporter.stage("data", f"data: {settings.source}") as advance:
        data = _read(settings, advance)
        return hold_out_classes(data, settings.hold_out_classes) if settings.hold_out_classes else data


def _read(settings: RunSettings, advance: Advance) -> DataSet:
    assert settings.image_size is not None
    if settings.features:
        return read_features(settings.features)
    if settings.data == "synthetic":
        return synthetic_world(settings.data_seed, settings.image_size)
    assert settings.data_root is not None
    return read_images(settings.data_root, settings.image_size, settings.cache_dir / "images", advance)


def choose_split(data: DataSet, settings: RunSettings) -> str:
    """The split asked for, or test where the data has it.

    Raises:
        InputError: the data lacks it.
    """
    split = settings.split or (TEST if TEST in data.splits else VAL)
    data.split(split)
    data.split(BASE_TRAIN)
    return split


def prepare(data: DataSet, settings: RunSettings, split: str, device: torch.device, reporter: Reporter) -> Ground:
    """Stage 1 and the feature bank, from the cache where they are there."""
    base_split = BASE_VAL if split == VAL else BASE_TEST
    if not data.is_images:
        with reporter.stage("base classifier", "base classifier on the features"):
            classifier = fit_base_classifier(data.split(BASE_TRAIN), settings.seed)
        held = data.splits.get(base_split)
        accuracy = None
        if held is not None:
            accuracy = 100 * float((classifier(held.x).argmax(-1) == held.y).float().mean())
        return Ground(None, data, None, unit(classifier.weight), accuracy)
    assert settings.out is not None
    recipe, train_split = settings.pretrain_settings(), data.split(BASE_TRAIN)
    scalars = Scalars(settings.out / "tensorboard")
    checkpoint = settings.cache_dir / "backbones" / checkpoint_name(train_split, recipe)
    title = f"pretraining {recipe.backbone}, {recipe.epochs} epochs"
    with reporter.stage("pretrain", title) as advance:

        def on_epoch(record: Any) -> None:
            scalars.add("pretrain", record.epoch, loss=record.loss, base_accuracy=record.base_accuracy)
            reporter.say(
                f"  epoch {record.epoch}/{recipe.epochs}  loss {record.loss:.3f}  "
                f"base accuracy {record.base_accuracy:.1f}% on held-out images"
            )

        network = pretrain(train_split, data.splits.get(BASE_VAL), recipe, device, checkpoint, advance, on_epoch)
    with reporter.stage("bank", "feature bank"):
        bank = build_bank(data, network.backbone, device, settings.cache_dir / "banks")
    held = data.splits.get(base_split)
    accuracy = None if held is None else base_accuracy(network, held, device)
    weights = unit(network.classifier.weight.detach().cpu())
    return Ground(data, bank, network, weights, accuracy)


def train(
    settings: RunSettings,
    ground: Ground,
    sources: dict[str, TaskSource],
    device: torch.device,
    reporter: Reporter,
    name: str = "sib",
) -> tuple[Program, Trainer]:
    """Stage 2: SVI over training tasks; the program then holds the best epoch's parameters."""
    assert settings.out is not None
    features = ground.bank.split(BASE_TRAIN).x.shape[1]
    pretrained = {} if ground.network is None else ground.network.backbone.state_dict()
    identity = digest(ground.bank.fingerprint, digest_state(pretrained))
    program = build_program(settings, features, ground.base_weights, device)
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

    def validate() -> float:
        nonlocal selection
        if backbone is not None:
            selection = _embedded(ground, backbone, settings, device)
        return evaluate(program.guide, selection, settings.select_tasks)[0].metrics()[metric].mean

    def measure() -> dict[str, list[float]]:
        if not isinstance(program.guide, SIBGuide) or not settings.steps:
            return {}
        tasks = torch.arange(min(settings.select_tasks, COSINE_TASKS))
        cosine = gradient_cosine(program.guide, selection.episodes(tasks))
        return {"gradient_cosine": [round(float(c), 4) for c in cosine]}

    checkpoint = settings.out / f"{name}.safetensors"
    trainer = Trainer(model, guide, modules, settings.train_settings(), checkpoint, identity)
    scalars = Scalars(settings.out / "tensorboard")
    title = f"SVI, K = {settings.steps}, {settings.train_settings().iterations} iterations"
    with reporter.stage(f"train {name}", title) as advance:

        def on_epoch(record: Any) -> None:
            cosines = {f"gradient_cosine_{k}": c for k, c in enumerate(record.extra.get("gradient_cosine", []))}
            scalars.add(name, record.iteration, loss=record.loss, accuracy=record.accuracy, **cosines)
            reporter.say(
                f"  iteration {record.iteration}  loss {record.loss:.4f}  "
                f"{metric} accuracy {record.accuracy:.2f}% on {settings.select_tasks} selection tasks"
            )

        trainer.run(
            lambda iteration: train_source.batch(iteration, settings.batch_size),
            validate,
            advance,
            on_epoch,
            measure,
        )
    return program, trainer


def _embedded(ground: Ground, backbone: torch.nn.Module, settings: RunSettings, device: torch.device) -> TaskSource:
    """The selection tasks under the present f."""
    assert ground.images is not None
    chosen = VAL if VAL in ground.images.splits else BASE_TRAIN
    names = {BASE_TRAIN, chosen, BASE_VAL}
    splits = {n: s for n, s in ground.images.splits.items() if n in names}
    part = DataSet(ground.images.name, splits, ground.images.base_holdout, ground.images.fingerprint)
    bank = build_bank(part, backbone, device, cache=None)
    return make_sources(bank, settings, VAL if VAL in splits else BASE_TRAIN, device)["select"]


def _finish(
    settings: RunSettings,
    ground: Ground,
    split: str,
    sources: dict[str, TaskSource],
    program: Program,
    zero: TaskScores | None,
    trainer: Trainer,
    reporter: Reporter,
) -> dict[str, Any]:
    """Evaluate, write everything, show the table."""
    assert settings.out is not None
    tasks, source = eval_tasks(settings, split), sources["evaluate"]
    guide = program.guide
    last = len(guide.iterates(guide.sees(source.episodes(torch.arange(1))))) - 1 if isinstance(guide, Guide) else 0
    with reporter.stage("predict", f"prediction of {tasks} tasks of {split}") as advance:
        averaged = evaluate(guide, source, tasks, settings.draws, on_tasks=advance)[0]
    with reporter.stage("evaluate", "evaluation at each step, and the bound"):
        iterates = evaluate(guide, source, tasks, iterates=range(last + 1))
        bound = None
        if isinstance(guide, Guide):
            bound = evidence_bound(guide, source, min(tasks, 200), settings.draws)
        second = None
        if settings.second_balance is not None:
            second = evaluate(guide, sources["second"], tasks, settings.draws)[0]
    scores = {"posterior": averaged, "mean": iterates[-1]}
    if second is not None:
        scores[f"posterior {settings.second_balance}"] = second
    if zero is not None:
        scores["posterior K=0"] = zero
    write_tasks(settings.out / "tasks.csv", scores)
    result = {
        **{k: v for k, v in config_of(settings).items() if k not in ("data", "features", "data_root", "compare")},
        "split": split,
        "metrics": metrics_of(averaged),
        "calibration": calibration_of(averaged),
        "at_the_mean": {"metrics": metrics_of(iterates[-1]), "calibration": calibration_of(iterates[-1])},
        "iterates": [metrics_of(s) for s in iterates],
        "comparison": None if zero is None else _scores(zero, steps=0),
        "second": None if second is None else _scores(second, query_balance=settings.second_balance),
        "tasks": tasks,
        "steps": last,
        "oracle": guide.oracle,
        "elbo": bound and bound.log_likelihood - settings.weights().kl * bound.kl,
        "elbo_parts": bound and {**asdict(bound), "tasks": min(tasks, 200)},
        "scales": _scales(program, source),
        **ground_of(ground, settings),
        "pretrain_log": [asdict(r) for r in ground.network.log] if ground.network else [],
        "train_log": [{k: v for k, v in asdict(r).items() if k != "extra"} for r in trainer.log],
        "gradient_cosine": [
            {"iteration": r.iteration, "cosine": r.extra["gradient_cosine"]}
            for r in trainer.log
            if "gradient_cosine" in r.extra
        ],
        "commit": commit(),
        "versions": versions(),
        "device": str(source.novel.device),
        "threads": torch.get_num_threads(),
        "milliseconds_per_task": round(1000 * reporter.seconds["predict"] / tasks, 4),
        "seconds": reporter.seconds,
    }
    if settings.posterior_tasks and isinstance(guide, Guide):
        with reporter.stage("posterior", f"{POSTERIOR} of {settings.posterior_tasks} tasks") as advance:
            subject = Subject(settings, ground.bank.fingerprint, split, source, guide)
            path = settings.out / POSTERIOR
            write_posterior(path, subject, settings.posterior_tasks, settings.draws, advance)
    with reporter.stage("figures", "figures"):
        draw_pictures(settings, ground.images, result, source, guide, split)
    write_json(settings.out / "result.json", result)
    show(result, settings.out, reporter)
    return result


def ground_of(ground: Ground, settings: RunSettings) -> dict[str, Any]:
    """What result.json says of the data and the features."""
    return {
        "data": {
            "name": ground.bank.name,
            "fingerprint": ground.bank.fingerprint,
            "base_holdout": ground.bank.base_holdout,
            "image_size": settings.image_size if ground.images else None,
        },
        "backbone": settings.backbone if ground.images else None,
        "base_accuracy": ground.base_accuracy,
    }


def eval_tasks(settings: RunSettings, split: str) -> int:
    """How many tasks to evaluate on: the paper's 2000 of validation and 600 of test, unless said."""
    return settings.eval_tasks or (2000 if split == VAL else 600)


def _image_tasks(images: DataSet, settings: RunSettings, device: torch.device) -> TaskSource:
    """Training tasks of images."""
    return make_sources(images, settings, VAL if VAL in images.splits else TEST, device)["train"]


def _scores(scores: TaskScores, **what: Any) -> dict[str, Any]:
    return {**what, "metrics": metrics_of(scores), "calibration": calibration_of(scores)}


@torch.no_grad()
def _scales(program: Program, source: TaskSource) -> dict[str, Any] | None:
    """What was learned: eta, the predictor's scale, q's standard deviation and norm, the prior's scale."""
    if not isinstance(program.guide, Guide) or program.likelihood is None or program.prior is None:
        return None
    evidence = program.guide.sees(source.episodes(torch.arange(50)))
    theta = program.guide.iterates(evidence)[-1]
    log_step = getattr(program.guide, "log_step_size", None)
    return {
        "step_size": [] if log_step is None else [round(float(s), 4) for s in log_step.exp()],
        "predictor": round(float(program.likelihood.scale), 3),
        "q": round(float(theta.log_scale.exp().mean()), 5),
        "q_norm": round(float(theta.loc.norm(dim=-1).mean()), 4),
        "prior": round(float(program.prior.scales(evidence.base_ids).mean()), 5),
    }


def show(result: dict[str, Any], out: Path, reporter: Reporter) -> None:
    """The small table and where everything is."""
    names = list(result["metrics"])
    table = Table(
        title=f"{result['ways']}-way {result['shots']}-shot, {result['tasks']} tasks of {result['split']}"
    )
    table.add_column("accuracy, % ± 95% interval")
    for name in names:
        table.add_column(name, justify="right")
    rows = {f"K = {result['steps']}": result["metrics"]}
    if result["comparison"]:
        rows = {"K = 0": result["comparison"]["metrics"], **rows}
    for title, metrics in rows.items():
        cells = (MeanInterval(**metrics[name]) for name in names)
        table.add_row(title, *(f"{cell.mean:.2f} ± {cell.ci95:.2f}" for cell in cells))
    reporter.console.print(table)
    pictures = ", ".join(sorted(p.name for p in out.glob("*.png")))
    reporter.say(f"{out}/: result.json, tasks.csv, config.json, sib.safetensors, {pictures}")


def main() -> int:
    """`python -m experiments.run`."""
    settings = tyro.cli(RunSettings, prog="python -m experiments.run")
    return run_command(lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
