"""Features of the user's own in a file: x, for labeled rows their classes y, and paths or names."""

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_sib.data.formats.npz import opened_npz
from pyro_sib.data.pictures.skipped import printable
from pyro_sib.errors import InputError
from pyro_sib.experiments.own_pictures.rows import Row
from pyro_sib.files import opened_safetensors
from pyro_sib.inference.inputs import sort_examples

_COLUMNS = {"x": ("x", "features", "embedding"), "y": ("y", "label"), "names": ("names", "path", "filename")}
"""What each array may be called."""
Arrays = dict[str, NDArray[Any]]


def read_own_features(path: Path, option: str, size: int | None, labeled: bool) -> list[Row]:
    """The rows of a file.

    Args:
        path: of a file with x (n, D) floats; y (n,) names or numbers of classes; names (n,) of the rows, if any.
        option: that named the file.
        size: D of the learner, or None for one of features of any D.
        labeled: whether y is needed.

    Raises:
        InputError: damaged, no such arrays, another D, NaN or infinite numbers, or fewer than two classes.
    """
    arrays = _read(path, option, ("x", "y") if labeled else ("x",))
    features = _features(arrays["x"], f"{option} {path}")
    if size is not None and features.shape[1] != size:
        raise InputError(
            f"{option} {path} has features of {features.shape[1]} numbers, but the learner's have {size}; compute "
            f"them with the learner's network, or give another --learner"
        )
    names = _texts(arrays, "names", len(features), f"{option} {path}") if "names" in arrays else None
    labels = _texts(arrays, "y", len(features), f"{option} {path}") if labeled else [""] * len(features)
    if labeled and len(set(labels)) < 2:
        raise InputError(f"{option} {path} has one class, {labels[0]}; two or more are needed")
    return [Row(names[n] if names else f"{path}:{n}", features[n], labels[n]) for n in range(len(features))]


def read_by_path(path: Path) -> dict[str, Tensor]:
    """Features of pictures, (D,) each, by the pictures' real paths.

    Args:
        path: of a file with x (n, D) and the pictures' paths, each from the working folder or the file's own.

    Raises:
        InputError: as `read_own_features`, or a path twice.
    """
    arrays = _read(path, "--features", ("x", "names"))
    features = _features(arrays["x"], f"--features {path}")
    names = _texts(arrays, "names", len(features), f"--features {path}")
    found: dict[str, Tensor] = {}
    for name, row in zip(names, features, strict=True):
        places = [Path(name), path.parent / name]
        real = os.path.realpath(next((place for place in places if place.exists()), places[0]))
        if real in found:
            raise InputError(f"--features {path} has {printable(name)} twice; give each picture one row")
        found[real] = row
    return found


def _features(x: NDArray[Any], where: str) -> Tensor:
    found = sort_examples(x, f"{where}: x").features
    if found is None or not len(found):
        raise InputError(f"{where}: x holds no features; it should be (n, D) floats")
    return found


def _read(path: Path, option: str, needed: tuple[str, ...]) -> Arrays:
    read = _READERS[path.suffix.lower()]
    try:
        there = read(path)
    except InputError:
        raise
    except Exception as error:  # damaged archives and headers surface as almost any exception
        said = " ".join(str(error).split())[:120]
        raise InputError(f"{option} {path} is not a readable {path.suffix} file ({said}); write it again") from None
    arrays: Arrays = {}
    for name, others in _COLUMNS.items():
        if called := next((other for other in others if other in there), None):
            arrays[name] = there[called]
    if missing := [name for name in needed if name not in arrays]:
        found = ", ".join(map(printable, there)) or "nothing"
        raise InputError(
            f"{option} {path} has no {' or '.join(_COLUMNS[missing[0]])} (it has {found:.100}); write it again "
            f"with it"
        )
    return arrays


def _of_npz(path: Path) -> Arrays:
    with opened_npz(path) as file:
        return {name: file[name] for name in file.files}


def _of_safetensors(path: Path) -> Arrays:
    """Tensors, and texts as JSON lists in the metadata: safetensors holds numbers alone."""
    with opened_safetensors(path, "pt", "cpu") as file:
        found = {name: _array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        texts = file.metadata() or {}
    wanted = {other for others in _COLUMNS.values() for other in others}
    return found | {name: np.array(json.loads(text)) for name, text in texts.items() if name in wanted}


def _array(tensor: Tensor) -> NDArray[Any]:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _of_parquet(path: Path) -> Arrays:
    """Columns; features are a column of lists, or else all columns of floats in their order."""
    if find_spec("pyarrow") is None:
        raise InputError(f"{path} needs the package pyarrow, which is not installed; install pyro-sib[parquet]")
    from pyarrow import parquet, types

    table, found = parquet.read_table(path), Arrays()
    plain = [column.name for column in table.schema if types.is_floating(column.type)]
    for column in table.schema:
        if column.name not in plain:
            found[column.name] = np.array(table[column.name].to_pylist())
    if not set(found) & set(_COLUMNS["x"]) and plain:
        found["x"] = np.stack([table[name].to_numpy() for name in plain], axis=1)
    return found


_READERS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": _of_npz,
    ".safetensors": _of_safetensors,
    ".parquet": _of_parquet,
}


def _texts(arrays: Arrays, name: str, rows: int, where: str) -> list[str]:
    array = arrays[name]
    if array.shape != (rows,) or array.dtype.kind not in "Uiu":
        raise InputError(
            f"{where}: {name} is an array of {array.dtype} of shape {array.shape}; texts or whole numbers of shape "
            f"({rows},) are needed"
        )
    return [str(value) for value in array]
