"""Names of registered parts in words, and the line that each brings along: for `--help` and for lists."""

from collections.abc import Iterable, Iterator

import tyro

from pyro_sib.on_demand import Registry


def listed(*names: Iterable[str]) -> str:
    """All names in one phrase, as "a, b or c"."""
    *others, last = [name for group in names for name in group]
    return f"{', '.join(others)} or {last}" if others else last


def explained(text: str, *parts: Registry) -> object:
    """A field's help: the text, then a line for each part by its name."""
    return tyro.conf.arg(help="\n".join([text, *(f"{name}: {line}" for name, line in lines(*parts))]))


def lines(*parts: Registry) -> Iterator[tuple[str, str]]:
    """Each part's name, and the first line of its docstring."""
    for registry in parts:
        for name in registry:
            oracle = " [oracle: sees the queries' labels]" if registry.declared(name, "oracle") else ""
            line = (registry.declared(name, "__doc__") or "").strip().split("\n")[0]
            yield name, line.rstrip(".") + oracle
