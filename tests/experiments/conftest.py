"""What the commands' tests share."""

import pytest

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
