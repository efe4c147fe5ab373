"""Prediction sets hold the true class as often as they promise; what to label next are no copies."""

import pytest
import torch

from pyro_sib.cosine import unit
from pyro_sib.scores.conformal import cross_conformal, fewest_examples, prediction_sets
from pyro_sib.scores.to_label import doubt, evened, most_telling


def strangeness(x, y, queries, classes):
    """1 - probability of each class, by the nearest of the classes' means."""
    means = torch.stack([x[y == c].mean(0) for c in range(classes)])
    return 1 - (-torch.cdist(queries, means).square()).softmax(-1)


def judged(generator, folds, classes=3, shots=6, queries=24):
    """Made-up clusters that overlap: the true classes of the queries, and the p-values of all."""
    centres = 1.2 * torch.randn(classes, 2, generator=generator, dtype=torch.float64)
    y, truth = torch.arange(classes).repeat(shots), torch.arange(classes).repeat(queries // classes)
    x, new = (
        centres[labels] + torch.randn(len(labels), 2, generator=generator, dtype=torch.float64)
        for labels in (y, truth)
    )
    fold = torch.arange(len(y)) * folds // len(y)
    scores, others = torch.empty(len(y), dtype=torch.float64), []
    for f in range(folds):
        kept, left = fold != f, fold == f
        scores[left] = strangeness(x[kept], y[kept], x[left], classes).gather(1, y[left, None])[:, 0]
        others.append(strangeness(x[kept], y[kept], new, classes))
    return truth, cross_conformal(scores, fold, torch.stack(others))


@pytest.mark.parametrize("folds", [18, 6])
@pytest.mark.parametrize("coverage", [0.9, 0.7])
def test_sets_of_exchangeable_examples_hold_the_true_class_as_promised(folds, coverage):
    generator = torch.Generator().manual_seed(5)
    hits, sizes = [], []
    for _ in range(80):
        truth, p = judged(generator, folds)
        sets = prediction_sets(p, coverage)
        hits.append(sets.gather(1, truth[:, None]).double().mean())
        sizes.append(sets.double().sum(1).mean())
    found = torch.stack(hits)
    error = float(found.std()) / len(found) ** 0.5
    assert coverage - 3 * error < float(found.mean()) < coverage + 0.06
    assert 0.7 < float(torch.stack(sizes).mean()) < 2.6, "some classes are ruled out"


def test_the_p_value_is_the_share_of_examples_that_are_as_strange():
    scores, folds = torch.tensor([0.1, 0.5, 0.3]), torch.tensor([0, 1, 1])
    queries = torch.tensor([[[0.1, 0.2]], [[0.3, 0.6]]])
    assert cross_conformal(scores, folds, queries).tolist() == [[1.0, 0.25]]


def test_too_few_examples_rule_nothing_out():
    assert [fewest_examples(c) for c in (0.9, 0.8, 0.95, 0.5)] == [9, 4, 19, 1]
    for count, ruled_out in ((8, False), (9, True)):
        p = cross_conformal(torch.zeros(count), torch.arange(count), torch.ones(count, 1, 2))
        assert bool(~prediction_sets(p, 0.9).any()) is ruled_out


def test_few_examples_of_a_class_are_compared_with_folds_that_lost_one_of_it_too():
    """With two examples a class, a learner without one of them is far less sure of it."""
    scores, folds = torch.tensor([0.5, 0.6, 0.7, 0.8]), torch.arange(4)  # two of class 0, two of class 1
    lost = torch.tensor([[True, False], [True, False], [False, True], [False, True]])
    queries = torch.full((4, 1, 2), 0.1)
    queries[:, 0][lost] = torch.tensor([0.75, 0.65, 0.55, 0.45])
    # Class 0 from folds 0 and 1 (0.75, 0.65), class 1 from folds 2 and 3 (0.55, 0.45); each example by its own fold
    # where that lost one of the class, else by both in turn.
    expected = [(1 + 0 + 0 + 0 + 1) / 5, (1 + 0 + 1 + 1 + 1) / 5]
    assert cross_conformal(scores, folds, queries, lost)[0].tolist() == pytest.approx(expected)
    assert cross_conformal(scores, folds, queries)[0].tolist() == pytest.approx([0.6, 1.0])


def greedy(u, x, labeled, most):
    """`most_telling`, written out with loops."""
    cosine = torch.nn.functional.cosine_similarity
    alike = [[max(0.0, float(cosine(one, other, dim=0))) ** 2 for other in x] for one in x]
    known = [[max(0.0, float(cosine(one, other, dim=0))) ** 2 for other in labeled] for one in x]
    left = [float(u[j]) for j in range(len(u))]
    for j in range(len(u)):
        for k in range(len(labeled)):
            left[j] *= 1 - known[j][k]
    own, chosen = [1.0] * len(u), []
    for _ in range(most):
        worth = [own[i] * sum(left[j] * alike[i][j] for j in range(len(u))) for i in range(len(u))]
        best = max(range(len(u)), key=worth.__getitem__)
        chosen.append(best)
        for j in range(len(u)):
            left[j] *= 0.0 if j == best else 1 - alike[best][j]
            own[j] *= 0.0 if j == best else 1 - alike[best][j]
    return chosen


def test_what_to_label_next_is_what_explains_most_of_the_rest(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x, labeled = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (12, 3))
    u = torch.rand(12, generator=generator, dtype=torch.float64)
    assert most_telling(u, x, labeled, 5) == greedy(u, x, labeled, 5)
    assert most_telling(u, 7 * x, labeled, 5) == greedy(u, x, labeled, 5)
    assert set(most_telling(u, x, labeled, 99, u > 0.5)) == set((u > 0.5).nonzero()[:, 0].tolist())
    assert most_telling(torch.zeros(12), x, labeled, 3) == []
    monkeypatch.setattr("pyro_sib.scores.to_label._AT_ONCE", 2)
    assert most_telling(u, x, labeled, 12) == greedy(u, x, labeled, 12), "a few at a time, as all at once"


def test_neither_copies_nor_what_is_labeled_is_to_be_labeled_next():
    generator = torch.Generator().manual_seed(1)
    x = unit(torch.randn(9, 5, generator=generator))
    assert len(set(most_telling(torch.ones(10), torch.cat([x[:1], x]), x[:0], 9)) & {0, 1}) == 1, "one is a copy"
    crowd = torch.cat([unit(x[:1] + 0.05 * torch.randn(20, 5, generator=generator)), x[1:]])
    assert most_telling(torch.ones(28), crowd, x[:0], 1)[0] < 20, "one for many"
    assert most_telling(torch.ones(28), crowd, x[:1], 1)[0] >= 20, "its kind is labeled already"


def test_a_label_says_nothing_of_what_lies_opposite():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.01]])
    assert most_telling(torch.ones(3), x, x[:1], 2)[0] in (1, 2)
    assert sorted(most_telling(torch.ones(2), x[:2], x[:0], 2)) == [0, 1], "both are chosen"


def test_coordinates_are_evened_by_half():
    x = torch.tensor([[4.0, 1.0, 0.0], [-4.0, 1.0, 0.0], [4.0, -1.0, 0.0]])
    assert evened(x).tolist() == [[2.0, 1.0, 0.0], [-2.0, 1.0, 0.0], [2.0, -1.0, 0.0]]


def test_doubt_is_one_where_two_classes_are_as_likely():
    assert doubt(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist() == [1.0, 0.0]
