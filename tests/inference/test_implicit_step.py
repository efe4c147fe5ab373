import pytest
import torch

from pyro_sib.inference.steps.kl_step import implicit_loc, relaxed_log_scale

SHAPES = [(2, 3, 4), (1, 4), (4,), (2, 1, 4)]
STEP_SIZE = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)


def positive(*shape):
    return (torch.rand(shape, dtype=torch.float64) + 0.3).requires_grad_()


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_new_loc_solves_the_implicit_equation(shape):
    loc, gradient, precision, shift = normal(2, 3, 4), normal(2, 3, 4), positive(*shape), normal(*shape)
    stepped = implicit_loc(loc, gradient, STEP_SIZE, 0.9, precision, shift)
    again = loc - STEP_SIZE * (gradient + 0.9 * (precision * stepped - shift))
    torch.testing.assert_close(stepped, again)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_derivatives_of_the_new_loc_are_those_of_finite_differences(shape):
    arguments = (normal(2, 3, 4), normal(2, 3, 4), STEP_SIZE, 0.9, positive(*shape), normal(*shape))
    assert torch.autograd.gradcheck(implicit_loc, arguments)


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


def test_a_step_size_of_more_than_one_number_is_refused():
    many, precision = torch.full((4,), 0.7, dtype=torch.float64), positive(4)
    with pytest.raises(ValueError, match=r"a step has one size, not \(4,\)"):
        implicit_loc(normal(2, 3, 4), normal(2, 3, 4), many, 0.9, precision, normal(4))
    with pytest.raises(ValueError, match=r"a step has one size, not \(4,\)"):
        relaxed_log_scale(normal(4), many, precision)
