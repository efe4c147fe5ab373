"""What the user knows of how the pile spreads over the classes."""

import json
from math import isclose, isfinite
from pathlib import Path
from typing import Any

from pyro_sib.data.formats.csv_table import read_columns
from pyro_sib.data.pictures.skipped import printable
from pyro_sib.errors import InputError
from pyro_sib.files import opened

_ROUNDING = 0.02
"""By which their sum may be off."""


def read_proportions(given: str, classes: list[str]) -> str | dict[str, float]:
    """Shares by class, or unknown or even, as they were given.

    Args:
        given: a word, or the path of a csv of label,share or of a JSON object of shares.
        classes: that there are; one that the file leaves out has none of the pile.

    Raises:
        InputError: an unknown class, or shares that are no shares or do not add up to one.
    """
    if given in ("unknown", "even"):
        return given
    shares = _read(Path(given))
    if strange := [name for name in shares if name not in classes]:
        raise InputError(
            f"--proportions {given} names {printable(strange[0])}, which is no class; the classes are "
            f"{', '.join(map(printable, classes))}"
        )
    if odd := [name for name, share in shares.items() if not isfinite(share) or not 0 <= share <= 1]:
        raise InputError(
            f"--proportions {given}: the share of {printable(odd[0])} is {shares[odd[0]]:g}, not 0 to 1"
        )
    total = sum(shares.values())
    if not isclose(total, 1, abs_tol=_ROUNDING):
        raise InputError(f"--proportions {given}: the shares add up to {total:g}, not to 1; mend them")
    return {name: shares.get(name, 0.0) / total for name in classes}


def _read(path: Path) -> dict[str, float]:
    with opened(path) as file:
        text = file.read()
    if text.lstrip().startswith("["):
        raise InputError(f"--proportions {path} is a JSON list; give an object that has the share of each class")
    pairs = (
        _of_json(path, text)
        if text.lstrip().startswith("{")
        else zip(*read_columns(path, ("label", "share")), strict=True)
    )
    shares: dict[str, float] = {}
    for name, value in pairs:
        if name in shares:
            raise InputError(f"--proportions {path} names {printable(name)} twice; give each class one share")
        try:
            shares[name] = float(value)
        except (TypeError, ValueError):
            raise InputError(
                f"--proportions {path}: the share of {printable(name)} is {printable(str(value))}, no number"
            ) from None
    return shares


def _of_json(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"--proportions {path} is not valid JSON ({error}); mend it") from None
    return pairs
