"""The main job: images (or features) in, a trained few-shot learner and its measured accuracy out."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from rich.table import Table

from pyro_sib.data import DataSet
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.config import check_folder, claim_folder, config_of
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
from pyro_sib.experiments.job.learner import LEARNER, learner_of, write_learner
from pyro_sib.experiments.job.pictures import draw_pictures
from pyro_sib.experiments.job.result import (
    Beside,
    Cosines,
    Result,
    Scales,
    Scores,
    Second,
    Shared,
    metrics_of,
)
from pyro_sib.experiments.job.results import provenance, write_tasks
from pyro_sib.experiments.job.settings import Job, RunSettings
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.experiments.job.train import Trained, say_selection, selected_on, train
from pyro_sib.experiments.job.train_warnings import against_zero
from pyro_sib.experiments.posterior.file import NAME as POSTERIOR
from pyro_sib.experiments.posterior.file import Subject, exported_tasks, write_posterior
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.bank import build_bank
from pyro_sib.features.pretrain import choose_precision
from pyro_sib.files import check_writable, write_json
from pyro_sib.inference import Baseline, Guide
from pyro_sib.inference.evaluation import evaluate, evidence_bound
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.novel_share import NovelShareLearner
from pyro_sib.inference.program import Program
from pyro_sib.inference.settings.training import LIKELIHOOD
from pyro_sib.inference.training import EpochRecord
from pyro_sib.scores.metrics import TaskScores, mean_interval
from pyro_sib.scores.summary import ElboParts
from pyro_sib.tasks.source import TaskSource
from pyro_sib.torch_state import plain_torch

BOUND_TASKS = 200
"""At most, for the ELBO's terms."""


