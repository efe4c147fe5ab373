"""A NetCDF4 file of named groups, filled block by block, so that no array need be in memory whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5netcdf
import h5py
import numpy as np
from numpy.typing import NDArray

from pyro_sib.experiments.posterior.guarded_file import GuardedFile
from pyro_sib.experiments.terminal.escape import in_netcdf

Array = NDArray[Any]
GZIP_LEVEL = 1
"""The mantissas of random draws hardly compress; a higher level takes time for nothing."""


@dataclass(frozen=True)
class Variable:
    """One array of a group.

    Attributes:
        dims: names of its dimensions.
        dtype: of numpy, or "str".
        what: one line for the reader of the file.
        chunks: numbers along each dimension that are compressed together; None leaves the array in one piece.
    """

    dims: tuple[str, ...]
    dtype: str
    what: str
    chunks: tuple[int, ...] | None = None


class GroupedFile:
    """Write groups of arrays with shared dimensions; a dimension has the same size in every group.

    Each group gets the coordinates 0, 1, ... of its dimensions, unless they are given.

    Args:
        path: of the new file.
        sizes: of every dimension, by name.
        attributes: of the whole file: text, numbers.
        coordinates: of dimensions that do not count from 0.
    """

    def __init__(
        self,
        path: Path,
        sizes: Mapping[str, int],
        attributes: Mapping[str, str | int | float],
        coordinates: Mapping[str, Array] | None = None,
    ):
        self.sizes, self.coordinates = sizes, coordinates or {}
        self.stream = GuardedFile(path)
        self.file = h5netcdf.File(self.stream, "w")
        for name, value in attributes.items():
            self.file.attrs[name] = in_netcdf(value) if isinstance(value, str) else value

    def __enter__(self) -> "GroupedFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.file.close()
        except Exception:
            # What HDF5 makes of an error of the disk says less than the disk did.
            if self.stream.failed is None:
                raise
        finally:
            self.stream.close()
        if kind is None and self.stream.failed is not None:
            raise self.stream.failed

    def add(self, group: str, variables: Mapping[str, Variable]) -> None:
        """Make a group and its arrays, empty."""
        made = self.file.create_group(group)
        used = dict.fromkeys(d for v in variables.values() for d in v.dims)
        made.dimensions = {d: self.sizes[d] for d in used}
        for d in used:
            coordinate = self.coordinates.get(d, np.arange(self.sizes[d]))
            made.create_variable(d, (d,), data=np.asarray(coordinate, dtype=np.int64))
        for name, variable in variables.items():
            dtype = h5py.string_dtype() if variable.dtype == "str" else np.dtype(variable.dtype)
            options: dict[str, Any] = {}
            if variable.chunks is not None:
                chunks = tuple(min(c, self.sizes[d]) for c, d in zip(variable.chunks, variable.dims, strict=True))
                options = {
                    "chunks": chunks,
                    "compression": "gzip",
                    "compression_opts": GZIP_LEVEL,
                    "shuffle": True,
                }
            array = made.create_variable(name, variable.dims, dtype, **options)
            array.attrs["long_name"] = variable.what

    def write(self, group: str, name: str, block: Array, **starts: int) -> None:
        """Put a block at its place.

        Args:
            group: of the array.
            name: of the array.
            block: as many dimensions as the array.
            starts: where it begins along a dimension, 0 for those not named.

        Raises:
            OSError: the disk takes no more.
        """
        array = self.file[group][name]
        if block.dtype == object:
            block = np.array([in_netcdf(text) for text in block.ravel()], dtype=object).reshape(block.shape)
        begins = [starts.get(d, 0) for d in array.dimensions]
        array[tuple(slice(b, b + n) for b, n in zip(begins, block.shape, strict=True))] = block
        if self.stream.failed is not None:
            raise self.stream.failed
