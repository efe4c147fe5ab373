"""What a reader found before any pixel is decoded: rows and their labels, split by split."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL

BASE = "base"
"""All rows of the base classes, from which base_val and base_test are yet to be held out."""

SPLITS = (BASE_TRAIN, BASE_VAL, BASE_TEST, VAL, TEST)
"""Canonical order, the most held out last."""


@dataclass(frozen=True)
class Listing:
    """Labelled rows of one split.

    Attributes:
        rows: (n,) paths of images as an object array, (n, H, W, 3) uint8 images, or (n, D) float32 features.
        y: (n,) int64 indices into `class_names`.
        class_names: C names.
    """

    rows: NDArray[Any]
    y: NDArray[np.int64]
    class_names: tuple[str, ...]

    def take(self, index: NDArray[np.int64]) -> "Listing":
        """The rows at `index`, in that order."""
        return replace(self, rows=self.rows[index], y=self.y[index])

    def grouped(self) -> "Listing":
        """The rows class by class, in the order of the list inside each class."""
        if bool((self.y[1:] >= self.y[:-1]).all()):
            return self
        return self.take(np.argsort(self.y, kind="stable"))

    @property
    def counts(self) -> NDArray[np.int64]:
        """(C,) rows of each class."""
        return np.bincount(self.y, minlength=len(self.class_names))

    @property
    def is_files(self) -> bool:
        """Whether the rows are paths (else arrays)."""
        return self.rows.dtype == object


@dataclass(frozen=True)
class Found:
    """All that a reader found: listings by split name, where `BASE` may stand for the three base splits."""

    parts: dict[str, Listing]
    base_holdout: str = ""
    """How the base splits were held out, where the reader found all three."""
    passed: tuple[tuple[str, Path], ...] = ()
    """Reasons and paths of what the reader came across and does not read."""
    notes: tuple[str, ...] = ()
    """What the reader guessed, in words."""
    used: tuple[str, ...] = ()
    """Names of the entries of the data root that it looked into."""


def list_files(paths: Iterable[Path | str], labels: Sequence[str], class_names: Sequence[str]) -> Listing:
    """A listing of image files, their labels given as class names."""
    number = {name: index for index, name in enumerate(class_names)}
    rows = np.array([str(path) for path in paths], dtype=object)
    return Listing(rows, np.array([number[label] for label in labels], dtype=np.int64), tuple(class_names))