@plain_torch()
def run(settings: RunSettings, reporter: Reporter | None = None) -> Result | None:
    """Do the whole job, or what is left of it; returns what result.json holds, None where nothing is measured.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    job, reporter = settings.resolved(), reporter or Reporter()
    use_threads(job)
    device = choose_device(job.device)
    job = replace(job, precision=choose_precision(job.precision, device, job.image_size))
    check_folder(job.out, job)
    data = load_data(job, reporter)
    split = choose_split(data, job)
    make_sources(data, job, split, torch.device("cpu"))  # refuses impossible sizes before long work
    claim_folder(job.out, job)
    done = job.out / "result.json"
    if job.learner is None:
        say_selection(data, reporter)
    whole = not job.posterior_tasks or exported_tasks(job.out / POSTERIOR) == job.posterior_tasks
    whole = whole and (job.learner is not None or (job.out / LEARNER).is_file())
    held = Result.read(done) if done.exists() else None
    if whole and held and held.data.fingerprint == data.fingerprint and held.decoration_warnings is not None:
        reporter.say(f"{done} is complete; shown again")
        show(held, job.out, reporter)
        for line in held.decoration_warnings:
            reporter.warn(f"{line}; to try again, delete {done}")
        return held
    check_writable(job.out, "--out")
    if job.learner is not None:
        return _evaluate_learner(job.learner, job, data, split, device, reporter)
    ground = prepare(data, job, split, device, reporter, measures=not job.train_only)
    sources = make_sources(ground.bank, job, split, device)
    trained = train(job, ground, sources, device, reporter)
    if job.train_only:
        write_learner(job.out, learner_of(job, ground, split, trained.program, None))
        reporter.say(f"{job.out / LEARNER}: trained, nothing measured (--train-only)")
        return None
    zero = None
    if job.compare and job.steps and job.guide != "init-only":
        zero = _zero(job, ground, sources, split, device, reporter)
    if job.tune_features:
        assert ground.images is not None
        assert ground.network is not None
        bank = build_bank(ground.images, ground.network.backbone, device, job.cache_dir / "banks")
        sources = make_sources(bank, job, split, device)
    return _finish(job, ground, split, sources, trained, zero, reporter)


def _evaluate_learner(
    name: str, settings: Job, data: DataSet, split: str, device: torch.device, reporter: Reporter
) -> Result:
    """What is left to do where nothing is to be trained."""
    reporter.say(f"learner: {name}")
    learner = load_learner(name, device)
    refuse_learner("--learner", learner.card, settings, data, split)
    ground = ground_of_learner(learner, data, settings, device, reporter)
    sources = make_sources(ground.bank, settings, split, device)
    called = learner.card.name if learner.card.tasks.any else None
    return _finish(settings, ground, split, sources, Trained(learner.program, [], [], None), None, reporter, called)


def _zero(
    settings: Job,
    ground: Ground,
    sources: dict[str, TaskSource],
    split: str,
    device: torch.device,
    reporter: Reporter,
) -> "_Zero":
    """K = 0 trained beside, on the features of stage 1, whatever stage 2 tunes."""
    zero = replace(settings, guide="init-only", steps=0, tune_features=False)
    program, _, warnings, _ = train(zero, ground, sources, device, reporter, "k0")
    tasks, source = eval_tasks(settings, split), sources["evaluate"]
    drawn, mean = (evaluate(program.guide, source, tasks, draws)[0] for draws in (settings.draws, 0))
    bound = _bound(program.guide, source, tasks, settings.draws)
    record = Beside.of(drawn, steps=0, features="stage 1", at_the_mean=Scores.of(mean), elbo_parts=bound)
    return _Zero(drawn, record, [f"K = 0: {warning}" for warning in warnings])


class _Zero(NamedTuple):
    """What K = 0 has: scores, what result.json says of it, and what was warned of."""

    drawn: TaskScores
    record: Beside
    warnings: list[str]


def _finish(
    settings: Job,
    ground: Ground,
    split: str,
    sources: dict[str, TaskSource],
    trained: Trained,
    zero: _Zero | None,
    reporter: Reporter,
    any_task_learner: str | None = None,
) -> Result:
    """Evaluate, write the results, then what decorates them, and show the table."""
    tasks, source, program = eval_tasks(settings, split), sources["evaluate"], trained.program
    guide, features = program.guide, program.guide.form.features
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
    warnings = [*trained.warnings, *(zero.warnings if zero is not None else ())]
    if zero is not None:
        metric = "both" if settings.joint else "novel"
        difference = mean_interval(getattr(averaged, metric) - getattr(zero.drawn, metric))
        for warning in against_zero(difference, last, settings):
            reporter.warn(warning)
            warnings.append(warning)
    scores = {"posterior": averaged, "mean": iterates[-1]}
    if second is not None:
        scores[f"posterior {settings.second_balance}"] = second
    scores |= {f"posterior novel share {strength:g}": found for strength, found in shares.items()}
    if zero is not None:
        scores["posterior K=0"] = zero.drawn
    write_tasks(settings.out / "tasks.csv", scores)
    unsaid = ("data", "features", "data_root", "compare")
    result = Result.make(
        averaged,
        {name: value for name, value in config_of(settings).items() if name not in unsaid},
        ground,
        settings,
        any_task_learner=any_task_learner,
        split=split,
        at_the_mean=Scores.of(iterates[-1]),
        iterates=tuple(metrics_of(s) for s in iterates),
        comparison=zero and zero.record,
        second=None if second is None else Second.of(second, query_balance=settings.second_balance),
        novel_share_scores=tuple(Shared.of(found, strength=strength) for strength, found in shares.items()),
        tasks=tasks,
        selected_on=None if settings.learner is not None else selected_on(ground.bank),
        steps=last,
        warnings=tuple(warnings),
        course=trained.course,
        oracle=guide.oracle,
        elbo=bound
        and settings.weights().bound(bound.log_likelihood, bound.kl, bound.base_kl, (settings.ways, features)),
        elbo_parts=bound,
        scales=_scales(program, source),
        pretrain_log=tuple(ground.network.log) if ground.network else (),
        train_log=tuple(_epoch_of(r) for r in trained.log),
        gradient_cosine=tuple(
            Cosines(r.iteration, tuple(r.extra["gradient_cosine"]))
            for r in trained.log
            if "gradient_cosine" in r.extra
        ),
        **provenance(source.novel.device, reporter.seconds, "predict", tasks),
    )
    if settings.learner is None:
        write_learner(settings.out, learner_of(settings, ground, split, program, result))
    done, decorations = settings.out / "result.json", Decorations(reporter)
    write_json(done, result.to_json())
    if settings.posterior_tasks and isinstance(guide, Guide):
        subject = Subject(settings, ground.bank.fingerprint, split, source, guide)
        with (
            decorations.trying(POSTERIOR),
            reporter.stage("posterior", f"{POSTERIOR} of {settings.posterior_tasks} tasks") as go,
        ):
            write_posterior(settings.out / POSTERIOR, subject, settings.posterior_tasks, settings.draws, go)
    with decorations.trying("the pictures"), reporter.stage("figures", "figures"):
        draw_pictures(settings, ground.images, result, source, guide, split, decorations)
    decorations.note(done, result.to_json())
    result = replace(result, decoration_warnings=tuple(decorations.warnings))
    show(result, settings.out, reporter)
    return result


def _sharing(learner: Guide | Baseline, source: TaskSource, strength: float, tasks: int, draws: int) -> TaskScores:
    """Of predictions that expect the tasks' share of novel queries."""
    shape = source.sampler.shape
    novel = shape.ways * shape.queries
    share = novel / (novel + shape.base_queries)
    return evaluate(NovelShareLearner(learner, share, strength), source, tasks, draws)[0]


