"""One task's gold standard: NUTS under each target and condition, and the guide held to it."""

import copy
import math
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.counter_rng import make_key, normal
from pyro_sib.experiments.job.restore import Restored
from pyro_sib.experiments.posterior.arviz_versions import convergence
from pyro_sib.experiments.sampling.gold_settings import GoldSettings, power_of
from pyro_sib.inference import Guide
from pyro_sib.inference.divergence import kl_to_prior
from pyro_sib.inference.exact.bridge import bridge
from pyro_sib.inference.exact.coordinates import Coordinates, fit_coordinates
from pyro_sib.inference.exact.marginal import span
from pyro_sib.inference.exact.nuts import Chains, OnDraw, sample
from pyro_sib.inference.exact.task_posterior import TaskPosterior, given_support
from pyro_sib.inference.guide import as_distribution
from pyro_sib.models import CosineCategorical, LinearCategorical, Prior
from pyro_sib.scores.metrics import score
from pyro_sib.types import Episode, GaussianParameters

CONDITIONS = ("support", "queries")
"""Whose labels are observed: the labeled examples', or as an oracle the queries'."""
AGREE = 1.0
"""Nats within which the chains' estimates of the evidence must be to be reported."""


@dataclass(frozen=True)
class GoldProgram:
    """The run's parts in float64, constant.

    Attributes:
        guide: as it was trained, in evaluation mode.
        prior: p_psi at its learned psi.
        likelihood: p_f.
    """

    guide: Guide
    prior: Prior
    likelihood: CosineCategorical | LinearCategorical

    @staticmethod
    def of(restored: Restored) -> "GoldProgram":
        """Copies of a restored run's parts, on the CPU."""
        program = restored.program
        assert isinstance(program.guide, Guide)
        assert program.prior is not None
        assert program.likelihood is not None
        prior, likelihood = copy.deepcopy(program.prior), copy.deepcopy(program.likelihood)
        for part in (prior, likelihood):
            part.cpu().double().requires_grad_(False)
        return GoldProgram(program.guide, prior, likelihood)


@torch.no_grad()
def gold_task(
    settings: GoldSettings, restored: Restored, program: GoldProgram, task: int, on_draw: OnDraw
) -> dict[str, Any]:
    """Everything about one task, JSON-able: the guide's scores, and a part for each target and condition."""
    trained = restored.sources["evaluate"].episodes(torch.tensor([task]))
    guide = program.guide
    theta = GaussianParameters(*(t.cpu().double() for t in guide.iterates(guide.sees(trained))[-1]))
    evidence = trained.evidence
    episode = trained.with_features(evidence.support_x.double(), evidence.query_x.double())
    w, ids = _guide_draws(theta, episode, settings), evidence.joint_base_ids
    w_base = None if ids is None else program.prior.base_locs(ids.cpu())
    whole = TaskPosterior(program.prior, program.likelihood, episode, 1.0, w_base)
    parts, done = {}, 0
    each = settings.chains * (settings.warmup + settings.samples)
    total = each * len(settings.targets) * len(CONDITIONS)
    for target in settings.targets:
        for condition in CONDITIONS:
            seen = given_support(episode) if condition == "support" else episode
            power = power_of(target, restored.settings, seen.query_y.shape[1], whole.shape[1:])
            posterior = TaskPosterior(program.prior, program.likelihood, seen, power, w_base)
            parts[f"{target} {condition}"] = _held_to(
                posterior, whole, theta, w, settings, _after(done, total, on_draw)
            )
            done += each
    return {"task": task, "guide": _scores(whole, w), "parts": parts}


def _after(before: int, total: int, on_draw: OnDraw) -> OnDraw:
    """Progress of all parts from that of one."""
    return lambda done, _: on_draw(before + done, total)


def _guide_draws(theta: GaussianParameters, episode: Episode, settings: GoldSettings) -> Tensor:
    """(draws, 1, N, D) of q, from the task's number and the seed alone."""
    ids = episode.evidence.task_ids
    assert ids is not None
    noise = normal(make_key("gold", settings.seed), ids, 0, settings.draws * theta.loc.numel()).double()
    return theta.loc + theta.log_scale.exp() * noise.view(settings.draws, *theta.loc.shape)


def _held_to(
    posterior: TaskPosterior,
    whole: TaskPosterior,
    theta: GaussianParameters,
    guide_w: Tensor,
    settings: GoldSettings,
    on_draw: OnDraw,
) -> dict[str, Any]:
    """NUTS on one posterior: its own diagnostics, its predictions, and the guide's moments and ELBO beside it.

    `whole` is that given the queries, whose outputs are predicted.
    """
    start = perf_counter()
    coordinates = fit_coordinates(posterior, settings.seed)
    chains = sample(posterior, coordinates, settings.chain_settings(), on_draw)
    w = coordinates.weights(chains.t)
    scores = _scores(whole, w.flatten(0, 1))
    evidence = log_evidence(posterior, coordinates, chains, settings)
    guide_elbo = elbo(posterior, theta, guide_w)
    return {
        "power": posterior.power,
        **scores,
        **diagnostics(posterior, whole.episode, w),
        "divergences": chains.divergences,
        "evaluations": chains.evaluations,
        "step_sizes": [round(s, 4) for s in chains.step_sizes],
        **moments_beside(whole.episode, guide_w, w.flatten(0, 1)),
        "log_likelihood": float(posterior.log_likelihood(w).mean()),
        "guide_log_likelihood": float(posterior.log_likelihood(guide_w).mean()),
        "guide_elbo": guide_elbo,
        "log_evidence": evidence,
        "gap": None if evidence is None else evidence - guide_elbo,
        "seconds": round(perf_counter() - start, 2),
    }


