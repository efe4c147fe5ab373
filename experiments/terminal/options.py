"""What the command line calls the arguments of the library."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyro_sib.errors import InputError


@contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Let the library's errors name the settings that its arguments came from, where the two are called otherwise.

    Args:
        names: of settings, by the arguments' names, as `learning_rate="pretrain_learning_rate"`.
    """
    try:
        yield
    except InputError as error:
        error.rename(names)
        raise


def options_of(command: Callable[[], object]) -> dict[str, str]:
    """A command's options by the names of its settings: the fields of every dataclass that it closes over."""
    cells = getattr(command, "__closure__", None) or ()
    held = (cell.cell_contents for cell in cells)
    settings = (one for one in held if dataclasses.is_dataclass(one))
    names = (field.name for one in settings for field in dataclasses.fields(one))
    return {name: f"--{name.replace('_', '-')}" for name in names}
