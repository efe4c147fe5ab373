"""Progress with time left: a live bar on a terminal, a line for each stage and epoch elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pyro_sib.experiments.terminal.escape import in_console, one_line
from pyro_sib.experiments.terminal.signals import raise_if_stopped

Advance = Callable[[int, int], None]


class Reporter:
    """What a run tells its user, and how long each stage took.

    Attributes:
        seconds: by stage.
    """

    def __init__(self, console: Console | None = None):
        # What anybody named is shown as it is: neither markup nor emoji codes have a meaning here.
        self.console = console or Console(stderr=False, highlight=False, markup=False, emoji=False)
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(Text(in_console(text)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that begins with `warning`."""
        self.say(f"warning: {one_line(text)}")

    def show(self, table: Table) -> None:
        """A table whose cells are as they were given."""
        self.console.print(table, markup=False, emoji=False)

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[Advance]:
        """Time a stage and show its progress; gives a function to call with (done, total), which a signal ends."""
        start = time.perf_counter()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(),
        )
        live = self.console.is_terminal
        with Progress(
            *columns, console=self.console, transient=True, refresh_per_second=4, disable=not live
        ) as progress:
            task = progress.add_task(in_console(title), total=None)

            def advance(done: int, total: int) -> None:
                raise_if_stopped()
                progress.update(task, completed=done, total=total)

            yield advance
        spent = time.perf_counter() - start
        self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 6)
        self.say(f"{title}: {spent:.1f} s")
