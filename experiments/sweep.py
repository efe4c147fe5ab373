"""The sweep of kl_weight as a Markdown table: what the KL's weight does to accuracy, calibration and scales."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.sweep_table import table, weighed
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.files import check_writable

PICTURES = (".pdf", ".png", ".svg")


@dataclass(frozen=True)
class SweepSettings:
    """Print runs that differ in kl_weight as one table."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with result.json, or folders of such folders."""
    picture: Path | None = None
    """Draw accuracy and calibration against the weight into this file, whose ending says the format."""


def main() -> int:
    """`python -m experiments.sweep RUNS...`."""
    settings = from_command_line(SweepSettings, "sweep")
    return run_command(_print, settings)


def _print(settings: SweepSettings) -> None:
    picture = settings.picture
    if picture is not None:
        if picture.suffix.lower() not in PICTURES:
            raise InputError(f"--picture {picture}: its ending is none of {', '.join(PICTURES)}; choose one")
        check_writable(picture.parent, "--picture")
    rows, skipped = weighed(list(settings.runs))
    print(table(rows, skipped), end="", flush=True)
    if picture is not None:
        # Here, since the table alone needs no matplotlib.
        from pyro_sib.experiments.comparison.sweep_figure import try_to_draw

        try_to_draw(rows, picture)


if __name__ == "__main__":
    sys.exit(main())
