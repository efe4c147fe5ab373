"""What a posterior file says, as plain arrays: weights, directions, predictive checks, leave-one-out, chains."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.experiments.job.restore import Restored
from pyro_sib.experiments.posterior.arviz_versions import Array, Posterior, convergence, leave_one_out
from pyro_sib.experiments.posterior.predictions import probabilities_of, stored, weights_of
from pyro_sib.inference import Guide


@dataclass(frozen=True)
class ChosenWeights:
    """Draws of the features whose weights the task's evidence moved most.

    Attributes:
        features: (F,) their numbers, the most moved first.
        prior: (S, F).
        posterior: (S, N, F).
        kl: (F,) nats, summed over the classes, of Gaussians with the draws' moments.
    """

    features: Array
    prior: Array
    posterior: Array
    kl: Array


def chosen_weights(posterior: Posterior, task: int, count: int) -> ChosenWeights:
    """The `count` features with the largest KL between the Gaussians that fit posterior and prior draws."""
    prior, w = stored(posterior, "w", None, "prior")[0].double(), weights_of(posterior, task)[0].double()
    mean, variance = prior.mean((0, 1)), prior.flatten(0, 1).var(0)
    ratio = w.var(0) / variance
    kl = 0.5 * (ratio + (w.mean(0) - mean).square() / variance - 1 - ratio.log()).sum(0)
    top = kl.argsort(descending=True)[:count]
    return ChosenWeights(top.numpy(), prior[:, 0, top].numpy(), w[:, :, top].numpy(), kl[top].numpy())


@dataclass(frozen=True)
class Directions:
    """Cosines, for the likelihood sees w through its direction alone.

    Attributes:
        with_mean: (T, S, N) of each draw with q's mean.
        with_truth: (T, S, N) of each draw with the mean feature of the class's queries, NaN where it has none.
        prior_with_truth: (T, S, N) of the prior's draws with it.
        mean_with_truth: (T, N) of q's mean with it.
    """

    with_mean: Array
    with_truth: Array
    prior_with_truth: Array
    mean_with_truth: Array


def class_directions(posterior: Posterior, tasks: int) -> Directions:
    """Of every task."""
    prior = unit(stored(posterior, "w", None, "prior")[0])
    rows = []
    for task in range(tasks):
        w, w_base = weights_of(posterior, task)
        truth = _class_queries(posterior, task, 0 if w_base is None else w_base.shape[-2])
        w, mean = unit(w), unit(stored(posterior, "q_loc", task))
        rows.append([(w * mean).sum(-1), (w * truth).sum(-1), (prior * truth).sum(-1), (mean * truth).sum(-1)])
    return Directions(*(torch.stack(part).numpy() for part in zip(*rows, strict=True)))


def _class_queries(posterior: Posterior, task: int, base: int) -> Tensor:
    """(N, D) unit mean of each class's unit query features; NaN for a class without."""
    x, y = unit(stored(posterior, "query_x", task)), stored(posterior, "y", task, "observed_data").long() - base
    classes = stored(posterior, "q_loc", task).shape[0]
    return torch.stack([unit(x[y == n].mean(0)) for n in range(classes)])


@dataclass(frozen=True)
class PredictiveChecks:
    """Replicated labels y' ~ p(y | x, w) beside the observed ones y, for each draw of w.

    Attributes:
        observed: (T, S) -log p(y | x, w), nats a query.
        replicated: (T, S) -log p(y' | x, w).
        p_value: (T,) share of draws with replicated >= observed: near 0, the labels surprise q more than its own
            draws do.
        counts: (T, S, N) queries of each novel class among y'.
        observed_counts: (T, N).
        p_spread: (T,) share of draws whose fullest novel class is at least as full as the observed one.
    """

    observed: Array
    replicated: Array
    p_value: Array
    counts: Array
    observed_counts: Array
    p_spread: Array


