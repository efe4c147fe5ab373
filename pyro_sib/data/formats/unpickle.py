"""Pickles of numpy arrays in plain containers, read without running anything that the file asks for."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

from pyro_sib.data.formats.pickled_arrays import PlainDType, encode, from_buffer, reconstruct, scalar
from pyro_sib.data.formats.sniff import read_head
from pyro_sib.errors import InputError

_NUMPY = {"multiarray._reconstruct": reconstruct, "multiarray.scalar": scalar, "numeric._frombuffer": from_buffer}
_PLAIN = {kind.__name__: kind for kind in (set, frozenset, bytearray, bytes, complex, range, slice, list, dict)}
_ADMITTED: dict[str, Any] = {
    **{f"numpy.{core}.{name}": value for core in ("core", "_core") for name, value in _NUMPY.items()},
    **{f"{builtin}.{name}": kind for builtin in ("builtins", "__builtin__") for name, kind in _PLAIN.items()},
    "__builtin__.xrange": range,
    "numpy.ndarray": None,  # only ever an argument, which `reconstruct` ignores
    "numpy.dtype": PlainDType,
    "_codecs.encode": encode,
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
            f"the reader refuses to load {error}, which {path} asks for: only numpy arrays and plain containers "
            f"are read from a pickle; save the file again with these alone"
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
