import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck

from pyro_sib.cosine import cosine_logits, cosine_vjp, unit, unit_logits

SHAPES = [((3, 6, 5), (3, 4, 5)), ((3, 6, 5), (2, 3, 4, 5)), ((3, 6, 5), (1, 4, 5)), ((6, 5), (4, 5))]
"""Of x and w: as in a step, with draws, with weights that tasks share, with no tasks."""


def plain(x, w, scale):
    return scale * torch.nn.functional.normalize(x, dim=-1) @ torch.nn.functional.normalize(w, dim=-1).mT


def arguments(of_x, of_w):
    x, w = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in (of_x, of_w))
    return x, w, torch.tensor(7.0, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("shapes", SHAPES)
def test_the_closed_forms_equal_autograd(shapes):
    x, w, scale = arguments(*shapes)
    logits = plain(x, w, scale)
    grad = torch.randn_like(logits)
    ours, vjp = cosine_vjp(unit(x), w, scale)
    torch.testing.assert_close(ours, logits)
    of_all = torch.autograd.grad(ours, (x, w, scale), grad, retain_graph=True)
    expected = torch.autograd.grad(logits, (x, w, scale), grad)
    torch.testing.assert_close(of_all, expected)
    torch.testing.assert_close(vjp(grad).sum_to_size(w.shape), expected[1])


@pytest.mark.parametrize("shapes", SHAPES)
def test_the_derivatives_of_both_are_those_of_finite_differences(shapes):
    x, w, scale = arguments(*shapes)
    grad = torch.randn_like(plain(x, w, scale)).requires_grad_()
    assert gradcheck(lambda x, w, scale: unit_logits(unit(x), w, scale), (x, w, scale))
    assert gradcheck(lambda x, w, scale, g: cosine_vjp(unit(x), w, scale)[1](g), (x, w, scale, grad))


def test_a_second_derivative_is_refused():
    x, w, scale = arguments((6, 5), (4, 5))
    for loss in (cosine_logits(x, w, scale).square().sum(), cosine_logits(x, w, scale)[:, 0].sum()):
        with pytest.raises(RuntimeError, match="differentiated once, and create_graph asks for more"):
            torch.autograd.grad(loss, w, create_graph=True)


def test_a_zero_vector_has_finite_gradients():
    w = torch.zeros(1, 2, 5, requires_grad=True)
    cosine_logits(torch.zeros(1, 3, 5), w, torch.tensor(10.0)).sum().backward()
    assert torch.isfinite(w.grad).all()


def test_the_length_of_a_weight_does_not_matter():
    x, w, scale = torch.randn(4, 5), torch.randn(3, 5), torch.tensor(10.0)
    torch.testing.assert_close(cosine_logits(x, w, scale), cosine_logits(x, 100 * w, scale))


def test_a_scale_of_more_than_one_number_is_refused():
    x, w, _ = arguments((6, 5), (4, 5))
    with pytest.raises(ValueError, match=r"the cosine's scale is one number, not \(4,\)"):
        cosine_logits(x, w, torch.full((4,), 7.0, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [-100, -60, -30, 0, 30, 60, 120])
def test_a_unit_vector_is_the_same_bits_at_every_length(dtype, power):
    x = torch.randn(2, 4, 5, dtype=dtype)
    plain = torch.nn.functional.normalize(x, dim=-1, eps=1e-6)
    assert torch.equal(unit(x * 2.0**power), plain)


def test_a_unit_vector_of_any_length_has_the_gradient_of_its_direction():
    x = torch.randn(3, 5)
    huge = (x * 2.0**70).requires_grad_()
    ordinary = x.clone().requires_grad_()
    for tensor in (huge, ordinary):
        unit(tensor)[:, 0].sum().backward()
    torch.testing.assert_close(huge.grad * 2.0**70, ordinary.grad)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e30])
def test_unit_vectors_under_vmap_are_those_without(scale):
    x = scale * torch.randn(3, 4, 5)
    torch.testing.assert_close(torch.func.vmap(unit)(x), unit(x))


def test_unit_vectors_of_fake_tensors_are_fake():
    with FakeTensorMode():
        assert unit(torch.ones(2, 3)).shape == (2, 3)


def test_a_zero_vector_among_others_stays_zero_and_changes_none():
    x = torch.randn(3, 5)
    expected = unit(x)
    found = unit(torch.cat([x, torch.zeros(1, 5)]))
    assert torch.equal(found[:3], expected)
    assert not found[3].any()
