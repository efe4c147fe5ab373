"""The main job: images (or features) in, a trained few-shot learner and its measured accuracy out."""

import sys

from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.terminal.command import ANEW, FROM_LAST_EPOCH, run_command
from pyro_sib.experiments.terminal.command_line import from_command_line


def main() -> int:
    """`python -m experiments.run`."""
    settings = from_command_line(RunSettings, "run")
    again = FROM_LAST_EPOCH if settings.learner is None else ANEW
    return run_command("pyro_sib.experiments.job.run:run", settings, RunSettings.resolved, again)


if __name__ == "__main__":
    sys.exit(main())
