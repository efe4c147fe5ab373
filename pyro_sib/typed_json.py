"""Dataclasses from JSON that somebody else may have written: every entry is there and of its type, or an error."""

import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


def from_json(kind: type[Kind], value: object, where: str = "") -> Kind:
    """A dataclass from what `dataclasses.asdict` and JSON made of it.

    Lists become tuples where the type says so. Whole numbers serve as floats, and null as NaN.

    Args:
        kind: the dataclass; its fields are numbers, strings, booleans, literals, tuples, dictionaries, dataclasses
            or unions of these.
        value: what JSON holds.
        where: name of the entry, for errors.

    Raises:
        ValueError: naming the entry, what it should be, and what was found.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the content'} should be an object but is {value!r:.60}")
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(value) - set(names)):
        raise ValueError(f"{_entry(where, unknown[0])} is an entry that this version does not know")
    if missing := sorted(set(names) - set(value)):
        raise ValueError(f"{_entry(where, missing[0])} is missing")
    return kind(**{name: _value(hints[name], value[name], _entry(where, name)) for name in names})


def _entry(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _value(hint: Any, value: object, where: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _of_union(parts, value, where)
    if origin is tuple:
        return _tuple(parts, value, where)
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        return {name: _value(parts[1], part, f"{where}.{name}") for name, part in value.items()}
    if origin is Literal:
        if value not in parts:
            raise _wrong(where, f"one of {', '.join(map(str, parts))}", value)
        return value
    if hint is Any:
        return value
    if hint is float:
        return _number(value, where)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _wrong(where, {int: "a whole number", str: "text", bool: "true or false"}.get(hint, str(hint)), value)
    return value


def _of_union(parts: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and type(None) in parts:
        return None
    errors = []
    for part in parts:
        if part is not type(None):
            try:
                return _value(part, value, where)
            except ValueError as error:
                errors.append(error)
    raise errors[0]


def _tuple(parts: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(where, "a list", value)
    hints = [parts[0]] * len(value) if len(parts) == 2 and parts[1] is Ellipsis else list(parts)
    if len(hints) != len(value):
        raise _wrong(where, f"a list of {len(hints)}", value)
    return tuple(_value(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(hints, value, strict=True)))


def _number(value: object, where: str) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(where, "a number", value)
    return value


def _wrong(where: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{where} should be {expected} but is {value!r:.60}")
