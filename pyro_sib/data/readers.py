"""One door for every form in which users have mini-ImageNet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pyro_sib.data.checks import check_classes
from pyro_sib.data.dataset import DataSet, Split
from pyro_sib.data.formats.assemble import assemble
from pyro_sib.data.formats.cache_pickle import LOOKS_FOR as CACHE_PICKLE
from pyro_sib.data.formats.cache_pickle import is_cache_pickle, read_cache_pickle
from pyro_sib.data.formats.class_folders import LOOKS_FOR as CLASS_FOLDERS
from pyro_sib.data.formats.class_folders import is_class_folders, read_class_folders
from pyro_sib.data.formats.csv_images import LOOKS_FOR as CSV_IMAGES
from pyro_sib.data.formats.csv_images import is_csv_images, read_csv_images
from pyro_sib.data.formats.gidaris import LOOKS_FOR as GIDARIS
from pyro_sib.data.formats.gidaris import is_gidaris, read_gidaris
from pyro_sib.data.formats.listing import BASE, SPLITS, Found
from pyro_sib.data.formats.mini_imagenet import is_mini_imagenet
from pyro_sib.data.formats.tree import list_folder
from pyro_sib.data.holdout import hold_out
from pyro_sib.data.images import Progress, fill_deferred, to_images
from pyro_sib.data.names import MINI_IMAGENET as NAME
from pyro_sib.data.names import Fit
from pyro_sib.data.pictures.census import Census
from pyro_sib.data.pictures.image_cache import cache_key, cached
from pyro_sib.data.pictures.skipped import HIDDEN, SHOWN, printable, summarize
from pyro_sib.errors import InputError, argument


@dataclass(frozen=True)
class Form:
    """One form of the data: how to know it, what to look for in words, how to list it, and what it is called.

    Attributes:
        name: of data in this form that are not mini-ImageNet.
        own_files: whether the files bear the benchmark's name.
    """

    matches: Callable[[Path], bool]
    looks_for: str
    read: Callable[[Path], Found]
    name: str
    own_files: bool = False


FORMS: dict[str, Form] = {
    "csv": Form(is_csv_images, CSV_IMAGES, read_csv_images, "csv"),
    "gidaris": Form(is_gidaris, GIDARIS, read_gidaris, "pickles", own_files=True),
    "cache-pickle": Form(is_cache_pickle, CACHE_PICKLE, read_cache_pickle, "pickles", own_files=True),
    "folders": Form(is_class_folders, CLASS_FOLDERS, read_class_folders, "folders"),
}
"""In the order in which they are tried."""


def read_images(
    root: Path,
    image_size: int,
    cache_dir: Path,
    progress: Progress | None = None,
    fit: Fit = "squash",
    at_most: Mapping[str, int] | None = None,
) -> DataSet:
    """Read mini-ImageNet (or data in one of its forms) from `root`, decoded once and then from the cache.

    Args:
        root: folder that holds one of `FORMS`.
        image_size: side S in pixels.
        cache_dir: folder of the decoded images.
        progress: told (images done, images in all) while decoding; not called where the cache has them.
        fit: how images of another shape become squares.
        at_most: name of the data -> a side in pixels beyond which these are not kept.

    Returns:
        Splits of (n, 3, S, S) uint8 memory-mapped images, under the name of what they are: mini-imagenet for its
        own classes, else the form.

    Raises:
        InputError: no such folder, no form recognised, or data that a reader or a check refuses.
    """
    if image_size < 1:
        raise InputError(f"{argument('image_size')} must be 1 or more, found {image_size}")
    root = Path(root)
    form = _form(root)
    whole = form.read(root)
    found = _held_out(whole)
    name = NAME if is_mini_imagenet(whole.parts, form.own_files) else form.name
    image_size = min(image_size, (at_most or {}).get(name, image_size))
    data = _decoded(name, found, BASE in whole.parts, image_size, cache_dir, progress, fit)
    passed = (*found.passed, *_beside(root, found))
    return replace(data, notes=found.notes + data.notes, skipped=summarize(passed, root))


def read_new_classes(
    root: Path,
    found: Found,
    image_size: int,
    cache_dir: Path,
    progress: Progress | None = None,
    fit: Fit = "squash",
) -> DataSet:
    """Decode the images of classes that all are new, in a listing of `test` alone, or take them from the cache.

    Args:
        root: folder that the names of what was not read are relative to.
        found: the listing, and what it passed over.
        image_size: side S in pixels.
        cache_dir: folder of the decoded images.
        progress: told (images done, images in all) while decoding.
        fit: how images of another shape become squares.

    Raises:
        InputError: an image that cannot be read, a class that is all copies, or a cache that cannot be written.
    """
    data = _decoded("folders", _held_out(found), False, image_size, cache_dir, progress, fit)
    return replace(data, notes=found.notes + data.notes, skipped=summarize(found.passed, root))


def _decoded(
    name: str,
    found: Found,
    own_cut: bool,
    image_size: int,
    cache_dir: Path,
    progress: Progress | None,
    fit: Fit,
) -> DataSet:
    """The listed images as a checked data set of that name."""
    parts = {part: found.parts[part] for part in SPLITS if part in found.parts}
    total, done = sum(len(part.y) for part in parts.values()), 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done, total)

    def build() -> DataSet:
        census = Census()
        images = {
            part: to_images(listing.rows, image_size, advance, census, fit) for part, listing in parts.items()
        }
        fill_deferred(census, image_size, advance, fit)
        splits = {
            part: Split(images.pop(part), torch.from_numpy(listing.y), listing.class_names)
            for part, listing in parts.items()
        }
        data = assemble(name, splits, found.base_holdout, own_cut=own_cut)
        return replace(data, notes=census.notes() + data.notes)

    key = cache_key(parts, image_size, f"{name}: {found.base_holdout}" + ", cropped" * (fit == "crop"))
    return cached(Path(cache_dir), key, build)


def _form(root: Path) -> Form:
    if not root.is_dir():
        raise InputError(f"{argument('root')} {root} is not a folder; pass the one that holds the data")
    form = next((form for form in FORMS.values() if form.matches(root)), None)
    if form is None:
        forms = "; ".join(form.looks_for for form in FORMS.values())
        there = [printable(entry.name) for entry in list_folder(root)]
        raise InputError(
            f"no data recognised under {root} (found: {', '.join(there[:SHOWN]) or 'nothing'}); "
            f"put there one of: {forms}; or pass another {argument('root')}"
        )
    return form


def _held_out(found: Found) -> Found:
    """The listings grouped by class, of disjoint classes, the base splits cut."""
    grouped = {name: part.grouped() for name, part in found.parts.items()}
    check_classes(grouped)
    return hold_out(replace(found, parts=grouped))


def _beside(root: Path, found: Found) -> list[tuple[str, Path]]:
    """What lies in the data root and is no part of the form that was read."""
    return [
        (HIDDEN if entry.name.startswith(".") else f"beside {', '.join(found.used)}", Path(entry.path))
        for entry in list_folder(root)
        if entry.name not in found.used
    ]
