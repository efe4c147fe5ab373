"""Features of the user's own in an .npz file: x, and for labeled rows their names y."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyro_sib.errors import InputError
from pyro_sib.experiments.own_pictures.rows import Row
from pyro_sib.inference.inputs import sort_examples


def read_own_features(path: Path, option: str, size: int, labeled: bool) -> list[Row]:
    """The rows of a file.

    Args:
        path: of an .npz with x (n, D) floats; y (n,) names or numbers of classes; names (n,) of the rows, if any.
        option: that named the file.
        size: D of the learner.
        labeled: whether y is needed.

    Raises:
        InputError: damaged, no such arrays, another D, NaN or infinite numbers, or fewer than two classes.
    """
    arrays = _read(path, option, ("x", "y") if labeled else ("x",))
    features = sort_examples(arrays["x"], f"{option} {path}: x").features
    if features is None or not len(features):
        raise InputError(f"{option} {path}: x holds no features; it should be (n, D) floats")
    if features.shape[1] != size:
        raise InputError(
            f"{option} {path} has features of {features.shape[1]} numbers, but the learner's have {size}; compute "
            f"them with the learner's network, or give another --learner"
        )
    names = _texts(arrays, "names", len(features), f"{option} {path}") if "names" in arrays else None
    labels = _texts(arrays, "y", len(features), f"{option} {path}") if labeled else [""] * len(features)
    if labeled and len(set(labels)) < 2:
        raise InputError(f"{option} {path} has one class, {labels[0]}; two or more are needed")
    return [Row(names[n] if names else f"{path}:{n}", features[n], labels[n]) for n in range(len(features))]


def _read(path: Path, option: str, needed: tuple[str, ...]) -> dict[str, NDArray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in ("x", "y", "names")}
            found = ", ".join(file.files) or "no array"
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{option} {path} is not a readable .npz file ({error}); write it again") from None
    if missing := [name for name in needed if name not in arrays]:
        raise InputError(f"{option} {path} has no array {missing[0]} (it has {found}); write it again with it")
    return arrays


def _texts(arrays: dict[str, NDArray], name: str, rows: int, where: str) -> list[str]:
    array = arrays[name]
    if array.shape != (rows,) or array.dtype.kind not in "Uiu":
        raise InputError(
            f"{where}: {name} is an array of {array.dtype} of shape {array.shape}; texts or whole numbers of shape "
            f"({rows},) are needed"
        )
    return [str(value) for value in array]
