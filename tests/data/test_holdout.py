"""The held-out rows of the base classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_sib.data.formats.listing import BASE, Found, Listing
from pyro_sib.data.holdout import held_out_counts, hold_out
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, VAL
from pyro_sib.errors import InputError


def listing(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    return Listing(np.arange(len(y), dtype=np.float32)[:, None], y, tuple(f"c{c}" for c in range(len(counts))))


def cut(*counts):
    return hold_out(Found({BASE: listing(counts)}))


def test_600_rows_are_cut_at_500_and_550():
    found = cut(600, 600)
    for part, (start, stop) in {BASE_TRAIN: (0, 500), BASE_VAL: (500, 550), BASE_TEST: (550, 600)}.items():
        expected = [*range(start, stop), *range(600 + start, 600 + stop)]
        assert found.parts[part].rows[:, 0].tolist() == expected
    assert found.base_holdout == "images 500-549 / 550-599 of each base class in list order"


@pytest.mark.parametrize(
    ("rows", "val", "test", "words"),
    [
        (1300, 50, 50, "last sixth of each base class, at most 100 rows"),
        (601, 50, 50, "last sixth of each base class"),
        (599, 50, 49, "last sixth of each base class"),
        (12, 1, 1, "last sixth of each base class"),
        (18, 2, 1, "last sixth of each base class"),
        (3, 1, 1, "last sixth of each base class"),
    ],
)
def test_other_counts(rows, val, test, words):
    found = cut(rows, 700 if rows > 1000 else 30)
    assert [found.parts[part].counts[0] for part in (BASE_TRAIN, BASE_VAL, BASE_TEST)] == [
        rows - val - test,
        val,
        test,
    ]
    assert found.base_holdout == words


@given(st.lists(st.integers(3, 1500), min_size=1, max_size=5))
def test_every_row_goes_to_one_part(counts):
    found = cut(*counts)
    rows = np.concatenate([part.rows[:, 0] for part in found.parts.values()])
    assert sorted(rows) == list(range(sum(counts)))
    for part in found.parts.values():
        assert (part.counts >= 1).all()
        assert (np.diff(part.y) >= 0).all()


@given(st.integers(3, 5000))
def test_counts(rows):
    val, test = held_out_counts(rows)
    assert val - test in (0, 1)
    assert val + test == min(100, max(2, rows // 6))


def test_too_few_rows():
    with pytest.raises(InputError, match="base class c1 has 2 rows"):
        cut(10, 2)


def test_without_base():
    found = hold_out(Found({VAL: listing([3, 3])}))
    assert list(found.parts) == [VAL]
    assert found.base_holdout == "no base data"
