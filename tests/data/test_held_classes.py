"""Base classes taken out of training."""

import pytest
import torch

from pyro_sib.data import DataSet, Split, hold_out_classes
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.errors import InputError

CLASSES = 9


def rows(start, per_class):
    """Class c's rows are c + 0.001 * their number, so that a row names its class."""
    y = torch.arange(CLASSES).repeat_interleave(per_class)
    number = start + torch.arange(per_class).repeat(CLASSES)
    return Split((y + 0.001 * number)[:, None].float(), y, tuple(f"c{c}" for c in range(CLASSES)))


def world():
    novel = Split(torch.full((4, 1), 50.0) + torch.arange(4)[:, None], torch.tensor([0, 0, 1, 1]), ("v0", "v1"))
    other = Split(novel.x + 10, novel.y, ("t0", "t1"))
    splits = {BASE_TRAIN: rows(0, 6), BASE_VAL: rows(6, 2), BASE_TEST: rows(8, 2), VAL: novel, TEST: other}
    return DataSet("toy", splits, "by hand", "0" * 32)


def test_the_classes_held_out_become_val_with_all_their_rows_and_training_never_sees_them():
    found = hold_out_classes(world(), 3)
    assert set(found.splits) == {BASE_TRAIN, BASE_VAL, BASE_TEST, VAL}
    held = found.splits[VAL]
    assert held.class_names == ("c1", "c4", "c7")
    assert held.counts.tolist() == [10, 10, 10]
    assert held.x[:, 0].round().int().tolist() == [1] * 10 + [4] * 10 + [7] * 10
    for name, count in ((BASE_TRAIN, 6), (BASE_VAL, 2), (BASE_TEST, 2)):
        split = found.splits[name]
        assert split.class_names == ("c0", "c2", "c3", "c5", "c6", "c8")
        assert split.counts.tolist() == [count] * 6
        assert [split.class_names[y] for y in split.y] == [f"c{v}" for v in split.x[:, 0].round().int()]
    assert "3 base classes held out as val" in found.base_holdout
    assert found.fingerprint != world().fingerprint


@pytest.mark.parametrize("count", range(2, CLASSES - 1))
def test_any_count_is_spread_over_the_classes_without_repeats(count):
    found = hold_out_classes(world(), count)
    held = [int(name[1:]) for name in found.splits[VAL].class_names]
    assert len(set(held)) == count
    gaps = torch.tensor(held).diff()
    assert int(gaps.max() - gaps.min()) <= 1


@pytest.mark.parametrize("count", [-1, 1, 8, 100])
def test_too_few_to_hold_out_or_to_keep(count):
    with pytest.raises(InputError, match=rf"^count {count}: toy has 9 base classes, of which 2 to 7"):
        hold_out_classes(world(), count)
