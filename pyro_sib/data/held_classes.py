"""Base classes taken out of training, to choose settings on classes that are new and yet no test."""

from dataclasses import replace

import torch

from pyro_sib.data.dataset import DataSet, Split
from pyro_sib.data.formats.assemble import assemble
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, HELD_OUT_AS_VAL, VAL
from pyro_sib.errors import InputError, argument


def hold_out_classes(data: DataSet, count: int) -> DataSet:
    """The data without `count` of its base classes, which become its val; its own val and test are left out.

    The classes held out are spread evenly over the base classes' order, the same ones for the same count.

    Args:
        data: with base classes.
        count: at least 2.

    Raises:
        InputError: fewer than 2 classes to hold out or to keep.
    """
    names = data.split(BASE_TRAIN).class_names
    total = len(names)
    if not 2 <= count <= total - 2:
        raise InputError(
            f"{argument('count')} {count}: {data.name} has {total} base classes, "
            f"of which 2 to {total - 2} can be held out"
        )
    held = torch.zeros(total, dtype=torch.bool)
    held[(torch.arange(count) * total + total // 2) // count] = True
    base = {name: data.splits[name] for name in (BASE_TRAIN, BASE_VAL, BASE_TEST) if name in data.splits}
    splits = {name: _keep(split, ~held) for name, split in base.items()}
    splits[VAL] = _joined([_keep(split, held) for split in base.values()])
    held_out = assemble(data.name, splits, f"{data.base_holdout}; {count} {HELD_OUT_AS_VAL}")
    return replace(held_out, notes=tuple(dict.fromkeys(data.notes + held_out.notes)), skipped=data.skipped)


def _keep(split: Split, classes: torch.Tensor) -> Split:
    """The rows of the classes where `classes`, (C,), is true."""
    rows = classes[split.y]
    numbers = classes.cumsum(0) - 1
    names = tuple(name for name, kept in zip(split.class_names, classes.tolist(), strict=True) if kept)
    return Split(split.x[rows], numbers[split.y[rows]], names)


def _joined(splits: list[Split]) -> Split:
    """Rows of the same classes in several splits, class by class."""
    x, y = torch.cat([s.x for s in splits]), torch.cat([s.y for s in splits])
    order = y.argsort(stable=True)
    return Split(x[order], y[order], splits[0].class_names)
