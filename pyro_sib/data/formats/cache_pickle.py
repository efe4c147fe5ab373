"""The form mini-imagenet-cache-{train,val,test}.pkl: image_data and class_dict."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pyro_sib.data.formats.listing import BASE, Found, Listing
from pyro_sib.data.formats.pickled_images import as_array, load_image_dict
from pyro_sib.data.names import TEST, VAL
from pyro_sib.errors import InputError

LOOKS_FOR = "mini-imagenet-cache-{train,val,test}.pkl"
_FILES = {f"mini-imagenet-cache-{name}.pkl": part for name, part in (("train", BASE), ("val", VAL), ("test", TEST))}


def is_cache_pickle(root: Path) -> bool:
    """Whether any of the three pickles lies under `root`."""
    return any((root / name).is_file() for name in _FILES)


def read_cache_pickle(root: Path) -> Found:
    """Read every pickle there is; classes come in the order of `class_dict`.

    Raises:
        InputError: an unreadable pickle, or a class_dict without classes, or with rows missing or
            twice.
    """
    there = {name: part for name, part in _FILES.items() if (root / name).is_file()}
    notes: list[str] = []
    parts = {part: _read(root / name, notes) for name, part in there.items()}
    return Found(parts, notes=tuple(notes), used=tuple(there))


def _read(path: Path, notes: list[str]) -> Listing:
    images, content = load_image_dict(path, "image_data", ("class_dict",))
    class_dict = content["class_dict"]
    if not isinstance(class_dict, Mapping) or not class_dict:
        raise InputError(f"{path}: class_dict should map class names to rows; download it again")
    rows = [as_array(path, "class_dict", indices).reshape(-1) for indices in class_dict.values()]
    index = np.concatenate(rows)
    wrong = index.dtype.kind not in "iu" or bool((index < 0).any()) or bool((index >= len(images)).any())
    if wrong or len(np.unique(index)) != len(index):
        raise InputError(
            f"{path}: class_dict should list rows 0..{len(images) - 1} of image_data, each at most once; "
            f"download it again"
        )
    if len(index) < len(images):
        left = len(images) - len(index)
        notes.append(f"{left} images of {path.name} are in no class of its class_dict, and not read")
    y = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
    # mini-ImageNet's own pickle lists its rows in order: then there is nothing to copy.
    in_order = np.array_equal(index, np.arange(len(images)))
    return Listing(images if in_order else images[index], y, tuple(str(name) for name in class_dict))
