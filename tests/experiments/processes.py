"""Programs in processes of their own, forked from one that has imported what they need and done nothing yet.

A Python that is started anew takes seconds to import torch; what runs in it is the same.
"""

import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.experiments.rendering import blank_figures

_PRELOADED = [
    "pyro_sib.experiments.job.run",
    "pyro_sib.experiments.speed.images",
    "pyro_sib.experiments.speed.stages",
    "pyro_sib.experiments.drawing.style",
    "pyro_sib.inference.classifier",
    "torch.utils.tensorboard",
    "torch._dynamo",
    __name__,
]


def start() -> None:
    """Start the process that all of them are forked from."""
    multiprocessing.set_forkserver_preload(_PRELOADED)
    multiprocessing.forkserver.ensure_running()


def ended(work: Callable[..., int | None], *given: object, said: Path) -> int:
    """Its exit code, or the negative number of the signal that ended it.

    Args:
        work: what to do, a function that a module of the tests holds; returns an exit code.
        given: its arguments.
        said: file for what it writes to stderr.
    """
    process = multiprocessing.get_context("forkserver").Process(target=_begin, args=(work, given, said))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "it takes more than two minutes"
    return process.exitcode


def _begin(work: Callable[..., int | None], given: tuple[object, ...], said: Path) -> None:
    """As a command of a shell in front begins: Ctrl-C is not ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), sys.__stderr__.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    sys.exit(work(*given))


def command(name: str, *options: str) -> int:
    """`python -m experiments.NAME OPTIONS`, in this process."""
    sys.argv = [name, *options]
    with blank_figures():
        return importlib.import_module(f"pyro_sib.experiments.{name}").main()


def stopped_run(at: int, stop: int, *options: str) -> int:
    """The same of run, which sends itself a signal as it draws the tasks of an iteration."""
    from pyro_sib.tasks.source import TaskSource

    whole = TaskSource.batch

    def batch(self, iteration, size):
        if iteration == at:
            os.kill(os.getpid(), stop)
        return whole(self, iteration, size)

    TaskSource.batch = batch
    return command("run", *options)
