"""Features that the user has computed: train_x, train_y and so on in an .npz or .safetensors file."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from pyro_sib.data.checks import check_classes
from pyro_sib.data.dataset import DataSet, Split
from pyro_sib.data.feature_range import in_single_precision
from pyro_sib.data.formats.assemble import assemble
from pyro_sib.data.formats.listing import BASE, SPLITS, Found, Listing
from pyro_sib.data.formats.npz import opened_npz
from pyro_sib.data.formats.sniff import read_head
from pyro_sib.data.formats.split_names import split_named
from pyro_sib.data.holdout import hold_out
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.data.pictures.skipped import SHOWN, Skipped, printable
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
    arrays, skipped = _load(path)
    present = [prefix for prefix in _PREFIXES if f"{prefix}_x" in arrays or f"{prefix}_y" in arrays]
    if VAL not in present and TEST not in present:
        raise InputError(
            f"{path} must hold val_x and val_y, or test_x and test_y; "
            f"found {', '.join([*arrays, *(name for part in skipped for name in part.names)]) or 'no array'}; "
            f"rename the arrays"
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
    data = _data_set(path, rows, own_holdout=bool(own))
    return replace(data, notes=(*notes, *data.notes), skipped=skipped)


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
    return assemble("features", splits, found.base_holdout, own_cut=not own_holdout)


def _load(path: Path) -> tuple[dict[str, Tensor], tuple[Skipped, ...]]:
    """The arrays that are read, by their usual names, and a word on the others."""
    kinds = {".npz": _load_npz, ".safetensors": _load_safetensors}
    suffix = path.suffix.lower()
    if suffix not in kinds:
        raise InputError(f"{path} should end in .npz or .safetensors; save the features in one of these forms")
    read_head(path, f"a {suffix} file of features")
    arrays, others = kinds[suffix](path)
    names = tuple(printable(name) for name in others[:SHOWN])
    reason = "arrays of other names than train_x, train_y, val_x and so on"
    return arrays, (Skipped(reason, len(others), names),) if others else ()


def _usual_names(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Arrays that are read to the names of this module's documentation: case and synonyms do not matter."""
    found: dict[str, str] = {}
    for name in names:
        stem, _, what = name.casefold().rpartition("_")
        part = stem if stem in (BASE_VAL, BASE_TEST) else split_named(stem)
        if part is None or what not in ("x", "y"):
            continue
        usual = f"{'train' if part == BASE else part}_{what}"
        if usual in found.values():
            other = next(key for key, value in found.items() if value == usual)
            raise InputError(f"{path} has both {printable(other)} and {printable(name)}; keep one of them")
        found[name] = usual
    return found


def _load_npz(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    try:
        with opened_npz(path) as file:
            usual = _usual_names(path, file.files)
            # Other arrays, perhaps of strings, are the user's own business.
            arrays = {usual[name]: _tensor(path, name, file[name]) for name in usual}
            return arrays, [name for name in file.files if name not in usual]
    except InputError:
        raise
    except Exception as error:  # damaged archives and headers surface as almost any exception
        raise _unreadable(path, error, "np.savez") from None


def _tensor(path: Path, name: str, array: NDArray[Any]) -> Tensor:
    """The array in this machine's byte order and in a type that torch has."""
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{path}: {name} holds {array.max()}, more than a label can be; number the classes from 0")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: {name} has the type {array.dtype}; save features as floats, labels as integers")
    kind = np.dtype(np.int64) if array.dtype.kind == "u" else array.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(array, dtype=kind))


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    try:
        arrays = load_file(path)
    except Exception as error:  # as above
        raise _unreadable(path, error, "safetensors' save_file") from None
    usual = _usual_names(path, arrays)
    return {usual[name]: arrays[name] for name in usual}, [name for name in arrays if name not in usual]


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
