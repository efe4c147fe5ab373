"""The class of what belongs to none: the mixture written out, tasks of any size, and the fit of its numbers."""

import math

import pytest
import torch

from pyro_sib.inference.unknown.fit import UnknownSettings, fit_unknown, pairs_loss
from pyro_sib.inference.unknown.unknown_class import COORDINATES, FIRST, FITTED, UnknownClass
from pyro_sib.scores.calibration import auroc
from pyro_sib.tasks.any_task import Domain
from pyro_sib.tasks.coordinates import TaskCoordinates
from pyro_sib.tasks.shape import TaskDistribution
from pyro_sib.tasks.unknown_tasks import UnknownTaskSource
from pyro_sib.types import Evidence
from tests.worlds import clusters

D64 = torch.float64


def task(shots=3, queries=8, strange=8, seed=0, coordinates=6):
    """Three classes with labels, and two of which nobody labeled any."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(3).repeat(shots), torch.arange(3).repeat(queries), 3 + torch.arange(strange) % 2])
    x = torch.eye(20, dtype=D64)[y] + 0.15 * torch.randn(len(y), 20, generator=generator, dtype=D64)
    known, asked = x[None, : 3 * shots], x[None, 3 * shots :]
    evidence = Evidence(known, torch.arange(3).repeat(shots)[None], asked, 3)
    return TaskCoordinates(coordinates).of_evidence(evidence), y[3 * shots :] > 2


@torch.no_grad()
def odds_by_loops(numbers, evidence, rounds):
    """The log odds of one task, class by class and query by query."""
    own = dict(numbers)
    x = torch.cat([evidence.support_x, evidence.query_x], 1)[0, :, :-1]
    y, labeled = evidence.support_y[0], evidence.support_y.shape[1]
    q, d, eye = x[labeled:], x.shape[1], torch.eye(x.shape[1], dtype=D64)
    pull, whole = math.exp(own["pull"]), x.T @ x / len(x)
    count = torch.bincount(y).double()
    means = [x[:labeled][y == c].mean(0) for c in range(3)]
    sigma, share = eye / math.exp(own["sharpness"]), [1 / 3] * 3
    a, b = math.exp(own["unknown"]), math.exp(own["known"])
    rho, t = a / (a + b), math.exp(own["temper"])

    def density(points, mean, covariance):
        at = torch.distributions.MultivariateNormal(mean, covariance).log_prob(points)
        return t * (at + 0.5 * d * math.log(2 * math.pi))

    for _ in range(rounds + 1):
        each = [
            density(q, means[c], sigma * (1 + 1 / (float(count[c]) + pull))) + math.log(share[c]) for c in range(3)
        ]
        known = torch.stack(each, -1)
        broad = whole + 1e-4 * eye + math.exp(own["width"]) * sigma
        none = density(q, torch.zeros(d, dtype=D64), broad)
        odds = none + math.log(rho) - known.logsumexp(-1) - math.log(1 - rho)
        r = odds.sigmoid()
        p = known.softmax(-1) * (1 - r)[:, None]
        weights = torch.cat([torch.nn.functional.one_hot(y, 3).double(), p / (1 + math.exp(-own["discount"]))])
        count = weights.sum(0)
        scatter = torch.zeros(d, d, dtype=D64)
        for c in range(3):
            apart = x - (weights[:, c, None] * x).sum(0) / count[c]
            scatter += (weights[:, c, None] * apart).T @ apart
        mass, strength = weights.sum(), math.exp(own["shrinkage"])
        variance = whole.diagonal().mean() / (1 + math.exp(-own["within"]))
        shrink = strength / (strength + mass)
        sigma = (1 - shrink) * scatter / mass + (shrink * variance + 1e-4) * eye
        means = [(weights[:, c, None] * x).sum(0) / (count[c] + pull) for c in range(3)]
        expected = p.sum(0) + math.exp(own["concentration"])
        share = (expected / expected.sum()).tolist()
        rho = float((r.sum() + a) / (len(q) + a + b))
    return odds


@torch.no_grad()
def test_the_odds_are_those_of_the_mixture_written_out():
    evidence, _ = task()
    numbers = {name: value + 0.1 * n for n, (name, value) in enumerate(FIRST.items())}
    odds, _ = UnknownClass(numbers).double().parts(evidence)
    torch.testing.assert_close(
        odds[0], odds_by_loops(UnknownClass(numbers).numbers(), evidence, 6), rtol=1e-3, atol=2e-3
    )


@torch.no_grad()
@pytest.mark.parametrize("numbers", [FIRST, FITTED])
def test_what_nobody_labeled_stands_out(numbers):
    model = UnknownClass(numbers).double()
    found = [(model.probabilities(e)[0], none) for e, none in (task(seed=s) for s in range(4))]
    assert all(auroc(p[none], p[~none]) > 0.9 for p, none in found)
    assert all(((p > 0) & (p < 1)).all() for p, _ in found)


@torch.no_grad()
@pytest.mark.parametrize(("shots", "queries", "strange"), [(1, 0, 1), (1, 1, 0), (5, 60, 0), (2, 0, 40)])
def test_tasks_of_any_size_are_finite(shots, queries, strange):
    evidence, _ = task(shots, queries, strange, coordinates=40)
    found = UnknownClass().double().probabilities(evidence)
    assert found.shape == (1, 3 * queries + strange)
    assert found.isfinite().all()
    same = Evidence(torch.ones(1, 3, 4), torch.arange(3)[None], torch.ones(1, 2, 4), 3)
    assert UnknownClass().probabilities(TaskCoordinates(4).of_evidence(same)).isfinite().all()


def test_more_coordinates_than_a_task_has_change_nothing():
    """Those beyond its rank are zero; what they add to the densities of a class and of none must be the same."""
    evidence, _ = task(1, 2, 3, coordinates=11)
    wide, _ = task(1, 2, 3, coordinates=30)
    with torch.no_grad():
        a, b = (UnknownClass().double().probabilities(e) for e in (evidence, wide))
    torch.testing.assert_close(a, b)


TASKS = TaskDistribution(ways=(2, 3), shots=(1, 3), most_shots=4, queries=(2, 4), difficulty=0.3, pool=(3, 5))
DOMAINS = {"first": Domain(clusters(6, 20, seed=3), True), "second": Domain(clusters(5, 18, seed=4, features=9))}


def test_training_tasks_have_queries_of_no_class():
    source = UnknownTaskSource(tuple(DOMAINS.values()), TASKS, TaskCoordinates(5), 1)
    shares = []
    for iteration in range(40):
        batch, again = source.batch(iteration, 2), source.batch(iteration, 2)
        assert torch.equal(batch.evidence.query_x, again.evidence.query_x)
        none = batch.query_y < 0
        shares.append(float(none.double().mean()))
        assert bool((none.sum(1) == none[0].sum()).all())
        distance = torch.cdist(batch.evidence.query_x, batch.evidence.support_x)
        assert iteration % 2 == 0 or distance.min() > 1e-4, "no picture is labeled and asked for"
    assert 0.1 < sum(share == 0 for share in shares) / 40 < 0.6
    assert 0.25 < max(shares) <= 0.55


def test_the_fit_makes_it_better_and_is_a_function_of_its_seed():
    how = UnknownSettings(iterations=8, batch_size=2, learning_rate=0.1, calibration=4, tasks=TASKS)
    told = []
    model, loss = fit_unknown(DOMAINS, how, lambda done, total: told.append((done, total)))
    again, same = fit_unknown(DOMAINS, how)
    assert (model.numbers(), loss) == (again.numbers(), same)
    assert told[-1] == (12, 12)
    assert not any(p.requires_grad for p in model.parameters())
    others = UnknownTaskSource(tuple(DOMAINS.values()), TASKS, COORDINATES, 7)
    fresh = [batch for batch in (others.batch(i, 2) for i in range(8)) if bool((batch.query_y < 0).any())]
    with torch.no_grad():
        after, before = (sum(float(pairs_loss(m, b)) for b in fresh) for m in (model, UnknownClass(FIRST)))
    assert after < before
