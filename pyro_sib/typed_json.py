"""Values from JSON that somebody else may have written: an entry that is missing or wrong is named."""

import types
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pyro_sib.errors import InputError

_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    tuple: "a list",
}


LATER = {"later": True}
"""Metadata of a dataclass's field that files written before it existed lack."""


@dataclass(frozen=True)
class TypedReader:
    """Reads JSON's values as types have them.

    Objects become dataclasses or dictionaries, and lists tuples; a whole number serves as a float, null as NaN. A
    type is a scalar, a literal, a tuple of any or of a fixed length, a dictionary with text for keys (annotated
    with a key that must be there, if one must), a dataclass, or a union of these.

    Attributes:
        source: what is read, for errors.
        mend: what to do about a wrong one, for errors.
        exact: whether objects hold each field of their dataclass and nothing else, but for what `LATER` marks;
            otherwise what has a default may be missing, and what is unknown is left out.
    """

    source: str
    mend: str
    exact: bool = False

    def read(self, hint: Any, value: Any, name: str = "") -> Any:
        """The value as the type has it.

        Args:
            hint: the type.
            value: as JSON gives it.
            name: of the value in the source, dotted.

        Raises:
            InputError: an entry is missing, unknown or of another type.
        """
        origin, parts = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(parts, value, name)
        if origin in (Union, types.UnionType):
            return self._union(parts, value, name, hint)
        if is_dataclass(hint) and isinstance(value, dict):
            return self._object(hint, value, name)
        if origin is dict and isinstance(value, dict):
            return {key: self.read(parts[1], part, _dotted(name, key)) for key, part in value.items()}
        if origin is tuple and isinstance(value, list | tuple):
            return self._tuple(parts, value, name)
        if hint is float and value is None:
            return float("nan")
        if not _is(value, hint, origin, parts):
            raise self._wrong(name, value, _words(hint, origin, parts))
        return value

    def _annotated(self, parts: tuple[Any, ...], value: Any, name: str) -> Any:
        found = self.read(parts[0], value, name)
        for key in parts[1:]:
            if isinstance(key, str) and key not in found:
                raise self._missing(_dotted(name, key))
        return found

    def _union(self, parts: tuple[Any, ...], value: Any, name: str, hint: Any) -> Any:
        if value is None and types.NoneType in parts:
            return None
        members = [part for part in parts if part is not types.NoneType]
        if len(members) == 1:
            return self.read(members[0], value, name)
        for member in members:
            try:
                return self.read(member, value, name)
            except InputError:
                continue
        raise self._wrong(name, value, str(hint))

    def _tuple(self, parts: tuple[Any, ...], value: list[Any] | tuple[Any, ...], name: str) -> tuple[Any, ...]:
        hints = [parts[0]] * len(value) if parts[1:] == (Ellipsis,) else list(parts)
        if len(hints) != len(value):
            raise self._wrong(name, value, f"a list of {len(hints)}")
        return tuple(self.read(h, v, _dotted(name, i)) for i, (h, v) in enumerate(zip(hints, value, strict=True)))

    def _object(self, kind: Any, value: dict[str, Any], name: str) -> Any:
        hints, own = get_type_hints(kind, include_extras=True), fields(kind)
        if self.exact and (unknown := sorted(value.keys() - {part.name for part in own})):
            raise InputError(f"{self.source}: {_dotted(name, unknown[0])} is unknown to this version; {self.mend}")
        found = {}
        for part in own:
            where, required = _dotted(name, part.name), part.default is MISSING and part.default_factory is MISSING
            if part.name in value:
                found[part.name] = self.read(hints[part.name], value[part.name], where)
            elif required or (self.exact and not LATER.items() <= part.metadata.items()):
                raise self._missing(where)
        return kind(**found)

    def _missing(self, name: str) -> InputError:
        return InputError(f"{self.source} has no {name}; {self.mend}")

    def _wrong(self, name: str, value: Any, wanted: str) -> InputError:
        return InputError(f"{self.source}: {name or 'the content'} is {value!r:.80}, not {wanted}; {self.mend}")


def _dotted(name: str, part: object) -> str:
    return f"{name}.{part}" if name else str(part)


def _is(value: Any, hint: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    """Whether a scalar is of its type; a whole number is a number, and true is neither."""
    if hint is Any:
        return True
    if origin is Literal:
        return value in parts
    if origin in (dict, tuple) or is_dataclass(hint):
        return False
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    return isinstance(value, hint)


def _words(hint: Any, origin: Any, parts: tuple[Any, ...]) -> str:
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    return _WORDS.get(dict if is_dataclass(hint) else origin or hint, getattr(hint, "__name__", str(hint)))
