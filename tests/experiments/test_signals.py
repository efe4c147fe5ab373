"""Signals end long work, also one whose exception was lost."""

import importlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from pyro_sib.experiments.terminal.command import ANEW, FROM_LAST_EPOCH, run_command
from pyro_sib.experiments.terminal.progress import Reporter

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__")
KEEP = {
    **dict.fromkeys(("ablate", "regression", "reproduce", "run", "train_any"), FROM_LAST_EPOCH),
    "classify": "begins anew, with the features of the pictures that it has read",
    "compare": "goes on from the last finished comparator",
    "diagnose": "begins anew, with the posterior's file where that is finished",
    "domains": "goes on from the last finished cell",
    "gold": "goes on from the last finished task",
}
"""What the commands say that keep something of work that was stopped; their own tests show that they keep it."""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_is_lost_still_ends_the_work(signum, code, capsys):
    """Python prints, and drops, what a finalizer raises."""
    steps = []

    class Finalized:
        def __del__(self):
            os.kill(os.getpid(), signum)

    def work(_):
        with Reporter(Console(file=io.StringIO())).stage("work", "work") as advance:
            for step in range(5):
                advance(step, 5)
                steps.append(step)
                Finalized()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert run_command(work, None) == code
        assert steps == [0]
        assert "the same command begins anew" in capsys.readouterr().err
        assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == handlers
        assert run_command(lambda _: None, None) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_a_shell_ignores_stays_ignored():
    """Commands in the background of a shell have Ctrl-C ignored: it is meant for the one in front."""
    script = (
        "import os, signal, sys\nfrom pyro_sib.experiments.terminal.command import run_command\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "sys.exit(run_command(lambda _: os.kill(os.getpid(), signal.SIGINT), None))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_whoever_stops_a_command_is_told_what_it_keeps(command, monkeypatch, capsys):
    module = importlib.import_module(f"pyro_sib.experiments.{command}")

    def stop(_):
        raise KeyboardInterrupt

    def stopped(work, settings, check=None, again=ANEW):
        return run_command(stop, settings, again=again)

    monkeypatch.setattr(module, "run_command", stopped)
    for learner in (None, "of a file"):
        settings = SimpleNamespace(learner=learner, list=False)
        monkeypatch.setattr(module, "from_command_line", lambda kind, name, found=settings: found)
        assert module.main() == 130
        kept = ANEW if command == "run" and learner else KEEP.get(command, ANEW)
        assert capsys.readouterr().err == f"stopped; the same command {kept}\n"
