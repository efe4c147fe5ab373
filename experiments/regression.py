"""Few-shot regression: sinusoids from a few labeled points, by the same model, guides and SVI."""

import sys

from pyro_sib.experiments.sinusoids.settings import RegressionSettings
from pyro_sib.experiments.terminal.command import FROM_LAST_EPOCH, run_command
from pyro_sib.experiments.terminal.command_line import from_command_line


def main() -> int:
    """`python -m experiments.regression`."""
    return run_command(
        "pyro_sib.experiments.sinusoids.regression:run",
        from_command_line(RegressionSettings, "regression"),
        RegressionSettings.resolved,
        FROM_LAST_EPOCH,
    )


if __name__ == "__main__":
    sys.exit(main())
