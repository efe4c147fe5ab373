import pytest
import torch

from pyro_sib.scores.calibration import expected_calibration_error
from pyro_sib.scores.metrics import TaskScores, mean_interval, score


def test_interval_is_the_normal_one():
    interval = mean_interval(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert interval.mean == pytest.approx(3.0)
    assert interval.ci95 == pytest.approx(1.96 * (14 / 3) ** 0.5 / 2)


def test_standard_scores_by_hand():
    p = torch.tensor([[[0.7, 0.3], [0.4, 0.6]]])
    scores = score(p, torch.tensor([[0, 0]]), base_classes=0)
    assert scores.base is None
    assert scores.novel.tolist() == [50.0]
    assert float(scores.nll) == pytest.approx(-(torch.tensor([0.7, 0.4]).log().mean()))
    assert float(scores.brier) == pytest.approx((2 * 0.3**2 + 2 * 0.6**2) / 2)


def test_lwof_scores_by_hand():
    """Base classes 0 and 1, novel 2 and 3."""
    p = torch.tensor([[[0.5, 0.1, 0.3, 0.1], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.6, 0.1]]])
    scores = score(p, torch.tensor([[2, 3, 0, 1]]), base_classes=2)
    assert scores.novel.tolist() == [100.0]  # both right among 2 and 3
    assert scores.base.tolist() == [100.0]
    assert scores.both.tolist() == [50.0]  # the first and the last are lost to the other side


def test_joining_equals_scoring_at_once():
    p, y = torch.rand(6, 5, 4).softmax(-1), torch.randint(0, 4, (6, 5))
    joined = TaskScores.join([score(p[:2], y[:2], 0), score(p[2:], y[2:], 0)])
    assert torch.equal(joined.nll, score(p, y, 0).nll)
    assert joined.base is None


def test_ece_of_a_known_miscalibration():
    assert expected_calibration_error(torch.full((100,), 0.9), torch.arange(100) < 50) == pytest.approx(40.0)
    calibrated = expected_calibration_error(torch.full((100,), 0.75), torch.arange(100) < 75)
    assert calibrated == pytest.approx(0.0, abs=1e-5)


def test_predictions_that_are_nan_do_not_look_like_chance():
    p = torch.full((2, 3, 2), 0.5)
    p[1, 2] = torch.nan
    scores = score(p, torch.zeros(2, 3, dtype=torch.int64), base_classes=0)
    assert scores.novel[0] == 100
    assert scores.novel[1].isnan()
    assert scores.nll.isnan().tolist() == [False, True]
