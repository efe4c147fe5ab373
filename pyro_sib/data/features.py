"""Features that the user has computed: train_x, train_y and so on in an .npz or .safetensors file."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pyro_sib.data.assemble import assemble
from pyro_sib.data.checks import check_classes
from pyro_sib.data.dataset import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL, DataSet, Split
from pyro_sib.data.feature_range import in_single_precision
from pyro_sib.data.holdout import hold_out
from pyro_sib.data.listing import BASE, SPLITS, Found, Listing
from pyro_sib.data.sniff import read_head
from pyro_sib.errors import InputError

HOLDOUT = "the file's own base_val / base_test rows"
_PREFIXES = ("train", "base_val", "base_test", "val", "test")
_NAMESPACE = {"base_val": "train", "base_test": "train"}


def read_features(path: Path) -> DataSet:
    """Read features and labels of train (the base classes), val and test.

    Arrays: train_x (n, D) of any float type, train_y (n,) of any integer type, and the same for val and test,
    at least one of the two. base_val_x/_y and base_test_x/_y hold out rows of train's classes; without them
    the last sixth of each class is held out. Each of train, val and test numbers its classes on its own;
    class 3 of train is named "train/3".

    Returns:
        Splits of (n, D) float32 features, all multiplied by one power of two where they are too large or too small.

    Raises:
        InputError: an unreadable file, or an array that is missing or not as above, or NaN or infinite.
    """
    path = Path(path)
    arrays = _load(path)
    present = [prefix for prefix in _PREFIXES if f"{prefix}_x" in arrays or f"{prefix}_y" in arrays]
    if VAL not in present and TEST not in present:
        raise InputError(
            f"{path} must hold val_x and val_y, or test_x and test_y; "
            f"found {', '.join(arrays) or 'no array'}; rename the arrays"
        )
    own = [prefix for prefix in (BASE_VAL, BASE_TEST) if prefix in present]
    for prefix in ("train", BASE_VAL, BASE_TEST) if own else ():
        if prefix not in present:
            raise InputError(f"{path} has {own[0]}_x but not {prefix}_x; add it, or leave out {own[0]}_x and _y")

    given = {prefix: _rows(path, arrays, prefix) for prefix in present}
    width = {prefix: x.shape[1] for prefix, (x, _) in given.items()}
    odd = next((prefix for prefix in present if width[prefix] != width[present[0]]), None)
    if odd is not None:
        raise InputError(
            f"{path}: {odd}_x has {width[odd]} features a row but {present[0]}_x has {width[present[0]]}; "
            f"compute both with one network"
        )
    scaled, notes = in_single_precision(path, {f"{prefix}_x": x for prefix, (x, _) in given.items()})
    rows = {prefix: (scaled[f"{prefix}_x"].numpy(), y.numpy()) for prefix, (_, y) in given.items()}
    return replace(_data_set(path, rows, own_holdout=bool(own)), notes=notes)


def _data_set(path: Path, rows: dict[str, tuple[NDArray[Any], NDArray[Any]]], own_holdout: bool) -> DataSet:
    parts: dict[str, Listing] = {}
    for prefix, (x, labels) in rows.items():
        namespace = _NAMESPACE.get(prefix, prefix)
        classes = np.unique(rows[namespace][1])
        unknown = np.setdiff1d(labels, classes)
        if len(unknown):
            raise InputError(
                f"{path}: {prefix}_y has the label {unknown[0]}, which {namespace}_y has not; remove those rows"
            )
        names = tuple(f"{namespace}/{label}" for label in classes.tolist())
        base = BASE_TRAIN if own_holdout else BASE
        parts[base if prefix == "train" else prefix] = Listing(x, np.searchsorted(classes, labels), names).grouped()
    check_classes(parts)
    found = hold_out(Found(parts, HOLDOUT if own_holdout else ""))
    splits = {
        name: Split(torch.from_numpy(part.rows), torch.from_numpy(part.y), part.class_names)
        for name, part in ((name, found.parts[name]) for name in SPLITS if name in found.parts)
    }
    return assemble("features", splits, found.base_holdout)


def _load(path: Path) -> Mapping[str, Tensor]:
    """Every array by its name."""
    kinds = {".npz": _load_npz, ".safetensors": _load_safetensors}
    if path.suffix not in kinds:
        raise InputError(f"{path} should end in .npz or .safetensors; save the features in one of these forms")
    read_head(path, f"a {path.suffix} file of features")
    return kinds[path.suffix](path)


def _load_npz(path: Path) -> Mapping[str, Tensor]:
    wanted = {f"{prefix}_{what}" for prefix in _PREFIXES for what in "xy"}
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("one bare array, no archive")
            # Other arrays, perhaps of strings, are the user's own business.
            return {name: _tensor(path, name, file[name]) for name in file.files if name in wanted}
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error, "np.savez") from None


def _tensor(path: Path, name: str, array: NDArray[Any]) -> Tensor:
    """The array in this machine's byte order and in a type that torch has."""
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: {name} has the type {array.dtype}; save features as floats, labels as integers")
    kind = np.dtype(np.int64) if array.dtype.kind == "u" else array.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(array, dtype=kind))


def _load_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error, "safetensors' save_file") from None


def _unreadable(path: Path, error: Exception, writer: str) -> InputError:
    what = " ".join(str(error).split())[:120]
    return InputError(f"{path} is not a readable {path.suffix} file ({what}); save it again with {writer}")


def _rows(path: Path, arrays: Mapping[str, Tensor], prefix: str) -> tuple[Tensor, Tensor]:
    """(n, D) finite floats and (n,) int64 of one prefix, as the file has them."""
    for what, other in (("x", "y"), ("y", "x")):
        if f"{prefix}_{what}" not in arrays:
            raise InputError(f"{path} has {prefix}_{other} but not {prefix}_{what}; add it")
    x, y = arrays[f"{prefix}_x"], arrays[f"{prefix}_y"]
    if x.ndim != 2 or not x.is_floating_point() or not x.shape[1]:
        raise InputError(
            f"{path}: {prefix}_x should be (n, D) floats but is {tuple(x.shape)} {x.dtype}; "
            f"flatten and convert the features"
        )
    if y.ndim != 1 or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise InputError(
            f"{path}: {prefix}_y should be (n,) integers but is {tuple(y.shape)} {y.dtype}; convert the labels"
        )
    if len(x) != len(y):
        raise InputError(
            f"{path}: {prefix}_x has {len(x)} rows but {prefix}_y has {len(y)} labels; give one label for each row"
        )
    if x.element_size() == 1:
        x = x.float()
    finite = x.isfinite().all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        raise InputError(
            f"{path}: {prefix}_x should be finite but row {row} is not "
            f"({int((~finite).sum())} such rows); remove them or mend the network"
        )
    return x, y.long()
