"""What a posterior file of LwoF says of the base classes' weights, and of base and novel queries side by side."""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.experiments.drawing.style import GREY, PALETTE, headline
from pyro_sib.experiments.job.result import Scores
from pyro_sib.experiments.posterior.arviz_versions import Posterior
from pyro_sib.experiments.posterior.joint_tables import joint_tables
from pyro_sib.experiments.posterior.predictions import stored, weights_of
from pyro_sib.experiments.terminal.tables import markdown_table
from pyro_sib.scores.metrics import TaskScores, score

PICTURE = "base_and_novel"


def joint_scores(posterior: Posterior) -> TaskScores | None:
    """Of the predictions in the file; None where they are of the standard setting."""
    if "base_loc" not in posterior.groups["constant_data"]:
        return None
    base = len(stored(posterior, "base_loc"))
    return score(stored(posterior, "mean_probability"), stored(posterior, "y", None, "observed_data").long(), base)


def base_weights(posterior: Posterior) -> dict[str, Any]:
    """Each base class's posterior q(w_c): width, norm, and how far its draws turn from its mean."""
    loc, scale = (stored(posterior, name) for name in ("base_loc", "base_scale"))
    draws = weights_of(posterior, 0)[1]
    assert draws is not None
    cosine = (unit(draws) * unit(loc)).sum(-1)
    names = [str(name) for name in posterior.values("constant_data", "base_class_name")]
    return {
        "classes": names,
        "scale": _numbers(scale.mean(-1)),
        "norm": _numbers(loc.norm(dim=-1)),
        "draw_with_mean": _numbers(cosine.mean(0)),
        "draw_with_mean_sd": _numbers(cosine.std(0)),
    }


def joint_part(posterior: Posterior) -> dict[str, Any] | None:
    """For diagnostics.json; None in the standard setting."""
    scores = joint_scores(posterior)
    if scores is None:
        return None
    return {**asdict(Scores.of(scores)), "base_weights": base_weights(posterior)}


def joint_markdown(part: dict[str, Any]) -> str:
    """The report's section."""
    weights = part["base_weights"]
    columns = ("scale", "norm", "draw_with_mean")
    order = np.argsort(weights["scale"])
    chosen = {"tightest": order[0], "median": order[len(order) // 2], "widest": order[-1]}
    rows = [
        [f"{which}, {weights['classes'][c]}", *(f"{weights[name][c]:.4f}" for name in columns)]
        for which, c in chosen.items()
    ]
    header = (
        "q(w_base) of a class",
        "scale, mean over features",
        "norm of the mean",
        "cosine of draws with the mean",
    )
    tables = "\n\n".join(joint_tables({"average over the draws": part}))
    return f"## Base and novel\n\n{tables}\n\n{markdown_table(header, rows)}\n\n![base and novel]({PICTURE}.png)"


def joint_figure(scores: TaskScores, weights: dict[str, Any], title: str) -> Figure:
    """Probability of being novel by kind of query, where the queries go, and the base classes' weights."""
    joint = scores.joint
    assert joint is not None
    figure = Figure(figsize=(11.4, 3.8), layout="constrained")
    headline(figure, title)
    first, second, third = figure.subplots(1, 3)
    for kind, name, color in ((joint.is_novel, "novel", PALETTE[0]), (~joint.is_novel, "base", PALETTE[3])):
        first.hist(
            joint.novelty[kind].numpy(),
            bins=np.linspace(0, 1, 26),
            density=True,
            alpha=0.6,
            color=color,
            label=name,
        )
    first.set_xlabel(f"probability of the novel classes together\n(AUROC {joint.base_or_novel():.1f}%)")
    first.set_ylabel("density of queries")
    first.legend(fontsize=8)
    errors = joint.errors()
    second.barh(range(len(errors)), list(errors.values()), color=[GREY, *[PALETTE[3]] * (len(errors) - 1)])
    second.set_yticks(range(len(errors)), list(errors), fontsize=8)
    second.invert_yaxis()
    second.set_xlabel("of all queries (%)")
    third.errorbar(
        weights["scale"], weights["draw_with_mean"], weights["draw_with_mean_sd"], fmt="o", ms=3.5, color=PALETTE[0]
    )
    third.set_xlabel("scale of q(w_base), a point for each class")
    third.locator_params(axis="x", nbins=4)  # scales that are nearly equal have long numbers
    third.set_ylabel("cosine of draws with the mean")
    return figure


def _numbers(values: Tensor) -> list[float]:
    return [round(float(v), 6) for v in values.to(torch.float64)]
