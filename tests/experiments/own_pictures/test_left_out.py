"""Labeled examples left out one by one or in parts, and what it says of a learner."""

import pytest
import torch

from pyro_sib.experiments.own_pictures.composition import composition
from pyro_sib.experiments.own_pictures.left_out import FOLDS, ONE_BY_ONE, leave_out, share_interval
from pyro_sib.experiments.own_pictures.proportions import read_proportions
from pyro_sib.experiments.own_pictures.rows import Row


class Clairvoyant:
    """Gives the class that a row's only feature names; remembers what it was shown."""

    def __init__(self, classes: int):
        self.classes, self.shown = classes, []

    def without(self, kept, left, fold):
        self.shown.append(([row.label for row in kept], [row.name for row in left], fold))
        own = torch.eye(self.classes)[[int(row.features) for row in left]]
        return torch.full((2, self.classes), 1 / self.classes), own


def rows(*sizes: int) -> list[Row]:
    names = [(c, n) for c, size in enumerate(sizes) for n in range(size)]
    return [Row(f"{c}-{n}", torch.tensor([float(c)]), f"class {c}") for c, n in names]


@pytest.mark.parametrize("sizes", [(2, 3, 1), (30, 25, 2, 1), (21, 20, 2)])
def test_each_that_can_be_is_left_out_once_and_no_class_is_lost(sizes):
    judge, labeled, told = Clairvoyant(len(sizes)), rows(*sizes), []
    checked = leave_out(judge, labeled, 0.9, lambda done, total: told.append((done, total)))
    several = sum(size for size in sizes if size > 1)
    assert checked.folds == (several if several <= ONE_BY_ONE else FOLDS) == len(judge.shown)
    gone = [name for _, names, _ in judge.shown for name in names]
    assert sorted(gone) == sorted(row.name for row in labeled if sizes[int(row.features)] > 1)
    for kept, names, _ in judge.shown:
        assert len(set(kept)) == len(sizes)
        assert len(kept) + len(names) == len(labeled)
    assert checked.right == several
    assert checked.alone == tuple(f"class {c}" for c, size in enumerate(sizes) if size == 1)
    assert told[-1] == (checked.folds, checked.folds)
    if several < 9:
        assert checked.sets is None
    else:
        assert checked.sets is not None
        assert not checked.sets.any(), "stranger than all that is labeled"


def test_with_one_of_each_class_nothing_is_left_out():
    judge = Clairvoyant(3)
    checked = leave_out(judge, rows(1, 1, 1), 0.9)
    assert (judge.shown, len(checked.truth), checked.right, checked.sets) == ([], 0, 0, None)


def test_the_interval_of_a_share_holds_it():
    assert share_interval(15, 30) == pytest.approx((0.3315, 0.6685), abs=1e-4)
    assert share_interval(9, 9)[1] == 1
    assert share_interval(0, 9)[0] == 0
    assert 0.2 < share_interval(0, 9)[1] < 0.4


def test_the_composition_is_sure_where_the_labels_are():
    each = torch.eye(3)[[0, 0, 1, 1]].expand(5, 4, 3)
    mean, low, high = composition(each)
    assert mean.tolist() == low.tolist() == high.tolist() == [0.5, 0.5, 0.0]
    # Ten coins: the number of heads has 2.5% and 97.5% quantiles of 2 and 8.
    mean, low, high = composition(torch.full((4, 10, 2), 0.5))
    assert (mean.tolist(), low.tolist(), high.tolist()) == ([0.5, 0.5], [0.2, 0.2], [0.8, 0.8])


def test_shares_are_rounded_to_one_and_words_stay(tmp_path):
    assert read_proportions("even", ["a"]) == "even"
    (tmp_path / "s.csv").write_text("share;label\n0.33;b\n0.66;a\n")
    found = read_proportions(str(tmp_path / "s.csv"), ["a", "b", "c"])
    assert found == pytest.approx({"a": 2 / 3, "b": 1 / 3, "c": 0})
