import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_sib.counter_rng import distinct_integers, make_key, normal, times_before, uniform

KEY = make_key("test")


def test_draws_do_not_depend_on_the_batch():
    whole = uniform(KEY, torch.arange(50), 3, 7)
    order = torch.randperm(50)
    parts = torch.cat([uniform(KEY, index, 3, 7) for index in order.split(7)])
    assert torch.equal(parts, whole[order])
    assert torch.equal(uniform(KEY, torch.tensor([11]), 3, 7)[0], whole[11])


def test_key_index_and_stream_all_matter():
    one = uniform(KEY, torch.tensor([1]), 0, 4)
    for other in ((KEY + 1, 1, 0), (KEY, 2, 0), (KEY, 1, 1)):
        key, index, stream = other
        assert not torch.equal(one, uniform(key, torch.tensor([index]), stream, 4))


def test_uniform_and_normal_have_their_moments():
    u = uniform(KEY, torch.arange(1000), 0, 100)
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 4 * (1 / 12 / 1e5) ** 0.5
    z = normal(KEY, torch.arange(1000), 0, 101)
    assert abs(float(z.mean())) < 4 / 1e5**0.5
    assert abs(float(z.var()) - 1) < 4 * (2 / 1e5) ** 0.5
    lag = (u[:, 1:] - 0.5) * (u[:, :-1] - 0.5) * 12
    assert abs(float(lag.mean())) < 4 / lag.numel() ** 0.5


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 20), extra=st.integers(0, 30), stream=st.integers(0, 5))
def test_distinct_integers_are_distinct_and_in_range(count, extra, stream):
    low, size = torch.full((1, count), 5), torch.full((1, count), count + extra)
    values = distinct_integers(KEY, torch.arange(20), stream, low, size)
    assert all(len(set(row)) == count for row in values.tolist())
    assert int(values.min()) >= 5
    assert int(values.max()) < 5 + count + extra


@given(st.integers(1, 12), st.integers(1, 8))
def test_times_before_counts_earlier_equals(count, values):
    rows = torch.randint(values, (5, count))
    expected = [[row[:i].count(value) for i, value in enumerate(row)] for row in rows.tolist()]
    assert times_before(rows).tolist() == expected


def test_distinct_integers_are_uniform_over_arrangements():
    low, size = torch.zeros(1, 2, dtype=torch.int64), torch.full((1, 2), 3)
    values = distinct_integers(KEY, torch.arange(6000), 0, low, size)
    counts = torch.bincount(values[:, 0] * 3 + values[:, 1], minlength=9)
    assert counts[[0, 4, 8]].sum() == 0
    assert ((counts[counts > 0] - 1000).abs() < 5 * 1000**0.5).all()
