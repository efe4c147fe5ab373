"""Plates by name and size, each made once: making one samples its indices, a twentieth of a small training step."""

from functools import lru_cache

import pyro
from pyro import poutine


@lru_cache(maxsize=64)
def plate(name: str, size: int, dim: int) -> pyro.plate:
    """`pyro.plate` without subsampling, to be entered again and again; not by two threads at once."""
    with poutine.block():  # its indices are no part of the trace that happens to need it first
        return pyro.plate(name, size, dim=dim)
