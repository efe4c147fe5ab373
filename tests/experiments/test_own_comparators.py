"""Soft k-means and the variational Bayesian mixture: against plain loops over tasks, and on made-up worlds."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pyro_sib.experiments.compare import CompareSettings
from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.comparators import Comparator, choose
from pyro_sib.experiments.comparison.compare import compare
from pyro_sib.experiments.comparison.recipes import COMPARATORS
from pyro_sib.experiments.comparison.row import read_rows
from pyro_sib.experiments.comparison.soft_k_means import SoftKMeans
from pyro_sib.experiments.comparison.variational_bayes import VariationalBayes
from pyro_sib.experiments.job.result import Result
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.tasks.source import TaskSource
from pyro_sib.types import Evidence
from tests.experiments.test_run import write_features
from tests.worlds import clusters

OURS = [name for name, recipe in COMPARATORS.items() if not recipe.needs_easyfsl]
LABELS = torch.tensor([[0, 0, 1, 2, 2, 2], [1, 0, 2, 1, 0, 1]])
"""Of two tasks of three classes with different numbers of labeled examples."""


def _base(features: int, spread: float = 0.6, rows: int = 30) -> BaseClasses:
    split = clusters(20, rows, seed=5, features=features, spread=spread)
    return BaseClasses(split.with_x(split.x.double()), torch.device("cpu"))


def _evidence(features: int = 6, queries: int = 8) -> Evidence:
    """Features that know nothing of the labels, so that an example which left its class would show."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 6 + queries, features, generator=generator, dtype=torch.float64)
    return Evidence(x[:, :6], LABELS, x[:, 6:], 3)


def _method(name: str, base: BaseClasses, **settings: float) -> Comparator:
    first = COMPARATORS[name].candidates()[0]
    return Comparator(name, base, {**first, **settings})


def _predicted(name: str, evidence: Evidence, base: BaseClasses | None = None) -> Tensor:
    (found,) = _method(name, base or _base(evidence.query_x.shape[-1])).probabilities(evidence, 0)
    return found


def _unit(x: Tensor) -> Tensor:
    return x / x.norm()


def _soft_k_means(support: Tensor, labels: Tensor, query: Tensor, temperature: float, rounds: int) -> Tensor:
    """One task: (M, D), (M,), (Q, D) -> (Q, N)."""
    rows = torch.stack([_unit(x) for x in torch.cat([support, query])])
    rows = torch.stack([_unit(x - rows.mean(0)) for x in rows])
    support, query = rows[: len(support)], rows[len(support) :]
    centres = [support[labels == c].mean(0) for c in range(3)]
    for step in range(rounds + 1):
        cosines = torch.stack([torch.stack([x @ _unit(centre) for centre in centres]) for x in query])
        shares = (temperature * cosines).softmax(-1)
        if step == rounds:
            break
        for c in range(3):
            total, count = support[labels == c].sum(0), float((labels == c).sum())
            for x, share in zip(query, shares, strict=True):
                total, count = total + share[c] * x, count + share[c]
            centres[c] = total / count
    return shares


def _within(base: BaseClasses) -> tuple[Tensor, Tensor]:
    """(D,) centre and (D, D) pooled covariance, row by row."""
    x, y = base.split.x, base.split.y
    centre = torch.stack([_unit(row) for row in x]).mean(0)
    rows = torch.stack([_unit(_unit(row) - centre) for row in x])
    means = [rows[y == c].mean(0) for c in range(20)]
    apart = torch.stack([row - means[c] for row, c in zip(rows, y.tolist(), strict=True)])
    return centre, sum(torch.outer(row, row) for row in apart) / (len(x) - 20)


def _variational_bayes(support: Tensor, labels: Tensor, query: Tensor, base: BaseClasses, method) -> Tensor:
    """One task: (M, D), (M,), (Q, D) -> (Q, N)."""
    start = _soft_k_means(support, labels, query, 10.0, 0)
    centre, within = _within(base)
    rows = torch.stack([_unit(_unit(x) - centre) for x in torch.cat([support, query])])
    rows = rows - rows.mean(0)
    directions = torch.linalg.eigh(rows.T @ rows)[1][:, -int(method.dimensions) :]
    d = directions.shape[1]
    variance = method.noise * sum(direction @ within @ direction for direction in directions.T) / d
    rows = rows @ directions
    shares = torch.cat([torch.nn.functional.one_hot(labels, 3).double(), start])
    for _ in range(method.rounds):
        logits = torch.zeros(len(query), 3, dtype=torch.float64)
        for c in range(3):
            count = shares[:, c].sum()
            mean = sum(share * x for share, x in zip(shares[:, c], rows, strict=True)) / (method.beta + count)
            for i, x in enumerate(rows[len(support) :]):
                square = (x - mean).square().sum() + d * variance / (method.beta + count)
                logits[i, c] = torch.digamma(method.alpha + count) - square / (2 * variance)
        shares[len(support) :] = logits.softmax(-1)
    return shares[len(support) :]


