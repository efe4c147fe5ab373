"""Atomic files: a reader sees the old content or the new one, whole, whatever kills the writer."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open

from pyro_sib.errors import InputError, storage_error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, then move it to `path` in one step.

    Raises:
        InputError: the disk is full or read-only, a file is where a folder should be, and so on.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def check_writable(folder: Path, name: str) -> None:
    """Make a folder where it is missing, and see that files can be written there, before long work.

    Args:
        folder: where results go.
        name: of the option that chose it.

    Raises:
        InputError: they cannot.
    """
    try:
        if folder.is_file():
            raise InputError(f"{name} {folder} is a file; choose a folder")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writing-") as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        raise storage_error(error, f"{name} {folder}", "written to") from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically; bytes of names that are no UTF-8 are spelled out."""
    content = text.encode("utf-8", "backslashreplace")
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinities, which JSON has not, become null."""
    write_text(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        with opened(path) as file:
            return json.load(file)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); delete it and write it again") from None


@contextmanager
def opened(path: Path, newline: str | None = None) -> Iterator[IO[str]]:
    """A UTF-8 text file to read.

    Raises:
        InputError: the file is missing, cannot be read, or is not text.
    """
    try:
        with path.open(encoding="utf-8", newline=newline) as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; write it first") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid text ({error}); delete it and write it again") from None
    except OSError as error:
        raise storage_error(error, path, "read") from None


def read_meta(path: Path) -> dict[str, Any]:
    """The metadata alone, without a look at the tensors.

    Raises:
        InputError: the file is missing or damaged.
    """
    with opened_safetensors(path) as file:
        return meta_of(file)


def meta_of(file: Any) -> dict[str, Any]:
    """The metadata of an open safetensors file.

    Raises:
        ValueError: they are no object.
    """
    meta = json.loads((file.metadata() or {}).get("meta", "{}"))
    if not isinstance(meta, dict):
        raise ValueError("its metadata are no object")
    return meta


@contextmanager
def opened_safetensors(path: Path, framework: str = "numpy", device: str = "cpu") -> Iterator[Any]:
    """A safetensors file, whose tensors are of that framework; what is wrong with it becomes one line.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework=framework, device=device) as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; write it first") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({error}); write or download it again"
        ) from None
