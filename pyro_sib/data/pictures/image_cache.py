"""Decoded images on disk, under a name that the content of their sources determines."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_sib.data.dataset import DataSet, Split
from pyro_sib.data.fingerprint import fingerprint
from pyro_sib.data.formats.listing import Listing
from pyro_sib.errors import InputError, argument
from pyro_sib.tensor_files import read_tensors, write_tensors

_FORMAT = 3
_BYTES = 16


def cache_key(parts: Mapping[str, Listing], size: int, words: str) -> str:
    """Hex digest of all that determines the images: sources' bytes, labels, class names, size, format.

    Files count by content, not by path, so that moved data is found again and changed data is not.

    Raises:
        InputError: a file that cannot be read.
    """
    hasher = hashlib.blake2b(repr((_FORMAT, size, words)).encode(), digest_size=_BYTES)
    for name, part in parts.items():
        hasher.update(repr((name, part.class_names, part.rows.shape)).encode())
        hasher.update(np.ascontiguousarray(part.y).data)
        hasher.update(_digest_files(part.rows) if part.is_files else np.ascontiguousarray(part.rows).data)
    return hasher.hexdigest()


def _digest_files(paths: NDArray[Any]) -> bytes:
    """One digest a file. Threads only slow this down: small files cost more interpreter than hashing."""
    digests = []
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as file:
                digests.append(hashlib.blake2b(file.read(), digest_size=_BYTES).digest())
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); check the path or unpack it again"
            ) from None
    return b"".join(digests)


def cached(folder: Path, key: str, build: Callable[[], DataSet]) -> DataSet:
    """The data set under `key`, its tensors memory-mapped; built first where it is missing or damaged.

    Args:
        folder: made where it is missing.
        key: from `cache_key`.
        build: reads the sources.

    Raises:
        InputError: the folder cannot be written, or whatever `build` raises.
    """
    path = folder / f"images-{key}.safetensors"
    found = _read(path)
    if found is None:
        _write(path, build())
        found = _read(path)
    if found is None:
        raise InputError(
            f"{path} was written but cannot be read back; check the disk or pass another {argument('cache_dir')}"
        )
    return found


def _write(path: Path, data: DataSet) -> None:
    tensors = {f"{name}.{what}": getattr(split, what) for name, split in data.splits.items() for what in ("x", "y")}
    meta = {
        "name": data.name,
        "base_holdout": data.base_holdout,
        "fingerprint": data.fingerprint,
        "notes": data.notes,
        "class_names": {name: split.class_names for name, split in data.splits.items()},
    }
    try:
        write_tensors(path, tensors, meta)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); free space or pass "
            f"another {argument('cache_dir')}"
        ) from None


def _read(path: Path) -> DataSet | None:
    """None where the file is missing or its content does not have the fingerprint that it states."""
    if not path.exists():
        return None
    try:
        tensors, meta = read_tensors(path)
        splits = {
            name: Split(tensors[f"{name}.x"], tensors[f"{name}.y"], tuple(names))
            for name, names in meta["class_names"].items()
        }
        notes = tuple(meta["notes"])
        data = DataSet(meta["name"], splits, meta["base_holdout"], meta["fingerprint"], notes)
        return data if fingerprint(splits) == data.fingerprint else None
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
        return None
