"""The one in-memory form behind every reader: splits of images or features, with their classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyro_sib.data.pictures.skipped import Skipped
from pyro_sib.errors import InputError, argument


@dataclass(frozen=True)
class Split:
    """The rows of one split, grouped by class: `y` is sorted and covers 0..C-1.

    Attributes:
        x: (n, 3, H, W) uint8 images, or (n, D) float32 features.
        y: (n,) int64 class indices into `class_names`, ascending.
        class_names: C names; the same tuple for the three base splits.
    """

    x: Tensor
    y: Tensor
    class_names: tuple[str, ...]
    offsets: Tensor = field(init=False, repr=False)
    """(C + 1,) int64: rows offsets[c] to offsets[c + 1] are those of class c."""

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise InputError(f"{len(self.x)} rows but {len(self.y)} labels; give one label for each row")
        if len(self.y) > 1 and bool((self.y[1:] < self.y[:-1]).any()):
            raise ValueError("the rows of a split must be grouped by class")
        counts = torch.bincount(self.y, minlength=len(self.class_names))
        if len(counts) > len(self.class_names):
            raise ValueError(f"label {len(counts) - 1} but only {len(self.class_names)} class names")
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        object.__setattr__(self, "offsets", offsets)

    @property
    def is_images(self) -> bool:
        """Whether the rows are images (else features)."""
        return self.x.ndim == 4

    @property
    def counts(self) -> Tensor:
        """(C,) rows of each class."""
        return self.offsets[1:] - self.offsets[:-1]

    def divided(self, share: float) -> "tuple[Split, Split]":
        """The first rows of each class, and the others.

        Args:
            share: of a class's rows that the first part gets, rounded down.
        """
        place = torch.arange(len(self.y)) - self.offsets[self.y]
        first = place < (share * self.counts).long()[self.y]
        one, other = (Split(self.x[part], self.y[part], self.class_names) for part in (first, ~first))
        return one, other

    def with_x(self, x: Tensor) -> "Split":
        """The same rows in another representation (features in place of images)."""
        return Split(x, self.y, self.class_names)


@dataclass(frozen=True)
class DataSet:
    """All splits of one data set.

    Attributes:
        name: e.g. "mini-imagenet", "folders", "synthetic", "features".
        splits: any of base_train, base_val, base_test, val, test; absent ones are simply missing.
        base_holdout: how base_val and base_test were held out, in words, for every result.
        fingerprint: hex digest of the content (pixels or features, labels, class names).
        notes: what the reader scaled, guessed or left out, a sentence each.
        skipped: what lies beside the data and was not read.
    """

    name: str
    splits: Mapping[str, Split]
    base_holdout: str
    fingerprint: str
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def split(self, name: str) -> Split:
        """The named split.

        Raises:
            InputError: the data holds no such split.
        """
        if name not in self.splits:
            raise InputError(
                f"{self.name} has no {name} data (found: {', '.join(self.splits)}); "
                f"add it under the data root or choose another {argument('split')}"
            )
        return self.splits[name]

    @property
    def is_images(self) -> bool:
        """Whether the splits hold images (else features)."""
        return next(iter(self.splits.values())).is_images
