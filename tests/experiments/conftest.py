"""What the commands' tests share."""

import pytest

from pyro_sib.data.worlds.synthetic import synthetic_world
from pyro_sib.experiments.job import features
from tests.experiments.rendering import blank_figures, whole_figures


@pytest.fixture(scope="package", autouse=True)
def _blank_figures():
    with blank_figures():
        yield


@pytest.fixture
def rendered():
    """For tests whose figures are drawn: at least one of each command."""
    with whole_figures():
        yield


@pytest.fixture
def tiny_world(monkeypatch):
    """The synthetic world with 6 base classes of 36 images, and 4 and 4 others of 12."""
    monkeypatch.setattr(
        features, "synthetic_world", lambda seed, size: synthetic_world(seed, size, 6, 4, 4, 36, 12)
    )
