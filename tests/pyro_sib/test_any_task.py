"""Training tasks of many sizes: deterministic, of one shape a batch, with the sizes that were asked for."""

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.tasks.any_task import AnyTaskSource, Domain
from pyro_sib.tasks.coordinates import TaskCoordinates
from pyro_sib.tasks.shape import TaskDistribution
from tests.worlds import clusters

SMALL = TaskDistribution(ways=(2, 4), shots=(1, 3, 0), most_shots=4, queries=(2, 5), difficulty=0.5, pool=(3, 5))


def source(distribution=SMALL, known=True, key=1):
    domains = [Domain(clusters(5, 20, seed=3), known), Domain(clusters(6, 18, seed=4, features=9))]
    return AnyTaskSource(domains, distribution, TaskCoordinates(4), key)


def test_a_batch_is_a_function_of_key_and_iteration():
    one, other = source(), source()
    for iteration in (7, 2, 7):
        a, b = one.batch(iteration, 3), other.batch(iteration, 3)
        assert torch.equal(a.evidence.query_x, b.evidence.query_x)
        assert torch.equal(a.query_y, b.query_y)
    assert not torch.equal(source(key=2).batch(7, 3).evidence.query_x[0, 0], one.batch(7, 3).evidence.query_x[0, 0])


def test_sizes_shots_balances_and_what_is_told_vary():
    batches = [source().batch(i, 2) for i in range(60)]
    assert {b.evidence.ways for b in batches} == {2, 4}
    assert {b.evidence.support_x.shape[1] for b in batches} >= {2, 4, 6, 12}
    assert {b.evidence.proportions is None for b in batches} == {True, False}
    counts = [torch.bincount(b.query_y[0], minlength=b.evidence.ways) for b in batches]
    assert any((c == c[0]).all() for c in counts)
    assert any((c == 0).any() for c in counts), "some class has no query in some task"
    unequal = [torch.bincount(b.evidence.support_y[0]) for b in batches]
    assert any(len(set(c.tolist())) > 1 for c in unequal)
    for b in batches:
        b.evidence.check()
        b.check()
        assert b.evidence.query_x.shape[-1] == 5


def test_even_proportions_are_even_and_told_so():
    fixed = TaskDistribution(ways=(3,), shots=(1,), queries=(4, 4), alphas=(0.0,), told=1.0)
    batch = source(fixed).batch(0, 2)
    assert torch.bincount(batch.query_y[0]).tolist() == [4, 4, 4]
    shares = batch.evidence.proportions
    assert (shares == shares[0, 0]).all()
    assert shares[0, 0] > 100


def test_no_image_is_labeled_and_asked_for_in_one_task():
    plain = TaskDistribution(ways=(4,), shots=(3,), queries=(5, 5), difficulty=0.0)
    evidence = source(plain).batch(1, 4).evidence
    distance = torch.cdist(evidence.support_x, evidence.query_x)
    assert distance.min() > 1e-4


def test_only_known_domains_are_made_harder():
    hard, plain = source(known=True), source(known=False)
    even, odd = 4, 5  # iterations take the two domains in turn
    assert not torch.equal(hard.batch(even, 2).evidence.query_x, plain.batch(even, 2).evidence.query_x)
    assert torch.equal(hard.batch(odd, 2).evidence.query_x, plain.batch(odd, 2).evidence.query_x)


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (TaskDistribution(ways=(9,)), "a domain has 5 classes"),
        (TaskDistribution(ways=(2,), shots=(25,)), "has 20 images, but 26 are needed"),
    ],
)
def test_a_domain_too_small_is_refused(distribution, message):
    with pytest.raises(InputError, match=message):
        source(distribution)


@pytest.mark.parametrize(
    "changes",
    [
        {"ways": (1,)},
        {"shots": ()},
        {"shots": (-1,)},
        {"queries": (5, 2)},
        {"alphas": (-1.0,)},
        {"difficulty": 1.0},
    ],
)
def test_a_distribution_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match=r"needed|shares"):
        TaskDistribution(**changes)
