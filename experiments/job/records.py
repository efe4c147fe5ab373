"""JSON and tasks.csv that experiments leave, read with every entry checked before it is used."""

import csv
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import fits
from pyro_sib.files import opened, read_json

Scalar = str | int | float | bool | None
"""What JSON holds besides lists and objects."""
AGAIN = "delete it and run that experiment again"
_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    tuple: "a list",
}


def read_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file of results.

    Raises:
        InputError: it is missing, damaged, or no object.
    """
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds no result, but a {type(raw).__name__}; {AGAIN}")
    return raw


def typed(raw: Any, hint: Any, path: Path, name: str = "") -> Any:
    """A JSON value as a type has it: objects as dataclasses or dicts, lists as tuples, null as NaN for a float.

    Args:
        raw: the value.
        hint: a dataclass, whose fields with defaults may be missing; a dict with text for keys, or one annotated
            with a key that it must have; a tuple of any length; a scalar, or None besides.
        path: of the file.
        name: dotted, of the value in the file.

    Raises:
        InputError: a value is missing, or of another type.
    """
    origin, parts = get_origin(hint), get_args(hint)
    dot = f"{name}." * bool(name)
    if isinstance(raw, list):
        raw = tuple(raw)
    if origin in (Union, types.UnionType) and types.NoneType in parts and (raw is None or len(parts) == 2):
        return None if raw is None else typed(raw, parts[parts[0] is types.NoneType], path, name)
    if origin is Annotated:
        found = typed(raw, parts[0], path, name)
        if parts[1] not in found:
            raise InputError(f"{path} has no {dot}{parts[1]}; {AGAIN}")
        return found
    if hint is float and raw is None:
        return float("nan")
    if is_dataclass(hint) and isinstance(raw, dict):
        return _object(raw, hint, path, dot)
    if origin is dict and isinstance(raw, dict):
        return {key: typed(value, parts[1], path, f"{dot}{key}") for key, value in raw.items()}
    if origin is tuple and isinstance(raw, tuple):
        return tuple(typed(value, parts[0], path, f"{dot}{number}") for number, value in enumerate(raw))
    if origin in (dict, tuple) or is_dataclass(hint) or not fits(raw, hint):
        wanted = _WORDS.get(dict if is_dataclass(hint) else origin or hint, hint)
        raise InputError(f"{path}: {name} is {raw!r:.80}, not {wanted}; {AGAIN}")
    return raw


def _object(raw: dict[str, Any], kind: Any, path: Path, dot: str) -> Any:
    """A dataclass from the entries that are its fields."""
    hints, values = get_type_hints(kind, include_extras=True), {}
    for field in fields(kind):
        if field.name in raw:
            values[field.name] = typed(raw[field.name], hints[field.name], path, f"{dot}{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{path} has no {dot}{field.name}; {AGAIN}")
    return kind(**values)


@contextmanager
def of_this_version(path: Path) -> Iterator[None]:
    """Show or sum up what was read from a file.

    Raises:
        InputError: it is not as this version writes it.
    """
    try:
        yield
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise InputError(f"{path} is damaged or of another version; delete it and run again") from None


def read_tasks(path: Path, prediction: str, metric: str) -> Tensor:
    """(T,) one column of tasks.csv, the rows of one prediction, in the order of the tasks.

    Raises:
        InputError: the file is missing, cut off or no such table, or has no such prediction.
    """
    again = "run that experiment again"
    try:
        with opened(path, newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("prediction") == prediction]
    except csv.Error as error:
        raise InputError(f"{path} is no table of tasks ({error}); {again}") from None
    try:
        numbers = [int(row["task"]) for row in rows]
        values = [float(row[metric]) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: a row of {prediction} lacks its task or {metric}; {again}") from None
    if not rows or numbers != list(range(len(rows))):
        raise InputError(f"{path} has not each task of {prediction} once, in order; {again}")
    return torch.tensor(values, dtype=torch.float64)
