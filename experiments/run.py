"""The main job: images (or features) in, a trained few-shot learner and its measured accuracy out."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import tyro
from rich.table import Table

from pyro_sib.data import DataSet
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.features import (
    Ground,
    choose_device,
    choose_split,
    eval_tasks,
    ground_of,
    ground_of_learner,
    load_data,
    prepare,
    refuse_known,
)
from pyro_sib.experiments.job.learner import LEARNER, learner_of, write_learner
from pyro_sib.experiments.job.pictures import draw_pictures
from pyro_sib.experiments.job.records import of_this_version, read_result, take
from pyro_sib.experiments.job.results import (
    calibration_of,
    claim_folder,
    commit,
    config_of,
    joint_of,
    metrics_of,
    versions,
    write_tasks,
)
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.experiments.job.train import say_selection, selected_on, train
from pyro_sib.experiments.job.train_warnings import against_zero
from pyro_sib.experiments.posterior.file import NAME as POSTERIOR
from pyro_sib.experiments.posterior.file import Subject, exported_tasks, write_posterior
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.decoration import WARNINGS, Decorations, is_decorated
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.bank import build_bank
from pyro_sib.features.pretrain import choose_precision
from pyro_sib.files import check_writable, write_json
from pyro_sib.inference import Baseline, Guide
from pyro_sib.inference.evaluation import ElboParts, evaluate, evidence_bound
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.novel_share import NovelShareLearner
from pyro_sib.inference.program import Program
from pyro_sib.inference.training import EpochRecord
from pyro_sib.scores.metrics import MeanInterval, TaskScores, mean_interval
from pyro_sib.tasks.source import TaskSource
from pyro_sib.torch_state import plain_torch

BOUND_TASKS = 200
"""At most, for the ELBO's terms."""


