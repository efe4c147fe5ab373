"""Leaks and empty splits: what must hold before any accuracy means something."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_sib.data.copies import keys_of, place_of
from pyro_sib.data.dataset import Split
from pyro_sib.data.formats.listing import SPLITS, Listing
from pyro_sib.data.names import TEST, VAL
from pyro_sib.errors import InputError

TOLERATED_COPIES = 0.005
"""Share of copies between two splits that is the data set's own; beyond it, someone mixed up splits."""


def check_classes(parts: Mapping[str, Listing]) -> None:
    """Refuse empty splits and classes, novel splits of one class, and classes in two of base, val and test.

    Raises:
        InputError: naming the splits and one class.
    """
    for name, part in parts.items():
        if not len(part.y):
            raise InputError(f"{name} holds no rows; add data or leave the split out")
        empty = np.flatnonzero(part.counts == 0)
        if len(empty):
            raise InputError(f"class {part.class_names[empty[0]]} has no rows in {name}; add rows or leave it out")
        if len(set(part.class_names)) < len(part.class_names):
            twice = next(name for name in part.class_names if part.class_names.count(name) > 1)
            raise InputError(f"{name} names two classes {twice}; give each class a name of its own")
        if name in (VAL, TEST) and len(part.class_names) < 2:
            raise InputError(f"{name} has only the class {part.class_names[0]}; tasks need at least 2 classes")
    owner: dict[str, str] = {}
    for name, part in parts.items():
        world = name if name in (VAL, TEST) else "base"
        for label in part.class_names:
            other = owner.setdefault(label, world)
            if other != world:
                raise InputError(
                    f"class {label} is both in {other} and in {world}, which must have no class in common; "
                    f"remove it from one of them"
                )


def drop_copies(
    splits: Mapping[str, Split], digests: Mapping[str, Tensor]
) -> tuple[dict[str, Split], dict[str, Tensor], str]:
    """Leave out each row that recurs in a split more held out: what is learnt from is never tested on.

    mini-ImageNet itself holds a few such images (once inside a class, some under two labels). Leaving them
    out on the side that learns keeps the published val and test whole.

    Args:
        splits: by name.
        digests: `row_digests` of each.

    Returns:
        The splits and digests without copies, and what was left out in words ("" where nothing was).

    Raises:
        InputError: two splits share more than `TOLERATED_COPIES` of the smaller one's rows, or a class loses
            all of its own.
    """
    names = sorted(splits, key=SPLITS.index)
    keys = {name: keys_of(digests[name]) for name in names}
    kept, kept_digests, words = dict(splits), dict(digests), []
    for place, name in enumerate(names):
        copies = np.zeros(len(keys[name]), dtype=bool)
        for later in names[place + 1 :]:
            shared = np.isin(keys[name], keys[later])
            if shared.sum() > TOLERATED_COPIES * min(len(keys[name]), len(keys[later])):
                raise InputError(_leak(name, later, splits, keys, shared))
            copies |= shared
        if copies.any():
            keep = torch.from_numpy(~copies)
            split = splits[name]
            kept[name] = Split(split.x[keep], split.y[keep], split.class_names)
            kept_digests[name] = digests[name][keep]
            if bool((kept[name].counts == 0).any()):
                lost = split.class_names[int(kept[name].counts.argmin())]
                raise InputError(f"every row of {lost} in {name} recurs in another split; remove one of the copies")
            words.append(f"{copies.sum()} of {name}")
    note = f"copies of rows in later splits left out: {', '.join(words)}" if words else ""
    return kept, kept_digests, note


def _leak(
    name: str,
    later: str,
    splits: Mapping[str, Split],
    keys: Mapping[str, NDArray[np.uint64]],
    shared: NDArray[np.bool_],
) -> str:
    here = int(np.flatnonzero(shared)[0])
    there = int(np.flatnonzero(keys[later] == keys[name][here])[0])
    return (
        f"{name} and {later} share {shared.sum()} rows, e.g. {place_of(splits[name], here)} of {name} is "
        f"{place_of(splits[later], there)} of {later}; they must have none in common, remove them from one"
    )
