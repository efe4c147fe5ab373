"""Gidaris & Komodakis's five pickles, with their extra images of the base classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_sib.data.formats.listing import BASE, Found, Listing
from pyro_sib.data.formats.pickled_images import as_array, load_image_dict
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.errors import InputError

LOOKS_FOR = "miniImageNet_category_split_{train_phase_train,val,test}.pickle"
HOLDOUT = "Gidaris's files train_phase_val / train_phase_test"
_STEM = "miniImageNet_category_split_"
_BASE_FILES = {
    BASE_TRAIN: f"{_STEM}train_phase_train.pickle",
    BASE_VAL: f"{_STEM}train_phase_val.pickle",
    BASE_TEST: f"{_STEM}train_phase_test.pickle",
}
_NOVEL_FILES = {VAL: f"{_STEM}val.pickle", TEST: f"{_STEM}test.pickle"}


def is_gidaris(root: Path) -> bool:
    """Whether any of the five pickles lies under `root`."""
    return any((root / name).is_file() for name in (*_BASE_FILES.values(), *_NOVEL_FILES.values()))


def read_gidaris(root: Path) -> Found:
    """Read every pickle there is; classes come in the order of their labels, global to the five files.

    Raises:
        InputError: an unreadable pickle, only one of the two extra base files, extra files without
            train_phase_train, labels that do not fit, or extra files whose classes are not the base classes.
    """
    there = {part: root / name for part, name in {**_BASE_FILES, **_NOVEL_FILES}.items() if (root / name).is_file()}
    used = tuple(path.name for path in there.values())
    extra = [part for part in (BASE_VAL, BASE_TEST) if part in there]
    needed = (BASE_TRAIN, BASE_VAL, BASE_TEST) if extra else ()
    for part in needed:
        if part not in there:
            raise InputError(
                f"{root} has {_BASE_FILES[extra[0]]} but not {_BASE_FILES[part]}; add it, or move the former away"
            )
    parts = {part: _read(path) for part, path in there.items()}
    if extra:
        for part in extra:
            _match(there[part], parts[part], parts[BASE_TRAIN])
        return Found(parts, HOLDOUT, used=used)
    return Found({(BASE if part == BASE_TRAIN else part): listing for part, listing in parts.items()}, used=used)


def _read(path: Path) -> Listing:
    images, content = load_image_dict(path, "data", ("labels",))
    labels = as_array(path, "labels", content["labels"])
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{path}: labels should be {len(images)} integers, one for each image, "
            f"but are {labels.shape} {labels.dtype}; download it again"
        )
    classes, y = np.unique(labels, return_inverse=True)
    return Listing(images, y.astype(np.int64), _names(content, classes))


def _names(content: Mapping[str, Any], classes: NDArray[Any]) -> tuple[str, ...]:
    """The names that the file gives its labels, else the labels: being global, they name a class as well."""
    names = content.get("label2catname")
    if not isinstance(names, Mapping):
        found = content.get("catname2label")
        pairs = found.items() if isinstance(found, Mapping) else ()
        names = {label: name for name, label in pairs if isinstance(label, int | np.integer)}
    return tuple(str(names.get(label, f"class-{label:03d}")) for label in classes.tolist())


def _match(path: Path, extra: Listing, train: Listing) -> None:
    if extra.class_names != train.class_names:
        odd = sorted(set(extra.class_names) ^ set(train.class_names)) or ["their order"]
        raise InputError(
            f"{path} should hold the base classes of {_BASE_FILES[BASE_TRAIN]} but differs in {odd[0]} "
            f"({len(extra.class_names)} classes against {len(train.class_names)}); download both again"
        )
