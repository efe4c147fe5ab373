"""Importance weights in every space against the evidence that simulation from the prior finds."""

import math

import pytest
import torch

from pyro_sib.cosine import unit
from pyro_sib.experiments.posterior.arviz_versions import psis
from pyro_sib.experiments.posterior.khat import components_of
from pyro_sib.inference.exact.importance import defensive_log_ratio, log_weights, reweighted, span_draws, targets_of
from pyro_sib.inference.exact.marginal import span
from pyro_sib.inference.posterior_draws import support_log_likelihood
from pyro_sib.inference.prediction import PosteriorWeights
from pyro_sib.types import GaussianParameters
from tests.worlds import make_world

DRAWS = 3000


def test_the_tempered_targets_are_those_of_the_loss():
    names = {t.name: t for t in targets_of(0.01, 5, 75)}
    assert [t.oracle for t in names.values()] == [False, False, True, True]
    assert names["support"].power == names["queries"].power == 1
    # The mean over n labels plus kl KL(q || p) is kl KL(q || p * prod p(y)^(1 / (kl n))), up to a constant.
    assert names["support, tempered"].power == pytest.approx(1 / (0.01 * 5))
    assert names["queries, tempered"].power == pytest.approx(1 / (0.01 * 75))
    assert [t.name for t in targets_of(0.0, 5, 75)] == ["support", "queries"]


@pytest.fixture(params=["diagonal", "low-rank", "mixture"])
def near_prior(request):
    """A world, its evidence, and a q a little off its prior, from which importance sampling works."""
    world = make_world(request.param)
    if request.param == "mixture":
        with torch.no_grad():
            world.prior.log_scales.fill_(math.log(0.7))
    world.guide.eval()
    episode = world.source.episodes(torch.arange(1))
    evidence = world.guide.sees(episode)
    with torch.no_grad():
        p = world.prior.distribution(evidence.base_ids)
        prior = components_of(p)
        mean = prior.locs.mean(0).float()
        scale = (prior.variances.mean(0) + prior.locs.var(0, unbiased=False)).sqrt().float()
        if prior.factor is not None:
            scale = (scale.square() + prior.factor.float().square().sum(-1)).sqrt()
        towards = 0.2 * scale * unit(evidence.class_means(evidence.support_x))[0]
    theta = GaussianParameters((mean + towards)[None], (1.1 * scale).log().expand(1, 3, -1))
    return world, evidence, p, prior, theta


@torch.no_grad()
def test_all_spaces_find_the_evidence_that_simulation_finds(near_prior):
    world, evidence, p, prior, theta = near_prior
    draws = PosteriorWeights(world.guide.prior, evidence, theta)
    w = torch.stack([draws.draw(i)[0][0] for i in range(DRAWS)])

    def likelihood(weights):
        return support_log_likelihood(world.guide, evidence, weights[..., None, :, :].float(), None)[..., 0]

    q = torch.distributions.Normal(theta.loc[0], theta.log_scale[0].exp())
    ratio = p.log_prob(w).reshape(DRAWS, -1).sum(-1) - q.log_prob(w).sum((-1, -2))
    found = {"w": log_weights(likelihood(w)[None], ratio, 1.0)[0]}
    simulated = torch.stack([p.sample((3,)).reshape(3, -1) for _ in range(DRAWS)])
    both = torch.cat([w, simulated])
    log_p, log_q = p.log_prob(both).reshape(2 * DRAWS, -1).sum(-1), q.log_prob(both).sum((-1, -2))
    found["half from the prior"] = log_weights(likelihood(both)[None], defensive_log_ratio(log_p, log_q), 1.0)[0]
    alone = GaussianParameters(theta.loc[0], theta.log_scale[0])
    for name, points in (
        ("support", evidence.support_x[0]),
        ("all", torch.cat([evidence.support_x, evidence.query_x], 1)[0]),
    ):
        basis = span(unit(points)[: 4 if name == "support" else None])
        part = span_draws(w, alone, prior, basis, torch.zeros(1, dtype=torch.int64))
        found[name] = log_weights(likelihood(part.w), part.log_ratio, 1.0)[0]
    plain = likelihood(simulated).double()
    expected, error = _log_mean(plain)
    for name, logs in found.items():
        value, own = _log_mean(logs)
        # Four standard errors of the difference of two log means.
        assert abs(value - expected) < 4 * math.hypot(error, own), name
        assert own < 0.3, name
        assert float(psis(logs.numpy())[1]) < 0.7, name


def _log_mean(logs: torch.Tensor) -> tuple[float, float]:
    """Log of the mean of exp, and its standard error."""
    weights = (logs - logs.max()).exp()
    return float(weights.mean().log() + logs.max()), float(weights.std() / weights.mean() / len(logs) ** 0.5)


def test_draws_of_both_have_bounded_weights():
    log_p, log_q = 500 * torch.randn(2, 1000)
    ratio = defensive_log_ratio(log_p, log_q)
    assert float(ratio.max()) <= math.log(2) + 1e-12
    assert torch.isfinite(ratio).all()
    torch.testing.assert_close(defensive_log_ratio(log_p, log_p), torch.zeros(1000).double(), atol=1e-12, rtol=0)


@torch.no_grad()
def test_weights_of_one_leave_the_predictive_as_it_is():
    p = torch.rand(3, 8, 4, 2).double()
    even, shares = torch.full((8,), 1 / 8).double(), torch.full((3, 8), 1 / 3).double()
    torch.testing.assert_close(reweighted(p.__getitem__, even, shares), p.mean((0, 1)))
    one = torch.zeros(8).double().index_fill(0, torch.tensor(5), 1.0)
    torch.testing.assert_close(reweighted(p.__getitem__, one, torch.eye(3)[:, [1]].expand(3, 8).double()), p[1, 5])


@pytest.mark.parametrize(("scale", "trusted"), [(1.0, True), (1.1, True), (0.5, False)])
def test_k_hat_catches_a_q_narrowed_by_half(scale, trusted):
    """Against N(0, I) in 20 dimensions, where 1 / k is about the number of finite moments of the ratio."""
    w = scale * torch.randn(2000, 20).double()
    target, q = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(0.0, scale)
    logs = (target.log_prob(w) - q.log_prob(w)).sum(-1) + 1e-9 * torch.randn(2000)
    assert (float(psis(logs.numpy())[1]) < 0.7) == trusted
