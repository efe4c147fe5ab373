"""The held-out images of the base classes, where the user has none of his own."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pyro_sib.data.formats.listing import BASE, Found, Listing
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL
from pyro_sib.errors import InputError

NO_BASE = "no base data"


def held_out_counts(rows: int) -> tuple[int, int]:
    """How many of a class's `rows` go to base_val and to base_test.

    The last sixth, but at least 1 each and at most 50 each: 500 / 50 / 50 of mini-ImageNet's 600. Of an odd
    number base_val gets the one more.

    Args:
        rows: at least 3.
    """
    held = min(max(rows // 6, 2), 100)
    return held - held // 2, held // 2


def hold_out(found: Found) -> Found:
    """Cut `BASE` into base_train, base_val and base_test: each class's first rows, the next, and its last.

    Args:
        found: grouped listings; one without `BASE` is returned as it is.

    Raises:
        InputError: a base class has fewer than 3 rows.
    """
    if BASE not in found.parts:
        return replace(found, base_holdout=found.base_holdout or NO_BASE)
    base = found.parts[BASE]
    held = {name: part for name, part in found.parts.items() if name != BASE}
    parts = {name: base.take(index) for name, index in _cut(base).items()}
    return replace(found, parts={**parts, **held}, base_holdout=_words(base.counts))


def _cut(base: Listing) -> dict[str, NDArray[np.int64]]:
    pieces: dict[str, list[NDArray[np.int64]]] = {BASE_TRAIN: [], BASE_VAL: [], BASE_TEST: []}
    start = 0
    for name, count in zip(base.class_names, base.counts.tolist(), strict=True):
        if count < 3:
            raise InputError(
                f"base class {name} has {count} rows but base_train, base_val and base_test need one each; "
                f"add rows or leave the class out"
            )
        val, test = held_out_counts(count)
        rows = np.arange(start, start + count)
        for part, piece in zip(pieces, np.split(rows, [count - val - test, count - test]), strict=True):
            pieces[part].append(piece)
        start += count
    return {part: np.concatenate(found) for part, found in pieces.items()}


def _words(counts: NDArray[np.int64]) -> str:
    if bool((counts == 600).all()):
        return "images 500-549 / 550-599 of each base class in list order"
    if bool((counts < 606).all()):
        return "last sixth of each base class"
    return "last sixth of each base class, at most 100 rows"
