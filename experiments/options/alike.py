"""Settings of one kind from those of another."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Kind = TypeVar("Kind", bound="DataclassInstance")


def alike(kind: type[Kind], settings: "DataclassInstance", *but: str, **own: Any) -> Kind:
    """The settings that others have under the same names, but for some, and `own`."""
    shared = {f.name for f in fields(settings)} & {f.name for f in fields(kind)} - {*but}
    return kind(**{name: getattr(settings, name) for name in shared} | own)
