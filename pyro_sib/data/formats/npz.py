"""Archives of arrays as np.savez writes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile


@contextmanager
def opened_npz(path: Path) -> Iterator[NpzFile]:
    """The archive, read without unpickling anything.

    Raises:
        ValueError: the file is none, as its first bytes say; damaged ones raise almost any exception.
    """
    with path.open("rb") as stream:
        head = stream.read(6)
        if head == b"\x93NUMPY":
            raise ValueError("one bare array, no archive")
        if head[:2] != b"PK":
            raise ValueError("it is something else under that name" if head else "it is empty")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as file:
            yield file
