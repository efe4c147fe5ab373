"""Two columns, such as filename and label, of a csv as spreadsheets, scripts and people write it."""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from pyro_sib.data.formats.sniff import read_head
from pyro_sib.data.pictures.skipped import printable
from pyro_sib.errors import InputError

_DELIMITERS = ",;\t|"
_COLUMNS = ("filename", "label")


def read_columns(path: Path, columns: tuple[str, str] = _COLUMNS) -> tuple[list[str], list[str]]:
    """Two columns, such as file names and labels, row by row, without blank lines and blanks around cells.

    UTF-8 or UTF-16 with its mark; any newlines; commas, semicolons, tabs or bars; further columns are allowed.

    Args:
        path: of the list.
        columns: names of the two.

    Raises:
        InputError: a web page, not text, no such columns, or a row that lacks a cell or has one too many.
    """
    read_head(path, "a csv list")
    try:
        text = _decode(path.read_bytes())
        return _columns(path, text, columns)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    except (UnicodeError, csv.Error) as error:
        raise InputError(f"{path} is not a csv list ({error}); save it as a UTF-8 csv") from None


def _decode(raw: bytes) -> str:
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = raw.decode("utf-16" if utf16 else "utf-8-sig")
    if "\0" in text:
        raise UnicodeError("it holds null characters, as UTF-16 without its mark does")
    return text


def _columns(path: Path, text: str, columns: tuple[str, str]) -> tuple[list[str], list[str]]:
    rows = _rows(text, columns)
    header = [cell.casefold() for cell in next(rows, (0, []))[1]]
    if any(header.count(column) != 1 for column in columns):
        raise InputError(
            f"{path} must have the columns {','.join(columns)} once each but has "
            f"{printable(','.join(header))[:100]}; mend that header"
        )
    name, label = (header.index(column) for column in columns)
    names, labels = [], []
    for line, row in rows:
        if len(row) > len(header):
            raise InputError(
                f"{path} line {line} has {len(row)} cells under {len(header)} columns; "
                f"quote names that hold a delimiter"
            )
        row += [""] * (len(header) - len(row))
        if not row[name] or not row[label]:
            raise InputError(f"{path} line {line} lacks a {columns[0]} or a {columns[1]}; mend that line")
        names.append(row[name])
        labels.append(row[label])
    if not names:
        what = "image" if columns[1] == "label" else columns[0]
        raise InputError(f"{path} lists no {what}; write a line for each, or remove the file")
    return names, labels


def _rows(text: str, columns: tuple[str, str]) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and stripped cells of rows that hold anything, without empty cells at their end."""
    lines = io.StringIO(text, newline="")
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    said = first.strip().casefold()
    delimiter = (
        said[-1] if said[:-1] == "sep=" else next((d for d in _DELIMITERS if _heads(first, d, columns)), ",")
    )
    for row in (table := csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)):
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells and not (table.line_num == 1 and said[:-1] == "sep="):
            yield table.line_num, cells


def _heads(line: str, delimiter: str, columns: tuple[str, str]) -> bool:
    cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return {cell.strip().casefold() for cell in cells} >= set(columns)
