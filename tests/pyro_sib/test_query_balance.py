import pytest
import torch

from pyro_sib.counter_rng import make_key
from pyro_sib.errors import InputError
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.query_balance import query_counts
from pyro_sib.tasks.shape import EpisodeShape, QueryBalance, parse_balance
from tests.worlds import clusters

KEY = make_key("tests", "balance")


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 30.0])
def test_counts_have_the_moments_of_dirichlet_proportions(alpha):
    """Var of a proportion is (1/N)(1 - 1/N) / (N alpha + 1); rounding adds at most 1/12 of a query's square."""
    ways, total = 5, 200
    counts = query_counts(KEY, torch.arange(20_000), 7, ways, total, QueryBalance(alpha))
    assert (counts.sum(-1) == total).all()
    assert (counts >= 0).all()
    share = counts.double() / total
    torch.testing.assert_close(share.mean(0), torch.full((ways,), 0.2).double(), atol=0.005, rtol=0)
    expected = 0.2 * 0.8 / (ways * alpha + 1)
    torch.testing.assert_close(share.var(0), torch.full((ways,), expected).double(), rtol=0.06, atol=1e-5)


def test_counts_do_not_depend_on_the_batch():
    whole = query_counts(KEY, torch.arange(30), 7, 4, 40, QueryBalance(2.0))
    assert torch.equal(query_counts(KEY, torch.tensor([17]), 7, 4, 40, QueryBalance(2.0))[0], whole[17])


@pytest.mark.parametrize("base_queries", [0, 8])
def test_unbalanced_episodes_hold_distinct_rows_of_the_right_classes(base_queries):
    novel = clusters(8, 25, seed=1)
    shape = EpisodeShape(4, 2, 5, base_queries, balance=QueryBalance(2.0))
    base = clusters(10, 20, seed=2) if base_queries else None
    sampler = EpisodeSampler(novel, base, shape, task_key("f", 0, "train"))
    index = sampler.sample(torch.arange(40))
    offset = 10 if base_queries else 0
    seen = set()
    for task in range(40):
        rows = [*index.support[task].tolist(), *index.query[task].tolist()]
        assert len(set(rows)) == len(rows) == 4 * 7
        support_class = novel.y[index.support[task]].view(4, 2)
        assert (support_class == support_class[:, :1]).all()
        labels = index.query_y[task, :20] - offset
        assert torch.equal(novel.y[index.query[task]], support_class[labels, 0])
        seen.add(tuple(labels.bincount(minlength=4).tolist()))
    assert len(seen) > 20
    one = sampler.sample(torch.tensor([13]))
    assert torch.equal(one.query[0], index.query[13])


def test_half_of_mixed_tasks_are_balanced():
    counts = query_counts(KEY, torch.arange(4000), 7, 5, 75, QueryBalance(2.0, 0.5))
    even = (counts == 15).all(-1)
    assert abs(float(even.double().mean()) - 0.5) < 0.03
    plain = query_counts(KEY, torch.arange(4000), 7, 5, 75, QueryBalance(2.0))
    assert torch.equal(counts[~even], plain[~even])


def test_a_class_that_could_run_out_is_refused():
    shape = EpisodeShape(4, 2, 15, balance=QueryBalance(2.0))
    with pytest.raises(InputError, match=r"has 25 images, but shots 2 [+] 60 queries, all of one class, needs 62"):
        EpisodeSampler(clusters(8, 25, seed=1), None, shape, KEY)


def test_names_of_balances():
    assert parse_balance("balanced") is None
    assert parse_balance("dirichlet:2") == QueryBalance(2.0)
    assert parse_balance("mixed:0.5") == QueryBalance(0.5, 0.5)
    for bad in (
        "dirichlet",
        "mixed",
        "mixed:-2",
        "dirichlet:0",
        "dirichlet:-1",
        "dirichlet:inf",
        "uniform:2",
        "even",
    ):
        with pytest.raises(InputError, match="choose balanced, dirichlet:ALPHA or mixed:ALPHA"):
            parse_balance(bad)
