"""Prediction sets hold the true class as often as they promise; what to label next are no copies."""

import pytest
import torch

from pyro_sib.cosine import unit
from pyro_sib.scores.conformal import cross_conformal, fewest_examples, prediction_sets
from pyro_sib.scores.to_label import spread_out


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


def test_what_to_label_next_are_the_most_telling_and_no_two_are_alike():
    generator = torch.Generator().manual_seed(0)
    x = unit(torch.randn(9, 5, generator=generator))
    values = torch.linspace(1, 0.2, 9)
    copies = torch.cat([x[:1], x]), torch.cat([values[:1], values])
    chosen = spread_out(copies[1], copies[0], 9)
    assert chosen[0] == 0
    assert 1 not in chosen, "a copy of the first"
    assert len(chosen) == 9
    assert spread_out(values, x, 3) == spread_out(values, 7 * x, 3)
    assert spread_out(torch.zeros(4), x[:4], 3) == []
    assert spread_out(torch.tensor([0.3, 0.4]), x[:2], 9) == [1, 0]
