"""Few-shot regression: sinusoids from a few labeled points, by the same model, guides and SVI."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from pyro_sib.data.worlds.sinusoids import INPUTS
from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.config import claim_folder, config_of
from pyro_sib.experiments.job.records import of_this_version, read_object
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.sinusoids.figure import CurveBelief, regression_figure
from pyro_sib.experiments.sinusoids.program import (
    Ground,
    RegressionProgram,
    build_program,
    evaluate_exact,
    evaluate_iterates,
    fit_by_evidence,
    iterates,
    prepare,
    selection,
)
from pyro_sib.experiments.sinusoids.settings import RegressionJob, RegressionSettings
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, write_json
from pyro_sib.inference.training import EpochRecord, Trainer
from pyro_sib.models import ExactPosterior
from pyro_sib.scores.regression import RegressionScores
from pyro_sib.tensor_files import digest
from pyro_sib.torch_state import plain_torch

DRAWN_TASKS, DRAWN_CURVES = 4, 6
DRAWING_SEED = 0


@plain_torch()
def run(settings: RegressionSettings, reporter: Reporter | None = None) -> dict[str, Any]:
    """Do the whole job, or what is left of it; returns the content of result.json.

    Raises:
        InputError: what the user can mend.
    """
    settings, reporter = settings.resolved(), reporter or Reporter()
    claim_folder(settings.out, settings)
    done = settings.out / "result.json"
    if done.exists():
        reporter.say(f"{done} is complete; shown again")
        result = read_object(done)
    else:
        check_writable(settings.out, "--out")
        result, draw = _compute(settings, settings.out, reporter)
        write_json(done, result)
        decorations = Decorations(reporter)
        with decorations.trying("regression.png"), reporter.stage("figure", "figure"):
            draw(settings.out / "regression.png")
        decorations.note(done, result)
    with of_this_version(done):
        _show(result, settings.out, reporter)
    return result


def _compute(
    settings: RegressionJob, out: Path, reporter: Reporter
) -> tuple[dict[str, Any], Callable[[Path], None]]:
    """The content of result.json, and what draws the first guide's tasks to a path."""
    with reporter.stage("features", "gains of the features"):
        ground = prepare(settings.shape(), settings.frequencies, settings.seed, settings.gains)
    with reporter.stage("evidence", "exact empirical Bayes"):
        exact = fit_by_evidence(settings.prior, ground)
    source, tasks = ground.sources["evaluate"], settings.eval_tasks
    guides: dict[str, Any] = {}
    programs: list[RegressionProgram] = []
    for name in settings.guide:
        program, log = _train(settings, name, ground, out, reporter)
        guides[name] = {**_evaluated(program, ground, tasks), "train_log": [asdict(r) for r in log]}
        programs.append(program)
    result = {
        **config_of(settings),
        "tasks": tasks,
        "guides": guides,
        "exact": {
            "metrics": _metrics(evaluate_exact(exact, source, tasks)),
            "sigma": float(exact.likelihood.sigma),
        },
        "commit": commit(),
        "versions": versions(),
        "seconds": reporter.seconds,
    }
    return result, lambda path: _draw(settings, programs[0], exact, ground, path)


def _train(
    settings: RegressionJob, name: str, ground: Ground, out: Path, reporter: Reporter
) -> tuple[RegressionProgram, list[EpochRecord]]:
    """SVI with the named guide; the program then holds the best epoch's parameters."""
    program = build_program(
        name, settings.guide_settings(), settings.weights(), settings.prior, ground, settings.seed
    )
    # What the checkpoint's own settings leave out: tasks, features, and the choices inside the program.
    where = ("iterations", "guide", "eval_tasks")
    identity = digest({k: v for k, v in config_of(settings).items() if k not in where}, ground.base_weights)
    trainer = Trainer(
        program.model,
        program.guide,
        program.modules(),
        settings.train_settings(),
        out / f"{name}.safetensors",
        identity,
    )
    title = f"SVI, {name}, {settings.iterations} iterations"
    with renamed(kl="kl_weight", checkpoint="out"), reporter.stage(f"train {name}", title) as advance:
        trainer.run(
            lambda iteration: ground.sources["train"].batch(iteration, settings.batch_size),
            selection(program, ground.sources["select"], settings.select_tasks),
            advance,
        )
    return program, trainer.log


