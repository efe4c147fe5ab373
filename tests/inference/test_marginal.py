"""Gaussians on a subspace: densities against torch's, conditional draws against their moments."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from pyro_sib.inference.exact.marginal import Components, Marginal, log_q_on_span, span
from pyro_sib.types import GaussianParameters

D, R = 5, 2
TASK = torch.tensor([3])


@pytest.fixture
def basis():
    return span(torch.randn(R, D, dtype=torch.float64))


def components(count: int, factor: bool) -> Components:
    locs, variances = torch.randn(count, D).double(), torch.rand(count, D).double() + 0.2
    return Components(locs, variances, torch.randn(D, 3).double() if factor else None)


def covariance(of: Components, c: int) -> torch.Tensor:
    full = of.variances[c].diag()
    return full if of.factor is None else full + of.factor @ of.factor.T


def test_a_span_is_orthonormal_and_holds_its_points():
    points = torch.randn(4, 9).double()
    points = torch.cat([points, points[:2] + points[2:]])
    basis = span(points)
    assert basis.shape == (9, 4)
    torch.testing.assert_close(basis.T @ basis, torch.eye(4).double())
    torch.testing.assert_close(points @ basis @ basis.T, points)


@pytest.mark.parametrize(("count", "factor"), [(1, False), (1, True), (3, False)])
def test_the_marginal_density_is_exact(basis, count, factor):
    given = components(count, factor)
    a = torch.randn(6, 4, R).double()
    each = [
        MultivariateNormal(given.locs[c] @ basis, basis.T @ covariance(given, c) @ basis).log_prob(a)
        for c in range(count)
    ]
    expected = torch.logsumexp(torch.stack(each), 0) - math.log(count)
    torch.testing.assert_close(Marginal(given, basis).log_prob(a), expected)


@pytest.mark.parametrize("factor", [False, True])
def test_completions_keep_the_part_in_the_span_and_have_the_conditional_moments(basis, factor):
    given, draws = components(1, factor), 20_000
    a = torch.randn(R).double()
    w = Marginal(given, basis).complete(a.expand(draws, 1, R), TASK, 0)[:, 0]
    torch.testing.assert_close(w @ basis, a.expand(draws, R))
    full = covariance(given, 0)
    gain = full @ basis @ torch.linalg.inv(basis.T @ full @ basis)
    mean = given.locs[0] + gain @ (a - basis.T @ given.locs[0])
    left = full - gain @ basis.T @ full
    # Five standard errors of a mean, and of a variance of normal draws.
    assert ((w.mean(0) - mean).abs() < 5 * (left.diagonal() / draws).sqrt() + 1e-9).all()
    assert (torch.cov(w.T) - left).abs().max() < 5 * left.diagonal().max() * (2 / draws) ** 0.5


def test_a_mixture_completes_from_the_component_that_fits(basis):
    given, draws = components(2, factor=False), 20_000
    a = (given.locs.mean(0) @ basis).expand(draws, 1, R)
    marginal = Marginal(given, basis)
    w = marginal.complete(a, TASK, 0)[:, 0]
    alone = [Marginal(Components(given.locs[[c]], given.variances[[c]]), basis) for c in range(2)]
    shares = torch.stack([m.log_prob(a[:1, 0]) for m in alone]).softmax(0)
    means = torch.stack([m.complete(a, TASK, 1)[:, 0].mean(0) for m in alone])
    torch.testing.assert_close(w @ basis, a[:, 0])
    assert (w.mean(0) - (shares * means).sum(0)).abs().max() < 10 * w.std(0).max() / draws**0.5


def test_draws_of_the_complement_derive_from_task_and_stream(basis):
    marginal, a = Marginal(components(1, factor=False), basis), torch.randn(8, 2, R).double()
    first, again = (marginal.complete(a, TASK, 0) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.allclose(first, marginal.complete(a, TASK, 1))
    assert not torch.allclose(first, marginal.complete(a, TASK + 1, 0))


def test_q_on_the_whole_space_is_q():
    theta = GaussianParameters(torch.randn(3, D), torch.randn(3, D))
    basis, w = span(torch.randn(D + 2, D)), torch.randn(7, 3, D)
    expected = torch.distributions.Normal(*(theta.loc, theta.log_scale.exp())).log_prob(w).sum((-1, -2))
    torch.testing.assert_close(
        log_q_on_span(theta, basis, w.double() @ basis).float(), expected, rtol=1e-4, atol=1e-4
    )
