"""The main job: images (or features) in, a trained few-shot learner and its measured accuracy out."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.table import Table

from experiments.cli import run_command
from experiments.ground import Ground, choose_device, choose_split, eval_tasks, ground_of, load_data, prepare
from experiments.pictures import draw_pictures
from experiments.posterior_file import NAME as POSTERIOR
from experiments.posterior_file import Subject, exported_tasks, write_posterior
from experiments.program import Program, make_sources
from experiments.progress import Reporter
from experiments.results import (
    calibration_of,
    claim_folder,
    commit,
    config_of,
    metrics_of,
    versions,
    write_tasks,
)
from experiments.settings import RunSettings
from experiments.train import train
from experiments.train_warnings import against_zero
from inference import Guide
from inference.evaluation import TaskSource, evaluate, evidence_bound
from inference.training import Trainer
from pyro_sib.bank import build_bank
from pyro_sib.errors import InputError
from pyro_sib.files import read_json, write_json
from pyro_sib.metrics import MeanInterval, TaskScores, mean_interval
from pyro_sib.torch_state import plain_torch


@plain_torch()
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
    program, trainer, warnings = train(settings, ground, sources, device, reporter)
    zero_scores = None
    if settings.compare and settings.steps and settings.guide != "init-only":
        zero = replace(settings, guide="init-only", steps=0, tune_features=False)
        comparison, _, more = train(zero, ground, sources, device, reporter, "k0")
        warnings += [f"K = 0: {warning}" for warning in more]
        zero_scores = evaluate(comparison.guide, sources["evaluate"], eval_tasks(settings, split), settings.draws)[
            0
        ]
    if settings.tune_features:
        assert ground.images is not None
        assert ground.network is not None
        bank = build_bank(ground.images, ground.network.backbone, device, settings.cache_dir / "banks")
        sources = make_sources(bank, settings, split, device)
    return _finish(settings, ground, split, sources, program, zero_scores, trainer, warnings, reporter)


def _finish(
    settings: RunSettings,
    ground: Ground,
    split: str,
    sources: dict[str, TaskSource],
    program: Program,
    zero: TaskScores | None,
    trainer: Trainer,
    warnings: list[str],
    reporter: Reporter,
) -> dict[str, Any]:
    """Evaluate, write everything, show the table."""
    assert settings.out is not None
    tasks, source = eval_tasks(settings, split), sources["evaluate"]
    guide = program.guide
    last = len(guide.iterates(guide.sees(source.episodes(torch.arange(1))))) - 1 if isinstance(guide, Guide) else 0
    with reporter.stage("predict", f"prediction of {tasks} tasks of {split}") as advance:
        averaged = evaluate(guide, source, tasks, settings.draws, on_tasks=advance)[0]
    with reporter.stage("evaluate", "evaluation at each step, and the bound") as advance:
        iterates = evaluate(guide, source, tasks, iterates=range(last + 1), on_tasks=advance)
        bound = None
        if isinstance(guide, Guide):
            bound = evidence_bound(guide, source, min(tasks, 200), settings.draws)
        second = None
        if settings.second_balance is not None:
            second = evaluate(guide, sources["second"], tasks, settings.draws, on_tasks=advance)[0]
    if not bool(averaged.nll.isfinite().all()):
        raise InputError(
            f"the predictions of {int((~averaged.nll.isfinite()).sum())} of {tasks} evaluation tasks are NaN; "
            f"lower --learning-rate or --step-size, and choose another --out"
        )
    if zero is not None:
        metric = "both" if settings.joint else "novel"
        lost = against_zero(mean_interval(getattr(averaged, metric) - getattr(zero, metric)), last)
        for warning in lost:
            reporter.say(f"warning: {warning}")
        warnings = [*warnings, *lost]
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
        "warnings": warnings,
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
