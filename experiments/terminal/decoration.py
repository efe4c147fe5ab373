"""What a finished result is decorated with: pictures and exports, whose failure is a warning and no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyro_sib.errors import InputError
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import write_json

WARNINGS = "decoration_warnings"
"""Their entry in result.json: None till the decorations have been tried, then a line for each that failed."""


class Decorations:
    """Collects what went wrong after the results were safe.

    Args:
        reporter: told of each failure in one line.
    """

    def __init__(self, reporter: Reporter):
        self.reporter = reporter
        self.warnings: list[str] = []

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Turn whatever goes wrong inside into a warning; Ctrl-C and SIGTERM end the command as ever."""
        try:
            yield
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            reason = " ".join(f"{kind}{error}".split())
            self.warnings.append(f"{what} could not be made ({reason}); the results are complete without it")
            self.reporter.warn(self.warnings[-1])

    def note(self, path: Path, result: dict[str, Any]) -> None:
        """Write the result once more, with the warnings; where that fails, it stays as it was."""
        result[WARNINGS] = self.warnings
        with self.trying(f"the note of warnings in {path.name}"):
            write_json(path, result)
