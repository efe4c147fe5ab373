"""Simulation-based calibration: is a truth from the prior where the posteriors of its own data say?"""

import sys
from typing import Any

from pyro_sib.experiments.sampling.sbc_settings import SBCSettings
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.on_demand import imported

FAILED = 1
"""Exit code where a method is not calibrated."""


def main() -> int:
    """`python -m experiments.sbc`: 0 where every method is calibrated, 1 where one is not, 2 for bad input."""
    settings = from_command_line(SBCSettings, "sbc")
    results: list[dict[str, Any]] = []

    def check(said: SBCSettings) -> None:
        results.append(imported("pyro_sib.experiments.sampling.sbc:run")(said))

    code = run_command(check, settings, SBCSettings.resolved)
    if results and not all(row["calibrated"] for row in results[0]["judged"].values()):
        return FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