@plain_torch()
def run(settings: RunSettings, reporter: Reporter | None = None) -> dict[str, Any]:
    """Do the whole job, or what is left of it; returns the content of result.json.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    settings, reporter = settings.resolved(), reporter or Reporter()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    assert settings.image_size is not None
    settings = replace(settings, precision=choose_precision(settings.precision, device, settings.image_size))
    assert settings.out is not None
    claim_folder(settings.out, settings)
    data = load_data(settings, reporter)
    split = choose_split(data, settings)
    make_sources(data, settings, split, torch.device("cpu"))  # refuses impossible sizes before long work
    done = settings.out / "result.json"
    say_selection(data, reporter)
    whole = not settings.posterior_tasks or exported_tasks(settings.out / POSTERIOR) == settings.posterior_tasks
    whole = whole and (settings.learner is not None or (settings.out / LEARNER).is_file())
    held = read_result(done) if done.exists() else {}
    if whole and held and take(held, "data.fingerprint", done, str) == data.fingerprint and is_decorated(held):
        reporter.say(f"{done} is complete; shown again")
        with of_this_version(done):
            show(held, settings.out, reporter)
        for line in held.get(WARNINGS) or ():
            reporter.warn(f"{line}; to try again, delete {done}")
        return held
    check_writable(settings.out, "--out")
    if settings.learner is not None:
        return _evaluate_learner(settings, data, split, device, reporter)
    ground = prepare(data, settings, split, device, reporter)
    sources = make_sources(ground.bank, settings, split, device)
    program, trainer, warnings = train(settings, ground, sources, device, reporter)
    zero = None
    if settings.compare and settings.steps and settings.guide != "init-only":
        zero, more = _zero(settings, ground, sources, split, device, reporter)
        warnings += [f"K = 0: {warning}" for warning in more]
    if settings.tune_features:
        assert ground.images is not None
        assert ground.network is not None
        bank = build_bank(ground.images, ground.network.backbone, device, settings.cache_dir / "banks")
        sources = make_sources(bank, settings, split, device)
    return _finish(settings, ground, split, sources, program, zero, trainer.log, warnings, reporter)


def _evaluate_learner(
    settings: RunSettings, data: DataSet, split: str, device: torch.device, reporter: Reporter
) -> dict[str, Any]:
    """What is left to do where nothing is to be trained."""
    assert settings.learner is not None
    learner = load_learner(settings.learner, device)
    refuse_known(f"--learner {settings.learner}", learner.card.base_classes, data, split)
    ground = ground_of_learner(learner, data, settings, device, reporter)
    sources = make_sources(ground.bank, settings, split, device)
    return _finish(settings, ground, split, sources, learner.program, None, [], [], reporter)


def _zero(
    settings: RunSettings,
    ground: Ground,
    sources: dict[str, TaskSource],
    split: str,
    device: torch.device,
    reporter: Reporter,
) -> tuple["_Zero", list[str]]:
    """K = 0 trained beside, and what was warned of.

    It has the features of stage 1, whatever stage 2 tunes.
    """
    zero = replace(settings, guide="init-only", steps=0, tune_features=False)
    program, _, warnings = train(zero, ground, sources, device, reporter, "k0")
    tasks, source = eval_tasks(settings, split), sources["evaluate"]
    drawn, mean = (evaluate(program.guide, source, tasks, draws)[0] for draws in (settings.draws, 0))
    return _Zero(drawn, mean, _bound(program.guide, source, tasks, settings.draws)), warnings


class _Zero(NamedTuple):
    """What K = 0 has."""

    drawn: TaskScores
    mean: TaskScores
    bound: ElboParts | None

    def result(self, tasks: int) -> dict[str, Any]:
        """As result.json has it."""
        parts = _parts(self.bound, tasks)
        at_the_mean = {"metrics": metrics_of(self.mean)}
        return _scores(self.drawn, steps=0, features="stage 1", at_the_mean=at_the_mean, elbo_parts=parts)


def _finish(
    settings: RunSettings,
    ground: Ground,
    split: str,
    sources: dict[str, TaskSource],
    program: Program,
    zero: _Zero | None,
    log: Sequence[EpochRecord],
    warnings: list[str],
    reporter: Reporter,
) -> dict[str, Any]:
    """Evaluate, write the results, then what decorates them, and show the table."""
    assert settings.out is not None
    tasks, source = eval_tasks(settings, split), sources["evaluate"]
    guide = program.guide
    last = len(guide.iterates(guide.sees(source.episodes(torch.arange(1))))) - 1 if isinstance(guide, Guide) else 0
    with reporter.stage("predict", f"prediction of {tasks} tasks of {split}") as advance:
        averaged = evaluate(guide, source, tasks, settings.draws, on_tasks=advance)[0]
    with reporter.stage("evaluate", "evaluation at each step, and the bound") as advance:
        iterates = evaluate(guide, source, tasks, iterates=range(last + 1), on_tasks=advance)
        bound = _bound(guide, source, tasks, settings.draws)
        second = None
        if settings.second_balance is not None:
            second = evaluate(guide, sources["second"], tasks, settings.draws, on_tasks=advance)[0]
        shares = {s: _sharing(guide, source, s, tasks, settings.draws) for s in settings.novel_share}
    if not bool(averaged.nll.isfinite().all()):
        raise InputError(
            f"the predictions of {int((~averaged.nll.isfinite()).sum())} of {tasks} evaluation tasks are NaN; "
            f"lower --learning-rate or --step-size, and choose another --out"
        )
    if zero is not None:
        metric = "both" if settings.joint else "novel"
        lost = against_zero(mean_interval(getattr(averaged, metric) - getattr(zero.drawn, metric)), last)
        for warning in lost:
            reporter.warn(warning)
        warnings = [*warnings, *lost]
    scores = {"posterior": averaged, "mean": iterates[-1]}
    if second is not None:
        scores[f"posterior {settings.second_balance}"] = second
    scores |= {f"posterior novel share {strength:g}": found for strength, found in shares.items()}
    if zero is not None:
        scores["posterior K=0"] = zero.drawn
    write_tasks(settings.out / "tasks.csv", scores)
    result = {
        **{k: v for k, v in config_of(settings).items() if k not in ("data", "features", "data_root", "compare")},
        "split": split,
        "metrics": metrics_of(averaged),
        "calibration": calibration_of(averaged),
        "joint": joint_of(averaged),
        "at_the_mean": {"metrics": metrics_of(iterates[-1]), "calibration": calibration_of(iterates[-1])},
        "iterates": [metrics_of(s) for s in iterates],
        "comparison": None if zero is None else zero.result(tasks),
        "second": None if second is None else _scores(second, query_balance=settings.second_balance),
        "novel_share_scores": [_scores(found, strength=strength) for strength, found in shares.items()],
        "tasks": tasks,
        "selected_on": selected_on(ground.bank),
        "steps": last,
        "warnings": warnings,
        "oracle": guide.oracle,
        "elbo": bound and settings.weights().bound(bound.log_likelihood, bound.kl, bound.base_kl),
        "elbo_parts": _parts(bound, tasks),
        "scales": _scales(program, source),
        **ground_of(ground, settings),
        "pretrain_log": [asdict(r) for r in ground.network.log] if ground.network else [],
        "train_log": [{k: v for k, v in asdict(r).items() if k != "extra"} for r in log],
        "gradient_cosine": [
            {"iteration": r.iteration, "cosine": r.extra["gradient_cosine"]}
            for r in log
            if "gradient_cosine" in r.extra
        ],
        "commit": commit(),
        "versions": versions(),
        "device": str(source.novel.device),
        "threads": torch.get_num_threads(),
        "milliseconds_per_task": round(1000 * reporter.seconds["predict"] / tasks, 4),
        "seconds": reporter.seconds,
        WARNINGS: None,
    }
    if settings.learner is None:
        write_learner(settings.out, learner_of(settings, ground, split, program, result["metrics"], tasks))
    done, decorations = settings.out / "result.json", Decorations(reporter)
    write_json(done, result)
    if settings.posterior_tasks and isinstance(guide, Guide):
        subject = Subject(settings, ground.bank.fingerprint, split, source, guide)
        with (
            decorations.trying(POSTERIOR),
            reporter.stage("posterior", f"{POSTERIOR} of {settings.posterior_tasks} tasks") as go,
        ):
            write_posterior(settings.out / POSTERIOR, subject, settings.posterior_tasks, settings.draws, go)
    with decorations.trying("the pictures"), reporter.stage("figures", "figures"):
        draw_pictures(settings, ground.images, result, source, guide, split, decorations)
    decorations.note(done, result)
    show(result, settings.out, reporter)
    return result


def _sharing(learner: Guide | Baseline, source: TaskSource, strength: float, tasks: int, draws: int) -> TaskScores:
    """Of predictions that expect the tasks' share of novel queries."""
    shape = source.sampler.shape
    novel = shape.ways * shape.queries
    share = novel / (novel + shape.base_queries)
    return evaluate(NovelShareLearner(learner, share, strength), source, tasks, draws)[0]


