"""One door for every form in which users have mini-ImageNet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pyro_sib.data.assemble import assemble
from pyro_sib.data.cache_pickle import LOOKS_FOR as CACHE_PICKLE
from pyro_sib.data.cache_pickle import is_cache_pickle, read_cache_pickle
from pyro_sib.data.checks import check_classes
from pyro_sib.data.class_folders import LOOKS_FOR as CLASS_FOLDERS
from pyro_sib.data.class_folders import is_class_folders, read_class_folders
from pyro_sib.data.csv_images import LOOKS_FOR as CSV_IMAGES
from pyro_sib.data.csv_images import is_csv_images, read_csv_images
from pyro_sib.data.dataset import DataSet, Split
from pyro_sib.data.gidaris import LOOKS_FOR as GIDARIS
from pyro_sib.data.gidaris import is_gidaris, read_gidaris
from pyro_sib.data.holdout import hold_out
from pyro_sib.data.image_cache import cache_key, cached
from pyro_sib.data.images import Progress, to_images
from pyro_sib.data.listing import SPLITS, Found
from pyro_sib.errors import InputError

NAME = "mini-imagenet"


@dataclass(frozen=True)
class Form:
    """One form of the data: how to know it, what to look for in words, and how to list it."""

    matches: Callable[[Path], bool]
    looks_for: str
    read: Callable[[Path], Found]


FORMS: dict[str, Form] = {
    "csv": Form(is_csv_images, CSV_IMAGES, read_csv_images),
    "gidaris": Form(is_gidaris, GIDARIS, read_gidaris),
    "cache-pickle": Form(is_cache_pickle, CACHE_PICKLE, read_cache_pickle),
    "folders": Form(is_class_folders, CLASS_FOLDERS, read_class_folders),
}
"""In the order in which they are tried."""


def read_images(root: Path, image_size: int, cache_dir: Path, progress: Progress | None = None) -> DataSet:
    """Read mini-ImageNet (or data in one of its forms) from `root`, decoded once and then from the cache.

    Args:
        root: folder that holds one of `FORMS`.
        image_size: side S in pixels.
        cache_dir: folder of the decoded images.
        progress: told (images done, images in all) while decoding; not called where the cache has them.

    Returns:
        Splits of (n, 3, S, S) uint8 memory-mapped images.

    Raises:
        InputError: no such folder, no form recognised, or data that a reader or a check refuses.
    """
    if image_size < 1:
        raise InputError(f"image_size must be 1 or more, found {image_size}")
    found = _find(Path(root))
    parts = {name: found.parts[name] for name in SPLITS if name in found.parts}
    total, done = sum(len(part.y) for part in parts.values()), 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done, total)

    def build() -> DataSet:
        splits = {
            name: Split(to_images(part.rows, image_size, advance), torch.from_numpy(part.y), part.class_names)
            for name, part in parts.items()
        }
        return assemble(NAME, splits, found.base_holdout)

    return cached(Path(cache_dir), cache_key(parts, image_size, found.base_holdout), build)


def _find(root: Path) -> Found:
    """The listings under `root`: grouped by class, held out, and of disjoint classes."""
    if not root.is_dir():
        raise InputError(f"the data root {root} is not a folder; pass the one that holds the data with --data-root")
    form = next((form for form in FORMS.values() if form.matches(root)), None)
    if form is None:
        forms = "; ".join(form.looks_for for form in FORMS.values())
        raise InputError(f"no data recognised under {root}; put there one of: {forms}; or pass --data-root")
    found = form.read(root)
    grouped = {name: part.grouped() for name, part in found.parts.items()}
    check_classes(grouped)
    return hold_out(Found(grouped, found.base_holdout))
