"""How a command ends: one line for what the user can mend, a word on resuming for a signal."""

import sys
from collections.abc import Callable

from experiments.signals import Terminated, stopped_by_signals
from pyro_sib.errors import InputError


def run_command(command: Callable[[], object]) -> int:
    """Run `command`; returns the exit code: 0, 2 for bad input, 130 and 143 for Ctrl-C and SIGTERM."""
    try:
        with stopped_by_signals():
            command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    except Terminated:
        print("terminated; the same command goes on from the last finished epoch", file=sys.stderr)
        return 143
    return 0
