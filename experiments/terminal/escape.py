"""One escape for each medium, for whatever somebody else named: classes, folders, files, methods.

Figures get theirs in `drawing.style.save_figure`, tables in `terminal.tables`, the console in
`experiments.progress`, posterior.nc in `experiments.netcdf`; so no caller need think of it. Names that stand in a
sentence of ours go through `one_line` first, since a name may hold new lines and our own text may too.
"""

import re
import unicodedata
from functools import cache
from typing import Any

_SPELLED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_DIRECTIONS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that turn the direction of whatever text follows them."""


def one_line(text: object) -> str:
    """The text in one line that every encoding of Unicode has: control characters and lone surrogates spelled."""
    return "".join(_spelled(c) if _is_control(c) else c for c in str(text))


def _is_control(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _DIRECTIONS


def _spelled(c: str) -> str:
    """A character as Python would write it in a string."""
    return _SPELLED.get(c) or (f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}")


def in_console(text: str) -> str:
    """For the console, our own new lines kept; what is no Unicode, as a path of other bytes, is spelled."""
    return text.encode("utf-8", "backslashreplace").decode()


def in_figure(text: str) -> str:
    """For matplotlib, our own new lines kept: no mathematics, and what its font has no sign for by its number."""
    known = _glyphs()
    lines = ("".join(c if ord(c) in known else f"<{ord(c):X}>" for c in line) for line in text.split("\n"))
    return "\n".join(lines).replace("$", r"\$")


def in_legend(text: object) -> str:
    """For a label, which matplotlib leaves out of legends where it begins with an underscore; not too long."""
    line = shortened(one_line(text), 48)
    return f" {line}" if line.startswith("_") else line


def shortened(line: str, most: int) -> str:
    """With its middle left out where it has more than `most` characters, so that ends that differ still do."""
    half = (most - 1) // 2
    return line if len(line) <= most else f"{line[: most - 1 - half]}…{line[-half:]}"


@cache
def _glyphs() -> frozenset[int]:
    """The characters that matplotlib's font can draw."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def in_markdown(cell: str) -> str:
    """For a cell of a Markdown table: in one line, no end of the cell, no tag."""
    barred = re.sub(r"(\\*)\|", lambda found: f"{2 * found[1]}\\|", one_line(cell))
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", barred)


def in_csv(value: Any) -> Any:
    """For a cell of a csv file: text that a spreadsheet would compute is marked as text; csv.writer quotes.

    A carriage return is left out, which the writer does not quote.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r", "")
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def in_netcdf(text: str) -> str:
    """For a text of posterior.nc: neither NUL nor lone surrogates, which HDF5 has no place for."""
    return "".join(_spelled(c) if c == "\0" or unicodedata.category(c) == "Cs" else c for c in str(text))
