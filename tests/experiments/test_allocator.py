"""Freed memory stays with the process, where the C library is one that can be told so."""

import ctypes
import json
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyro_sib.experiments.terminal import command
from pyro_sib.experiments.terminal.allocator import keep_freed_memory

_FAULTS = """
import json, resource
from pyro_sib.experiments.terminal.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = [faults(), faults()]
keep_freed_memory()
print(json.dumps([*found, faults(), faults()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_what_was_freed_serves_the_next_tensor_without_page_faults():
    command = [sys.executable, "-c", _FAULTS]
    found = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=True)
    _, before, _, after = json.loads(found.stdout)
    assert before >= 32  # 64 MiB, in pages of 2 MiB or less
    assert after < before / 4


class Library(SimpleNamespace):
    """A C library that refuses the largest threshold, as some versions of glibc do."""

    def mallopt(self, option, value):
        self.told.append((option, value))
        return int(option == -1 or value <= 2**25)


def test_a_library_that_takes_smaller_thresholds_alone_is_given_one(monkeypatch):
    library = Library(gnu_get_libc_version=True, told=[])
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    keep_freed_memory()
    assert library.told == [(-3, 2**31 - 1), (-3, 2**25), (-1, 2**31 - 1)]


def test_other_systems_are_left_alone(monkeypatch):
    musl = Library(told=[])
    monkeypatch.setattr(ctypes, "CDLL", lambda name: musl)
    keep_freed_memory()
    assert musl.told == []

    def no_library(name):
        raise TypeError("bad argument type for built-in operation")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    keep_freed_memory()


def test_every_command_begins_with_it(monkeypatch):
    begun = []
    monkeypatch.setattr(command, "keep_freed_memory", lambda: begun.append("allocator"))
    assert command.run_command(lambda _: begun.append("work"), None) == 0
    assert begun == ["allocator", "work"]
