"""The names under which people keep their base, validation and test classes."""

from collections.abc import Iterable

from pyro_sib.data.formats.listing import BASE
from pyro_sib.data.names import TEST, VAL
from pyro_sib.errors import InputError

SYNONYMS = {
    BASE: ("train", "training", "base"),
    VAL: ("val", "valid", "validation", "dev", "development"),
    TEST: ("test", "testing", "novel"),
}
"""Split to its names in small letters; case does not matter."""


def split_named(name: str) -> str | None:
    """The split that a name stands for, if any."""
    return next((part for part, names in SYNONYMS.items() if name.casefold().strip() in names), None)


def find_splits(stems: Iterable[tuple[str, str]], where: object) -> dict[str, str]:
    """Which entry stands for which split, in the order of `SYNONYMS`.

    Args:
        stems: an entry's name without what is common to all (an ending), and its whole name.
        where: named in the message.

    Raises:
        InputError: two entries stand for one split.
    """
    found: dict[str, str] = {}
    for stem, name in stems:
        part = split_named(stem)
        if part in found:
            raise InputError(
                f"{where} has both {found[part]} and {name} for the {SYNONYMS[part][0]} split; keep one of them"
            )
        if part is not None:
            found[part] = name
    return {part: found[part] for part in SYNONYMS if part in found}
