"""Finding results and writing Markdown tables, for the commands that report."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_sib.errors import InputError
from pyro_sib.experiments.terminal.escape import in_csv, in_markdown


def result_files(folders: Sequence[Path]) -> list[Path]:
    """Every result.json at or below the folders, each once.

    Raises:
        InputError: no folder given, one that is not there, or one without a result.
    """
    if not folders:
        raise InputError("no run given; name at least one folder with result.json")
    paths: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise InputError(f"{folder} {what}; give the folder that --out named")
        here = sorted(folder.rglob("result.json"))
        if not here:
            raise InputError(f"no result.json in {folder} or below it; finish a run with --out there first")
        paths |= {path.resolve(): path for path in here}
    return list(paths.values())


def markdown_table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    """An aligned Markdown table; figures to the right. What anybody named may stand in a cell as it is."""
    header, rows = tuple(map(in_markdown, header)), [[in_markdown(cell) for cell in row] for row in rows]
    widths = [max(3, *(len(row[i]) for row in (header, *rows))) for i in range(len(header))]
    rule = [":" + "-" * (w - 1) if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    padded = [
        [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        for row in (header, *rows)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:]))


def csv_table(records: Sequence[Mapping[str, Any]]) -> str:
    """A csv file's text, with a column for every name of the first record."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, records[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: in_csv(value) for name, value in record.items()} for record in records)
    return buffer.getvalue()
