"""Domains that are made of another's features."""

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.tasks.made_domains import MADE, make_domain
from tests.worlds import clusters


def test_each_is_of_other_classes_and_always_the_same():
    rows = clusters(40, 5, seed=1, features=30)
    made = {name: make_domain(name, rows) for name in MADE}
    assert made["noisy"].class_names == rows.class_names[:16]
    assert made["few"].class_names == rows.class_names[16:32]
    assert made["few"].x.shape == (80, 24)
    for name, split in made.items():
        again = make_domain(name, rows)
        assert torch.equal(split.x, again.x)
        assert torch.equal(split.y, again.y)


def test_a_merged_class_is_all_of_three():
    rows = clusters(24, 5, seed=1, features=30)
    split = make_domain("merged", rows)
    assert split.class_names == tuple("+".join(rows.class_names[16 + 3 * c : 19 + 3 * c]) for c in range(2))
    assert torch.equal(split.x[split.y == 1], rows.x[(rows.y >= 19) & (rows.y < 22)])


def test_noise_makes_the_classes_overlap():
    rows = clusters(24, 20, seed=1, features=30)

    def within(split):
        x = torch.nn.functional.normalize(split.x, dim=-1)
        means = torch.stack([x[split.y == c].mean(0) for c in range(16)])
        return float((x @ means.T).argmax(-1).eq(split.y).float().mean())

    plain = type(rows)(rows.x[rows.y < 16], rows.y[rows.y < 16], rows.class_names[:16])
    assert within(make_domain("noisy", rows)) < within(plain) - 0.1


def test_too_few_classes_are_refused():
    with pytest.raises(InputError, match="20 known classes are too few to make domains of; give 22 or more"):
        make_domain("noisy", clusters(20, 5, seed=1))