@torch.no_grad()
def _evaluated(program: RegressionProgram, ground: Ground, tasks: int) -> dict[str, Any]:
    """Scores of every iterate, and of the exact posterior under the p_psi and sigma of this program."""
    source = ground.sources["evaluate"]
    exact = evaluate_exact(ExactPosterior(program.prior, program.likelihood), source, tasks)
    log_step = getattr(program.guide, "log_step_size", None)
    return {
        "oracle": program.guide.oracle,
        "iterates": [_metrics(s) for s in evaluate_iterates(program, source, tasks)],
        "exact_under_this_prior": _metrics(exact),
        "sigma": float(program.likelihood.sigma),
        "step_size": [] if log_step is None else log_step.exp().tolist(),
    }


def _metrics(scores: RegressionScores) -> dict[str, dict[str, float]]:
    return {name: {"mean": round(m.mean, 5), "ci95": round(m.ci95, 5)} for name, m in scores.metrics().items()}


@torch.no_grad()
def _draw(
    settings: RegressionSettings, program: RegressionProgram, exact: ExactPosterior, ground: Ground, path: Path
) -> None:
    """The first held-out tasks before and after the steps of the first guide."""
    source, indices = ground.sources["evaluate"], torch.arange(DRAWN_TASKS)
    grid = torch.linspace(*INPUTS, 201)
    x = source.features(grid[None, :, None]).expand(DRAWN_TASKS, -1, -1)
    episode = source.episodes(indices)
    generator = torch.Generator().manual_seed(DRAWING_SEED)
    thetas = iterates(program, program.guide.sees(episode))
    beliefs = {}
    for row, theta in {"before the steps": thetas[0], f"after K = {len(thetas) - 1}": thetas[-1]}.items():
        y = program.likelihood.predictive(theta, x)
        epsilon = torch.randn(DRAWN_CURVES, *theta.loc.shape, generator=generator)
        curves = program.likelihood.logits(theta.loc + theta.log_scale.exp() * epsilon, x).squeeze(-1)
        beliefs[row] = CurveBelief(y.mean.numpy(), y.stddev.numpy(), curves.numpy())
    posterior = exact.posterior(episode.evidence.support_x, episode.evidence.support_y)
    y = exact.predictive(posterior, x)
    epsilon = torch.randn(DRAWN_CURVES, *posterior.mean.shape, generator=generator, dtype=torch.float64)
    w = posterior.mean + (posterior.scale_tril @ epsilon[..., None]).squeeze(-1)
    curves = (x.double() @ w[..., None]).squeeze(-1)
    beliefs["exact empirical Bayes"] = CurveBelief(y.mean.numpy(), y.stddev.numpy(), curves.numpy())
    support_x, support_y = source.inputs(indices)[0].numpy(), episode.evidence.support_y.numpy()
    truth = source.curve(indices, grid.expand(DRAWN_TASKS, -1)).numpy()
    title = f"Sinusoids from {settings.shots} labeled points: {settings.guide[0]}, lambda {settings.initializer}"
    save_figure(regression_figure(grid.numpy(), truth, (support_x, support_y), beliefs, title), path)


def _show(result: dict[str, Any], out: Path, reporter: Reporter) -> None:
    """The small table and where everything is."""
    table = Table(title=f"sinusoids, {result['shots']} labeled points, {result['tasks']} held-out tasks, ± 95%")
    for column in (
        "guide",
        "MSE before",
        "MSE after",
        "log p(y), nats",
        "in 95% interval",
        "MSE, exact, its p",
    ):
        table.add_column(column, justify="left" if column == "guide" else "right")
    for name, row in result["guides"].items():
        first, last = row["iterates"][0], row["iterates"][-1]
        label = f"{name} (sees labels)" if row["oracle"] else name
        table.add_row(label, _cell(first, "mse"), *_after(last), _cell(row["exact_under_this_prior"], "mse"))
    table.add_row("exact empirical Bayes", "", *_after(result["exact"]["metrics"]), "")
    reporter.show(table)
    reporter.say(f"everything is in {out}/")


def _after(metrics: dict[str, Any]) -> tuple[str, str, str]:
    return _cell(metrics, "mse"), _cell(metrics, "log_density"), f"{metrics['coverage']['mean']:.1f}%"


def _cell(metrics: dict[str, Any], name: str) -> str:
    return f"{metrics[name]['mean']:.3f} ± {metrics[name]['ci95']:.3f}"
