import torch

from pyro_sib.inference.gate import EvennessTest, Gate, LogisticGate, fit_gate, fit_test, log_unevenness


def test_unevenness_is_chi_squared_from_even():
    even, one = torch.full((1, 10, 4), 0.25), torch.zeros(1, 10, 4)
    one[..., 2] = 1
    assert log_unevenness(even).exp() < 1e-4
    torch.testing.assert_close(log_unevenness(one).exp(), torch.tensor([3.0]))


def test_the_blend_lies_between_its_parts():
    even, uneven = (torch.rand(6, 5, 3).softmax(-1) for _ in range(2))
    blended = LogisticGate(0.3, -1.0).blend(even, uneven)
    torch.testing.assert_close(blended.sum(-1), torch.ones(6, 5))
    assert (blended <= torch.maximum(even, uneven) + 1e-6).all()
    assert (blended >= torch.minimum(even, uneven) - 1e-6).all()
    torch.testing.assert_close(LogisticGate(50.0, 0.0).blend(even, uneven), even)


def test_the_fitted_gate_gives_each_kind_of_task_its_model():
    """The even model is right on tasks that look even and wrong on the others; the uneven one the other way."""
    torch.manual_seed(0)
    tasks, queries, classes = 200, 40, 4
    look_even = torch.arange(tasks) % 2 == 0
    shares = torch.where(look_even[:, None], torch.full((classes,), 1.0), torch.tensor([8.0, 1.0, 1.0, 1.0]))
    y = torch.multinomial(shares, queries, replacement=True)
    right = torch.nn.functional.one_hot(y, classes).float()
    sure, unsure = 0.6 * right + 0.1, 0.05 * right + 0.2375
    even = torch.where(look_even[:, None, None], sure, unsure)
    uneven = torch.where(look_even[:, None, None], unsure, sure)
    gate = fit_gate(even, uneven, y)
    share = gate(uneven)
    assert gate.slope < 0
    assert share[look_even].mean() > 0.8
    assert share[~look_even].mean() < 0.2
    worse = LogisticGate(gate.offset + 1, gate.slope)

    def nll(gate: Gate) -> float:
        return -float(gate.blend(even, uneven).gather(-1, y[..., None]).log().mean())

    assert nll(gate) < nll(worse)
    assert nll(gate) < nll(LogisticGate(gate.offset, gate.slope + 0.3))


def test_the_test_rejects_evenness_as_often_as_it_was_told():
    torch.manual_seed(0)
    seen = torch.randn(1000, 30, 4).softmax(-1)
    test = fit_test(seen, 0.05)
    assert abs(float(test(seen).mean()) - 0.95) < 0.002
    fresh = torch.randn(4000, 30, 4).softmax(-1)
    assert abs(float(test(fresh).mean()) - 0.95) < 0.03


def test_the_test_takes_one_prediction_or_the_other():
    even = torch.full((2, 10, 4), 0.25)
    uneven = torch.zeros(2, 10, 4)
    uneven[0] = 0.25
    uneven[1, :, 2] = 1
    blended = EvennessTest(0.0).blend(even + 0.1, uneven)
    torch.testing.assert_close(blended, torch.stack([even[0] + 0.1, uneven[1]]))
