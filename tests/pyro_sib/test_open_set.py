import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.tasks.open_set import unknown_rows
from tests.worlds import clusters


def test_strangers_are_of_other_classes_and_distinct():
    torch.manual_seed(0)
    split = clusters(6, 20, seed=1)
    own = torch.stack([torch.randperm(6)[:3] for _ in range(30)])
    rows = unknown_rows(split, own, torch.arange(30), 12)
    for task in range(30):
        assert len(set(rows[task].tolist())) == 12
        assert not set(split.y[rows[task]].tolist()) & set(own[task].tolist())
    assert torch.equal(unknown_rows(split, own[7:8], torch.tensor([7]), 12)[0], rows[7])
    seen = split.y[rows].flatten().bincount(minlength=6)
    absent = 30 - own.flatten().bincount(minlength=6)
    torch.testing.assert_close(seen.float(), 4.0 * absent, rtol=0.35, atol=0)


def test_too_few_classes_or_images_are_refused():
    split = clusters(3, 20, seed=1)
    with pytest.raises(InputError, match="all 3 classes are in every task; lower ways"):
        unknown_rows(split, torch.tensor([[0, 1, 2]]), torch.tensor([0]), 5)
    with pytest.raises(InputError, match="has 20 images, fewer than the 21 queries of a task"):
        unknown_rows(split, torch.tensor([[0, 1]]), torch.tensor([0]), 21)
