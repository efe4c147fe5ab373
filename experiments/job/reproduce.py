"""All rows of docs/results.md, one after another; stopped and started again, it goes on where it was."""

from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.report import report
from pyro_sib.experiments.reproduce import ReproduceSettings, rows
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, write_text


def reproduce(settings: ReproduceSettings) -> None:
    """Run what is not yet there."""
    reporter, out = Reporter(), settings.filled().out
    everything = [row.resolved() for row in rows(settings)]  # a wrong name stops the whole before its first row
    check_writable(out, "--out")
    for number, row in enumerate(everything, 1):
        reporter.say(f"row {number} of {len(everything)}: {row.out}")
        run(row, Reporter(reporter.console))
        if settings.table is not None:  # after each row, so that a stop leaves the table of what is there
            write_text(out / "table.md", report([out]))
    if settings.table is not None:
        reporter.say(f"{out}/table.md: laid out as the paper's Table {settings.table}")