@pytest.mark.parametrize("queries", [1, 8])
def test_soft_k_means_is_a_plain_loop_over_tasks(queries):
    evidence = _evidence(queries=queries)
    found = SoftKMeans(temperature=3.0, rounds=10)(evidence)
    for t in range(2):
        expected = _soft_k_means(evidence.support_x[t], LABELS[t], evidence.query_x[t], 3.0, 10)
        torch.testing.assert_close(found[t], expected)


@pytest.mark.parametrize("queries", [1, 8])
def test_variational_bayes_is_a_plain_loop_over_tasks(queries):
    evidence, base = _evidence(queries=queries), _base(6)
    method = VariationalBayes(base, noise=0.7, dimensions=4.0, alpha=1.5, beta=3.0, rounds=6)
    found = method(evidence)
    for t in range(2):
        expected = _variational_bayes(evidence.support_x[t], LABELS[t], evidence.query_x[t], base, method)
        torch.testing.assert_close(found[t], expected)


def test_the_within_class_covariance_is_pooled_row_by_row():
    base = _base(4, rows=7)
    centre, within = _within(base)
    torch.testing.assert_close(base.centre, centre)
    torch.testing.assert_close(base.within, within)


@pytest.mark.parametrize("name", OURS)
def test_the_order_of_labeled_examples_and_of_queries_does_not_matter(name):
    evidence = _evidence()
    labeled, queries = torch.tensor([4, 1, 5, 0, 3, 2]), torch.tensor([3, 7, 0, 5, 1, 2, 6, 4])
    moved = _ordered(evidence, labeled, queries)
    torch.testing.assert_close(_predicted(name, moved), _predicted(name, evidence)[:, queries])


def test_more_dimensions_than_a_task_has_take_no_notice_of_directions_without_rows():
    evidence, base = _evidence(features=20, queries=1), _base(20)
    moved = _ordered(evidence, torch.tensor([4, 1, 5, 0, 3, 2]), torch.tensor([0]))
    method = _method("variational-bayes", base, dimensions=10.0)
    (one,), (other,) = (method.probabilities(each, 0) for each in (evidence, moved))
    torch.testing.assert_close(one, other)


def _ordered(evidence: Evidence, labeled: Tensor, queries: Tensor) -> Evidence:
    return replace(
        evidence,
        support_x=evidence.support_x[:, labeled],
        support_y=evidence.support_y[:, labeled],
        query_x=evidence.query_x[:, queries],
    )


@pytest.mark.parametrize("name", OURS)
def test_a_labeled_example_counts_for_the_class_that_it_is_given(name):
    # All rows of the first class but one lie on the second's side: the labels alone say whose they are.
    x = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]], dtype=torch.float64)
    query = torch.tensor([[[-1.0, 0.05]]], dtype=torch.float64)
    given = [
        _predicted(name, Evidence(x[None], torch.tensor([[1, 0, *labels]]), query, 2), _base(2))
        for labels in ([0, 0, 0], [1, 1, 1])
    ]
    assert given[0][0, 0, 0] > 0.6
    assert given[1][0, 0, 1] > 0.6


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("queries", [1, 8])
def test_one_feature_and_one_query_will_do(name, queries):
    evidence = _evidence(features=1, queries=queries)
    support_x = torch.where(LABELS == 0, -2.0, 3.0)[..., None].double()
    found = _predicted(name, replace(evidence, support_x=support_x))
    assert found.shape == (2, queries, 3)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, queries, dtype=torch.float64))
    torch.testing.assert_close(found.argmax(-1) == 0, evidence.query_x[..., 0] < 0)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_that_are_all_alike_say_nothing(name, dtype):
    evidence = Evidence(torch.ones(2, 6, 5).to(dtype), LABELS, torch.ones(2, 4, 5).to(dtype), 3)
    found = _predicted(name, evidence)
    assert found.dtype == dtype
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 4, dtype=dtype))