def _epoch_of(record: EpochRecord) -> dict[str, float]:
    """A line of result.json's log of the training."""
    said = {name: value for name, value in asdict(record).items() if name != "extra"}
    return said | {"log_likelihood": record.extra[LIKELIHOOD][0]}


def _bound(learner: Guide | Baseline, source: TaskSource, tasks: int, draws: int) -> ElboParts | None:
    """The bound's terms on the first of the tasks, of a guide."""
    return evidence_bound(learner, source, min(tasks, BOUND_TASKS), draws) if isinstance(learner, Guide) else None


@torch.no_grad()
def _scales(program: Program, source: TaskSource) -> Scales | None:
    """What was learned, on the first tasks."""
    if not isinstance(program.guide, Guide) or program.likelihood is None or program.prior is None:
        return None
    evidence = program.guide.sees(source.episodes(torch.arange(50)))
    theta, ids = program.guide.iterates(evidence)[-1], evidence.joint_base_ids
    log_step = getattr(program.guide, "log_step_size", None)
    return Scales(
        step_size=() if log_step is None else tuple(round(float(s), 4) for s in log_step.exp()),
        predictor=round(float(program.likelihood.scale), 3),
        q=round(float(theta.log_scale.exp().mean()), 5),
        q_norm=round(float(theta.loc.norm(dim=-1).mean()), 4),
        prior=round(float(program.prior.scales(evidence.base_ids).mean()), 5),
        base=None if ids is None else round(float(program.prior.base_posterior(ids).variance.sqrt().mean()), 5),
    )


def show(result: Result, out: Path, reporter: Reporter) -> None:
    """The small table and where everything is."""
    reporter.show(_table(result))
    named = ("result.json", "tasks.csv", "config.json", LEARNER, POSTERIOR)
    files = [name for name in named if (out / name).is_file()] + sorted(p.name for p in out.glob("*.png"))
    reporter.say(f"{out}/: {', '.join(files)}")


def _table(result: Result) -> Table:
    table = Table(title=f"{result.ways}-way {result.shots}-shot, {result.tasks} tasks of {result.split}")
    table.add_column("accuracy, % ± 95% interval")
    for name in result.metrics:
        table.add_column(name, justify="right")
    if result.elbo_parts:
        table.add_column("KL, nats a task", justify="right")
    rows: dict[str, Result | Beside] = {f"K = {result.steps}": result}
    if result.comparison:
        stage1 = ", features of stage 1" * bool(result.options.get("tune_features"))
        rows = {f"K = 0{stage1}": result.comparison, **rows}
    for title, row in rows.items():
        cells = [row.metrics[name] for name in result.metrics]
        kl = [f"{row.elbo_parts.kl:,.1f}"] if row.elbo_parts else []
        table.add_row(title, *(cell.words() for cell in cells), *kl)
    return table
