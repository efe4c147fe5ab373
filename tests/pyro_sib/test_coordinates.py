"""A task's own coordinates: they keep its geometry and forget the features' axes."""

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.tasks import coordinates
from pyro_sib.tasks.coordinates import TaskCoordinates, raised
from pyro_sib.types import Evidence


def pile(points=12, features=30, seed=0):
    return (
        torch.randn(2, points, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1.0
    )


def test_all_coordinates_keep_every_distance_of_the_centred_unit_features():
    x = pile()
    found = TaskCoordinates(40).of(x)
    assert found.shape == (2, 12, 41)
    assert torch.equal(found[..., -1], torch.ones(2, 12, dtype=torch.float64))
    unit = x / x.norm(dim=-1, keepdim=True)
    centred = unit - unit.mean(1, keepdim=True)
    centred = centred / centred.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(torch.cdist(found, found), torch.cdist(centred, centred))
    assert found[..., 12:-1].abs().max() == 0, "a pile of 12 has a rank of 11 at most"


@pytest.mark.parametrize(("points", "features"), [(12, 30), (30, 12)])
def test_the_first_coordinates_hold_most_of_the_spread_in_order(points, features):
    x = TaskCoordinates(40).of(pile(points, features))[..., :-1]
    energy = x.square().sum(1)
    assert (energy.diff() <= 1e-9).all()
    few = TaskCoordinates(3).of(pile(points, features))[..., :-1]
    torch.testing.assert_close(few, x[..., :3])


def test_they_do_not_change_when_the_features_are_turned():
    x = pile()
    turn = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64)).Q
    torch.testing.assert_close(TaskCoordinates(5).of(x @ turn), TaskCoordinates(5).of(x))


def test_both_gram_matrices_give_the_same():
    x = pile(12, 11)
    wide = torch.cat([x, torch.zeros(2, 12, 9, dtype=torch.float64)], -1)
    torch.testing.assert_close(TaskCoordinates(4).of(wide), TaskCoordinates(4).of(x))


def test_many_rows_give_the_same_part_by_part(monkeypatch):
    x = pile(25, 11)
    whole = TaskCoordinates(4).of(x)
    monkeypatch.setattr(coordinates, "_ROWS", 7)
    by_parts = TaskCoordinates(4).of(x)
    torch.testing.assert_close(by_parts, whole)
    assert not torch.equal(by_parts, whole), "the other way was taken"


def activations(points=12, features=30, seed=0):
    """As after a rectifier: none negative, half of them zero."""
    return (pile(points, features, seed) - 1).clamp_min(0)


@pytest.mark.parametrize("rows", [None, 5], ids=["at once", "by parts"])
def test_features_that_are_not_negative_are_seen_by_their_square_roots(rows, monkeypatch):
    x = activations(14, 11)
    whole = TaskCoordinates(4, power=1.0).of(x.sqrt())
    if rows:
        monkeypatch.setattr(coordinates, "_ROWS", rows)
    torch.testing.assert_close(TaskCoordinates(4).of(x), whole)
    torch.testing.assert_close(TaskCoordinates(4).of(9 * x), whole)
    assert (TaskCoordinates(4, power=1.0).of(x) - whole).abs().max() > 0.1


def test_a_negative_number_in_one_part_is_one_for_all_parts(monkeypatch):
    x = activations(25, 11)
    x[:, 24, 3] = -0.01
    monkeypatch.setattr(coordinates, "_ROWS", 12)
    torch.testing.assert_close(TaskCoordinates(4).of(x), TaskCoordinates(4, power=1.0).of(x))


def test_one_negative_number_leaves_its_own_task_as_it_is():
    x = activations()
    x[0, 3, 7] = -0.01
    found = raised(x)
    assert torch.equal(found[0], x[0])
    torch.testing.assert_close(found[1], x[1].sqrt())
    assert raised(x, 1.0) is x


def test_roots_keep_zeros_and_have_no_nan():
    x = torch.tensor([[[0.0, 1e-40, 4.0, 1e38], [0.0, 0.0, 0.0, 0.0]]])
    found = raised(x)
    assert found.isfinite().all()
    assert found[0, 1].tolist() == [0.0] * 4
    assert found[0, 0, 2] == 2


@pytest.mark.parametrize("power", [0.0, -1.0, 1.5])
def test_no_other_power_is_taken(power):
    with pytest.raises(InputError, match=r"power \S+: above 0 and at most 1 is needed"):
        TaskCoordinates(4, power)


def test_a_pile_of_equal_pictures_is_no_nan():
    found = TaskCoordinates(4).of(torch.ones(1, 6, 8))
    assert found.isfinite().all()
    assert found[..., :-1].abs().max() == 0


def test_evidence_keeps_all_but_its_features():
    x = pile(7).float()
    evidence = Evidence(x[:, :3], torch.tensor([[0, 1, 1]] * 2), x[:, 3:], 2, proportions=torch.ones(2, 2))
    found = TaskCoordinates(3).of_evidence(evidence)
    assert found.support_x.shape == (2, 3, 4)
    assert found.query_x.shape == (2, 4, 4)
    assert found.proportions is evidence.proportions
    assert found.support_y is evidence.support_y


def test_no_coordinates_is_refused():
    with pytest.raises(InputError, match="coordinates 0: 1 or more is needed"):
        TaskCoordinates(0)