def _world(big: int, small: int, spread: float = 0.6, features: int = 16) -> tuple[Evidence, Tensor]:
    """30 tasks of 5 clusters, one labeled example each; `big` queries of class 0, `small` of each other."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(30, 5, features, generator=generator)
    classes = torch.cat([torch.zeros(big, dtype=torch.int64), torch.arange(1, 5).repeat_interleave(small)])
    labels = torch.cat([torch.arange(5), classes]).expand(30, -1)
    x = torch.take_along_dim(centres, labels[..., None], 1)
    x = x + spread * torch.randn(x.shape, generator=generator)
    return Evidence(x[:, :5], labels[:, :5], x[:, 5:], 5), labels[:, 5:]


def _accuracy(name: str, evidence: Evidence, labels: Tensor, base: BaseClasses) -> float:
    """Percent, with the settings that tasks of the base classes choose."""
    split = base.split.with_x(base.split.x.float())
    sampler = EpisodeSampler(split, None, EpisodeShape(5, 1, 10), task_key("own", 0, "choose"))
    best, _ = choose(name, base, TaskSource(sampler, split.x, None), 10)
    (found,) = best.probabilities(evidence, 0)
    return 100 * float((found.argmax(-1) == labels).float().mean())


@pytest.mark.parametrize("name", OURS)
def test_clusters_that_lie_apart_are_told_apart(name):
    assert _accuracy(name, *_world(10, 10, spread=0.2), _base(16, spread=0.2)) == 100


def test_variational_bayes_bears_a_class_with_most_of_the_queries():
    evidence, labels = _world(60, 3)
    base = _base(16)
    simple, bayes = (_accuracy(name, evidence, labels, base) for name in ("soft-k-means", "variational-bayes"))
    assert bayes > 70
    assert bayes > simple + 20


def test_the_evidence_bound_rises_with_each_round_and_q_settles():
    evidence, base, settings = _evidence(), _base(6), {"noise": 2.0, "alpha": 1.5, "beta": 3.0}
    q = [VariationalBayes(base, dimensions=6.0, rounds=k, **settings)(evidence) for k in range(60)]
    rows, variance = _rows(evidence, base), settings["noise"] * float(_within(base)[1].trace()) / 6
    bounds = torch.stack([_bound(evidence, rows, shares, variance, 1.5, 3.0) for shares in q])
    assert (bounds.diff(dim=0) > -1e-9).all()
    assert (bounds[3] - bounds[0] > 0.01).all()
    torch.testing.assert_close(q[-1], q[-2], rtol=0, atol=1e-4)


def _rows(evidence: Evidence, base: BaseClasses) -> Tensor:
    """(T, M + Q, D) as the mixture sees them, before the rotation of the principal directions."""
    rows = torch.cat([evidence.support_x, evidence.query_x], 1)
    rows = rows / rows.norm(dim=-1, keepdim=True) - _within(base)[0]
    rows = rows / rows.norm(dim=-1, keepdim=True)
    return rows - rows.mean(1, keepdim=True)


def _bound(evidence: Evidence, rows: Tensor, shares: Tensor, variance: float, alpha: float, beta: float) -> Tensor:
    """(T,) bound on log p(x, labels) under q(y) and the q(pi), q(mu) that are best for it, less a constant."""
    q = torch.cat([evidence.one_hot(torch.float64), shares], 1)
    counts = q.sum(1)
    precision = beta + counts
    proportions = torch.lgamma(alpha + counts).sum(-1)
    fit = (q.mT @ rows).square().sum(-1) / precision / (2 * variance) - rows.shape[-1] / 2 * precision.log()
    return proportions + fit.sum(-1) + torch.special.entr(q).sum((1, 2))


def test_the_command_runs_ours_without_easyfsl(tmp_path, monkeypatch):
    for name in ("easyfsl", "easyfsl.methods"):
        monkeypatch.setitem(sys.modules, name, None)
    settings = CompareSettings(
        comparators=",".join(OURS),
        features=write_features(tmp_path / "features.npz", rows=40),
        ways=3,
        queries=4,
        choose_tasks=4,
        eval_tasks=20,
        second_balance="dirichlet:2",
        out=tmp_path / "comparators",
        cache_dir=tmp_path / "cache",
    )
    results = compare(settings)
    assert [result.guide for result in results] == OURS == ["soft-k-means", "variational-bayes"]
    for name, result in zip(OURS, results, strict=True):
        assert Result.read(settings.out / name / "result.json") == result
        assert "easyfsl" not in result.versions
        assert len(result.chosen.tried) == len(COMPARATORS[name].candidates())
        assert result.settings.keys() == {*COMPARATORS[name].published, *COMPARATORS[name].grid}
    rows = read_rows([settings.out])
    assert rows[1].difference is not None
    assert rows[1].second_difference is not None