def _scores(whole: TaskPosterior, w: Tensor) -> dict[str, Any]:
    """Of the queries' probabilities averaged over draws w, (S, 1, N, D); in LwoF among all classes."""
    outputs = whole.likelihood.logits(w, whole.episode.evidence.query_x)
    probabilities = whole.all_outputs(outputs).softmax(-1).mean(0)
    found = score(probabilities, whole.episode.query_y, 0 if whole.w_base is None else whole.w_base.shape[1])
    return {
        "accuracy": float((found.novel if found.both is None else found.both)[0]),
        "nll": float(found.nll[0]),
        "brier": float(found.brier[0]),
        "confidence": [round(c, 6) for c in found.confidence[0].tolist()],
        "correct": [int(c) for c in found.correct[0]],
    }


def diagnostics(posterior: TaskPosterior, episode: Episode, w: Tensor) -> dict[str, float | None]:
    """Rank-normalized split R-hat and bulk ESS (Vehtari et al. 2021), the worst and the median.

    Of the queries' logits, the norms |w_n|, and the log density, from draws w, (chains, samples, 1, N, D).
    None where nothing of it moves.
    """
    quantities = torch.cat(
        [
            posterior.likelihood.logits(w, episode.evidence.query_x).flatten(2),
            w.norm(dim=-1).flatten(2),
            posterior.log_density(w),
        ],
        dim=-1,
    )
    # Without what does not move, as a logit that is saturated: it has neither.
    ess, r_hat = (values[np.isfinite(values)] for values in convergence(quantities.numpy()))
    return {
        "r_hat_worst": float(r_hat.max()) if r_hat.size else None,
        "r_hat_median": float(torch.tensor(r_hat).median()) if r_hat.size else None,
        "ess_worst": float(ess.min()) if ess.size else None,
        "ess_median": float(torch.tensor(ess).median()) if ess.size else None,
    }


def moments_beside(episode: Episode, guide: Tensor, nuts: Tensor) -> dict[str, float]:
    """The guide's moments beside NUTS's, from draws (S, 1, N, D) of each, averaged over classes.

    `direction_cosine` is between the mean directions E[w / |w|]; the scale ratios, guide over NUTS, are of root
    mean square standard deviations, in the span of the task's points and across it; the norms are E|w|.
    """
    mean_directions = [unit(unit(w[:, 0]).mean(0)) for w in (guide, nuts)]
    basis = span(unit(torch.cat([episode.evidence.support_x[0], episode.evidence.query_x[0]]))).to(guide)
    inside, across = [], []
    for w in (guide[:, 0], nuts[:, 0]):
        total, along = w.var(0).sum(-1).mean(), (w @ basis).var(0).sum(-1).mean()
        inside.append(along)
        across.append(total - along)
    return {
        "direction_cosine": float((mean_directions[0] * mean_directions[1]).sum(-1).mean()),
        "scale_in_span": float((inside[0] / inside[1]).sqrt()),
        "scale_across_span": float((across[0] / across[1]).sqrt()) if basis.shape[1] < basis.shape[0] else math.nan,
        "guide_norm": float(guide.norm(dim=-1).mean()),
        "nuts_norm": float(nuts.norm(dim=-1).mean()),
    }


def elbo(posterior: TaskPosterior, theta: GaussianParameters, w: Tensor) -> float:
    """Power E_q log p(y | x, w) - KL(q || p_psi) in nats, the first term from draws w of q.

    So is the KL where it has no closed form or, as under a mixture, one that is but a bound.
    """
    evidence = posterior.episode.evidence
    if posterior.prior.quadratic:
        kl = kl_to_prior(posterior.prior, evidence, theta).sum()
    else:
        q, p = as_distribution(theta), posterior.prior.distribution(evidence.base_ids)
        kl = (-q.entropy() - p.log_prob(w).mean(0)).sum()
    return float(posterior.power * posterior.log_likelihood(w).mean() - kl)


def log_evidence(
    posterior: TaskPosterior, coordinates: Coordinates, chains: Chains, settings: GoldSettings
) -> float | None:
    """The chains' mean estimate by bridge sampling from the standard normal of the coordinates.

    None where they are more than a nat apart: the bridge is then too long. This less q's ELBO is
    KL(q || posterior).
    """
    generator = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn(settings.draws, *coordinates.loc.shape, generator=generator, dtype=torch.float64)

    def log_ratio(t: Tensor) -> Tensor:
        standard = -0.5 * t.square().sum(-1) - 0.5 * t.shape[-1] * math.log(2 * math.pi)
        return (posterior.log_density(coordinates.weights(t)) + coordinates.log_det - standard).squeeze(-1)

    estimates = [bridge(log_ratio(t), log_ratio(noise)) for t in chains.t]
    return sum(estimates) / len(estimates) if max(estimates) - min(estimates) < AGREE else None
