"""What is named in one place and imported when it is asked for, so that names cost nothing."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

from pyro_sib.errors import InputError
from pyro_sib.source import declared

Part = TypeVar("Part")


def imported(home: str) -> Any:
    """What "module:name" stands for."""
    module, _, name = home.partition(":")
    return getattr(import_module(module), name)


def names_of(module: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """A module's `__getattr__`, for names that it offers from other modules.

    Args:
        module: its name.
        homes: the module of each name.
    """

    def getattr_(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return imported(f"{homes[name]}:{name}")

    return getattr_


class Registry(Mapping[str, Part], Generic[Part]):
    """Parts by name. To list them, to look for a name and to say what a part declares imports none of them.

    Args:
        homes: of each part, by its name, as "module:name".
        below: the package of all these modules, where they are named without it.
    """

    def __init__(self, homes: Mapping[str, str], below: str = ""):
        self.homes = {name: f"{below}.{home}" if below else home for name, home in homes.items()}

    def __getitem__(self, name: str) -> Part:
        part: Part = imported(self.homes[name])
        return part

    def __iter__(self) -> Iterator[str]:
        return iter(self.homes)

    def __len__(self) -> int:
        return len(self.homes)

    def __contains__(self, name: object) -> bool:
        return name in self.homes

    def require(self, kind: str, name: str) -> None:
        """Refuse a name that none of the parts has.

        Args:
            kind: of the parts, in words.
            name: to look for.

        Raises:
            InputError: there is none.
        """
        if name not in self.homes:
            raise InputError(f"unknown {kind} {name!r}; choose one of {', '.join(self.homes)}")

    def declared(self, name: str, attribute: str, otherwise: Any = None) -> Any:
        """An attribute of the part's class that is a constant, as its source has it; `otherwise` where it has none.

        Raises:
            KeyError: no part of that name.
        """
        module, _, kind = self.homes[name].partition(":")
        return declared(module, kind, attribute, otherwise)
