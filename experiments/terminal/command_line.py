"""A command's settings from its command line: every option is a field, and `--help` shows them by subject."""

import ast
import inspect
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import field, fields, make_dataclass
from functools import cache
from io import StringIO
from itertools import pairwise
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro

from pyro_sib.experiments.terminal.command import nobody_reads
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.parser_error import in_one_line

Settings = TypeVar("Settings")
WIDTH = 120
"""Columns that help takes, at most; given more, tyro would put subjects side by side."""
_NO_WRAP = 1000
"""Columns in which no error is wrapped."""


def from_command_line(kind: type[Settings], command: str) -> Settings:
    """The settings that the command line gives.

    Options have the names of the fields. A field that comes from a class with a `group` stands under that title in
    the help, any other one at its top. What is said of it is the docstring below it.

    Args:
        kind: a dataclass, whose docstring is the command's.
        command: name of the module in `experiments`.
    """
    titles, docs, hints = _titles(kind), _docs(kind), get_type_hints(kind, include_extras=True)
    parts: dict[str, list[tuple[str, Any, Any]]] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        hint = hints[one.name]
        plain, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        said = tyro.conf.arg(prefix_name=False, help=docs.get(one.name))
        value = field(default=one.default, default_factory=one.default_factory)
        parts.setdefault(titles.get(one.name, ""), []).append((one.name, Annotated[plain, said, *marks], value))
    top = parts.pop("", [])
    for number, (title, options) in enumerate(parts.items()):
        part = make_dataclass("Part", options, kw_only=True)
        # Without a help of its own, tyro would search the sources for one.
        top.append((f"part{number}_", Annotated[part, tyro.conf.arg(name=title, help="")], field()))
    whole = make_dataclass("Whole", top, kw_only=True)
    try:
        with _narrow(), _error_in_one_line():
            given: Any = tyro.cli(whole, prog=f"python -m experiments.{command}", description=inspect.getdoc(kind))
    except BrokenPipeError:
        sys.exit(nobody_reads())
    found = {**vars(given)}
    for number in range(len(parts)):
        found |= vars(found.pop(f"part{number}_"))
    return kind(**found)


def _titles(kind: type) -> dict[str, str]:
    """Of each field that comes from a class with a group, by its name."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__[1:]):
        if hasattr(owner, "group"):
            for name in inspect.get_annotations(owner):
                found.setdefault(name, owner.group)
    return found


def _docs(kind: type) -> dict[str, str]:
    """What stands below each field, by its name; the nearest class has the last word."""
    found = {}
    for owner in reversed(kind.__mro__[:-1]):
        for one, below in pairwise(_bodies(owner.__module__).get(owner.__name__, [])):
            if isinstance(one, ast.AnnAssign) and isinstance(below, ast.Expr):
                found[ast.unparse(one.target)] = " ".join(ast.literal_eval(below.value).split())
    return found


@cache
def _bodies(module: str) -> dict[str, list[ast.stmt]]:
    """The classes of a module; none where its source is not at hand."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):
        return {}
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}


@contextmanager
def _error_in_one_line() -> Iterator[None]:
    """In place of the box that tyro draws of it."""
    box = StringIO()
    try:
        with redirect_stderr(box):
            yield
    except SystemExit as ended:
        said = box.getvalue()
        if ended.code and said:
            said = f"error: {one_line(in_one_line(said))}\n"
        sys.stderr.write(said)
        raise
    sys.stderr.write(box.getvalue())


@contextmanager
def _narrow() -> Iterator[None]:
    """Let tyro think the terminal no wider than `WIDTH`, but for errors, which it is not to wrap."""
    before, width = os.environ.get("COLUMNS"), min(shutil.get_terminal_size().columns, WIDTH)
    os.environ["COLUMNS"] = str(width if {"-h", "--help"} & {*sys.argv} else _NO_WRAP)
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