def predictive_checks(posterior: Posterior, tasks: int) -> PredictiveChecks:
    """Posterior predictive checks (Gelman, Meng & Stern 1996) of every task."""
    parts: list[list[Tensor]] = []
    for task in range(tasks):
        log_p = probabilities_of(posterior, task).double().clamp_min(1e-300).log()
        drawn = stored(posterior, "y", task, "posterior_predictive").flatten(0, 1).long()
        truth = stored(posterior, "y", task, "observed_data").long()
        replicated = -log_p.gather(-1, drawn[..., None]).squeeze(-1).mean(-1)
        observed = -stored(posterior, "y", task, "log_likelihood").double().flatten(0, 1).mean(-1)
        classes = stored(posterior, "q_loc", task).shape[0]
        labels = torch.arange(log_p.shape[-1] - classes, log_p.shape[-1])
        counts, seen = (drawn[..., None] == labels).sum(1), (truth[:, None] == labels).sum(0)
        spread = (counts.amax(-1) >= seen.max()).double().mean()
        parts.append([observed, replicated, (replicated >= observed).double().mean(), counts, seen, spread])
    return PredictiveChecks(*(torch.stack(part).numpy() for part in zip(*parts, strict=True)))


@dataclass(frozen=True)
class QueryScores:
    """The queries' log scores, each (T, Q), nats.

    Attributes:
        predictive: log of the draws' mean of p(y | x, w). A guide that sees no query label predicts so out of
            sample already.
        left_out: PSIS-LOO, as if the draws were from a posterior that knows the query's label: where they are not,
            a check of how far one label could move the prediction, not an estimate of its score.
        k: k-hat of leaving it out.
        elpd: sum of `left_out`.
        se: its standard error.
        p: effective number of parameters, sum of predictive - left_out.
    """

    predictive: Array
    left_out: Array
    k: Array
    elpd: float
    se: float
    p: float


def query_scores(posterior: Posterior) -> QueryScores:
    """LOO over the queries of all tasks."""
    loo = leave_one_out(posterior.groups["log_likelihood"])
    draws = torch.from_numpy(posterior.values("log_likelihood", "y")).double().flatten(0, 1)
    predictive = torch.logsumexp(draws, 0) - torch.tensor(float(len(draws))).log()
    return QueryScores(predictive.numpy(), loo.pointwise, loo.k, loo.elpd, loo.se, loo.p)


@torch.no_grad()
def step_table(restored: Restored, tasks: int, batch_size: int = 50) -> list[dict[str, Any]]:
    """How the steps move the mean and scale of q, k = 0..K: averages over tasks and classes."""
    guide, source = restored.program.guide, restored.sources["evaluate"]
    assert isinstance(guide, Guide)
    sums: list[Tensor] = []
    for indices in torch.arange(tasks).split(batch_size):
        episode = source.episodes(indices)
        evidence = guide.sees(episode)
        thetas = guide.iterates(evidence)
        predicted = guide.probabilities(evidence, 0, range(len(thetas)))
        last, rows = thetas[-1].loc, []
        for k, (theta, p) in enumerate(zip(thetas, predicted, strict=True)):
            moved = (theta.loc - thetas[max(k - 1, 0)].loc).norm(dim=-1)
            right = p.gather(-1, episode.query_y[..., None]).clamp_min(torch.finfo(p.dtype).tiny).log()
            cosine, spread = (unit(theta.loc) * unit(last)).sum(-1), theta.log_scale.exp()
            hits = 100 * (p.argmax(-1) == episode.query_y).float()
            values = (moved, theta.loc.norm(dim=-1), cosine, spread, hits, -right)
            rows.append(torch.stack([v.mean() for v in values]))
        sums.append(len(indices) * torch.stack(rows))
    names = ("moved", "norm", "cosine_to_last", "scale", "accuracy_at_mean", "nll_at_mean")
    means = torch.stack(sums).sum(0) / tasks
    return [{"k": k} | {name: float(v) for name, v in zip(names, row, strict=True)} for k, row in enumerate(means)]


def chain_table(posterior: Posterior) -> dict[str, float | None] | None:
    """Worst bulk ESS and R-hat over tasks, of w and of its directions; None of a single chain.

    Each is None where it is undefined for all: of chains that do not move, or that are too short.

    w's direction alone meets the likelihood, so its chains may agree where those of its length do not.
    """
    data = posterior.groups["posterior"]["w"]
    if data.sizes["chain"] < 2:
        return None
    found: dict[str, list[float]] = {}
    for task in range(data.sizes["task"]):
        w = posterior.values("posterior", "w", task=task)
        directions = unit(torch.from_numpy(w.copy())).numpy()
        for name, draws in (("w", w), ("direction", directions)):
            ess, rhat = convergence(draws)
            found.setdefault(f"{name}_least_ess", []).extend(ess[np.isfinite(ess)].tolist())
            found.setdefault(f"{name}_largest_rhat", []).extend(rhat[np.isfinite(rhat)].tolist())
    return {name: (min if "least" in name else max)(values, default=None) for name, values in found.items()}
