"""Rows that recur inside a split: under one label they weigh twice, under two they contradict themselves."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_sib.data.dataset import Split
from pyro_sib.data.formats.listing import SPLITS
from pyro_sib.errors import InputError

LEAST_NUMBERS = 4
"""Different ones in a row of features from which two equal rows are copies."""


def keys_of(digests: Tensor) -> NDArray[np.uint64]:
    """(n, 16) uint8 digests -> (n,) numbers that stand for them."""
    return digests[:, :8].contiguous().numpy().view(np.uint64)[:, 0]


def drop_repeats(
    splits: Mapping[str, Split], digests: Mapping[str, Tensor], tolerated: float = 0.0, own_cut: bool = False
) -> tuple[dict[str, Split], dict[str, Tensor], tuple[str, ...]]:
    """Keep one of equal rows of one class, and none of equal rows of two classes, split by split.

    Args:
        splits: by name.
        digests: `row_digests` of each.
        tolerated: share of a split's rows up to which they stay, and are only counted.
        own_cut: the base splits were cut by rule from one list, which then counts as one split. The row that
            stays is that of the part most held out.

    Returns:
        The splits and digests, and a sentence for each split with such rows.

    Raises:
        InputError: a class has no row left.
    """
    kept, kept_digests, notes = dict(splits), dict(digests), []
    base = tuple(name for name in reversed(SPLITS[:3]) if name in splits) if own_cut else ()
    for names in [base, *((name,) for name in splits if name not in base)]:
        if not names:
            continue
        keys = np.concatenate([keys_of(digests[name]) for name in names])
        y = np.concatenate([splits[name].y.numpy() for name in names])
        again, torn = (found & _telling(names, splits, found) for found in _repeats(keys, y))
        gone = again | torn
        if not gone.any():
            continue
        stays = int(gone.sum()) <= tolerated * len(y)
        notes.append(_words(names, splits, again, torn, stays))
        ends = np.cumsum([len(splits[name].y) for name in names])
        for name, rows in zip(names, np.split(gone, ends[:-1]), strict=True):
            if rows.any() and not stays:
                keep = torch.from_numpy(~rows)
                kept[name], kept_digests[name] = _kept(name, splits[name], keep), digests[name][keep]
    return kept, kept_digests, tuple(notes)


def _kept(name: str, split: Split, keep: Tensor) -> Split:
    rest = Split(split.x[keep], split.y[keep], split.class_names)
    empty = (rest.counts == 0).nonzero()
    if len(empty):
        raise InputError(
            f"no row of class {split.class_names[int(empty[0])]} in {name} is left: each is a copy of another row, "
            f"of its class or of another one; remove the copies and the wrong labels"
        )
    return rest


def _telling(names: tuple[str, ...], splits: Mapping[str, Split], rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of equal rows, those that chance cannot make equal: images, and features of several numbers.

    Features of one bit or of a few zeros and ones are equal without being copies.
    """
    if splits[names[0]].is_images or not rows.any():
        return rows
    x = torch.cat([splits[name].x for name in names])[torch.from_numpy(rows)]
    told = rows.copy()
    told[rows] = (x.sort(1).values.diff(dim=1) != 0).sum(1).numpy() + 1 >= LEAST_NUMBERS
    return told


def _repeats(keys: NDArray[np.uint64], y: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n,) rows that recur earlier in their class alone, and rows that some other class has as well."""
    _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    again, torn = np.zeros(len(keys), dtype=bool), np.zeros(len(keys), dtype=bool)
    members: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(sizes[group] > 1).tolist():
        members[int(group[row])].append(row)
    for rows in members.values():
        if len(set(y[rows].tolist())) > 1:
            torn[rows] = True
        else:
            again[rows[1:]] = True
    return again, torn


def _words(
    names: tuple[str, ...],
    splits: Mapping[str, Split],
    again: NDArray[np.bool_],
    torn: NDArray[np.bool_],
    stays: bool,
) -> str:
    places = [(name, row) for name in names for row in range(len(splits[name].y))]
    found = []
    for rows, what in ((again, "copies inside a class"), (torn, "rows with a copy under another label")):
        if rows.any():
            name, row = places[int(np.flatnonzero(rows)[0])]
            found.append(f"{rows.sum()} {what} (e.g. {place_of(splits[name], row)})")
    done = "left in, as so few are the data set's own" if stays else "left out"
    return f"{'base' if len(names) > 1 else names[0]}: {' and '.join(found)} {done}"


def place_of(split: Split, row: int) -> str:
    """The row in words a user can look up."""
    label = int(split.y[row])
    return f"row {row - int(split.offsets[label])} of class {split.class_names[label]}"
