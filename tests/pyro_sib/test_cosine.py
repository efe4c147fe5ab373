import torch

from pyro_sib.cosine import cosine_logits, cosine_pull_back, unit


def test_the_closed_form_product_equals_autograd():
    x = torch.randn(3, 6, 5, dtype=torch.float64)
    w = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(7.0, dtype=torch.float64)
    grad = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    logits = cosine_logits(x, w, scale)
    (expected,) = torch.autograd.grad(logits, w, grad)
    ours, pull_back = cosine_pull_back(unit(x), w, scale)
    torch.testing.assert_close(ours, logits, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(pull_back(grad), expected, rtol=1e-9, atol=1e-10)


def test_the_closed_form_product_may_be_differentiated_again():
    x, w = torch.randn(2, 4, 3, dtype=torch.float64), torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(3.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda w, g: cosine_pull_back(unit(x), w, scale)[1](g), (w, grad))


def test_a_zero_vector_has_finite_gradients():
    w = torch.zeros(1, 2, 5, requires_grad=True)
    cosine_logits(torch.zeros(1, 3, 5), w, torch.tensor(10.0)).sum().backward()
    assert torch.isfinite(w.grad).all()


def test_the_length_of_a_weight_does_not_matter():
    x, w, scale = torch.randn(4, 5), torch.randn(3, 5), torch.tensor(10.0)
    torch.testing.assert_close(cosine_logits(x, w, scale), cosine_logits(x, 100 * w, scale))
