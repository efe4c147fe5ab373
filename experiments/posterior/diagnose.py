"""Is a run's posterior to be trusted? Its draws in ArviZ's groups, tables and figures about them."""

from collections.abc import Callable
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from pyro_sib.experiments.diagnose import DiagnoseSettings
from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.device import use_threads
from pyro_sib.experiments.job.restore import Restored, restore
from pyro_sib.experiments.posterior.arviz_versions import Posterior, open_posterior, require
from pyro_sib.experiments.posterior.checks import (
    chain_table,
    chosen_weights,
    class_directions,
    predictive_checks,
    query_scores,
    step_table,
)
from pyro_sib.experiments.posterior.figures import checks_figure, khat_figure, loo_figure, steps_figure
from pyro_sib.experiments.posterior.file import NAME, Subject, exported, parameters_of, write_posterior
from pyro_sib.experiments.posterior.joint import PICTURE, joint_figure, joint_part, joint_scores
from pyro_sib.experiments.posterior.khat import THRESHOLD, KHat, largest_k, shown, summary, task_k_hats
from pyro_sib.experiments.posterior.report import markdown, warnings_of
from pyro_sib.experiments.posterior.weight_figures import (
    direction_figure,
    weights_density,
    weights_forest,
    weights_pair,
)
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, write_json, write_text
from pyro_sib.inference import Guide
from pyro_sib.inference.exact.importance import targets_of
from pyro_sib.torch_state import plain_torch

FEATURES = 4
"""Chosen weights are those of so many features."""


@plain_torch()
def diagnose(settings: DiagnoseSettings, reporter: Reporter | None = None) -> dict[str, Any]:
    """Do it all; returns the content of diagnostics.json.

    Raises:
        InputError: no finished run there, a learner without a density, or too few draws.
    """
    settings.check()
    check_writable(settings.out or settings.run / "diagnostics", "--out")
    reporter = reporter or Reporter()
    use_threads(settings)
    out = settings.out or settings.run / "diagnostics"
    where = (settings.cache_dir, settings.data_root, settings.features, settings.device)
    restored = restore(settings.run, reporter, *where)
    subject = subject_of(restored)
    path = out / NAME
    wanted = {"parameters": parameters_of(subject.guide), "data_fingerprint": subject.fingerprint}
    if exported(path) != wanted | {"tasks": settings.tasks, "draws": settings.draws}:
        with reporter.stage("posterior", f"{settings.draws} draws for each of {settings.tasks} tasks") as advance:
            write_posterior(path, subject, settings.tasks, settings.draws, advance)
    with open_posterior(path) as posterior:
        result, figures = _measure(settings, restored, posterior, reporter)
    result["warnings"] = warnings_of(result)
    write_json(out / "diagnostics.json", result)
    write_text(out / "diagnostics.md", markdown(result))
    for warning in result["warnings"]:
        reporter.warn(warning)
    decorations = Decorations(reporter)
    for name, draw in figures.items():
        with decorations.trying(f"{name}.png"):
            save_figure(draw(), out / f"{name}.png")
    reporter.say(f"{out}/: diagnostics.md, diagnostics.json, {NAME}, {len(list(out.glob('*.png')))} figures")
    return result


def subject_of(restored: Restored) -> Subject:
    """What is exported of a restored run."""
    guide = restored.program.guide
    assert isinstance(guide, Guide), "a baseline has no posterior"
    fingerprint = restored.ground.bank.fingerprint
    return Subject(restored.settings, fingerprint, restored.split, restored.sources["evaluate"], guide)


