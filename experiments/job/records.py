"""JSON and tasks.csv that experiments leave, read with every entry checked before it is used."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pyro_sib.errors import InputError, argument
from pyro_sib.files import opened, read_json
from pyro_sib.typed_json import TypedReader


class _Measurements(Protocol):
    @property
    def of(self) -> dict[str, Any]: ...


_Record = TypeVar("_Record", bound=_Measurements)
Scalar = str | int | float | bool | None
"""What JSON holds besides lists and objects."""
AGAIN = "delete it and run that experiment again"


def read_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file of results.

    Raises:
        InputError: it is missing, damaged, or no object.
    """
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds no result, but a {type(raw).__name__}; {AGAIN}")
    return raw


def reader_of_results(path: Path) -> TypedReader:
    """Reads what a file of results holds."""
    return TypedReader(str(path), AGAIN)


def read_resumed(kind: type[_Record], path: Path, version: int, of: Mapping[str, Any]) -> _Record | None:
    """What a file holds of measurements that are to be gone on with; None where it is not there.

    Args:
        kind: dataclass of the file, whose `of` holds what determines the numbers.
        path: of the file.
        version: that it should be of.
        of: what determines the numbers of these measurements, as JSON has it.

    Raises:
        InputError: the file is damaged, of another version, or of other measurements.
    """
    if not path.exists():
        return None
    raw, mend = read_object(path), f"choose another {argument('out')} or delete the folder"
    if raw.get("version") != version:
        raise InputError(f"{path} is of another version; {mend}")
    record: _Record = reader_of_results(path).read(kind, raw)
    if differing := sorted(name for name in of.keys() | record.of.keys() if of.get(name) != record.of.get(name)):
        raise InputError(f"{path} is of other measurements ({', '.join(differing)} differ); {mend}")
    return record


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


def read_column(path: Path, prediction: str, metric: str) -> list[float]:
    """One column of tasks.csv, the rows of one prediction, in the order of the tasks.

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
    return values
