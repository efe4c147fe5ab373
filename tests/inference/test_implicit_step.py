import pytest
import torch

from pyro_sib.inference.steps.kl_step import implicit_loc, kl_gradient, relaxed_log_scale
from pyro_sib.types import GaussianParameters

SHAPES = [(2, 3, 4), (1, 4), (4,), (2, 1, 4)]
PULL = torch.tensor(0.63, dtype=torch.float64)


def positive(*shape):
    return (torch.rand(shape, dtype=torch.float64) + 0.3).requires_grad_()


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_new_loc_solves_the_implicit_equation(shape):
    loc, precision, shift = torch.randn(2, 3, 4, dtype=torch.float64), positive(*shape), normal(*shape)
    stepped = implicit_loc(loc, PULL, precision, shift)
    there = kl_gradient(GaussianParameters(stepped, torch.zeros(())), precision, shift)
    torch.testing.assert_close(stepped, loc - PULL * there.loc)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_kls_gradient_is_that_of_autograd(shape):
    """KL(N(loc, s^2) || N(m / P, 1 / P)), element by element."""
    theta = GaussianParameters(normal(2, 3, 4), normal(2, 3, 4))
    precision, shift = positive(*shape), normal(*shape)
    p = torch.distributions.Normal(shift / precision, precision.rsqrt())
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(theta.loc, theta.log_scale.exp()), p)
    torch.testing.assert_close(tuple(kl_gradient(theta, precision, shift)), torch.autograd.grad(kl.sum(), theta))


@pytest.mark.parametrize("level", [-2.0, 0.0, 1.0])
def test_the_log_scale_follows_the_gradient_flow(level):
    """A thousand explicit steps of a thousandth of the time come as near as their size lets them."""
    log_scale, precision, pull = level + torch.randn(3, 4, dtype=torch.float64), positive(4), 0.7
    slow = log_scale
    for _ in range(1000):
        slow = slow - 0.001 * pull * (precision * (2 * slow).exp() - 1)
    found = relaxed_log_scale(log_scale, torch.tensor(pull, dtype=torch.float64), precision)
    torch.testing.assert_close(found, slow, rtol=0.02, atol=0.02)


def test_steps_of_the_log_scale_add_up():
    log_scale, precision, pulls = normal(3, 4), positive(4), torch.tensor([0.1, 1.3, 0.02], dtype=torch.float64)
    stepped = log_scale
    for pull in pulls:
        stepped = relaxed_log_scale(stepped, pull, precision)
    torch.testing.assert_close(stepped, relaxed_log_scale(log_scale, pulls.sum(), precision))


def test_the_log_scale_goes_towards_the_optimum_and_not_beyond():
    precision = torch.tensor([4.0, 4.0, 4.0])
    start = torch.tensor([-8.0, -0.5 * torch.log(torch.tensor(4.0)), 3.0])
    for pull in (0.01, 1.0, 100.0):
        stepped = relaxed_log_scale(start, torch.tensor(pull), precision)
        optimum = -0.5 * precision.log()
        assert start[0] < stepped[0] <= optimum[0]
        torch.testing.assert_close(stepped[1], optimum[1])
        assert optimum[2] <= stepped[2] < start[2]
