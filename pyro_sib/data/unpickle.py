"""Pickles of numpy arrays in plain containers, read without running anything that the file asks for."""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyro_sib.data.sniff import read_head
from pyro_sib.errors import InputError

_reconstruct: Callable[..., Any] = np.empty(0).__reduce__()[0]  # type: ignore[assignment]
_scalar: Callable[..., Any] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
_from_buffer: Callable[..., Any] = np.empty(1).__reduce_ex__(5)[0]  # type: ignore[assignment]


def _dtype(kind: Any, align: Any = False, copy: Any = False) -> np.dtype[Any]:
    """np.dtype for old pickles, which pass 0 and 1 where numpy now wants booleans."""
    return np.dtype(kind, bool(align), bool(copy))


def _encode(text: str, encoding: str) -> bytes:
    """_codecs.encode as pickles of bytes use it; other codecs can expand without bound."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"codec {encoding}")
    return text.encode("latin1")


_NUMPY = {
    "multiarray._reconstruct": _reconstruct,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
}
_PLAIN = {kind.__name__: kind for kind in (set, frozenset, bytearray, bytes, complex, range, slice, list, dict)}
_ADMITTED: dict[str, Any] = {
    **{f"numpy.{core}.{name}": value for core in ("core", "_core") for name, value in _NUMPY.items()},
    **{f"{builtin}.{name}": kind for builtin in ("builtins", "__builtin__") for name, kind in _PLAIN.items()},
    "__builtin__.xrange": range,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "collections.OrderedDict": OrderedDict,
}


class _ForbiddenError(Exception):
    """The pickle asks for a global that is not admitted."""


class _ArrayUnpickler(pickle.Unpickler):
    """Resolves only `_ADMITTED`; whatever else a file names is never imported."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[f"{module}.{name}"]
        except KeyError:
            # numpy 2 names the classes of dtypes, e.g. numpy.dtypes.UInt8DType.
            if module == "numpy.dtypes" and name.endswith("DType") and hasattr(np.dtypes, name):
                return getattr(np.dtypes, name)
            raise _ForbiddenError(f"{module}.{name}") from None


def load_pickle(path: Path) -> Any:
    """Read a pickle of numpy arrays, scalars and plain containers, from Python 2 or 3.

    Python 2's byte strings come as str (latin1).

    Raises:
        InputError: no such file, a web page in its place, truncated, not a pickle, or one that names
            anything beyond arrays and containers (nothing of it is imported or called).
    """
    read_head(path, "a pickle")
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except _ForbiddenError as error:
        raise InputError(
            f"{path} refuses to load {error}: only numpy arrays and plain containers are read from a pickle; "
            f"get the file from its authors or save it again with arrays only"
        ) from None
    except (EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, EOFError) or "truncated" in str(error):
            size = path.stat().st_size
            raise InputError(
                f"{path} is truncated (the pickle goes on after its {size} bytes); download it again"
            ) from None
        raise _unreadable(path, error) from None
    except Exception as error:  # damaged opcodes surface as almost any exception
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    what = " ".join(f"{type(error).__name__}: {error}".split())[:120]
    return InputError(f"{path} is not a readable pickle of arrays ({what}); download it again")
