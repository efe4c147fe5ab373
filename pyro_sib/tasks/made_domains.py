"""Domains made of another's features, so that a learner is trained in more domains than there are pictures of."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from pyro_sib.cosine import unit
from pyro_sib.data import Split
from pyro_sib.errors import InputError, argument

_CLASSES = 16
"""Of each made domain, where there are as many."""
_NOISE, _NUMBERS, _MERGED = 2.4, 24, 3


def noisy(rows: Split, generator: Generator) -> Split:
    """The first classes, with noise of more than twice a feature's standard deviation added."""
    some = _of_classes(rows, 0, _CLASSES)
    x = unit(some.x.float())
    return some.with_x(x + _NOISE * x.std() * torch.randn(x.shape, generator=generator))


def few_numbers(rows: Split, generator: Generator) -> Split:
    """The next classes, with a few of the features' numbers alone."""
    some = _of_classes(rows, _CLASSES, 2 * _CLASSES)
    kept = torch.randperm(some.x.shape[1], generator=generator)[:_NUMBERS]
    return some.with_x(unit(some.x.float())[:, kept])


def merged(rows: Split, generator: Generator) -> Split:
    """The other classes, three of them called one, so that a class has several kinds of pictures."""
    some = _of_classes(rows, _CLASSES, len(rows.class_names))
    whole = len(some.class_names) // _MERGED
    kept = some.y < whole * _MERGED
    names = tuple("+".join(some.class_names[_MERGED * c : _MERGED * (c + 1)]) for c in range(whole))
    y, order = (some.y[kept] // _MERGED).sort(stable=True)
    return Split(some.x[kept][order], y, names)


MADE: dict[str, Callable[[Split, Generator], Split]] = {"noisy": noisy, "few": few_numbers, "merged": merged}
"""By name; each is of other classes of the domain that they are made of, as far as it has enough."""


def make_domain(name: str, rows: Split) -> Split:
    """The made domain of that name; the same rows give the same one.

    Args:
        name: one of `MADE`.
        rows: (n, D) features of enough classes.

    Raises:
        InputError: too few classes.
    """
    least = _CLASSES + 2 * _MERGED
    if len(rows.class_names) < least:
        found = len(rows.class_names)
        raise InputError(
            f"{found} known classes are too few to make domains of; give {least} or more, or turn off "
            f"{argument('made_up')}"
        )
    return MADE[name](rows, torch.Generator().manual_seed(list(MADE).index(name)))


def _of_classes(rows: Split, first: int, end: int) -> Split:
    kept: Tensor = (rows.y >= first) & (rows.y < end)
    return Split(rows.x[kept], rows.y[kept] - first, rows.class_names[first:end])
