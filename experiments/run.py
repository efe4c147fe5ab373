"""The main job: images (or features) in, a trained few-shot learner and its measured accuracy out."""

import sys

from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line


def main() -> int:
    """`python -m experiments.run`."""
    return run_command(
        "pyro_sib.experiments.job.run:run", from_command_line(RunSettings, "run"), RunSettings.resolved
    )


if __name__ == "__main__":
    sys.exit(main())
