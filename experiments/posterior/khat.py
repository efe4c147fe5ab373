"""K-hat of a guide for each task, target and space, and what importance weights change in the predictions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.distributions import LowRankMultivariateNormal, TorchDistribution
from torch import Tensor
from torch.distributions import Independent, Normal

from pyro_sib.cosine import unit
from pyro_sib.experiments.posterior.arviz_versions import Array, Posterior, psis
from pyro_sib.experiments.posterior.predictions import cosine_probabilities, probabilities_of, stored, weights_of
from pyro_sib.inference.exact.importance import Target, defensive_log_ratio, log_weights, reweighted, span_draws
from pyro_sib.inference.exact.marginal import Components, span
from pyro_sib.models.mixture import GaussianMixture
from pyro_sib.types import GaussianParameters

INFINITE = float(torch.finfo(torch.float32).max)
"""What an infinite k-hat is in JSON, which has no such number."""
THRESHOLD = 0.7
"""Above it, importance sampling from q is not to be trusted (Yao et al. 2018; Vehtari et al. 2024)."""
SPACE_NAMES = {
    "w": "all of w",
    "features": "span of all features",
    "evidence": "span of the labels' features",
    "with prior": "half from the prior",
}
"""Where draws are weighted: all of w; the span of all features of the task; the span of those whose labels the
target conditions on; all of w with as many draws of the prior beside q's, weighted by their common mixture
(Hesterberg 1995): then no weight exceeds twice its likelihood, and k-hat says whether prior and q together reach
the target."""
SPACES = tuple(SPACE_NAMES)


@dataclass(frozen=True)
class KHat:
    """One task, one target, one space.

    Attributes:
        task: its number.
        target: by name.
        space: one of SPACES.
        k: k-hat; infinite where no tail fits, NaN where all weights are equal and there is none to fit.
        ess: effective share of the draws under the smoothed weights, in percent.
        accuracy: percent, of the weighted predictions.
        nll: nats, of them.
    """

    task: int
    target: str
    space: str
    k: float
    ess: float
    accuracy: float
    nll: float


def components_of(p: TorchDistribution, task: int = 0) -> Components | None:
    """A prior as a mixture of Gaussians, or None where it is none (a flow)."""
    if isinstance(p, GaussianMixture):
        known = p.known[min(task, len(p.known) - 1), 0]
        return Components(p.locs[known].double().cpu(), p.scales[known].double().square().cpu())
    if isinstance(p, LowRankMultivariateNormal):
        factor = p.cov_factor.double().cpu()
        return Components(p.loc.double().cpu()[None], p.cov_diag.double().cpu()[None], factor)
    if isinstance(p, Independent) and isinstance(p.base_dist, Normal):
        return Components(p.mean.double().cpu()[None], p.variance.double().cpu()[None])
    return None


def task_k_hats(
    posterior: Posterior, task: int, targets: list[Target], prior: TorchDistribution
) -> tuple[list[KHat], dict[str, float]]:
    """All of one task, and the accuracy and NLL of its unweighted predictions.

    Args:
        posterior: the file.
        task: its number.
        targets: densities.
        prior: p_psi; unless it is made of Gaussians, the spans are left out.
    """
    truth = stored(posterior, "y", task, "observed_data").long()
    plain = probabilities_of(posterior, task)
    found = []
    for target in targets:
        likelihood = _stored_likelihood(posterior, task, target)[None]
        log_p, log_q = (stored(posterior, n, task, "sample_stats").flatten() for n in ("log_p", "log_q"))
        found.append(_k_hat(task, target, "w", likelihood, log_p - log_q, [plain], truth))
    if (components := components_of(prior)) is not None:
        for space, on in (("features", None), ("evidence", "support"), ("evidence", "queries")):
            wanted = [t for t in targets if on in (None, t.on)]
            found += _on_span(posterior, task, wanted, components, space, on, truth)
    found += _defensive(posterior, task, targets, prior, plain, truth)
    return found, _scores(plain.double().mean(0), truth)


def _stored_likelihood(posterior: Posterior, task: int, target: Target) -> Tensor:
    """Log p of the target's labels under each stored draw, (S,)."""
    if target.oracle:
        return stored(posterior, "y", task, "log_likelihood").double().sum(-1).flatten()
    return stored(posterior, "log_support", task, "sample_stats").double().flatten()


def _on_span(
    posterior: Posterior,
    task: int,
    targets: list[Target],
    prior: Components,
    space: str,
    on: str | None,
    truth: Tensor,
) -> list[KHat]:
    support, queries = (unit(stored(posterior, name, task)) for name in ("support_x", "query_x"))
    points = {None: torch.cat([support, queries]), "support": support, "queries": queries}[on]
    loc, scale = (stored(posterior, name, task) for name in ("q_loc", "q_scale"))
    w, w_base = weights_of(posterior, task)
    number = torch.from_numpy(posterior.groups["posterior"]["task"].values[task : task + 1].copy())
    drawn = span_draws(w, GaussianParameters(loc, scale.log()), prior, span(points), number)
    predicted, labeled = (
        [cosine_probabilities(posterior, task, one.float(), w_base, name) for one in drawn.w]
        for name in ("query_x", "support_x")
    )
    base = 0 if w_base is None else w_base.shape[-2]
    labels = {"queries": truth, "support": stored(posterior, "support_y", task) + base}
    found = []
    for target in targets:
        parts = predicted if target.oracle else labeled
        likelihood = torch.stack([_log_likelihood(part, labels[target.on]) for part in parts])
        found.append(_k_hat(task, target, space, likelihood, drawn.log_ratio, predicted, truth))
    return found


