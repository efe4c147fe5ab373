"""Figures that are made in full but saved blank: drawing one takes longer than the run that it is of."""

from contextlib import contextmanager
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

_SAVE = Figure.savefig


def _blank(figure: Figure, target: Path, **options: object) -> None:
    Image.new("RGB", (2, 2)).save(target)


@contextmanager
def _saving(how):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", how)
        yield


def blank_figures():
    """A context in which figures are saved blank."""
    return _saving(_blank)


def whole_figures():
    """A context, inside such a one too, in which they are saved as they are."""
    return _saving(_SAVE)
