"""What the command line calls the arguments of the library."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass

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


def options_of(settings: object) -> dict[str, str]:
    """A command's options by the names of its settings; none without a dataclass."""
    names = [field.name for field in fields(settings)] if is_dataclass(settings) else []
    return {name: f"--{name.replace('_', '-')}" for name in names}
