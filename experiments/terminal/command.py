"""How a command ends: one line for what the user can mend, a word on resuming for a signal."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import TypeVar

from pyro_sib.errors import InputError, storage_error
from pyro_sib.experiments.terminal.allocator import keep_freed_memory
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.options import options_of
from pyro_sib.experiments.terminal.signals import Terminated, stopped_by_signals
from pyro_sib.on_demand import imported

Settings = TypeVar("Settings")

ANEW, FROM_LAST_EPOCH = "begins anew", "goes on from the last finished epoch"
"""What a command does when it is given again: one that keeps nothing, and one that trains."""


def run_command(
    command: Callable[[Settings], object] | str,
    settings: Settings,
    check: Callable[[Settings], object] = lambda settings: None,
    again: str = ANEW,
) -> int:
    """Run `command` on its settings; returns the exit code: 0, 2 for bad input, 130 and 143 for Ctrl-C and SIGTERM.

    Bad input is also a disk that is full or cannot be written, whoever met it. Where an error names an argument
    that is a field of the settings, the option is named instead.

    Args:
        command: what to do, or its home as "module:name", which is imported here: what a command needs for its work
            it does not need to read its command line.
        settings: of the command.
        check: refuses settings that cannot be, before the command is imported.
        again: what the same command does after Ctrl-C or SIGTERM, said to whoever stopped it.
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with stopped_by_signals():
            check(settings)
            do: Callable[[Settings], object] = imported(command) if isinstance(command, str) else command
            do(settings)
    except BrokenPipeError:
        return nobody_reads()
    except (InputError, OSError) as error:
        known = storage_error(error, doing="used") if isinstance(error, OSError) else error
        print(f"error: {one_line(known.said_with(options_of(settings)))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; the same command {again}", file=sys.stderr)
        return 130
    except Terminated:
        print(f"terminated; the same command {again}", file=sys.stderr)
        return 143
    return 0


def nobody_reads() -> int:
    """Say nothing more to whoever read the output and has gone; returns the exit code."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