def _defensive(
    posterior: Posterior, task: int, targets: list[Target], prior: TorchDistribution, plain: Tensor, truth: Tensor
) -> list[KHat]:
    """With the draws of the prior beside q's."""
    w = stored(posterior, "w", None, "prior").flatten(0, 1)
    w_base = weights_of(posterior, task)[1]
    loc, scale = (stored(posterior, name, task) for name in ("q_loc", "q_scale"))
    log_p, log_q = (stored(posterior, n, task, "sample_stats").double().flatten() for n in ("log_p", "log_q"))
    log_p = torch.cat([log_p, prior.log_prob(w).sum(-1).double()])
    log_q = torch.cat([log_q, Normal(loc, scale).log_prob(w).double().sum((-1, -2))])
    log_ratio = defensive_log_ratio(log_p, log_q)
    queries, labeled = (cosine_probabilities(posterior, task, w, w_base, name) for name in ("query_x", "support_x"))
    base = 0 if w_base is None else w_base.shape[-2]
    new = {
        "queries": _log_likelihood(queries, truth),
        "support": _log_likelihood(labeled, stored(posterior, "support_y", task) + base),
    }
    found = []
    for target in targets:
        likelihood = torch.cat([_stored_likelihood(posterior, task, target), new[target.on]])[None]
        found.append(
            _k_hat(task, target, "with prior", likelihood, log_ratio, [torch.cat([plain, queries])], truth)
        )
    return found


def _log_likelihood(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(S, P, C), (P,) -> (S,)."""
    index = labels.expand(len(probabilities), -1)[..., None]
    tiny = torch.finfo(probabilities.dtype).tiny
    return probabilities.gather(-1, index).squeeze(-1).clamp_min(tiny).double().log().sum(-1)


def _k_hat(
    task: int,
    target: Target,
    space: str,
    likelihood: Tensor,
    log_ratio: Tensor,
    predicted: list[Tensor],
    truth: Tensor,
) -> KHat:
    raw, shares = log_weights(likelihood, log_ratio, target.power)
    smoothed, k = psis(raw.numpy())
    weights = torch.from_numpy(smoothed).exp()
    ess = 100 / (len(weights) * float(weights.square().sum()))
    scores = _scores(reweighted(predicted.__getitem__, weights, shares), truth)
    return KHat(task, target.name, space, float(k), ess, scores["accuracy"], scores["nll"])


def _scores(probabilities: Tensor, truth: Tensor) -> dict[str, float]:
    """Accuracy in percent and NLL in nats of all queries, (Q, C)."""
    right = probabilities.gather(-1, truth[:, None]).clamp_min(torch.finfo(torch.float64).tiny)
    hits = (probabilities.argmax(-1) == truth).double()
    return {"accuracy": 100 * float(hits.mean()), "nll": -float(right.log().mean())}


def shown(k: float | None, form: str = ".2f") -> str:
    """A k-hat in tables: inf where no tail fits, - where all weights are equal."""
    if k is None or k != k:
        return "-"
    return "inf" if k >= INFINITE else f"{k:{form}}"


def largest_k(k: Array) -> float | None:
    """The largest of k-hats, `INFINITE` for an infinite one; None where all weights are equal."""
    known = k[~np.isnan(k)]
    return min(float(known.max()), INFINITE) if known.size else None


def summary(found: list[KHat], unweighted: list[dict[str, float]]) -> list[dict[str, Any]]:
    """One row for each target and space: quantiles of k-hat over tasks, and the predictions' scores.

    Quantiles are None where the weights of every task are equal.
    """
    before = {name: sum(s[name] for s in unweighted) / len(unweighted) for name in ("accuracy", "nll")}
    rows = []
    for target, space in dict.fromkeys((f.target, f.space) for f in found):
        here = [f for f in found if (f.target, f.space) == (target, space)]
        k = torch.tensor([f.k for f in here], dtype=torch.float64)
        # Nearest ranks, since some may be infinite; those stand as the largest finite float in JSON.
        ranks = k[~k.isnan()].clamp_max(INFINITE).sort().values
        low, middle, high = (
            float(ranks[round(q * (len(ranks) - 1))]) if len(ranks) else None for q in (0.1, 0.5, 0.9)
        )
        after = {f"{n}_weighted": sum(getattr(f, n) for f in here) / len(here) for n in ("accuracy", "nll")}
        rows.append(
            {
                "target": target,
                "space": space,
                "tasks": len(here),
                "k_10%": low,
                "k_median": middle,
                "k_90%": high,
                "equal_weights_percent": 100 * float(k.isnan().double().mean()),
                "above_threshold_percent": 100 * float((k > THRESHOLD).double().mean()),
                "ess_percent": sum(f.ess for f in here) / len(here),
                **before,
                **after,
            }
        )
    return rows
