"""What a user may say of the classes' proportions."""

import pytest
import torch

from pyro_sib.tasks.proportions import concentrations

NAMES = ["ibis", "heron"]


def test_nothing_is_known_unless_something_is_said():
    assert concentrations("unknown", NAMES) is None


def test_what_is_known_has_shares_that_no_pile_moves():
    even, given = concentrations("even", NAMES), concentrations({"heron": 0.75, "ibis": 0.25}, NAMES)
    assert torch.equal(even / even.sum(), torch.tensor([0.5, 0.5]))
    assert torch.equal(given / given.sum(), torch.tensor([0.25, 0.75]))
    assert even.sum() == given.sum() == 2000


def test_a_number_is_a_concentration():
    assert torch.equal(concentrations(0.5, NAMES), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("equal", "proportions is 'equal'; choose unknown, even"),
        (-1.0, "a concentration of 0.01"),
        (float("nan"), "a concentration of 0.01"),
        ({"ibis": 1.0}, "no share of class heron"),
        ({"ibis": 0.5, "heron": 0.5, "stork": 0.0}, "names stork, which is no class"),
        ({"ibis": 1.5, "heron": -0.5}, "a share of -0.5 for heron"),
        ({"ibis": 0.5, "heron": 0.4}, "add up to 0.9"),
    ],
)
def test_what_cannot_be_is_one_clear_line(said, message):
    with pytest.raises(ValueError, match=message) as found:
        concentrations(said, NAMES)
    assert "\n" not in str(found.value)
