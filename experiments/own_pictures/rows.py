"""Rows to be classified or learned from, whether they came as pictures or as features."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """What is kept of one picture.

    Attributes:
        features: (D,) float32.
        content: digest of the file.
        pixels: digest of the picture as the network sees it.
        thumbnail: a small JPEG.
    """

    features: Tensor
    content: bytes
    pixels: bytes
    thumbnail: bytes


@dataclass(frozen=True)
class Row:
    """One example.

    Attributes:
        name: in predictions.csv: the path, or the file of features and the row's number.
        features: (D,) float32.
        label: its class, for a labeled one.
        path: of the picture, or None for a row of features.
        entry: of the picture, or None for a row of features.
    """

    name: str
    features: Tensor
    label: str = ""
    path: Path | None = None
    entry: Entry | None = None


def stacked(rows: list[Row]) -> Tensor:
    """(n, D)."""
    return torch.stack([row.features for row in rows])


def by_class(rows: list[Row]) -> dict[str, list[Row]]:
    """The labeled rows of each class, classes in the order of their names."""
    return {label: [row for row in rows if row.label == label] for label in sorted({row.label for row in rows})}
