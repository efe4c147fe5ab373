"""The gold standard: NUTS on w_t of a finished run's tasks, beside the guide."""

import sys

from pyro_sib.experiments.sampling.gold_settings import GoldSettings
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line


def main() -> int:
    """`python -m experiments.gold RUN`."""
    return run_command(
        "pyro_sib.experiments.sampling.gold:run",
        from_command_line(GoldSettings, "gold"),
        GoldSettings.check,
        "goes on from the last finished task",
    )


if __name__ == "__main__":
    sys.exit(main())