def _measure(
    settings: DiagnoseSettings, restored: Restored, posterior: Posterior, reporter: Reporter
) -> tuple[dict[str, Any], dict[str, Callable[[], Figure]]]:
    """The content of diagnostics.json, and what draws each figure."""
    run = restored.settings
    what = f"{run.ways}-way {run.shots}-shot, {run.guide}, {restored.split}"
    what += f", queries {run.query_balance}" if run.query_balance != "balanced" else ""
    names = [one_line(name) for name in posterior.values("constant_data", "class_name", task=settings.task)]
    with reporter.stage("k-hat", f"k-hat of {settings.tasks} tasks") as advance:
        found, unweighted = _k_hats(settings, restored, posterior, advance)
    with reporter.stage("diagnostics", "weights, predictive checks, leave-one-out, steps"):
        chosen = chosen_weights(posterior, settings.task, FEATURES)
        directions = class_directions(posterior, settings.tasks)
        checks, scores = predictive_checks(posterior, settings.tasks), query_scores(posterior)
        steps = step_table(restored, settings.tasks)
        joint = joint_part(posterior)
        chains = chain_table(posterior)
        if settings.chains is not None:
            with open_posterior(settings.chains) as other:
                require(other, settings.chains, "posterior", "w", ("chain", "draw", "task"))
                chains = chain_table(other)
    title = f"{what}, task {settings.task}: the {len(chosen.features)} features that the evidence moved most"
    figures: dict[str, Callable[[], Figure]] = {
        "weights_forest": lambda: weights_forest(chosen, names, title),
        "weights_density": lambda: weights_density(chosen, names, title),
        "weights_pair": lambda: weights_pair(chosen, names, title),
        "class_directions": lambda: direction_figure(
            directions, settings.task, names, f"directions of the weights: {what}"
        ),
        "predictive_checks": lambda: checks_figure(
            checks, settings.task, names, f"posterior predictive checks: {what}"
        ),
        "k_hat": lambda: khat_figure(found, f"PSIS k-hat, {settings.tasks} tasks, {settings.draws} draws: {what}"),
        "loo": lambda: loo_figure(scores, f"leave-one-out over the queries, {settings.tasks} tasks: {what}"),
        "steps": lambda: steps_figure(steps, f"q after k steps, {settings.tasks} tasks: {what}"),
        **_joint_figures(posterior, joint, f"base and novel queries, {settings.tasks} tasks: {what}"),
    }
    mean = torch.from_numpy(directions.with_truth)
    result = {
        "run": str(settings.run),
        "guide": run.guide,
        "oracle": restored.program.guide.oracle,
        "split": restored.split,
        "kl_weight": run.kl_weight,
        "tasks": settings.tasks,
        "draws": settings.draws,
        "attributes": {name: str(value) for name, value in posterior.attributes.items()},
        "k_hat": {
            "threshold": THRESHOLD,
            "rows": summary(found, unweighted),
            # JSON has no number for what is infinite or undefined.
            "tasks": [asdict(f) | {"k": f.k if isfinite(f.k) else None, "k_shown": shown(f.k)} for f in found],
        },
        "loo": {
            "queries": int(scores.k.size),
            "predictive": float(scores.predictive.mean()),
            "left_out": float(scores.left_out.mean()),
            "elpd": scores.elpd,
            "se": scores.se,
            "p": scores.p,
            "above_threshold_percent": 100 * float((scores.k > THRESHOLD).mean()),
            "largest_k": largest_k(scores.k),
            "equal_weights_percent": 100 * float(np.isnan(scores.k).mean()),
        },
        "predictive_checks": {
            "observed_surprise": float(checks.observed.mean()),
            "replicated_surprise": float(checks.replicated.mean()),
            "p_values": [float(p) for p in checks.p_value],
            "p_below_5_percent": 100 * float((checks.p_value < 0.05).mean()),
            "fullest_class_p_values": [float(p) for p in checks.p_spread],
        },
        "directions": {
            "draw_with_mean": float(directions.with_mean.mean()),
            "draw_with_queries": float(mean.nanmean()),
            "prior_with_queries": float(torch.from_numpy(directions.prior_with_truth).nanmean()),
            "mean_with_queries": float(torch.from_numpy(directions.mean_with_truth).nanmean()),
        },
        "weights": {
            "task": settings.task,
            "classes": names,
            "features": chosen.features.tolist(),
            "kl": chosen.kl.tolist(),
            "prior_mean": chosen.prior.mean(0).tolist(),
            "prior_sd": chosen.prior.std(0).tolist(),
            "posterior_mean": chosen.posterior.mean(0).tolist(),
            "posterior_sd": chosen.posterior.std(0).tolist(),
        },
        "base_and_novel": joint,
        "steps": steps,
        "chains": chains,
    }
    return result, figures


def _joint_figures(
    posterior: Posterior, part: dict[str, Any] | None, title: str
) -> dict[str, Callable[[], Figure]]:
    scores = joint_scores(posterior)
    if scores is None or part is None:
        return {}
    return {PICTURE: lambda: joint_figure(scores, part["base_weights"], title)}


@torch.no_grad()
def _k_hats(
    settings: DiagnoseSettings, restored: Restored, posterior: Posterior, advance: Any
) -> tuple[list[KHat], list[dict[str, float]]]:
    guide, first = restored.program.guide, restored.sources["evaluate"].episodes(torch.arange(1)).evidence
    assert isinstance(guide, Guide)
    # The file's arrays are on the CPU, so the prior is brought there.
    prior = restored.program.prior
    assert prior is not None
    ids = None if first.base_ids is None else first.base_ids.cpu()
    p = prior.cpu().distribution(ids)
    targets = targets_of(guide.weights.of(first).per_nat, first.support_y.shape[1], first.queries)
    found, unweighted = [], []
    for task in range(settings.tasks):
        rows, scores = task_k_hats(posterior, task, targets, p)
        found += rows
        unweighted.append(scores)
        advance(task + 1, settings.tasks)
    prior.to(restored.device)
    return found, unweighted
