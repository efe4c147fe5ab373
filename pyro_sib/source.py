"""What classes of this package say of themselves in their source, read without importing what they need."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

_OWN = "pyro_sib"


class _Source(NamedTuple):
    """A module's classes, and where the names that it imports are from."""

    classes: dict[str, ast.ClassDef]
    origins: dict[str, tuple[str, str]]


def declared(module: str, name: str, attribute: str, otherwise: Any = None) -> Any:
    """A class's attribute that is a literal, its own or of the nearest class that it extends.

    Args:
        module: of the class.
        name: of the class.
        attribute: as "serves_joint"; "__doc__" is the class's own docstring.
        otherwise: the answer where none of them has it.
    """
    lineage = list(_lineage(module, name))
    if not lineage:  # an installation without sources
        return getattr(getattr(import_module(module), name), attribute, otherwise)
    if attribute == "__doc__":
        return ast.get_docstring(lineage[0])
    found = (value for kind in lineage for target, value in _constants(kind) if target == attribute)
    return next(found, otherwise)


def _lineage(module: str, name: str) -> Iterator[ast.ClassDef]:
    """The class and those of this package that it extends, the nearest first."""
    source = _read(module) if module.split(".")[0] == _OWN else None
    if source is None or name not in source.classes:
        return
    yield source.classes[name]
    for base in source.classes[name].bases:
        if isinstance(base, ast.Name):
            yield from _lineage(*source.origins.get(base.id, (module, base.id)))


def _constants(kind: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """Names in a class's body with the literals that they are given."""
    for line in kind.body:
        targets = line.targets if isinstance(line, ast.Assign) else []
        targets = [line.target] if isinstance(line, ast.AnnAssign) else targets
        for target in targets:
            value = getattr(line, "value", None)
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
                yield target.id, value.value


@cache
def _read(module: str) -> _Source | None:
    """Of a module that is not executed; None where its source is not at hand."""
    spec = find_spec(module)
    text = None if spec is None or spec.loader is None else spec.loader.get_source(module)  # type: ignore[attr-defined]
    if text is None:
        return None
    body = ast.parse(text).body
    imports = (line for line in body if isinstance(line, ast.ImportFrom))
    return _Source(
        {line.name: line for line in body if isinstance(line, ast.ClassDef)},
        {n.asname or n.name: (line.module or "", n.name) for line in imports for n in line.names},
    )
