"""Rows that recur in another split, and the fingerprint."""

import pytest
import torch

from pyro_sib.data.assemble import assemble
from pyro_sib.data.dataset import BASE_TEST, BASE_TRAIN, TEST, VAL, Split
from pyro_sib.data.fingerprint import fingerprint, row_digests
from pyro_sib.errors import InputError

BASE_NAMES = ("a", "b")


@pytest.fixture
def splits():
    """1000 rows of each of three splits, 500 a class."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(2).repeat_interleave(500)
    names = {BASE_TRAIN: BASE_NAMES, BASE_TEST: BASE_NAMES, VAL: ("c", "d")}
    return {
        name: Split(torch.randn(1000, 3, generator=generator), y, class_names)
        for name, class_names in names.items()
    }


def test_a_few_copies_are_left_out_where_learning_happens(splits):
    # As in mini-ImageNet: base with val under another label, and base_train with base_test inside one class.
    splits[VAL].x[[3, 700]] = splits[BASE_TRAIN].x[[0, 1]]
    splits[BASE_TEST].x[[10, 11]] = splits[BASE_TRAIN].x[[499, 1]]
    data = assemble("features", splits, "words")
    assert data.base_holdout == "words; copies of rows in later splits left out: 3 of base_train, 1 of base_test"
    assert data.split(BASE_TRAIN).counts.tolist() == [497, 500]
    assert torch.equal(data.split(BASE_TRAIN).x, splits[BASE_TRAIN].x[[*range(2, 499), *range(500, 1000)]])
    assert data.split(BASE_TEST).counts.tolist() == [499, 500]
    assert data.split(VAL) is splits[VAL]
    assert data.fingerprint == fingerprint(data.splits)


def test_many_copies_are_refused(splits):
    splits[VAL].x[500:506] = splits[BASE_TEST].x[501:507]
    match = "base_test and val share 6 rows, e.g. row 1 of class b of base_test is row 0 of class d of val"
    with pytest.raises(InputError, match=match):
        assemble("features", splits, "words")


def test_copies_inside_a_split_stay(splits):
    splits[VAL].x[:] = 1.0
    data = assemble("features", splits, "words")
    assert data.base_holdout == "words"
    assert data.split(VAL).counts.tolist() == [500, 500]


def test_a_class_that_is_all_copies_is_refused(splits):
    train = splits[BASE_TRAIN]
    lone = Split(train.x, torch.tensor([0] * 999 + [1]), BASE_NAMES)
    splits[VAL].x[0] = train.x[999]
    with pytest.raises(InputError, match="every row of b in base_train"):
        assemble("features", {**splits, BASE_TRAIN: lone}, "words")


def test_row_digests_are_of_the_bytes():
    x = torch.arange(1200).reshape(600, 2)
    digests = row_digests(x)
    assert digests.shape == (600, 16)
    assert len(set(map(bytes, digests.numpy()))) == 600
    assert torch.equal(row_digests(x[[5]]), digests[[5]])
    assert row_digests(torch.zeros(0, 3)).shape == (0, 16)


def test_fingerprint_sees_all_content(splits):
    whole = fingerprint(splits)
    assert len(whole) == 32
    assert whole == fingerprint(dict(reversed(splits.items())))
    val = splits[VAL]
    x, y = val.x.clone(), val.y.clone()
    x[7, 1] += 1
    y[499] = 1
    changed = [
        {**splits, VAL: Split(x, val.y, val.class_names)},
        {**splits, VAL: Split(val.x, y, val.class_names)},
        {**splits, VAL: Split(val.x, val.y, ("c", "e"))},
        {**splits, VAL: Split(val.x.flip(0), val.y, val.class_names)},
        {name: split for name, split in splits.items() if name != VAL},
        {**{name: split for name, split in splits.items() if name != VAL}, TEST: val},
    ]
    assert len({whole, *map(fingerprint, changed)}) == 7
