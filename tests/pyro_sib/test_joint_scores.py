"""LwoF's further scores on hand-made predictions."""

import pytest
import torch

from pyro_sib.scores.joint import JointScores
from pyro_sib.scores.metrics import TaskScores, score

# Two base classes, two novel ones; one row a query: probabilities, label, where it goes.
ROWS = [
    ([0.7, 0.1, 0.1, 0.1], 0, "right"),
    ([0.1, 0.6, 0.2, 0.1], 0, "among base"),
    ([0.2, 0.1, 0.1, 0.6], 1, "base taken for novel"),
    ([0.1, 0.1, 0.1, 0.7], 3, "right"),
    ([0.1, 0.1, 0.2, 0.6], 2, "among novel"),
    ([0.5, 0.1, 0.3, 0.1], 2, "novel taken for base"),
]
P = torch.tensor([[row[0] for row in ROWS]], dtype=torch.float64)
Y = torch.tensor([[row[1] for row in ROWS]])


def test_each_query_goes_to_one_place():
    errors = JointScores.of(P, Y, 2).errors()
    assert sum(errors.values()) == pytest.approx(100)
    for name, percent in errors.items():
        assert percent == pytest.approx(100 * sum(row[2] == name for row in ROWS) / 6), name
    alone = [JointScores.of(P[:, [i]], Y[:, [i]], 2).errors()[row[2]] for i, row in enumerate(ROWS)]
    assert alone == [100] * 6


def test_base_or_novel_is_the_chance_that_a_novel_query_looks_more_novel():
    novelty = P[0, :, 2:].sum(-1)
    pairs = [(novelty[i] > novelty[j]) + 0.5 * (novelty[i] == novelty[j]) for i in (3, 4, 5) for j in (0, 1, 2)]
    assert JointScores.of(P, Y, 2).base_or_novel() == pytest.approx(100 * float(sum(pairs)) / 9)


def test_calibration_apart_is_that_of_the_renormalized_part_and_together_that_of_all():
    torch.manual_seed(3)
    p, y = torch.rand(40, 9, 7, dtype=torch.float64).softmax(-1), torch.randint(7, (40, 9))
    found = JointScores.of(p, y, 4).calibration()
    novel = y >= 4
    alone = p[novel][:, 4:] / p[novel][:, 4:].sum(-1, keepdim=True)
    expected = {
        "novel, apart": score(alone[None], y[novel][None] - 4, 0),
        "base, together": score(p[~novel][None], y[~novel][None], 0),
        "both": score(p, y, 0),
    }
    for name, scores in expected.items():
        assert found[name]["nll"] == pytest.approx(float(scores.nll.mean())), name
        assert found[name]["brier"] == pytest.approx(float(scores.brier.mean())), name
    assert found["novel, apart"]["nll"] < found["novel, together"]["nll"]


def test_they_join_by_task_and_agree_with_the_accuracies():
    torch.manual_seed(4)
    p, y = torch.rand(6, 12, 7).softmax(-1), torch.randint(7, (6, 12))
    whole = score(p, y, 4)
    parts = TaskScores.join([score(p[:2], y[:2], 4), score(p[2:], y[2:], 4)])
    assert parts.joint is not None
    assert whole.joint is not None
    assert parts.joint.errors() == whole.joint.errors()
    assert whole.joint.errors()["right"] == pytest.approx(float(whole.both.mean()), rel=1e-5)
    assert torch.equal(whole.joint.correct, whole.correct)
    assert score(p, y, 0).joint is None


def test_a_query_whose_kind_has_no_mass_is_wrong_and_finite():
    scores = JointScores.of(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]), torch.tensor([[2]]), 2)
    assert torch.isfinite(scores.apart).all()
    assert scores.errors()["novel taken for base"] == 100
