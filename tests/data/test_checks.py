"""Rows that recur in another split, and the fingerprint."""

import pytest
import torch

from pyro_sib.data.dataset import Split
from pyro_sib.data.fingerprint import fingerprint, row_digests
from pyro_sib.data.formats.assemble import assemble
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, TEST, VAL
from pyro_sib.errors import InputError

BASE_NAMES = ("a", "b")


@pytest.fixture
def splits():
    """1000 rows of each of three splits, 500 a class."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(2).repeat_interleave(500)
    names = {BASE_TRAIN: BASE_NAMES, BASE_TEST: BASE_NAMES, VAL: ("c", "d")}
    return {
        name: Split(torch.randn(1000, 5, generator=generator), y, class_names)
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


def test_of_copies_inside_a_class_one_stays(splits):
    splits[VAL].x[[7, 9, 999]] = splits[VAL].x[[3, 3, 998]]
    data = assemble("features", splits, "words")
    assert data.base_holdout == "words"
    assert data.notes == ("val: 3 copies inside a class (e.g. row 7 of class c) left out",)
    rows = [row for row in range(1000) if row not in (7, 9, 999)]
    assert torch.equal(data.split(VAL).x, splits[VAL].x[rows])
    assert data.fingerprint == fingerprint(data.splits)


def test_of_copies_under_two_labels_none_stays(splits):
    splits[VAL].x[[600, 601]] = splits[VAL].x[[3, 3]]
    splits[VAL].x[8] = splits[VAL].x[7]
    data = assemble("features", splits, "words")
    words = "1 copies inside a class (e.g. row 8 of class c) and "
    words += "3 rows with a copy under another label (e.g. row 3 of class c)"
    assert data.notes == (f"val: {words} left out",)
    assert data.split(VAL).counts.tolist() == [498, 498]
    assert splits[VAL].x[3].tolist() not in data.split(VAL).x.tolist()


def test_a_class_that_is_another_one_is_refused(splits):
    splits[VAL].x[500:] = splits[VAL].x[:500]
    with pytest.raises(InputError, match="no row of class c in val is left"):
        assemble("features", splits, "words")


def test_copies_across_a_cut_by_rule_are_copies_inside_a_split(splits):
    train, held = splits[BASE_TRAIN], splits[BASE_TEST]
    train.x[:400], train.x[500:900] = held.x[:400], held.x[500:900]
    with pytest.raises(InputError, match="base_train and base_test share 800 rows"):
        assemble("features", splits, "words")
    data = assemble("features", splits, "words", own_cut=True)
    assert data.notes == ("base: 800 copies inside a class (e.g. row 0 of class a) left out",)
    assert data.split(BASE_TRAIN).counts.tolist() == [100, 100]
    assert data.split(BASE_TEST) is held


def test_the_few_copies_of_mini_imagenet_stay_and_are_said(splits):
    splits[VAL].x[[7, 600]] = splits[VAL].x[[6, 3]]
    data = assemble("mini-imagenet", splits, "words", own_cut=True)
    assert data.split(VAL) is splits[VAL]
    assert "1 copies inside a class" in data.notes[0]
    assert data.notes[0].endswith("left in, as so few are the data set's own")
    splits[VAL].x[:6] = splits[VAL].x[6]
    assert assemble("mini-imagenet", splits, "words").split(VAL).counts.tolist() == [493, 500]


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


def test_features_of_a_few_bits_are_equal_without_being_copies(splits):
    coarse = {name: split.with_x((split.x[:, :2] > 0).float()) for name, split in splits.items() if name == VAL}
    data = assemble("features", coarse, "words")
    assert data.notes == ()
    assert data.split(VAL).counts.tolist() == [500, 500]
