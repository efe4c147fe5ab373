"""A file that HDF5 may write to a disk that fills up."""

import io
from pathlib import Path
from typing import Any


class GuardedFile(io.FileIO):
    """A binary file that keeps what the disk refuses in memory, so that its writer can finish in good order.

    HDF5 does not survive an error from the disk: it ends the process when the file is closed. Whoever writes
    through this asks `failed` after each block and stops; what HDF5 still has in its caches then goes into memory.

    Attributes:
        failed: what the disk said first, or None.
    """

    def __init__(self, path: Path):
        super().__init__(path, "w+")
        self.failed: OSError | None = None
        self._kept: dict[int, bytes] = {}

    def write(self, data: Any) -> int:
        """All of it, to the disk while that takes it."""
        view, place = memoryview(data).cast("B"), self.tell()
        written = 0
        while self.failed is None and written < len(view):
            try:
                written += super().write(view[written:]) or 0
            except OSError as error:
                self.failed = error
        if self.failed is not None:
            self._kept[place] = bytes(view)
        self.seek(place + len(view))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """From the disk, and from what it refused."""
        view, place = memoryview(buffer).cast("B"), self.tell()
        found = super().readinto(view) or 0
        if self._kept:
            view[found:] = bytes(len(view) - found)
            found = len(view)
            for start, data in self._kept.items():
                first, last = max(start, place), min(start + len(data), place + len(view))
                if first < last:
                    view[first - place : last - place] = data[first - start : last - start]
            self.seek(place + found)
        return found

    def truncate(self, size: int | None = None) -> int:
        """As long as the disk takes part."""
        if self.failed is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.failed = error
        return self.tell() if size is None else size

    def flush(self) -> None:
        """Nothing is buffered here; an error has been kept already."""