def _bound(learner: Guide | Baseline, source: TaskSource, tasks: int, draws: int) -> ElboParts | None:
    """The bound's terms on the first of the tasks, of a guide."""
    return evidence_bound(learner, source, min(tasks, BOUND_TASKS), draws) if isinstance(learner, Guide) else None


def _parts(bound: ElboParts | None, tasks: int) -> dict[str, Any] | None:
    return None if bound is None else {**asdict(bound), "tasks": min(tasks, BOUND_TASKS)}


def _scores(scores: TaskScores, **what: Any) -> dict[str, Any]:
    return {
        **what,
        "metrics": metrics_of(scores),
        "calibration": calibration_of(scores),
        "joint": joint_of(scores),
    }


@torch.no_grad()
def _scales(program: Program, source: TaskSource) -> dict[str, Any] | None:
    """What was learned: eta, the predictor's scale, q's scale and norm, the scales of prior and base weights."""
    if not isinstance(program.guide, Guide) or program.likelihood is None or program.prior is None:
        return None
    evidence = program.guide.sees(source.episodes(torch.arange(50)))
    theta, ids = program.guide.iterates(evidence)[-1], evidence.joint_base_ids
    log_step = getattr(program.guide, "log_step_size", None)
    return {
        "step_size": [] if log_step is None else [round(float(s), 4) for s in log_step.exp()],
        "predictor": round(float(program.likelihood.scale), 3),
        "q": round(float(theta.log_scale.exp().mean()), 5),
        "q_norm": round(float(theta.loc.norm(dim=-1).mean()), 4),
        "prior": round(float(program.prior.scales(evidence.base_ids).mean()), 5),
        "base": None if ids is None else round(float(program.prior.base_posterior(ids).variance.sqrt().mean()), 5),
    }


def show(result: dict[str, Any], out: Path, reporter: Reporter) -> None:
    """The small table and where everything is."""
    reporter.show(_table(result))
    pictures = ", ".join(sorted(p.name for p in out.glob("*.png")))
    reporter.say(f"{out}/: result.json, tasks.csv, config.json, {LEARNER}, {pictures}")


def _table(result: dict[str, Any]) -> Table:
    names = list(result["metrics"])
    table = Table(
        title=f"{result['ways']}-way {result['shots']}-shot, {result['tasks']} tasks of {result['split']}"
    )
    table.add_column("accuracy, % ± 95% interval")
    for name in names:
        table.add_column(name, justify="right")
    if result.get("elbo_parts"):
        table.add_column("KL, nats a task", justify="right")
    rows = {f"K = {result['steps']}": result}
    if result["comparison"]:
        stage1 = ", features of stage 1" * bool(result.get("tune_features"))
        rows = {f"K = 0{stage1}": result["comparison"], **rows}
    for title, row in rows.items():
        cells = [MeanInterval(**row["metrics"][name]) for name in names]
        kl = [f"{row['elbo_parts']['kl']:,.1f}"] if row.get("elbo_parts") else []
        table.add_row(title, *(f"{cell.mean:.2f} ± {cell.ci95:.2f}" for cell in cells), *kl)
    return table


def main() -> int:
    """`python -m experiments.run`."""
    settings = tyro.cli(RunSettings, prog="python -m experiments.run")
    return run_command(lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())
