"""Stand-ins for numpy's own pickle constructors.

numpy trusts the state that a pickle hands it: a forged dtype can make it take raw bytes for object pointers. These
build arrays of plain numbers and strings only, and check sizes before numpy sees them.
"""

import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = "biufcSU"


class PlainDType:
    """numpy.dtype: booleans, numbers and fixed-width strings, in either byte order."""

    def __init__(self, kind: str, align: object = False, copy: object = False) -> None:
        dtype = np.dtype(str(kind))
        if dtype.kind not in _KINDS or dtype.shape:
            raise pickle.UnpicklingError(f"an array of type {kind}")
        self.dtype = dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class PlainArray(np.ndarray):
    """numpy.ndarray: takes its content from checked state."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, kind, fortran, raw = state
        shape = tuple(int(side) for side in shape)
        size = math.prod(shape) * kind.dtype.itemsize
        # Python 2's raw bytes come as latin1 text, a character a byte; numpy takes either.
        if min(shape, default=0) < 0 or not isinstance(raw, bytes | bytearray | str) or len(raw) != size:
            raise pickle.UnpicklingError(f"an array of shape {shape} without its {size} bytes")
        super().__setstate__((version, shape, kind.dtype, bool(fortran), raw))  # type: ignore[arg-type]


def reconstruct(subtype: object, shape: object, kind: object) -> PlainArray:
    """numpy.core.multiarray._reconstruct: an empty array, to be given its state."""
    return PlainArray((0,), np.uint8)


def scalar(kind: PlainDType, raw: bytes | str) -> Any:
    """numpy.core.multiarray.scalar: one number or string."""
    return np.frombuffer(raw.encode("latin1") if isinstance(raw, str) else raw, kind.dtype, 1)[0]


def from_buffer(
    buffer: bytes, kind: PlainDType, shape: tuple[int, ...], order: str, axis_order: Any = None
) -> NDArray[Any]:
    """numpy.core.numeric._frombuffer, of protocol 5."""
    flat: NDArray[Any] = np.frombuffer(buffer, kind.dtype)
    if order == "K" and axis_order is not None:
        return flat.reshape(shape, order="C").transpose(axis_order)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def encode(text: str, encoding: str) -> bytes:
    """_codecs.encode as pickles of bytes use it; other codecs can expand without bound."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"the codec {encoding}")
    return text.encode("latin1")
