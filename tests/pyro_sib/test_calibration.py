import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_sib.scores.calibration import (
    area_under_risk,
    auroc,
    entropy,
    expected_calibration_error,
    fit_temperature,
    mutual_information,
    reliability,
    risk_coverage,
)


def predictions(tasks: int, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (T, 40, 5) and labels drawn from their softmax at the temperature."""
    torch.manual_seed(0)
    logits = 1.5 * torch.randn(tasks, 40, 5)
    y = torch.distributions.Categorical(logits=logits / temperature).sample()
    return logits.log_softmax(-1), y


def test_by_hand():
    confidence = torch.tensor([[0.95, 0.95], [0.55, 0.15]])
    correct = torch.tensor([[True, False], [True, False]])
    curve = reliability(confidence, correct, bins=10)
    assert curve.count.tolist() == [0, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert curve.accuracy[[1, 5, 9]].tolist() == [0, 1, 0.5]
    assert curve.error == pytest.approx(100 * (0.15 + 0.45 + 0.9) / 4)
    coverage, risk = risk_coverage(confidence, correct)
    assert coverage.tolist() == [0.5, 0.75, 1]
    assert risk.tolist() == pytest.approx([0.5, 1 / 3, 0.5])
    assert area_under_risk(confidence, correct) == pytest.approx(100 * (0.5 * 0.5 + 0.25 / 3 + 0.25 * 0.5))
    assert auroc(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.0])) == pytest.approx(3.5 / 4)


def test_calibrated_predictions_have_an_error_within_its_sampling_error_and_others_not():
    for temperature, calibrated in ((1.0, True), (2.0, False)):
        log_p, y = predictions(300, temperature)
        confidence, guess = log_p.exp().max(-1)
        curve = reliability(confidence, guess == y)
        assert curve.error == pytest.approx(expected_calibration_error(confidence, guess == y), abs=1e-4)
        # With 15 bins, chance alone gives an error of a few standard errors, never ten.
        assert (curve.error < 10 * curve.standard_error) == calibrated
        assert (curve.error < 1.5) == calibrated


def test_the_standard_error_is_that_of_new_tasks():
    errors, stated = [], []
    for part in predictions(2400, 2.0)[0].exp().max(-1).values.split(100):
        torch.manual_seed(len(errors))
        correct = torch.rand(part.shape) < part - 0.1
        curve = reliability(part, correct)
        errors.append(curve.error)
        stated.append(curve.standard_error)
    assert torch.tensor(stated).mean() == pytest.approx(float(torch.tensor(errors).std()), rel=0.5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature):
    log_p, y = predictions(500, temperature)
    assert fit_temperature(log_p[None], y) == pytest.approx(temperature, rel=0.05)


def test_mutual_information_is_what_the_draws_disagree_on():
    agree = torch.tensor([0.7, 0.3]).expand(6, 2)
    assert float(mutual_information(agree)) == pytest.approx(0, abs=1e-6)
    certain = torch.eye(2).repeat(3, 1)
    assert float(mutual_information(certain)) == pytest.approx(math.log(2), abs=1e-6)
    assert float(entropy(torch.tensor([0.5, 0.5]))) == pytest.approx(math.log(2))


scores = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(scores, scores)
def test_auroc_counts_pairs(one, other):
    pairs = [(a > b) + 0.5 * (a == b) for a in one for b in other]
    found = auroc(torch.tensor(one), torch.tensor(other))
    assert found == pytest.approx(sum(pairs) / len(pairs))
    assert auroc(torch.tensor(other), torch.tensor(one)) == pytest.approx(1 - found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20), st.randoms())
def test_the_order_of_queries_does_not_matter_to_risk(queries, random):
    shuffled = random.sample(queries, len(queries))
    areas = [
        area_under_risk(torch.tensor([c / 5 for c, _ in order]), torch.tensor([hit for _, hit in order]))
        for order in (queries, shuffled)
    ]
    assert areas[0] == pytest.approx(areas[1])
    coverage, risk = risk_coverage(torch.tensor([c / 5 for c, _ in queries]), torch.tensor([h for _, h in queries]))
    assert float(coverage[-1]) == 1
    assert float(risk[-1]) == pytest.approx(1 - sum(h for _, h in queries) / len(queries))


@pytest.mark.parametrize(("positive", "negative"), [([], [1.0]), ([1.0], []), ([], []), ([float("nan")], [1.0])])
def test_auroc_of_one_class_alone_is_undefined(positive, negative):
    assert math.isnan(auroc(torch.tensor(positive), torch.tensor(negative)))


def test_scores_that_are_all_equal_tell_nothing_apart():
    assert auroc(torch.ones(5), torch.ones(3)) == 0.5


@pytest.mark.parametrize("confidence", [0.0, 0.2, 1.0, float("nan")])
def test_confidences_that_are_all_equal_fill_one_bin(confidence):
    confidences, correct = torch.full((3, 4), confidence), torch.arange(12).view(3, 4) % 2 == 0
    curve = reliability(confidences, correct)
    assert int((curve.count > 0).sum()) == 1
    expected = 100 * abs(0.5 - (0.0 if math.isnan(confidence) else confidence))
    assert curve.error == pytest.approx(expected, abs=1e-5)
    assert expected_calibration_error(confidences, correct) == pytest.approx(expected, abs=1e-5)


def test_one_task_and_no_query():
    one = reliability(torch.tensor([[0.5, 0.7]]), torch.tensor([[True, False]]))
    assert math.isnan(one.standard_error)
    assert one.error == pytest.approx(60.0)
    none = torch.zeros(0, 0)
    assert math.isnan(reliability(none, none.bool()).error)
    assert math.isnan(expected_calibration_error(none, none.bool()))
    assert math.isnan(area_under_risk(none, none.bool()))
