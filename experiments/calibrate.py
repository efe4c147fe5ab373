"""How far to trust a run's predictions: calibration, selective prediction, and queries of unknown classes."""

import sys

from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.experiments.trust.settings import CalibrateSettings


def main() -> int:
    """`python -m experiments.calibrate`."""
    return run_command(
        "pyro_sib.experiments.trust.calibrate:calibrate",
        from_command_line(CalibrateSettings, "calibrate"),
        CalibrateSettings.check,
    )


if __name__ == "__main__":
    sys.exit(main())
