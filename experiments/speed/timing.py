"""Time and memory: medians of interleaved repetitions, peak memory in a process of its own, the machine."""

import gc
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pyro_sib.experiments.job.results import commit, versions

Work = Callable[[], object]


class Clock:
    """Seconds of work on a device, its queue empty at both ends.

    Args:
        device: on which the work is.
    """

    def __init__(self, device: torch.device):
        self.device = device

    def now(self) -> float:
        """Seconds, when all work so far is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def time(self, work: Work) -> float:
        """Seconds that `work` takes."""
        start = self.now()
        work()
        return self.now() - start


def interleaved(
    works: Mapping[str, Work], clock: Clock, seconds: float, least: int = 3, most: int = 100
) -> dict[str, float]:
    """Median seconds of each, measured in turn: ours, peer A, peer B, ours, ...

    So a machine that slows down for a while slows all of them. The first round is for warming up. The garbage
    collector runs between rounds, so that nobody pays for another's garbage, and stays on in them.

    Args:
        works: by name.
        clock: of the device.
        seconds: after which no new round begins.
        least: rounds at least.
        most: rounds at most.
    """
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    start, rounds = time.perf_counter(), 0
    while rounds < least or (rounds < most and time.perf_counter() - start < seconds):
        gc.collect()
        for name, work in works.items():
            times[name].append(clock.time(work))
        rounds += 1
    return {name: median(found) for name, found in times.items()}


def peak_mib(work: Work, device: torch.device, threads: int) -> float:
    """Most memory that `work` holds at a time in a fresh process, MiB: on a GPU what torch allocates there.

    On a CPU it is the growth of the resident set over that of a process with torch loaded and used once. The
    process is forked from a server that has imported all and done nothing, since imports take seconds.

    Args:
        work: picklable.
        device: on which it works.
        threads: for torch.
    """
    able = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if able else "spawn")
    context.set_forkserver_preload(["pyro_sib.experiments.speed.images", "pyro_sib.experiments.speed.stages"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak_here, work, device.type, threads).result()


def _peak_here(work: Work, device: str, threads: int) -> float:
    torch.set_num_threads(threads)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    warm = torch.ones(64, 64, requires_grad=True)
    (warm @ warm).sum().backward()
    before = _peak_resident()
    work()
    return round((_peak_resident() - before) / 2**20, 1)


def _peak_resident() -> int:
    """Bytes. Not from getrusage where Linux says better: that number outlives exec, so the parent's is in it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def machine(device: torch.device) -> dict[str, Any]:
    """Where and with what the numbers were measured."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    return {
        "device": device.type,
        "gpu": gpu,
        "processor": _processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions(),
        "commit": commit(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
