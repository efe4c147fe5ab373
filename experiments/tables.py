"""Finding results and writing Markdown tables, for the commands that report."""

from collections.abc import Sequence
from pathlib import Path

from pyro_sib.errors import InputError


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
    """An aligned Markdown table; figures to the right."""
    widths = [max(3, *(len(row[i]) for row in (header, *rows))) for i in range(len(header))]
    rule = [":" + "-" * (w - 1) if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    padded = [
        [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        for row in (header, *rows)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (padded[0], rule, *padded[1:]))
