"""The stage that starts a run in a fresh process and waits for its first step."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from pyro_sib.errors import InputError
from pyro_sib.experiments.speed.row import Bench, Progress, Row


def startup(bench: Bench, progress: Progress) -> Iterator[Row]:
    """A fresh `python -m experiments.run` on the synthetic world, from its start to the end of its first step.

    First without a cache, then with what that left, Python's bytecode included.
    """
    size, repetitions = (16, 1) if bench.quick else (32, 3)
    with tempfile.TemporaryDirectory() as folder:
        for done, cache in enumerate(("cold", "warm")):
            times = [
                first_step_seconds(Path(folder), f"{cache}{i}", size, bench)
                for i in range(1 if cache == "cold" else repetitions)
            ]
            yield Row("startup", {"cache": cache, "size": size, "pretrain_epochs": 1}, median(times))
            progress(done + 1, 2)


def first_step_seconds(folder: Path, name: str, size: int, bench: Bench) -> float:
    """Seconds until a fresh process reports its first training step, which 2 selection tasks have followed.

    Raises:
        InputError: the run ended before its first step.
    """
    options = {
        "setting": "standard",
        "image-size": size,
        "pretrain-epochs": 1,
        "iterations": 1,
        "epochs": 1,
        "select-tasks": 2,
        "eval-tasks": 2,
        "device": bench.device.type,
        "threads": bench.threads,
        "out": folder / name,
        "cache-dir": folder / "cache",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "pyro_sib.experiments.run", *words, "--no-compare"]
    here = Path(__file__).parents[3]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    environment["PYTHONPATH"] = os.pathsep.join([str(here), *_pythonpath()])
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        last = ""
        for line in child.stdout:
            if line.strip().startswith("iteration 1 "):
                seconds = time.perf_counter() - start
                child.terminate()
                child.stdout.read()
                return seconds
            last = line.strip() or last
    raise InputError(f"`{' '.join(command)}` ended before its first step: {last}")


def _pythonpath() -> list[str]:
    given = os.environ.get("PYTHONPATH")
    return [given] if given else []
