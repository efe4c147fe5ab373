"""What lies under a data root and is not read: counted and named, so that nothing is lost without a word."""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SHOWN = 10
"""Names that a count comes with."""
HIDDEN = "hidden"
"""The reason of names that begin with a dot, which systems write by themselves."""


@dataclass(frozen=True)
class Skipped:
    """Entries passed over for one reason.

    Attributes:
        reason: in words.
        count: of all of them.
        names: the first `SHOWN`, relative to the data root.
    """

    reason: str
    count: int
    names: tuple[str, ...]

    def in_words(self) -> str:
        """One line."""
        more = ", ..." if self.count > len(self.names) else ""
        return f"{self.count} not read ({self.reason}): {', '.join(self.names)}{more}"


def summarize(passed: Iterable[tuple[str, Path]], root: Path) -> tuple[Skipped, ...]:
    """One record for each reason.

    Args:
        passed: reasons and paths.
        root: what names are relative to.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for reason, path in passed:
        names[reason].append(printable(os.path.relpath(path, root)))
    return tuple(Skipped(reason, len(found), tuple(found[:SHOWN])) for reason, found in names.items())


def printable(name: str) -> str:
    """The name on one line, in characters that any terminal takes; what is none of a text is escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
