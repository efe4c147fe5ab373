"""Names of registered parts in words, and the line that each brings along: for `--help` and for lists."""

from collections.abc import Iterable, Iterator, Mapping

import tyro


def listed(*names: Iterable[str]) -> str:
    """All names in one phrase, as "a, b or c"."""
    *others, last = [name for group in names for name in group]
    return f"{', '.join(others)} or {last}" if others else last


def explained(text: str, *parts: Mapping[str, object]) -> object:
    """A field's help: the text, then a line for each part by its name."""
    return tyro.conf.arg(help="\n".join([text, *(f"{name}: {line}" for name, line in lines(*parts))]))


def lines(*parts: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Each part's name, and the first line of its docstring."""
    for registry in parts:
        for name, part in registry.items():
            oracle = " [oracle: sees the queries' labels]" if getattr(part, "oracle", False) else ""
            yield name, (part.__doc__ or "").strip().split("\n")[0].rstrip(".") + oracle
